/* rekindle: runs GGUF language models on old GPUs and CPUs. Generated from src/ffi by cbindgen; do not edit.
 *
 * Four calls make a host: rekindle_context_create, rekindle_plan (after rekindle_file_open), rekindle_load, rekindle_decode
 * (or rekindle_generate).
 *
 * The contract
 *
 * Errors. Fallible functions return a rekindle_status, REKINDLE_OK (0) or another number. rekindle_last_error() has the text of the
 * calling thread's last error, which names the file, key, tensor, field or index at fault and what was expected. A call that fails
 * changes nothing, and its out pointers are left alone unless its text says otherwise. Nothing aborts, nothing throws.
 *
 * Handles. A handle comes from one function and ends in its _destroy (_close for files). Handles are checked: NULL, destroyed, foreign
 * and invented ones give REKINDLE_BAD_HANDLE. Objects keep alive what they need, so the order of destruction does not matter.
 *
 * Structs. struct_size is sizeof the struct, set by the caller in structs of both directions; all other fields of a parameter struct may
 * be zero, which means the default. Structs only grow at the end: an older host's smaller struct works, a newer host's larger one too
 * if what this library does not know is zero. Fields called reserved are zero.
 *
 * Strings. UTF-8 with a length in, not NUL-terminated. Texts of unknown length come out by (buffer, capacity, needed): *needed gets the
 * bytes with the terminating NUL; NULL with capacity 0 only asks; a buffer that is too small gives REKINDLE_BUFFER_TOO_SMALL and is left
 * alone. needed may be NULL if buffer is not. Texts in structs are NUL-terminated; what does not fit is cut off, between characters.
 *
 * Threads. Every function may be called from any thread. A const first argument means that the call only reads and may run at the same
 * time as others; of calls that write one object, one runs and another gets REKINDLE_BUSY, callbacks included. What reads a model's
 * sequences or logits, sampling included, waits for the batch that is being computed; rekindle_cancel, rekindle_model_get_info,
 * rekindle_model_get_perf and rekindle_model_memory do not. Different objects never disturb each other, but models of one context
 * share its CPU threads and compute in turn, batch by batch: for models that compute at once, make a context each. Callbacks run in
 * the calling thread unless said otherwise, and must not throw or jump out.
 *
 * Units. Sizes in bytes, positions and lengths of sequences in tokens, logits as [n_vocab] floats per row.
 */

#if defined(__cplusplus) && __cplusplus >= 201703L
#define REKINDLE_MUST_USE [[nodiscard]]
#elif defined(__GNUC__) || defined(__clang__)
#define REKINDLE_MUST_USE __attribute__((warn_unused_result))
#else
#define REKINDLE_MUST_USE
#endif


#ifndef REKINDLE_H
#define REKINDLE_H

#include <stdint.h>
#include <stddef.h>

/*
 End the prompt with the beginning of the assistant's next message.
 */
#define REKINDLE_CHAT_GENERATION_PROMPT 1

#define REKINDLE_LOG_ERROR 1

#define REKINDLE_LOG_WARN 2

#define REKINDLE_LOG_INFO 3

#define REKINDLE_LOG_DEBUG 4

#define REKINDLE_DEVICE_CPU 0

#define REKINDLE_DEVICE_CUDA 1

/*
 The version of this header. A host passes it to rekindle_context_create. It grows when functions or fields are added.
 */
#define REKINDLE_ABI_VERSION 1

/*
 Types of a key's value, by GGUF's numbers.
 */
#define REKINDLE_VALUE_U8 0

#define REKINDLE_VALUE_I8 1

#define REKINDLE_VALUE_U16 2

#define REKINDLE_VALUE_I16 3

#define REKINDLE_VALUE_U32 4

#define REKINDLE_VALUE_I32 5

#define REKINDLE_VALUE_F32 6

#define REKINDLE_VALUE_BOOL 7

#define REKINDLE_VALUE_STRING 8

#define REKINDLE_VALUE_ARRAY 9

#define REKINDLE_VALUE_U64 10

#define REKINDLE_VALUE_I64 11

#define REKINDLE_VALUE_F64 12

/*
 The load fails (the default), or a new plan is made for what there is, and loaded (rekindle_model_plan returns it).
 */
#define REKINDLE_ON_OOM_FAIL 0

#define REKINDLE_ON_OOM_REPLAN 1

/*
 Types of the KV cache.
 */
#define REKINDLE_KV_DEFAULT 0

#define REKINDLE_KV_F32 1

#define REKINDLE_KV_F16 2

#define REKINDLE_KV_Q8_0 3

/*
 What is best: the fastest decode of one sequence (the default), the fastest slowest device, for sequences in a pipeline, or the
 most memory left for context.
 */
#define REKINDLE_OBJECTIVE_LATENCY 0

#define REKINDLE_OBJECTIVE_THROUGHPUT 1

#define REKINDLE_OBJECTIVE_HEADROOM 2

/*
 What bytes are taken from: measured where the architecture's graph is known, else the family's formulas; only measured; only the
 formulas, an estimate that cannot be loaded.
 */
#define REKINDLE_ESTIMATOR_AUTO 0

#define REKINDLE_ESTIMATOR_MEASURED 1

#define REKINDLE_ESTIMATOR_FAMILY 2

/*
 For rekindle_device_limit: no layers on this device.
 */
#define REKINDLE_LIMIT_EXCLUDE 1

/*
 Questions for rekindle_plan_ask, about the dies that may compute layers, or the CPU where there are none.
 The longest context that fits, in tokens, at most what the model was trained for.
 */
#define REKINDLE_ASK_LARGEST_CONTEXT 1

/*
 The largest n_ubatch that fits with the context of the parameters, in tokens.
 */
#define REKINDLE_ASK_LARGEST_BATCH 2

/*
 The fewest devices that hold the model with the context of the parameters.
 */
#define REKINDLE_ASK_FEWEST_DEVICES 3

/*
 The more exact of REKINDLE_KV_F16 and REKINDLE_KV_Q8_0 that fits with the context of the parameters.
 */
#define REKINDLE_ASK_BEST_KV_TYPE 4

/*
 How the CPU gets at the weights: from the file's memory map where that is possible, always so, or from a copy.
 */
#define REKINDLE_WEIGHTS_AUTO 0

#define REKINDLE_WEIGHTS_MAPPED 1

#define REKINDLE_WEIGHTS_COPIED 2

/*
 Where a choice came from: the parameters, the family's or the library's default, a key of the file, or what fits into memory.
 */
#define REKINDLE_SOURCE_CALLER 1

#define REKINDLE_SOURCE_FAMILY 2

#define REKINDLE_SOURCE_GLOBAL 3

#define REKINDLE_SOURCE_FILE 4

#define REKINDLE_SOURCE_LIMITED 5

/*
 Add no BOS or EOS to the prompt's text.
 */
#define REKINDLE_GENERATE_NO_SPECIAL 1

/*
 Read special tokens in the prompt's text. Never for text from strangers: it could end its own turn.
 */
#define REKINDLE_GENERATE_PARSE_SPECIAL 2

/*
 Go on past tokens that end a generation.
 */
#define REKINDLE_GENERATE_IGNORE_EOG 4

/*
 What ended a generation: a token that does so; max_tokens; the callback; a full KV cache.
 */
#define REKINDLE_STOP_EOG 1

#define REKINDLE_STOP_LIMIT 2

#define REKINDLE_STOP_CALLBACK 3

#define REKINDLE_STOP_CONTEXT_FULL 4

/*
 What a token is for, by GGUF's numbers.
 */
#define REKINDLE_TOKEN_UNDEFINED 0

#define REKINDLE_TOKEN_NORMAL 1

#define REKINDLE_TOKEN_UNKNOWN 2

#define REKINDLE_TOKEN_CONTROL 3

#define REKINDLE_TOKEN_USER_DEFINED 4

#define REKINDLE_TOKEN_UNUSED 5

#define REKINDLE_TOKEN_BYTE 6

/*
 Tokenise: add BOS and EOS where the file wants them. Detokenise: leave them away again.
 */
#define REKINDLE_TEXT_SPECIAL 1

/*
 Tokenise: read the texts of control tokens as these tokens (never for text from strangers). Detokenise and pieces: show
 control tokens as their text.
 */
