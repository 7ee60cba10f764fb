/* Lifetimes, callbacks, threads and errors of the C ABI. */
#include "world.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

static int rounds(int n) { return getenv("REKINDLE_TEST_SHORT") ? 2 : n; }

/* A model needs neither context, file nor plan any more; a vocabulary no model; a stream no vocabulary. */
static void outliving(void) {
  struct world w = world_make();
  OK(rekindle_context_destroy(w.context));
  OK(rekindle_file_close(w.file));
  OK(rekindle_plan_destroy(w.plan));
  rekindle_batch b;
  memset(&b, 0, sizeof b);
  b.struct_size = sizeof b;
  fill_rekindle_batch(&b);
  OK(rekindle_decode(w.model, &b));
  OK(rekindle_model_destroy(w.model));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_decode(w.model, &b));
  CHECK(strstr(rekindle_last_error(), "destroyed"));
  size_t n = 0;
  OK(rekindle_tokenize(w.vocab, "word", 4, 0, NULL, 0, &n));
  OK(rekindle_vocab_destroy(w.vocab));
  OK(rekindle_stream_push(w.stream, 5, NULL, 0, &n));
  OK(rekindle_stream_destroy(w.stream));
  OK(rekindle_sampler_destroy(w.sampler));
  OK(rekindle_plan_destroy(w.too_large));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_context_destroy(w.context));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_file_close(w.file));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_plan_destroy(w.plan));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_model_destroy(w.model));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_vocab_destroy(w.vocab));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_stream_destroy(w.stream));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_sampler_destroy(w.sampler));
}

