/* A model's file that another program cuts at any moment, while its weights are copied.
 *
 *     cut MODEL COPY TIMES
 *
 * Each time MODEL is copied to COPY, and a thread cuts that to some length after a moment, while a child opens it,
 * reads keys and vocabulary, plans, loads with copied weights, decodes, saves and tokenises. Every call may fail; the process
 * must not end by a signal. Every fifth cut waits until all of that was done once, so the calls before it must not
 * fail. Prints how often a call failed and how many children were killed. */
#define _GNU_SOURCE
#include "rekindle.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *copy;
static long keep, moment;
static int late;
static sem_t used;

static void *cutter(void *unused) {
  (void)unused;
  struct timespec t = {0, moment};
  if (late)
    sem_wait(&used);
  else
    nanosleep(&t, NULL);
  if (truncate(copy, keep)) _exit(9);
  return NULL;
}

/* Gives the number of a call that failed; 0 if none did. */
static int use(void) {
  rekindle_context *context = NULL;
  rekindle_file *file = NULL;
  rekindle_plan_t *plan = NULL;
  rekindle_model *model = NULL;
  rekindle_vocab *vocab = NULL;
  rekindle_context_params cp = {.struct_size = sizeof cp, .n_threads = 2, .devices = "cpu", .devices_len = 3};
  rekindle_plan_params pp = {.struct_size = sizeof pp, .n_ctx = 64, .n_batch = 16, .n_ubatch = 16};
  pp.weights = REKINDLE_WEIGHTS_COPIED;
  if (rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &context)) return 9;
  if (rekindle_file_open(context, copy, strlen(copy), &file)) return 1;
  if (rekindle_vocab_create(file, &vocab)) return 2;
  if (rekindle_plan(context, file, &pp, &plan)) return 3;
  if (rekindle_load(context, plan, NULL, &model)) return 4;
  int32_t tokens[64] = {5, 6};
  rekindle_batch batch = {.struct_size = sizeof batch, .n_tokens = 2, .tokens = tokens};
  if (rekindle_decode(model, &batch)) return 5;
  static uint8_t saved[1 << 20];
  size_t n = 0;
  if (rekindle_seq_save(model, 0, saved, sizeof saved, &n)) return 6;
  if (rekindle_tokenize(vocab, "and so on", 9, 0, tokens, 64, &n)) return 7;
  for (uint32_t i = 0; i < 8; i++) {
    char text[256];
    if (rekindle_file_key_text(file, i, 4, text, sizeof text, &n) == REKINDLE_INTERNAL) return 8;
  }
  return 0;
}

static int copy_file(const char *from) {
  static char buffer[1 << 16];
  FILE *in = fopen(from, "rb"), *out = fopen(copy, "wb");
  if (!in || !out) return 0;
  size_t n;
  while ((n = fread(buffer, 1, sizeof buffer, in)) > 0)
    if (fwrite(buffer, 1, n, out) != n) return 0;
  fclose(in);
  return !fclose(out);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  copy = argv[2];
  long times = atol(argv[3]), failed = 0, killed = 0;
  srand(7);
  for (long i = 0; i < times; i++) {
    if (!copy_file(argv[1])) return 2;
    FILE *f = fopen(copy, "rb");
    fseek(f, 0, SEEK_END);
    long len = ftell(f);
    fclose(f);
    keep = rand() % 4 ? rand() % len : 0;
    moment = rand() % 20000 * 1000L;
    late = i % 5 == 4;
    pid_t pid = fork();
    if (pid < 0) return 2;
    if (pid == 0) {
      pthread_t thread;
      sem_init(&used, 0, 0);
      pthread_create(&thread, NULL, cutter, NULL);
      int call = use();
      if (late && call != 0) _exit(9);
      sem_post(&used);
      if (call == 0) pthread_join(thread, NULL), call = use() == 0 ? 8 : 0; /* once more, when it was cut */
      _exit(call);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) {
      killed++;
      printf("killed by %d: %ld bytes kept after %ld us\n", WTERMSIG(status), keep, moment / 1000);
    } else if (WEXITSTATUS(status) >= 8) {
      return 2;
    } else {
      failed += WEXITSTATUS(status) != 0;
    }
  }
  unlink(copy);
  printf("%ld cuts, %ld failed calls, %ld killed\n", times, failed, killed);
  return killed > 0;
}
