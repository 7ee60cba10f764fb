//! docs/plans.md is what `cargo run --release --example plan_table` prints.

mod support;

#[path = "support/plan_table/mod.rs"]
mod plan_table;

use std::path::Path;

#[test]
fn the_document_is_what_the_command_prints() {
    let Some(tensors) = support::model_file("shared:tensors") else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plan-table");
    std::fs::create_dir_all(&folder).unwrap();
    let made = plan_table::document(tensors.parent().unwrap(), &folder).unwrap();
    let kept = std::fs::read_to_string(support::root().join("docs/plans.md")).unwrap();
    let other = made.lines().zip(kept.lines()).enumerate().find(|(_, (a, b))| a != b);
    let again = "make it again: cargo run --release --example plan_table > docs/plans.md";
    assert!(other.is_none(), "docs/plans.md, line and (made now, kept): {other:?}; {again}");
    assert_eq!(made.len(), kept.len(), "docs/plans.md ends elsewhere; {again}");
}
