//! Grammars and schemas that mean harm: each gets a status within a bounded processor time and in bounded memory, and
//! if it compiles, so does each mask after it. This is a program of its own, because the system counts the time and the
//! memory of a whole process.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use rekindle::Status;
use rekindle::gguf::Gguf;
use rekindle::grammar::{Grammar, Kind, Params};
use rekindle::vocab::Vocab;

/// Processor seconds that compiling one grammar may take, and one mask, in a build that is not optimised. They stand
/// far above what is measured: they are there to find what has no bound.
const COMPILE: f64 = 20.0;
const MASK: f64 = 4.0;
/// The most memory at any time.
const PEAK: u64 = 1 << 30;

/// Of this process so far.
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the result.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn chain(n: usize, rule: impl Fn(usize) -> String, last: &str) -> String {
    (0..n).map(rule).collect::<String>() + last
}

fn regexes() -> Vec<(&'static str, String)> {
    vec![
        ("nested stars", format!("{}a{}", "(".repeat(100), "*)*".repeat(100).replace("*)", ")"))),
        ("too many brackets", "(".repeat(1 << 19) + &")".repeat(1 << 19)),
        ("open brackets", "(a|".repeat(300_000)),
        ("repetitions of repetitions", "((a{1000}){1000}){1000}".into()),
        ("many states", "[ab]*a[ab]{60}".into()),
        ("many states of letters", "\\w*x\\w{200}y.{300}".into()),
        ("optional, then all", "(a?){500}a{500}".into()),
        ("letters", "\\p{L}{0,5000}".into()),
        ("a long text", "a".repeat(1 << 20)),
        ("too long a text", "a".repeat((1 << 20) + 1)),
        ("a long class", format!("[{}]", (0x4e00..0x9000).step_by(2).filter_map(char::from_u32).collect::<String>())),
        ("many alternatives", (0..100_000).map(|i| format!("{i}|")).collect()),
        ("words without end", "((a|b|ab|ba|aab)*(c|cc|ccc)*)*d".into()),
    ]
}

fn gbnfs() -> Vec<(&'static str, String)> {
    let doubled = chain(60, |i| format!("a{i} ::= a{} a{}\n", i + 1, i + 1), "a60 ::= \"x\"\nroot ::= a0\n");
    vec![
        ("brackets", format!("root ::= {}", "(".repeat(1 << 19))),
        ("brackets that close", format!("root ::= {}\"a\"{}", "(".repeat(200), ")*".repeat(200))),
        ("stars", format!("root ::= \"a\"{}", "*".repeat(1 << 19))),
        ("a chain of rules", chain(9_990, |i| format!("a{i} ::= \"x\" a{}\n", i + 1), "a9990 ::= \"y\"\nroot ::= a0")),
        (
            "a circle of rules",
            chain(5_000, |i| format!("a{i} ::= \"x\" a{} | \"z\"\n", (i + 1) % 5_000), "root ::= a0"),
        ),
        ("too many rules", chain(10_001, |i| format!("a{i} ::= \"x\"\n"), "root ::= a0")),
        ("doubled rules", doubled),
        ("repetitions of repetitions", "root ::= (((\"a\" | b){1000}){1000}){1000}\nb ::= \"b\" b?".into()),
        ("stars of nothing", "root ::= (((\"a\"*)*)* b?)*\nb ::= \"b\"* b?".into()),
        ("any tree", "root ::= root root | root root root | \"a\" | \"\"".into()),
        ("itself", "root ::= root".into()),
        ("itself, hidden", "root ::= a root\na ::= \"\" | a a".into()),
        ("a long text", format!("root ::= \"{}\" a\na ::= \"x\" a?", "a".repeat(1_000_000))),
        ("many alternatives", format!("root ::= \"x\" root{}", " | \"ab\"".repeat(100_000))),
        ("many classes", format!("root ::= a{}\na ::= \"x\" a?", " | [a-z] a".repeat(5_000))),
        ("optional rules", format!("root ::= a{}\na ::= \"x\" a?", " a?".repeat(20_000))),
        ("ambiguous", format!("root ::= {}\na ::= [a-z]+ a? | \"x\"", "a? ".repeat(300))),
    ]
}

