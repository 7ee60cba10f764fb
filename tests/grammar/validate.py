#!/usr/bin/env python3
"""Holds what `cargo test --test grammar` wrote against its schemas with PyPI's package jsonschema:

    pip install jsonschema && cargo test --test grammar written && tests/grammar/validate.py target/tmp/written.txt

The file has a schema and a text, as a string of JSON, on two lines each, then an empty one.
"""

import importlib.metadata
import json
import sys

import jsonschema

valid = total = 0
for pair in open(sys.argv[1], encoding="utf-8").read().split("\n\n"):
    if not pair:
        continue
    schema, text = pair.split("\n")
    errors = list(jsonschema.Draft202012Validator(json.loads(schema)).iter_errors(json.loads(json.loads(text))))
    for error in errors:
        print(f"{schema}: {text}: {error.message}")
    total += 1
    valid += not errors
print(f"{valid} of {total} texts are valid by jsonschema {importlib.metadata.version('jsonschema')}")
sys.exit(valid != total)
