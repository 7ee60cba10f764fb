//! Grammars of every kind, followed token by token.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::*;
use crate::error::Status;
use crate::gguf::Gguf;
use crate::vocab::Vocab;

/// 2048 tokens of SentencePiece's kind, all bytes among them.
fn vocab() -> Arc<Vocab> {
    static VOCAB: OnceLock<Arc<Vocab>> = OnceLock::new();
    let make = || {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
        Arc::new(Vocab::from_gguf(&Gguf::open(&path).unwrap()).unwrap())
    };
    VOCAB.get_or_init(make).clone()
}

fn make(kind: Kind, text: &str) -> Grammar {
    Grammar::new(&vocab(), kind, text, &Params::default()).unwrap()
}

fn refused(kind: Kind, text: &str) -> (Status, String) {
    match Grammar::new(&vocab(), kind, text, &Params::default()) {
        Ok(_) => panic!("{text} was taken"),
        Err(e) => (e.status, e.message),
    }
}

fn verdict(kind: Kind, grammar: &str, text: &str) -> Verdict {
    make(kind, grammar).check(text.as_bytes()).unwrap()
}

fn allowed(g: &mut Grammar) -> Vec<i32> {
    let mask = g.mask().unwrap();
    (0..mask.len() as i32 * 32).filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1).collect()
}

/// The token of a piece of text.
fn token(piece: &str) -> i32 {
    (0..vocab().n_tokens() as i32).find(|id| vocab().piece(*id, false).unwrap() == piece.as_bytes()).unwrap()
}

fn write(g: &mut Grammar, text: &str) {
    text.chars().for_each(|c| g.accept(token(&c.to_string())).unwrap());
}

const END: i32 = 2;

#[test]
fn regular_expressions() {
    assert_eq!(verdict(Kind::Regex, "a+b", "aab"), Verdict::Complete);
    assert_eq!(verdict(Kind::Regex, "a+b", "aa"), Verdict::Prefix);
    assert_eq!(verdict(Kind::Regex, "a+b", "aacb"), Verdict::Refused(2));
    assert_eq!(verdict(Kind::Regex, "^(a|/)$", "/"), Verdict::Complete);
    assert_eq!(verdict(Kind::Regex, "", ""), Verdict::Complete);
    assert_eq!(verdict(Kind::Regex, "", "a"), Verdict::Refused(0));
    assert_eq!(verdict(Kind::Regex, "[é-ü]", "è"), Verdict::Refused(1));
    assert_eq!(refused(Kind::Regex, "a(").0, Status::InvalidArgument);
}