static void versions_and_errors(void) {
  CHECK(rekindle_abi_version() == REKINDLE_ABI_VERSION);
  CHECK(rekindle_version()[0] >= '0' && rekindle_version()[0] <= '9');
  CHECK(strcmp(rekindle_status_name(REKINDLE_BUSY), "REKINDLE_BUSY") == 0);
  CHECK(strcmp(rekindle_status_name(-1), "REKINDLE_UNKNOWN") == 0);
  CHECK(strcmp(rekindle_status_name(INT32_MAX), "REKINDLE_UNKNOWN") == 0);
  CHECK(rekindle_api(0) == NULL && rekindle_api(REKINDLE_ABI_VERSION + 1) == NULL && rekindle_api(1) != NULL);
  rekindle_context *c = NULL;
  uint32_t wrong[] = {0, REKINDLE_ABI_VERSION + 1, UINT32_MAX};
  for (size_t i = 0; i < 3; i++) {
    char number[16];
    snprintf(number, sizeof number, "%u", wrong[i]);
    EXPECT(REKINDLE_ABI_MISMATCH, rekindle_context_create(wrong[i], NULL, &c));
    CHECK(c == NULL && strstr(rekindle_last_error(), number));
  }
  rekindle_error_detail d;
  memset(&d, 0, sizeof d);
  d.struct_size = sizeof d;
  OK(rekindle_last_error_detail(&d));
  CHECK(d.status == REKINDLE_ABI_MISMATCH && d.device == -1);

  struct world w = world_make();
  rekindle_file *f = NULL;
  const char *missing = "no such file.gguf";
  EXPECT(REKINDLE_IO, rekindle_file_open(w.context, missing, strlen(missing), &f));
  CHECK(strstr(rekindle_last_error(), missing) && f == NULL);
  EXPECT(REKINDLE_IO, rekindle_file_open(w.context, "a\xff", 2, &f)); /* a path need not be UTF-8 */
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_file_open(w.context, "a\0b", 3, &f));
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_file_open(w.context, "", 0, &f));
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_file_open(w.context, w.path, SIZE_MAX, &f));
  uint32_t index = 77;
  EXPECT(REKINDLE_NOT_FOUND, rekindle_file_find_key(w.file, "no.such", 7, &index));
  CHECK(index == 77 && strstr(rekindle_last_error(), "no.such"));
  rekindle_key_info k;
  k.struct_size = sizeof k;
  EXPECT(REKINDLE_NOT_FOUND, rekindle_file_get_key(w.file, UINT32_MAX, &k));
  char buffer[64];
  size_t needed = 0;
  for (uint32_t i = 0; i < 1000; i++) {
    rekindle_status s = rekindle_environment(i, NULL, 0, &needed);
    if (s == REKINDLE_NOT_FOUND) break;
    CHECK(s == REKINDLE_OK && needed > 1 && i < 999);
  }

  /* A model that does not fit has a plan that says why, and that cannot be loaded. */
  rekindle_model *m = NULL;
  EXPECT(REKINDLE_NOT_FIT, rekindle_load(w.context, w.too_large, NULL, &m));
  rekindle_plan_summary s;
  memset(&s, 0, sizeof s);
  s.struct_size = sizeof s;
  OK(rekindle_plan_get_summary(w.too_large, &s));
  /* Remedies are planned when they are asked for. */
  CHECK(m == NULL && !s.fits && s.n_remedies == 0);
  uint32_t n_remedies = 0;
  while (rekindle_plan_remedy(w.too_large, n_remedies, NULL, 0, &needed) == REKINDLE_OK) n_remedies++;
  EXPECT(REKINDLE_NOT_FOUND, rekindle_plan_remedy(w.too_large, n_remedies, NULL, 0, &needed));
  OK(rekindle_plan_get_summary(w.too_large, &s));
  CHECK(n_remedies > 0 && s.n_remedies == n_remedies);
  OK(rekindle_plan_text(w.too_large, NULL, 0, &needed));
  rekindle_plan_device pd;
  pd.struct_size = sizeof pd;
  OK(rekindle_plan_get_device(w.too_large, 0, &pd));
  CHECK(pd.shortfall > 0);

  /* Token ids and arrays at the edge. */
  int32_t bad[] = {INT32_MIN, -1, INT32_MAX};
  rekindle_token_info t;
  t.struct_size = sizeof t;
  for (size_t i = 0; i < 3; i++) {
    EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_vocab_get_token(w.vocab, bad[i], &t));
    EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_token_piece(w.vocab, bad[i], 0, buffer, sizeof buffer, NULL));
    EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_detokenize(w.vocab, &bad[i], 1, 0, buffer, sizeof buffer, NULL));
    EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_stream_push(w.stream, bad[i], buffer, sizeof buffer, NULL));
  }
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_tokenize(w.vocab, "x", 1, 0x80000000u, NULL, 0, &needed));
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_tokenize(w.vocab, "x", SIZE_MAX, 0, NULL, 0, &needed));
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_detokenize(w.vocab, world_tokens, SIZE_MAX / 2, 0, NULL, 0, &needed));
  rekindle_batch b;
  memset(&b, 0, sizeof b);
  b.struct_size = sizeof b;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_decode(w.model, &b));
  b.n_tokens = UINT32_MAX;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_decode(w.model, &b));
  b.n_tokens = 1;
  for (size_t i = 0; i < 3; i++) {
    b.tokens = &bad[i];
    EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_decode(w.model, &b));
    b.tokens = world_tokens;
    b.seq_ids = &bad[i];
    EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_decode(w.model, &b));
    b.seq_ids = NULL;
  }
  const float *row = NULL;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_logits(w.model, UINT32_MAX, &row, NULL));
  int32_t token = 77;
  float nans[2] = {NAN, NAN};
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_sampler_sample_logits(w.sampler, nans, 2, &token));
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_sampler_sample_logits(w.sampler, nans, 0, &token));
  CHECK(row == NULL && token == 77);
  rekindle_sampler *sampler = NULL;
  rekindle_sampler_params sp;
  memset(&sp, 0, sizeof sp);
  sp.struct_size = sizeof sp;
  sp.n_logit_bias = 1;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_sampler_create(&sp, &sampler));
  sp.n_logit_bias = 0;
  sp.temperature = NAN;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_sampler_create(&sp, &sampler));
  world_end(&w);
}

static int32_t cancel_load(void *user_data, float done) {
  CHECK(done >= 0.0f && done <= 1.0f);
  ++*(int *)user_data;
  return 1;
}

struct reentry {
  rekindle_model *model;
  int calls;
};

/* A callback reads the model; what writes it is busy, and says so instead of waiting for ever. */
static int32_t reenter(void *user_data, int32_t token, const char *piece, size_t piece_len) {
  struct reentry *r = user_data;
  (void)token, (void)piece, (void)piece_len;
  r->calls++;
  rekindle_batch b;
  memset(&b, 0, sizeof b);
  b.struct_size = sizeof b;
  fill_rekindle_batch(&b);
  EXPECT(REKINDLE_BUSY, rekindle_decode(r->model, &b));
  EXPECT(REKINDLE_BUSY, rekindle_seq_remove(r->model, 0, 0, -1));
  rekindle_model_info i;
  i.struct_size = sizeof i;
  OK(rekindle_model_get_info(r->model, &i));
  return r->calls == 2;
}

