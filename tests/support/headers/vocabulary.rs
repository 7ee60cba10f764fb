//! Vocabularies of a given size: unique texts of the usual lengths, and merges that make each from two others.

/// Letters that longer texts grow by; three to a text make 152 thousand texts 6 bytes long in the mean, as in real
/// files.
const LETTERS: [&str; 3] = ["e", "n", "t"];

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

pub struct Vocabulary {
    pub tokens: Vec<String>,
    pub types: Vec<i32>,
    pub scores: Vec<f32>,
    pub merges: Vec<String>,
}

/// `model` is tokenizer.ggml.model; `special` are the ids that keys name, `unknown` one of them.
pub fn vocabulary(model: &str, n: usize, special: &[u32], unknown: Option<u32>) -> Vocabulary {
    let spm = model == "llama";
    let mut v = Vocabulary {
        tokens: Vec::with_capacity(n),
        types: Vec::with_capacity(n),
        scores: Vec::new(),
        merges: Vec::new(),
    };
    let base = if spm { pieces() } else { byte_letters() };
    let mut grown: Vec<String> = Vec::new();
    let mut bytes = if spm { 0..256u32 } else { 0..0 };
    for id in 0..n as u32 {
        let (text, ty) = if special.contains(&id) {
            (format!("<|special_{id}|>"), if Some(id) == unknown { UNKNOWN } else { CONTROL })
        } else if let Some(b) = bytes.next() {
            (format!("<0x{b:02X}>"), BYTE)
        } else {
            let at = grown.len();
            let text = match at.checked_sub(base.len()) {
                None => base[at].clone(),
                Some(k) => {
                    let (parent, letter) = (&grown[k / LETTERS.len()], LETTERS[k % LETTERS.len()]);
                    v.merges.push(format!("{parent} {letter}"));
                    format!("{parent}{letter}")
                }
            };
            grown.push(text.clone());
            (text, NORMAL)
        };
        v.tokens.push(text);
        v.types.push(ty);
    }
    v.scores = v.types.iter().enumerate().map(|(i, t)| if *t == NORMAL { -(i as f32) } else { 0.0 }).collect();
    v
}

/// The pieces that SentencePiece starts from: the space mark and the visible characters of ASCII.
fn pieces() -> Vec<String> {
    let printed = ('!'..='~').map(String::from);
    std::iter::once("\u{2581}".to_owned()).chain(printed).collect()
}

/// GPT-2's letters for the 256 bytes: printable ones stand for themselves, the others for what follows U+0100.
fn byte_letters() -> Vec<String> {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut other = 0x100u32..;
    let code = |b: u8| if printable(b) { b.into() } else { other.next().unwrap() };
    (0..=255).map(code).map(|c| char::from_u32(c).unwrap().to_string()).collect()
}
