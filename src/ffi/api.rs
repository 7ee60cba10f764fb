//! The table of all functions, for hosts that open the library at run time.

use std::ffi::c_void;

use super::guard::guard_value;
use super::*;

/// Every function of the library, under its name without the prefix. New functions are added at the end and nothing
/// ever moves; struct_size says how far the table goes.
pub struct rekindle_api_table {
    _private: (),
}

/// The address of a function, which C reads.
#[allow(dead_code)]
struct Function(*const c_void);

// SAFETY: functions stay where they are.
unsafe impl Sync for Function {}

/// The table as C sees it: `tests/header.rs` writes a typed member for each function, from the prototypes of the
/// header.
#[repr(C)]
struct Table<const N: usize> {
    struct_size: u32,
    /// The library's REKINDLE_ABI_VERSION.
    version_of_abi: u32,
    functions: [Function; N],
}

macro_rules! table {
    ($($name:ident,)*) => {
        const N_FUNCTIONS: usize = [$(stringify!($name)),*].len();
        static TABLE: Table<N_FUNCTIONS> = Table {
            struct_size: size_of::<Table<N_FUNCTIONS>>() as u32,
            version_of_abi: REKINDLE_ABI_VERSION,
            functions: [$(Function($name as *const c_void)),*],
        };
    };
}

// New functions are added at the end, and nothing ever moves.
table! {
    rekindle_version,
    rekindle_abi_version,
    rekindle_status_name,
    rekindle_last_error,
    rekindle_last_error_detail,
    rekindle_environment,
    rekindle_context_create,
    rekindle_context_destroy,
    rekindle_context_get_info,
    rekindle_context_get_device,
    rekindle_file_open,
    rekindle_file_close,
    rekindle_file_get_info,
    rekindle_file_find_key,
    rekindle_file_get_key,
    rekindle_file_key_text,
    rekindle_file_key_integer,
    rekindle_file_key_number,
    rekindle_file_get_tensor,
    rekindle_plan,
    rekindle_plan_destroy,
    rekindle_plan_get_summary,
    rekindle_plan_get_device,
    rekindle_plan_get_layer,
    rekindle_plan_reason,
    rekindle_plan_remedy,
    rekindle_plan_text,
    rekindle_plan_json,
    rekindle_load,
    rekindle_model_destroy,
    rekindle_model_get_info,
    rekindle_model_memory,
    rekindle_model_get_perf,
    rekindle_model_reset_perf,
    rekindle_cancel,
    rekindle_vocab_create,
    rekindle_model_vocab,
    rekindle_vocab_destroy,
    rekindle_vocab_get_info,
    rekindle_vocab_get_token,
    rekindle_tokenize,
    rekindle_detokenize,
    rekindle_token_piece,
    rekindle_stream_create,
    rekindle_stream_destroy,
    rekindle_stream_push,
    rekindle_stream_flush,
    rekindle_decode,
    rekindle_n_outputs,
    rekindle_logits,
    rekindle_embeddings,
    rekindle_seq_remove,
    rekindle_seq_copy,
    rekindle_seq_keep,
    rekindle_seq_shift,
    rekindle_seq_length,
    rekindle_n_free,
    rekindle_sampler_create,
    rekindle_sampler_destroy,
    rekindle_sampler_sample,
    rekindle_sampler_sample_logits,
    rekindle_sampler_accept,
    rekindle_sampler_reset,
    rekindle_generate,
    rekindle_plan_compare,
    rekindle_plan_ask,
    rekindle_chat_render,
    rekindle_chat_template,
    rekindle_chat_template_name,
    rekindle_model_plan,
    rekindle_seq_cut,
    rekindle_seq_checkpoint,
    rekindle_sampler_copy,
    rekindle_sampler_logprobs,
    rekindle_pooled,
    rekindle_generation_create,
    rekindle_generation_destroy,
    rekindle_generation_cancel,
    rekindle_generation_next,
    rekindle_generation_get_info,
    rekindle_step,
    rekindle_seq_save,
    rekindle_seq_load,
    rekindle_seq_save_file,
    rekindle_seq_load_file,
    rekindle_file_open_with,
    rekindle_generation_logprobs,
    rekindle_grammar_create,
    rekindle_grammar_destroy,
    rekindle_grammar_copy,
    rekindle_grammar_reset,
    rekindle_grammar_mask,
    rekindle_grammar_accept,
    rekindle_grammar_forced,
    rekindle_grammar_is_complete,
    rekindle_grammar_check,
    rekindle_file_adapt,
    rekindle_file_get_adapter,
    rekindle_seq_set_adapters,
    rekindle_reply_create,
    rekindle_reply_destroy,
    rekindle_reply_push,
    rekindle_reply_push_token,
    rekindle_reply_finish,
    rekindle_reply_next,
    rekindle_reply_json,
    rekindle_reply_format,
    rekindle_model_set_draft,
    rekindle_plan_svg,
    rekindle_seq_leave,
    rekindle_reply_grammar,
}

/// The table of functions, which lives as long as the library. `abi_version` is the host's REKINDLE_ABI_VERSION; the
/// result is NULL if the library does not serve it. This is the one symbol that a host needs to look up.
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_api(abi_version: u32) -> *const rekindle_api_table {
    guard_value("rekindle_api", std::ptr::null(), || {
        if (1..=REKINDLE_ABI_VERSION).contains(&abi_version) { (&raw const TABLE).cast() } else { std::ptr::null() }
    })
}