#define REKINDLE_TEXT_PARSE_SPECIAL 2

/*
 The devices that models may use, the threads, and a log. Several may live side by side; they share nothing.
 */
typedef struct rekindle_context rekindle_context;

/*
 A GGUF file (or all files of a split one), its header checked, its data mapped.
 */
typedef struct rekindle_file rekindle_file;

/*
 A loaded model with its KV cache. Calls with a const model may run at the same time, from several threads; of the others one
 runs and a second gets REKINDLE_BUSY.
 */
typedef struct rekindle_model rekindle_model;

/*
 A plan. (The type has a suffix because rekindle_plan is the function.)
 */
typedef struct rekindle_plan_t rekindle_plan_t;

/*
 Chooses tokens. Belongs to one conversation; a second call at the same time gets REKINDLE_BUSY.
 */
typedef struct rekindle_sampler rekindle_sampler;

/*
 Text from tokens as they come.
 */
typedef struct rekindle_stream rekindle_stream;

/*
 A vocabulary with its tokeniser. Never changes; all its functions may run at the same time.
 */
typedef struct rekindle_vocab rekindle_vocab;

/*
 What every fallible function returns: REKINDLE_OK (0) or one of the numbers below, which are never reused.
 */
typedef int32_t rekindle_status;

/*
 What a program may want to know about an error besides its text.
 */
typedef struct {
  /*
   sizeof(rekindle_error_detail), set by the caller.
   */
  uint32_t struct_size;
  /*
   The status that was returned; REKINDLE_OK if no call of this thread failed yet.
   */
  rekindle_status status;
  /*
   The device at fault, -1 if none is.
   */
  int32_t device;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   Bytes (for REKINDLE_CONTEXT_FULL: tokens; for a small buffer: elements) that were needed, and that there were; 0 if none apply.
   */
  uint64_t needed;
  uint64_t available;
  /*
   The key, tensor, parameter or field at fault; empty if none is.
   */
  char subject[128];
} rekindle_error_detail;

/*
 Gets a log message (NUL-terminated UTF-8, valid during the call). Called from any thread that uses the context, one call
 at a time.
 */
typedef void (*rekindle_log_fn)(void *user_data, int32_t level, const char *message);

/*
 For rekindle_context_create. All zero (but struct_size) is the default.
 */
typedef struct {
  /*
   sizeof(rekindle_context_params), set by the caller.
   */
  uint32_t struct_size;
  /*
   CPU threads, up to 1024; 0: one per core.
   */
  uint32_t n_threads;
  /*
   Which devices: a device spec, UTF-8 of devices_len bytes; may be NULL with 0.

   "" or "auto": everything found on this machine; a CUDA device that fails is left out, and plans say why. "cpu": this machine's
   CPU. "cuda": its CUDA devices, "cuda:2": the first two; it is an error if they are not there. "k80:4,cpu": four described dies
   of a built-in profile, and the CPU. JSON: an array of devices, or an object with "devices" and "links". A device has "kind" ("cpu" or "cuda")
   or "profile" ("k80"), and may have "count", "name", "total_bytes", "free_bytes", "driver_bytes" (what the driver takes for
   itself), "read_bandwidth" (bytes per second, plain reads), "flops" (float32 per second), "host_bandwidth" (bytes per second to
   the host), "compute_capability" ("3.7"), "board" (devices of one board share its link to the host). A link has "between" (two
   devices by their place in the list) and "bandwidth" (bytes per second without the host). A device with "kind": "cuda" and "ordinal" is
   the found one of that number, of which "free_bytes" may be used, and nothing else is said; it may be listed twice, as two dies.
   {"kind": "cpu"} is this machine's; with "total_bytes" or "free_bytes" it is a described one (limits and reserve_bytes of a plan
   limit the found one). A "cuda" with neither "profile" nor "ordinal" needs "total_bytes". At most 24 devices.

   In the context dies come first and the CPU last. It is always there, since the host reads the token embedding, but computes
   layers only if the spec names it. Described devices can be planned for, not loaded.
   */
  const char *devices;
  size_t devices_len;
  /*
   Gets log messages; NULL: silent.
   */
  rekindle_log_fn log;
  void *log_user_data;
  /*
   Messages up to this level, REKINDLE_LOG_…; 0: REKINDLE_LOG_WARN.
   */
  int32_t log_level;
  /*
   Zero.
   */
  uint32_t reserved;
} rekindle_context_params;

/*
 What a context has.
 */
typedef struct {
  /*
   sizeof(rekindle_context_info), set by the caller.
   */
  uint32_t struct_size;
  uint32_t n_devices;
  /*
   CPU threads.
   */
  uint32_t n_threads;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   The instruction set of the CPU kernels: "avx512", "avx2", "neon", "portable".
   */
  char isa[16];
} rekindle_context_info;

/*
 A device of a context.
 */
typedef struct {
  /*
   sizeof(rekindle_device_info), set by the caller.
   */
  uint32_t struct_size;
  /*
   REKINDLE_DEVICE_…
   */
  int32_t kind;
  /*
   Bytes of memory, and how many were free when the context was created.
   */
  uint64_t total_bytes;
  uint64_t free_bytes;
  /*
   Plain reads from its memory, bytes per second; 0 if not known.
   */
  double read_bandwidth;
  /*
   CUDA compute capability; 0.0 for the CPU.
   */
  uint32_t compute_major;
  uint32_t compute_minor;
  /*
   Devices on one board share its link to the host.
   */
  uint32_t board;
  /*
   Non-zero: described, not found; can be planned for but not loaded.
   */
  uint32_t described;
  char name[128];
  /*
   What the driver takes of the memory as soon as a program uses the device.
   */
  uint64_t driver_bytes;
  /*
   Float32 operations per second, and bytes per second to and from the host; 0 if not known.
   */
  double flops;
  double host_bandwidth;
  /*
   Non-zero: layers may be placed on it.
   */
  uint32_t takes_layers;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   The CUDA driver's number of a device that was found; -1 of others.
   */
  int32_t cuda_ordinal;
  /*
   Devices that it copies from and to without the host, a bit each from the lowest for device 0: proved both ways when the context was
   created, or described.
   */
  uint32_t peers;
  /*
   Which image of the kernels a found device runs: "sm_37 cubin", or PTX that the driver compiles at the first load.
   */
  char image[64];
} rekindle_device_info;

/*
 What a file is. Sizes that its keys do not give are 0, texts are empty.
 */
typedef struct {
  /*
   sizeof(rekindle_file_info), set by the caller.
   */
  uint32_t struct_size;
  /*
   GGUF version, 2 or 3.
   */
  uint32_t version;
  uint64_t n_keys;
  uint64_t n_tensors;
  /*
   Bytes of all its files.
   */
  uint64_t n_bytes;
  /*
   Elements of all its tensors.
   */
  uint64_t n_params;
  uint32_t n_files;
  uint32_t n_layer;
  /*
   The context that the model was trained for, in tokens.
   */
  uint32_t n_ctx_train;
  uint32_t n_embd;
  /*
   Rows of the token embedding.
   */
  uint32_t n_vocab;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   general.architecture and general.name
   */
  char architecture[64];
  char name[128];
} rekindle_file_info;

/*
 A key of a file.
 */
typedef struct {
  /*
   sizeof(rekindle_key_info), set by the caller.
   */
  uint32_t struct_size;
  /*
   REKINDLE_VALUE_…
   */
  int32_t value_type;
  /*
   For an array, the type of its elements; else -1.
   */
  int32_t element_type;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   Elements of an array, bytes of a string, else 1.
   */
  uint64_t count;
  char name[256];
} rekindle_key_info;

/*
 A tensor of a file.
 */
typedef struct {
  /*
   sizeof(rekindle_tensor_info), set by the caller.
   */
  uint32_t struct_size;
  /*
   GGUF's number of its type.
   */
  uint32_t tensor_type;
  uint32_t n_dims;
  /*
   Which of the split files holds it, from 0.
   */
  uint32_t split;
  /*
   Elements per dimension, the fastest first; 1 past n_dims.
   */
  uint64_t ne[4];
  /*
   Where its data begins in that file, bytes.
   */
  uint64_t offset;
  uint64_t n_bytes;
  /*
   GGUF's name of its type: "Q4_K".
   */
  char type_name[16];
  char name[128];
} rekindle_tensor_info;