static int32_t cancels(void *user_data, int32_t token, const char *piece, size_t piece_len) {
  (void)token, (void)piece, (void)piece_len;
  OK(rekindle_cancel(user_data));
  return 0;
}

static int32_t destroys(void *user_data, int32_t token, const char *piece, size_t piece_len) {
  (void)token, (void)piece, (void)piece_len;
  rekindle_model **model = user_data;
  if (*model) OK(rekindle_model_destroy(*model));
  *model = NULL;
  return 0;
}

static void count_messages(void *user_data, int32_t level, const char *message) {
  CHECK(level >= REKINDLE_LOG_ERROR && level <= REKINDLE_LOG_DEBUG && message != NULL);
  ++*(int *)user_data;
}

static rekindle_generate_params generation(uint32_t max_tokens) {
  rekindle_generate_params p;
  memset(&p, 0, sizeof p);
  p.struct_size = sizeof p;
  fill_rekindle_generate_params(&p);
  p.max_tokens = max_tokens;
  return p;
}

static void callbacks(void) {
  struct world w = world_make();
  int calls = 0;
  rekindle_load_params lp;
  memset(&lp, 0, sizeof lp);
  lp.struct_size = sizeof lp;
  lp.progress = cancel_load;
  lp.progress_user_data = &calls;
  rekindle_model *model = NULL;
  EXPECT(REKINDLE_CANCELLED, rekindle_load(w.context, w.plan, &lp, &model));
  CHECK(model == NULL && calls == 1);

  rekindle_generate_params gp = generation(8);
  rekindle_generate_result result;
  result.struct_size = sizeof result;
  struct reentry r = {w.model, 0};
  OK(rekindle_generate(w.model, NULL, &gp, reenter, &r, &result));
  CHECK(r.calls >= 2 && result.stop == REKINDLE_STOP_CALLBACK && result.n_generated == 2 && result.n_prompt == 2);
  EXPECT(REKINDLE_CANCELLED, rekindle_generate(w.model, NULL, &gp, cancels, w.model, &result));
  OK(rekindle_generate(w.model, NULL, &gp, NULL, NULL, &result));
  CHECK(result.stop == REKINDLE_STOP_LIMIT && result.n_generated == 8);
  gp.prompt = "both";
  gp.prompt_len = 4;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_generate(w.model, NULL, &gp, NULL, NULL, NULL));
  gp.prompt = NULL;
  gp.prompt_len = 0;
  gp.flags = 0x100;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_generate(w.model, NULL, &gp, NULL, NULL, NULL));
  gp.flags = REKINDLE_GENERATE_IGNORE_EOG;
  rekindle_model *gone = w.model;
  OK(rekindle_generate(w.model, NULL, &gp, destroys, &gone, &result));
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_model_destroy(w.model));
  OK(rekindle_load(w.context, w.plan, NULL, &w.model));

  int messages = 0;
  rekindle_context *loud = NULL;
  rekindle_context_params cp;
  memset(&cp, 0, sizeof cp);
  cp.struct_size = sizeof cp;
  cp.n_threads = 1;
  cp.log = count_messages;
  cp.log_user_data = &messages;
  cp.log_level = REKINDLE_LOG_DEBUG;
  OK(rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &loud));
  rekindle_file *f = NULL;
  OK(rekindle_file_open(loud, w.path, strlen(w.path), &f));
  CHECK(messages > 0);
  OK(rekindle_file_close(f));
  OK(rekindle_context_destroy(loud));
  cp.log_level = 99;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &loud));
  cp.log_level = 0;
  cp.devices = "toaster";
  cp.devices_len = 7;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &loud));
  CHECK(strstr(rekindle_last_error(), "toaster"));
  world_end(&w);
}

struct collected {
  int n;
  int32_t last;
};

static int32_t collect(void *user_data, int32_t token, const char *piece, size_t piece_len) {
  struct collected *c = user_data;
  (void)piece, (void)piece_len;
  c->n++;
  c->last = token;
  return 0;
}

