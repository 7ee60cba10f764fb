//! Holds JSON documents against schemas of the draft 2020-12. Reads lines: a schema, then its documents; an empty line,
//! and the next schema. Prints for each document a line with the list of its errors.

use serde_json::Value;

fn main() {
    let mut schema = None;
    for line in std::io::stdin().lines().map(Result::unwrap) {
        if line.is_empty() {
            schema = None;
            continue;
        }
        let document = serde_json::from_str::<Value>(&line).unwrap();
        let Some(schema) = &schema else {
            schema = Some(jsonschema::draft202012::new(&document).unwrap());
            continue;
        };
        let errors = schema.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path()));
        println!("{}", Value::from(errors.collect::<Vec<String>>()));
    }
}
