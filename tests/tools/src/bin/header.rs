//! Prints the C declarations that cbindgen makes of source files: `header CBINDGEN_TOML SOURCE...`.

use std::path::PathBuf;

fn main() {
    let mut files = std::env::args_os().skip(1).map(PathBuf::from);
    let config = cbindgen::Config::from_file(files.next().expect("usage: header CBINDGEN_TOML SOURCE...")).unwrap();
    let builder = files.fold(cbindgen::Builder::new(), cbindgen::Builder::with_src);
    builder.with_config(config).generate().unwrap().write(std::io::stdout());
}
