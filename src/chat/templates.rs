//! The templates of a file.

use super::{Message, Options, render};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Value};
use crate::vocab::Vocab;

const KEY: &str = "tokenizer.chat_template";
const DEFAULT: &str = "default";
/// The most bytes of a template. Real ones have up to 20,000.
const LONGEST: usize = 128 << 10;
/// The most bytes of a special token's text. The tokeniser finds no longer ones in a prompt.
const LONGEST_SPECIAL: usize = 256;

struct Template {
    name: String,
    /// The file's key.
    key: String,
    text: Vec<u8>,
}

/// A file's templates and the texts of its special tokens.
#[derive(Default)]
pub struct Templates {
    all: Vec<Template>,
    /// The texts of `bos_token` and others, for the templates.
    special: Vec<(&'static str, String)>,
}

impl Templates {
    /// The templates of a file with this vocabulary. They are copied, so the file may be closed afterwards; nothing is
    /// parsed before it is used, so a bad one keeps nobody from decoding.
    ///
    /// # Errors
    /// `OutOfMemory`: a template may be of any length.
    pub fn from_gguf(gguf: &Gguf, vocab: &Vocab) -> Result<Templates> {
        // These are the names that templates use, as in transformers.
        let ids = vocab.special();
        let named = [
            ("bos_token", ids.bos),
            ("eos_token", ids.eos),
            ("unk_token", ids.unk),
            ("sep_token", ids.sep),
            ("pad_token", ids.pad),
            ("mask_token", ids.mask),
        ];
        let text =
            |id: i32| vocab.token_text(id).ok().filter(|t| t.len() <= LONGEST_SPECIAL).map(String::from_utf8_lossy);
        let special = named.into_iter().filter_map(|(name, id)| Some((name, text(id?)?.into_owned()))).collect();
        let mut all = Vec::new();
        for key in gguf.keys() {
            let name = match key.name.strip_prefix(KEY) {
                Some("") => DEFAULT,
                Some(rest) if rest.len() > 1 && rest.starts_with('.') => &rest[1..],
                _ => continue,
            };
            if let Some(Value::Str(text)) = gguf.value(key) {
                let mut copy = Vec::new();
                let no_memory = |_| Error::out_of_memory("a chat template", text.len() as u64).subject(&key.name);
                copy.try_reserve_exact(text.len()).map_err(no_memory)?;
                copy.extend_from_slice(text);
                all.push(Template { name: name.to_owned(), key: key.name.clone(), text: copy });
            }
        }
        if all.iter().any(|t| t.key == KEY) {
            all.retain(|t| t.key == KEY || t.name != DEFAULT);
        }
        Ok(Templates { all, special })
    }

    /// The names of the file's templates. If there is one without a name, it is `default` and comes first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (first, rest): (Vec<&Template>, Vec<&Template>) = self.all.iter().partition(|t| t.key == KEY);
        first.into_iter().chain(rest).map(|t| t.name.as_str())
    }

    fn find(&self, name: &str) -> Option<&Template> {
        self.all.iter().find(|t| t.name == name)
    }

    /// The template to use and its key.
    ///
    /// # Errors
    /// `NotFound` if the file has none, or none of that name; `BadFile` if it is no UTF-8.
    fn choose(&self, name: Option<&str>, tools: bool) -> Result<(&str, &str)> {
        let found = match name {
            Some(name) => self.find(name),
            None => Some("tool_use").filter(|_| tools).and_then(|n| self.find(n)).or_else(|| self.find(DEFAULT)),
        };
        let Some(t) = found else {
            let names: Vec<&str> = self.names().collect();
            let text = match (names.as_slice(), name) {
                ([], _) => {
                    format!("the file has no chat template (key '{KEY}'); give one as text, or use the model without")
                }
                (_, Some(name)) => format!("the file has no chat template '{name}'; it has {}", names.join(", ")),
                (_, None) => format!("the file has no default chat template; name one of {}", names.join(", ")),
            };
            return Err(Error::not_found(text).subject(KEY));
        };
        let text = std::str::from_utf8(&t.text).map_err(|e| {
            Error::bad_file(format!("key '{}' is no valid UTF-8 at byte {}", t.key, e.valid_up_to())).subject(&t.key)
        })?;
        Ok((&t.key, text))
    }

    /// The text of a template; `None`: the default one.
    ///
    /// # Errors
    /// As for `render`.
    pub fn text(&self, name: Option<&str>) -> Result<&str> {
        self.choose(name, false).map(|(_, text)| text)
    }

    /// The text of the template that `render` would use.
    ///
    /// # Errors
    /// As for `render`.
    pub fn source<'a>(&'a self, options: &Options<'a>) -> Result<&'a str> {
        match options.text {
            Some(text) => Ok(text),
            None => self.choose(options.name, options.tools.is_some()).map(|(_, text)| text),
        }
    }

    /// The prompt for a conversation. It holds the texts of special tokens, BOS as well if the template writes it. So
    /// it is to be tokenised with special tokens parsed and none added.
    ///
    /// # Errors
    /// `NotFound`: there is no such template. `InvalidArgument`: the template refuses the messages, a parameter is no
    /// JSON, or the template given as a text is bad. `BadFile`: the file's template does not parse, fails, or goes past
    /// a limit. `Unsupported`: it uses a filter, test, function or method that is not known here. Each names the
    /// template's key and line.
    pub fn render(&self, messages: &[Message], options: &Options) -> Result<String> {
        let (key, text) = match options.text {
            Some(text) => ("template_text", text),
            None => self.choose(options.name, options.tools.is_some())?,
        };
        let source = render::Source { key, text, of_file: options.text.is_none() };
        if text.len() > LONGEST {
            let what = format!("has {} bytes, at most {LONGEST} are taken", text.len());
            return Err(source.error(None, &what));
        }
        render::render(&source, &self.special, messages, options)
    }
}