fn larks() -> Vec<(&'static str, String)> {
    vec![
        ("brackets", format!("start: {}", "(".repeat(1 << 19))),
        ("square brackets", format!("start: {}\"a\"{}", "[".repeat(150), "]".repeat(150))),
        ("a chain of rules", chain(9_998, |i| format!("a{i}: \"x\" a{}\n", i + 1), "a9998: \"y\"\nstart: a0")),
        ("a chain of tokens", chain(9_998, |i| format!("A{i}: \"x\" A{}\n", i + 1), "A9998: \"y\"\nstart: A0")),
        ("doubled tokens", chain(60, |i| format!("A{i}: A{} A{}\n", i + 1, i + 1), "A60: \"y\"\nstart: A0")),
        ("itself", "start: start".into()),
        ("any tree", "start: start start | start start start | \"a\" | \"\"".into()),
        ("many times", "start: a~1..100000000\na: \"x\" a?".into()),
        ("a schema inside", format!("start: %json {}", "[".repeat(1 << 19))),
        ("a long substring", format!("start: %regex {{\"substring_chars\": \"{}\"}}", "ab".repeat(400_000))),
        ("nested grammars", format!("{}start: \"a\"{}", "start: %lark { ".repeat(100), "\n}".repeat(100))),
        ("a look ahead", "start: /(?=a)a(?!b)/".into()),
        ("stop", format!("start[stop=/{}/]: /.*/", "(a|b)*c".repeat(1000))),
        ("control characters", "start: \"\u{0}\u{1}\"".into()),
    ]
}

