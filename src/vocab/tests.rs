//! Small vocabularies built here, good ones and hostile ones.

use super::{Stream, TokenType, Vocab};
use crate::error::{Error, Result, Status};
use crate::gguf::Gguf;

/// A GGUF file of keys alone, written as it stands in the format: key, type number, value.
#[derive(Default, Clone)]
struct File {
    keys: Vec<(String, u32, Vec<u8>)>,
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

impl File {
    fn set(mut self, key: &str, ty: u32, value: Vec<u8>) -> File {
        let key = format!("tokenizer.ggml.{key}").replace("tokenizer.ggml.general", "general");
        self.keys.retain(|k| k.0 != key);
        self.keys.push((key, ty, value));
        self
    }
    fn str(self, key: &str, s: &str) -> File {
        self.set(key, 8, sized(s.as_bytes()))
    }
    fn int(self, key: &str, n: i32) -> File {
        self.set(key, 5, n.to_le_bytes().to_vec())
    }
    fn bool(self, key: &str, b: bool) -> File {
        self.set(key, 7, vec![b.into()])
    }
    fn array(self, key: &str, elem: u32, items: Vec<Vec<u8>>) -> File {
        let head = [&elem.to_le_bytes()[..], &(items.len() as u64).to_le_bytes()].concat();
        self.set(key, 9, [head, items.concat()].concat())
    }
    fn strs(self, key: &str, items: &[&[u8]]) -> File {
        self.array(key, 8, items.iter().map(|s| sized(s)).collect())
    }
    fn scores(self, items: &[f32]) -> File {
        self.array("scores", 6, items.iter().map(|n| n.to_le_bytes().to_vec()).collect())
    }
    fn types(self, items: &[TokenType]) -> File {
        self.array("token_type", 5, items.iter().map(|t| (*t as i32).to_le_bytes().to_vec()).collect())
    }
    /// Three special tokens, the bytes 0 to 255 (ids 3 to 258), then `(text, score, type)` from id 259 on.
    fn llama(more: &[(&str, f32, TokenType)]) -> File {
        use TokenType::*;
        let bytes: Vec<String> = (0..256).map(|b| format!("<0x{b:02X}>")).collect();
        let first = [("<unk>", 0.0, Unknown), ("<s>", 0.0, Control), ("</s>", 0.0, Control)];
        let all: Vec<(&str, f32, TokenType)> = first
            .into_iter()
            .chain(bytes.iter().map(|b| (b.as_str(), 0.0, Byte)))
            .chain(more.iter().copied())
            .collect();
        File::default()
            .str("model", "llama")
            .strs("tokens", &all.iter().map(|t| t.0.as_bytes()).collect::<Vec<_>>())
            .scores(&all.iter().map(|t| t.1).collect::<Vec<_>>())
            .types(&all.iter().map(|t| t.2).collect::<Vec<_>>())
    }
    /// The bytes 0 to 255 as ids, then `more` from id 256 on.
    fn gpt2(pre: &str, more: &[(&str, TokenType)], merges: &[&str]) -> File {
        let mut buffer = [0; 4];
        let bytes: Vec<Vec<u8>> =
            (0..=255).map(|b| super::bytelevel::char_of(b).encode_utf8(&mut buffer).as_bytes().to_vec()).collect();
        let texts: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).chain(more.iter().map(|t| t.0.as_bytes())).collect();
        let types: Vec<TokenType> = [TokenType::Normal; 256].into_iter().chain(more.iter().map(|t| t.1)).collect();
        let file = File::default().str("model", "gpt2").str("pre", pre).strs("tokens", &texts).types(&types);
        file.strs("merges", &merges.iter().map(|m| m.as_bytes()).collect::<Vec<_>>())
    }
    fn open(&self) -> Result<Vocab> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        for (key, ty, value) in &self.keys {
            bytes.extend(sized(key.as_bytes()));
            bytes.extend(ty.to_le_bytes());
            bytes.extend(value);
        }
        Vocab::from_gguf(&Gguf::from_bytes("v.gguf", bytes).unwrap())
    }
    fn vocab(&self) -> Vocab {
        self.open().unwrap()
    }
    fn error(&self) -> Error {
        let e = self.open().err().expect("the file must be refused");
        assert!(e.message.starts_with("v.gguf: "), "{e}");
        e
    }
}

use TokenType::{Control, Normal, UserDefined};

