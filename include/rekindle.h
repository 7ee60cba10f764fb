/* rekindle: runs GGUF language models on old GPUs and CPUs. Generated from src/ffi; do not edit.
 *
 * Four calls make a host: rekindle_context_create finds the devices, rekindle_plan decides what goes where (for a
 * file that rekindle_file_open opened), rekindle_load allocates just that, and rekindle_decode or rekindle_generate
 * computes. The sections below come in the order in which a host needs them.
 *
 * THE CONTRACT
 *
 * Errors. A function that can fail returns a rekindle_status: REKINDLE_OK, which is 0, or another number.
 * rekindle_last_error() then has a text for the calling thread. It names the file, key, tensor, field or index at
 * fault and says what was expected. A call that fails changes nothing, and it leaves its out pointers alone unless
 * its text says otherwise. Nothing aborts, nothing throws, and nothing is written to stderr.
 *
 * Memory. What has its size from outside is asked for so that a refusal is REKINDLE_OUT_OF_MEMORY. For small blocks
 * there is a reserve of 32 MiB of address space for the process; a call that had to take of it ends with
 * REKINDLE_OUT_OF_MEMORY, too. The next call works if there is memory again.
 *
 * Handles. One function returns a handle, and the function of the same noun that ends in _destroy (_close for files)
 * ends it. Every call checks its handles: NULL, destroyed, foreign and invented ones give REKINDLE_BAD_HANDLE.
 * Objects keep alive what they need, so they may be destroyed in any order.
 *
 * Structs. The caller sets struct_size to sizeof the struct, also in structs that the library fills. All other fields
 * of a parameter struct may be zero, which means the default. Structs only grow at the end. An older host's smaller
 * struct works; a newer host's larger one works too if the part that this library does not know is zero. Fields that
 * are called reserved must be zero.
 *
 * Strings. A text that goes in is UTF-8 with a length and needs no NUL. A path is bytes as the system has them, at most
 * 4095, without a NUL. A text of unknown length comes out by
 * (buffer, capacity, needed): *needed gets the number of bytes, the terminating NUL among them. A NULL buffer with
 * capacity 0 only asks for that number. A buffer that is too small gives REKINDLE_BUFFER_TOO_SMALL and is left alone.
 * needed may be NULL if buffer is not. Texts inside structs are NUL-terminated; one that is too long for its field is
 * cut between two characters.
 *
 * Threads. Every function may be called from any thread. If the first argument is const, the call only reads and may
 * run at the same time as others. Of the calls that write one object, one runs and another gets REKINDLE_BUSY; a
 * callback that calls back counts as another. A call that reads a model's sequences or logits, sampling included,
 * waits for the batch that is being computed; rekindle_cancel, rekindle_model_get_info, rekindle_model_get_perf and
 * rekindle_model_memory do not wait. Different objects never disturb each other, but the models of one context share
 * its CPU threads and compute in turn, batch by batch; models that shall compute at once need a context each.
 * Callbacks run in the calling thread unless their text says otherwise. They must not throw or jump out.
 *
 * Stack. A call takes at most 256 KiB of its thread's stack, a callback's own needs not counted; what may take more
 * runs on a thread of the library's.
 *
 * fork(). A child process may use the library with objects that it makes itself. Handles from before the fork belong
 * to the parent, where their threads are; in the child they give REKINDLE_BAD_HANDLE, also for _destroy. A child that
 * is forked within a callback must not return from it. CUDA does not work in a child of a process that has used it.
 *
 * Units. Sizes are in bytes, positions and lengths of sequences in tokens. Logits are rows of [n_vocab] floats.
 */

#ifndef REKINDLE_H
#define REKINDLE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus) && __cplusplus >= 201703L
#define REKINDLE_MUST_USE [[nodiscard]]
#elif defined(__GNUC__) || defined(__clang__)
#define REKINDLE_MUST_USE __attribute__((warn_unused_result))
#else
#define REKINDLE_MUST_USE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------
 * Versions, statuses and the last error.
 * ------------------------------------------------------------ */

/**
 * The version of this header. A host passes it to rekindle_context_create. It grows when functions or fields are
 * added.
 */
#define REKINDLE_ABI_VERSION 2

/** The library's version, "major.minor.patch". It lives as long as the library. */
const char *rekindle_version(void);

/** The REKINDLE_ABI_VERSION that the library was built with: it serves hosts built with this one or an older one. */
uint32_t rekindle_abi_version(void);

/**
 * Every function that can fail returns one of these: REKINDLE_OK (0) or one of the numbers below, which are never
 * reused.
 */
typedef int32_t rekindle_status;

/** Done. */
#define REKINDLE_OK 0
/** An argument, field or text is not what it must be; the message names it and what was expected. */
#define REKINDLE_INVALID_ARGUMENT 1
/** Memory, or another resource of the system, could not be had. */
#define REKINDLE_OUT_OF_MEMORY 2
/** A file could not be read. */
#define REKINDLE_IO 3
/** A file is not well-formed, or contradicts itself; the message names the key or tensor. */
#define REKINDLE_BAD_FILE 4
/** A file is well-formed but asks for something that this library cannot do. */
#define REKINDLE_UNSUPPORTED 5
/** The model does not fit on the devices; the plan says what is missing and what would help. */
#define REKINDLE_NOT_FIT 6
/** The KV cache has too few free cells; nothing was changed. */
#define REKINDLE_CONTEXT_FULL 7
/** The call was ended by rekindle_cancel or by a callback. Nothing was changed, except by rekindle_generate. */
#define REKINDLE_CANCELLED 8
/** Another call is using this object, or the call that this callback belongs to. */
#define REKINDLE_BUSY 9
/** The caller's buffer is too small; `needed` says how large it must be. */
#define REKINDLE_BUFFER_TOO_SMALL 10
/** There is no such key, tensor, template or index. */
#define REKINDLE_NOT_FOUND 11
/** The host was built with a header that this library does not know. */
#define REKINDLE_ABI_MISMATCH 12
/** A handle is NULL, destroyed, or that of another kind of object. */
#define REKINDLE_BAD_HANDLE 13
/** The library has a defect. The object may be destroyed, and everything else goes on. */
#define REKINDLE_INTERNAL 14
/** A device or its driver failed. */
#define REKINDLE_DEVICE 15

/**
 * The name of a status, "REKINDLE_OK" for example; "REKINDLE_UNKNOWN" for other numbers. It lives as long as the
 * library.
 */
const char *rekindle_status_name(rekindle_status status);

/**
 * The text of the calling thread's last error, UTF-8; "" if there was none. It stays valid and unchanged until the
 * next call on this thread that fails.
 */
const char *rekindle_last_error(void);

/** The particulars of an error, for programs. */
typedef struct {
  /** sizeof(rekindle_error_detail), set by the caller. */
  uint32_t struct_size;
  /** The status that was returned; REKINDLE_OK if no call of this thread failed yet. */
  rekindle_status status;
  /** The device at fault; -1 if none is. */
  int32_t device;
  /** Zero. */
  uint32_t reserved;
  /**
   * The bytes that were needed and those that there were; 0 if this does not apply. For REKINDLE_CONTEXT_FULL they
   * are tokens, for a small buffer elements.
   */
  uint64_t needed;
  uint64_t available;
  /** The key, tensor, parameter or field at fault; empty if none is. */
  char subject[128];
} rekindle_error_detail;

/** Tells the particulars of the calling thread's last error. */
REKINDLE_MUST_USE rekindle_status rekindle_last_error_detail(rekindle_error_detail *detail);

/**
 * Lists the environment variables that the library reads: writes "NAME: what it does" for variable `index`. Text:
 * buffer, capacity, needed.
 *
 * REKINDLE_NOT_FOUND: there are no more.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_environment(uint32_t index,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/* -------------------------------------------------------------------------------
 * Contexts: the devices, the threads and the log that everything else belongs to.
 * ------------------------------------------------------------------------------- */

/**
 * The devices that models may use, the CPU threads, and a log. Several contexts may live side by side; they share
 * nothing.
 */
typedef struct rekindle_context rekindle_context;

/** Levels of log messages; a higher one tells more. */
#define REKINDLE_LOG_ERROR 1
#define REKINDLE_LOG_WARN 2
#define REKINDLE_LOG_INFO 3
#define REKINDLE_LOG_DEBUG 4

/**
 * Gets a log message: NUL-terminated UTF-8, valid during the call. It is called from any thread that uses the context,
 * one call at a time.
 */
typedef void (*rekindle_log_fn)(void *user_data, int32_t level, const char *message);

/** For rekindle_context_create. Zero in every field but struct_size is the default. */
typedef struct {
  /** sizeof(rekindle_context_params), set by the caller. */
  uint32_t struct_size;
  /**
   * CPU threads, up to 1024; 0 means one per core. Where other programs want the cores too, fewer of them take part
   * while that is faster; results are the same bits whatever the number.
   */
  uint32_t n_threads;
  /**
   * The devices to use, as a device spec: UTF-8 of devices_len bytes, or NULL with 0.
   *
   * As words: "" or "auto" is everything that is found on this machine; a CUDA device that fails is left out, and
   * plans say why. "cpu" is this machine's CPU. "cuda" are its CUDA devices and "cuda:2" the first two of them; it
   * is an error if they are not there. "k80:4,cpu" are four described dies of a built-in profile, and the CPU. At
   * most 24 devices.
   *
   * As JSON: an array of devices, or an object with "devices" and "links". A device has "kind" ("cpu" or "cuda") or
   * "profile" ("k80"). It may have "count", "name", "total_bytes", "free_bytes", "driver_bytes" (taken by the driver
   * for itself), "read_bandwidth" (bytes per second, plain reads), "flops" (float32 operations per second),
   * "host_bandwidth" (bytes per second to the host), "compute_capability" ("3.7") and "board" (devices of one board
   * share its link to the host). A link has "between" (two devices by their place in the list) and "bandwidth"
   * (bytes per second without the host).
   *
   * A device with "kind": "cuda" and "ordinal" is the found one of that number. Only "free_bytes" can be said of it
   * besides, the part of its memory that may be used; it may be listed twice, as two dies. A "cuda" with neither
   * "profile" nor "ordinal" needs "total_bytes". {"kind": "cpu"} is this machine's; with "total_bytes" or
   * "free_bytes" it is a described one (to limit the found one, use the limits and reserve_bytes of a plan).
   *
   * In the context the dies (single GPUs; a K80 card has two) come first and the CPU last. The CPU is always there,
   * since the host reads the token embedding, but it computes layers only if the spec names it. Described devices
   * can be planned for, not loaded.
   */
  const char *devices;
  size_t devices_len;
  /** Gets the log messages; NULL means silence. */
  rekindle_log_fn log;
  void *log_user_data;
  /** The last level to be told of, REKINDLE_LOG_…; 0 means REKINDLE_LOG_WARN. */
  int32_t log_level;
  /** Zero. */
  uint32_t reserved;
} rekindle_context_params;

/**
 * Creates a context. `abi_version` is REKINDLE_ABI_VERSION; `params` may be NULL. On success `*context` is a handle
 * that rekindle_context_destroy ends.
 *
 * REKINDLE_ABI_MISMATCH: the library is older than the header. REKINDLE_INVALID_ARGUMENT: the device spec, the number
 * of threads or an environment variable is not valid. REKINDLE_DEVICE: CUDA devices were named and are not there, or
 * one fails.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_context_create(uint32_t abi_version,
                                        const rekindle_context_params *params,
                                        rekindle_context **context);

/**
 * Destroys a context. Files, plans and models that were made with it go on, and its log is called until the last of
 * them is gone. NULL is allowed.
 */
rekindle_status rekindle_context_destroy(rekindle_context *context);

/** The devices and threads of a context. */
typedef struct {
  /** sizeof(rekindle_context_info), set by the caller. */
  uint32_t struct_size;
  uint32_t n_devices;
  /** CPU threads. */
  uint32_t n_threads;
  /** Zero. */
  uint32_t reserved;
  /** The instruction set of the CPU kernels: "avx512", "avx2", "neon", "portable". */
  char isa[16];
} rekindle_context_info;

/** Tells how many devices and threads a context has. It may run at the same time as other calls on it. */
REKINDLE_MUST_USE
rekindle_status rekindle_context_get_info(const rekindle_context *context,
                                          rekindle_context_info *info);

/** Kinds of devices. */
#define REKINDLE_DEVICE_CPU 0
#define REKINDLE_DEVICE_CUDA 1

/** A device of a context. */
typedef struct {
  /** sizeof(rekindle_device_info), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_DEVICE_… */
  int32_t kind;
  /** Bytes of memory, and those that were free when the context was created. */
  uint64_t total_bytes;
  uint64_t free_bytes;
  /** Plain reads from its memory, bytes per second; 0 if not known. */
  double read_bandwidth;
  /** CUDA compute capability; 0.0 for the CPU. */
  uint32_t compute_major;
  uint32_t compute_minor;
  /** The number of its board. Devices on one board share its link to the host. */
  uint32_t board;
  /** Non-zero: the device was described, not found. It can be planned for but not loaded. */
  uint32_t described;
  char name[128];
  /** Bytes that the driver takes of the memory as soon as a program uses the device. */
  uint64_t driver_bytes;
  /** Float32 operations per second, and bytes per second to and from the host; 0 if not known. */
  double flops;
  double host_bandwidth;
  /** Non-zero: layers may be placed on it. */
  uint32_t takes_layers;
  /** Zero. */
  uint32_t reserved;
  /** The CUDA driver's number of a device that was found; -1 for others. */
  int32_t cuda_ordinal;
  /**
   * The devices that it copies from and to without the host: the lowest bit stands for device 0. The copies were
   * proved both ways when the context was created, or the link was described.
   */
  uint32_t peers;
  /**
   * The image of the kernels that a found device runs: "sm_37 cubin", or PTX that the driver compiles at the first
   * load.
   */
  char image[64];
} rekindle_device_info;

/**
 * Tells what device `index` of a context is.
 *
 * REKINDLE_NOT_FOUND: there is no such device.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_context_get_device(const rekindle_context *context,
                                            uint32_t index,
                                            rekindle_device_info *info);

/* ------------------------------------------------------------
 * Files: a model's header, read without loading anything.
 * ------------------------------------------------------------ */

/** A GGUF file (or all files of a split one), its header checked, its data mapped. */
typedef struct rekindle_file rekindle_file;

