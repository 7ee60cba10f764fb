/* One of every object, for the tests of the C ABI. Everything comes from malloc in its exact size, so that
 * AddressSanitizer and valgrind see each byte too many. */
#ifndef WORLD_H
#define WORLD_H

#include "rekindle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                        \
  do {                                                                                                          \
    if (!(condition)) {                                                                                         \
      fprintf(stderr, "%s:%d: %s: failed: %s (last error: %s)\n", __FILE__, __LINE__, __func__, #condition,    \
              rekindle_last_error());                                                                           \
      exit(1);                                                                                                  \
    }                                                                                                           \
  } while (0)

#define EXPECT(expected, call)                                                                                  \
  do {                                                                                                          \
    rekindle_status status_ = (call);                                                                           \
    if (status_ != (expected)) {                                                                                \
      fprintf(stderr, "%s:%d: %s: %s gave %s, expected %s (last error: %s)\n", __FILE__, __LINE__, __func__, #call, \
              rekindle_status_name(status_), rekindle_status_name(expected), rekindle_last_error());            \
      exit(1);                                                                                                  \
    }                                                                                                           \
    if (status_ != REKINDLE_OK) CHECK(rekindle_last_error()[0] != 0);                                           \
  } while (0)

#define OK(call) EXPECT(REKINDLE_OK, call)

struct world {
  const char *path;
  rekindle_context *context;
  rekindle_file *file, *adapted; /* adapted: with an adapter beside it */
  rekindle_plan_t *plan, *too_large;
  rekindle_model *model, *pooled; /* pooled: leaves rows of texts */
  rekindle_vocab *vocab, *chat; /* chat: of a file with templates */
  rekindle_stream *stream;
  rekindle_sampler *sampler;
  rekindle_generation *generation;
  rekindle_grammar *grammar;
  rekindle_reply *reply;
};

static int32_t world_tokens[2] = {5, 6};

/* Sequence 0 of world_reset, as bytes, and a file with them. */
static uint8_t world_saved[1 << 20];
static size_t world_saved_len;

static inline const char *world_scratch(void) {
  const char *path = getenv("REKINDLE_TEST_SCRATCH");
  if (!path) exit(2);
  return path;
}

static inline const char *const *world_adapters(void) {
  static const char *paths[1];
  paths[0] = getenv("REKINDLE_TEST_ADAPTER");
  if (!paths[0]) exit(2);
  return paths;
}

static inline const size_t *world_adapter_lens(void) {
  static size_t lens[1];
  lens[0] = strlen(world_adapters()[0]);
  return lens;
}

static inline const rekindle_chat_message *world_messages(void) {
  static const rekindle_chat_message all[2] = {
      {.role = "system", .role_len = 6, .content = "Be brief.", .content_len = 9},
      {.role = "user", .role_len = 4, .content = "Why?", .content_len = 4},
  };
  return all;
}

static void *allocate(size_t n) {
  void *p = malloc(n ? n : 1);
  if (!p) exit(2);
  memset(p, 0xAA, n);
  return p;
}

static void *zeroed(uint32_t struct_size) {
  void *p = allocate(struct_size);
  memset(p, 0, struct_size);
  memcpy(p, &struct_size, sizeof struct_size);
  return p;
}

static inline void fill_rekindle_batch(rekindle_batch *b) {
  b->n_tokens = 2;
  b->tokens = world_tokens;
}

static inline void fill_rekindle_generate_params(rekindle_generate_params *p) {
  p->prompt_tokens = world_tokens;
  p->n_prompt_tokens = 2;
  p->max_tokens = 2;
  p->flags = REKINDLE_GENERATE_IGNORE_EOG;
}

static inline void fill_rekindle_generation_params(rekindle_generation_params *p) {
  p->prompt_tokens = world_tokens;
  p->n_prompt_tokens = 2;
}

static inline void fill_rekindle_plan_params(rekindle_plan_params *p) {
  p->n_ctx = 64;
  p->n_seq_max = 2;
  p->n_batch = 16;
  p->n_ubatch = 16;
}

/* Ends a generation that an older host's struct gives no max_tokens. */
static inline int32_t on_piece_stop(void *user_data, int32_t token, const char *piece, size_t piece_len) {
  (void)user_data, (void)token, (void)piece, (void)piece_len;
  return 1;
}

/* Two tokens in sequence 0, their logits, and a sampled token; the row of the same text. */
static inline void world_reset(struct world *w) {
  OK(rekindle_seq_remove(w->model, -1, 0, -1));
  OK(rekindle_seq_remove(w->pooled, -1, 0, -1));
  rekindle_batch *b = (rekindle_batch *)zeroed(sizeof *b);
  fill_rekindle_batch(b);
  OK(rekindle_decode(w->model, b));
  OK(rekindle_decode(w->pooled, b));
  free(b);
  int32_t token = -1;
  OK(rekindle_sampler_sample(w->sampler, w->model, 0, &token));
}