/*
 What may be used of one device. Its size is fixed.
 */
typedef struct {
  /*
   Index in the context.
   */
  uint32_t device;
  /*
   REKINDLE_LIMIT_EXCLUDE or 0.
   */
  uint32_t flags;
  /*
   Layers at most, also of those whose experts alone are here; 0: as many as fit.
   */
  uint32_t max_layers;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   Bytes to leave free, besides reserve_bytes of the plan's parameters.
   */
  uint64_t reserve_bytes;
} rekindle_device_limit;

/*
 What to plan for. Zero in a field: decide for me.
 */
typedef struct {
  /*
   sizeof(rekindle_plan_params), set by the caller.
   */
  uint32_t struct_size;
  /*
   Tokens that the KV cache holds, of all sequences together; 0: what the model was trained for, or less if only that fits.
   */
  uint32_t n_ctx;
  /*
   Sequences, with ids from 0; 0: 1. At most 256.
   */
  uint32_t n_seq_max;
  /*
   Rows of logits that one rekindle_decode may leave; 0: one per sequence, n_batch at most.
   */
  uint32_t n_outputs_max;
  /*
   Tokens of a rekindle_decode at most, and of one pass through the layers, which are no more. 0 in both: the family's default, in
   one: the other. More than n_ctx are cut to that.
   */
  uint32_t n_batch;
  uint32_t n_ubatch;
  /*
   REKINDLE_KV_…; default: F16, or Q8_0 where only that fits (with fewer layers or experts on the CPU, if there are dies).
   */
  int32_t type_k;
  int32_t type_v;
  /*
   REKINDLE_WEIGHTS_…
   */
  int32_t weights;
  /*
   REKINDLE_OBJECTIVE_…
   */
  int32_t objective;
  /*
   Bytes to leave free on each device.
   */
  uint64_t reserve_bytes;
  /*
   REKINDLE_ESTIMATOR_…
   */
  int32_t estimator;
  /*
   How many limits there are.
   */
  uint32_t n_limits;
  /*
   Limits of single devices, each device at most once; may be NULL with 0. Read during the call only.
   */
  const rekindle_device_limit *limits;
  /*
   The family estimator's factor on compute buffers, 1 to 100; 0: 3.5.
   */
  double margin;
} rekindle_plan_params;

/*
 What a plan decided.
 */
typedef struct {
  /*
   sizeof(rekindle_plan_summary), set by the caller.
   */
  uint32_t struct_size;
  /*
   Non-zero: it fits. It can be loaded if it is also measured, no layer is on a described device, and every type of its tensors can be
   computed with ("loadable" in rekindle_plan_json; a reason says what is in the way).
   */
  uint32_t fits;
  uint32_t n_layer;
  uint32_t n_ctx;
  /*
   REKINDLE_SOURCE_… of n_ctx, and of the batch sizes.
   */
  int32_t n_ctx_source;
  int32_t batch_source;
  uint32_t n_ctx_train;
  uint32_t n_batch;
  uint32_t n_ubatch;
  uint32_t n_seq_max;
  uint32_t n_outputs_max;
  /*
   REKINDLE_KV_…
   */
  int32_t type_k;
  int32_t type_v;
  uint32_t n_threads;
  /*
   How many there are for rekindle_plan_get_device, rekindle_plan_reason and rekindle_plan_remedy.
   */
  uint32_t n_devices;
  uint32_t n_reasons;
  uint32_t n_remedies;
  /*
   REKINDLE_OBJECTIVE_…
   */
  int32_t objective;
  char architecture[64];
  char name[128];
  /*
   "measured": from the very graph that will run. "family": by formulas, an estimate that cannot be loaded.
   */
  char estimator[32];
  /*
   Predicted by the cost model, not measured; 0 where there is no prediction. Tokens per second of one sequence at an empty and
   at a full context, of a prompt, and of all sequences together when every device always has one to work on.
   */
  double predicted_decode;
  double predicted_decode_full;
  double predicted_prompt;
  double predicted_pipelined;
  /*
   The device in use that has the least bytes left, -1 if none; and the bytes.
   */
  int32_t tightest_device;
  /*
   Layers that the CPU computes as a whole, beside dies or alone.
   */
  uint32_t n_cpu_layers;
  uint64_t tightest_bytes;
} rekindle_plan_summary;

/*
 What a plan puts on one device. Sizes in bytes.
 */
typedef struct {
  /*
   sizeof(rekindle_plan_device), set by the caller.
   */
  uint32_t struct_size;
  /*
   The device's index in the context.
   */
  uint32_t device;
  uint32_t first_layer;
  uint32_t n_layers;
  /*
   Non-zero: it computes the output.
   */
  uint32_t has_output;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   The device's memory, and what was free of it when the context was created.
   */
  uint64_t total_bytes;
  uint64_t free_bytes;
  /*
   What is missing; 0 if it fits.
   */
  uint64_t shortfall;
  /*
   The weights arena; weights used straight from the file's memory map, which are the system's page cache; the KV cache; the
   compute arena; what the driver takes for itself.
   */
  uint64_t weights;
  uint64_t mapped;
  uint64_t kv;
  uint64_t compute;
  uint64_t driver;
} rekindle_plan_device;

/*
 Where a plan puts one layer.
 */
typedef struct {
  /*
   sizeof(rekindle_plan_layer), set by the caller.
   */
  uint32_t struct_size;
  /*
   The layer; n_layer stands for the output.
   */
  uint32_t layer;
  uint32_t device;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   Bytes of its weights, the experts' among them, and of its KV cache.
   */
  uint64_t weights;
  uint64_t kv;
  char reason[128];
  /*
   The device that has its routed experts: the CPU where a mixture is too large for the dies, else `device`.
   */
  uint32_t experts_device;
  /*
   Zero.
   */
  uint32_t reserved2;
} rekindle_plan_layer;

/*
 Told how far a load is, 0 to 1, in the calling thread. Return 0 to go on, anything else to cancel.
 */
typedef int32_t (*rekindle_progress_fn)(void *user_data, float done);

/*
 For rekindle_load. All zero (but struct_size) is the default.
 */
typedef struct {
  /*
   sizeof(rekindle_load_params), set by the caller.
   */
  uint32_t struct_size;
  /*
   Non-zero: refuse weights that are no finite numbers; reads every weight once more.
   */
  uint32_t check_tensors;
  /*
   Non-zero: keep weights and arenas from being swapped out; if the system refuses, a warning is logged.
   */
  uint32_t mlock;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   Told 0 to 1, and from 0 again where it plans again.
   */
  rekindle_progress_fn progress;
  void *progress_user_data;
  /*
   REKINDLE_ON_OOM_…: what happens where a CUDA device turns out to have less memory than it reported.
   */
  int32_t on_oom;
  /*
   Non-zero: CUDA devices do not record and replay the launches of short steps (CUDA graphs).
   */
  uint32_t no_cuda_graphs;
} rekindle_load_params;

/*
 What a model is and what it was loaded with.
 */
typedef struct {
  /*
   sizeof(rekindle_model_info), set by the caller.
   */
  uint32_t struct_size;
  /*
   Logits per row.
   */
  uint32_t n_vocab;
  uint32_t n_embd;
  uint32_t n_layer;
  uint32_t n_head;
  uint32_t n_head_kv;
  uint32_t n_ctx;
  uint32_t n_ctx_train;
  uint32_t n_batch;
  uint32_t n_ubatch;
  uint32_t n_seq_max;
  uint32_t n_outputs_max;
  /*
   Elements of the weights in use.
   */
  uint64_t n_params;
  char architecture[64];
  char name[128];
} rekindle_model_info;

/*
 Bytes on one device, in the plan's terms (rekindle_plan_device).
 */
typedef struct {
  /*
   sizeof(rekindle_memory), set by the caller.
   */
  uint32_t struct_size;
  /*
   Zero.
   */
  uint32_t reserved;
  uint64_t weights;
  uint64_t mapped;
  uint64_t kv;
  uint64_t compute;
  uint64_t driver;
} rekindle_memory;

/*
 Counters since the load or the last reset. Times in microseconds.
 */
