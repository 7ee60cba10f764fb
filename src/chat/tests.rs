//! Templates are held to the output of Python, and templates that mean harm to their limits.

use std::time::{Duration, Instant};

use super::date::strftime;
use super::{Message, Options, Templates};
use crate::error::{Error, Result, Status};

fn render(text: &str, options: Options) -> Result<String> {
    let messages = [Message { role: "user", content: Some("Hi"), ..Message::default() }];
    Templates::default().render(&messages, &Options { text: Some(text), ..options })
}

fn plain(text: &str) -> String {
    render(text, Options::default()).unwrap()
}

fn error(text: &str) -> Error {
    let start = Instant::now();
    let e = render(text, Options::default()).expect_err(text);
    assert!(start.elapsed() < Duration::from_secs(1), "{text}: took {:?}", start.elapsed());
    assert!(e.message.contains("chat template 'template_text'"), "{e}");
    e
}

#[test]
fn dates_are_those_of_python() {
    let all = "%Y-%m-%d %H:%M:%S %B %b %A %a %j %y %e|%-d|%-m|%I %p|%%|%F %T|%Q|%";
    assert_eq!(
        strftime(1_721_997_296, all),
        "2024-07-26 12:34:56 July Jul Friday Fri 208 24 26|26|7|12 PM|%|2024-07-26 12:34:56|%Q|%"
    );
    assert_eq!(strftime(0, "%Y-%m-%d %a %I %p %e %-d"), "1970-01-01 Thu 12 AM  1 1");
    assert_eq!(strftime(951_782_400, "%d %b %Y %j"), "29 Feb 2000 060");
    assert_eq!(strftime(-1, "%F %T"), "1969-12-31 23:59:59");
    let _ = (strftime(i64::MAX, "%c"), strftime(i64::MIN, "%c"));
    assert_eq!(
        render("{{ strftime_now('%F') }}", Options { now: Some(86400), ..Options::default() }).unwrap(),
        "1970-01-02"
    );
}

