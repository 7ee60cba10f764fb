//! A panic inside any function of the C ABI becomes REKINDLE_INTERNAL, and everything goes on afterwards.
//! The probe is there in builds with debug assertions, which tests are unless `--release` is asked for.
#![cfg(debug_assertions)]

#[path = "abi/prototypes.rs"]
#[allow(dead_code)]
mod prototypes;

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

use prototypes::Header;
use rekindle::ffi::*;

/// The objects that the calls are made with, so that a panic meets what is alive.
struct World {
    context: *mut rekindle_context,
    file: *mut rekindle_file,
    plan: *mut rekindle_plan_t,
    model: *mut rekindle_model,
    vocab: *mut rekindle_vocab,
    stream: *mut rekindle_stream,
    sampler: *mut rekindle_sampler,
    generation: *mut rekindle_generation,
    grammar: *mut rekindle_grammar,
    reply: *mut rekindle_reply,
}

fn last_error() -> String {
    // SAFETY: a text of this thread, copied before the next call.
    unsafe { CStr::from_ptr(rekindle_last_error()) }.to_string_lossy().into_owned()
}

fn ok(status: i32) {
    assert_eq!(status, REKINDLE_OK, "{}", last_error());
}

fn sized<T>() -> T {
    // SAFETY: used for structs of the ABI only, of which all-zero is a valid value and which begin with their size.
    unsafe {
        let mut value: T = std::mem::zeroed();
        (&raw mut value).cast::<u32>().write(size_of::<T>() as u32);
        value
    }
}

impl World {
    fn new() -> World {
        let path = CString::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/bible-5M-Q8_0.gguf")).unwrap();
        let mut w = World {
            context: null_mut(),
            file: null_mut(),
            plan: null_mut(),
            model: null_mut(),
            vocab: null_mut(),
            stream: null_mut(),
            sampler: null_mut(),
            generation: null_mut(),
            grammar: null_mut(),
            reply: null_mut(),
        };
        let mut params: rekindle_plan_params = sized();
        params.n_ctx = 64;
        // SAFETY: valid places for every result.
        unsafe {
            ok(rekindle_context_create(REKINDLE_ABI_VERSION, null(), &mut w.context));
            ok(rekindle_file_open(w.context, path.as_ptr(), path.as_bytes().len(), &mut w.file));
            ok(rekindle_plan(w.context, w.file, &params, &mut w.plan));
            ok(rekindle_load(w.context, w.plan, null(), &mut w.model));
            ok(rekindle_model_vocab(w.model, &mut w.vocab));
            ok(rekindle_stream_create(w.vocab, 0, &mut w.stream));
            ok(rekindle_sampler_create(null(), &mut w.sampler));
            let mut params: rekindle_generation_params = sized();
            (params.prompt_tokens, params.n_prompt_tokens) = ([5, 6].as_ptr(), 2);
            ok(rekindle_generation_create(w.model, &params, &mut w.generation));
            let (kind, text) = (REKINDLE_GRAMMAR_REGEX, c"a*");
            ok(rekindle_grammar_create(w.vocab, kind, text.as_ptr(), 2, null(), &mut w.grammar));
            ok(rekindle_reply_create(w.vocab, null(), &mut w.reply));
        }
        w.decode();
        w
    }

    /// A decode, which must still work after a panic anywhere.
    fn decode(&self) {
        let tokens = [5, 6];
        let mut batch: rekindle_batch = sized();
        batch.n_tokens = 2;
        batch.tokens = tokens.as_ptr();
        let (mut row, mut n) = (null(), 0);
        // SAFETY: valid handles, structs and places.
        unsafe {
            ok(rekindle_seq_remove(self.model, -1, 0, -1));
            ok(rekindle_decode(self.model, &batch));
            ok(rekindle_logits(self.model, 0, &mut row, &mut n));
            assert!((0..n as usize).all(|i| (*row.add(i)).is_finite()) && n > 0);
        }
    }
}

/// The result of a function that panics.
enum Gives {
    Status(i32),
    /// Functions without a status give something harmless.
    Harmless(bool),
}

impl From<i32> for Gives {
    fn from(status: i32) -> Gives {
        Gives::Status(status)
    }
}

/// A call of one function.
type Call = Box<dyn Fn(&World) -> Gives>;

