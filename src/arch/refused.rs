//! Architectures of llama.cpp that are known and have no graph here, each with what it lacks. Their files get an
//! estimate; a load is refused by name.

/// The reason why there is no graph of an architecture, if it is known.
pub(super) fn reason(architecture: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.contains(&architecture)).map(|(_, reason)| *reason)
}

const REFUSED: &[(&[&str], &str)] = &[
    (&["gptj"], "llama.cpp itself has no graph of it"),
    (&["rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"], "its time mixing (WKV) has no operation here"),
    (&["gemma3n"], "its sparse gates and routed streams (AltUp) have no operations here"),
    (&["minimax-01"], "its lightning attention by fixed decays has no word here"),
    (&["minimax-m3"], "its attention over chosen blocks has no operation here"),
    (&["dots3note"], "its latent attention with windows and an indexer has no operation here"),
    (&["deepseek4", "glm5-next", "qwen4exp", "hy_v4"], "its hyper-connections and indexers have no operations here"),
    (&["bailingmoe3", "kimi-k3"], "its delta attention with bounded gates has no word here"),
    (&["chameleon"], "its logits leave image tokens out, which has no operation here"),
    (&["graniteswitch"], "its adapters that each token chooses have no operation here"),
    (&["t5", "t5encoder"], "encoder-decoders and their relative positions have no operations here"),
    (&["eagle3", "dflash", "gemma4-assistant"], "it drafts for another model, and is no model by itself"),
    (&["clip", "wavtokenizer-dec"], "it is no model of text"),
];