fn hello() -> File {
    File::llama(&[
        ("▁", -9.0, Normal),     // 259
        ("h", -8.0, Normal),     // 260
        ("e", -8.0, Normal),     // 261
        ("l", -8.0, Normal),     // 262
        ("o", -8.0, Normal),     // 263
        ("▁he", -3.0, Normal),   // 264
        ("he", -2.0, Normal),    // 265
        ("ll", -1.0, Normal),    // 266
        ("llo", -4.0, Normal),   // 267
        ("el", -0.5, Normal),    // 268
        ("<end>", 0.0, Control), // 269
        ("<mid>", 0.0, UserDefined),
    ])
}

fn ids(v: &Vocab, text: &str) -> Vec<i32> {
    v.tokenize(text.as_bytes(), false, false).unwrap()
}
fn back(v: &Vocab, ids: &[i32]) -> String {
    String::from_utf8(v.detokenize(ids, true, true).unwrap()).unwrap()
}

/// A file may have tokens of any length, and ids come from anywhere.
#[test]
fn texts_without_end_are_refused_before_they_are_made() {
    let long = "x".repeat(1 << 20);
    let v = File::llama(&[("a", 0.0, Normal), (&long, 0.0, Normal)]).vocab();
    let ids = vec![260; 1025];
    let e = v.detokenize(&ids, false, false).unwrap_err();
    assert_eq!((e.status, e.detail.subject.as_str()), (Status::InvalidArgument, "tokens"), "{e}");
    assert_eq!(v.detokenize(&ids[..3], false, false).unwrap().len(), 3 << 20);
    assert_eq!(v.piece(260, false).unwrap().len(), 1 << 20);
    assert_eq!(Stream::new(false).push(&v, 260).unwrap().len(), 1 << 20);
}

#[test]
fn the_best_score_merges_first_and_bytes_stand_for_the_rest() {
    let v = hello().vocab();
    // "el" has the best score and leaves no way to "hello".
    assert_eq!(ids(&v, "hello"), [259, 260, 268, 262, 263]);
    assert_eq!(ids(&v, "he"), [264]);
    assert_eq!(ids(&v, "ll o"), [259, 266, 259, 263]);
    assert_eq!(ids(&v, "é\n"), [259, 3 + 0xC3, 3 + 0xA9, 3 + 10]);
    assert_eq!(ids(&v, ""), [0; 0]);
    for text in ["hello", " hello  he", "é\n語", "<s>"] {
        assert_eq!(back(&v, &ids(&v, text)), text);
    }
}

#[test]
fn a_score_that_is_no_number_is_the_worst() {
    let more = [("a", 0.0, Normal), ("b", 0.0, Normal), ("ab", f32::NAN, Normal), ("bb", -1e30, Normal)];
    let v = File::llama(&more).bool("add_space_prefix", false).vocab();
    assert_eq!(ids(&v, "abb"), [259, 262]);
    assert_eq!(ids(&v, "ab"), [261]);
}

#[test]
fn bos_eos_and_the_space_follow_the_file() {
    let v = hello().vocab();
    assert_eq!(v.tokenize(b"he", true, false).unwrap(), [1, 264]);
    assert_eq!(v.tokenize(b"", true, false).unwrap(), [1]);
    assert_eq!(back(&v, &[1, 264]), "he");
    let v = hello().bool("add_bos_token", false).bool("add_eos_token", true).bool("add_space_prefix", false).vocab();
    assert_eq!(v.tokenize(b"he", true, false).unwrap(), [265, 2]);
    assert_eq!(back(&v, &[265, 2]), "he");
    assert_eq!(v.detokenize(&[264, 2], false, true).unwrap(), b" he</s>");
    assert_eq!(v.detokenize(&[264, 2], false, false).unwrap(), b" he");
}

#[test]
fn control_tokens_are_parsed_on_demand_and_user_defined_ones_always() {
    let v = hello().vocab();
    assert_eq!(v.tokenize(b"he<end>he", false, true).unwrap(), [264, 269, 264]);
    assert!(!ids(&v, "he<end>he").contains(&269));
    assert_eq!(ids(&v, "he<mid>he"), [264, 270, 264]);
    assert_eq!(v.tokenize(b"<s><unk></s>", false, true).unwrap(), [1, 0, 2]);
    assert_eq!(v.tokenize(b"<s>", true, true).unwrap(), [1, 1]);
}