typedef struct {
  /*
   sizeof(rekindle_perf), set by the caller.
   */
  uint32_t struct_size;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   Tokens of batches of more than one token, and of single ones.
   */
  uint64_t n_prompt_tokens;
  uint64_t n_decode_tokens;
  /*
   What is read of the file after rekindle_load has returned counts where a batch waits for it.
   */
  uint64_t load_us;
  uint64_t prompt_us;
  uint64_t decode_us;
  uint64_t sample_us;
} rekindle_perf;

/*
 A vocabulary. Ids are -1 where there is no such token.
 */
typedef struct {
  /*
   sizeof(rekindle_vocab_info), set by the caller.
   */
  uint32_t struct_size;
  uint32_t n_tokens;
  /*
   Begins a text, ends one, ends a turn of a chat, ends a message, unknown, separator, padding.
   */
  int32_t bos;
  int32_t eos;
  int32_t eot;
  int32_t eom;
  int32_t unk;
  int32_t sep;
  int32_t pad;
  /*
   Non-zero: tokenising adds BOS, EOS, a space before the text.
   */
  uint32_t add_bos;
  uint32_t add_eos;
  uint32_t add_space_prefix;
  /*
   tokenizer.ggml.model and tokenizer.ggml.pre
   */
  char model[32];
  char pre[64];
} rekindle_vocab_info;

/*
 A token.
 */
typedef struct {
  /*
   sizeof(rekindle_token_info), set by the caller.
   */
  uint32_t struct_size;
  /*
   REKINDLE_TOKEN_…
   */
  int32_t token_type;
  /*
   0 where the file has none.
   */
  float score;
  /*
   Non-zero: it ends a generation.
   */
  uint32_t is_eog;
} rekindle_token_info;

/*
 Tokens to decode. The arrays belong to the caller and are read during the call only; each has n_tokens elements.
 */
typedef struct {
  /*
   sizeof(rekindle_batch), set by the caller.
   */
  uint32_t struct_size;
  /*
   1 to n_batch.
   */
  uint32_t n_tokens;
  /*
   Token ids, each below the model's n_vocab.
   */
  const int32_t *tokens;
  /*
   Positions, ascending within a sequence and past its end; NULL: each sequence goes on where it ends.
   */
  const int32_t *positions;
  /*
   Sequence ids, each below n_seq_max; NULL: all 0.
   */
  const int32_t *seq_ids;
  /*
   Non-zero where logits are wanted; NULL: for the last token of each sequence.
   */
  const uint8_t *outputs;
} rekindle_batch;

/*
 Added to a token's logit; -INFINITY forbids the token.
 */
typedef struct {
  int32_t token;
  float bias;
} rekindle_logit_bias;

/*
 For rekindle_sampler_create. Zero in a field: off, or the default that is named. The order: logit_bias, penalties, temperature,
 top_k, min_p, top_p, draw.
 */
typedef struct {
  /*
   sizeof(rekindle_sampler_params), set by the caller.
   */
  uint32_t struct_size;
  /*
   0: greedy, always the most likely token.
   */
  float temperature;
  /*
   Only the top_k most likely tokens.
   */
  uint32_t top_k;
  /*
   Only the most likely tokens that together have this probability, 0 to 1.
   */
  float top_p;
  /*
   Only tokens with at least this share of the most likely one's probability, 0 to 1.
   */
  float min_p;
  /*
   Divides (negative ones: multiplies) the logits of recent tokens; 0 or 1: off.
   */
  float repeat_penalty;
  /*
   Taken off a recent token's logit for each time it occurs, and once.
   */
  float frequency_penalty;
  float presence_penalty;
  /*
   How many of the accepted tokens are recent; 0: 64.
   */
  uint32_t penalty_last_n;
  /*
   Elements of logit_bias.
   */
  uint32_t n_logit_bias;
  /*
   The same seed gives the same draws.
   */
  uint64_t seed;
  /*
   Copied. May be NULL with n_logit_bias 0.
   */
  const rekindle_logit_bias *logit_bias;
} rekindle_sampler_params;

/*
 For rekindle_generate. Either prompt or prompt_tokens.
 */
typedef struct {
  /*
   sizeof(rekindle_generate_params), set by the caller.
   */
  uint32_t struct_size;
  /*
   The sequence that goes on where it ends.
   */
  int32_t seq_id;
  /*
   UTF-8 text of prompt_len bytes.
   */
  const char *prompt;
  size_t prompt_len;
  /*
   Or token ids.
   */
  const int32_t *prompt_tokens;
  size_t n_prompt_tokens;
  /*
   0: until something else ends it.
   */
  uint32_t max_tokens;
  /*
   REKINDLE_GENERATE_… added up.
   */
  uint32_t flags;
} rekindle_generate_params;

/*
 Gets each token, in the calling thread, with the text that it completes: `piece_len` bytes of whole UTF-8 characters, often
 none; not NUL-terminated, valid during the call. Text left over at the end comes with token -1, unless the callback stopped
 it. Return 0 to go on, anything
 else to stop. It may call rekindle_cancel and what reads the model; what writes it is REKINDLE_BUSY.
 */
typedef int32_t (*rekindle_piece_fn)(void *user_data, int32_t token, const char *piece, size_t piece_len);

/*
 What a generation did.
 */
typedef struct {
  /*
   sizeof(rekindle_generate_result), set by the caller.
   */
  uint32_t struct_size;
  /*
   Tokens of the prompt, and tokens given to the callback.
   */
  uint32_t n_prompt;
  uint32_t n_generated;
  /*
   REKINDLE_STOP_…
   */
  int32_t stop;
} rekindle_generate_result;

/*
 One message of a conversation. Texts are UTF-8 with a length; NULL: absent. The struct never grows: what it lacks goes into
 fields.
 */
typedef struct {
  /*
   system, user, assistant, tool, or what else the template knows.
   */
  const char *role;
  size_t role_len;
  /*
   NULL: none, for an assistant that only calls tools.
   */
  const char *content;
  size_t content_len;
  const char *name;
  size_t name_len;
  /*
   What the model thought before its answer; templates see it as reasoning_content and thinking.
   */
  const char *reasoning;
  size_t reasoning_len;
  /*
   The call that a tool's message answers.
   */
  const char *tool_call_id;
  size_t tool_call_id_len;
  /*
   JSON array: the calls that the assistant made, each {"id", "type": "function", "function": {"name", "arguments"}}. Most
   templates want the arguments as an object, some as a text.
   */
  const char *tool_calls;
  size_t tool_calls_len;
  /*
   JSON object: further fields of the message, which win over those above; {"content": […]} for content in parts.
   */
  const char *fields;
  size_t fields_len;
} rekindle_chat_message;

/*
 For rekindle_chat_render. Texts are UTF-8 with a length; NULL: absent.
 */
typedef struct {
  /*
   sizeof(rekindle_chat_params), set by the caller.
   */
  uint32_t struct_size;
  /*
   REKINDLE_CHAT_… added up.
   */
  uint32_t flags;
  /*
   JSON array: the tools that the model may call.
   */
  const char *tools;
  size_t tools_len;
  /*
   JSON object: further variables of the template, {"enable_thinking": false} for example; they win over bos_token and the
   like.
   */
  const char *variables;
  size_t variables_len;
  /*
   Which of the file's templates. NULL: tool_use where there are tools and the file has it, else default.
   */
  const char *template_name;
  size_t template_name_len;
  /*
   A Jinja template instead of the file's.
   */
  const char *template_text;
  size_t template_text_len;
  /*
   The time for templates that write the date, in seconds since 1970 UTC; add the offset for a local one. 0: now, in UTC.
   */
  int64_t now;
} rekindle_chat_params;

/*
 Every function of the library under its name without the prefix. Only ever appended to: struct_size says how far it goes.
 */
