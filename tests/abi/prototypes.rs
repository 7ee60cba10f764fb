//! Reads the header: the functions with their arguments, the structs with a size, the opaque handles, the table of
//! functions.

use regex::Regex;

pub struct Argument {
    /// As C writes it, without spaces around `*`: `const rekindle_file*`.
    pub ty: String,
    pub name: String,
}

impl Argument {
    pub fn is_pointer(&self) -> bool {
        self.ty.ends_with('*') || self.ty.ends_with("_fn")
    }
    /// The type without `const` and its last `*`.
    pub fn pointee(&self) -> &str {
        self.ty.strip_prefix("const ").unwrap_or(&self.ty).trim_end_matches('*')
    }
}

pub struct Function {
    pub name: String,
    pub returns: String,
    pub arguments: Vec<Argument>,
}

impl Function {
    /// The three arguments of a result of unknown length: the index of the buffer.
    pub fn buffer(&self) -> Option<usize> {
        let names: Vec<&str> = self.arguments.iter().map(|a| a.name.as_str()).collect();
        names.windows(3).position(|w| w[1] == "capacity" && w[2] == "needed")
    }
}

pub struct Header {
    pub functions: Vec<Function>,
    /// Structs that begin with struct_size and that hosts fill or get.
    pub structs: Vec<String>,
    pub handles: Vec<String>,
    /// Names of the table's functions, in its order.
    pub table: Vec<String>,
}

impl Header {
    pub fn read() -> Header {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("include/rekindle.h");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Header::parse(&text)
    }

    pub fn parse(text: &str) -> Header {
        let text = Regex::new(r"(?s)/\*.*?\*/").unwrap().replace_all(text, " ");
        let text = Regex::new(r"(?m)^\s*#.*$").unwrap().replace_all(&text, " ");
        let call = Regex::new(r"(?s)([A-Za-z_][\w\s]*?[\s*]+)(rekindle_\w+)\s*\(([^()]*)\)\s*;").unwrap();
        let functions = call.captures_iter(&text).map(|c| function(&c[1], &c[2], &c[3])).collect();
        let of = |pattern: &str| -> Vec<String> {
            Regex::new(pattern).unwrap().captures_iter(&text).map(|c| c[1].to_owned()).collect()
        };
        let handles = of(r"typedef\s+struct\s+(rekindle_\w+)\s+rekindle_\w+\s*;");
        let mut structs =
            of(r"(?s)typedef\s+struct\s+(?:rekindle_\w+\s+)?\{\s*uint32_t\s+struct_size;[^{}]*\}\s*(rekindle_\w+)\s*;");
        structs.retain(|s| s != "rekindle_api_table");
        let body = Regex::new(r"(?s)\{([^{}]*)\}\s*rekindle_api_table\s*;").unwrap();
        let body = body.captures(&text).map(|c| c[1].to_owned()).unwrap_or_default();
        let table =
            Regex::new(r"\(\s*\*\s*(\w+)\s*\)\s*\(").unwrap().captures_iter(&body).map(|c| c[1].to_owned()).collect();
        Header { functions, structs, handles, table }
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" *", "*")
}

fn function(before: &str, name: &str, arguments: &str) -> Function {
    let returns = words(before).replace("REKINDLE_MUST_USE ", "").replace("extern ", "");
    let list = words(arguments);
    let arguments = list.split(',').map(str::trim).filter(|a| !a.is_empty() && *a != "void").map(|a| {
        let start = a.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
        Argument { ty: a[..start].trim().to_owned(), name: a[start..].to_owned() }
    });
    Function { name: name.to_owned(), returns, arguments: arguments.collect() }
}

/// The parser must not overlook anything: every exported name that the text declares is found.
#[test]
fn every_declaration_is_found() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("include/rekindle.h");
    let text = std::fs::read_to_string(path).unwrap();
    let header = Header::parse(&text);
    let text = Regex::new(r"(?s)/\*.*?\*/").unwrap().replace_all(&text, " ");
    let called: std::collections::BTreeSet<&str> = Regex::new(r"\b(rekindle_\w+)\s*\(")
        .unwrap()
        .captures_iter(&text)
        .map(|c| c.get(1).unwrap().as_str())
        .collect();
    let called: Vec<&str> = called.into_iter().filter(|n| *n != "rekindle_status").collect();
    let mut found: Vec<&str> = header.functions.iter().map(|f| f.name.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, called);
    assert!(
        header.functions.len() > 50
            && header.structs.len() > 15
            && header.handles.len() == 10
            && !header.table.is_empty()
    );
}
