//! Templates, the texts that were recorded for them, and readers of replies. Include with `#[path =
//! "support/replies.rs"]`.

// Each program that includes this uses another part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::chat::{Options, Templates};
use rekindle::gguf::Gguf;
use rekindle::reply::{Choice, Params, Reply};
use rekindle::vocab::Vocab;
use serde_json::Value;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The vocabulary of a file with templates, and these.
pub type World = (Arc<Vocab>, Templates);

pub fn world() -> World {
    let g = Gguf::open(&fixtures().join("chat/model.gguf")).unwrap();
    let vocab = Vocab::from_gguf(&g).unwrap();
    let templates = Templates::from_gguf(&g, &vocab).unwrap();
    (Arc::new(vocab), templates)
}

/// The tools that all fixtures know.
pub fn tools() -> String {
    std::fs::read_to_string(fixtures().join("replies/tools.json")).unwrap()
}

/// A template of the repository, or of the folder that REKINDLE_TEMPLATES names: not all may be passed on.
pub fn template(name: &str) -> Option<String> {
    let folders = [fixtures().join("chat/templates"), fixtures().join("replies/templates")];
    let folders = folders.into_iter().chain(std::env::var_os("REKINDLE_TEMPLATES").map(PathBuf::from));
    folders.into_iter().find_map(|f| std::fs::read_to_string(f.join(format!("{name}.jinja"))).ok())
}

/// The recorded texts of each template that is at hand.
pub fn recorded() -> BTreeMap<String, Vec<Value>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(fixtures().join("replies")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|e| e == "json") && name != "tools" {
            if template(&name).is_none() {
                println!("SKIPPED {name}: its template is not here (REKINDLE_TEMPLATES names a folder)");
                continue;
            }
            let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            all.insert(name, cases);
        }
    }
    all
}

pub fn reply(world: &World, template: &str, tools: Option<&str>) -> Reply {
    choosing(world, template, tools, Choice::Auto)
}

pub fn choosing(world: &World, template: &str, tools: Option<&str>, choice: Choice) -> Reply {
    let chat = Options {
        text: Some(template),
        tools,
        variables: Some("{\"enable_thinking\": true}"),
        now: Some(1_721_997_296),
        ..Options::default()
    };
    Reply::new(&world.0, &world.1, &Params { chat, choice, seed: 1, ..Params::default() }).unwrap()
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Pieces of a text, some of them empty.
    pub fn cut<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        let mut pieces = Vec::new();
        let mut from = 0;
        while from < text.len() {
            let mut to = (from + self.below(12)).min(text.len());
            while !text.is_char_boundary(to) {
                to += 1;
            }
            pieces.push(&text[from..to]);
            from = to;
        }
        pieces
    }
}
