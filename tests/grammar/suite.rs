//! The JSON-Schema-Test-Suite, draft 2020-12, its optional part as well. Each schema is refused with a message, or its
//! valid instances are accepted and its invalid ones are not. What differs is counted, by its reason.

use std::collections::BTreeMap;

use rekindle::Status;
use serde_json::Value;

use super::*;

/// The counts that are reached. A better grammar may change them; none may get worse unseen.
const SCHEMAS: usize = 438;
const COMPILED: usize = 216;
const AGREE: usize = 968;

/// Why a verdict is another one than the suite's, and how often.
const REASONS: [(&str, usize); 7] = [
    // The suite takes formats for remarks that restrict nothing, but for its optional part.
    ("a format restricts values", 10),
    ("a format's rule is simpler than its standard", 22),
    ("a pattern does not count U+FEFF as white space", 2),
    ("a vocabulary of the schema's own is not known", 1),
    ("a whole number has no fraction and no exponent", 10),
    ("properties come in the schema's order", 3),
    ("wrong", 0),
];

/// Why a schema is refused, and how often: a word of the message.
const REFUSALS: [(&str, usize); 8] = [
    ("Unimplemented keys", 155),
    ("leads out of the schema", 23),
    ("Unknown format", 20),
    ("oneOf", 8),
    ("nsatisfiable", 6),
    ("too many digits", 1),
    ("not disjoint", 3),
    ("regex", 6),
];

/// Each case: file, name, schema, instances.
pub fn cases() -> Vec<Value> {
    let all = unpacked(&root().join("tests/fixtures/json-schema/suite.json.z"));
    serde_json::from_str(&all).unwrap()
}

#[test]
fn schemas_of_the_test_suite() {
    let all = cases();
    let (mut compiled, mut agree) = (0, 0);
    let mut reasons: BTreeMap<&str, usize> = REASONS.iter().map(|(r, _)| (*r, 0)).collect();
    let mut refusals: BTreeMap<&str, usize> = REFUSALS.iter().map(|(r, _)| (*r, 0)).collect();
    for case in &all {
        let (file, name) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
        let g = match grammar(Kind::JsonSchema, &case[2].to_string()) {
            Ok(g) => g,
            Err(e) => {
                assert!([Status::InvalidArgument, Status::Unsupported].contains(&e.status), "{file}, {name}: {e}");
                let known = REFUSALS.iter().find(|(word, _)| e.message.contains(word));
                let (word, _) = known.unwrap_or_else(|| panic!("{file}, {name}: {e}"));
                *refusals.entry(word).or_default() += 1;
                continue;
            }
        };
        compiled += 1;
        for instance in case[3].as_array().unwrap() {
            let (text, valid) = (instance[1].as_str().unwrap(), instance[2].as_bool().unwrap());
            let found = g.check(text.as_bytes()).unwrap();
            if (found == Verdict::Complete) == valid {
                agree += 1;
                continue;
            }
            let reason = reason(file, text);
            if reason == "wrong" {
                println!("{file}, {name}: {text} is {found:?}, valid: {valid}");
            }
            *reasons.entry(reason).or_default() += 1;
        }
    }
    assert_eq!(reasons, REASONS.into_iter().collect());
    assert_eq!(refusals, REFUSALS.into_iter().collect());
    assert_eq!((all.len(), compiled, agree), (SCHEMAS, COMPILED, AGREE));
}

fn reason(file: &str, text: &str) -> &'static str {
    match file {
        "format" => "a format restricts values",
        f if f.starts_with("optional/format/") => "a format's rule is simpler than its standard",
        "optional/ecmascript-regex" if text.contains('\u{feff}') => "a pattern does not count U+FEFF as white space",
        "vocabulary" => "a vocabulary of the schema's own is not known",
        "allOf" | "const" if text.starts_with("{\"") => "properties come in the schema's order",
        _ if text.contains(".0") || text.contains("e+") => "a whole number has no fraction and no exponent",
        _ => "wrong",
    }
}
