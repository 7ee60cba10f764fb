//! Batch sizes by family, used if the caller gives none. They need no graph, since architectures without one can be
//! estimated too.

/// Tokens per batch and per micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchDefaults {
    pub n_batch: u32,
    pub n_ubatch: u32,
}

impl BatchDefaults {
    /// No more than a context of `n_ctx` tokens holds.
    pub fn within(self, n_ctx: u32) -> BatchDefaults {
        BatchDefaults { n_batch: self.n_batch.min(n_ctx), n_ubatch: self.n_ubatch.min(n_ctx) }
    }
}

/// The batch sizes of every architecture that has no entry of its own.
pub const GLOBAL_BATCH: BatchDefaults = BatchDefaults { n_batch: 512, n_ubatch: 512 };

/// The family's batch sizes, if it has its own. The figures are the fork's (ollama37).
pub fn batch_defaults(architecture: &str) -> Option<BatchDefaults> {
    let (n_batch, n_ubatch) = match architecture {
        "deepseek2" => (2048, 256),
        "phi2" => (256, 256),
        "llama" | "llama4" | "mllama" | "gemma" | "gemma2" | "gemma3" | "gemma3n" | "qwen2" | "qwen25vl" | "gemma4"
        | "mistral3" | "command-r" | "stablelm" | "chatglm" | "gptoss" | "gpt-oss" => (512, 512),
        _ => return None,
    };
    Some(BatchDefaults { n_batch, n_ubatch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_without_a_graph_have_their_own_sizes() {
        let sizes = |name| batch_defaults(name).map(|b| (b.n_batch, b.n_ubatch));
        assert_eq!(sizes("deepseek2"), Some((2048, 256)));
        assert_eq!(sizes("phi2"), Some((256, 256)));
        for name in
            ["llama", "llama4", "mllama", "gemma", "gemma2", "gemma3", "gemma3n", "qwen2", "qwen25vl", "mistral3"]
        {
            assert_eq!(sizes(name), Some((512, 512)), "{name}");
        }
        for name in ["command-r", "stablelm", "chatglm", "gptoss", "gpt-oss"] {
            assert_eq!(sizes(name), Some((512, 512)), "{name}");
        }
        // Not in the table: the same sizes, but from the global default.
        assert_eq!(sizes("qwen3"), None);
    }
}