typedef struct {
  uint32_t struct_size;
  /*
   The library's REKINDLE_ABI_VERSION.
   */
  uint32_t version_of_abi;
  const char *(*version)(void);
  uint32_t (*abi_version)(void);
  const char *(*status_name)(rekindle_status status);
  const char *(*last_error)(void);
  rekindle_status (*last_error_detail)(rekindle_error_detail *detail);
  rekindle_status (*environment)(uint32_t index, char *buffer, size_t capacity, size_t *needed);
  rekindle_status (*context_create)(uint32_t abi_version,
                                    const rekindle_context_params *params,
                                    rekindle_context **context);
  rekindle_status (*context_destroy)(rekindle_context *context);
  rekindle_status (*context_get_info)(const rekindle_context *context, rekindle_context_info *info);
  rekindle_status (*context_get_device)(const rekindle_context *context, uint32_t index, rekindle_device_info *info);
  rekindle_status (*file_open)(const rekindle_context *context, const char *path, size_t path_len, rekindle_file **file);
  rekindle_status (*file_close)(rekindle_file *file);
  rekindle_status (*file_get_info)(const rekindle_file *file, rekindle_file_info *info);
  rekindle_status (*file_find_key)(const rekindle_file *file, const char *name, size_t name_len, uint32_t *index);
  rekindle_status (*file_get_key)(const rekindle_file *file, uint32_t index, rekindle_key_info *info);
  rekindle_status (*file_key_text)(const rekindle_file *file,
                                   uint32_t index,
                                   uint32_t max_elements,
                                   char *buffer,
                                   size_t capacity,
                                   size_t *needed);
  rekindle_status (*file_key_integer)(const rekindle_file *file, uint32_t index, int64_t *value);
  rekindle_status (*file_key_number)(const rekindle_file *file, uint32_t index, double *value);
  rekindle_status (*file_get_tensor)(const rekindle_file *file, uint32_t index, rekindle_tensor_info *info);
  rekindle_status (*plan)(const rekindle_context *context,
                          const rekindle_file *file,
                          const rekindle_plan_params *params,
                          rekindle_plan_t **plan);
  rekindle_status (*plan_destroy)(rekindle_plan_t *plan);
  rekindle_status (*plan_get_summary)(const rekindle_plan_t *plan, rekindle_plan_summary *summary);
  rekindle_status (*plan_get_device)(const rekindle_plan_t *plan, uint32_t index, rekindle_plan_device *device);
  rekindle_status (*plan_get_layer)(const rekindle_plan_t *plan, uint32_t index, rekindle_plan_layer *layer);
  rekindle_status (*plan_reason)(const rekindle_plan_t *plan,
                                 uint32_t index,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *needed);
  rekindle_status (*plan_remedy)(const rekindle_plan_t *plan,
                                 uint32_t index,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *needed);
  rekindle_status (*plan_text)(const rekindle_plan_t *plan, char *buffer, size_t capacity, size_t *needed);
  rekindle_status (*plan_json)(const rekindle_plan_t *plan, char *buffer, size_t capacity, size_t *needed);
  rekindle_status (*load)(const rekindle_context *context,
                          const rekindle_plan_t *plan,
                          const rekindle_load_params *params,
                          rekindle_model **model);
  rekindle_status (*model_destroy)(rekindle_model *model);
  rekindle_status (*model_get_info)(const rekindle_model *model, rekindle_model_info *info);
  rekindle_status (*model_memory)(const rekindle_model *model, uint32_t device, rekindle_memory *memory);
  rekindle_status (*model_get_perf)(const rekindle_model *model, rekindle_perf *perf);
  rekindle_status (*model_reset_perf)(rekindle_model *model);
  rekindle_status (*cancel)(const rekindle_model *model);
  rekindle_status (*vocab_create)(const rekindle_file *file, rekindle_vocab **vocab);
  rekindle_status (*model_vocab)(const rekindle_model *model, rekindle_vocab **vocab);
  rekindle_status (*vocab_destroy)(rekindle_vocab *vocab);
  rekindle_status (*vocab_get_info)(const rekindle_vocab *vocab, rekindle_vocab_info *info);
  rekindle_status (*vocab_get_token)(const rekindle_vocab *vocab, int32_t token, rekindle_token_info *info);
  rekindle_status (*tokenize)(const rekindle_vocab *vocab,
                              const char *text,
                              size_t text_len,
                              uint32_t flags,
                              int32_t *tokens,
                              size_t capacity,
                              size_t *needed);
  rekindle_status (*detokenize)(const rekindle_vocab *vocab,
                                const int32_t *tokens,
                                size_t n,
                                uint32_t flags,
                                char *buffer,
                                size_t capacity,
                                size_t *needed);
  rekindle_status (*token_piece)(const rekindle_vocab *vocab,
                                 int32_t token,
                                 uint32_t flags,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *needed);
  rekindle_status (*stream_create)(const rekindle_vocab *vocab, uint32_t flags, rekindle_stream **stream);
  rekindle_status (*stream_destroy)(rekindle_stream *stream);
  rekindle_status (*stream_push)(rekindle_stream *stream, int32_t token, char *buffer, size_t capacity, size_t *needed);
  rekindle_status (*stream_flush)(rekindle_stream *stream, char *buffer, size_t capacity, size_t *needed);
  rekindle_status (*decode)(rekindle_model *model, const rekindle_batch *batch);
  rekindle_status (*n_outputs)(const rekindle_model *model, uint32_t *n_outputs);
  rekindle_status (*logits)(const rekindle_model *model, uint32_t row, const float **logits, uint32_t *n);
  rekindle_status (*embeddings)(const rekindle_model *model, uint32_t row, const float **embeddings, uint32_t *n);
  rekindle_status (*seq_remove)(rekindle_model *model, int32_t seq_id, int32_t p0, int32_t p1);
  rekindle_status (*seq_copy)(rekindle_model *model, int32_t src, int32_t dst, int32_t p0, int32_t p1);
  rekindle_status (*seq_keep)(rekindle_model *model, int32_t seq_id);
  rekindle_status (*seq_shift)(rekindle_model *model, int32_t seq_id, int32_t p0, int32_t p1, int32_t delta);
  rekindle_status (*seq_length)(const rekindle_model *model, int32_t seq_id, uint32_t *length);
  rekindle_status (*n_free)(const rekindle_model *model, uint32_t *n_free);
  rekindle_status (*sampler_create)(const rekindle_sampler_params *params, rekindle_sampler **sampler);
  rekindle_status (*sampler_destroy)(rekindle_sampler *sampler);
  rekindle_status (*sampler_sample)(rekindle_sampler *sampler, const rekindle_model *model, uint32_t row, int32_t *token);
  rekindle_status (*sampler_sample_logits)(rekindle_sampler *sampler, const float *logits, size_t n, int32_t *token);
  rekindle_status (*sampler_accept)(rekindle_sampler *sampler, int32_t token);
  rekindle_status (*sampler_reset)(rekindle_sampler *sampler);
  rekindle_status (*generate)(rekindle_model *model,
                              rekindle_sampler *sampler,
                              const rekindle_generate_params *params,
                              rekindle_piece_fn on_piece,
                              void *user_data,
                              rekindle_generate_result *result);
  rekindle_status (*plan_compare)(const rekindle_plan_t *plan,
                                  const rekindle_plan_t *other,
                                  char *buffer,
                                  size_t capacity,
                                  size_t *needed);
  rekindle_status (*plan_ask)(const rekindle_context *context,
                              const rekindle_file *file,
                              const rekindle_plan_params *params,
                              int32_t question,
                              uint32_t *answer);
  rekindle_status (*chat_render)(const rekindle_vocab *vocab,
                                 const rekindle_chat_message *messages,
                                 size_t n_messages,
                                 const rekindle_chat_params *params,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *needed);
  rekindle_status (*chat_template)(const rekindle_vocab *vocab,
                                   const char *name,
                                   size_t name_len,
                                   char *buffer,
                                   size_t capacity,
                                   size_t *needed);
  rekindle_status (*chat_template_name)(const rekindle_vocab *vocab,
                                        uint32_t index,
                                        char *buffer,
                                        size_t capacity,
                                        size_t *needed);
  rekindle_status (*model_plan)(const rekindle_model *model, rekindle_plan_t **plan);
} rekindle_api_table;

/*
 Done.
 */
#define REKINDLE_OK 0

/*
 An argument, field or text is not what it must be; the message names it and what was expected.
 */
#define REKINDLE_INVALID_ARGUMENT 1

/*
 Memory, or another resource of the system, could not be had.
 */
#define REKINDLE_OUT_OF_MEMORY 2

/*
 A file could not be read.
 */
#define REKINDLE_IO 3

/*
 A file is not well-formed, or contradicts itself; the message names the key or tensor.
 */
#define REKINDLE_BAD_FILE 4