/// One call of each function, by its name.
fn calls() -> Vec<(&'static str, Call)> {
    macro_rules! list {
        ($($name:ident |$w:ident| ($($argument:expr),*);)*) => {
            vec![$((stringify!($name), Box::new(|$w: &World| {
                let _ = $w;
                // SAFETY: handles that live, NULL or valid places otherwise; the panic comes before any is used.
                Gives::from(unsafe { $name($($argument),*) })
            }) as Call),)*]
        };
    }
    let mut all = list! {
        rekindle_last_error_detail |w| (&mut sized());
        rekindle_environment |w| (0, null_mut(), 0, null_mut());
        rekindle_context_create |w| (REKINDLE_ABI_VERSION, null(), &mut null_mut());
        rekindle_context_destroy |w| (w.context);
        rekindle_context_get_info |w| (w.context, &mut sized());
        rekindle_context_get_device |w| (w.context, 0, &mut sized());
        rekindle_file_open |w| (w.context, null(), 0, &mut null_mut());
        rekindle_file_open_with |w| (w.context, null(), 0, null(), 0, &mut null_mut());
        rekindle_file_close |w| (w.file);
        rekindle_file_get_info |w| (w.file, &mut sized());
        rekindle_file_find_key |w| (w.file, null(), 0, &mut 0);
        rekindle_file_get_key |w| (w.file, 0, &mut sized());
        rekindle_file_key_text |w| (w.file, 0, 0, null_mut(), 0, &mut 0);
        rekindle_file_key_integer |w| (w.file, 0, &mut 0);
        rekindle_file_key_number |w| (w.file, 0, &mut 0.0);
        rekindle_file_get_tensor |w| (w.file, 0, &mut sized());
        rekindle_plan |w| (w.context, w.file, null(), &mut null_mut());
        rekindle_plan_destroy |w| (w.plan);
        rekindle_plan_get_summary |w| (w.plan, &mut sized());
        rekindle_plan_get_device |w| (w.plan, 0, &mut sized());
        rekindle_plan_get_layer |w| (w.plan, 0, &mut sized());
        rekindle_plan_reason |w| (w.plan, 0, null_mut(), 0, &mut 0);
        rekindle_plan_remedy |w| (w.plan, 0, null_mut(), 0, &mut 0);
        rekindle_plan_text |w| (w.plan, null_mut(), 0, &mut 0);
        rekindle_plan_json |w| (w.plan, null_mut(), 0, &mut 0);
        rekindle_plan_compare |w| (w.plan, w.plan, null_mut(), 0, &mut 0);
        rekindle_plan_ask |w| (w.context, w.file, null(), 1, &mut 0);
        rekindle_load |w| (w.context, w.plan, null(), &mut null_mut());
        rekindle_model_destroy |w| (w.model);
        rekindle_model_get_info |w| (w.model, &mut sized());
        rekindle_model_plan |w| (w.model, &mut null_mut());
        rekindle_model_memory |w| (w.model, 0, &mut sized());
        rekindle_model_get_perf |w| (w.model, &mut sized());
        rekindle_model_reset_perf |w| (w.model);
        rekindle_cancel |w| (w.model);
        rekindle_vocab_create |w| (w.file, &mut null_mut());
        rekindle_model_vocab |w| (w.model, &mut null_mut());
        rekindle_vocab_destroy |w| (w.vocab);
        rekindle_vocab_get_info |w| (w.vocab, &mut sized());
        rekindle_vocab_get_token |w| (w.vocab, 5, &mut sized());
        rekindle_tokenize |w| (w.vocab, null(), 0, 0, null_mut(), 0, &mut 0);
        rekindle_detokenize |w| (w.vocab, null(), 0, 0, null_mut(), 0, &mut 0);
        rekindle_token_piece |w| (w.vocab, 5, 0, null_mut(), 0, &mut 0);
        rekindle_stream_create |w| (w.vocab, 0, &mut null_mut());
        rekindle_stream_destroy |w| (w.stream);
        rekindle_stream_push |w| (w.stream, 5, null_mut(), 0, &mut 0);
        rekindle_stream_flush |w| (w.stream, null_mut(), 0, &mut 0);
        rekindle_decode |w| (w.model, &sized());
        rekindle_n_outputs |w| (w.model, &mut 0);
        rekindle_logits |w| (w.model, 0, &mut null(), null_mut());
        rekindle_embeddings |w| (w.model, 0, &mut null(), null_mut());
        rekindle_pooled |w| (w.model, 0, 0, null_mut(), 0, &mut 0);
        rekindle_seq_remove |w| (w.model, 0, 0, -1);
        rekindle_seq_copy |w| (w.model, 0, 0, 0, -1);
        rekindle_seq_keep |w| (w.model, 0);
        rekindle_seq_leave |w| (w.model, 0);
        rekindle_seq_shift |w| (w.model, 0, 0, -1, 1);
        rekindle_seq_cut |w| (w.model, 0, 1, &mut 0);
        rekindle_seq_checkpoint |w| (w.model, 0);
        rekindle_seq_length |w| (w.model, 0, &mut 0);
        rekindle_n_free |w| (w.model, &mut 0);
        rekindle_sampler_create |w| (null(), &mut null_mut());
        rekindle_sampler_destroy |w| (w.sampler);
        rekindle_sampler_sample |w| (w.sampler, w.model, 0, &mut 0);
        rekindle_sampler_sample_logits |w| (w.sampler, null(), 0, &mut 0);
        rekindle_sampler_accept |w| (w.sampler, 5);
        rekindle_sampler_reset |w| (w.sampler);
        rekindle_sampler_copy |w| (w.sampler, &mut null_mut());
        rekindle_sampler_logprobs |w| (w.sampler, 0, null_mut(), null_mut(), 0, &mut 0);
        rekindle_grammar_create |w| (w.vocab, REKINDLE_GRAMMAR_REGEX, c"a".as_ptr(), 1, null(), &mut null_mut());
        rekindle_grammar_destroy |w| (w.grammar);
        rekindle_grammar_copy |w| (w.grammar, &mut null_mut());
        rekindle_grammar_reset |w| (w.grammar);
        rekindle_grammar_mask |w| (w.grammar, null_mut(), 0, &mut 0);
        rekindle_grammar_accept |w| (w.grammar, 5);
        rekindle_grammar_forced |w| (w.grammar, null_mut(), 0, &mut 0);
        rekindle_grammar_is_complete |w| (w.grammar, &mut 0);
        rekindle_grammar_check |w| (w.grammar, null(), 0, &mut sized());
        rekindle_file_adapt |w| (w.context, w.file, null(), null(), 0, &mut null_mut());
        rekindle_file_get_adapter |w| (w.file, 0, &mut sized());
        rekindle_plan_svg |w| (w.plan, null_mut(), 0, null_mut());
        rekindle_model_set_draft |w| (w.model, null_mut());
        rekindle_seq_set_adapters |w| (w.model, 0, null(), 0);
        rekindle_chat_render |w| (w.vocab, null(), 0, null(), null_mut(), 0, &mut 0);
        rekindle_chat_template |w| (w.vocab, null(), 0, null_mut(), 0, &mut 0);
        rekindle_chat_template_name |w| (w.vocab, 0, null_mut(), 0, &mut 0);
        rekindle_reply_create |w| (w.vocab, null(), &mut null_mut());
        rekindle_reply_destroy |w| (w.reply);
        rekindle_reply_push |w| (w.reply, null(), 0);
        rekindle_reply_push_token |w| (w.reply, 5);
        rekindle_reply_finish |w| (w.reply);
        rekindle_reply_next |w| (w.reply, &mut sized());
        rekindle_reply_grammar |w| (w.reply, 0, &mut null_mut());
        rekindle_reply_json |w| (w.reply, null_mut(), 0, &mut 0);
        rekindle_reply_format |w| (w.reply, null_mut(), 0, &mut 0);
        rekindle_seq_save |w| (w.model, 0, null_mut(), 0, &mut 0);
        rekindle_seq_load |w| (w.model, 0, null(), 0);
        rekindle_seq_save_file |w| (w.model, 0, null(), 0, None, null_mut());
        rekindle_seq_load_file |w| (w.model, 0, null(), 0, None, null_mut());
        rekindle_generation_create |w| (w.model, &sized(), &mut null_mut());
        rekindle_generation_destroy |w| (w.generation);
        rekindle_generation_cancel |w| (w.generation);
        rekindle_generation_next |w| (w.generation, &mut sized());
        rekindle_generation_logprobs |w| (w.generation, 0, null_mut(), null_mut(), 0, null_mut());
        rekindle_generation_get_info |w| (w.generation, &mut sized());
        rekindle_step |w| (w.model, &w.generation, 1, &mut sized());
        rekindle_generate |w| (w.model, w.sampler, &sized(), None, null_mut(), null_mut());
    };
    let mut harmless = |name, call: fn() -> bool| all.push((name, Box::new(move |_| Gives::Harmless(call()))));
    harmless("rekindle_version", || !rekindle_version().is_null());
    harmless("rekindle_abi_version", || rekindle_abi_version() == 0);
    harmless("rekindle_status_name", || !rekindle_status_name(0).is_null());
    harmless("rekindle_last_error", || !rekindle_last_error().is_null());
    harmless("rekindle_api", || rekindle_api(REKINDLE_ABI_VERSION).is_null());
    all
}

#[test]
fn a_panic_in_any_function_becomes_internal() {
    let calls = calls();
    let mut tried: Vec<&str> = calls.iter().map(|(name, _)| *name).collect();
    let header = Header::read();
    let mut declared: Vec<&str> = header.functions.iter().map(|f| f.name.as_str()).collect();
    tried.sort_unstable();
    declared.sort_unstable();
    assert_eq!(tried, declared, "every function of the header must be tried");

    // The provoked panics would fill the output.
    std::panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("provoked in") {
            eprintln!("{info}");
        }
    }));
    let world = World::new();
    for (name, call) in &calls {
        panic_probe::arm(name);
        match call(&world) {
            Gives::Status(status) => assert_eq!(status, REKINDLE_INTERNAL, "{name}"),
            Gives::Harmless(yes) => assert!(yes, "{name}"),
        }
        let message = last_error();
        assert!(message.contains(name) && message.contains("provoked"), "{name}: {message}");
        world.decode();
    }
}