#[test]
fn schemas() {
    let s = r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"]}"#;
    assert_eq!(verdict(Kind::JsonSchema, s, r#"{"a": 12, "b": "x"}"#), Verdict::Complete);
    assert_eq!(verdict(Kind::JsonSchema, s, r#"{"a": 12, "#), Verdict::Prefix);
    assert_eq!(verdict(Kind::JsonSchema, s, r#"{"a": true}"#), Verdict::Refused(6));
    assert_eq!(refused(Kind::JsonSchema, "{\"a\": 1").0, Status::InvalidArgument);
    let (status, text) = refused(Kind::JsonSchema, r#"{"not": {}}"#);
    assert!(status == Status::Unsupported && text.contains("\"not\""), "{text}");
    let (_, text) = refused(Kind::JsonSchema, r#"{"enum": []}"#);
    assert!(text.contains("nsatisfiable"), "{text}");
}

#[test]
fn references() {
    let s = |reference: &str| {
        format!(
            r##"{{"$id": "http://a/b/c", "items": {{"$ref": "{reference}"}}, "type": "array", "$defs": {{
            "x/y": {{"type": "null"}}, "p%q": {{"type": "null"}}, "e": {{"$id": "d/e", "type": "null", "$defs": {{
            "f": {{"$anchor": "f", "type": "null"}}}}}}}}}}"##
        )
    };
    let good = [
        "#/$defs/x~1y",
        "#/$defs/p%25q",
        "d/e",
        "/b/d/e#f",
        "http://a/b/d/e#/$defs/f",
        "c#/$defs/e",
        "#/$defs/e/$defs/f",
    ];
    for reference in good {
        assert_eq!(verdict(Kind::JsonSchema, &s(reference), "[null]"), Verdict::Complete, "{reference}");
        assert_eq!(verdict(Kind::JsonSchema, &s(reference), "[1]"), Verdict::Refused(1), "{reference}");
    }
    assert_eq!(verdict(Kind::JsonSchema, &s("#"), "[[[], []]]"), Verdict::Complete);
    for (reference, status) in
        [("#/nowhere", Status::InvalidArgument), ("#none", Status::InvalidArgument), ("other", Status::Unsupported)]
    {
        let (found, text) = refused(Kind::JsonSchema, &s(reference));
        assert!(found == status && text.contains(reference), "{reference}: {text}");
    }
    let circle = r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##;
    assert!(refused(Kind::JsonSchema, circle).1.contains("leads back to itself"));
}

/// A rule that needs itself without end cannot be written; it is named.
#[test]
fn endless_grammars_are_refused() {
    let needs =
        |to: &str| format!(r##"{{"type": "object", "properties": {{"a": {{"$ref": "{to}"}}}}, "required": ["a"]}}"##);
    let list =
        |to: &str, min: usize| format!(r##"{{"type": "array", "items": {{"$ref": "{to}"}}, "minItems": {min}}}"##);
    let with = |root: &str, defs: &[(&str, String)]| {
        let defs: Vec<String> = defs.iter().map(|(name, schema)| format!("\"{name}\": {schema}")).collect();
        format!("{{{root}, \"$defs\": {{{}}}}}", defs.join(", "))
    };
    let a = r##""$ref": "#/$defs/a""##;
    let optional = r##""type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}"##;
    for (schema, name) in [
        (needs("#"), "'#'"),
        (with(a, &[("a", needs("#/$defs/b")), ("b", list("#/$defs/c", 1)), ("c", needs("#/$defs/b"))]), "'#/$defs/b'"),
        // It could be left away, but who begins it never gets out.
        (with(optional, &[("a", list("#/$defs/a", 2))]), "'#/$defs/a'"),
    ] {
        let (status, message) = refused(Kind::JsonSchema, &schema);
        assert!(status == Status::InvalidArgument && message.contains(name), "{schema}: {message}");
        assert!(message.contains("never comes to an end"), "{message}");
    }
    for lark in ["start: \"a\" b\nb: \"x\" c\nc: \"y\" b", "start: \"a\" | b\nb: b b"] {
        let (status, message) = refused(Kind::Lark, lark);
        assert!(status == Status::InvalidArgument && message.contains("'b' never comes"), "{lark}: {message}");
    }
    // An end that is far away is one.
    let either = r##""anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]"##;
    for (schema, text) in [
        (with(optional, &[("a", list("#", 2))]), r#"{"x": [{}, {"x": [{}, {}]}]}"#),
        (with(either, &[("a", list("#", 2))]), "[null, [null, null]]"),
        (with(a, &[("a", needs("#/$defs/b")), ("b", list("#/$defs/a", 0))]), r#"{"a": [{"a": []}]}"#),
    ] {
        assert_eq!(verdict(Kind::JsonSchema, &schema, text), Verdict::Complete, "{schema}");
    }
}

#[test]
fn lark_and_its_start() {
    let text = "a: \"x\" b\nb: /[0-9]+/";
    assert!(refused(Kind::Lark, text).1.contains("start"));
    let params = Params { start: Some("a".into()), ..Params::default() };
    let g = Grammar::new(&vocab(), Kind::Lark, text, &params).unwrap();
    assert_eq!(g.check(b"x12").unwrap(), Verdict::Complete);
    let bad = Params { start: Some("a\nstart: b".into()), ..Params::default() };
    assert_eq!(Grammar::new(&vocab(), Kind::Lark, text, &bad).err().unwrap().detail.subject, "start");
    let on_regex = Grammar::new(&vocab(), Kind::Regex, "a", &params).err().unwrap();
    assert_eq!(on_regex.detail.subject, "start");
}

/// A mask has just the tokens that `accept` takes, and a refused token changes nothing.
#[test]
fn masks_are_what_is_accepted() {
    let mut g = make(Kind::JsonSchema, r#"{"type": "array", "items": {"enum": ["God", "Gold", 12, null]}}"#);
    for step in 0..60 {
        let allowed = allowed(&mut g);
        let forced = g.forced().unwrap();
        for id in 0..g.n_tokens() as i32 {
            let taken = g.clone().accept(id).is_ok();
            // A forced text may be written with other tokens; the mask leaves the vocabulary's own.
            assert!(taken || !allowed.contains(&id), "step {step}: token {id}");
            assert!(!taken || allowed.contains(&id) || !forced.is_empty() || id == END, "step {step}: token {id}");
        }
        assert_eq!(allowed.contains(&END), g.is_complete().unwrap());
        assert_eq!(g.accept(token("Q")).unwrap_err().status, Status::InvalidArgument);
        if let [first, ..] = forced[..] {
            assert_eq!(allowed, [first]);
        }
        let next = allowed[step * 7 % allowed.len()];
        g.accept(next).unwrap();
        if next == END {
            break;
        }
    }
}

#[test]
fn ends_stand_where_a_text_is_complete() {
    let mut g = make(Kind::Regex, "ab?");
    assert!(!allowed(&mut g).contains(&END));
    assert!(g.accept(END).is_err());
    write(&mut g, "a");
    assert!(allowed(&mut g).contains(&END) && allowed(&mut g).contains(&token("b")));
    let mut longer = g.clone();
    write(&mut longer, "b");
    assert_eq!(allowed(&mut longer), [END]);
    assert!(longer.forced().unwrap().is_empty());
    g.accept(END).unwrap();
    assert!(allowed(&mut g).is_empty() && g.is_complete().unwrap() && g.accept(token("b")).is_err());
    g.reset();
    assert_eq!(allowed(&mut g), allowed(&mut make(Kind::Regex, "ab?")));
    for bad in [-1, g.n_tokens() as i32] {
        assert_eq!(g.accept(bad).unwrap_err().detail.subject, "token");
    }
}

/// Forced tokens are those with which the vocabulary writes the text.
#[test]
fn forced_tokens() {
    let mut g = make(Kind::Regex, "In the beginning( God| the heaven)!");
    let forced = g.forced().unwrap();
    assert!(!forced.is_empty());
    let own = vocab().tokenize_inside("In the beginning").unwrap();
    assert!(own.starts_with(&forced), "{own:?} {forced:?}");
    for id in forced {
        assert_eq!(allowed(&mut g), [id]);
        g.accept(id).unwrap();
    }
    assert!(allowed(&mut g).len() > 1);
}

fn lazy(kind: Kind, text: &str, texts: &[&str], tokens: &[i32], from_trigger: bool) -> crate::Result<Grammar> {
    let trigger_texts = texts.iter().map(|t| t.as_bytes().to_vec()).collect();
    let params = Params { start: None, trigger_texts, trigger_tokens: tokens.to_vec(), from_trigger, apart: None };
    Grammar::new(&vocab(), kind, text, &params)
}

#[test]
fn triggers() {
    let everything = vocab().n_tokens();
    let mut g = lazy(Kind::Regex, "ab", &["<<", "!go"], &[token("Q")], false).unwrap();
    assert!(g.is_complete().unwrap() && g.forced().unwrap().is_empty());
    assert!(allowed(&mut g).len() > everything - 20);
    write(&mut g, "any <! < text !g");
    let mut by_token = g.clone();
    write(&mut g, "o");
    assert!(!g.is_complete().unwrap());
    write(&mut g, "ab");
    assert_eq!(allowed(&mut g), [END]);
    write(&mut by_token, "Qab");
    assert_eq!(allowed(&mut by_token), [END]);
    g.reset();
    g.accept(END).unwrap();
    assert!(allowed(&mut g).is_empty());

    let mut whole = lazy(Kind::Regex, "<<ab", &["<<"], &[], true).unwrap();
    write(&mut whole, "x<<ab");
    assert_eq!(allowed(&mut whole), [END]);
    assert!(lazy(Kind::Regex, "ab", &["<<"], &[], true).err().unwrap().message.contains("trigger_texts[0]"));
    assert!(lazy(Kind::Regex, "ab", &[], &[token("Q")], true).is_err());
    assert!(lazy(Kind::Regex, "ab", &[""], &[], false).is_err());
    assert!(lazy(Kind::Regex, "ab", &["x"; 65], &[], false).is_err());
    assert!(lazy(Kind::Regex, "ab", &[], &[-3], false).is_err());
}

/// Where a text is apart, no trigger counts.
#[test]
fn triggers_within_reasoning() {
    let make = |begins| {
        let apart = Some(Apart { open: b"(".to_vec(), close: b"!)".to_vec(), begins });
        let params = Params { trigger_texts: vec![b"<<".to_vec()], apart, ..Params::default() };
        Grammar::new(&vocab(), Kind::Regex, "ab", &params).unwrap()
    };
    for (begins, text) in [(false, "x (<< !<<!)y<<ab"), (true, "<<!)<(<<!)<<ab"), (true, "!)<<ab"), (false, "<<ab")] {
        let mut g = make(begins);
        write(&mut g, text);
        assert_eq!(allowed(&mut g), [END], "{text}");
    }
    let mut g = make(true);
    write(&mut g, "<<x!)(<<y");
    assert!(g.is_complete().unwrap());
}

/// A token may end a trigger and go on: what goes on is the grammar's, and where that refuses it, the token is.
#[test]
fn triggers_inside_tokens() {
    let an = token("an");
    // "an" begins with the trigger's end, "a", and goes on with "n".
    for (regex, fits) in [("n[ex]?", true), ("xn", false)] {
        let mut g = lazy(Kind::Regex, regex, &["xa"], &[], false).unwrap();
        assert!(allowed(&mut g).contains(&an));
        write(&mut g, "x");
        assert_eq!(allowed(&mut g).contains(&an), fits, "{regex}");
        assert_eq!(g.accept(an).is_ok(), fits, "{regex}");
        if fits {
            assert!(g.is_complete().unwrap());
        } else {
            write(&mut g, "axn");
            assert_eq!(allowed(&mut g), [END]);
        }
    }
    // A whole trigger inside a token.
    let mut g = lazy(Kind::Regex, "zz", &["a"], &[], false).unwrap();
    assert!(!allowed(&mut g).contains(&an) && allowed(&mut g).contains(&token("a")));
    write(&mut g, "azz");
    assert_eq!(allowed(&mut g), [END]);
}

#[test]
fn gbnf() {
    let g = "root ::= greeting \" \" name{1,2} end?  # a comment\n\
             greeting ::= (\"Hi\"\n  | \"\\x48\\u0065\\\"\")\n\
             name ::= [A-Z] [^A-Z!\\n]* |\n \"\\U0001F600\"\nend ::= [!-]\n";
    for text in ["Hi Adam", "He\" Eve!", "Hi AdamEve-", "Hi 😀😀"] {
        assert_eq!(verdict(Kind::Gbnf, g, text), Verdict::Complete, "{text}");
    }
    assert_eq!(verdict(Kind::Gbnf, g, "Hi AbCdEf"), Verdict::Refused(7));
    assert_eq!(verdict(Kind::Gbnf, g, "Hi "), Verdict::Prefix);
    // Left and right recursion, nothing, and an optional rule at the end.
    let sums = "root ::= sum\nsum ::= sum \"+\" term | term\nterm ::= \"(\" sum \")\" | [0-9]+ unit\nunit ::= | \"m\"";
    for text in ["1", "1+2m+(3+(4m))"] {
        assert_eq!(verdict(Kind::Gbnf, sums, text), Verdict::Complete, "{text}");
    }
    assert_eq!(verdict(Kind::Gbnf, sums, "1+2mm"), Verdict::Refused(4));
    // The longest lexeme is the wrong one.
    let greedy = "root ::= a root b | [a-z]* \"-\"\na ::= \"x\" | \"xy\"\nb ::= \"yz\" | \"z\"";
    for text in ["xa-yz", "xya-z", "xxyq-zyz", "abc-", "-", "xyxyx--"] {
        let right = text != "xyxyx--";
        assert_eq!(verdict(Kind::Gbnf, greedy, text) == Verdict::Complete, right, "{text}");
    }
}

#[test]
fn gbnf_names_tokens() {
    let mut g = make(Kind::Gbnf, "root ::= \"a\" (<[2000]> | !<[2001]>) \"b\" <s>");
    write(&mut g, "a");
    let allowed = allowed(&mut g);
    assert!(allowed.len() == vocab().n_tokens() - 1 - 1 && !allowed.contains(&2001), "{}", allowed.len());
    g.accept(2000).unwrap();
    write(&mut g, "b");
    g.accept(1).unwrap();
    assert!(g.is_complete().unwrap());
}

#[test]
fn gbnf_mistakes_have_a_place() {
    for (text, place, what) in [
        ("root = \"a\"", "line 1, column 6", "expected '::='"),
        ("root ::= \"a\n\"\nb ::= [", "line 3, column 8", "expected a character"),
        ("root ::= é", "line 1, column 10", "expected an element"),
        ("root ::= (\"a\"", "line 1, column 14", "expected ')'"),
        ("root ::= \"\\q\"", "line 1, column 11", "no escape"),
        ("root ::= \"\\x4\"", "line 1, column 11", "2 hex digits"),
        ("root ::= \"\\uD800\"", "line 1, column 11", "no character"),
        ("root ::= [z-a]", "line 1, column 10", "no character"),
        ("root ::= *", "line 1, column 10", "before a repetition"),
        ("root ::= \"a\"{3,2}", "line 1, column 13", "fewer"),
        ("root ::= \"a\"{999999}", "line 1, column 14", "at most 100000"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1", "already"),
        ("root ::= a\na ::= b \"x\"", "line 2, column 7", "no rule 'b'"),
        ("root ::= \"a\" | a\na ::= \"b\" a", "line 2, column 1", "never comes to an end"),
        ("root ::= <[99999]>", "line 1, column 10", "no token"),
        ("root ::= <nothing>", "line 1, column 10", "no token"),
    ] {
        let (status, message) = refused(Kind::Gbnf, text);
        assert_eq!(status, Status::InvalidArgument);
        assert!(message.starts_with(place) && message.contains(what), "{text}: {message}");
    }
    assert!(refused(Kind::Gbnf, "a ::= \"b\"").1.contains("'root'"));
}
