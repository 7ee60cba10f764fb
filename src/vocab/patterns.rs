//! The regular expressions that cut a text into words, those of the models' own tokenisers.
//!
//! The `regex` crate takes linear time whatever the text, since it never goes back. For that it has no look-ahead, and
//! the models' expressions need one in one place: `\s+(?!\S)` matches a run of white space before a word without its
//! last character, which then belongs to the word. The patterns here say `\s+` instead, and `split` gives the last
//! character back where a `Tail` says so.
//!
//! The reference has some of them in another form, since its own engine knows no classes of capital and small letters
//! (`GPT4O`, `TEKKEN`, `YOUTU`, `KIMI_K2`), no digits beside ASCII's (`superbpe`), and no word's edge (`TINY_AYA`).

/// A regular expression, and the way in which it replaces the look-ahead `\s+(?!\S)`.
pub(super) struct Rule {
    pub(super) pattern: &'static str,
    pub(super) tail: Tail,
}

/// The treatment of a match, where a look-ahead of the model's own expression decides that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// It is a piece.
    Keep,
    /// A match of white space alone gives its last character back.
    GiveBack,
    /// The same, but a match that ends in a line break keeps it, since it came from an alternative for line breaks.
    GiveBackUnlessBreak,
    /// The same, and what is left of the white space is cut into 512, 256, 128, ... characters, the longest first.
    Halves,
    /// The match is a number, which is cut into groups of three digits from its end.
    Thousands,
}

pub(super) const fn keep(pattern: &'static str) -> Rule {
    Rule { pattern, tail: Tail::Keep }
}
pub(super) const fn give_back(pattern: &'static str) -> Rule {
    Rule { pattern, tail: Tail::GiveBack }
}
pub(super) const fn breaks(pattern: &'static str) -> Rule {
    Rule { pattern, tail: Tail::GiveBackUnlessBreak }
}
pub(super) const fn thousands(pattern: &'static str) -> Rule {
    Rule { pattern, tail: Tail::Thousands }
}