static inline struct world world_make(void) {
  struct world w;
  memset(&w, 0, sizeof w);
  w.path = getenv("REKINDLE_TEST_MODEL");
  if (!w.path) exit(2);
  rekindle_context_params *cp = (rekindle_context_params *)zeroed(sizeof *cp);
  cp->n_threads = 2;
  OK(rekindle_context_create(REKINDLE_ABI_VERSION, cp, &w.context));
  OK(rekindle_file_open(w.context, w.path, strlen(w.path), &w.file));
  rekindle_plan_params *pp = (rekindle_plan_params *)zeroed(sizeof *pp);
  fill_rekindle_plan_params(pp);
  OK(rekindle_file_adapt(w.context, w.file, world_adapters(), world_adapter_lens(), 1, &w.adapted));
  OK(rekindle_plan(w.context, w.adapted, pp, &w.plan));
  pp->reserve_bytes = UINT64_MAX / 2;
  EXPECT(REKINDLE_NOT_FIT, rekindle_plan(w.context, w.file, pp, &w.too_large));
  OK(rekindle_load(w.context, w.plan, NULL, &w.model));
  rekindle_plan_t *plan = NULL;
  pp->reserve_bytes = 0;
  pp->pooling = REKINDLE_POOLING_MEAN;
  OK(rekindle_plan(w.context, w.file, pp, &plan));
  OK(rekindle_load(w.context, plan, NULL, &w.pooled));
  OK(rekindle_plan_destroy(plan));
  OK(rekindle_model_vocab(w.model, &w.vocab));
  const char *templates = getenv("REKINDLE_TEST_CHAT");
  if (!templates) exit(2);
  rekindle_file *file = NULL;
  OK(rekindle_file_open(w.context, templates, strlen(templates), &file));
  OK(rekindle_vocab_create(file, &w.chat));
  OK(rekindle_file_close(file));
  OK(rekindle_stream_create(w.vocab, 0, &w.stream));
  rekindle_sampler_params *sp = (rekindle_sampler_params *)zeroed(sizeof *sp);
  sp->n_logprobs = 4;
  OK(rekindle_sampler_create(sp, &w.sampler));
  rekindle_generation_params *gp = (rekindle_generation_params *)zeroed(sizeof *gp);
  fill_rekindle_generation_params(gp);
  gp->sampler = w.sampler;
  gp->max_tokens = 1;
  OK(rekindle_generation_create(w.model, gp, &w.generation));
  OK(rekindle_step(w.model, &w.generation, 1, NULL));
  rekindle_event *event = (rekindle_event *)zeroed(sizeof *event);
  OK(rekindle_generation_next(w.generation, event));
  free(event), free(gp);
  /* Token 5, and that again. */
  const char *again = "\\x02{9999}";
  OK(rekindle_grammar_create(w.vocab, REKINDLE_GRAMMAR_REGEX, again, strlen(again), NULL, &w.grammar));
  static const char tools[] = "[{\"name\": \"f\", \"parameters\": {}}]", calls[] = "<tool_call>";
  rekindle_reply_params reply;
  memset(&reply, 0, sizeof reply);
  reply.struct_size = sizeof reply;
  reply.tools = tools, reply.tools_len = sizeof tools - 1;
  reply.template_text = calls, reply.template_text_len = sizeof calls - 1;
  OK(rekindle_reply_create(w.chat, &reply, &w.reply));
  world_reset(&w);
  OK(rekindle_seq_save(w.model, 0, world_saved, sizeof world_saved, &world_saved_len));
  OK(rekindle_seq_save_file(w.model, 0, world_scratch(), strlen(world_scratch()), NULL, NULL));
  free(sp), free(pp), free(cp);
  return w;
}

static inline void world_end(struct world *w) {
  OK(rekindle_generation_destroy(w->generation));
  OK(rekindle_reply_destroy(w->reply));
  OK(rekindle_grammar_destroy(w->grammar));
  OK(rekindle_sampler_destroy(w->sampler));
  OK(rekindle_stream_destroy(w->stream));
  OK(rekindle_vocab_destroy(w->chat));
  OK(rekindle_vocab_destroy(w->vocab));
  OK(rekindle_model_destroy(w->pooled));
  OK(rekindle_model_destroy(w->model));
  OK(rekindle_plan_destroy(w->too_large));
  OK(rekindle_plan_destroy(w->plan));
  OK(rekindle_file_close(w->adapted));
  OK(rekindle_file_close(w->file));
  OK(rekindle_context_destroy(w->context));
  memset(w, 0, sizeof *w);
}

static inline uint32_t integer_key(const struct world *w) {
  uint32_t i = 0;
  OK(rekindle_file_find_key(w->file, "llama.block_count", strlen("llama.block_count"), &i));
  return i;
}

#endif
