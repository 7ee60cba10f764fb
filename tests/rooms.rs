//! The house stays as it is drawn: which room of `src/` may use which, and how files inside a room hang together.
//!
//! A room is a folder of `src/` (or a file beside `lib.rs`). The table of `docs/architecture.md` names the rooms from
//! the top down, and the rooms that each may use; this test reads that table and the sources, so the picture cannot be
//! wrong. A room may use only rooms below it, so no two rooms can use each other.
//!
//! Inside a room, files that use each other in a circle can only be understood together. Uses are followed to the file
//! that defines a name, through re-exports. Tests are left out: they may look at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files that may stand in one circle.
const LARGEST_CIRCLE: usize = 2;

/// A module: its file, and the modules in it.
#[derive(Default)]
struct Module {
    file: PathBuf,
    /// Without comments and tests.
    text: String,
    children: BTreeSet<String>,
}

/// Modules by path: `["graph", "layout"]`.
type House = BTreeMap<Vec<String>, Module>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code that counts: without comments, and up to the tests at a file's end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
    text.lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn read(folder: &Path, path: &[String], house: &mut House) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        let name = entry.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name == "lib" {
            continue;
        }
        let mut inner = path.to_vec();
        if entry.is_dir() {
            inner.push(name.clone());
            read(&entry, &inner, house);
        } else if name != "mod" {
            inner.push(name.clone());
        }
        if !entry.is_dir() {
            let module = house.entry(inner).or_default();
            module.text = code(&std::fs::read_to_string(&entry).unwrap());
            module.file = entry;
        }
        if name != "mod" && !path.is_empty() {
            house.entry(path.to_vec()).or_default().children.insert(name);
        }
    }
}

/// The single paths of what follows `use`: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap_or(tree).trim().to_owned()];
    };
    let (head, body) = (&tree[..open], tree[open + 1..].trim_end().trim_end_matches('}'));
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&body[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&body[start..]);
    let whole = parts.into_iter().filter(|p| !p.trim().is_empty());
    whole.flat_map(|p| expand(p).into_iter().map(|p| format!("{head}{p}"))).collect()
}

/// (whether it is a re-export, path) of every `use` of a module's own level.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let line = rest[..at].rfind('\n').map_or(0, |n| n + 1);
        let before = rest[line..at].to_owned();
        let after = &rest[at + 4..];
        let end = after.find(';').unwrap_or(after.len());
        if before.is_empty() || before.starts_with("pub") {
            out.extend(expand(&after[..end]).into_iter().map(|p| (before.starts_with("pub"), p)));
        }
        rest = &after[end..];
    }
    out
}

/// Paths beside those of `use`: `super::a::b(…)`, `crate::a::B`, and in a module with children `child::f(…)`.
fn inline(text: &str, children: &BTreeSet<String>) -> Vec<String> {
    let starts = ["super::", "crate::"].map(str::to_owned).into_iter();
    let starts = starts.chain(children.iter().map(|c| format!("{c}::")));
    let mut out = Vec::new();
    for start in starts {
        for (at, _) in text.match_indices(&start) {
            let free = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
            let line = &text[text[..at].rfind('\n').map_or(0, |n| n + 1)..at];
            if text[..at].chars().next_back().is_none_or(free) && !line.trim_start().starts_with("use ") {
                let path = text[at..].split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next();
                out.push(path.unwrap_or("").trim_end_matches(':').to_owned());
            }
        }
    }
    out
}

/// The module that defines what `path`, written in module `from`, leads to.
fn definer(house: &House, from: &[String], path: &str, depth: usize) -> Vec<Vec<String>> {
    let mut at = from.to_vec();
    let mut segments: Vec<&str> = path.split("::").map(str::trim).collect();
    match segments.first() {
        Some(&"crate") => at.clear(),
        Some(&"self") => {}
        Some(&"super") => {
            while segments.first() == Some(&"super") {
                at.pop();
                segments.remove(0);
            }
            segments.insert(0, "");
        }
        Some(child) if house.get(from).is_some_and(|m| m.children.contains(*child)) => segments.insert(0, ""),
        _ => return Vec::new(),
    }
    for (i, segment) in segments.iter().enumerate().skip(1) {
        let inner: Vec<String> = at.iter().cloned().chain([(*segment).to_owned()]).collect();
        if house.contains_key(&inner) {
            at = inner;
            continue;
        }
        // A name: defined here, or handed on from elsewhere.
        let Some(module) = house.get(&at) else { return Vec::new() };
        let handed: Vec<String> = uses(&module.text).into_iter().filter(|(p, _)| *p).map(|(_, p)| p).collect();
        let wanted = |p: &&String| *segment == "*" || p.rsplit("::").next() == Some(segment) || p.ends_with("::*");
        let found: Vec<Vec<String>> = match depth {
            0 => Vec::new(),
            _ => handed.iter().filter(wanted).flat_map(|p| definer(house, &at, p, depth - 1)).collect(),
        };
        return if found.is_empty() || i + 1 < segments.len() { vec![at] } else { found };
    }
    vec![at]
}

