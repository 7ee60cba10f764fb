//! Gives the shared library its SONAME, so that hosts linked today keep finding ABI version 1.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,librekindle.so.1");
        // llguidance brings a C ABI of its own, which is no part of this one.
        println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
        // Threads that have had an error call back at their end, and forks call back as long as the process lives.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