#[test]
fn values_are_written_as_python_writes_them() {
    for (template, want) in [
        ("{{ [1, 2.5, 'a\\'b', none, true, {'k': 1e21}] }}", "[1, 2.5, \"a'b\", None, True, {'k': 1e+21}]"),
        ("{{ {'b': [1, 'ü<&>\"'], 'a': {}, 'c': []} | tojson }}", r#"{"b": [1, "ü<&>\""], "a": {}, "c": []}"#),
        (
            "{{ {'b': 1, 'a': [1, {}]} | tojson(indent=2, sort_keys=true) }}",
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": 1\n}",
        ),
        ("{{ ['ü🦀', 1e16, 1e-5, 0.1] | tojson(true) }}", r#"["\u00fc\ud83e\udd80", 1e+16, 1e-05, 0.1]"#),
        ("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", r#"[1,{"a":2}]"#),
        (
            "{{ 'a-b-c'.partition('-') }}{{ 'a-b-c'.rsplit('-', 1) }}{{ 'a-b'.removeprefix('a-') }}",
            "['a', '-', 'b-c']['a-b', 'c']b",
        ),
        ("{{ 'x' is sequence }}{{ none is iterable }}{{ nothing }}{{ nothing is defined }}", "TrueFalseFalse"),
        (
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}\
             {{ i }}{% endfor %}",
            "02",
        ),
        ("{%- generation -%}  {{ messages[0].content }}  {%- endgeneration %}!", "Hi!"),
        (
            "{% set x = messages | length + 1 %}{{ 2 * 3 }}{{ 2 * x }}{{ 1.5 * x }}{{ true * x }}{{ '-' * x }}\
             {{ x * 'ab' }}{{ [x] * 2 }}{{ (x, 1) * x }}{{ 'a' * -x }}",
            "643.02--abab[2, 2](2, 1, 2, 1)",
        ),
        ("{{ '  a b ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ '%s-%(x)d' | format('a', x=1) if false }}", "a b|a|"),
        ("{{ '%s-%05d' | format('a', 7) }}|{{ '%(x)s' | format(x=[1]) }}|{{ ', '.join([1, 2]) }}", "a-00007|[1]|1, 2"),
        (
            "{{ 1 + 2 }}{{ 1 + 2.5 }}{{ true + 1 }}{{ [1] + [2] }}{{ 'a' + 'b' }}{{ (1,) + (2,) }}",
            "33.52[1, 2]ab(1, 2)",
        ),
        ("  {% set ns = namespace(n=1) %}\n{% set ns.n = ns.n + 1 %}\n{{ ns.n }}\n", "2"),
        ("{{ [1, [2]] == [1, [2]] }}{{ 1 == 1.0 }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}", "TrueTrueTrueTrue"),
        ("{{ 2 in [1, 2.0] }}{{ 'b' not in 'abc' }}{{ 'k' in {'k': 1} }}{{ 1 in nothing }}", "TrueFalseTrueFalse"),
        ("{{ (1, 2) == [1, 2] }}{{ nothing == none }}{{ {'a': [1]} != {'a': [1], 'b': 2} }}", "FalseFalseTrue"),
        ("{{ 1 < 2 <= 2 }}{{ 0 < messages | length < 5 }}{{ 'a' == 'a' == 'b' }}", "TrueTrueFalse"),
        ("{{ messages[0]['role'] }}{{ {'a': 1}['a' if true else 'b'] }}{{ 'abc'[x or 1] }}", "user1b"),
        ("{{ [1][5] is defined }}{{ {(1, 2): 3}[(1, 2)] }}{{ [1] is eq([1]) }}", "False3True"),
        (
            "{{ [3, 1, 1] | unique | sort }}{{ ['b', 'A'] | max }}{{ [[2], [1]] | min }}{{ [1, 1].count(1) }}",
            "[1, 3]b[1]2",
        ),
    ] {
        assert_eq!(plain(template), want, "{template}");
    }
}

#[test]
fn hostile_templates_get_an_error_soon() {
    let mut wrong = Vec::new();
    for (template, status, says) in [
        ("{% for i in range(10**9) %}x{% endfor %}", Status::InvalidArgument, "range has too many"),
        (
            "{% for i in range(99999) %}{% for i in range(99999) %}{% endfor %}{% endfor %}",
            Status::InvalidArgument,
            "takes more than",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", Status::InvalidArgument, "recursion"),
        (
            "{% macro m(x) %}{% for i in x recursive %}{{ loop(x) }}{% endfor %}{% endmacro %}{{ m([1]) }}",
            Status::InvalidArgument,
            "",
        ),
        ("{{ 'x' * 10**10 }}", Status::InvalidArgument, "takes more than"),
        ("{{ [1] * 10**9 }}", Status::InvalidArgument, "a constant list is multiplied in line 1"),
        ("{{ ['x'] * 100000000 ~ '' }}", Status::InvalidArgument, "constant list"),
        ("{{ ['x' * 1000] * 100000000 ~ '' }}", Status::InvalidArgument, "takes more than"),
        ("{{ [] * 10000000000 ~ 'x' * x * -1 }}", Status::InvalidArgument, ""),
        ("{% if 'x' in (1, 2) * 100000000 %}{% endif %}", Status::InvalidArgument, "constant list"),
        (
            "{% set s = 'x' * 1000000 %}{% set s = [s] * 100000 %}{{ s ~ '' }}",
            Status::InvalidArgument,
            "takes more than",
        ),
        (
            "{% set s = 'x' * 1000000 %}{{ ('%(x)s' * 100000) | format({'x': s}) }}",
            Status::InvalidArgument,
            "takes more than",
        ),
        ("{% set s = 'x' * 1000000 %}{{ ('%s' * 9999) | format(x=s) }}", Status::InvalidArgument, "takes more than"),
        ("{% set s = 'x' * 1000000 %}{{ s.join(range(60000)) }}", Status::InvalidArgument, "takes more than"),
        ("{{ range(60000) | list | tojson(indent='x' * 1000000) }}", Status::InvalidArgument, "64 bytes"),
        ("{{ [1, 2] | tojson(separators=('x' * 1000000, ':')) }}", Status::InvalidArgument, "64 bytes"),
        ("{{ ('a' * 5000000).strip('b' * 5000000 ~ 'a') }}", Status::InvalidArgument, "takes more than"),
        ("{{ ('a' * 5000000) | trim('b' * 5000000 ~ 'a') }}", Status::InvalidArgument, "takes more than"),
        ("{{ 10 ** 10 ** 10 }}", Status::InvalidArgument, ""),
        ("{% set x = 'x' * 20000000 %}{{ x }}", Status::InvalidArgument, "bytes"),
        (
            "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            Status::InvalidArgument,
            "takes more than",
        ),
        ("{{ '%99999999999d' % 1 }}", Status::InvalidArgument, ""),
        ("{{ '{:99999999999}'.format(1) }}", Status::InvalidArgument, ""),
        ("{% for m in messages %}", Status::InvalidArgument, "line 1: syntax error"),
        ("a\n{{ x", Status::InvalidArgument, "line 2: syntax error"),
        ("{{ x | nonesuch }}", Status::Unsupported, "nonesuch"),
        ("{% if x is nonesuch %}{% endif %}", Status::Unsupported, "nonesuch"),
        ("{{ nonesuch() }}", Status::Unsupported, "nonesuch"),
        ("{{ 'x'.nonesuch() }}", Status::Unsupported, "nonesuch"),
        ("{% include 'x' %}", Status::InvalidArgument, ""),
        (
            "\n\n{{ raise_exception('roles must alternate') }}",
            Status::InvalidArgument,
            "line 3: refuses the messages: roles must",
        ),
    ] {
        let e = error(template);
        if e.status != status || !e.message.contains(says) {
            wrong.push(format!("{template}: {:?} {e}", e.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let deep = |open: &str, close: &str| {
        format!(
            "{{{{ {}1{} }}}}",
            open.repeat(130_000 / (open.len() + close.len())),
            close.repeat(130_000 / (open.len() + close.len()))
        )
    };
    let nest = |x: &str, then: &str| {
        format!(
            "{{% set ns = namespace(x=1) %}}{{% for i in range(999) %}}{{% for i in range(999) %}}\
             {{% set ns.x = {x} %}}{{% endfor %}}{{% endfor %}}{then}"
        )
    };
    let shorter = |template: String| template.replace("range(999)", "range(330)");
    for template in [
        nest("[ns.x]", ""),
        nest("{'a': ns.x}", ""),
        shorter(nest("[ns.x]", "{{ ns.x }}")),
        shorter(nest("[ns.x]", "{{ ns.x ~ 'a' }}")),
        shorter(nest("[ns.x]", "{{ [ns.x] | join }}")),
        shorter(nest("[ns.x]", "{{ ns.x == [ns.x] }}")),
        "{% set x = 1 %}".to_owned() + &"{% set x = [x] %}".repeat(7_000) + "{{ x ~ 'a' }}",
        deep("(", ")"),
        deep("[", "]"),
        deep("-", ""),
        deep("not ", ""),
        deep("x.", ""),
        deep("1 + ", ""),
        deep("1 * ", ""),
        deep("1 if x else ", ""),
        deep("", "[0]"),
        deep("", " | string"),
        "{% if x %}".repeat(7_000),
        format!("{{% set x %}}{}{{% endset %}}", "{% for i in [1] %}".repeat(7_000)),
        "x".repeat(2 << 20),
    ] {
        let start = Instant::now();
        let _ = render(&template, Options::default());
        assert!(start.elapsed() < Duration::from_secs(1), "{}…: took {:?}", &template[..20], start.elapsed());
    }
}

/// Values that hold the same one many times, or themselves: small to make and endless to walk.
#[test]
fn shared_values_are_paid_for() {
    for double in [
        "[x, x]",
        "(x, x)",
        "{'a': x, 'b': x}",
        "[x] * 2",
        "dict(a=x, b=x)",
        "namespace(a=x, b=x)",
        "[no, no] | map('default', x)",
        "[1, 1] | map(attribute='no', default=x)",
        "[x] + [x]",
        "x + x",
        "[x, 'a']|batch(3, x)",
        "[x]|slice(3, x)",
        "x|zip(x)|list",
    ] {
        let start = if double == "x + x" { "[1]" } else { "1" };
        let chain = format!("{{% set x = {double} %}}").repeat(60);
        for walk in ["{{ x ~ '' }}", "{{ x | upper }}", "{{ [x] | join }}", "{{ x }}", "{{ x == [x] }}", "{{ {x: 1} }}"]
        {
            let _ = error(&format!("{{% set x = {start} %}}{chain}{walk}"));
        }
        let times = "{% for i in range(60) %}";
        let inside = double.replace('x', "ns.x");
        let _ = error(&format!(
            "{{% set ns = namespace(x={start}) %}}{times}{{% set ns.x = {inside} %}}{{% endfor %}}{{{{ ns.x ~ '' }}}}"
        ));
    }
    for itself in [
        "ns.x = ns",
        "ns.x = [ns]",
        "ns.x = (ns if true)",
        "ns.x = dict(a=ns)",
        "ns.x = '%}' and ns",
        "ns.x, b = ns, 1",
    ] {
        let _ = error(&format!("{{% set ns = namespace(x=1) %}}{{% set {itself} %}}{{{{ ns.x ~ '' }}}}"));
    }
    assert_eq!(plain("{% set ns = namespace(x=1) %}{%- set ns.x = '-%}' ~ \"'\" -%} {{ ns.x }}"), "-%}'");
    assert_eq!(
        plain("{% macro m(s) %}{% set s.x = 2 %}{% endmacro %}{% set ns = namespace() %}{{ m(ns) }}{{ ns.x }}"),
        "2"
    );
}

/// Comparing two values, and looking one up, costs as much as they are long, wherever it is done.
#[test]
fn comparisons_are_paid_for() {
    let long = |compare: &str| format!("{{% for i in range(60000) %}}{{% set z = ({compare}) %}}{{% endfor %}}");
    let lists = "{% set x = [range(9000) | list] %}{% set y = [range(9000) | list] %}";
    for compare in [
        "x == y",
        "x != y",
        "x < y",
        "x >= y",
        "x in [y]",
        "x not in [y]",
        "x in {}",
        "y == x == y",
        "x is eq(y)",
        "x is ne(y)",
        "x is lessthan(y)",
        "x is in([y])",
        "[x, y] | unique | list",
        "[x, y] | sort",
        "[x, y] | min",
        "[x, y] | max",
        "[y] | select('equalto', x) | list",
        "[{'a': x}] | selectattr('a', '==', y) | list",
        "[x].count(y)",
        "{}[x]",
        "{}[x or 'a']",
        "{}.get(x)",
        "{} | attr(x)",
        "{'a': x, 'b': y} | dictsort(by='value')",
        "{'a': x} == {'a': y}",
    ] {
        let _ = error(&(lists.to_owned() + &long(compare)));
    }
    let texts = "{% set x = 'x' * 4000000 %}{% set y = 'x' * 4000000 %}";
    for compare in ["x == y", "[x] == [y]", "x is eq(y)", "x in {}", "x in [y]"] {
        let _ = error(&(texts.to_owned() + &long(compare)));
    }
    // Short ones are as cheap as ever, and a first difference ends it.
    let short = "{% for i in range(40000) %}{% if i == 7 and 'a' != messages[0].role %}{% endif %}{% endfor %}";
    assert_eq!(plain(&format!("{lists}{short}{}", "{{ x == [[1]] }}".repeat(2000))), "False".repeat(2000));
}

/// A host's thread may have little stack.
#[test]
fn recursion_ends_on_a_small_stack() {
    let run = || {
        error("{% macro m(x) %}{{ [x] | map('string') | list }}{{ m(x) | upper }}{% endmacro %}{{ m([1]) }}");
        error(&format!("{}1", "{{ ".repeat(9)));
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn bad_parameters_are_named() {
    let with = |options: Options| render("{{ tools }}", options).unwrap_err();
    let e = with(Options { tools: Some("[1,"), ..Options::default() });
    assert!(e.status == Status::InvalidArgument && e.message.contains("tools is no JSON"), "{e}");
    let e = with(Options { tools: Some("{}"), ..Options::default() });
    assert!(e.message.contains("tools is JSON, but not an array"), "{e}");
    let e = with(Options { variables: Some(r#"{"messages": []}"#), ..Options::default() });
    assert!(e.message.contains("'messages'"), "{e}");
    let calls = [Message { role: "assistant", tool_calls: Some("{}"), ..Message::default() }];
    let e = Templates::default().render(&calls, &Options { text: Some(""), ..Options::default() }).unwrap_err();
    assert!(e.message.contains("messages[0].tool_calls"), "{e}");
    let e = Templates::default().render(&[], &Options::default()).unwrap_err();
    assert!(e.status == Status::NotFound && e.message.contains("tokenizer.chat_template"), "{e}");
    let fields = [Message { role: "user", fields: Some(r#"{"role": "tool", "x": [1]}"#), ..Message::default() }];
    let text = Some("{{ messages[0] }}");
    let prompt = Templates::default().render(&fields, &Options { text, ..Options::default() }).unwrap();
    assert_eq!(prompt, "{'role': 'tool', 'content': None, 'x': [1]}");
}
