//! Prints the C header that cbindgen makes of the sources: `header REPOSITORY`.

use std::path::PathBuf;

fn main() {
    let root = PathBuf::from(std::env::args_os().nth(1).expect("usage: header REPOSITORY"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let header = cbindgen::Builder::new().with_crate(root).with_config(config).generate().unwrap();
    header.write(std::io::stdout());
}