#[test]
fn longer_special_tokens_win_wherever_they_stand() {
    let more =
        [("ab", UserDefined), ("bcd", UserDefined), ("abab", UserDefined), ("cd", UserDefined), ("éé", UserDefined)];
    let v = File::gpt2("gpt-2", &more, &[]).vocab();
    assert_eq!(ids(&v, "abcd"), [97, 257]);
    assert_eq!(ids(&v, "abababcd"), [258, 97, 257]);
    assert_eq!(ids(&v, "aabab"), [97, 258]);
    assert_eq!(ids(&v, "xcdéé"), [b'x' as i32, 259, 260]);
}

#[test]
fn a_special_token_of_half_a_character_is_not_looked_for() {
    let base = File::gpt2("gpt-2", &[("x", UserDefined)], &[]);
    let texts: Vec<Vec<u8>> = (0..=255u8)
        .map(|b| super::bytelevel::char_of(b).to_string().into_bytes())
        .chain([vec![0xE2], vec![0x82, 0xAC]])
        .collect();
    let mut types = [Normal; 258];
    types[256..].fill(UserDefined);
    let v = base.strs("tokens", &texts.iter().map(Vec::as_slice).collect::<Vec<_>>()).types(&types).vocab();
    assert_eq!(ids(&v, "€"), [0xE2, 0x82, 0xAC]);
    assert_eq!(v.piece(256, true).unwrap(), [0xE2]);
}

#[test]
fn the_earliest_merge_goes_first_and_never_crosses_a_word() {
    let more = [("ab", Normal), ("bc", Normal), ("abc", Normal), ("Ġa", Normal), ("cĠ", Normal), ("abcd", Normal)];
    let v = File::gpt2("gpt-2", &more, &["b c", "a b", "a bc", "Ġ a", "c Ġ", "b", "x yz", "a b", "ab c"]).vocab();
    assert_eq!(ids(&v, "abc"), [258]);
    assert_eq!(ids(&v, "ab"), [256]);
    // In " abc" the space joins the 'a' last: "bc" comes first, then "abc".
    assert_eq!(ids(&v, "c abc"), [99, 32, 258]);
    assert_eq!(ids(&v, "abcd"), [258, 100]);
    assert_eq!(back(&v, &ids(&v, "c abc é\u{1}")), "c abc é\u{1}");
}

#[test]
fn whole_words_stay_whole_where_the_family_says_so() {
    let more = [("abcd", Normal), ("<bos>", Control)];
    let llama3 = File::gpt2("llama-bpe", &more, &[]).int("bos_token_id", 257);
    let v = llama3.vocab();
    assert_eq!(ids(&v, "abcd"), [256]);
    assert_eq!(v.tokenize(b"abcd", true, false).unwrap(), [257, 256]);
    assert_eq!(llama3.bool("add_bos_token", false).vocab().tokenize(b"abcd", true, false).unwrap(), [256]);
    assert_eq!(ids(&File::gpt2("gpt-2", &more, &[]).vocab(), "abcd").len(), 4);
}

#[test]
fn characters_and_byte_tokens_serve_bpe_without_byte_level() {
    let v = File::llama(&[("▁", 0.0, Normal), ("a", 0.0, Normal), ("▁a", 0.0, Normal), ("\n\n", 0.0, Normal)])
        .str("model", "gemma4")
        .strs("merges", &["▁ a".as_bytes()])
        .int("bos_token_id", 1)
        .vocab();
    assert_eq!(v.tokenize("a a\n\né".as_bytes(), true, false).unwrap(), [1, 260, 261, 262, 3 + 0xC3, 3 + 0xA9]);
    assert_eq!(back(&v, &[1, 260, 261, 262, 3 + 0xC3, 3 + 0xA9]), "a a\n\né");
}

#[test]
fn a_stream_never_cuts_a_character() {
    let v = hello().vocab();
    let byte = |b: u8| 3 + i32::from(b);
    let mut s = Stream::new(false);
    let mut push = |b: u8| s.push(&v, byte(b)).unwrap();
    assert_eq!([0xF0, 0x9F, 0x9A, 0x80].map(&mut push), ["", "", "", "🚀"]);
    // A byte that cannot follow ends the wait; so does one that cannot begin.
    assert_eq!([0xE2, 0x82, b'x'].map(&mut push), ["", "", "\u{FFFD}x"]);
    assert_eq!([0xFF, 0x80].map(&mut push), ["\u{FFFD}", "\u{FFFD}"]);
    assert_eq!([0xC3, 0xC3, 0xA9].map(&mut push), ["", "\u{FFFD}", "é"]);
    assert_eq!(push(0xE2), "");
    assert_eq!(s.push(&v, 264).unwrap(), "\u{FFFD} he");
    assert_eq!(s.push(&v, byte(0xE2)).unwrap(), "");
    assert_eq!(s.push(&v, 9999).unwrap_err().status, Status::InvalidArgument);
    assert_eq!(s.push(&v, 1).unwrap(), "");
    assert_eq!((s.flush().as_str(), s.flush().as_str()), ("\u{FFFD}", ""));
    assert_eq!(Stream::new(true).push(&v, 1).unwrap(), "<s>");
}

