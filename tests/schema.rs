//! The JSON of plans of all kinds is what `schema/plan.schema.json` says, and the schema says all of it.

#[path = "support/headers/mod.rs"]
mod headers;

#[path = "support/tools.rs"]
mod tools;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle::context::{Context, LogLevel};
use rekindle::device::Kind;
use rekindle::gguf::Gguf;
use rekindle::plan::{EstimatorKind, Objective, Params, Plan, Source};
use rekindle::quant::Type;
use serde_json::{Value, json};

const GIB: u64 = 1 << 30;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn schema() -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("schema/plan.schema.json")).unwrap()).unwrap()
}

/// Calls `f` with every schema of an object that names its properties.
fn for_each_object(value: &mut Value, f: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|v| for_each_object(v, f));
            // A property may be called "properties"; a schema's are an object beside "type".
            if map.get("type").is_some_and(|t| t == "object") {
                f(map);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| for_each_object(v, f)),
        _ => {}
    }
}

/// Readers accept keys that they do not know; here none may be unknown.
fn closed() -> Value {
    let mut schema = schema();
    for_each_object(&mut schema, &mut |object| {
        object.insert("additionalProperties".to_owned(), json!(false));
    });
    schema
}

/// The errors of each value, by a validator that nobody here wrote.
fn errors(schema: &Value, values: &[Value]) -> Vec<Vec<String>> {
    let lines: String = [schema].into_iter().chain(values).map(|v| format!("{v}\n")).collect();
    let errors: Vec<_> =
        tools::tool("schema", &[], &lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(errors.len(), values.len());
    errors
}

/// The header-only file of a row.
fn header(tag: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(headers::file_name(&tag.replace(':', "-")));
    headers::from_row(headers::row(tag), &path).unwrap();
    path
}

fn plan(devices: &str, file: &Path, params: &Params) -> Value {
    let context = Context::new(devices, 2, None, LogLevel::Error).unwrap();
    let plan = Plan::new(&context, &Arc::new(Gguf::open(file).unwrap()), params).unwrap();
    serde_json::from_str(&plan.json()).unwrap()
}

/// A board, a die with little left, a card of another kind and a host, all described.
fn mix() -> String {
    json!({
        "devices": [
            {"profile": "k80", "count": 2},
            {"profile": "k80", "free_bytes": 5 * GIB},
            {"kind": "cuda", "name": "another card", "total_bytes": 6 * GIB, "driver_bytes": GIB / 4,
             "read_bandwidth": 190e9, "flops": 4e12, "host_bandwidth": 12e9, "compute_capability": "6.1"},
            {"kind": "cpu", "total_bytes": 64 * GIB, "free_bytes": 60 * GIB, "read_bandwidth": 40e9, "flops": 5e11},
        ],
        "links": [{"between": [0, 1], "bandwidth": 9e9}],
    })
    .to_string()
}

#[test]
fn plans_are_what_the_schema_says() {
    let shipped = root().join("models/bible-5M-Q8_0.gguf");
    let (llama, qwen2, gemma3) = (header("llama3.1:8b"), header("deepseek-r1:14b"), header("gemma3:4b"));
    let mixture = header("qwen3:30b-a3b");
    let mix = mix();
    let apart = format!(r#"[{{"profile": "k80"}}, {{"kind": "cpu", "total_bytes": {}}}]"#, 64 * GIB);
    let default = Params::default;
    let objective = |objective| Params { objective, n_seq_max: 2, ..default() };
    let cases: Vec<(&str, &Path, Params, bool)> = vec![
        ("cpu", &shipped, default(), true),
        ("cpu", &shipped, Params { n_batch: 32, reserve_bytes: 1 << 50, ..default() }, false),
        ("k80:2", &llama, default(), true),
        ("k80:4,cpu", &qwen2, default(), true),
        (&mix, &qwen2, default(), true),
        (&apart, &mixture, Params { n_ctx: 4096, ..default() }, true),
        (
            &mix,
            &llama,
            Params { n_ctx: 4096, n_seq_max: 4, n_outputs_max: 8, n_ubatch: 64, n_batch: 256, ..default() },
            true,
        ),
        ("k80:2", &llama, objective(Objective::Throughput), true),
        ("k80:4,cpu", &llama, objective(Objective::Headroom), true),
        ("k80:1", &qwen2, Params { n_ctx: 131072, ..default() }, false),
        ("k80:2", &gemma3, Params { estimator: EstimatorKind::Family, ..default() }, false),
        ("k80:2", &gemma3, Params { n_ctx: 8192, estimator: EstimatorKind::Family, ..default() }, true),
        ("k80:2", &qwen2, Params { n_ctx: 4096, estimator: EstimatorKind::Family, margin: 1.0, ..default() }, true),
    ];
    let seen: Vec<Value> = cases.iter().map(|(spec, file, params, _)| plan(spec, file, params)).collect();
    let (open, closed) = (errors(&schema(), &seen), errors(&closed(), &seen));
    for (((spec, file, params, fits), value), (open, closed)) in cases.iter().zip(&seen).zip(open.iter().zip(&closed)) {
        let what = format!("{} on {spec} with {params:?}", file.display());
        assert_eq!(*open, [""; 0], "{what}");
        assert_eq!(*closed, [""; 0], "a key is missing from the schema: {what}");
        assert_eq!(value["fits"], *fits, "{what}: {}", value["devices"]);
    }
    // The cases are as different as they are meant to be.
    for (key, wanted) in [
        ("estimator", vec![json!("measured"), json!("family")]),
        ("objective", vec![json!("latency"), json!("throughput"), json!("headroom")]),
        ("predicted", vec![Value::Null]),
        ("loadable", vec![json!(true), json!(false)]),
    ] {
        for w in wanted {
            assert!(seen.iter().any(|v| v[key] == w), "no plan with {key} {w}");
        }
    }
    assert!(seen.iter().any(|v| v["remedies"].as_array().unwrap().len() > 1), "no plan with remedies");
    assert!(seen.iter().any(|v| v["predicted"].is_object()), "no plan with a prediction");
    let apart = |v: &Value| v["layers"].as_array().unwrap().iter().any(|l| l["experts_device"] != l["device"]);
    assert!(seen.iter().any(apart), "no plan with experts apart");
}

#[test]
fn every_key_is_described_and_required() {
    let mut schema = schema();
    let mut n = 0;
    for_each_object(&mut schema, &mut |object| {
        let properties = object["properties"].as_object().unwrap();
        let required: Vec<&str> = object["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        for (key, property) in properties {
            let text = property["description"].as_str().unwrap_or_default();
            assert!(text.ends_with('.') || text.ends_with('"'), "{key}: '{text}'");
            assert!(required.contains(&key.as_str()), "{key} is always written, so it is required");
            n += 1;
        }
        assert_eq!(required.len(), properties.len());
    });
    assert!(n > 40, "{n} keys");
}

/// Also the values that no plan of this test has.
#[test]
fn choices_are_the_librarys() {
    let sources = [Source::Caller, Source::Family, Source::Global, Source::File, Source::Limited];
    let expected: [(&str, Vec<&str>); 3] = [
        ("/$defs/source/enum", sources.map(Source::name).to_vec()),
        ("/$defs/device/properties/kind/enum", [Kind::Cpu, Kind::Cuda].map(Kind::name).to_vec()),
        ("/$defs/kv_type/enum", [Type::F32, Type::F16, Type::Q8_0, Type::Q4_0].map(Type::name).to_vec()),
    ];
    for (place, names) in expected {
        assert_eq!(*schema().pointer(place).unwrap(), json!(names), "{place}");
    }
}

#[test]
fn broken_plans_are_refused() {
    let good = plan("k80:2", &header("qwen2.5:0.5b"), &Params::default());
    let (mut what, mut refused) = (Vec::new(), Vec::new());
    let broken: [(&str, Value); 15] = [
        ("/schema", json!(2)),
        ("/estimator", json!("guessed")),
        ("/objective", json!("Latency")),
        ("/n_ctx_source", json!("somewhere")),
        ("/batch_source", Value::Null),
        ("/type_k", json!("Q5_0")),
        ("/fits", json!(1)),
        ("/tightest_device", json!(-1)),
        ("/predicted/decode_tokens_per_second", json!("fast")),
        ("/devices", json!([])),
        ("/devices/0/kind", json!("cuda")),
        ("/devices/0/kv_bytes", json!(-5)),
        ("/layers/3/device", json!(0.5)),
        ("/layers/3/experts_device", Value::Null),
        ("/reasons", json!("because")),
    ];
    for (place, wrong) in broken {
        let mut value = good.clone();
        *value.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")) = wrong.clone();
        what.push(format!("{wrong} at {place}"));
        refused.push(value);
    }
    // Each key of each object, left away.
    for place in ["", "/predicted", "/devices/1", "/layers/0"] {
        let keys: Vec<String> = good.pointer(place).unwrap().as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let mut value = good.clone();
            value.pointer_mut(place).unwrap().as_object_mut().unwrap().shift_remove(&key);
            what.push(format!("{place} without {key}"));
            refused.push(value);
        }
    }
    // A key of a later version is no error for readers, but one for the test above.
    let mut later = good.clone();
    later["devices"][0]["later"] = json!(1);
    for value in [json!([]), Value::Null] {
        what.push(value.to_string());
        refused.push(value);
    }
    for (what, errors) in what.iter().zip(errors(&schema(), &refused)) {
        assert!(!errors.is_empty(), "{what} is accepted");
    }
    assert_eq!(errors(&schema(), &[good, later.clone()]), [[""; 0]; 2]);
    assert!(!errors(&closed(), &[later])[0].is_empty());
}
