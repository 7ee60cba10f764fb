//! Special tokens: the ids that begin, end and separate texts, and those that end a generation.

use super::tokens::{TokenType, Tokens};
use crate::error::Result;
use crate::gguf::{Gguf, Value};

/// The ids of special tokens; `None` if the vocabulary has no such token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<i32>,
    /// Ends a text.
    pub eos: Option<i32>,
    /// Ends a turn of a chat.
    pub eot: Option<i32>,
    /// Ends a message.
    pub eom: Option<i32>,
    pub unk: Option<i32>,
    pub sep: Option<i32>,
    pub pad: Option<i32>,
    pub mask: Option<i32>,
    /// To fill in the middle of a text: the part before, the part after, the middle, padding, repository, file.
    pub fim_pre: Option<i32>,
    pub fim_suf: Option<i32>,
    pub fim_mid: Option<i32>,
    pub fim_pad: Option<i32>,
    pub fim_rep: Option<i32>,
    pub fim_sep: Option<i32>,
    /// All tokens that end a generation, ascending.
    pub eog: Vec<i32>,
}

// Files often lack the key for a special token. These are the texts by which it is known then.
const EOT: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
const EOM: &[&str] = &["<|eom_id|>"];
const FIM_PRE: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
];
const FIM_SUF: &[&str] = &[
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
];
const FIM_MID: &[&str] = &[
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];
const FIM_PAD: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FIM_REP: &[&str] = &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"];
const FIM_SEP: &[&str] = &["<|file_sep|>"];
const EOG: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];
/// These structure gpt-oss's answers, so a host must see them, though files call them control tokens.
const SHOWN: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

impl SpecialIds {
    /// Reads the ids from the file's keys and finds others by their texts. `defaults` holds those that a family has
    /// without a key. A token that is found by its text becomes a control token, whatever the file says. Ids out of
    /// range count as absent.
    pub(super) fn from_gguf(gguf: &Gguf, tokens: &mut Tokens, defaults: SpecialIds) -> Result<SpecialIds> {
        let mut s = defaults;
        let n = tokens.len() as i64;
        // The last three keys are older names.
        let keys: [(&str, &mut Option<i32>); 14] = [
            ("bos_token_id", &mut s.bos),
            ("eos_token_id", &mut s.eos),
            ("eot_token_id", &mut s.eot),
            ("eom_token_id", &mut s.eom),
            ("unknown_token_id", &mut s.unk),
            ("seperator_token_id", &mut s.sep),
            ("padding_token_id", &mut s.pad),
            ("mask_token_id", &mut s.mask),
            ("fim_pre_token_id", &mut s.fim_pre),
            ("fim_suf_token_id", &mut s.fim_suf),
            ("fim_mid_token_id", &mut s.fim_mid),
            ("fim_pad_token_id", &mut s.fim_pad),
            ("fim_rep_token_id", &mut s.fim_rep),
            ("fim_sep_token_id", &mut s.fim_sep),
        ];
        for (key, id) in keys {
            let older = match key {
                "fim_pre_token_id" => Some("tokenizer.ggml.prefix_token_id"),
                "fim_suf_token_id" => Some("tokenizer.ggml.suffix_token_id"),
                "fim_mid_token_id" => Some("tokenizer.ggml.middle_token_id"),
                _ => None,
            };
            *id = id.filter(|i| i64::from(*i) < n);
            for key in [Some(format!("tokenizer.ggml.{key}").as_str()), older].into_iter().flatten() {
                if let Some(new) = gguf.get_i64(key)?
                    && (0..n).contains(&new)
                {
                    *id = Some(new as i32);
                }
            }
        }
        s.find_by_text(tokens);
        // Some files list several ends; an id out of range counts as absent here, too.
        let more = gguf.get("tokenizer.ggml.eos_token_ids");
        if let Some(Value::Array(ids)) = more {
            let ids = ids.iter().filter_map(|v| v.as_int()).filter(|id| (0..i128::from(n)).contains(id));
            s.eog.extend(ids.map(|id| id as i32));
            s.eog.sort_unstable();
            s.eog.dedup();
        }
        Ok(s)
    }

    fn find_by_text(&mut self, tokens: &mut Tokens) {
        let names: [(&mut Option<i32>, &[&str]); 8] = [
            (&mut self.eot, EOT),
            (&mut self.eom, EOM),
            (&mut self.fim_pre, FIM_PRE),
            (&mut self.fim_suf, FIM_SUF),
            (&mut self.fim_mid, FIM_MID),
            (&mut self.fim_pad, FIM_PAD),
            (&mut self.fim_rep, FIM_REP),
            (&mut self.fim_sep, FIM_SEP),
        ];
        for (id, texts) in names {
            if id.is_none()
                && let Some(found) = texts.iter().find_map(|t| tokens.find(t.as_bytes()))
            {
                *id = Some(found as i32);
                tokens.set_type(found, TokenType::Control);
            }
        }
        let mut eog: Vec<i32> = [self.fim_pad, self.fim_rep, self.fim_sep].into_iter().flatten().collect();
        for (texts, ty) in [(EOG, TokenType::Control), (SHOWN, TokenType::UserDefined)] {
            for text in texts {
                let Some(id) = tokens.find(text.as_bytes()) else { continue };
                tokens.set_type(id, ty);
                if ty == TokenType::Control {
                    eog.push(id as i32);
                }
            }
        }
        eog.extend([self.eos, self.eot, self.eom].into_iter().flatten());
        eog.sort_unstable();
        eog.dedup();
        let find = |text: &str| tokens.find(text.as_bytes()).filter(|id| eog.contains(&(*id as i32)));
        // If other tokens end an answer, <|end|> ends only a part of it. And </s> is mere text to some families.
        let call = find("<|call|>").or(find("<|calls|>")).is_some();
        let end = find("<|end|>").filter(|_| call && (find("<|return|>").is_some() || find("<|flush|>").is_some()));
        let normal_s = find("<|tool_response>").or(find("<|plamo:eos|>")).is_some();
        let s = find("</s>").filter(|_| normal_s);
        for (id, ty) in [(end, TokenType::UserDefined), (s, TokenType::Normal)] {
            if let Some(id) = id {
                eog.retain(|e| *e != id as i32);
                tokens.set_type(id, ty);
            }
        }
        self.eog = eog;
    }
}
