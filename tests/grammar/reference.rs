//! The reference's own GBNF grammars: 2,000 texts each, made from the grammar, half of them changed, with the verdicts
//! of the reference's matcher. `tests/fixtures/gbnf/make.py` made them.

use serde_json::Value;

use super::*;

#[test]
fn gbnf_verdicts_are_those_of_the_reference() {
    let all: Value = serde_json::from_str(&unpacked(&root().join("tests/fixtures/gbnf/reference.json.z"))).unwrap();
    let mut n = 0;
    for case in all.as_array().unwrap() {
        let name = case[0].as_str().unwrap();
        let g = grammar(Kind::Gbnf, case[1].as_str().unwrap()).unwrap();
        for text in case[2].as_array().unwrap() {
            let (verdict, text) = (&text[0], text[1].as_str().unwrap());
            let expected = match (verdict.as_str(), verdict.as_u64()) {
                (Some("c"), _) => Verdict::Complete,
                (Some("p"), _) => Verdict::Prefix,
                (_, Some(at)) => Verdict::Refused(at as usize),
                _ => panic!("{verdict}"),
            };
            let found = match g.check(text.as_bytes()).unwrap() {
                // The reference reads characters; a byte inside one is where that character is refused.
                Verdict::Refused(at) => Verdict::Refused((0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap()),
                other => other,
            };
            assert_eq!(found, expected, "{name}: {text:?}");
            n += 1;
        }
    }
    assert_eq!(n, 8 * 2000);
}
