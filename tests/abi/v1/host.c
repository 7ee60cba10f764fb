/* A host of ABI version 1: it uses what that header has, and prints what it gets. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rekindle.h"

static void check(rekindle_status status, int line) {
  if (status == REKINDLE_OK) return;
  printf("line %d: %s: %s\n", line, rekindle_status_name(status), rekindle_last_error());
  exit(1);
}
#define OK(call) check(call, __LINE__)

static int32_t best(rekindle_model *model, uint32_t row) {
  const float *logits = NULL;
  uint32_t n = 0, most = 0;
  OK(rekindle_logits(model, row, &logits, &n));
  for (uint32_t i = 1; i < n; i++) {
    if (logits[i] > logits[most]) most = i;
  }
  return (int32_t)most;
}

static int32_t print(void *user_data, int32_t token, const char *piece, size_t len) {
  (void)user_data, (void)token;
  fwrite(piece, 1, len, stdout);
  return 0;
}

int main(int argc, char **argv) {
  const char *path = argc > 1 ? argv[1] : "";
  rekindle_context *context = NULL;
  rekindle_file *file = NULL;
  rekindle_plan_t *plan = NULL;
  rekindle_model *model = NULL;
  rekindle_vocab *vocab = NULL;
  rekindle_sampler *sampler = NULL;
  rekindle_context_params cp = {.struct_size = sizeof cp, .n_threads = 2, .devices = "cpu", .devices_len = 3};
  OK(rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &context));
  OK(rekindle_file_open(context, path, strlen(path), &file));
  rekindle_plan_params pp = {.struct_size = sizeof pp, .n_ctx = 128, .n_seq_max = 2};
  OK(rekindle_plan(context, file, &pp, &plan));
  rekindle_plan_summary sum = {.struct_size = sizeof sum};
  OK(rekindle_plan_get_summary(plan, &sum));
  printf("n_ctx %u, n_batch %u, sequences %u\n", sum.n_ctx, sum.n_batch, sum.n_seq_max);
  OK(rekindle_load(context, plan, NULL, &model));
  OK(rekindle_model_vocab(model, &vocab));
  int32_t tokens[32];
  size_t n = 0;
  const char *text = "In the beginning God";
  OK(rekindle_tokenize(vocab, text, strlen(text), REKINDLE_TEXT_SPECIAL, tokens, 32, &n));

  /* Greedy by hand, on a sequence and its copy. */
  rekindle_batch b = {.struct_size = sizeof b, .n_tokens = (uint32_t)n, .tokens = tokens};
  OK(rekindle_decode(model, &b));
  OK(rekindle_seq_copy(model, 0, 1, -1, -1));
  int32_t next = best(model, 0);
  for (int i = 0; i < 12; i++) {
    int32_t both[2] = {next, next}, seqs[2] = {0, 1};
    rekindle_batch step = {.struct_size = sizeof step, .n_tokens = 2, .tokens = both, .seq_ids = seqs};
    OK(rekindle_decode(model, &step));
    printf("%d ", next);
    if (best(model, 0) != best(model, 1)) printf("differs ");
    next = best(model, 0);
  }
  uint32_t length = 0, reached = 0;
  OK(rekindle_seq_cut(model, 0, 8, &reached));
  OK(rekindle_seq_remove(model, 1, 2, 4));
  OK(rekindle_seq_shift(model, 1, 4, -1, -2));
  OK(rekindle_seq_length(model, 1, &length));
  printf("\ncut to %u, shifted to %u\n", reached, length);

  /* Drawn by a sampler. */
  OK(rekindle_seq_remove(model, -1, -1, -1));
  rekindle_sampler_params sp = {.struct_size = sizeof sp, .temperature = 0.8f, .top_k = 40, .top_p = 0.95f,
                                .repeat_penalty = 1.1f, .seed = 7};
  OK(rekindle_sampler_create(&sp, &sampler));
  rekindle_generate_params gp = {.struct_size = sizeof gp, .max_tokens = 24};
  gp.prompt = text;
  gp.prompt_len = strlen(text);
  rekindle_generate_result r = {.struct_size = sizeof r};
  OK(rekindle_generate(model, sampler, &gp, print, NULL, &r));
  printf("\n%u and %u tokens, stop %d\n", r.n_prompt, r.n_generated, r.stop);
  OK(rekindle_sampler_destroy(sampler));
  OK(rekindle_vocab_destroy(vocab));
  OK(rekindle_model_destroy(model));
  OK(rekindle_plan_destroy(plan));
  OK(rekindle_file_close(file));
  OK(rekindle_context_destroy(context));
  return 0;
}
