//! The table of all functions, for hosts that open the library at run time.

use std::ffi::{c_char, c_void};

use super::guard::guard_value;
use super::*;

/// Every function of the library, under its name without the prefix. New functions are added at the end and nothing
/// ever moves; struct_size says how far the table goes.
#[repr(C)]
pub struct rekindle_api_table {
    pub struct_size: u32,
    /// The library's REKINDLE_ABI_VERSION.
    pub version_of_abi: u32,
    pub version: unsafe extern "C" fn() -> *const c_char,
    pub abi_version: unsafe extern "C" fn() -> u32,
    pub status_name: unsafe extern "C" fn(status: rekindle_status) -> *const c_char,
    pub last_error: unsafe extern "C" fn() -> *const c_char,
    pub last_error_detail: unsafe extern "C" fn(detail: *mut rekindle_error_detail) -> rekindle_status,
    pub environment:
        unsafe extern "C" fn(index: u32, buffer: *mut c_char, capacity: usize, needed: *mut usize) -> rekindle_status,
    pub context_create: unsafe extern "C" fn(
        abi_version: u32,
        params: *const rekindle_context_params,
        context: *mut *mut rekindle_context,
    ) -> rekindle_status,
    pub context_destroy: unsafe extern "C" fn(context: *mut rekindle_context) -> rekindle_status,
    pub context_get_info:
        unsafe extern "C" fn(context: *const rekindle_context, info: *mut rekindle_context_info) -> rekindle_status,
    pub context_get_device: unsafe extern "C" fn(
        context: *const rekindle_context,
        index: u32,
        info: *mut rekindle_device_info,
    ) -> rekindle_status,
    pub file_open: unsafe extern "C" fn(
        context: *const rekindle_context,
        path: *const c_char,
        path_len: usize,
        file: *mut *mut rekindle_file,
    ) -> rekindle_status,
    pub file_close: unsafe extern "C" fn(file: *mut rekindle_file) -> rekindle_status,
    pub file_get_info:
        unsafe extern "C" fn(file: *const rekindle_file, info: *mut rekindle_file_info) -> rekindle_status,
    pub file_find_key: unsafe extern "C" fn(
        file: *const rekindle_file,
        name: *const c_char,
        name_len: usize,
        index: *mut u32,
    ) -> rekindle_status,
    pub file_get_key:
        unsafe extern "C" fn(file: *const rekindle_file, index: u32, info: *mut rekindle_key_info) -> rekindle_status,
    pub file_key_text: unsafe extern "C" fn(
        file: *const rekindle_file,
        index: u32,
        max_elements: u32,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub file_key_integer:
        unsafe extern "C" fn(file: *const rekindle_file, index: u32, value: *mut i64) -> rekindle_status,
    pub file_key_number:
        unsafe extern "C" fn(file: *const rekindle_file, index: u32, value: *mut f64) -> rekindle_status,
    pub file_get_tensor: unsafe extern "C" fn(
        file: *const rekindle_file,
        index: u32,
        info: *mut rekindle_tensor_info,
    ) -> rekindle_status,
    pub plan: unsafe extern "C" fn(
        context: *const rekindle_context,
        file: *const rekindle_file,
        params: *const rekindle_plan_params,
        plan: *mut *mut rekindle_plan_t,
    ) -> rekindle_status,
    pub plan_destroy: unsafe extern "C" fn(plan: *mut rekindle_plan_t) -> rekindle_status,
    pub plan_get_summary:
        unsafe extern "C" fn(plan: *const rekindle_plan_t, summary: *mut rekindle_plan_summary) -> rekindle_status,
    pub plan_get_device: unsafe extern "C" fn(
        plan: *const rekindle_plan_t,
        index: u32,
        device: *mut rekindle_plan_device,
    ) -> rekindle_status,
    pub plan_get_layer: unsafe extern "C" fn(
        plan: *const rekindle_plan_t,
        index: u32,
        layer: *mut rekindle_plan_layer,
    ) -> rekindle_status,
    pub plan_reason: unsafe extern "C" fn(
        plan: *const rekindle_plan_t,
        index: u32,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub plan_remedy: unsafe extern "C" fn(
        plan: *const rekindle_plan_t,
        index: u32,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub plan_text: unsafe extern "C" fn(
        plan: *const rekindle_plan_t,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub plan_json: unsafe extern "C" fn(
        plan: *const rekindle_plan_t,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub load: unsafe extern "C" fn(
        context: *const rekindle_context,
        plan: *const rekindle_plan_t,
        params: *const rekindle_load_params,
        model: *mut *mut rekindle_model,
    ) -> rekindle_status,
    pub model_destroy: unsafe extern "C" fn(model: *mut rekindle_model) -> rekindle_status,
    pub model_get_info:
        unsafe extern "C" fn(model: *const rekindle_model, info: *mut rekindle_model_info) -> rekindle_status,
    pub model_memory: unsafe extern "C" fn(
        model: *const rekindle_model,
        device: u32,
        memory: *mut rekindle_memory,
    ) -> rekindle_status,
    pub model_get_perf: unsafe extern "C" fn(model: *const rekindle_model, perf: *mut rekindle_perf) -> rekindle_status,
    pub model_reset_perf: unsafe extern "C" fn(model: *mut rekindle_model) -> rekindle_status,
    pub cancel: unsafe extern "C" fn(model: *const rekindle_model) -> rekindle_status,
    pub vocab_create:
        unsafe extern "C" fn(file: *const rekindle_file, vocab: *mut *mut rekindle_vocab) -> rekindle_status,
    pub model_vocab:
        unsafe extern "C" fn(model: *const rekindle_model, vocab: *mut *mut rekindle_vocab) -> rekindle_status,
    pub vocab_destroy: unsafe extern "C" fn(vocab: *mut rekindle_vocab) -> rekindle_status,
    pub vocab_get_info:
        unsafe extern "C" fn(vocab: *const rekindle_vocab, info: *mut rekindle_vocab_info) -> rekindle_status,
    pub vocab_get_token: unsafe extern "C" fn(
        vocab: *const rekindle_vocab,
        token: i32,
        info: *mut rekindle_token_info,
    ) -> rekindle_status,
    pub tokenize: unsafe extern "C" fn(
        vocab: *const rekindle_vocab,
        text: *const c_char,
        text_len: usize,
        flags: u32,
        tokens: *mut i32,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub detokenize: unsafe extern "C" fn(
        vocab: *const rekindle_vocab,
        tokens: *const i32,
        n: usize,
        flags: u32,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub token_piece: unsafe extern "C" fn(
        vocab: *const rekindle_vocab,
        token: i32,
        flags: u32,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub stream_create: unsafe extern "C" fn(
        vocab: *const rekindle_vocab,
        flags: u32,
        stream: *mut *mut rekindle_stream,
    ) -> rekindle_status,
    pub stream_destroy: unsafe extern "C" fn(stream: *mut rekindle_stream) -> rekindle_status,
    pub stream_push: unsafe extern "C" fn(
        stream: *mut rekindle_stream,
        token: i32,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub stream_flush: unsafe extern "C" fn(
        stream: *mut rekindle_stream,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub decode: unsafe extern "C" fn(model: *mut rekindle_model, batch: *const rekindle_batch) -> rekindle_status,
    pub n_outputs: unsafe extern "C" fn(model: *const rekindle_model, n_outputs: *mut u32) -> rekindle_status,
    pub logits: unsafe extern "C" fn(
        model: *const rekindle_model,
        row: u32,
        logits: *mut *const f32,
        n: *mut u32,
    ) -> rekindle_status,
    pub embeddings: unsafe extern "C" fn(
        model: *const rekindle_model,
        row: u32,
        embeddings: *mut *const f32,
        n: *mut u32,
    ) -> rekindle_status,
    pub seq_remove: unsafe extern "C" fn(model: *mut rekindle_model, seq_id: i32, p0: i32, p1: i32) -> rekindle_status,
    pub seq_copy:
        unsafe extern "C" fn(model: *mut rekindle_model, src: i32, dst: i32, p0: i32, p1: i32) -> rekindle_status,
    pub seq_keep: unsafe extern "C" fn(model: *mut rekindle_model, seq_id: i32) -> rekindle_status,
    pub seq_shift:
        unsafe extern "C" fn(model: *mut rekindle_model, seq_id: i32, p0: i32, p1: i32, delta: i32) -> rekindle_status,
    pub seq_length:
        unsafe extern "C" fn(model: *const rekindle_model, seq_id: i32, length: *mut u32) -> rekindle_status,
    pub n_free: unsafe extern "C" fn(model: *const rekindle_model, n_free: *mut u32) -> rekindle_status,
    pub sampler_create: unsafe extern "C" fn(
        params: *const rekindle_sampler_params,
        sampler: *mut *mut rekindle_sampler,
    ) -> rekindle_status,
    pub sampler_destroy: unsafe extern "C" fn(sampler: *mut rekindle_sampler) -> rekindle_status,
    pub sampler_sample: unsafe extern "C" fn(
        sampler: *mut rekindle_sampler,
        model: *const rekindle_model,
        row: u32,
        token: *mut i32,
    ) -> rekindle_status,
    pub sampler_sample_logits: unsafe extern "C" fn(
        sampler: *mut rekindle_sampler,
        logits: *const f32,
        n: usize,
        token: *mut i32,
    ) -> rekindle_status,
    pub sampler_accept: unsafe extern "C" fn(sampler: *mut rekindle_sampler, token: i32) -> rekindle_status,
    pub sampler_reset: unsafe extern "C" fn(sampler: *mut rekindle_sampler) -> rekindle_status,
    pub generate: unsafe extern "C" fn(
        model: *mut rekindle_model,
        sampler: *mut rekindle_sampler,
        params: *const rekindle_generate_params,
        on_piece: rekindle_piece_fn,
        user_data: *mut c_void,
        result: *mut rekindle_generate_result,
    ) -> rekindle_status,
    pub plan_compare: unsafe extern "C" fn(
        plan: *const rekindle_plan_t,
        other: *const rekindle_plan_t,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub plan_ask: unsafe extern "C" fn(
        context: *const rekindle_context,
        file: *const rekindle_file,
        params: *const rekindle_plan_params,
        question: i32,
        answer: *mut u32,
    ) -> rekindle_status,
    pub chat_render: unsafe extern "C" fn(
        vocab: *const rekindle_vocab,
        messages: *const rekindle_chat_message,
        n_messages: usize,
        params: *const rekindle_chat_params,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub chat_template: unsafe extern "C" fn(
        vocab: *const rekindle_vocab,
        name: *const c_char,
        name_len: usize,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub chat_template_name: unsafe extern "C" fn(
        vocab: *const rekindle_vocab,
        index: u32,
        buffer: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> rekindle_status,
    pub model_plan:
        unsafe extern "C" fn(model: *const rekindle_model, plan: *mut *mut rekindle_plan_t) -> rekindle_status,
}

static TABLE: rekindle_api_table = rekindle_api_table {
    struct_size: size_of::<rekindle_api_table>() as u32,
    version_of_abi: REKINDLE_ABI_VERSION,
    version: rekindle_version,
    abi_version: rekindle_abi_version,
    status_name: rekindle_status_name,
    last_error: rekindle_last_error,
    last_error_detail: rekindle_last_error_detail,
    environment: rekindle_environment,
    context_create: rekindle_context_create,
    context_destroy: rekindle_context_destroy,
    context_get_info: rekindle_context_get_info,
    context_get_device: rekindle_context_get_device,
    file_open: rekindle_file_open,
    file_close: rekindle_file_close,
    file_get_info: rekindle_file_get_info,
    file_find_key: rekindle_file_find_key,
    file_get_key: rekindle_file_get_key,
    file_key_text: rekindle_file_key_text,
    file_key_integer: rekindle_file_key_integer,
    file_key_number: rekindle_file_key_number,
    file_get_tensor: rekindle_file_get_tensor,
    plan: rekindle_plan,
    plan_destroy: rekindle_plan_destroy,
    plan_get_summary: rekindle_plan_get_summary,
    plan_get_device: rekindle_plan_get_device,
    plan_get_layer: rekindle_plan_get_layer,
    plan_reason: rekindle_plan_reason,
    plan_remedy: rekindle_plan_remedy,
    plan_text: rekindle_plan_text,
    plan_json: rekindle_plan_json,
    load: rekindle_load,
    model_destroy: rekindle_model_destroy,
    model_get_info: rekindle_model_get_info,
    model_memory: rekindle_model_memory,
    model_get_perf: rekindle_model_get_perf,
    model_reset_perf: rekindle_model_reset_perf,
    cancel: rekindle_cancel,
    vocab_create: rekindle_vocab_create,
    model_vocab: rekindle_model_vocab,
    vocab_destroy: rekindle_vocab_destroy,
    vocab_get_info: rekindle_vocab_get_info,
    vocab_get_token: rekindle_vocab_get_token,
    tokenize: rekindle_tokenize,
    detokenize: rekindle_detokenize,
    token_piece: rekindle_token_piece,
    stream_create: rekindle_stream_create,
    stream_destroy: rekindle_stream_destroy,
    stream_push: rekindle_stream_push,
    stream_flush: rekindle_stream_flush,
    decode: rekindle_decode,
    n_outputs: rekindle_n_outputs,
    logits: rekindle_logits,
    embeddings: rekindle_embeddings,
    seq_remove: rekindle_seq_remove,
    seq_copy: rekindle_seq_copy,
    seq_keep: rekindle_seq_keep,
    seq_shift: rekindle_seq_shift,
    seq_length: rekindle_seq_length,
    n_free: rekindle_n_free,
    sampler_create: rekindle_sampler_create,
    sampler_destroy: rekindle_sampler_destroy,
    sampler_sample: rekindle_sampler_sample,
    sampler_sample_logits: rekindle_sampler_sample_logits,
    sampler_accept: rekindle_sampler_accept,
    sampler_reset: rekindle_sampler_reset,
    generate: rekindle_generate,
    plan_compare: rekindle_plan_compare,
    plan_ask: rekindle_plan_ask,
    chat_render: rekindle_chat_render,
    chat_template: rekindle_chat_template,
    chat_template_name: rekindle_chat_template_name,
    model_plan: rekindle_model_plan,
};

/// The table of functions, which lives as long as the library. `abi_version` is the host's REKINDLE_ABI_VERSION; the
/// result is NULL if the library does not serve it. This is the one symbol that a host needs to look up.
#[unsafe(no_mangle)]
pub extern "C" fn rekindle_api(abi_version: u32) -> *const rekindle_api_table {
    guard_value("rekindle_api", std::ptr::null(), || {
        if (1..=REKINDLE_ABI_VERSION).contains(&abi_version) { &raw const TABLE } else { std::ptr::null() }
    })
}