#[test]
fn ends_of_generation_come_from_keys_and_names() {
    let more =
        [("<|im_end|>", Normal), ("<|end|>", Control), ("<|return|>", Control), ("<fim_pad>", Control), ("x", Normal)];
    let file = File::gpt2("gpt-4o", &more, &[]).int("eos_token_id", 260);
    let v = file.vocab();
    assert_eq!(v.special().eog, [256, 257, 258, 259, 260]);
    assert_eq!((v.eos(), v.special().eot, v.bos(), v.special().fim_pad), (Some(260), Some(256), None, Some(259)));
    assert_eq!(v.token_type(256).unwrap(), Control, "known by its text");
    assert!(v.is_eog(258) && !v.is_eog(-1) && !v.is_eog(9999));
    // With <|call|> as well it is gpt-oss's format, in which <|end|> ends only a part of the answer.
    let v = File::gpt2("gpt-4o", &[("<|call|>", Control), ("<|end|>", Control), ("<|return|>", Control)], &[]).vocab();
    assert_eq!((v.special().eog.clone(), v.token_type(257).unwrap()), (vec![256, 258], UserDefined));
    assert_eq!(file.int("eos_token_id", 300).int("bos_token_id", -1).vocab().eos(), None);
}

/// The tokens that end a turn in the formats of the models that are meant to run, whatever types the file gives them.
#[test]
fn known_ends_of_turns_end_a_generation() {
    for end in [
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<end_of_turn>",
        "<|end|>",
        "<|return|>",
        "<|endoftext|>",
        "<｜end▁of▁sentence｜>",
        "<turn|>",
        "<end_of_utterance>",
        "[e~[",
    ] {
        let v = File::gpt2("gpt-4o", &[(end, Normal)], &[]).vocab();
        assert!(v.is_eog(256), "{end}");
    }
    // The keys of the file, for pieces that nobody knows, and its list.
    let more = [("a1", Control), ("a2", Control), ("a3", Control), ("a4", Control), ("a5", Control)];
    let file =
        File::gpt2("gpt-4o", &more, &[]).int("eos_token_id", 256).int("eot_token_id", 257).int("eom_token_id", 258);
    let ids = [259, 999, -1].map(|i: i32| i.to_le_bytes().to_vec()).to_vec();
    assert_eq!(file.array("eos_token_ids", 5, ids).vocab().special().eog, [256, 257, 258, 259]);
}

#[test]
fn a_wrong_argument_is_named() {
    let v = hello().vocab();
    let e = v.tokenize(b"ab\xFFc", false, false).unwrap_err();
    assert_eq!((e.status, e.message.contains("at byte 2")), (Status::InvalidArgument, true), "{e}");
    for id in [-1, 271, i32::MIN, i32::MAX] {
        for e in [v.detokenize(&[264, id], false, false).unwrap_err(), v.piece(id, true).unwrap_err()] {
            assert_eq!(e.status, Status::InvalidArgument);
            assert!(e.message.contains(&id.to_string()) && e.message.contains("271"), "{e}");
        }
        assert!(v.token_text(id).is_err() && v.token_score(id).is_err() && v.token_type(id).is_err());
    }
    let few = File::default().str("model", "llama").strs("tokens", &[b"a", b"b", b"c"]).bool("add_space_prefix", false);
    let v = few.bool("add_bos_token", false).vocab();
    assert_eq!(v.tokenize(b"abx", true, false).unwrap(), [0, 1, 0], "the unknown token, id 0 by default");
    let more = [("Ġ", Normal)];
    let v = File::gpt2("gpt-2", &more, &[]).strs("tokens", &[b"a", b"b"]).types(&[Normal; 2]).vocab();
    let e = v.tokenize(b"abx", false, false).unwrap_err();
    assert_eq!((e.status, e.message.contains("0x78")), (Status::InvalidArgument, true), "{e}");
}