/**
 * Opens a GGUF file. If it is the first of several splits (`…-00001-of-0000N.gguf`), all of them are opened. Only the
 * header is read, so this takes milliseconds. `path` has `path_len` bytes. On success `*file` is a handle that
 * rekindle_file_close ends.
 *
 * The header, with its keys and the vocabulary, is copied. Tensors stay in the file. A model that was loaded with
 * mapped weights (REKINDLE_WEIGHTS_AUTO on the CPU) computes with the file's own pages: nothing is copied, other
 * processes share them, and the system may drop and read them again. So the files must not be changed or cut short
 * while such a model is in use: the process ends with SIGBUS when it computes with a part that is gone. With
 * REKINDLE_WEIGHTS_COPIED a cut file is an error of rekindle_load (or of a first save), and later cuts do no harm. To
 * remove files, or to rename others over them, is always fine. A host that holds an open descriptor, of a sealed memfd
 * for example, passes "/proc/self/fd/N" as the path.
 *
 * REKINDLE_IO: a file cannot be opened. REKINDLE_BAD_FILE: it is not well-formed. REKINDLE_UNSUPPORTED: another
 * version of GGUF, or big-endian.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_open(const rekindle_context *context,
                                   const char *path,
                                   size_t path_len,
                                   rekindle_file **file);

/**
 * Opens a GGUF file as rekindle_file_open does, with values in place of those that its keys have. `overrides` is a
 * JSON object in UTF-8: `{"tokenizer.ggml.pre": "qwen2", "llama.rope.freq_base": 500000.0}`. Plans, models and
 * vocabularies that are made from this file see these values. A key that the file has keeps its type; another one is
 * added. An empty text changes nothing.
 *
 * REKINDLE_INVALID_ARGUMENT, naming the key: a value that its type does not hold, an array, or a key that says how the
 * file is read (general.alignment, split.count).
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_open_with(const rekindle_context *context,
                                        const char *path,
                                        size_t path_len,
                                        const char *overrides,
                                        size_t overrides_len,
                                        rekindle_file **file);

/** Closes a file. Plans and models that were made from it go on. NULL is allowed. */
rekindle_status rekindle_file_close(rekindle_file *file);

/** The description of a file. A size that its keys do not give is 0, and such a text is empty. */
typedef struct {
  /** sizeof(rekindle_file_info), set by the caller. */
  uint32_t struct_size;
  /** GGUF version, 2 or 3. */
  uint32_t version;
  uint64_t n_keys;
  uint64_t n_tensors;
  /** Bytes of all its files. */
  uint64_t n_bytes;
  /** Elements of all its tensors. */
  uint64_t n_params;
  uint32_t n_files;
  uint32_t n_layer;
  /** The context that the model was trained for, in tokens. */
  uint32_t n_ctx_train;
  uint32_t n_embd;
  /** Rows of the token embedding. */
  uint32_t n_vocab;
  /** Zero. */
  uint32_t reserved;
  /** general.architecture and general.name */
  char architecture[64];
  char name[128];
} rekindle_file_info;

/** Tells what a file is. It may run at the same time as other calls on the file, as may all that take a const file. */
REKINDLE_MUST_USE rekindle_status rekindle_file_get_info(const rekindle_file *file, rekindle_file_info *info);

/* ------------------------------------------------------------
 * Keys and tensors of a file, one by one.
 * ------------------------------------------------------------ */

/** Types of a key's value, by GGUF's numbers. */
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

/** A key of a file. */
typedef struct {
  /** sizeof(rekindle_key_info), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_VALUE_… */
  int32_t value_type;
  /** The type of an array's elements; -1 for other values. */
  int32_t element_type;
  /** Zero. */
  uint32_t reserved;
  /** The elements of an array, the bytes of a string; 1 for other values. */
  uint64_t count;
  char name[256];
} rekindle_key_info;

/**
 * Gives the index of a key by its name (UTF-8, name_len bytes).
 *
 * REKINDLE_NOT_FOUND: the file has no such key.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_find_key(const rekindle_file *file,
                                       const char *name,
                                       size_t name_len,
                                       uint32_t *index);

/**
 * Tells what key `index` of a file is.
 *
 * REKINDLE_NOT_FOUND: there is no such index, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_get_key(const rekindle_file *file,
                                      uint32_t index,
                                      rekindle_key_info *info);

/**
 * Writes the value of key `index` as text: a string as it is, a number in decimal, an array as [a, b, …] with at most
 * `max_elements` elements. Bytes of strings that are no UTF-8 come as U+FFFD. Text: buffer, capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_key_text(const rekindle_file *file,
                                       uint32_t index,
                                       uint32_t max_elements,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *needed);

/**
 * Gives the value of key `index` as an integer; booleans are 0 and 1.
 *
 * REKINDLE_INVALID_ARGUMENT: it is no integer, or does not fit.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_key_integer(const rekindle_file *file,
                                          uint32_t index,
                                          int64_t *value);

/**
 * Gives the value of key `index` as a floating-point number.
 *
 * REKINDLE_INVALID_ARGUMENT: it is none.
 */
REKINDLE_MUST_USE rekindle_status rekindle_file_key_number(const rekindle_file *file, uint32_t index, double *value);

/** A tensor of a file. */
typedef struct {
  /** sizeof(rekindle_tensor_info), set by the caller. */
  uint32_t struct_size;
  /** GGUF's number of its type. */
  uint32_t tensor_type;
  uint32_t n_dims;
  /** The number of the split file that holds it, from 0. */
  uint32_t split;
  /** Elements per dimension, the one that lies closest together first; 1 past n_dims. */
  uint64_t ne[4];
  /** The place in that file where its data begins, in bytes. */
  uint64_t offset;
  uint64_t n_bytes;
  /** GGUF's name of its type: "Q4_K". */
  char type_name[16];
  char name[128];
} rekindle_tensor_info;

/** Tells what tensor `index` of a file is. */
REKINDLE_MUST_USE
rekindle_status rekindle_file_get_tensor(const rekindle_file *file,
                                         uint32_t index,
                                         rekindle_tensor_info *info);

/* -------------------------------------------------------------------------------------------------
 * Plans: the place of each layer, and the exact number of bytes that each device will be asked for.
 * ------------------------------------------------------------------------------------------------- */

/** A plan. (The type has the suffix _t because rekindle_plan is the function.) */
typedef struct rekindle_plan_t rekindle_plan_t;

/** Types of the KV cache. */
#define REKINDLE_KV_DEFAULT 0
#define REKINDLE_KV_F32 1
#define REKINDLE_KV_F16 2
#define REKINDLE_KV_Q8_0 3
#define REKINDLE_KV_Q4_0 4

/**
 * The CPU's way to the weights. AUTO: from the file's memory map if that is possible. MAPPED: always from the map.
 * COPIED: from a copy.
 */
#define REKINDLE_WEIGHTS_AUTO 0
#define REKINDLE_WEIGHTS_MAPPED 1
#define REKINDLE_WEIGHTS_COPIED 2

/**
 * The rows that a batch leaves. DEFAULT: logits; an encoder has none, and leaves what its file says. FILE: as the file
 * says in `{architecture}.pooling_type`, or NONE if it says nothing.
 *
 * NONE: the embedding of each token that is asked for. MEAN, CLS, LAST: one row for each text, which is a sequence's
 * tokens in the batch: the mean of all, the first token's, the last token's. RANK: the scores that the file's head
 * makes of one row of a text (encoders and rerankers); a file without such a head is an error.
 */
#define REKINDLE_POOLING_DEFAULT 0
#define REKINDLE_POOLING_FILE 1
#define REKINDLE_POOLING_NONE 2
#define REKINDLE_POOLING_MEAN 3
#define REKINDLE_POOLING_CLS 4
#define REKINDLE_POOLING_LAST 5
#define REKINDLE_POOLING_RANK 6

/**
 * The aim of a plan. LATENCY (the default): one sequence is decoded as fast as possible. THROUGHPUT: the slowest
 * device is as fast as possible, for several sequences that follow each other from device to device. HEADROOM: as much
 * memory as possible is left for context.
 */
#define REKINDLE_OBJECTIVE_LATENCY 0
#define REKINDLE_OBJECTIVE_THROUGHPUT 1
#define REKINDLE_OBJECTIVE_HEADROOM 2

/**
 * The source of a plan's bytes. MEASURED: the graph that will run. FAMILY: the formulas that this kind of program uses
 * instead, an estimate that cannot be loaded. AUTO: measured if the architecture's graph is known, else the formulas.
 */
#define REKINDLE_ESTIMATOR_AUTO 0
#define REKINDLE_ESTIMATOR_MEASURED 1
#define REKINDLE_ESTIMATOR_FAMILY 2

/** For rekindle_device_limit: put no layers on this device. */
#define REKINDLE_LIMIT_EXCLUDE 1

/** A limit on the use of one device. The struct never grows. */
typedef struct {
  /** Index in the context. */
  uint32_t device;
  /** REKINDLE_LIMIT_EXCLUDE or 0. */
  uint32_t flags;
  /** The most layers it may have, those whose experts alone are here among them; 0 means as many as fit. */
  uint32_t max_layers;
  /** Zero. */
  uint32_t reserved;
  /** Bytes to leave free, besides reserve_bytes of the plan's parameters. */
  uint64_t reserve_bytes;
} rekindle_device_limit;

/** The wishes for a plan. Zero in a field means: decide for me. */
typedef struct {
  /** sizeof(rekindle_plan_params), set by the caller. */
  uint32_t struct_size;
  /**
   * Tokens that the KV cache holds, of all sequences together; 0 means as many as the model was trained for, or
   * fewer if only they fit. Then 1/64 of each device stays free, unless reserve_bytes or a limit says how much.
   */
  uint32_t n_ctx;
  /** Sequences, with ids from 0. At most 256; 0 means 1. */
  uint32_t n_seq_max;
  /** Rows of logits that one rekindle_decode may leave; 0 means one per sequence, n_batch at most. */
  uint32_t n_outputs_max;
  /**
   * The most tokens of one rekindle_decode, and the most that go through the layers in one pass, which are not more
   * than those. 0 in both means the family's default; 0 in one means the value of the other. More than n_ctx are cut
   * to n_ctx.
   */
  uint32_t n_batch;
  uint32_t n_ubatch;
  /**
   * REKINDLE_KV_… The default is F16, or Q8_0 if only that fits (or, with dies, if it leaves fewer layers or experts
   * to the CPU).
   */
  int32_t type_k;
  int32_t type_v;
  /** REKINDLE_WEIGHTS_… */
  int32_t weights;
  /** REKINDLE_OBJECTIVE_… */
  int32_t objective;
  /** Bytes to leave free on each device. */
  uint64_t reserve_bytes;
  /** REKINDLE_ESTIMATOR_… */
  int32_t estimator;
  /** The number of limits. */
  uint32_t n_limits;
  /**
   * Limits of single devices, each device at most once; may be NULL if n_limits is 0. They are read during the call
   * only.
   */
  const rekindle_device_limit *limits;
  /** The family estimator's factor on compute buffers, 1 to 100; 0 means 3.5. */
  double margin;
  /**
   * Checkpoints of recurrent states, of all sequences together, for models whose layers remember a sequence as a
   * whole (rekindle_seq_cut tells of them). Each takes the bytes of one sequence's state. 0 means four per sequence,
   * 16 at most; REKINDLE_CHECKPOINTS_NONE means none. At most 1024.
   */
  uint32_t n_checkpoints;
  /**
   * Tokens that are guessed at most before the model checks them, all in one batch; rekindle_generate does so. The
   * text stays the same, bit by bit. 0 means none. At most 15. n_outputs_max is at least one more.
   */
  uint32_t n_draft;
  /**
   * REKINDLE_POOLING_…: the rows that a batch leaves. Every choice but the default leaves no logits; the output
   * matrix is then neither planned nor loaded.
   */
  int32_t pooling;
  /** REKINDLE_DRAFT_…: who guesses. */
  uint32_t draft_source;
  /**
   * Places of tensors, by patterns of their names: UTF-8 text of placements_len bytes, copied during the call. It is
   * a list of pairs with commas between them, as `blk\.[0-3]\.ffn_.*_exps=CPU,^blk\.7\.=CUDA1`: a regular expression
   * (in the syntax of Rust's regex crate, without commas) that is looked for in a tensor's name, and CPU or CUDA
   * with the number of a die; 256 pairs at most. Of the expressions that are found the first one counts. All tensors
   * of a layer go to one device, but for its routed experts, which may be on the CPU; a text that asks for anything
   * else is refused with the tensor's name (REKINDLE_INVALID_ARGUMENT). Each device computes neighbouring layers, so
   * not all places go together: then the plan does not fit.
   */
  const char *placements;
  size_t placements_len;
} rekindle_plan_params;

/**
 * A prediction layer of the model itself (MTP) makes drafts; a file without such a layer is an error. It is not loaded
 * if n_draft is 0.
 */
#define REKINDLE_DRAFT_LAYER 0
/**
 * The prompt and the text so far make drafts: where their last tokens stood before, what followed there. It serves any
 * model, and texts that repeat themselves: code that is changed, answers that quote.
 */
#define REKINDLE_DRAFT_TEXT 1
/** A second, smaller model with the same vocabulary makes drafts: the one that rekindle_model_set_draft names. */
#define REKINDLE_DRAFT_MODEL 2

/** For n_checkpoints of rekindle_plan_params: keep no checkpoints. */
#define REKINDLE_CHECKPOINTS_NONE UINT32_MAX

/**
 * Plans a file on a context's devices and allocates nothing there. `params` may be NULL. On success, and also with
 * REKINDLE_NOT_FIT, `*plan` is a handle that rekindle_plan_destroy ends; with another error it is left alone.
 *
 * A plan counts on the memory that was free when the context was created. The memory of models that were loaded since
 * is not subtracted: make a new context for the next model, or reserve that memory with reserve_bytes or limits.
 *
 * REKINDLE_NOT_FIT: the plan says what is missing and what would help; it cannot be loaded. REKINDLE_UNSUPPORTED: a KV
 * type cannot be used. With REKINDLE_ESTIMATOR_MEASURED it also means that the architecture cannot be run, or that its
 * graph cannot take a tensor; without, the family's formulas make an estimate then. REKINDLE_BAD_FILE: keys or tensors
 * are wrong. REKINDLE_INVALID_ARGUMENT: a parameter is out of range or contradicts another.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan(const rekindle_context *context,
                              const rekindle_file *file,
                              const rekindle_plan_params *params,
                              rekindle_plan_t **plan);

/** Destroys a plan. Models loaded with it go on. NULL is allowed. */
rekindle_status rekindle_plan_destroy(rekindle_plan_t *plan);

/**
 * Questions for rekindle_plan_ask. They are about the dies that may compute layers, or about the CPU if there are
 * none.
 *
 * The longest context that fits, in tokens, up to the one that the model was trained for.
 */