/*
 A file is well-formed but asks for something that this library cannot do.
 */
#define REKINDLE_UNSUPPORTED 5

/*
 The model does not fit on the devices; the plan says what is missing and what would help.
 */
#define REKINDLE_NOT_FIT 6

/*
 The KV cache has too few free cells; nothing was changed.
 */
#define REKINDLE_CONTEXT_FULL 7

/*
 Ended by rekindle_cancel or by a callback; nothing was changed, but by rekindle_generate.
 */
#define REKINDLE_CANCELLED 8

/*
 Another call is using this object, or the call that this callback belongs to.
 */
#define REKINDLE_BUSY 9

/*
 The caller's buffer is too small; `needed` says how large it must be.
 */
#define REKINDLE_BUFFER_TOO_SMALL 10

/*
 There is no such key, tensor, template or index.
 */
#define REKINDLE_NOT_FOUND 11

/*
 The host was built with a header that this library does not know.
 */
#define REKINDLE_ABI_MISMATCH 12

/*
 A handle is NULL, destroyed, or that of another kind of object.
 */
#define REKINDLE_BAD_HANDLE 13

/*
 A defect of the library; the object may be destroyed, and everything else goes on.
 */
#define REKINDLE_INTERNAL 14

/*
 A device or its driver failed.
 */
#define REKINDLE_DEVICE 15

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The table of functions; static. `abi_version` is the host's REKINDLE_ABI_VERSION; NULL if the library does not serve it. The one
 symbol that a host needs to look up.
 */
const rekindle_api_table *rekindle_api(uint32_t abi_version);

/*
 The prompt for a conversation of `n_messages` messages, by the file's chat template, as transformers renders it. `params` may be
 NULL: the default template without the beginning of an answer. Text: buffer, capacity, needed.

 The prompt holds the texts of special tokens, BOS as well where the template writes it: tokenise it with
 REKINDLE_TEXT_PARSE_SPECIAL and without REKINDLE_TEXT_SPECIAL. So a message from a stranger that has the text of a control token
 can end its own turn; whoever lets strangers write should refuse such messages. The answer ends with a token that
 rekindle_token_info calls is_eog.

 A template is code from the file; its steps, its depth and its output (16 MiB) are limited. REKINDLE_NOT_FOUND: the file has no
 template, or none of that name. REKINDLE_INVALID_ARGUMENT: the template refuses the messages (the message has its words), a
 parameter is no JSON, template_text is bad. REKINDLE_BAD_FILE: the file's template is bad or goes past a limit.
 REKINDLE_UNSUPPORTED: it uses a filter, test, function or method that is not known. The message names the key and the line.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_chat_render(const rekindle_vocab *vocab,
                                     const rekindle_chat_message *messages,
                                     size_t n_messages,
                                     const rekindle_chat_params *params,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/*
 The text of a file's chat template; `name` NULL or "default": the one without a name. Text: buffer, capacity, needed.

 REKINDLE_NOT_FOUND: the file has no template, or none of that name. REKINDLE_BAD_FILE: it is no UTF-8.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_chat_template(const rekindle_vocab *vocab,
                                       const char *name,
                                       size_t name_len,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *needed);

/*
 The name of the file's chat template `index`, counted from 0: default first where there is one. Text: buffer, capacity, needed.

 REKINDLE_NOT_FOUND: there are not that many.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_chat_template_name(const rekindle_vocab *vocab,
                                            uint32_t index,
                                            char *buffer,
                                            size_t capacity,
                                            size_t *needed);

/*
 Creates a context. `abi_version` is REKINDLE_ABI_VERSION; `params` may be NULL. On success `*context` is a handle to be
 given to rekindle_context_destroy.

 REKINDLE_ABI_MISMATCH: the library is older than the header. REKINDLE_INVALID_ARGUMENT: the device spec, the number of
 threads or an environment variable is not valid. REKINDLE_DEVICE: CUDA devices were named and are not there, or one fails.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_context_create(uint32_t abi_version,
                                        const rekindle_context_params *params,
                                        rekindle_context **context);

/*
 Destroys a context. Files, plans and models made with it go on; its log is called until the last of them is gone.
 NULL is allowed.
 */
rekindle_status rekindle_context_destroy(rekindle_context *context);

/*
 What a context has. May run at the same time as other calls on it.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_context_get_info(const rekindle_context *context,
                                          rekindle_context_info *info);

/*
 Device `index` of a context.

 REKINDLE_NOT_FOUND: there is no such device.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_context_get_device(const rekindle_context *context,
                                            uint32_t index,
                                            rekindle_device_info *info);

/*
 Computes a batch: keys and values go into the KV cache, the logits asked for can be read afterwards. If it fails, the cache is
 as it was, but the logits of the batch before may be gone (rekindle_n_outputs is 0 then).

 REKINDLE_INVALID_ARGUMENT: a token, position, sequence id or number of outputs out of range; the message names the field and
 index. REKINDLE_CONTEXT_FULL: too few free cells. REKINDLE_CANCELLED: by rekindle_cancel. REKINDLE_BUSY.
 REKINDLE_IO: the last of the file, which is read after the load, cannot be read; then nor can any later batch be computed.
 REKINDLE_OUT_OF_MEMORY: for small buffers. REKINDLE_DEVICE: a device failed; if it does not survive that, every later call says so
 again, and the model can only be destroyed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_decode(rekindle_model *model,
                                const rekindle_batch *batch);

/*
 How many rows of logits the last decode left.
 */
REKINDLE_MUST_USE rekindle_status rekindle_n_outputs(const rekindle_model *model, uint32_t *n_outputs);

/*
 Row `row` of the logits, in the order of the batch: `*logits` points to `*n` floats, `n_vocab` of them. They belong to the
 model and are valid until the next call that writes it. `n` may be NULL.

 REKINDLE_INVALID_ARGUMENT: the last decode left no such row.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_logits(const rekindle_model *model,
                                uint32_t row,
                                const float **logits,
                                uint32_t *n);

/*
 The hidden state behind row `row` of the logits, after the output norm: `*embeddings` points to `*n` floats, `n_embd` of
 them. Otherwise as rekindle_logits.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_embeddings(const rekindle_model *model,
                                    uint32_t row,
                                    const float **embeddings,
                                    uint32_t *n);

/*
 Forgets positions p0 to p1 - 1 of a sequence. p0 below 0 stands for the start and p1 below 0 for the end, here and below, seq_id below
 0 for every sequence. Layers that see a window only (gemma, gpt-oss) keep no more than that: a sequence cut further back cannot go on
 there, and rekindle_decode says so; remove the whole sequence then.

 REKINDLE_INVALID_ARGUMENT: a sequence id out of range, here and below. REKINDLE_BUSY, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_remove(rekindle_model *model,
                                    int32_t seq_id,
                                    int32_t p0,
                                    int32_t p1);

/*
 Makes sequence `dst` the same as positions p0 to p1 - 1 of `src`; both share the cells, so this costs no memory. What `dst`
 had before is forgotten. The same for both changes nothing.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_copy(rekindle_model *model,
                                  int32_t src,
                                  int32_t dst,
                                  int32_t p0,
                                  int32_t p1);

/*
 Forgets every sequence but this one.
 */
REKINDLE_MUST_USE rekindle_status rekindle_seq_keep(rekindle_model *model, int32_t seq_id);

/*
 Adds `delta` to positions p0 to p1 - 1 of a sequence and turns its cached keys to match. To drop the oldest n tokens of a full
 context: rekindle_seq_remove(model, s, 0, n), then rekindle_seq_shift(model, s, n, -1, -n). Cells that other sequences share
 are copied first.

 REKINDLE_INVALID_ARGUMENT: a position would be negative or meet another. REKINDLE_CONTEXT_FULL: no free cells for the copies.
 REKINDLE_OUT_OF_MEMORY: for small buffers. REKINDLE_DEVICE: a device failed; the KV cache is lost, and the model can only be destroyed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_shift(rekindle_model *model,
                                   int32_t seq_id,
                                   int32_t p0,
                                   int32_t p1,
                                   int32_t delta);

/*
 The last position of a sequence plus one; 0 if it is empty.
 */
REKINDLE_MUST_USE rekindle_status rekindle_seq_length(const rekindle_model *model, int32_t seq_id, uint32_t *length);