fn schemas() -> Vec<(&'static str, String)> {
    let list = |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(",");
    let either = r#"{"anyOf": [{"properties": {"a": {"minLength": 1}}}, {"properties": {"b": {"maxLength": 9}}}]}"#;
    vec![
        ("brackets", "[".repeat(1 << 20)),
        ("deep properties", "{\"properties\": {\"a\": ".repeat(1_000) + "{}" + &"}}".repeat(1_000)),
        ("all of either", format!("{{\"allOf\": [{}]}}", list(40, &|_| either.into()))),
        ("a long enumeration", format!("{{\"enum\": [{}]}}", list(60_000, &|i| format!("\"word {i}\"")))),
        ("many properties", {
            format!("{{\"type\": \"object\", \"properties\": {{{}}}}}", list(20_000, &|i| format!("\"p{i}\": {{}}")))
        }),
        ("all required", {
            let names = list(5_000, &|i| format!("\"p{i}\""));
            format!("{{\"type\": \"object\", \"required\": [{names}]}}")
        }),
        ("many patterns", {
            let patterns = list(300, &|i| format!("\"^p{i}[a-z]*x\": {{}}"));
            format!("{{\"type\": \"object\", \"patternProperties\": {{{patterns}}}}}")
        }),
        ("a bad pattern", r#"{"type": "string", "pattern": "(x+x+)+y[ab]*a[ab]{90}"}"#.into()),
        ("a long string", r#"{"type": "string", "minLength": 1000000000}"#.into()),
        ("a long array", r#"{"type": "array", "minItems": 1000000000, "items": {"type": "integer"}}"#.into()),
        ("a bounded array", r#"{"type": "array", "maxItems": 18446744073709551615}"#.into()),
        ("many properties at least", r#"{"type": "object", "minProperties": 100000000}"#.into()),
        ("tiny steps", r#"{"type": "number", "multipleOf": 1e-300}"#.into()),
        ("large steps", r#"{"type": "integer", "multipleOf": 999999999999}"#.into()),
        ("many steps", format!("{{\"allOf\": [{}]}}", list(200, &|i| format!("{{\"multipleOf\": {}}}", 10_007 + i)))),
        ("wide bounds", r#"{"type": "number", "minimum": -1.7e308, "maximum": 1.7e308}"#.into()),
        ("fine bounds", r#"{"type": "number", "minimum": 0.1234567890123456, "maximum": 0.1234567890123457}"#.into()),
        ("a chain of references", {
            let defs = list(9_998, &|i| format!("\"d{i}\": {{\"items\": {{\"$ref\": \"#/$defs/d{}\"}}}}", i + 1));
            format!("{{\"$ref\": \"#/$defs/d0\", \"$defs\": {{{defs}, \"d9998\": {{}}}}}}")
        }),
        ("a chain of names", {
            let defs = list(9_998, &|i| format!("\"d{i}\": {{\"$ref\": \"#/$defs/d{}\"}}", i + 1));
            format!("{{\"$ref\": \"#/$defs/d0\", \"$defs\": {{{defs}, \"d9998\": {{}}}}}}")
        }),
        ("itself", r##"{"$ref": "#"}"##.into()),
        ("itself for ever", r##"{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}"##.into()),
        (
            "itself twice",
            r##"{"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}"##.into(),
        ),
        ("itself in all", {
            let all = list(30, &|_| "{\"$ref\": \"#/$defs/a\"}".into());
            format!("{{\"$ref\": \"#/$defs/a\", \"$defs\": {{\"a\": {{\"items\": {{\"allOf\": [{all}]}}}}}}}}")
        }),
        ("a wide text", format!("{{\"const\": \"{}\"}}", "é".repeat(500_000))),
        ("a wrong value", format!("{{\"type\": \"{}\"}}", "é".repeat(99))),
    ]
}

#[test]
fn hostile_grammars_get_a_status() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bible-5M-Q8_0.gguf");
    let vocab = Arc::new(Vocab::from_gguf(&Gguf::open(&path).unwrap()).unwrap());
    // This is made once for the vocabulary.
    Grammar::new(&vocab, Kind::Regex, "a", &Params::default()).unwrap();
    let mut report = String::new();
    for (kind, texts) in
        [(Kind::Regex, regexes()), (Kind::Gbnf, gbnfs()), (Kind::Lark, larks()), (Kind::JsonSchema, schemas())]
    {
        for (name, text) in texts {
            let start = processor_seconds();
            let made = Grammar::new(&vocab, kind, &text, &Params::default());
            let compile = processor_seconds() - start;
            let (masks, slowest, end) = match made {
                Ok(mut g) => follow(&mut g),
                Err(e) => (0, 0.0, Some(e)),
            };
            let what = end.as_ref().map_or(String::new(), |e| format!("{:?}: {:.80}", e.status, e.message));
            let _ = writeln!(
                report,
                "{kind:?}, {name}: {compile:.3} s; {masks} masks, {slowest:.3} s at most; {what}; peak {} MiB",
                peak_memory() >> 20
            );
            println!("{}", report.lines().last().unwrap());
            assert!(compile < COMPILE && slowest < MASK, "{report}");
            assert!(peak_memory() < PEAK, "{report}");
            let known = [Status::InvalidArgument, Status::Unsupported];
            assert!(end.is_none_or(|e| known.contains(&e.status) && !e.message.is_empty()), "{report}");
        }
    }
}

/// Goes on with tokens here and there of what is allowed; how many masks, the slowest, and the error that ended it.
fn follow(g: &mut Grammar) -> (usize, f64, Option<rekindle::Error>) {
    let (mut slowest, mut seed) = (0f64, 1u32);
    for n in 0..100 {
        let start = processor_seconds();
        let mask = match g.mask() {
            Ok(mask) => mask.to_vec(),
            Err(e) => return (n, slowest, Some(e)),
        };
        let allowed: Vec<i32> =
            (0..mask.len() as i32 * 32).filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1).collect();
        if allowed.is_empty() {
            return (n, slowest, None);
        }
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if let Err(e) = g.accept(allowed[(seed >> 8) as usize % allowed.len()]) {
            return (n, slowest, Some(e));
        }
        slowest = slowest.max(processor_seconds() - start);
    }
    (100, slowest, None)
}