#define REKINDLE_ASK_LARGEST_CONTEXT 1
/** The largest n_ubatch that fits with the context of the parameters, in tokens. */
#define REKINDLE_ASK_LARGEST_BATCH 2
/** The fewest devices that hold the model with the context of the parameters. */
#define REKINDLE_ASK_FEWEST_DEVICES 3
/** The more exact of REKINDLE_KV_F16 and REKINDLE_KV_Q8_0 that fits with the context of the parameters. */
#define REKINDLE_ASK_BEST_KV_TYPE 4

/**
 * Answers a question about a file on a context's devices (REKINDLE_ASK_…) by planning. `params` may be NULL; if they
 * leave the KV type open, it is F16. `*answer` gets tokens, devices or a REKINDLE_KV_… number.
 *
 * REKINDLE_NOT_FIT: the model does not fit in any way. REKINDLE_UNSUPPORTED: the architecture, or a tensor in its
 * graph, cannot be measured. The other errors are those of rekindle_plan.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_ask(const rekindle_context *context,
                                  const rekindle_file *file,
                                  const rekindle_plan_params *params,
                                  int32_t question,
                                  uint32_t *answer);

/* -------------------------------------------------------------------------------------
 * The contents of a plan: the decisions, the devices, the layers, and the plan as text.
 * ------------------------------------------------------------------------------------- */

/**
 * The origin of a choice: the parameters, the family's default, the library's default, a key of the file, or the
 * memory that there is.
 */
#define REKINDLE_SOURCE_CALLER 1
#define REKINDLE_SOURCE_FAMILY 2
#define REKINDLE_SOURCE_GLOBAL 3
#define REKINDLE_SOURCE_FILE 4
#define REKINDLE_SOURCE_LIMITED 5

/** The decisions of a plan. */
typedef struct {
  /** sizeof(rekindle_plan_summary), set by the caller. */
  uint32_t struct_size;
  /**
   * Non-zero: it fits. It can be loaded if it is also measured, no layer is on a described device, and every type of
   * its tensors can be computed with. ("loadable" in rekindle_plan_json says so, and a reason tells what is in the
   * way.)
   */
  uint32_t fits;
  uint32_t n_layer;
  uint32_t n_ctx;
  /** REKINDLE_SOURCE_… of n_ctx, and of the batch sizes. */
  int32_t n_ctx_source;
  int32_t batch_source;
  uint32_t n_ctx_train;
  uint32_t n_batch;
  uint32_t n_ubatch;
  uint32_t n_seq_max;
  uint32_t n_outputs_max;
  /** REKINDLE_KV_… */
  int32_t type_k;
  int32_t type_v;
  uint32_t n_threads;
  /** The numbers of entries for rekindle_plan_get_device and rekindle_plan_reason. */
  uint32_t n_devices;
  uint32_t n_reasons;
  /**
   * The remedies that were worked out by now. The first rekindle_plan_remedy, rekindle_plan_text or
   * rekindle_plan_json works out all of them, for which it plans again; before that, 0.
   */
  uint32_t n_remedies;
  /** REKINDLE_OBJECTIVE_… */
  int32_t objective;
  char architecture[64];
  char name[128];
  /**
   * "measured" if the bytes come from the very graph that will run; "family" if they come from formulas, an estimate
   * that cannot be loaded.
   */
  char estimator[32];
  /**
   * Speeds in tokens per second, predicted by the cost model and not measured; 0 if there is no prediction. They are
   * those of one sequence at an empty and at a full context, of a prompt, and of all sequences together while every
   * device always has one to work on.
   */
  double predicted_decode;
  double predicted_decode_full;
  double predicted_prompt;
  double predicted_pipelined;
  /** The device in use that has the fewest bytes left, -1 if none; tightest_bytes are these bytes. */
  int32_t tightest_device;
  /** Layers that the CPU computes as a whole, beside dies or alone. */
  uint32_t n_cpu_layers;
  uint64_t tightest_bytes;
  /**
   * Layers that keep a recurrent state per sequence, and the checkpoints of such states that the plan has room for;
   * 0 for models without such layers.
   */
  uint32_t n_recurrent_layers;
  uint32_t n_checkpoints;
  /** Tokens of a draft at most; 0 if the model makes none. */
  uint32_t n_draft;
  /** Zero. */
  uint32_t reserved;
  /** REKINDLE_POOLING_…: the rows that a batch leaves; DEFAULT: logits. */
  int32_t pooling;
  /** Zero. */
  uint32_t reserved_too;
} rekindle_plan_summary;

/** Tells what a plan decided. A plan never changes, and all its functions may run at the same time. */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_get_summary(const rekindle_plan_t *plan,
                                          rekindle_plan_summary *summary);

/** The part of a plan that lies on one device. Sizes are in bytes. */
typedef struct {
  /** sizeof(rekindle_plan_device), set by the caller. */
  uint32_t struct_size;
  /** The device's index in the context. */
  uint32_t device;
  uint32_t first_layer;
  uint32_t n_layers;
  /** Non-zero: it computes the output. */
  uint32_t has_output;
  /** Zero. */
  uint32_t reserved;
  /** The device's memory, and the part of it that was free when the context was created. */
  uint64_t total_bytes;
  uint64_t free_bytes;
  /** The bytes that are missing; 0 if it fits. */
  uint64_t shortfall;
  /**
   * The weights arena; weights that are used straight from the file's memory map, which are the system's page cache;
   * the KV arena, which holds the KV cache and recurrent states; the compute arena; the driver's own part.
   */
  uint64_t weights;
  uint64_t mapped;
  uint64_t kv;
  uint64_t compute;
  uint64_t driver;
  /** Layers of other devices whose routed experts are here. */
  uint32_t n_expert_layers;
  /** Zero. */
  uint32_t reserved2;
  /** Those bytes of the KV arena that are recurrent states: of sequences, of batches under way, and of checkpoints. */
  uint64_t states;
} rekindle_plan_device;

/**
 * Tells what a plan puts on one device: entry `index` of its devices.
 *
 * REKINDLE_NOT_FOUND: there is no such index, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_get_device(const rekindle_plan_t *plan,
                                         uint32_t index,
                                         rekindle_plan_device *device);

/** The place of one layer in a plan. */
typedef struct {
  /** sizeof(rekindle_plan_layer), set by the caller. */
  uint32_t struct_size;
  /** The layer; n_layer stands for the output. */
  uint32_t layer;
  uint32_t device;
  /** Zero. */
  uint32_t reserved;
  /** Bytes of its weights, the experts' among them, and of its KV cache. */
  uint64_t weights;
  uint64_t kv;
  char reason[128];
  /**
   * The device that has its routed experts. This is the CPU if a mixture of experts is too large for the dies, else
   * `device`.
   */
  uint32_t experts_device;
  /** Zero. */
  uint32_t reserved2;
} rekindle_plan_layer;

/** Tells the place of layer `index` of a plan; index n_layer is the output. */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_get_layer(const rekindle_plan_t *plan,
                                        uint32_t index,
                                        rekindle_plan_layer *layer);