/*
 How many more tokens the KV cache has room for, of all sequences together.
 */
REKINDLE_MUST_USE rekindle_status rekindle_n_free(const rekindle_model *model, uint32_t *n_free);

/*
 The library's version, "major.minor.patch". Static.
 */
const char *rekindle_version(void);

/*
 The REKINDLE_ABI_VERSION that the library was built with: it serves hosts built with this one or an older one.
 */
uint32_t rekindle_abi_version(void);

/*
 The name of a status, "REKINDLE_OK"; "REKINDLE_UNKNOWN" for other numbers. Static.
 */
const char *rekindle_status_name(rekindle_status status);

/*
 The text of the last error of the calling thread, UTF-8; "" if there was none. It stays valid and unchanged until the next
 call on this thread that fails.
 */
const char *rekindle_last_error(void);

/*
 The particulars of the last error of the calling thread.
 */
REKINDLE_MUST_USE rekindle_status rekindle_last_error_detail(rekindle_error_detail *detail);

/*
 Lists the environment variables that the library reads: writes "NAME: what it does" of variable `index`.
 Text: buffer, capacity, needed.

 REKINDLE_NOT_FOUND: there are no more.
 */
REKINDLE_MUST_USE rekindle_status rekindle_environment(uint32_t index, char *buffer, size_t capacity, size_t *needed);

/*
 Opens a GGUF file, for the first of several splits (`…-00001-of-0000N.gguf`) all of them. Only the header is read, so this
 takes milliseconds. `path` is UTF-8 of `path_len` bytes. On success `*file` is a handle to be given to rekindle_file_close.
 The files must not be changed or cut short while the file, or a model loaded from it, is in use: their contents are memory of the
 process, which ends with SIGBUS where they are gone. Removing them, or renaming others over them, is fine.

 REKINDLE_IO: a file cannot be opened. REKINDLE_BAD_FILE: it is not well-formed. REKINDLE_UNSUPPORTED: another version of
 GGUF, or big-endian.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_open(const rekindle_context *context,
                                   const char *path,
                                   size_t path_len,
                                   rekindle_file **file);

/*
 Closes a file. Plans and models made from it go on. NULL is allowed.
 */
rekindle_status rekindle_file_close(rekindle_file *file);

/*
 What a file is. May run at the same time as other calls on it, as all that take a const file.
 */
REKINDLE_MUST_USE rekindle_status rekindle_file_get_info(const rekindle_file *file, rekindle_file_info *info);

/*
 The index of a key by its name (UTF-8, name_len bytes).

 REKINDLE_NOT_FOUND: the file has no such key.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_find_key(const rekindle_file *file,
                                       const char *name,
                                       size_t name_len,
                                       uint32_t *index);

/*
 Key `index` of a file.

 REKINDLE_NOT_FOUND: there is no such index, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_get_key(const rekindle_file *file,
                                      uint32_t index,
                                      rekindle_key_info *info);

/*
 The value of key `index` as text: a string as it is, numbers in decimal, an array as [a, b, …] with at most `max_elements`
 elements. Bytes of strings that are no UTF-8 come as U+FFFD. Text: buffer, capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_key_text(const rekindle_file *file,
                                       uint32_t index,
                                       uint32_t max_elements,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *needed);

/*
 The value of key `index` as an integer; booleans are 0 and 1.

 REKINDLE_INVALID_ARGUMENT: it is no integer, or does not fit.
 */
REKINDLE_MUST_USE rekindle_status rekindle_file_key_integer(const rekindle_file *file, uint32_t index, int64_t *value);

/*
 The value of key `index` as a number.

 REKINDLE_INVALID_ARGUMENT: it is none.
 */
REKINDLE_MUST_USE rekindle_status rekindle_file_key_number(const rekindle_file *file, uint32_t index, double *value);

/*
 Tensor `index` of a file.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_get_tensor(const rekindle_file *file,
                                         uint32_t index,
                                         rekindle_tensor_info *info);

/*
 Loads a plan: allocates just what it says and fills it. `params` may be NULL. On success `*model` is a handle to be given
 to rekindle_model_destroy; it needs neither context, file nor plan any more.

 Without devices other than the CPU it returns while the last of the file is still being read, as much as takes about two tokens'
 time, and a token embedding that is not the output's weight as well: what decodes next waits for what it needs. With mlock or
 check_tensors everything is in memory when it returns.

 REKINDLE_NOT_FIT: the plan does not fit. REKINDLE_OUT_OF_MEMORY: others took the memory since. REKINDLE_CANCELLED: by the
 progress callback. REKINDLE_BAD_FILE: check_tensors found a weight that is no finite number. REKINDLE_IO: the file cannot be read.
 REKINDLE_UNSUPPORTED: the plan is an estimate, or a type of its tensors cannot be computed with. REKINDLE_DEVICE: a layer is on a
 described device, or a device failed. REKINDLE_INVALID_ARGUMENT: the plan is of another context, or a parameter is out of range.
 Nothing is left behind then.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_load(const rekindle_context *context,
                              const rekindle_plan_t *plan,
                              const rekindle_load_params *params,
                              rekindle_model **model);

/*
 Destroys a model; pointers to its logits become invalid. If a call is still using it, in another thread or around a callback that
 calls this, that call goes on as if nothing had happened, and the memory is freed at its end. If the file is still being read, what
 frees the memory waits for what is under way, some 32 MiB. NULL is allowed.
 */
rekindle_status rekindle_model_destroy(rekindle_model *model);

/*
 What a model is.
 */
REKINDLE_MUST_USE rekindle_status rekindle_model_get_info(const rekindle_model *model, rekindle_model_info *info);

/*
 The plan that a model was loaded by: the one given to rekindle_load, or the one that on_oom led to. On success `*plan` is a handle of
 its own, to be given to rekindle_plan_destroy.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_model_plan(const rekindle_model *model,
                                    rekindle_plan_t **plan);

/*
 What a model asked device `device` of its context for: the plan's bytes, no more and no less.

 REKINDLE_INVALID_ARGUMENT: there is no such device.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_model_memory(const rekindle_model *model,
                                      uint32_t device,
                                      rekindle_memory *memory);

/*
 A model's counters.
 */
REKINDLE_MUST_USE rekindle_status rekindle_model_get_perf(const rekindle_model *model, rekindle_perf *perf);

/*
 Sets a model's counters to zero, but for the time of its load.
 */
rekindle_status rekindle_model_reset_perf(rekindle_model *model);

/*
 Makes the rekindle_decode or rekindle_generate that runs on this model at this moment end soon with REKINDLE_CANCELLED. Without
 one it does nothing. From any thread, also from a callback.
 */
rekindle_status rekindle_cancel(const rekindle_model *model);

/*
 Plans a file on a context's devices; allocates nothing there. `params` may be NULL. On success, and also with
 REKINDLE_NOT_FIT, `*plan` is a handle to be given to rekindle_plan_destroy; with another error it is left alone.

 It counts on what was free when the context was created. What models loaded since have taken is not subtracted: make a new context for
 the next one, or reserve it with reserve_bytes or limits.

 REKINDLE_NOT_FIT: the plan says what is missing and what would help; it cannot be loaded. REKINDLE_UNSUPPORTED: a KV type that
 cannot be used; with REKINDLE_ESTIMATOR_MEASURED also an architecture that cannot be run, or a tensor that its graph cannot take, of which
 otherwise the family's formulas make an estimate. REKINDLE_BAD_FILE: keys or tensors are wrong.
 REKINDLE_INVALID_ARGUMENT: a parameter is out of range or contradicts another.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan(const rekindle_context *context,
                              const rekindle_file *file,
                              const rekindle_plan_params *params,
                              rekindle_plan_t **plan);

/*
 Destroys a plan. Models loaded with it go on. NULL is allowed.
 */
rekindle_status rekindle_plan_destroy(rekindle_plan_t *plan);

