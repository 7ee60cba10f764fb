//! Up to 16 generations that join, leave and are cancelled at random, with prompts that share beginnings, samplers,
//! stop texts and grammars: what each tells is what it tells alone.

use super::*;
use crate::grammars::{grammars, speaking};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }
}

/// The things that wishes are made of.
struct Choice {
    bases: Vec<Vec<i32>>,
    n_vocab: usize,
    grammars: Vec<(String, Grammar)>,
}

fn wish(random: &mut Random, of: &Choice) -> Wish {
    let base = &of.bases[random.next(of.bases.len())];
    let mut prompt = base[..1 + random.next(base.len())].to_vec();
    prompt.extend((0..random.next(6)).map(|_| random.next(of.n_vocab) as i32));
    let sampler = match random.next(3) {
        0 => SamplerParams::default(),
        n => SamplerParams {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            repeat_penalty: 1.1,
            seed: random.next(1000) as u64,
            n_logprobs: [0, 3][n - 1],
            ..SamplerParams::default()
        },
    };
    let stops = [vec![], vec!["the LORD"], vec![":", " of the"], vec!["and\n", "e", "unto him"]];
    let (what, grammar) = match random.next(5) {
        0 | 1 => Default::default(),
        _ => {
            let (what, grammar) = of.grammars[random.next(of.grammars.len())].clone();
            (what, Some(grammar))
        }
    };
    // Most texts of grammars would end at the last ones.
    let n_stops = if grammar.is_some() { 3 } else { 4 };
    Wish {
        prompt,
        sampler,
        grammar,
        what,
        stops: stops[random.next(n_stops)].clone(),
        max_tokens: 1 + random.next(40) as u32,
        pin: random.next(8) == 0,
    }
}

/// The things that happened.
#[derive(Debug, Default)]
struct Counts {
    ended: usize,
    by_stop_text: usize,
    /// At the end of a text of its grammar.
    complete: usize,
    cancelled: usize,
    reused: u32,
    forced: u32,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, c: Counts) {
        self.ended += c.ended;
        self.by_stop_text += c.by_stop_text;
        self.complete += c.complete;
        self.cancelled += c.cancelled;
        self.reused += c.reused;
        self.forced += c.forced;
    }
}

fn at_random(file: &Path, n_ubatch: u32, n_rounds: usize) -> Counts {
    let mut random = Random(n_ubatch as u64);
    let (model, alone) = (load(file, &params(512, 6, n_ubatch)), load(file, &params(256, 1, n_ubatch)));
    let texts = [
        "In the beginning God created the heaven and the earth. And the earth was without form, and void",
        "And it came to pass, when men began to multiply on the face of the earth",
        "Blessed is the man",
    ];
    let of = Choice {
        bases: match file == bible() {
            true => texts.iter().map(|t| prompt(&model, t)).collect(),
            false => (0..3).map(|s| (0..20).map(|i| 3 + (i * i * 7 + i * 13 + s * 29) % 57).collect()).collect(),
        },
        n_vocab: model.info().n_vocab as usize,
        grammars: grammars(&model.vocab().unwrap()),
    };
    let mut going: Vec<(Wish, Arc<Generation>, Told, bool)> = Vec::new();
    let mut n = Counts::default();
    for _ in 0..n_rounds {
        if going.len() < 16 && random.next(3) == 0 {
            let w = wish(&mut random, &of);
            let g = w.create(&model, false).unwrap();
            going.push((w, g, Told::default(), false));
        }
        if !going.is_empty() && random.next(20) == 0 {
            let i = random.next(going.len());
            going[i].1.cancel();
            going[i].3 = true;
        }
        // Some stand aside, in any order.
        let mut named: Vec<Arc<Generation>> =
            going.iter().filter(|_| random.next(5) > 0).map(|(_, g, ..)| Arc::clone(g)).collect();
        if random.next(2) == 0 {
            named.reverse();
        }
        let step = model.step(&named).unwrap();
        assert!(step.n_tokens <= n_ubatch);
        let mut left = Vec::new();
        for (w, g, mut told, cancelled) in going {
            told.take(&g);
            let leaves = random.next(200) == 0;
            match told.end {
                None if !leaves => {
                    left.push((w, g, told, cancelled));
                    continue;
                }
                None => assert!(told.begins(&w.alone(&alone)), "{w:?}"),
                Some(StopReason::Cancelled) => {
                    assert!(cancelled);
                    let whole = w.alone(&alone);
                    assert!(whole.tokens.starts_with(&told.tokens), "{w:?}");
                    n.cancelled += 1;
                }
                Some(end) => {
                    assert_eq!(told, w.alone(&alone), "{w:?}");
                    n.ended += 1;
                    n.by_stop_text += usize::from(end == StopReason::Text);
                    n.complete += usize::from(end == StopReason::Eog && w.grammar.is_some());
                    n.reused += g.info().unwrap().n_reused;
                    n.forced += g.info().unwrap().n_forced;
                }
            }
        }
        going = left;
    }
    println!("{}: {n:?}", file.display());
    assert!(n.ended > n_rounds / 40 && n.cancelled > 0 && n.complete > 0);
    n
}

#[test]
fn together_as_alone() {
    let mut n = at_random(&bible(), 32, 500);
    n += at_random(&bible(), 5, 250);
    assert!(n.reused > 100 && n.by_stop_text > 5 && n.complete > 20 && n.forced > 100, "{n:?}");
}

/// Windows, latent attention, shared caches; recurrent layers of three kinds.
#[test]
fn together_as_alone_in_every_kind_of_memory() {
    let mut n = Counts::default();
    for name in [
        "gemma3-pattern",
        "deepseek2-yarn",
        "gemma4-layers",
        "gpt-oss-bare",
        "qwen35-nextn",
        "mamba2-groups",
        "lfm2-gqa",
    ] {
        n += at_random(&speaking(name), 16, 150);
    }
    assert!(n.reused > 100 && n.complete > 20 && n.forced > 100, "{n:?}");
}