/** Writes reason `index`, a sentence that says why the plan is as it is. Text: buffer, capacity, needed. */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_reason(const rekindle_plan_t *plan,
                                     uint32_t index,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/**
 * Writes remedy `index`, a sentence that says what would make the model fit. Text: buffer, capacity, needed. The first
 * call plans what might help, which may take longer than the plan itself; ask from 0 on until REKINDLE_NOT_FOUND.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_remedy(const rekindle_plan_t *plan,
                                     uint32_t index,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/** Writes the whole plan as a table for people. Text: buffer, capacity, needed. */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_text(const rekindle_plan_t *plan,
                                   char *buffer,
                                   size_t capacity,
                                   size_t *needed);

/**
 * Draws the plan: an SVG picture (XML in UTF-8) with a bar of each device's memory to scale, the exact bytes of its
 * parts, a cell for each layer, the predicted speeds and the remedies. Names in it are escaped. Text: buffer,
 * capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_svg(const rekindle_plan_t *plan,
                                  char *buffer,
                                  size_t capacity,
                                  size_t *needed);

/**
 * Writes the whole plan as a JSON object. Keys are only ever added. schema/plan.schema.json describes them; it is
 * installed as share/rekindle/plan.schema.json. Text: buffer, capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_json(const rekindle_plan_t *plan,
                                   char *buffer,
                                   size_t capacity,
                                   size_t *needed);

/**
 * Writes two plans of one file side by side, as a table for people: the measured one and the family's estimate, say.
 * Text: buffer, capacity, needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_plan_compare(const rekindle_plan_t *plan,
                                      const rekindle_plan_t *other,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *needed);

/* ------------------------------------------------------------
 * Models: loading, memory, counters, cancelling.
 * ------------------------------------------------------------ */

/**
 * A loaded model with its KV cache. Calls with a const model may run at the same time, from several threads. Of the
 * other calls one runs at a time, and a second gets REKINDLE_BUSY.
 */
typedef struct rekindle_model rekindle_model;

/**
 * Gets the share of a load that is done, 0 to 1, in the calling thread. It returns 0 to go on and anything else to
 * cancel.
 */
typedef int32_t (*rekindle_progress_fn)(void *user_data, float done);

/**
 * If a CUDA device turns out to have less memory than it reported, the load fails (the default), or a new plan is made
 * for the memory that there is, and loaded (rekindle_model_plan returns it).
 */
#define REKINDLE_ON_OOM_FAIL 0
#define REKINDLE_ON_OOM_REPLAN 1

/** For rekindle_load. Zero in every field but struct_size is the default. */
typedef struct {
  /** sizeof(rekindle_load_params), set by the caller. */
  uint32_t struct_size;
  /** Non-zero: refuse weights that are no finite numbers. Every weight is read once more for this. */
  uint32_t check_tensors;
  /** Non-zero: keep weights and arenas from being swapped out. If the system refuses, a warning is logged. */
  uint32_t mlock;
  /** Zero. */
  uint32_t reserved;
  /** It goes from 0 to 1, and begins at 0 again if the load plans again. */
  rekindle_progress_fn progress;
  void *progress_user_data;
  /** REKINDLE_ON_OOM_… */
  int32_t on_oom;
  /**
   * Non-zero: CUDA devices launch every kernel of short steps one by one. Otherwise they record the launches and
   * replay them (CUDA graphs).
   */
  uint32_t no_cuda_graphs;
} rekindle_load_params;

/**
 * Loads a plan: allocates just the bytes that it says and fills them. `params` may be NULL. On success `*model` is a
 * handle that rekindle_model_destroy ends; it needs neither context, file nor plan any more.
 *
 * The weights are in memory when the call returns, those too that the CPU uses in the mapped file.
 *
 * REKINDLE_NOT_FIT: the plan does not fit. REKINDLE_OUT_OF_MEMORY: other programs have taken the memory since the plan
 * was made. REKINDLE_CANCELLED: by the progress callback. REKINDLE_BAD_FILE: check_tensors found a weight that is no
 * finite number. REKINDLE_IO: the file cannot be read. REKINDLE_UNSUPPORTED: the plan is an estimate, or a type of its
 * tensors cannot be computed with. REKINDLE_DEVICE: a layer is on a described device, or a device failed.
 * REKINDLE_INVALID_ARGUMENT: the plan is of another context, or a parameter is out of range. In all these cases
 * nothing is left behind.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_load(const rekindle_context *context,
                              const rekindle_plan_t *plan,
                              const rekindle_load_params *params,
                              rekindle_model **model);

/**
 * Destroys a model; pointers to its logits become invalid. A call that is still using it, in another thread or around
 * a callback that calls this, goes on as if nothing had happened, and the memory is freed at its end. NULL is
 * allowed.
 */
rekindle_status rekindle_model_destroy(rekindle_model *model);

/** The description of a model, and the sizes that it was loaded with. */
typedef struct {
  /** sizeof(rekindle_model_info), set by the caller. */
  uint32_t struct_size;
  /** Logits per row. */
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
  /** Elements of the weights in use. */
  uint64_t n_params;
  char architecture[64];
  char name[128];
  /**
   * Non-zero: rekindle_seq_shift works, and rekindle_seq_remove takes positions from the middle of a sequence. Zero
   * with models whose layers keep a recurrent state per sequence.
   */
  uint32_t can_shift;
  /** Checkpoints of recurrent states that there is room for; 0 for models without such states. */
  uint32_t n_checkpoints;
  /** Tokens that are guessed at most before the model checks them; 0 if no drafts were asked for. */
  uint32_t n_draft;
  /** Zero. */
  uint32_t reserved;
  /** REKINDLE_POOLING_…: the rows that a batch leaves; DEFAULT: logits. */
  int32_t pooling;
  /**
   * Elements of a row of rekindle_embeddings and rekindle_pooled: n_embd for most models, the number of scores with
   * REKINDLE_POOLING_RANK.
   */
  uint32_t n_embd_out;
} rekindle_model_info;

/** Tells what a model is. */
REKINDLE_MUST_USE rekindle_status rekindle_model_get_info(const rekindle_model *model, rekindle_model_info *info);

/**
 * Sets the model that makes drafts for another one, which was planned with n_draft and REKINDLE_DRAFT_MODEL. Both may
 * be on other devices and have other contexts; their vocabularies must be the same. `draft` NULL ends it; until then
 * `model` keeps it, also when its handle is destroyed. Its sequences follow those of `model`, so it should serve
 * nobody else; while it is in use, has no room or fails, `model` goes on without drafts. The text stays the same, bit
 * by bit, with any sampler, and drafts are made only while they win time. rekindle_generate makes them; rekindle_step
 * makes none.
 *
 * REKINDLE_INVALID_ARGUMENT: `model` was planned otherwise; the vocabularies differ; `draft` is `model`, has a model
 * that makes drafts for it, or leaves no logits. REKINDLE_BUSY.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_model_set_draft(rekindle_model *model,
                                         rekindle_model *draft);

/**
 * Gives the plan that a model was loaded by: the one given to rekindle_load, or the one that on_oom led to. On success
 * `*plan` is a handle of its own, which rekindle_plan_destroy ends.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_model_plan(const rekindle_model *model,
                                    rekindle_plan_t **plan);

/** Bytes on one device, with the meanings that they have in a plan (rekindle_plan_device). */
typedef struct {
  /** sizeof(rekindle_memory), set by the caller. */
  uint32_t struct_size;
  /** Zero. */
  uint32_t reserved;
  uint64_t weights;
  uint64_t mapped;
  uint64_t kv;
  uint64_t compute;
  uint64_t driver;
} rekindle_memory;

/**
 * Tells the bytes that a model asked device `device` of its context for. They are the plan's bytes, no more and no
 * less.
 *
 * REKINDLE_INVALID_ARGUMENT: there is no such device.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_model_memory(const rekindle_model *model,
                                      uint32_t device,
                                      rekindle_memory *memory);

/** Counters since the load or the last reset. Times in microseconds. */
typedef struct {
  /** sizeof(rekindle_perf), set by the caller. */
  uint32_t struct_size;
  /** Zero. */
  uint32_t reserved;
  /**
   * Tokens that came in batches of more than one token, and those that came singly. Of steps the latter are those
   * that generations have said, several at once where grammars force them.
   */
  uint64_t n_prompt_tokens;
  uint64_t n_decode_tokens;
  /** The time until rekindle_load returned. */
  uint64_t load_us;
  uint64_t prompt_us;
  uint64_t decode_us;
  uint64_t sample_us;
  /**
   * Tokens that were guessed, and those of them that were right. The latter count as tokens that
   * came singly, too.
   */
  uint64_t n_drafted;
  uint64_t n_draft_agreed;
  /** Tokens of generations that were decoded without a guess, because guesses had lost more time than they won. */
  uint64_t n_draft_off;
} rekindle_perf;

/** Gives a model's counters. */
REKINDLE_MUST_USE rekindle_status rekindle_model_get_perf(const rekindle_model *model, rekindle_perf *perf);

/** Sets a model's counters to zero, except for the time of its load. */
rekindle_status rekindle_model_reset_perf(rekindle_model *model);

/**
 * Makes the rekindle_decode or rekindle_generate that runs on this model at this moment end soon with
 * REKINDLE_CANCELLED. If none runs, it does nothing. It may be called from any thread, also from a callback.
 */
rekindle_status rekindle_cancel(const rekindle_model *model);

/* ------------------------------------------------------------
 * Decoding: tokens in, logits out.
 * ------------------------------------------------------------ */

/** Tokens to decode. The arrays belong to the caller and are read during the call only. Each has n_tokens elements. */
typedef struct {
  /** sizeof(rekindle_batch), set by the caller. */
  uint32_t struct_size;
  /** 1 to n_batch. */
  uint32_t n_tokens;
  /** Token ids, each below the model's n_vocab. */
  const int32_t *tokens;
  /** Positions, ascending within a sequence and past its end. NULL means that each sequence goes on at its end. */
  const int32_t *positions;
  /** Sequence ids, each below n_seq_max. NULL means that all are 0. */
  const int32_t *seq_ids;
  /**
   * Non-zero where logits (or rows of tokens) are wanted. NULL means: for the last token of each sequence. It must
   * be NULL if the plan's pooling leaves rows of texts.
   */
  const uint8_t *outputs;
} rekindle_batch;

/**
 * Computes a batch: its keys and values go into the KV cache, and the logits that it asked for can be read afterwards.
 * If it fails, the cache is as it was, but the logits of the batch before may be gone (rekindle_n_outputs is 0 then).
 *
 * REKINDLE_INVALID_ARGUMENT: a token, position, sequence id or number of outputs out of range; the message names the
 * field and index. REKINDLE_CONTEXT_FULL: too few free cells. REKINDLE_CANCELLED: by rekindle_cancel. REKINDLE_BUSY.
 * REKINDLE_OUT_OF_MEMORY: there is no room for small buffers. REKINDLE_DEVICE: a device failed; if it does not survive
 * that, every later call says so again, and the model can only be destroyed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_decode(rekindle_model *model,
                                const rekindle_batch *batch);

/** Counts the rows of logits that the last decode left. */
REKINDLE_MUST_USE rekindle_status rekindle_n_outputs(const rekindle_model *model, uint32_t *n_outputs);

/**
 * Gives row `row` of the logits, in the order of the batch: `*logits` points to `*n` floats, `n_vocab` of them. They
 * belong to the model and are valid until the next call that writes it. `n` may be NULL.
 *
 * REKINDLE_INVALID_ARGUMENT: the last decode left no such row. REKINDLE_UNSUPPORTED: the plan's pooling leaves no
 * logits.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_logits(const rekindle_model *model,
                                uint32_t row,
                                const float **logits,
                                uint32_t *n);

/**
 * Gives the hidden state behind row `row` of the logits, after the output norm: `*embeddings` points to `*n` floats,
 * `n_embd` of them. With a plan's pooling it is the row of a token or a text, in the order of the batch, with
 * `n_embd_out` floats. Otherwise it is as rekindle_logits.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_embeddings(const rekindle_model *model,
                                    uint32_t row,
                                    const float **embeddings,
                                    uint32_t *n);

/** For rekindle_pooled: divide the row by its length, the root of the sum of its squares. */
#define REKINDLE_POOLED_NORMALIZE 1

/**
 * Gives what the last decode made of the text of sequence `seq_id`: `n_embd_out` floats, copied to `buffer`. It is for
 * models whose plan pools texts (REKINDLE_POOLING_MEAN, CLS, LAST or RANK). A text is the sequence's tokens in that
 * one batch; they stand together. Many texts, each a sequence of its own, may be in one batch. `flags` is
 * REKINDLE_POOLED_NORMALIZE or 0.
 *
 * `*needed` gets the number of floats. To ask for it alone, pass NULL and 0. REKINDLE_BUFFER_TOO_SMALL: nothing was
 * written. REKINDLE_INVALID_ARGUMENT: the last decode had no text of that sequence. REKINDLE_UNSUPPORTED: the model
 * leaves logits or rows of tokens.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_pooled(const rekindle_model *model,
                                int32_t seq_id,
                                uint32_t flags,
                                float *buffer,
                                size_t capacity,
                                size_t *needed);

/* --------------------------------------------------------------
 * Sequences: the texts whose keys and values the KV cache holds.
 * -------------------------------------------------------------- */

/**
 * Forgets positions p0 to p1 - 1 of a sequence. A p0 below 0 stands for the start and a p1 below 0 for the end, here
 * and below; a seq_id below 0 stands for every sequence. Layers that see a window only (gemma, gpt-oss) keep no more
 * than that window, and recurrent layers (qwen3.5, mamba) a state only where there is a checkpoint. A sequence that is
 * cut elsewhere cannot go on there, and rekindle_decode says so. rekindle_seq_cut cuts it where it can.
 *
 * REKINDLE_UNSUPPORTED: recurrent layers would have to forget tokens before others (rekindle_model_info.can_shift
 * tells beforehand). REKINDLE_INVALID_ARGUMENT: a sequence id out of range, here and below. REKINDLE_BUSY, here and
 * below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_remove(rekindle_model *model,
                                    int32_t seq_id,
                                    int32_t p0,
                                    int32_t p1);

/**
 * Cuts the tail of a sequence: to the longest part of its first `length` positions from whose end it can go on.
 * `*reached` gets the length of that part, and the caller decodes the rest again from there.
 *
 * Layers that see all tokens can go on anywhere, so mostly `*reached` is `length`, or the sequence's own length if
 * that is less. Layers with a window can go on where the window still holds what the next token sees. Recurrent layers
 * remember a sequence as a whole, so they go on from a checkpoint. Checkpoints are taken by themselves: where a prompt
 * (a batch with more than 16 tokens of a sequence) begins, where it ends, 16 tokens before that, and every 4096 tokens
 * in between. rekindle_seq_checkpoint takes one more. When there are more than n_checkpoints of the plan, those in the
 * middle of prompts go first, then the oldest. If none is left, `*reached` is 0 and the sequence is empty.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_cut(rekindle_model *model,
                                 int32_t seq_id,
                                 uint32_t length,
                                 uint32_t *reached);

/**
 * Takes a checkpoint of a sequence at its end, to which rekindle_seq_cut can go back. It costs no copy and lasts until
 * the sequence is cut before it, or until more than n_checkpoints of the plan were taken; those of the host are given
 * up last. Models without recurrent layers need none, and nothing happens.
 *
 * REKINDLE_INVALID_ARGUMENT: the plan has no room for checkpoints, or the sequence cannot go on at its end.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_checkpoint(rekindle_model *model,
                                        int32_t seq_id);

/**
 * Leaves a sequence to generations, as one of them does at its end: they may go on from its tokens, and forget it when
 * they need the room. A sequence that the host has filled, as by rekindle_seq_load, stays the host's until then, and no
 * generation takes it. A later call that names it makes it the host's again, and empty.
 *
 * REKINDLE_INVALID_ARGUMENT also for a sequence that a generation has.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_leave(rekindle_model *model,
                                   int32_t seq_id);

/**
 * Makes sequence `dst` the same as positions p0 to p1 - 1 of `src`. Both share the cells, so this costs no memory. The
 * former contents of `dst` are forgotten. If `dst` is `src`, nothing changes. Recurrent states and checkpoints are
 * shared too.
 *
 * REKINDLE_UNSUPPORTED: recurrent layers would have to forget the positions before p0.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_copy(rekindle_model *model,
                                  int32_t src,
                                  int32_t dst,
                                  int32_t p0,
                                  int32_t p1);

/** Forgets every sequence but this one. */
REKINDLE_MUST_USE rekindle_status rekindle_seq_keep(rekindle_model *model, int32_t seq_id);

/**
 * Adds `delta` to positions p0 to p1 - 1 of a sequence and turns its cached keys to match. To drop the oldest n tokens
 * of a full context, call rekindle_seq_remove(model, s, 0, n) and then rekindle_seq_shift(model, s, n, -1, -n). Cells
 * that other sequences share are copied first.
 *
 * REKINDLE_UNSUPPORTED: recurrent layers cannot (rekindle_model_info.can_shift tells beforehand).
 * REKINDLE_INVALID_ARGUMENT: a position would be negative or meet another. REKINDLE_CONTEXT_FULL: no free cells for
 * the copies. REKINDLE_OUT_OF_MEMORY: there is no room for small buffers. REKINDLE_DEVICE: a device failed; the KV
 * cache is lost, and the model can only be destroyed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_shift(rekindle_model *model,
                                   int32_t seq_id,
                                   int32_t p0,
                                   int32_t p1,
                                   int32_t delta);

/** Gives the last position of a sequence plus one, or 0 if it is empty. */
REKINDLE_MUST_USE rekindle_status rekindle_seq_length(const rekindle_model *model, int32_t seq_id, uint32_t *length);

/** Counts the tokens that the KV cache still has room for, of all sequences together. */
REKINDLE_MUST_USE rekindle_status rekindle_n_free(const rekindle_model *model, uint32_t *n_free);

/* ------------------------------------------------------------
 * Adapters: LoRAs and control vectors beside a model.
 * ------------------------------------------------------------ */

/**
 * Puts adapters beside a model's file: GGUF files of LoRAs (general.type "adapter", adapter.type "lora") and of
 * control vectors (general.architecture "controlvector"). `paths` has `n_paths` paths with the lengths
 * `path_lens`. On success `*adapted` is another handle, which rekindle_file_close ends; `file` stays as it is. Plans
 * of it count the adapters' bytes, and a model that is loaded by such a plan can compute with them. They are numbered
 * from 0 in this order, behind those that `file` has already.
 *
 * Nothing changes until a scale is set, for a sequence (rekindle_seq_set_adapters) or a generation (adapter_scales).
 * With a scale s, a LoRA adds s alpha / rank B (A x) to W x for each matrix W that it has A and B for, and a control
 * vector adds s times its direction to a layer's result. Norms in a LoRA's file are left out, with a warning in the
 * log. What rekindle_file_get_info and rekindle_model_get_info count is the model without its adapters.
 *
 * REKINDLE_IO: a file cannot be opened. REKINDLE_BAD_FILE: it is not well-formed, or a tensor does not fit the model
 * or holds what is no finite number. REKINDLE_UNSUPPORTED: it is no adapter, or one of another architecture.
 * REKINDLE_INVALID_ARGUMENT: more than 32 adapters.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_adapt(const rekindle_context *context,
                                    const rekindle_file *file,
                                    const char *const *paths,
                                    const size_t *path_lens,
                                    size_t n_paths,
                                    rekindle_file **adapted);

/** The kinds of adapter. */
#define REKINDLE_ADAPTER_LORA 1
#define REKINDLE_ADAPTER_CONTROL_VECTOR 2

/** The description of an adapter beside a file. */
typedef struct {
  /** sizeof(rekindle_adapter_info), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_ADAPTER_… */
  int32_t kind;
  /** Bytes of its tensors. */
  uint64_t n_bytes;
  uint32_t n_tensors;
  /** A LoRA's alpha; 0: what it adds is not divided by the rank. */
  float alpha;
  /** general.name; empty if the file has none. */
  char name[128];
} rekindle_adapter_info;

/**
 * Tells what adapter `index` of a file is.
 *
 * REKINDLE_NOT_FOUND: the file has no such adapter; so counting up to it finds all.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_file_get_adapter(const rekindle_file *file,
                                          uint32_t index,
                                          rekindle_adapter_info *info);

/**
 * Sets the scales of the model's adapters for the tokens of a sequence: `n_scales` numbers in the adapters' order;
 * those that are not given are 0, which every sequence begins with. Sequences of one batch may have different ones.
 * The sequence must be empty, since cached tokens were computed with the scales that held then; a copy
 * (rekindle_seq_copy) and a saved sequence have the same ones. They hold until they are set again; a generation that
 * gets the sequence sets its own.
 *
 * REKINDLE_INVALID_ARGUMENT: a sequence id out of range, of a generation or with tokens; more scales than adapters; a
 * scale that is no finite number. REKINDLE_BUSY.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_set_adapters(rekindle_model *model,
                                          int32_t seq_id,
                                          const float *scales,
                                          size_t n_scales);

/* -------------------------------------------------------------------------------------------------
 * Saved sequences: what a model remembers of a text, as bytes, for another time or another process.
 * ------------------------------------------------------------------------------------------------- */

/**
 * Saves a sequence to a buffer of `capacity` bytes; `*needed` gets their number. To ask for that alone, pass NULL and
 * 0.
 *
 * The bytes do not depend on devices: a sequence that was saved on a CPU loads on dies, on another split of the
 * layers, and with another n_ctx. They hold the model's fingerprint and the cache's types, which must be the same, and
 * a checksum. Checkpoints are not saved. rekindle_cancel ends a long call, with REKINDLE_CANCELLED.
 *
 * REKINDLE_BUFFER_TOO_SMALL; nothing is written. REKINDLE_INVALID_ARGUMENT: a sequence id out of range, or a sequence
 * that was cut where it cannot go on (see rekindle_seq_cut). REKINDLE_BUSY, REKINDLE_DEVICE and
 * REKINDLE_OUT_OF_MEMORY, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_save(rekindle_model *model,
                                  int32_t seq_id,
                                  uint8_t *buffer,
                                  size_t capacity,
                                  size_t *needed);

/**
 * Loads a sequence that was saved, from `n_bytes` bytes, in place of what `seq_id` has. An error leaves the sequence
 * as it was. It is the host's: rekindle_seq_leave lets generations go on from it.
 *
 * REKINDLE_BAD_FILE: the bytes are damaged, or none of a saved sequence. REKINDLE_UNSUPPORTED: they are of another
 * version of the library, another model, or another type of cache; the message says which. REKINDLE_CONTEXT_FULL:
 * there are too few free cells; the sequence's own do not count, so remove it before if nothing else is free.
 * REKINDLE_INVALID_ARGUMENT: a sequence id out of range, or of a sequence that a generation has. REKINDLE_CANCELLED.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_load(rekindle_model *model,
                                  int32_t seq_id,
                                  const uint8_t *bytes,
                                  size_t n_bytes);

/**
 * Saves a sequence to a file. An error, also a full disk, leaves what was there under that name: the bytes go to
 * `path`.part first. `progress` (may be NULL) gets the share done, 0 to 1; anything but 0 cancels.
 *
 * REKINDLE_IO, naming the file; REKINDLE_CANCELLED.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_save_file(rekindle_model *model,
                                       int32_t seq_id,
                                       const char *path,
                                       size_t path_len,
                                       rekindle_progress_fn progress,
                                       void *user_data);

/**
 * Loads a sequence from a file, as rekindle_seq_load does. `progress` as above.
 *
 * REKINDLE_IO or REKINDLE_NOT_FOUND, naming the file.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_seq_load_file(rekindle_model *model,
                                       int32_t seq_id,
                                       const char *path,
                                       size_t path_len,
                                       rekindle_progress_fn progress,
                                       void *user_data);

/* --------------------------------------------------------------------------------------
 * Vocabularies: text becomes tokens and tokens become text, all at once or as they come.
 * -------------------------------------------------------------------------------------- */

/** A vocabulary with its tokeniser. It never changes, and all its functions may run at the same time. */
typedef struct rekindle_vocab rekindle_vocab;

/**
 * Reads the vocabulary of a file; no model needs to be loaded. On success `*vocab` is a handle that
 * rekindle_vocab_destroy ends.
 *
 * REKINDLE_UNSUPPORTED: the tokeniser's kind is not known. REKINDLE_BAD_FILE.
 */
REKINDLE_MUST_USE rekindle_status rekindle_vocab_create(const rekindle_file *file, rekindle_vocab **vocab);

/** Gives the vocabulary of a model, as rekindle_vocab_create does. It outlives the model. */
REKINDLE_MUST_USE rekindle_status rekindle_model_vocab(const rekindle_model *model, rekindle_vocab **vocab);

/** Destroys a vocabulary's handle. NULL is allowed. */
rekindle_status rekindle_vocab_destroy(rekindle_vocab *vocab);

/** A vocabulary. Ids are -1 where there is no such token. */
typedef struct {
  /** sizeof(rekindle_vocab_info), set by the caller. */
  uint32_t struct_size;
  uint32_t n_tokens;
  /**
   * The tokens that begin a text, end one, end a turn of a chat and end a message; those for unknown text,
   * separation and padding.
   */
  int32_t bos;
  int32_t eos;
  int32_t eot;
  int32_t eom;
  int32_t unk;
  int32_t sep;
  int32_t pad;
  /** Non-zero: tokenising adds BOS, EOS, and a space before the text. */
  uint32_t add_bos;
  uint32_t add_eos;
  uint32_t add_space_prefix;
  /** tokenizer.ggml.model and tokenizer.ggml.pre */
  char model[32];
  char pre[64];
  /**
   * To fill in the middle of a text: the tokens before the part that precedes it, before the part that follows, and
   * before the middle; padding; those before a repository's and a file's name.
   */
  int32_t fim_prefix;
  int32_t fim_suffix;
  int32_t fim_middle;
  int32_t fim_pad;
  int32_t fim_repository;
  int32_t fim_separator;
} rekindle_vocab_info;

/** Tells what a vocabulary has. */
REKINDLE_MUST_USE rekindle_status rekindle_vocab_get_info(const rekindle_vocab *vocab, rekindle_vocab_info *info);

/** The uses of tokens, by GGUF's numbers. */
#define REKINDLE_TOKEN_UNDEFINED 0
#define REKINDLE_TOKEN_NORMAL 1
#define REKINDLE_TOKEN_UNKNOWN 2
#define REKINDLE_TOKEN_CONTROL 3
#define REKINDLE_TOKEN_USER_DEFINED 4
#define REKINDLE_TOKEN_UNUSED 5
#define REKINDLE_TOKEN_BYTE 6

/** A token. */
typedef struct {
  /** sizeof(rekindle_token_info), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_TOKEN_… */
  int32_t token_type;
  /** 0 if the file has no scores. */
  float score;
  /** Non-zero: it ends a generation. */
  uint32_t is_eog;
} rekindle_token_info;

/**
 * Tells what token `token` is.
 *
 * REKINDLE_INVALID_ARGUMENT: there is no such token, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_vocab_get_token(const rekindle_vocab *vocab,
                                         int32_t token,
                                         rekindle_token_info *info);

/** To tokenise: add BOS and EOS if the file wants them. To detokenise: leave them away again. */
#define REKINDLE_TEXT_SPECIAL 1
/**
 * To tokenise: read the texts of control tokens as these tokens; never use this for text from strangers. To
 * detokenise, and for pieces: show control tokens as their text.
 */
#define REKINDLE_TEXT_PARSE_SPECIAL 2

/**
 * Writes the tokens of a text (UTF-8, text_len bytes). `flags` are REKINDLE_TEXT_… added up. `*needed` gets the number
 * of tokens, also if the buffer is too small; a NULL buffer with capacity 0 only asks.
 *
 * REKINDLE_INVALID_ARGUMENT: the text is no UTF-8, or longer than 1 GiB. REKINDLE_OUT_OF_MEMORY: some 100 bytes are
 * needed for each byte of the text. REKINDLE_BUFFER_TOO_SMALL.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_tokenize(const rekindle_vocab *vocab,
                                  const char *text,
                                  size_t text_len,
                                  uint32_t flags,
                                  int32_t *tokens,
                                  size_t capacity,
                                  size_t *needed);

/**
 * Writes the text of `n` tokens. `flags` are REKINDLE_TEXT_… added up. Text: buffer, capacity, needed. The bytes of
 * byte tokens come as they are, so the text may be no UTF-8 and may hold NULs.
 *
 * REKINDLE_INVALID_ARGUMENT: there is no such token, or their texts have more than 1 GiB together.
 * REKINDLE_OUT_OF_MEMORY: a file's tokens may be of any length.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_detokenize(const rekindle_vocab *vocab,
                                    const int32_t *tokens,
                                    size_t n,
                                    uint32_t flags,
                                    char *buffer,
                                    size_t capacity,
                                    size_t *needed);

/**
 * Writes the bytes that one token adds to a text. They may end inside a character (those of a rekindle_stream do not).
 * Otherwise it is as rekindle_detokenize.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_token_piece(const rekindle_vocab *vocab,
                                     int32_t token,
                                     uint32_t flags,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/** Makes text from tokens as they come. */
typedef struct rekindle_stream rekindle_stream;

/**
 * Creates a stream for a vocabulary's tokens. With REKINDLE_TEXT_PARSE_SPECIAL in `flags` it shows control tokens as
 * their text. On success `*stream` is a handle that rekindle_stream_destroy ends; it does not need the vocabulary's
 * handle any more.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_stream_create(const rekindle_vocab *vocab,
                                       uint32_t flags,
                                       rekindle_stream **stream);

/** Destroys a stream. NULL is allowed. */
rekindle_status rekindle_stream_destroy(rekindle_stream *stream);

/**
 * Adds a token and writes the characters that are complete by now, often none. It never cuts a character. Text:
 * buffer, capacity, needed. If the buffer is too small, or only the size is asked for, the token is not taken: call
 * again.
 *
 * REKINDLE_BUSY: another call is using the stream, here and below.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_stream_push(rekindle_stream *stream,
                                     int32_t token,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/**
 * Writes the rest (U+FFFD for a character that never came to its end) and makes the stream empty. Text: buffer,
 * capacity, needed, as rekindle_stream_push.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_stream_flush(rekindle_stream *stream,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *needed);

/* ------------------------------------------------------------
 * The steps of a sampler and their parameters.
 * ------------------------------------------------------------ */

/** A number that is added to a token's logit; -INFINITY forbids the token. */
typedef struct {
  int32_t token;
  float bias;
} rekindle_logit_bias;

/** A text of `len` bytes of UTF-8. */
typedef struct {
  const char *text;
  size_t len;
} rekindle_text;

/** A token that may still be drawn, for a step of the host's own. */
typedef struct {
  int32_t token;
  float logit;
  /** The softmax of the candidates' logits. What the step writes here means nothing. */
  float p;
} rekindle_candidate;

/**
 * A step of the host's own. It gets `*n` candidates, each token once, in no certain order. It may change logits
 * (-INFINITY forbids a token), bring the candidates into another order, and set `*n` lower, which cuts off those
 * behind. It returns 0; anything else ends the sampling with REKINDLE_CANCELLED. It runs in the thread that samples,
 * and `candidates` is valid during the call. While it runs the sampler is busy.
 *
 * The sampling ends with REKINDLE_INVALID_ARGUMENT if what it leaves is not among what it was given, has a token
 * twice, has a logit that is no number, or forbids all tokens.
 */
typedef int32_t (*rekindle_candidates_fn)(void *user_data, rekindle_candidate *candidates, size_t *n);

/** The steps of a sampler, for rekindle_sampler_params.steps. */
#define REKINDLE_STEP_PENALTIES 1
#define REKINDLE_STEP_DRY 2
#define REKINDLE_STEP_TOP_N_SIGMA 3
#define REKINDLE_STEP_TOP_K 4
#define REKINDLE_STEP_TYPICAL 5
#define REKINDLE_STEP_TOP_P 6
#define REKINDLE_STEP_MIN_P 7
#define REKINDLE_STEP_XTC 8
#define REKINDLE_STEP_TEMPERATURE 9
/**
 * For text that goes between two others, behind top-k or top-p: ends the text where its end is likely, and joins
 * tokens of which one begins with the other. It needs vocab.
 */
#define REKINDLE_STEP_INFILL 10
/** The host's own step. */
#define REKINDLE_STEP_HOST 11

/**
 * For rekindle_sampler_create. Zero in a field: off, or the default that is named. The order: suppressed tokens and
 * logit_bias, the steps, the draw. The steps are by default penalties, DRY, top_n_sigma, top_k, typical_p, top_p,
 * min_p, XTC, temperature. So temperature does not change what is cut off.
 */
typedef struct {
  /** sizeof(rekindle_sampler_params), set by the caller. */
  uint32_t struct_size;
  /** 0 means greedy: always the most likely token of those that the other steps leave. */
  float temperature;
  /** Leaves only the top_k most likely tokens. */
  uint32_t top_k;
  /** Leaves only the most likely tokens that together have this probability, 0 to 1. */
  float top_p;
  /** Leaves only tokens with at least this share of the most likely one's probability, 0 to 1. */
  float min_p;
  /** Divides the positive logits of recent tokens and multiplies the negative ones; 0 or 1: off. */
  float repeat_penalty;
  /** Taken off a recent token's logit: the first for each time that it occurs, the second once. */
  float frequency_penalty;
  float presence_penalty;
  /** The number of accepted tokens that are recent; 0 means 64. */
  uint32_t penalty_last_n;
  /** Elements of logit_bias. */
  uint32_t n_logit_bias;
  /** The same seed gives the same draws. */
  uint64_t seed;
  /** Copied during the call. It may be NULL if n_logit_bias is 0. */
  const rekindle_logit_bias *logit_bias;
  /**
   * DRY ("don't repeat yourself"): a token that would make a repetition of n tokens longer loses
   * dry_multiplier * dry_base^(n - dry_allowed_length) of its logit. 0: off.
   */
  float dry_multiplier;
  /** At least 1; 0 means 1.75. */
  float dry_base;
  /** Shorter repetitions are free; 0 means 2. */
  uint32_t dry_allowed_length;
  /** The number of accepted tokens in which repetitions are looked for; 0 means 64. */
  uint32_t dry_last_n;
  /**
   * Texts of 1 to 40 bytes that end a repetition; n_dry_breakers of them, copied during the call. They need vocab.
   * If vocab is given and neither texts nor tokens are, they are a line's end, a colon, a quotation mark and an
   * asterisk.
   */
  const rekindle_text *dry_breakers;
  /**
   * The same as token ids: one sequence after the other, each with -1 behind it; n_dry_breaker_tokens in all, copied
   * during the call.
   */
  const int32_t *dry_breaker_tokens;
  uint32_t n_dry_breakers;
  uint32_t n_dry_breaker_tokens;
  /**
   * For DRY's texts and the infill step; the tokens that its file suppresses are never drawn. The sampler does not
   * need the handle after the call. NULL: none. Sampling from a model's rows suppresses the tokens of its file all
   * the same.
   */
  const rekindle_vocab *vocab;
  /** Leaves only the tokens closest to the expected surprise that together have this probability; 0 or 1: all. */
  float typical_p;
  /** Leaves only tokens whose logit is within so many standard deviations of the highest one. */
  float top_n_sigma;
  /**
   * XTC ("exclude top choices"): how often, 0 to 1, all tokens of at least xtc_threshold's probability but the least
   * likely of them are taken out. xtc_threshold 0 means 0.1; above 0.5 it is off.
   */
  float xtc_probability;
  float xtc_threshold;
  /** The temperature is at most so much lower where the model is sure and higher where it is not. */
  float dynatemp_range;
  /** The entropy, as a share of the greatest one, is raised to this; 0 means 1. */
  float dynatemp_exponent;
  /**
   * 1 or 2: mirostat of that version, which takes the place of the cuts: with n_steps 0 only penalties, DRY and
   * temperature go before it.
   */
  uint32_t mirostat;
  /** The surprise in bits that mirostat aims at; 0 means 5. */
  float mirostat_tau;
  /** The rate at which mirostat learns; 0 means 0.1. */
  float mirostat_eta;
  /** Adaptive-p draws tokens near this probability, 0 to 1, in the mean of those drawn before; not with mirostat. */
  float adaptive_target;
  /** The share of what adaptive-p remembers that is left after each token, at most 0.99; 0 means 0.9. */
  float adaptive_decay;
  /** typical_p, top_p, min_p and XTC leave at least so many tokens; 0 means 1. */
  uint32_t min_keep;
  /**
   * REKINDLE_STEP_… in the order in which they go, at most 64; those that are missing do not go. Copied during the
   * call; NULL with n_steps 0: the default order.
   */
  const int32_t *steps;
  uint32_t n_steps;
  /**
   * The number of most likely tokens, at most 1000, for which rekindle_sampler_logprobs has log-probabilities beside
   * those of the chosen token; 0: it has none.
   */
  uint32_t n_logprobs;
  /**
   * Goes where steps has REKINDLE_STEP_HOST, with host_data; NULL: there is no such step. Copies of the sampler
   * share it.
   */
  rekindle_candidates_fn host_step;
  void *host_data;
} rekindle_sampler_params;

/* ------------------------------------------------------------
 * Samplers: a token chosen from a row of logits.
 * ------------------------------------------------------------ */

/** Chooses tokens. A sampler belongs to one conversation; a second call at the same time gets REKINDLE_BUSY. */
typedef struct rekindle_sampler rekindle_sampler;

/**
 * Creates a sampler; `params` may be NULL for a greedy one. On success `*sampler` is a handle that
 * rekindle_sampler_destroy ends.
 *
 * REKINDLE_INVALID_ARGUMENT: a parameter out of range, or one that lacks another; the message names it.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_sampler_create(const rekindle_sampler_params *params,
                                        rekindle_sampler **sampler);

/** Destroys a sampler. NULL is allowed. */
rekindle_status rekindle_sampler_destroy(rekindle_sampler *sampler);

/**
 * Chooses a token from row `row` of a model's logits, without accepting it.
 *
 * REKINDLE_INVALID_ARGUMENT: there is no such row, or no logit is a number.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_sampler_sample(rekindle_sampler *sampler,
                                        const rekindle_model *model,
                                        uint32_t row,
                                        int32_t *token);

/**
 * Chooses a token from `n` logits of the caller's, without accepting it.
 *
 * REKINDLE_INVALID_ARGUMENT: no logit is a number.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_sampler_sample_logits(rekindle_sampler *sampler,
                                               const float *logits,
                                               size_t n,
                                               int32_t *token);

/** Tells a sampler that a token was used, for its penalties. */
REKINDLE_MUST_USE rekindle_status rekindle_sampler_accept(rekindle_sampler *sampler, int32_t token);

/** Forgets the accepted tokens and starts the seed's draws over. */
REKINDLE_MUST_USE rekindle_status rekindle_sampler_reset(rekindle_sampler *sampler);

/**
 * Copies a sampler with its accepted tokens and its place in the seed's draws; from then on both go on alone. On
 * success `*copy` is a handle that rekindle_sampler_destroy ends.
 */
REKINDLE_MUST_USE rekindle_status rekindle_sampler_copy(const rekindle_sampler *sampler, rekindle_sampler **copy);

/** A token and the natural logarithm of its probability; -INFINITY if it had none. */
typedef struct {
  int32_t token;
  float logprob;
} rekindle_logprob;

/** By the model's own distribution, before biases and steps. */
#define REKINDLE_LOGPROBS_MODEL 0
/** By the distribution behind all steps, from which the token was drawn. A greedy sampler has one token there. */
#define REKINDLE_LOGPROBS_DRAWN 1

/**
 * Tells how probable the last sampled token was, by one of the REKINDLE_LOGPROBS_… distributions: `*chosen` gets the
 * token and may be NULL, `buffer` the n_logprobs most likely tokens (fewer if fewer are left), the likeliest first.
 * Array: buffer, capacity, needed; all three may be NULL or 0 if only `chosen` is wanted.
 *
 * REKINDLE_NOT_FOUND: n_logprobs of the sampler's parameters is 0, or there was no sampling since it was created or
 * reset, or the last one failed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_sampler_logprobs(const rekindle_sampler *sampler,
                                          int32_t distribution,
                                          rekindle_logprob *chosen,
                                          rekindle_logprob *buffer,
                                          size_t capacity,
                                          size_t *needed);

/* ------------------------------------------------------------
 * Grammars: which tokens a text may go on with.
 * ------------------------------------------------------------ */

/** A grammar for the tokens of a vocabulary, and how far one text has come in it. */
typedef struct rekindle_grammar rekindle_grammar;

/**
 * A JSON schema (draft 2020-12, 2019-09, 7, 6 or 4). The properties of an object come in the schema's order, whole
 * numbers have no fraction and no exponent, and between the tokens of JSON white space is allowed. Supported are
 * type, const, enum, anyOf, allOf, oneOf (of schemas that exclude each other), $ref within the schema, properties,
 * required, additionalProperties, patternProperties, minProperties and maxProperties (where all of properties are
 * required), items, prefixItems, minItems, maxItems, minLength, maxLength, pattern, format, minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum and multipleOf. A schema with another keyword that restricts values is refused.
 */
#define REKINDLE_GRAMMAR_JSON_SCHEMA 1
/**
 * A regular expression that the whole text matches, in the syntax of Rust's regex crate, without flags and assertions
 * inside it.
 */
#define REKINDLE_GRAMMAR_REGEX 2
/**
 * Lark's language for grammars, with the additions of llguidance: %json {…}, <special_token>, stop="…" and so on. It
 * begins with the rule `start`.
 */
#define REKINDLE_GRAMMAR_LARK 3
/** llama.cpp's GBNF. It begins with the rule `root`. Left recursion is allowed. */
#define REKINDLE_GRAMMAR_GBNF 4

/** The grammar describes the text from the trigger on. Without it, the text behind the trigger. */
#define REKINDLE_GRAMMAR_FROM_TRIGGER 1

/**
 * For rekindle_grammar_create. With triggers a grammar waits: it allows everything until one of them was written, and
 * from then on what it describes. A text that ends before is fine. While it waits, it refuses those tokens that bring
 * a trigger to its end and go on in a way that the grammar would refuse.
 */
typedef struct {
  /** sizeof(rekindle_grammar_params), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_GRAMMAR_FROM_TRIGGER or 0. */
  uint32_t flags;
  /**
   * The name of the rule to begin with, for REKINDLE_GRAMMAR_LARK (whose text then has no rule `start`) and
   * REKINDLE_GRAMMAR_GBNF; NULL means the one named there.
   */
  const char *start;
  size_t start_len;
  /**
   * Texts that arm the grammar, 1 to 256 bytes each; the text of control tokens counts. At most 64 of both kinds.
   * Copied during the call.
   */
  const rekindle_text *trigger_texts;
  /** Tokens that arm it. */
  const int32_t *trigger_tokens;
  uint32_t n_trigger_texts;
  uint32_t n_trigger_tokens;
} rekindle_grammar_params;

/**
 * Compiles a grammar for the tokens of a vocabulary. `kind` is REKINDLE_GRAMMAR_…; `text` is UTF-8 with text_len
 * bytes; `params` may be NULL. On success `*grammar` is a handle that rekindle_grammar_destroy ends. It does not need
 * the vocabulary's handle any more. The first grammar of a vocabulary takes longer: what it makes of the tokens
 * (some 100 bytes for each) serves all later ones.
 *
 * A text from a stranger may be compiled: it may have 1 MiB, 200 brackets in each other, 10,000 rules (or references
 * of a schema) and 2,000 properties of an object, and what compiling and masks take is counted. So compiling takes
 * seconds and some hundred MiB at worst, a mask milliseconds. Memory comes in small pieces; if one of them cannot be
 * had, the process ends, as in any program of Rust. The compiler runs on a thread of its own, which has a stack of
 * 256 MiB (of which the system gives what is used) and ends with the call.
 *
 * REKINDLE_INVALID_ARGUMENT: the text is no such grammar (the message says where), a rule of it never comes to an end
 * (as a schema that requires itself), it is too long, or a parameter is out of range. REKINDLE_UNSUPPORTED: the schema
 * has a keyword that is not supported, or the grammar is too complex. REKINDLE_OUT_OF_MEMORY.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_grammar_create(const rekindle_vocab *vocab,
                                        int32_t kind,
                                        const char *text,
                                        size_t text_len,
                                        const rekindle_grammar_params *params,
                                        rekindle_grammar **grammar);

/** Destroys a grammar. NULL is allowed. */
rekindle_status rekindle_grammar_destroy(rekindle_grammar *grammar);

/**
 * Copies a grammar as it stands: the copy shares what was compiled and goes its own way from here. It waits for a
 * call that is using the grammar. On success `*copy` is a handle that rekindle_grammar_destroy ends.
 */
REKINDLE_MUST_USE rekindle_status rekindle_grammar_copy(const rekindle_grammar *grammar, rekindle_grammar **copy);

/**
 * Goes back to the beginning: nothing was written, and triggers are waited for again.
 *
 * REKINDLE_BUSY: another call is using the grammar, here and below.
 */
REKINDLE_MUST_USE rekindle_status rekindle_grammar_reset(rekindle_grammar *grammar);

/**
 * Writes which tokens may come next, a bit for each: bit `id % 32` of word `id / 32` is 1 if the text may go on with
 * token `id`. `*needed` gets the number of words, (n_tokens + 31) / 32, also if `capacity` is too small; a NULL mask
 * with capacity 0 only asks. End tokens have a 1 only where the text is complete. All bits are 0 behind an end token,
 * and where a text is complete for a vocabulary without one.
 *
 * REKINDLE_INVALID_ARGUMENT: the text is not complete, and no token of the vocabulary can continue it.
 * REKINDLE_UNSUPPORTED: the grammar is too complex at this point (a limit was met); every call says so until
 * rekindle_grammar_reset. REKINDLE_BUFFER_TOO_SMALL.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_grammar_mask(rekindle_grammar *grammar,
                                      uint32_t *mask,
                                      size_t capacity,
                                      size_t *needed);

/**
 * Goes on by a token, which was written.
 *
 * REKINDLE_INVALID_ARGUMENT: the grammar does not allow the token here, the text has ended, or there is no such token;
 * the grammar stays as it was. REKINDLE_UNSUPPORTED: as for rekindle_grammar_mask.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_grammar_accept(rekindle_grammar *grammar,
                                        int32_t token);

/**
 * Writes the tokens that must come next because the grammar leaves one way to go on, often none. They are not
 * accepted yet; a host may accept them one after the other without a look at the mask. `*needed` gets their number,
 * also if the buffer is too small; a NULL buffer with capacity 0 only asks.
 *
 * REKINDLE_UNSUPPORTED: as for rekindle_grammar_mask. REKINDLE_BUFFER_TOO_SMALL.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_grammar_forced(rekindle_grammar *grammar,
                                        int32_t *tokens,
                                        size_t capacity,
                                        size_t *needed);

/**
 * Tells if the text may end here: `*complete` is 1 or 0. A grammar that waits for a trigger allows it.
 *
 * REKINDLE_UNSUPPORTED: as for rekindle_grammar_mask.
 */
REKINDLE_MUST_USE rekindle_status rekindle_grammar_is_complete(rekindle_grammar *grammar, uint32_t *complete);

/** The text is one of the grammar's. */
#define REKINDLE_VERDICT_COMPLETE 1
/** It is none yet, and one of the grammar's texts begins with it. */
#define REKINDLE_VERDICT_PREFIX 2
/** No text of the grammar begins so. */
#define REKINDLE_VERDICT_REFUSED 3

/** The verdict of a grammar on a text. */
typedef struct {
  /** sizeof(rekindle_grammar_verdict), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_VERDICT_… */
  uint32_t verdict;
  /** With REKINDLE_VERDICT_REFUSED the first byte that does not fit, counted from 0; else the text's length. */
  uint64_t at;
} rekindle_grammar_verdict;

/**
 * Holds a text (text_len bytes, at most 16 MiB, not necessarily UTF-8) against a grammar, from its beginning and
 * without triggers. What was accepted so far stays as it is. A token that a grammar names, rather than spells, stands
 * in no text. It waits for a call that is using the grammar.
 *
 * REKINDLE_UNSUPPORTED: as for rekindle_grammar_mask.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_grammar_check(const rekindle_grammar *grammar,
                                       const char *text,
                                       size_t text_len,
                                       rekindle_grammar_verdict *verdict);

/* ---------------------------------------------------------------
 * Generation: a prompt in, text out, token by token, in one call.
 * --------------------------------------------------------------- */

/** Add neither BOS nor EOS to the prompt's text. */
#define REKINDLE_GENERATE_NO_SPECIAL 1
/** Read special tokens in the prompt's text. Never use this for text from strangers: it could end its own turn. */
#define REKINDLE_GENERATE_PARSE_SPECIAL 2
/** Go on past tokens that end a generation. */
#define REKINDLE_GENERATE_IGNORE_EOG 4
/** Make drafts even while they lose time; for measurements. */
#define REKINDLE_GENERATE_ALL_DRAFTS 8

/** For rekindle_generate. The prompt is given by either prompt or prompt_tokens. */
typedef struct {
  /** sizeof(rekindle_generate_params), set by the caller. */
  uint32_t struct_size;
  /** The sequence that the prompt and the generated tokens are added to. */
  int32_t seq_id;
  /** UTF-8 text of prompt_len bytes. */
  const char *prompt;
  size_t prompt_len;
  /** The prompt as token ids. */
  const int32_t *prompt_tokens;
  size_t n_prompt_tokens;
  /** 0 means no limit: something else ends the generation. */
  uint32_t max_tokens;
  /** REKINDLE_GENERATE_… added up. */
  uint32_t flags;
} rekindle_generate_params;

/**
 * The reason why a generation ended: a token that ends one, max_tokens, the callback, or a full KV cache. Those that
 * are stepped also end by a stop text, by being cancelled, or by an error of their own.
 */
#define REKINDLE_STOP_EOG 1
#define REKINDLE_STOP_LIMIT 2
#define REKINDLE_STOP_CALLBACK 3
#define REKINDLE_STOP_CONTEXT_FULL 4
#define REKINDLE_STOP_TEXT 5
#define REKINDLE_STOP_CANCELLED 6
#define REKINDLE_STOP_ERROR 7

/** The outcome of a generation. */
typedef struct {
  /** sizeof(rekindle_generate_result), set by the caller. */
  uint32_t struct_size;
  /** Tokens of the prompt, and tokens given to the callback. */
  uint32_t n_prompt;
  uint32_t n_generated;
  /** REKINDLE_STOP_… */
  int32_t stop;
} rekindle_generate_result;

/**
 * Gets each token, in the calling thread, with the text that it completes: `piece_len` bytes of whole UTF-8
 * characters, often none. They are not NUL-terminated and are valid during the call. Text that is left over at the end
 * comes with token -1, unless the callback ended the generation. It returns 0 to go on and anything else to stop. It
 * may call rekindle_cancel and the functions that read the model; those that write it give REKINDLE_BUSY.
 */
typedef int32_t (*rekindle_piece_fn)(void *user_data, int32_t token, const char *piece, size_t piece_len);

/**
 * Decodes a prompt, then samples and decodes token after token until one of the REKINDLE_STOP_… reasons ends it.
 * `sampler` may be NULL for a greedy one; `on_piece` and `result` may be NULL. BOS is added only if the sequence is
 * empty. The sampler accepts the prompt's tokens and each one generated; it is not reset.
 *
 * Afterwards the sequence holds the prompt and all generated tokens except the last one, which is not decoded yet: to
 * go on, pass it as the next call's prompt_tokens. After REKINDLE_STOP_EOG it holds them all; the token that ended the
 * generation is neither given nor decoded.
 *
 * If the plan has n_draft, tokens are guessed (draft_source says by whom) and checked in batches. Neither the text nor
 * what the sequence holds afterwards changes by it. During the callback the sequence may be longer, by guesses that
 * are not checked yet, and the rows of logits are those of the batch.
 *
 * The errors are those of rekindle_decode. A prompt that finds no room is REKINDLE_CONTEXT_FULL and changes nothing.
 * If a prompt of several batches fails or is cancelled, the sequence is as it was before, or empty if layers with a
 * window have moved past that. After a later failure or cancellation the sequence holds prompt and tokens as far as
 * they were decoded (rekindle_seq_length tells how far).
 *
 * REKINDLE_INVALID_ARGUMENT: the prompt has no tokens. REKINDLE_UNSUPPORTED: the prompt is a text and the model has no
 * known tokeniser (token ids work).
 */
REKINDLE_MUST_USE
rekindle_status rekindle_generate(rekindle_model *model,
                                  rekindle_sampler *sampler,
                                  const rekindle_generate_params *params,
                                  rekindle_piece_fn on_piece,
                                  void *user_data,
                                  rekindle_generate_result *result);

/* ------------------------------------------------------------------------------------
 * Generations that are stepped: many conversations at once, whose text the host pulls.
 * ------------------------------------------------------------------------------------ */

/**
 * A text that a model writes, step by step (rekindle_step). One call at a time may use it; a second one gets
 * REKINDLE_BUSY. It keeps its model, also when the model's handle is destroyed.
 */
typedef struct rekindle_generation rekindle_generation;

/** Add neither BOS nor EOS to the prompt's text. */
#define REKINDLE_GENERATION_NO_SPECIAL 1
/** Read special tokens in the prompt's text. Never use this for text from strangers: it could end its own turn. */
#define REKINDLE_GENERATION_PARSE_SPECIAL 2
/** Go on past tokens that end a generation. */
#define REKINDLE_GENERATION_IGNORE_EOG 4
/** Keep the sequence until the generation is destroyed, also after its end. */
#define REKINDLE_GENERATION_PIN 8
/** Read the whole prompt, even if a sequence has its beginning already. */
#define REKINDLE_GENERATION_NO_REUSE 16

/** For rekindle_generation_create. The prompt is given by either prompt or prompt_tokens. All is copied. */
typedef struct {
  /** sizeof(rekindle_generation_params), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_GENERATION_… added up. */
  uint32_t flags;
  /** UTF-8 text of prompt_len bytes. */
  const char *prompt;
  size_t prompt_len;
  /** The prompt as token ids. */
  const int32_t *prompt_tokens;
  size_t n_prompt_tokens;
  /** Its settings and its state are copied; the copy gets the prompt's tokens. NULL: a greedy one. */
  const rekindle_sampler *sampler;
  /**
   * UTF-8 texts that end the generation, n_stop_texts of them with the lengths stop_text_lens. They are found across
   * tokens, and nothing of them is shown. At most 256, and 1 MiB together.
   */
  const char *const *stop_texts;
  const size_t *stop_text_lens;
  uint32_t n_stop_texts;
  /** 0 means no limit: something else ends the generation. */
  uint32_t max_tokens;
  /**
   * The texts that it may write; copied as it is now. NULL: all. It must be of the model's vocabulary. Where the
   * grammar lets nothing follow, the generation ends with REKINDLE_STOP_EOG. Tokens that it forces are taken without
   * a row of logits, up to 16 in one step; tokens and text are those of sampling. Where the sampler keeps
   * probabilities or has a step of the host's own, logits are needed, and each token takes a step.
   */
  const rekindle_grammar *grammar;
  /**
   * The scales of the model's adapters, n_adapter_scales numbers in their order; those that are not given are 0.
   * See rekindle_file_adapt.
   */
  const float *adapter_scales;
  size_t n_adapter_scales;
} rekindle_generation_params;

/**
 * Creates a generation. Nothing is computed before a step. On success `*generation` is a handle that
 * rekindle_generation_destroy ends.
 *
 * It gets a sequence at its first step, of those that are empty: from the last one down, so hosts that decode by
 * themselves use low ids. There it goes on from the longest beginning of the prompt that any sequence of the model has
 * already, be it the host's, another generation's, or one that a generation has left; so a chat that goes on, or one
 * with the same instructions as another, is not read again. Rows of caches are shared and states copied: the text is
 * that of a fresh run. (With recurrent layers, rows of a prompt that is cut elsewhere differ as those of
 * rekindle_decode do.)
 *
 * REKINDLE_INVALID_ARGUMENT: a prompt without tokens or with ids out of range, bad stop texts, more adapter_scales
 * than adapters or one that is no finite number. REKINDLE_CONTEXT_FULL: the prompt is longer than the context.
 * REKINDLE_UNSUPPORTED: the prompt is a text and the model has no known tokeniser.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_generation_create(rekindle_model *model,
                                           const rekindle_generation_params *params,
                                           rekindle_generation **generation);

/**
 * Destroys a generation, at any time. Its sequence is left to other generations: they may go on from its tokens, until
 * the room is needed. NULL is allowed.
 */
rekindle_status rekindle_generation_destroy(rekindle_generation *generation);

/**
 * Ends a generation with REKINDLE_STOP_CANCELLED at the next step that names it. Others are not touched. It may be
 * called from any thread, also during a step.
 */
REKINDLE_MUST_USE rekindle_status rekindle_generation_cancel(const rekindle_generation *generation);

/** The kinds of events: nothing has come, a token has, or the end. */
#define REKINDLE_EVENT_NONE 0
#define REKINDLE_EVENT_TOKEN 1
#define REKINDLE_EVENT_END 2

/** One thing that a generation has to tell. */
typedef struct {
  /** sizeof(rekindle_event), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_EVENT_… */
  int32_t kind;
  /** The token; -1 at the end. */
  int32_t token;
  /** REKINDLE_STOP_… at the end, else 0. */
  int32_t stop;
  /**
   * UTF-8 text of text_len bytes that can be shown by now, not NUL-terminated: whole characters, often none. Text
   * that may be the beginning of a stop text waits; the end brings it if it was none. It is valid until the next
   * rekindle_generation_next or rekindle_generation_destroy of this generation.
   */
  const char *text;
  size_t text_len;
} rekindle_event;

/**
 * Takes what a generation has to tell: event by event, in order. If there is nothing now, `event->kind` is
 * REKINDLE_EVENT_NONE; after REKINDLE_EVENT_END nothing follows.
 *
 * An error of this generation alone is the status of the call that brings REKINDLE_EVENT_END with
 * REKINDLE_STOP_ERROR; the event is filled all the same.
 */
REKINDLE_MUST_USE rekindle_status rekindle_generation_next(rekindle_generation *generation, rekindle_event *event);

/**
 * Tells how probable the last token was that rekindle_generation_next has given, as rekindle_sampler_logprobs does.
 *
 * REKINDLE_NOT_FOUND: n_logprobs of its sampler is 0, or there was no token yet.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_generation_logprobs(const rekindle_generation *generation,
                                             int32_t distribution,
                                             rekindle_logprob *chosen,
                                             rekindle_logprob *buffer,
                                             size_t capacity,
                                             size_t *needed);

/** The phases of a generation: it waits for a sequence, reads its prompt, talks, or has ended. */
#define REKINDLE_PHASE_WAITS 1
#define REKINDLE_PHASE_READS 2
#define REKINDLE_PHASE_TALKS 3
#define REKINDLE_PHASE_ENDED 4

/** Facts about a generation. */
typedef struct {
  /** sizeof(rekindle_generation_info), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_PHASE_… */
  int32_t phase;
  /** Tokens of the prompt; those of them that a sequence had already; and those that have been read, with these. */
  uint32_t n_prompt;
  uint32_t n_reused;
  uint32_t n_read;
  uint32_t n_generated;
  /** The sequence that it has; -1 if none. */
  int32_t seq_id;
  /** REKINDLE_STOP_… after the end, else 0. */
  int32_t stop;
  /** Of the tokens generated those that were taken without a row of logits, because the grammar left no choice. */
  uint32_t n_forced;
} rekindle_generation_info;

/** Tells about a generation. REKINDLE_BUSY during a step that it takes part in. */
REKINDLE_MUST_USE
rekindle_status rekindle_generation_get_info(const rekindle_generation *generation,
                                             rekindle_generation_info *info);

/** The result of a step. */
typedef struct {
  /** sizeof(rekindle_step_result), set by the caller. */
  uint32_t struct_size;
  /** Tokens that were computed. 0: nobody had work, or some have given up their cells for others. */
  uint32_t n_tokens;
  /** Generations that are not at their end, and those of them that wait for a sequence. */
  uint32_t n_going;
  uint32_t n_waiting;
} rekindle_step_result;

/**
 * Computes one micro-batch for some generations of a model: a token of each that talks, with those that its grammar
 * forces behind it, and with the room that is left (n_ubatch tokens in all, at least half of it) pieces of the prompts
 * of those that read. Half of that room is the oldest reader's; the others share the rest, the least left to read
 * first. So a long prompt never keeps who talks waiting for more than this step, nor who has a short prompt. At most
 * n_outputs_max of them get a token; then it is the others' turn. A step is a call of the host's thread, which ends
 * with the micro-batch. Generations may join and leave at any step, and those that are not named stand still. Take
 * what came with rekindle_generation_next. `result` may be NULL.
 *
 * While others are at work, a generation waits until there are cells for its whole prompt. If cells become few,
 * sequences that were left go first, then those that read give theirs back and read again later; then who talks ends
 * with REKINDLE_STOP_CONTEXT_FULL. A token's bits do not depend on who else is in a step.
 *
 * After an error no generation has changed, and the step can be taken again. REKINDLE_INVALID_ARGUMENT: a generation
 * of another model, or one that is named twice. REKINDLE_BUSY; REKINDLE_CANCELLED (by rekindle_cancel); those of
 * rekindle_decode.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_step(rekindle_model *model,
                              rekindle_generation *const *generations,
                              size_t n_generations,
                              rekindle_step_result *result);

/* ---------------------------------------------------------------------
 * Chat templates: a prompt is made from the messages of a conversation.
 * --------------------------------------------------------------------- */

/**
 * One message of a conversation. Texts are UTF-8 with a length; NULL means absent. The struct never grows: `fields`
 * takes whatever else a message may have.
 */
typedef struct {
  /** system, user, assistant, tool, or another role that the template knows. */
  const char *role;
  size_t role_len;
  /** NULL where there is none, as with an assistant that only calls tools. */
  const char *content;
  size_t content_len;
  const char *name;
  size_t name_len;
  /** The model's thoughts before its answer; templates see them as reasoning_content and as thinking. */
  const char *reasoning;
  size_t reasoning_len;
  /** The call that a tool's message answers. */
  const char *tool_call_id;
  size_t tool_call_id_len;
  /**
   * A JSON array of the calls that the assistant made, each {"id", "type": "function", "function": {"name",
   * "arguments"}}. Most templates want the arguments as an object, some want them as a text.
   */
  const char *tool_calls;
  size_t tool_calls_len;
  /**
   * A JSON object with further fields of the message, which win over those above: {"content": […]} for content in
   * parts, say.
   */
  const char *fields;
  size_t fields_len;
} rekindle_chat_message;

/** End the prompt with the beginning of the assistant's next message. */
#define REKINDLE_CHAT_GENERATION_PROMPT 1

/** For rekindle_chat_render. Texts are UTF-8 with a length; NULL means absent. */
typedef struct {
  /** sizeof(rekindle_chat_params), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_CHAT_… added up. */
  uint32_t flags;
  /** A JSON array of the tools that the model may call. */
  const char *tools;
  size_t tools_len;
  /**
   * A JSON object with further variables of the template, {"enable_thinking": false} for example. They win over
   * bos_token and the like.
   */
  const char *variables;
  size_t variables_len;
  /**
   * The name of one of the file's templates. NULL means tool_use if there are tools and the file has that one, else
   * default.
   */
  const char *template_name;
  size_t template_name_len;
  /** A Jinja template instead of the file's. */
  const char *template_text;
  size_t template_text_len;
  /**
   * The time for templates that write the date, in seconds since 1970 UTC; for a local time add the offset. 0 means
   * now, in UTC.
   */
  int64_t now;
} rekindle_chat_params;

/**
 * Writes the prompt for a conversation of `n_messages` messages. The file's chat template makes it, and it is the
 * prompt that the transformers library renders. `params` may be NULL, which means the default template without the
 * beginning of an answer. Text: buffer, capacity, needed.
 *
 * The prompt holds the texts of special tokens, BOS as well if the template writes it. So tokenise it with
 * REKINDLE_TEXT_PARSE_SPECIAL and without REKINDLE_TEXT_SPECIAL. Therefore a message with the text of a control token
 * can end its own turn: a host that lets strangers write should refuse such messages. The answer ends with a token
 * that rekindle_token_info calls is_eog.
 *
 * A template is code from the file. Its steps (a million, 20000 for each message and 8 for each byte of the
 * conversation, at most 32 million), its memory (12 MiB and four bytes for each byte of the conversation, looked at
 * before each value is made), its depth and its output (16 MiB) are limited.
 *
 * REKINDLE_NOT_FOUND: the file has no template, or none of that name. REKINDLE_INVALID_ARGUMENT: the template refuses
 * the messages (the error's text has its words), a parameter is no JSON, or template_text is bad. REKINDLE_BAD_FILE:
 * the file's template is bad or goes past a limit. REKINDLE_UNSUPPORTED: it uses a filter, test, function or method
 * that is not known. The error's text names the key and the line.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_chat_render(const rekindle_vocab *vocab,
                                     const rekindle_chat_message *messages,
                                     size_t n_messages,
                                     const rekindle_chat_params *params,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *needed);

/**
 * Writes the text of a file's chat template. `name` NULL or "default" means the one without a name. Text: buffer,
 * capacity, needed.
 *
 * REKINDLE_NOT_FOUND: the file has no template, or none of that name. REKINDLE_BAD_FILE: it is no UTF-8.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_chat_template(const rekindle_vocab *vocab,
                                       const char *name,
                                       size_t name_len,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *needed);

/**
 * Writes the name of the file's chat template `index`, counted from 0. If there is a default one, it is the first.
 * Text: buffer, capacity, needed.
 *
 * REKINDLE_NOT_FOUND: there are not that many.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_chat_template_name(const rekindle_vocab *vocab,
                                            uint32_t index,
                                            char *buffer,
                                            size_t capacity,
                                            size_t *needed);

/* ------------------------------------------------------------
 * Replies read back: reasoning, content and calls of tools.
 * ------------------------------------------------------------ */

/**
 * A reply that is being read. One call at a time may use it; a second one gets REKINDLE_BUSY. It does not need the
 * vocabulary's handle any more.
 */
typedef struct rekindle_reply rekindle_reply;

/**
 * For rekindle_reply_create. Give what the prompt was rendered with (rekindle_chat_params). Texts are UTF-8 with a
 * length; NULL means absent. All is copied.
 */
typedef struct {
  /** sizeof(rekindle_reply_params), set by the caller. */
  uint32_t struct_size;
  /** 0; none are known. */
  uint32_t flags;
  /**
   * A JSON array of the tools that the model may call, each {"type": "function", "function": {"name",
   * "parameters"}}. Without tools nothing is a call.
   */
  const char *tools;
  size_t tools_len;
  /** As for rekindle_chat_render. */
  const char *variables;
  size_t variables_len;
  const char *template_name;
  size_t template_name_len;
  const char *template_text;
  size_t template_text_len;
  /**
   * auto, none, required, or {"type": "function", "function": {"name": …}}. NULL is auto. With none, nothing is a
   * call.
   */
  const char *tool_choice;
  size_t tool_choice_len;
  /**
   * The prompt. Its end tells if the reply begins within reasoning. NULL: the end of a prompt that the template
   * makes of one message.
   */
  const char *prompt;
  size_t prompt_len;
  /** Makes the ids of calls that the model gives none; the same number gives the same ids. 0: others each time. */
  uint64_t seed;
} rekindle_reply_params;

/**
 * Creates a reader for one reply of a model. `params` may be NULL. On success `*reply` is a handle that
 * rekindle_reply_destroy ends.
 *
 * The chat template tells how the model writes: it is rendered with a message that calls a tool, and with one that
 * has reasoning, and what it writes is compared with the known formats. A template that fails tells nothing. If no
 * format is found, or the file has no template, all is content.
 *
 * REKINDLE_INVALID_ARGUMENT: tools is no JSON array of tools with names, tool_choice is none of the above, or it asks
 * for a tool that is not there.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_reply_create(const rekindle_vocab *vocab,
                                      const rekindle_reply_params *params,
                                      rekindle_reply **reply);

/** Destroys a reply. NULL is allowed. */
rekindle_status rekindle_reply_destroy(rekindle_reply *reply);

/** One call at most, for rekindle_reply_grammar. */
#define REKINDLE_REPLY_ONE_CALL 1

/**
 * Makes the grammar that holds the model to calls of tools as it writes them and as this reader reads them: the
 * markers of its format, names of the tools, arguments by their schemas. Give it to a sampler or a generation, which
 * begins where the reply does. `flags` is REKINDLE_REPLY_ONE_CALL or 0. On success `*grammar` is a handle that
 * rekindle_grammar_destroy ends; it does not need the reply any more, and what the reply has read does not matter.
 *
 * With tool_choice auto the grammar waits: the model may think and write what it likes. Once it opens a call outside
 * its reasoning, the grammar holds that call, further ones and the end. With required, or a tool's name, it holds the
 * reply from its beginning: reasoning, which is free, if the format has some; then one call or more (of a named tool
 * exactly one); then the end.
 *
 * The schemas are those of REKINDLE_GRAMMAR_JSON_SCHEMA, arguments come in their order, and an object with properties
 * has no others. Where a format writes strings without JSON's quotes, they are held to enum, const, minLength,
 * maxLength and pattern, but not to format. It takes what rekindle_grammar_create takes.
 *
 * REKINDLE_INVALID_ARGUMENT: there are no tools (or tool_choice is none), a schema is none, or flags are not known.
 * REKINDLE_UNSUPPORTED: the template does not tell how calls are written, the format cannot write a tool's name or
 * parameter, or a schema has what cannot be held; the message names the tool. REKINDLE_OUT_OF_MEMORY.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_reply_grammar(const rekindle_reply *reply,
                                       uint32_t flags,
                                       rekindle_grammar **grammar);

/**
 * Reads a piece of the reply's text: whole characters of UTF-8, of any number. Events, joined, do not depend on where
 * the text is cut. The text must show control tokens (rekindle_stream_create with REKINDLE_TEXT_PARSE_SPECIAL);
 * where that is not at hand, give the tokens (rekindle_reply_push_token).
 *
 * REKINDLE_INVALID_ARGUMENT: the text is no UTF-8, or the reply is finished.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_reply_push(rekindle_reply *reply,
                                    const char *text,
                                    size_t text_len);

/**
 * Reads a token of the reply. Control tokens, those that end a generation among them, count where the format has them
 * as markers; elsewhere they are nothing.
 *
 * REKINDLE_INVALID_ARGUMENT: there is no such token, or the reply is finished.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_reply_push_token(rekindle_reply *reply,
                                          int32_t token);

/** Tells that nothing follows, so that what waited for more text is read. To finish again changes nothing. */
REKINDLE_MUST_USE rekindle_status rekindle_reply_finish(rekindle_reply *reply);

/**
 * The kinds of events: nothing is known yet; a piece of reasoning or content; a call of a tool begins, brings a piece
 * of its arguments, ends; the end of the reply.
 */
#define REKINDLE_REPLY_NONE 0
#define REKINDLE_REPLY_REASONING 1
#define REKINDLE_REPLY_CONTENT 2
#define REKINDLE_REPLY_CALL_BEGINS 3
#define REKINDLE_REPLY_ARGUMENTS 4
#define REKINDLE_REPLY_CALL_ENDS 5
#define REKINDLE_REPLY_END 6

/** One thing that a reply says. */
typedef struct {
  /** sizeof(rekindle_reply_event), set by the caller. */
  uint32_t struct_size;
  /** REKINDLE_REPLY_… */
  int32_t kind;
  /** The number of the call, counted from 0. */
  uint32_t index;
  /**
   * With REKINDLE_REPLY_CALL_ENDS 1 if the arguments are not whole, since the reply went on with something else or
   * ended; else 0.
   */
  uint32_t broken;
  /**
   * The piece of reasoning, content or arguments (of their JSON text), or the name of the tool that a call begins
   * with: UTF-8 of text_len bytes, not NUL-terminated. It is valid until the next rekindle_reply_next or
   * rekindle_reply_destroy of this reply.
   */
  const char *text;
  size_t text_len;
  /** With REKINDLE_REPLY_CALL_BEGINS the call's id, as long as the text; else NULL. */
  const char *id;
  size_t id_len;
} rekindle_reply_event;

/**
 * Takes what the reply says: event by event, in order. Pieces of a kind that nobody took in between are one event. If
 * nothing more is known yet, `event->kind` is REKINDLE_REPLY_NONE; after REKINDLE_REPLY_END, which comes behind
 * rekindle_reply_finish, nothing follows.
 *
 * White space between content and what is not content is left out. A call whose form is broken before its name and the
 * beginning of its arguments were read is content.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_reply_next(rekindle_reply *reply,
                                    rekindle_reply_event *event);

/**
 * Writes all that was read so far as a message in the form of OpenAI's interface: {"role": "assistant", "content",
 * "reasoning_content", "tool_calls": [{"id", "type": "function", "function": {"name", "arguments"}}]}. Where there are
 * calls and no content, the content is null; without reasoning or calls these keys are absent. Text: buffer, capacity,
 * needed.
 */
REKINDLE_MUST_USE
rekindle_status rekindle_reply_json(const rekindle_reply *reply,
                                    char *buffer,
                                    size_t capacity,
                                    size_t *needed);

/** Writes the name of the format that the template told: plain, hermes, harmony, … Text: buffer, capacity, needed. */
REKINDLE_MUST_USE
rekindle_status rekindle_reply_format(const rekindle_reply *reply,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *needed);

/* ------------------------------------------------------------------------
 * The table of all functions, for hosts that open the library at run time.
 * ------------------------------------------------------------------------ */

/**
 * Every function of the library, under its name without the prefix. New functions are added at the end and nothing
 * ever moves; struct_size says how far the table goes.
 */
typedef struct {
  uint32_t struct_size;
  /** The library's REKINDLE_ABI_VERSION. */
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
  rekindle_status (*file_open)(const rekindle_context *context,
                               const char *path,
                               size_t path_len,
                               rekindle_file **file);
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
  rekindle_status (*sampler_sample)(rekindle_sampler *sampler,
                                    const rekindle_model *model,
                                    uint32_t row,
                                    int32_t *token);
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
  rekindle_status (*seq_cut)(rekindle_model *model, int32_t seq_id, uint32_t length, uint32_t *reached);
  rekindle_status (*seq_checkpoint)(rekindle_model *model, int32_t seq_id);
  rekindle_status (*sampler_copy)(const rekindle_sampler *sampler, rekindle_sampler **copy);
  rekindle_status (*sampler_logprobs)(const rekindle_sampler *sampler,
                                      int32_t distribution,
                                      rekindle_logprob *chosen,
                                      rekindle_logprob *buffer,
                                      size_t capacity,
                                      size_t *needed);
  rekindle_status (*pooled)(const rekindle_model *model,
                            int32_t seq_id,
                            uint32_t flags,
                            float *buffer,
                            size_t capacity,
                            size_t *needed);
  rekindle_status (*generation_create)(rekindle_model *model,
                                       const rekindle_generation_params *params,
                                       rekindle_generation **generation);
  rekindle_status (*generation_destroy)(rekindle_generation *generation);
  rekindle_status (*generation_cancel)(const rekindle_generation *generation);
  rekindle_status (*generation_next)(rekindle_generation *generation, rekindle_event *event);
  rekindle_status (*generation_get_info)(const rekindle_generation *generation, rekindle_generation_info *info);
  rekindle_status (*step)(rekindle_model *model,
                          rekindle_generation *const *generations,
                          size_t n_generations,
                          rekindle_step_result *result);
  rekindle_status (*seq_save)(rekindle_model *model, int32_t seq_id, uint8_t *buffer, size_t capacity, size_t *needed);
  rekindle_status (*seq_load)(rekindle_model *model, int32_t seq_id, const uint8_t *bytes, size_t n_bytes);
  rekindle_status (*seq_save_file)(rekindle_model *model,
                                   int32_t seq_id,
                                   const char *path,
                                   size_t path_len,
                                   rekindle_progress_fn progress,
                                   void *user_data);
  rekindle_status (*seq_load_file)(rekindle_model *model,
                                   int32_t seq_id,
                                   const char *path,
                                   size_t path_len,
                                   rekindle_progress_fn progress,
                                   void *user_data);
  rekindle_status (*file_open_with)(const rekindle_context *context,
                                    const char *path,
                                    size_t path_len,
                                    const char *overrides,
                                    size_t overrides_len,
                                    rekindle_file **file);
  rekindle_status (*generation_logprobs)(const rekindle_generation *generation,
                                         int32_t distribution,
                                         rekindle_logprob *chosen,
                                         rekindle_logprob *buffer,
                                         size_t capacity,
                                         size_t *needed);
  rekindle_status (*grammar_create)(const rekindle_vocab *vocab,
                                    int32_t kind,
                                    const char *text,
                                    size_t text_len,
                                    const rekindle_grammar_params *params,
                                    rekindle_grammar **grammar);
  rekindle_status (*grammar_destroy)(rekindle_grammar *grammar);
  rekindle_status (*grammar_copy)(const rekindle_grammar *grammar, rekindle_grammar **copy);
  rekindle_status (*grammar_reset)(rekindle_grammar *grammar);
  rekindle_status (*grammar_mask)(rekindle_grammar *grammar, uint32_t *mask, size_t capacity, size_t *needed);
  rekindle_status (*grammar_accept)(rekindle_grammar *grammar, int32_t token);
  rekindle_status (*grammar_forced)(rekindle_grammar *grammar, int32_t *tokens, size_t capacity, size_t *needed);
  rekindle_status (*grammar_is_complete)(rekindle_grammar *grammar, uint32_t *complete);
  rekindle_status (*grammar_check)(const rekindle_grammar *grammar,
                                   const char *text,
                                   size_t text_len,
                                   rekindle_grammar_verdict *verdict);
  rekindle_status (*file_adapt)(const rekindle_context *context,
                                const rekindle_file *file,
                                const char *const *paths,
                                const size_t *path_lens,
                                size_t n_paths,
                                rekindle_file **adapted);
  rekindle_status (*file_get_adapter)(const rekindle_file *file, uint32_t index, rekindle_adapter_info *info);
  rekindle_status (*seq_set_adapters)(rekindle_model *model, int32_t seq_id, const float *scales, size_t n_scales);
  rekindle_status (*reply_create)(const rekindle_vocab *vocab,
                                  const rekindle_reply_params *params,
                                  rekindle_reply **reply);
  rekindle_status (*reply_destroy)(rekindle_reply *reply);
  rekindle_status (*reply_push)(rekindle_reply *reply, const char *text, size_t text_len);
  rekindle_status (*reply_push_token)(rekindle_reply *reply, int32_t token);
  rekindle_status (*reply_finish)(rekindle_reply *reply);
  rekindle_status (*reply_next)(rekindle_reply *reply, rekindle_reply_event *event);
  rekindle_status (*reply_json)(const rekindle_reply *reply, char *buffer, size_t capacity, size_t *needed);
  rekindle_status (*reply_format)(const rekindle_reply *reply, char *buffer, size_t capacity, size_t *needed);
  rekindle_status (*model_set_draft)(rekindle_model *model, rekindle_model *draft);
  rekindle_status (*plan_svg)(const rekindle_plan_t *plan, char *buffer, size_t capacity, size_t *needed);
  rekindle_status (*seq_leave)(rekindle_model *model, int32_t seq_id);
  rekindle_status (*reply_grammar)(const rekindle_reply *reply, uint32_t flags, rekindle_grammar **grammar);
} rekindle_api_table;

/**
 * The table of functions, which lives as long as the library. `abi_version` is the host's REKINDLE_ABI_VERSION; the
 * result is NULL if the library does not serve it. This is the one symbol that a host needs to look up.
 */
const rekindle_api_table *rekindle_api(uint32_t abi_version);

#ifdef __cplusplus
} // extern "C"
#endif

#endif /* REKINDLE_H */