/*
 What a plan decided. A plan never changes; all its functions may run at the same time.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_get_summary(const rekindle_plan_t *plan,
                                          rekindle_plan_summary *summary);

/*
 Device `index` of a plan.

 REKINDLE_NOT_FOUND: there is no such index, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_get_device(const rekindle_plan_t *plan,
                                         uint32_t index,
                                         rekindle_plan_device *device);

/*
 Layer `index` of a plan; index n_layer is the output.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_get_layer(const rekindle_plan_t *plan,
                                        uint32_t index,
                                        rekindle_plan_layer *layer);

/*
 Reason `index`: why the plan is as it is, a sentence. Text: buffer, capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_reason(const rekindle_plan_t *plan,
                                     uint32_t index,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/*
 Remedy `index`: what would make it fit, a sentence. Text: buffer, capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_remedy(const rekindle_plan_t *plan,
                                     uint32_t index,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/*
 The whole plan as a table for people. Text: buffer, capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_text(const rekindle_plan_t *plan,
                                   char *buffer,
                                   size_t capacity,
                                   size_t *needed);

/*
 The whole plan as a JSON object; keys are only ever added. schema/plan.schema.json describes them, which is installed as
 share/rekindle/plan.schema.json. Text: buffer, capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_json(const rekindle_plan_t *plan,
                                   char *buffer,
                                   size_t capacity,
                                   size_t *needed);

/*
 Two plans of one file side by side, as a table for people: the measured one and the family's estimate, say. Text: buffer,
 capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_compare(const rekindle_plan_t *plan,
                                      const rekindle_plan_t *other,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *needed);

/*
 Answers a question about a file on a context's devices (REKINDLE_ASK_…) by planning. `params` may be NULL; of what it leaves open,
 the KV type is F16. `*answer` gets tokens, devices or a REKINDLE_KV_… number.

 REKINDLE_NOT_FIT: it does not fit in any way. REKINDLE_UNSUPPORTED: the architecture, or a tensor in its graph, cannot be measured. Others
 as for rekindle_plan.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_ask(const rekindle_context *context,
                                  const rekindle_file *file,
                                  const rekindle_plan_params *params,
                                  int32_t question,
                                  uint32_t *answer);

/*
 Creates a sampler; `params` may be NULL for a greedy one. On success `*sampler` is a handle to be given to
 rekindle_sampler_destroy.

 REKINDLE_INVALID_ARGUMENT: a parameter out of range; the message names it.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_sampler_create(const rekindle_sampler_params *params,
                                        rekindle_sampler **sampler);

/*
 Destroys a sampler. NULL is allowed.
 */
rekindle_status rekindle_sampler_destroy(rekindle_sampler *sampler);

/*
 Chooses a token from row `row` of a model's logits; does not accept it.

 REKINDLE_INVALID_ARGUMENT: there is no such row, or no logit is a number.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_sampler_sample(rekindle_sampler *sampler,
                                        const rekindle_model *model,
                                        uint32_t row,
                                        int32_t *token);

/*
 Chooses a token from `n` logits of the caller's; does not accept it.

 REKINDLE_INVALID_ARGUMENT: no logit is a number.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_sampler_sample_logits(rekindle_sampler *sampler,
                                               const float *logits,
                                               size_t n,
                                               int32_t *token);

/*
 Tells a sampler that a token was used, for its penalties.
 */
REKINDLE_MUST_USE rekindle_status rekindle_sampler_accept(rekindle_sampler *sampler, int32_t token);

/*
 Forgets the accepted tokens and starts the seed's draws over.
 */
REKINDLE_MUST_USE rekindle_status rekindle_sampler_reset(rekindle_sampler *sampler);

/*
 Decodes a prompt, then samples and decodes token after token, until one of REKINDLE_STOP_… `sampler` may be NULL for a greedy
 one, `on_piece` and `result` may be NULL. BOS is added only where the sequence is empty. The sampler accepts the prompt's tokens and
 each one generated; it is not reset.

 Afterwards the sequence holds the prompt and all tokens generated, but for the last one, which is yet to be decoded: to go on, it is the
 next call's prompt_tokens. After REKINDLE_STOP_EOG it holds them all; the token that ended it is neither given nor decoded.

 As rekindle_decode; a prompt that finds no room is REKINDLE_CONTEXT_FULL and changes nothing. A prompt of several batches that fails
 or is cancelled leaves the sequence as it was, or empty where layers with a window have moved past it. What fails or is cancelled
 after the prompt leaves prompt and tokens in the sequence, as far as they were decoded (rekindle_seq_length tells how far).
 REKINDLE_INVALID_ARGUMENT: a prompt without tokens. REKINDLE_UNSUPPORTED: a text for a model without a known tokeniser (token ids
 work).
 */
REKINDLE_MUST_USE
rekindle_status rekindle_generate(rekindle_model *model,
                                  rekindle_sampler *sampler,
                                  const rekindle_generate_params *params,
                                  rekindle_piece_fn on_piece,
                                  void *user_data,
                                  rekindle_generate_result *result);

/*
 Reads the vocabulary of a file; no model needs to be loaded. On success `*vocab` is a handle to be given to
 rekindle_vocab_destroy.

 REKINDLE_UNSUPPORTED: the tokeniser's kind is not known. REKINDLE_BAD_FILE.
 */
REKINDLE_MUST_USE rekindle_status rekindle_vocab_create(const rekindle_file *file, rekindle_vocab **vocab);

/*
 The vocabulary of a model, as rekindle_vocab_create; outlives the model.
 */
REKINDLE_MUST_USE rekindle_status rekindle_model_vocab(const rekindle_model *model, rekindle_vocab **vocab);

/*
 Destroys a vocabulary's handle. NULL is allowed.
 */
rekindle_status rekindle_vocab_destroy(rekindle_vocab *vocab);

/*
 What a vocabulary has.
 */
REKINDLE_MUST_USE rekindle_status rekindle_vocab_get_info(const rekindle_vocab *vocab, rekindle_vocab_info *info);

/*
 What token `token` is.

 REKINDLE_INVALID_ARGUMENT: there is no such token, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_vocab_get_token(const rekindle_vocab *vocab,
                                         int32_t token,
                                         rekindle_token_info *info);

/*
 The tokens of a text (UTF-8, text_len bytes). `flags`: REKINDLE_TEXT_… added up. `*needed` gets their number, also if the
 buffer is too small; NULL with capacity 0 only asks.

 REKINDLE_INVALID_ARGUMENT: the text is no UTF-8, or longer than 1 GiB. REKINDLE_OUT_OF_MEMORY: there are not some 100 bytes for each
 of the text. REKINDLE_BUFFER_TOO_SMALL.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_tokenize(const rekindle_vocab *vocab,
                                  const char *text,
                                  size_t text_len,
                                  uint32_t flags,
                                  int32_t *tokens,
                                  size_t capacity,
                                  size_t *needed);

/*
 The text of `n` tokens. `flags`: REKINDLE_TEXT_… added up. Text: buffer, capacity, needed. Bytes of byte tokens come as they are,
 so the text may be no UTF-8 and may hold NULs.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_detokenize(const rekindle_vocab *vocab,
                                    const int32_t *tokens,
                                    size_t n,
                                    uint32_t flags,
                                    char *buffer,
                                    size_t capacity,
                                    size_t *needed);

/*
 The bytes that one token adds to a text; they may end inside a character (a rekindle_stream does not). Otherwise as
 rekindle_detokenize.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_token_piece(const rekindle_vocab *vocab,
                                     int32_t token,
                                     uint32_t flags,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/*
 Creates a stream of a vocabulary's tokens. `flags`: REKINDLE_TEXT_PARSE_SPECIAL shows control tokens as their text. On success
 `*stream` is a handle to be given to rekindle_stream_destroy; it does not need the vocabulary's handle any more.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_stream_create(const rekindle_vocab *vocab,
                                       uint32_t flags,
                                       rekindle_stream **stream);

/*
 Destroys a stream. NULL is allowed.
 */
rekindle_status rekindle_stream_destroy(rekindle_stream *stream);

/*
 Adds a token and writes the characters that are complete by now, often none. Never cuts a character. Text: buffer, capacity,
 needed. If the buffer is too small, or only the size is asked for, the token is not taken: call again.

 REKINDLE_BUSY: another call is using the stream, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_stream_push(rekindle_stream *stream,
                                     int32_t token,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/*
 Writes what still waits (U+FFFD for a character that never came to its end) and makes the stream empty. Text: buffer, capacity,
 needed, as rekindle_stream_push.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_stream_flush(rekindle_stream *stream,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *needed);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* REKINDLE_H */
