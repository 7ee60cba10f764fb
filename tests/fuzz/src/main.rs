//! One program for all targets: REKINDLE_FUZZ names the target, all else is libFuzzer's.

#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(init: {
    let name = std::env::var("REKINDLE_FUZZ").unwrap_or_default();
    assert!(targets::find(&name).is_some(), "REKINDLE_FUZZ: one of {:?}", targets::names());
}, |data: &[u8]| {
    if let Some(target) = std::env::var("REKINDLE_FUZZ").ok().and_then(|name| targets::find(&name)) {
        target(data);
    }
});