#[test]
fn unknown_tokenisers_are_unsupported_by_name() {
    for model in ["test", "none", "no_vocab", "new"] {
        let e = hello().str("model", model).error();
        assert_eq!((e.status, e.detail.subject.as_str()), (Status::Unsupported, "tokenizer.ggml.model"));
        assert!(e.message.contains(model), "{e}");
    }
    let e = File::gpt2("martian", &[], &[]).error();
    assert_eq!((e.status, e.message.contains("'martian'")), (Status::Unsupported, true), "{e}");
    assert_eq!(File::default().error().status, Status::Unsupported);
    assert_eq!(File::gpt2("", &[], &[]).vocab().pre(), "default");
}

#[test]
fn contradicting_keys_are_bad_files() {
    let gpt2 = || File::gpt2("gpt-2", &[], &[]);
    let floats = vec![1f32.to_le_bytes().to_vec(); 271];
    let bad = [
        (hello().scores(&[0.0; 270]), "tokenizer.ggml.scores"),
        (hello().types(&[Normal; 3]), "tokenizer.ggml.token_type"),
        (hello().strs("tokens", &[]), "tokenizer.ggml.tokens"),
        (hello().array("tokens", 6, floats.clone()), "tokenizer.ggml.tokens"),
        (hello().array("token_type", 6, floats), "tokenizer.ggml.token_type"),
        (hello().strs("scores", &[&b"1"[..]; 271]), "tokenizer.ggml.scores"),
        (hello().int("tokens", 1), "tokenizer.ggml.tokens"),
        (hello().str("bos_token_id", "one"), "tokenizer.ggml.bos_token_id"),
        (hello().int("add_bos_token", 1), "tokenizer.ggml.add_bos_token"),
        (hello().set("model", 8, sized(b"ll\xFF")), "tokenizer.ggml.model"),
        (gpt2().int("merges", 1), "tokenizer.ggml.merges"),
        (gpt2().array("merges", 5, vec![1i32.to_le_bytes().to_vec()]), "tokenizer.ggml.merges"),
    ];
    for (file, key) in bad {
        let e = file.error();
        assert_eq!((e.status, e.detail.subject.as_str()), (Status::BadFile, key), "{e}");
    }
    let mut file = gpt2();
    file.keys.retain(|k| k.0 != "tokenizer.ggml.merges");
    assert_eq!(file.error().status, Status::BadFile);
}

#[test]
fn odd_tokens_are_well_defined() {
    let texts: [&[u8]; 6] = [b"", b"a", b"a", b"", b"\xFF\xFE", b"<0xZZ>"];
    let types = [Control, Normal, UserDefined, UserDefined, Normal, TokenType::Byte];
    let file =
        File::default().str("model", "llama").strs("tokens", &texts).types(&types).bool("add_space_prefix", false);
    let v = file.scores(&[0.0; 9]).vocab();
    assert_eq!(
        v.tokenize(b"aa", false, true).unwrap(),
        [1, 1],
        "the lowest id stands for a text, an empty one for none"
    );
    assert_eq!(v.detokenize(&[0, 1, 2, 3, 4, 5], false, true).unwrap(), b"aa\xFF\xFE<0xZZ>");
    assert_eq!((v.find(b"a"), v.find(b"")), (Some(1), None));
}

#[test]
fn phi3_swallows_the_space_behind_special_tokens() {
    let v = hello().str("general.name", "Phi-3 mini").bool("add_space_prefix", false).vocab();
    assert_eq!(v.tokenize(b"<end> \n he<s> he", false, true).unwrap(), [269, 265, 1, 264]);
    assert_eq!(v.tokenize(b"<end>  ", false, true).unwrap(), [269]);
}

#[test]
fn characters_of_several_bytes_have_spellings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/bible-5M-Q8_0.gguf");
    let v = Vocab::from_gguf(&Gguf::open(std::path::Path::new(path)).unwrap()).unwrap();
    for text in ["ü", "€", "中", "\n"] {
        let ways = v.spellings(text, 16).unwrap();
        assert!(!ways.is_empty(), "{text:?}");
        for (head, tail) in ways {
            let ids: Vec<i32> = std::iter::once(head).chain(tail).collect();
            let word = v.detokenize(&ids, false, true).unwrap();
            assert!(word.windows(text.len()).any(|w| w == text.as_bytes()), "{text:?}: {ids:?}");
        }
    }
}
