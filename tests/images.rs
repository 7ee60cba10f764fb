//! The images under kernels/images are those of the sources beside them: by their checksums always, by compiling them
//! anew where there is a compiler. (CI installs one.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}; kernels/build.py writes it", path.display()))
}

/// CRC-32 as zlib has it, in hexadecimal.
fn crc(bytes: &[u8]) -> String {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let sum = bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step));
    format!("{:08x}", !sum)
}

fn names(folder: &Path, endings: &[&str]) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let all = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    all.filter(|name| endings.iter().any(|end| name.ends_with(end))).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn images_are_of_these_sources() {
    let kernels = kernels();
    let images = kernels.join("images");
    let index: Value = serde_json::from_slice(&read(&images.join("index.json"))).unwrap();
    let sources = &index["sources"];
    assert_eq!(keys(sources), names(&kernels, &[".cu", ".h"]), "kernels/build.py brings the index up to date");
    for name in keys(sources) {
        assert_eq!(
            crc(&read(&kernels.join(&name))),
            sources[&name],
            "kernels/{name} changed after its images: run kernels/build.py"
        );
    }
    let mut known = BTreeSet::new();
    for file in keys(&index["files"]) {
        for name in keys(&index["files"][&file]["images"]) {
            let said = &index["files"][&file]["images"][&name];
            let image = miniz_oxide::inflate::decompress_to_vec_zlib(&read(&images.join(&name))).unwrap_or_default();
            assert_eq!(crc(&image), *said, "kernels/images/{name} is not what kernels/build.py wrote");
            known.insert(name);
        }
    }
    assert_eq!(known, names(&images, &[".z"]), "images without a source, or the reverse");
    let files: BTreeSet<String> =
        names(&kernels, &[".cu"]).iter().map(|n| n.trim_end_matches(".cu").to_owned()).collect();
    assert_eq!(keys(&index["files"]), files, "files without images, or the reverse");
}

/// It takes minutes and downloads the compiler, so only CI does it; and one of a file's seven images, which is another
/// whenever a source changes. Before a release, `kernels/build.py --check` compiles them all.
#[test]
fn images_compile_to_the_same_bytes() {
    if !std::env::var("CI").is_ok_and(|v| v == "true") {
        println!("SKIPPED: compiling the kernels anew (CI=true does it, or kernels/build.py --check)");
        return;
    }
    let mut check = Command::new("python3");
    check.arg(kernels().join("build.py")).args(["--check", "--sample"]);
    let (status, text) = match check.output() {
        Ok(out) => {
            let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            (out.status.code(), text)
        }
        Err(e) => (Some(3), format!("python3: {e}")),
    };
    match status {
        Some(0) => print!("{text}"),
        _ => panic!("kernels/build.py --check:\n{text}"),
    }
}
