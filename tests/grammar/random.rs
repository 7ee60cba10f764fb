//! Schemas made at random, and texts made at random under them: each text is valid by another implementation
//! (`tests/tools`), whatever tokens were chosen.

use serde_json::{Map, Value, json};

use super::*;

const SCHEMAS: usize = 300;

/// A small generator of numbers (xorshift, Marsaglia 2003), so that the texts are the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

const NAMES: [&str; 8] = ["a", "name", "the sea", "é", "x/y", "quo\"te", "n~1", "$ref?"];

fn schema(r: &mut Random, depth: usize) -> Value {
    match r.below(if depth == 0 { 7 } else { 13 }) {
        0 => json!({"type": "string", "minLength": r.below(3), "maxLength": 3 + r.below(6)}),
        1 => json!({"type": "string", "pattern": *r.pick(&["^[a-c]{2,5}$", "^(x|yz)+[0-9]$", "q"]), "maxLength": 40}),
        2 => json!({"type": "string", "format": *r.pick(&["uuid", "ipv4", "time"])}),
        3 => json!({"enum": [*r.pick(&NAMES), r.below(99), null, true, ["x", {"y": 1}]]}),
        4 => {
            let low = r.below(500) as i64 - 250;
            json!({"type": "integer", "minimum": low, "maximum": low + 1 + r.below(300) as i64})
        }
        5 => json!({"type": "number", "exclusiveMinimum": r.below(9), "maximum": 10 + r.below(90)}),
        6 => match r.below(3) {
            0 => json!({"const": *r.pick(&NAMES)}),
            1 => json!({"type": ["boolean", "null"]}),
            _ => json!({"type": "integer", "multipleOf": 1 + r.below(6), "minimum": 0, "maximum": 60}),
        },
        7 => {
            json!({"type": "array", "items": schema(r, depth - 1), "minItems": r.below(3), "maxItems": 2 + r.below(3)})
        }
        8 => json!({"type": "array", "prefixItems": [schema(r, depth - 1), schema(r, depth - 1)], "items": false}),
        9 => json!({"anyOf": [schema(r, depth - 1), schema(r, depth - 1)]}),
        10 => json!({"$ref": *r.pick(&["#/$defs/word", "#/$defs/x~1y", "#/$defs/list"])}),
        11 => json!({"allOf": [object(r, depth - 1), object(r, depth - 1)]}),
        _ => object(r, depth),
    }
}

/// The schema of an object at random. Some contradict themselves.
pub fn document(r: &mut Random) -> Value {
    let mut schema = object(r, 2);
    schema["$defs"] = json!({
        "word": {"type": "string", "maxLength": 5}, "x/y": {"type": "integer", "maximum": 5, "minimum": 1},
        "list": {"type": "array", "items": {"$ref": "#/$defs/word"}, "maxItems": 2},
    });
    schema
}

fn object(r: &mut Random, depth: usize) -> Value {
    let mut properties = Map::new();
    for _ in 0..r.below(4) {
        properties.insert((*r.pick(&NAMES)).to_owned(), schema(r, depth.saturating_sub(1)));
    }
    let required: Vec<String> = properties.keys().filter(|_| r.coin()).cloned().collect();
    let additional = if r.coin() { json!(false) } else { json!({"type": "integer", "minimum": 0, "maximum": 9}) };
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": additional})
}

/// A text under the grammar. After some tokens it takes those that bring it to its end, where it may.
fn write(g: &mut Grammar, r: &mut Random) -> String {
    let ends = [b"\"", b"}", b"]"];
    let mut text = Vec::new();
    for n in 0..20_000 {
        let mask = g.mask().unwrap();
        let allowed: Vec<i32> =
            (0..mask.len() as i32 * 32).filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1).collect();
        let end = allowed.iter().find(|id| vocab().is_eog(**id)).copied();
        assert_eq!(end.is_some(), g.is_complete().unwrap());
        let piece = |id: i32| vocab().piece(id, false).unwrap();
        let closing = ends.iter().find_map(|e| allowed.iter().find(|id| piece(**id) == e[..]));
        let token = match (end, closing) {
            (Some(end), _) if n > 30 || r.coin() => end,
            (_, Some(closing)) if n > 30 && r.coin() => *closing,
            _ => *r.pick(&allowed),
        };
        g.accept(token).unwrap();
        if Some(token) == end {
            return String::from_utf8(text).unwrap();
        }
        text.extend(piece(token));
    }
    panic!("no end: {}", String::from_utf8_lossy(&text));
}

#[test]
fn random_texts_satisfy_their_schemas() {
    let mut r = Random(0x2545_f491_4f6c_dd1d);
    let (mut lines, mut texts, mut refused) = (String::new(), Vec::new(), 0);
    while texts.len() < SCHEMAS {
        let schema = document(&mut r);
        let Ok(mut g) = grammar(Kind::JsonSchema, &schema.to_string()) else {
            refused += 1;
            continue;
        };
        let text = write(&mut g, &mut r);
        assert_eq!(g.check(text.as_bytes()).unwrap(), Verdict::Complete, "{schema}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{schema}: {text}: {e}"));
        lines.push_str(&format!("{schema}\n{value}\n\n"));
        texts.push((schema, text));
    }
    assert!(refused < SCHEMAS / 3, "{refused} refused");
    let verdicts = tools::tool("schema", &[], &lines);
    let verdicts: Vec<&str> = verdicts.lines().collect();
    assert_eq!(verdicts.len(), texts.len());
    for ((schema, text), errors) in texts.iter().zip(verdicts) {
        assert_eq!(errors, "[]", "{schema}: {text}");
    }
}