// The contractions of English in any case, and the same in lower case only.
macro_rules! contractions {
    () => {
        "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    };
}
pub(super) const GPT2: Rule = give_back(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+");
pub(super) const LLAMA3: Rule =
    breaks(concat!(contractions!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"));
pub(super) const QWEN2: Rule =
    breaks(concat!(contractions!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"));
// Words of upper, then lower case letters; letters without case and marks belong to both.
macro_rules! cased_words {
    ($end:expr, $rest:expr) => {
        cased_words!($end, $rest, "")
    };
    // `$but` takes characters away from both classes.
    ($end:expr, $rest:expr, $but:expr) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}",
            $but,
            r"]*[\p{Ll}\p{Lm}\p{Lo}\p{M}",
            $but,
            "]+",
            $end,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}",
            $but,
            r"]+[\p{Ll}\p{Lm}\p{Lo}\p{M}",
            $but,
            "]*",
            $end,
            $rest
        )
    };
}
pub(super) const GPT4O: Rule =
    breaks(cased_words!(concat!(contractions!(), "?"), r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"));
pub(super) const LINES: Rule = keep(r"[^\n]+|\n+");
pub(super) const DIGIT: Rule = keep(r"\p{N}");
pub(super) const DIGITS_3: Rule = keep(r"\p{N}{1,3}");
pub(super) const LINE_BREAK: Rule = keep(r"[\r\n]");
pub(super) const CJK: Rule = keep(r"[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+");
pub(super) const KANA_HAN: Rule = keep(r"[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+");
macro_rules! marked_words {
    () => {
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##
    };
}
pub(super) const DEEPSEEK_V3: Rule = breaks(concat!(marked_words!(), r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"));
pub(super) const CLAUSES: Rule = keep(r" ?[^(\s|.,!?\u{2026}\u{3002}\u{FF0C}\u{3001}\u{964}\u{6D4}\u{60C})]+");
// The letters with case of Latin, Greek, Cyrillic, Armenian, Georgian and a few more scripts.
pub(super) const CASED_LETTERS: Rule = keep(concat!(
    r"\s?[",
    r"A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}\u{370}-\u{373}",
    r"\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}",
    r"\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}",
    r"\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}",
    r"\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}",
    r"\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}",
    r"\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}",
    r"\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}",
    r"\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}",
    r"\u{A722}-\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}",
    r"\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}",
    r"\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}",
    r"]+"
));

pub(super) const DEFAULT: &[Rule] = &[keep(r"[\p{P}\$\+<=>\^\~\|]+"), GPT2, keep(r"\p{N}+"), keep(r"[0-9][0-9][0-9]")];
pub(super) const QWEN35: Rule = breaks(concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
));
pub(super) const FALCON: &[Rule] = &[keep(r"[\p{P}\$\+<=>\^\~\|`]+"), GPT2, keep(r"[0-9][0-9][0-9]")];
pub(super) const DEEPSEEK_LLM: &[Rule] = &[
    LINE_BREAK,
    CASED_LETTERS,
    // U+3000 is left out, because it is white space, which is cut off before.
    keep(r"\s?[!-/:-\~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3001}-\u{3002}]+"),
    keep(r"\s+$"),
    CJK,
    keep(r"\p{N}+"),
];
pub(super) const DEEPSEEK_CODER: &[Rule] = &[LINE_BREAK, keep(r"\s?\p{L}+"), keep(r"\s?\p{P}+"), CJK, DIGIT];
pub(super) const SPARK: &[Rule] =
    &[DIGITS_3, KANA_HAN, give_back(concat!(marked_words!(), r"| ?[\p{P}\p{S}]+|[\r\n]|\s+")), DIGIT];
pub(super) const AFMOE: &[Rule] = &[
    thousands(r"\p{N}+"),
    // Scripts of Asia, most of them without spaces between words.
    keep(concat!(
        r"[\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{F900}-\u{FAFF}\u{3040}-\u{309F}\u{30A0}-\u{30FF}",
        r"\u{FF65}-\u{FF9F}\u{2F00}-\u{2FDF}\u{E40}-\u{E7F}\u{E80}-\u{EFF}\u{1780}-\u{17FF}",
        r"\u{1000}-\u{109F}\u{AA60}-\u{AA7F}\u{A9E0}-\u{A9FF}\u{AC00}-\u{D7AF}\u{1100}-\u{11FF}]+"
    )),
    DEEPSEEK_V3,
];
// A number that a letter follows is cut from its beginning, by the second rule.
pub(super) const TINY_AYA: &[Rule] = &[thousands(r"\d+\b"), GPT4O];
pub(super) const YOUTU: &[Rule] = &[
    keep(concat!(
        r"[\u{AC00}-\u{D7A3}\u{3131}-\u{318E}]+",
        r"|[\u{FF01}\u{2026}\u{201C}\u{201D}\u{2018}\u{2019}\u{2014}\u{FF1A}\u{FF1B}\u{FF0C}",
        r"\u{3001}-\u{303F}\u{FE30}-\u{FE4F}]+|[\u{3105}-\u{312F}]+",
        r"|[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+",
    )),
    breaks(cased_words!(concat!(contractions!(), "?"), r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+")),
];
pub(super) const KIMI_K2: Rule = breaks(concat!(
    r"\p{Han}+|",
    cased_words!(
        concat!(contractions!(), "?"),
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
        r"&&[^\p{Han}]"
    )
));
pub(super) const TEKKEN: Rule = breaks(cased_words!("", r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"));
pub(super) const BAILING: Rule = breaks(concat!(
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]|\s+"
));
pub(super) const SEED_CODER: Rule =
    breaks(concat!(contractions!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+"));
pub(super) const EXAONE_MOE: Rule = breaks(concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+"
));
pub(super) const UFAKZEKA: Rule = breaks(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+");
pub(super) const JAIS2: Rule = Rule { tail: Tail::Halves, ..LLAMA3 };
pub(super) const MINICPM5: &[Rule] = &[
    DIGITS_3,
    breaks(concat!(contractions!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+")),
];
pub(super) const CHAMELEON: &[Rule] = &[
    keep("<sentinel:[0-9]+>"),
    keep("IMGIMG[A-I]{1,4}Z"),
    keep(r"[\t\n]|    |  "),
    DIGIT,
    keep(r"[\p{P}!-/:-@\[-`{-~]"),
    GPT2,
];