/* A generation may end in several ways. After each of them the sequence holds the tokens that the header names. */
static void ends_of_generations(void) {
  struct world w = world_make();
  uint32_t length = 0, n_free = 0;
  OK(rekindle_seq_remove(w.model, -1, -1, -1));
  OK(rekindle_n_free(w.model, &n_free));
  CHECK(n_free == 64);
  rekindle_generate_params gp = generation(3);
  rekindle_generate_result result;
  result.struct_size = sizeof result;
  struct collected c = {0};
  OK(rekindle_generate(w.model, NULL, &gp, collect, &c, &result));
  OK(rekindle_seq_length(w.model, 0, &length));
  CHECK(result.stop == REKINDLE_STOP_LIMIT && c.n == 3 && length == 2 + 3 - 1);

  rekindle_vocab_info vi;
  vi.struct_size = sizeof vi;
  OK(rekindle_vocab_get_info(w.vocab, &vi));
  rekindle_logit_bias bias = {vi.eos, 1e6f};
  rekindle_sampler_params sp;
  memset(&sp, 0, sizeof sp);
  sp.struct_size = sizeof sp;
  sp.logit_bias = &bias;
  sp.n_logit_bias = 1;
  rekindle_sampler *ends = NULL;
  OK(rekindle_sampler_create(&sp, &ends));
  gp.prompt_tokens = &c.last;
  gp.n_prompt_tokens = 1;
  gp.flags = 0;
  OK(rekindle_generate(w.model, ends, &gp, collect, &c, &result));
  OK(rekindle_seq_length(w.model, 0, &length));
  CHECK(result.stop == REKINDLE_STOP_EOG && result.n_generated == 0 && c.n == 3 && length == 2 + 3);
  OK(rekindle_n_free(w.model, &n_free));
  CHECK(n_free == 64 - length);
  OK(rekindle_sampler_destroy(ends));

  gp.flags = REKINDLE_GENERATE_IGNORE_EOG;
  EXPECT(REKINDLE_CANCELLED, rekindle_generate(w.model, NULL, &gp, cancels, w.model, &result));
  OK(rekindle_seq_length(w.model, 0, &length));
  CHECK(length == 2 + 3 + 1);
  /* Also from the last piece. */
  gp.max_tokens = 1;
  EXPECT(REKINDLE_CANCELLED, rekindle_generate(w.model, NULL, &gp, cancels, w.model, &result));

  OK(rekindle_seq_remove(w.model, -1, -1, -1));
  gp.max_tokens = 0;
  OK(rekindle_generate(w.model, NULL, &gp, NULL, NULL, &result));
  OK(rekindle_seq_length(w.model, 0, &length));
  OK(rekindle_n_free(w.model, &n_free));
  CHECK(result.stop == REKINDLE_STOP_CONTEXT_FULL && result.n_generated == 64 && length == 64 && n_free == 0);
  EXPECT(REKINDLE_CONTEXT_FULL, rekindle_generate(w.model, NULL, &gp, NULL, NULL, &result));

  rekindle_perf before, after;
  before.struct_size = after.struct_size = sizeof before;
  OK(rekindle_model_get_perf(w.model, &before));
  OK(rekindle_model_reset_perf(w.model));
  OK(rekindle_model_get_perf(w.model, &after));
  CHECK(before.n_decode_tokens >= 63 && before.decode_us > 0 && before.load_us > 0);
  CHECK(after.n_decode_tokens == 0 && after.n_prompt_tokens == 0 && after.decode_us == 0);
  CHECK(after.load_us == before.load_us);
  world_end(&w);
}

/* A number of a file is what the plan says of it. */
static void numbers(void) {
  struct world w = world_make();
  const char *name = "llama.block_count";
  uint32_t index = 0;
  int64_t whole = 0;
  double number = 0;
  OK(rekindle_file_find_key(w.file, name, strlen(name), &index));
  OK(rekindle_file_key_integer(w.file, index, &whole));
  OK(rekindle_file_key_number(w.file, index, &number));
  rekindle_plan_summary s;
  s.struct_size = sizeof s;
  OK(rekindle_plan_get_summary(w.plan, &s));
  CHECK(whole > 0 && whole == s.n_layer && number == (double)whole);
  world_end(&w);
}

