//! Measures drafts by a model's prediction layer: `cargo run --release --example drafts -- MODEL.gguf [N_DRAFT...]`
//!
//! Generates the same text without drafts and with them, several times by turns, and prints the medians of tokens per
//! second, how many guesses were right, and how many tokens were decoded without a draft since drafts had lost time.
//! Token ids only: no tokeniser is needed. It fails if the texts differ.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use rekindle::context::{Context, LogLevel};
use rekindle::error::Result;
use rekindle::gguf::Gguf;
use rekindle::plan::{Params, Plan};
use rekindle::sample::{Sampler, SamplerParams};
use rekindle::session::{GenerateParams, LoadParams, Model, Perf, Prompt};

const PROMPT: usize = 64;
const TOKENS: u32 = 256;
const TURNS: usize = 3;

fn load(context: &Arc<Context>, path: &Path, n_draft: u32) -> Result<Arc<Model>> {
    let params = Params { n_ctx: 512, n_draft, ..Params::default() };
    let plan = Plan::new(context, &Arc::new(Gguf::open(path)?), &params)?;
    Model::load(context, &Arc::new(plan), LoadParams::default())
}

/// Seconds of a generation behind the prompt, its tokens, and the counters.
fn generate(model: &Model, all_drafts: bool) -> Result<(f64, Vec<i32>, Perf)> {
    model.seq_remove(-1, 0, -1)?;
    model.perf_reset();
    let mut sampler = Sampler::new(SamplerParams::default())?;
    let n_vocab = model.info().n_vocab as usize;
    let prompt: Vec<i32> = (0..PROMPT).map(|i| ((i * i * 7 + i * 13 + 3) % n_vocab) as i32).collect();
    let params = GenerateParams {
        prompt: Prompt::Tokens(&prompt),
        seq_id: 0,
        max_tokens: TOKENS,
        no_special: true,
        parse_special: false,
        ignore_eog: true,
        all_drafts,
    };
    let (mut start, mut tokens) = (Instant::now(), Vec::new());
    model.generate(&mut sampler, &params, &mut |token, _| {
        if tokens.is_empty() {
            start = Instant::now();
        }
        tokens.push(token);
        true
    })?;
    Ok((start.elapsed().as_secs_f64(), tokens, model.perf()))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn run(path: &Path, drafts: &[u32]) -> Result<bool> {
    let context = Context::new("cpu", 0, None, LogLevel::Error)?;
    let plain = load(&context, path, 0)?;
    let text = generate(&plain, false)?.1;
    let mut same = true;
    for n_draft in drafts {
        let model = load(&context, path, *n_draft)?;
        for all in [false, true] {
            let (mut without, mut with) = (Vec::new(), Vec::new());
            let mut perf = Perf::default();
            for _ in 0..TURNS {
                without.push(generate(&plain, false)?.0);
                let (time, tokens, counters) = generate(&model, all)?;
                with.push(time);
                perf = counters;
                same &= tokens == text;
            }
            let [without, with] = [without, with].map(|times| f64::from(TOKENS - 1) / median(times));
            println!(
                "n_draft {n_draft:2} {:10} {with:7.2} tokens/s, without {without:7.2}: {:5.2} times; {} of {} guesses \
                 right, {} tokens while off",
                if all { "always" } else { "if it wins" },
                with / without,
                perf.n_draft_agreed,
                perf.n_drafted,
                perf.n_draft_off
            );
        }
    }
    println!("{}", if same { "the texts are the same" } else { "the texts differ" });
    Ok(same)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((path, drafts)) = args.split_first() else {
        eprintln!("usage: drafts MODEL.gguf [N_DRAFT...]");
        return ExitCode::from(2);
    };
    let drafts: Vec<u32> = drafts.iter().filter_map(|n| n.parse().ok()).collect();
    match run(Path::new(path), if drafts.is_empty() { &[1, 2, 4] } else { &drafts }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{}", e.message);
            ExitCode::FAILURE
        }
    }
}
