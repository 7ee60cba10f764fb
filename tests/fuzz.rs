//! The targets of `make fuzz`, over the inputs that are kept in tests/fuzz/corpus and over changes of them.

#[path = "fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

/// A small generator of random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// A few bytes are changed, a piece is cut out, or another input's piece is put in.
fn change(of: &[u8], other: &[u8], r: &mut Random) -> Vec<u8> {
    let mut out = of.to_vec();
    for _ in 0..1 + r.below(4) {
        let at = r.below(out.len());
        match r.below(4) {
            0 if !out.is_empty() => out[at] = r.below(256) as u8,
            1 if !out.is_empty() => out[at] ^= 1 << r.below(8),
            2 => drop(out.drain(at..(at + r.below(16)).min(out.len()))),
            _ => {
                let from = r.below(other.len());
                let piece = &other[from..(from + r.below(32)).min(other.len())];
                out.splice(at.min(out.len())..at.min(out.len()), piece.iter().copied());
            }
        }
    }
    out
}

/// The kept inputs of a target. Those of files are models and adapters that other tests have.
fn inputs(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixtures: &[&str] = match name {
        "file" => &["models/qwen3-scales", "models/llama-moe-scales", "models/mistral3-scales"],
        "adapter" => &["adapters/llama-F16", "adapters/fused", "adapters/gemma3-steer"],
        _ => &[],
    };
    let fixtures = fixtures.iter().map(|f| root.join(format!("tests/fixtures/{f}.gguf")));
    let kept = std::fs::read_dir(root.join("tests/fuzz/corpus").join(name)).into_iter().flatten();
    let mut paths: Vec<_> = kept.map(|e| e.unwrap().path()).chain(fixtures).collect();
    paths.sort();
    paths.iter().map(|p| std::fs::read(p).unwrap()).collect()
}

/// Every kept input, and some hundred changed ones.
#[test]
fn kept_inputs_and_their_neighbours() {
    for name in targets::names() {
        let target = targets::find(name).unwrap();
        let inputs = inputs(name);
        assert!(inputs.len() >= 3, "{name} has {} inputs", inputs.len());
        let mut r = Random(0x9e37_79b9_7f4a_7c15);
        inputs.iter().for_each(|input| target(input));
        let changed = 300;
        for _ in 0..changed {
            let (one, other) = (r.below(inputs.len()), r.below(inputs.len()));
            target(&change(&inputs[one], &inputs[other], &mut r));
        }
        println!("{name}: {} inputs, {changed} changed ones", inputs.len());
    }
}