struct race {
  rekindle_model *model;
  atomic_int started;
};

/* Every outcome but a crash is right here: done, another one's turn, or gone. */
static void *decode_until_gone(void *p) {
  struct race *r = p;
  for (;;) {
    rekindle_batch b;
    memset(&b, 0, sizeof b);
    b.struct_size = sizeof b;
    fill_rekindle_batch(&b);
    rekindle_status s = rekindle_decode(r->model, &b);
    atomic_store(&r->started, 1);
    if (s == REKINDLE_BAD_HANDLE) return NULL;
    if (s == REKINDLE_CONTEXT_FULL) s = rekindle_seq_remove(r->model, 0, 0, -1);
    CHECK(s == REKINDLE_OK || s == REKINDLE_BUSY || s == REKINDLE_BAD_HANDLE);
  }
}

static void *own_error(void *p) {
  (void)p;
  CHECK(rekindle_last_error()[0] == 0);
  EXPECT(REKINDLE_ABI_MISMATCH, rekindle_context_create(0, NULL, NULL));
  return NULL;
}

static void threads(void) {
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_cancel(NULL));
  char before[256];
  snprintf(before, sizeof before, "%s", rekindle_last_error());
  pthread_t t[3];
  CHECK(pthread_create(&t[0], NULL, own_error, NULL) == 0 && pthread_join(t[0], NULL) == 0);
  CHECK(strncmp(before, rekindle_last_error(), sizeof before - 1) == 0);
  for (int round = 0; round < rounds(20); round++) {
    struct world w = world_make();
    struct race r = {w.model, 0};
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, decode_until_gone, &r) == 0);
    while (!atomic_load(&r.started)) rekindle_cancel(NULL);
    OK(rekindle_model_destroy(w.model));
    for (int i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
    OK(rekindle_load(w.context, w.plan, NULL, &w.model));
    world_end(&w);
  }
}

/* Layers whose experts are elsewhere count there, on a die that is just too small for all. */
static void experts_apart(void) {
  const char *path = getenv("REKINDLE_TEST_MIXTURE");
  if (!path) exit(2);
  uint32_t found = 0;
  for (unsigned bytes = 1u << 20; bytes > 4096 && found == 0; bytes -= bytes / 16) {
    char spec[400];
    snprintf(spec, sizeof spec,
             "[{\"kind\":\"cuda\",\"total_bytes\":%u,\"read_bandwidth\":1e11,\"flops\":1e12,\"host_bandwidth\":1e10},"
             "{\"kind\":\"cpu\",\"total_bytes\":1073741824,\"read_bandwidth\":1e8,\"flops\":1e9,"
             "\"host_bandwidth\":1e10}]",
             bytes);
    rekindle_context_params cp = {.struct_size = sizeof cp, .devices = spec, .devices_len = strlen(spec)};
    rekindle_plan_params pp = {.struct_size = sizeof pp, .n_ctx = 64, .n_batch = 4};
    rekindle_context *context = NULL;
    rekindle_file *file = NULL;
    rekindle_plan_t *plan = NULL;
    OK(rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &context));
    OK(rekindle_file_open(context, path, strlen(path), &file));
    OK(rekindle_plan(context, file, &pp, &plan));
    rekindle_plan_summary s = {.struct_size = sizeof s};
    OK(rekindle_plan_get_summary(plan, &s));
    for (uint32_t i = 0; i < s.n_devices; i++) {
      rekindle_plan_device d = {.struct_size = sizeof d};
      OK(rekindle_plan_get_device(plan, i, &d));
      uint32_t here = 0;
      for (uint32_t layer = 0; layer < s.n_layer; layer++) {
        rekindle_plan_layer l = {.struct_size = sizeof l};
        OK(rekindle_plan_get_layer(plan, layer, &l));
        here += l.experts_device == i && l.device != i;
      }
      CHECK(d.n_expert_layers == here);
      found += here;
    }
    OK(rekindle_plan_destroy(plan));
    OK(rekindle_file_close(file));
    OK(rekindle_context_destroy(context));
  }
  CHECK(found > 0);
}

int main(void) {
  CHECK(rekindle_last_error()[0] == 0);
  outliving();
  versions_and_errors();
  callbacks();
  ends_of_generations();
  numbers();
  experts_apart();
  threads();
  puts("objects: fine");
  return 0;
}