/// The modules that each module uses.
fn edges(house: &House) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let mut out = BTreeMap::new();
    for (path, module) in house {
        let own = uses(&module.text).into_iter().filter(|(handed_on, _)| !handed_on).map(|(_, p)| p);
        let all = own.chain(inline(&module.text, &module.children));
        let mut to: BTreeSet<Vec<String>> = all.flat_map(|p| definer(house, path, &p, 4)).collect();
        to.remove(path);
        to.retain(|t| house.contains_key(t));
        out.insert(path.clone(), to);
    }
    out
}

/// The largest set of modules that all lead to each other.
fn largest_circle(edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Vec<Vec<String>> {
    let reach = |from: &Vec<String>| {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(next) = todo.pop() {
            todo.extend(edges.get(&next).into_iter().flatten().filter(|t| seen.insert((*t).clone())).cloned());
        }
        seen
    };
    let all: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = edges.keys().map(|k| (k, reach(k))).collect();
    let circle = |a: &Vec<String>| -> Vec<Vec<String>> {
        all[a].iter().filter(|b| all.get(b).is_some_and(|r| r.contains(a))).cloned().collect()
    };
    edges.keys().map(circle).max_by_key(Vec::len).unwrap_or_default()
}

/// The table of `docs/architecture.md`: rooms from the top down, and what each may use.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let rows = text.lines().filter(|l| l.starts_with("| `src/"));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<String>>();
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let room = cells[0].trim_matches('`').trim_start_matches("src/").trim_end_matches('/').trim_end_matches(".rs");
        (room.to_owned(), names(cells[cells.len() - 1]))
    })
    .collect()
}

fn house() -> House {
    let mut house = House::new();
    read(&root().join("src"), &[], &mut house);
    house
}

#[test]
fn no_room_uses_one_above_it() {
    let table = table();
    let place = |room: &str| table.iter().position(|(r, _)| r == room);
    for (i, (room, may_use)) in table.iter().enumerate() {
        for other in may_use {
            let at = place(other).unwrap_or_else(|| panic!("{room} may use {other}, which is no room of the table"));
            assert!(at > i, "the table lets {room} use {other}, which is above it");
        }
    }
    let house = house();
    let rooms: BTreeSet<&String> = house.keys().map(|path| &path[0]).collect();
    for room in &rooms {
        assert!(place(room).is_some(), "src/{room} is no room of the table in docs/architecture.md");
    }
    assert_eq!(rooms.len(), table.len(), "rooms of the table that are not there");
    let mut used: BTreeMap<&String, BTreeSet<String>> = BTreeMap::new();
    for (path, module) in &house {
        // Any mention counts, also without `use`.
        for (at, _) in module.text.match_indices("crate::") {
            let rest = &module.text[at + 7..];
            let names = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap_or(""));
            for name in names.split(',').take(if rest.starts_with('{') { usize::MAX } else { 1 }) {
                let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if rooms.contains(&name) && name != path[0] {
                    used.entry(&path[0]).or_default().insert(name.clone());
                    let (_, may_use) = &table[place(&path[0]).unwrap()];
                    let file = module.file.strip_prefix(root()).unwrap().display();
                    assert!(
                        may_use.contains(&name),
                        "{file} uses {name}, which the table does not let {} use",
                        path[0]
                    );
                }
            }
        }
    }
    for (room, may_use) in &table {
        let idle: Vec<_> = may_use.iter().filter(|o| !used.get(room).is_some_and(|u| u.contains(*o))).collect();
        assert!(idle.is_empty(), "the table lets {room} use {idle:?}, which it does not: the picture is old");
    }
}

#[test]
fn files_of_a_room_make_no_large_circle() {
    let circle = largest_circle(&edges(&house()));
    let names: Vec<String> = circle.iter().map(|path| path.join("/")).collect();
    println!("largest circle of files inside a room: {} {names:?}", circle.len().max(1));
    assert!(circle.len() <= LARGEST_CIRCLE, "{} files use each other in a circle: {names:?}", circle.len());
}

/// The checks can fail: a planted circle is found through a re-export, a brace and a path without `use`.
#[test]
fn a_planted_circle_is_found() {
    let module = |text: &str, children: &[&str]| Module {
        file: PathBuf::new(),
        text: code(text),
        children: children.iter().map(|c| (*c).to_owned()).collect(),
    };
    let path = |p: &str| p.split('/').map(str::to_owned).collect::<Vec<_>>();
    let house = House::from([
        (path("r"), module("mod a;\nmod b;\nmod c;\npub use a::A;\n", &["a", "b", "c"])),
        (path("r/a"), module("use super::{b::B, c};\npub struct A;\n", &[])),
        (path("r/b"), module("pub struct B;\nfn f() { super::c::g() }\n", &[])),
        (path("r/c"), module("use super::A;\n#[cfg(test)]\nmod tests {\n    use super::super::b;\n}\n", &[])),
    ]);
    assert_eq!(largest_circle(&edges(&house)), [path("r/a"), path("r/b"), path("r/c")]);
    assert_eq!(expand("a::{b, c::{d, e as f}, g}"), ["a::b", "a::c::d", "a::c::e", "a::g"]);
}
