//! Holds JSON documents against a schema of the draft 2020-12. Reads lines: the schema, then the documents; prints for
//! each document a line with the list of its errors.

use serde_json::Value;

fn main() {
    let mut lines = std::io::stdin().lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let schema = jsonschema::draft202012::new(&lines.next().expect("a schema comes first")).unwrap();
    for document in lines {
        let errors = schema.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path()));
        println!("{}", Value::from(errors.collect::<Vec<String>>()));
    }
}
