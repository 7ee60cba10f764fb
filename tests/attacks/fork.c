/* Children of a host whose other threads use the library all the time.
 *
 *     fork MODEL CHILDREN
 *
 * A child finds that handles from before the fork are refused, then makes a context, a plan and a model of its own and
 * decodes. A child that has not ended after 20 seconds hangs. Prints how many did, and how many failed. */
#define _GNU_SOURCE
#include "rekindle.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *path;
static atomic_int end;

#define OK(call)                                                                     \
  do {                                                                               \
    if ((call) != REKINDLE_OK) {                                                     \
      fprintf(stderr, "line %d: %s: %s\n", __LINE__, #call, rekindle_last_error());  \
      _exit(3);                                                                      \
    }                                                                                \
  } while (0)

struct world {
  rekindle_context *context;
  rekindle_file *file;
  rekindle_plan_t *plan;
  rekindle_model *model;
};

static struct world make(void) {
  struct world w;
  rekindle_context_params cp = {.struct_size = sizeof cp, .n_threads = 2, .devices = "cpu", .devices_len = 3};
  rekindle_plan_params pp = {.struct_size = sizeof pp, .n_ctx = 64, .n_batch = 16, .n_ubatch = 16};
  OK(rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &w.context));
  OK(rekindle_file_open(w.context, path, strlen(path), &w.file));
  OK(rekindle_plan(w.context, w.file, &pp, &w.plan));
  OK(rekindle_load(w.context, w.plan, NULL, &w.model));
  return w;
}

static void decode(rekindle_model *model) {
  int32_t tokens[2] = {5, 6};
  rekindle_batch batch = {.struct_size = sizeof batch, .n_tokens = 2, .tokens = tokens};
  OK(rekindle_decode(model, &batch));
  OK(rekindle_seq_remove(model, -1, 0, -1));
}

static void destroy(struct world *w) {
  OK(rekindle_model_destroy(w->model));
  OK(rekindle_plan_destroy(w->plan));
  OK(rekindle_file_close(w->file));
  OK(rekindle_context_destroy(w->context));
}

/* Makes and destroys contexts, or decodes, until the end. */
static void *maker(void *unused) {
  (void)unused;
  while (!atomic_load(&end)) {
    struct world w = make();
    decode(w.model);
    destroy(&w);
  }
  return NULL;
}

static void *talker(void *model) {
  while (!atomic_load(&end)) decode((rekindle_model *)model);
  return NULL;
}

static void child(struct world *old) {
  int32_t token = 5;
  rekindle_batch batch = {.struct_size = sizeof batch, .n_tokens = 1, .tokens = &token};
  if (rekindle_decode(old->model, &batch) != REKINDLE_BAD_HANDLE) _exit(4);
  if (!strstr(rekindle_last_error(), "fork")) _exit(5);
  if (rekindle_context_destroy(old->context) != REKINDLE_BAD_HANDLE) _exit(6);
  struct world w = make();
  decode(w.model);
  destroy(&w);
  _exit(0);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  path = argv[1];
  int children = atoi(argv[2]), hung = 0, failed = 0;
  struct world w = make();
  pthread_t threads[3];
  pthread_create(&threads[0], NULL, maker, NULL);
  pthread_create(&threads[1], NULL, maker, NULL);
  pthread_create(&threads[2], NULL, talker, w.model);
  for (int i = 0; i < children; i++) {
    struct timespec pause = {0, 1000000L * (i % 7)};
    nanosleep(&pause, NULL);
    pid_t pid = fork();
    if (pid < 0) return 2;
    if (pid == 0) child(&w);
    double begun = now();
    int status = 0, ended = 1;
    while (waitpid(pid, &status, WNOHANG) == 0) {
      if (now() - begun > 20) {
        hung++, ended = 0;
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        break;
      }
      struct timespec moment = {0, 500000};
      nanosleep(&moment, NULL);
    }
    if (ended && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
      failed++;
      fprintf(stderr, "child %d ended with %#x\n", i, status);
    }
  }
  atomic_store(&end, 1);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  decode(w.model);
  destroy(&w);
  printf("%d children, %d hung, %d failed\n", children, hung, failed);
  return 0;
}
