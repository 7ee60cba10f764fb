/* A whole run of the library, again and again, each time with another request to the system refused (refuse.c).
 *
 *     whole_run MODEL CHAT SAVED KIND FIRST STEP LAST
 *
 * For k = FIRST, FIRST + STEP, ... the k-th request of the kind fails once: context, file, plan, load, decode, a
 * generation with a grammar, sequences saved and loaded, a chat, a reply. A call that fails must say why, and must work
 * when it is made once more. It prints each k before its run, and at the end how many requests a run makes. LAST 0 means
 * as many as there are.
 *
 * With the kind "space" each k is a limit instead: a child may take k KiB of address space more than it has. Then a call
 * that fails ends the run; it must say that memory is short. With the kind "stack" a child makes all calls on a thread
 * whose stack has k KiB. */
#define _GNU_SOURCE
#include "rekindle.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void (*refuse_arm)(int, long);
static long (*refuse_seen)(int), (*refuse_live)(void);
static const char *model_path, *chat_path, *saved_path;
static long k, n_failed, n_calls;

static void fail(int line, const char *what) {
  fprintf(stderr, "k %ld, line %d: %s: %s\n", k, line, what, rekindle_last_error());
  exit(3);
}

/* True for the statuses that a refusal may have. */
static int is_refusal(rekindle_status s) { return s == REKINDLE_OUT_OF_MEMORY || s == REKINDLE_IO; }

/* A call that failed: says so, or ends the child that has a limit. */
static int within_limit, has_text = 1; /* has_text: the model has a tokeniser */
static void failed(rekindle_status s, int line, const char *what) {
  if (!is_refusal(s)) fail(line, what);
  if (within_limit) _exit(0);
  n_failed++;
}

/* Calls once, and once more if that failed. */
#define DO(call)                                                                                               \
  do {                                                                                                         \
    rekindle_status status_ = (call);                                                                          \
    n_calls++;                                                                                                 \
    if (status_ != REKINDLE_OK) {                                                                              \
      failed(status_, __LINE__, #call);                                                                        \
      if ((call) != REKINDLE_OK) fail(__LINE__, "again: " #call);                                              \
    }                                                                                                          \
  } while (0)

static int32_t piece(void *data, int32_t token, const char *text, size_t len) {
  (void)data, (void)token, (void)text, (void)len;
  return 0;
}

static void chat(rekindle_vocab *vocab) {
  rekindle_chat_message all[2] = {{.role = "system", .role_len = 6, .content = "Be brief.", .content_len = 9},
                                  {.role = "user", .role_len = 4, .content = "Why?", .content_len = 4}};
  rekindle_chat_params params = {.struct_size = sizeof params};
  char text[4096];
  size_t needed = 0;
  DO(rekindle_chat_render(vocab, all, 2, &params, text, sizeof text, &needed));
  rekindle_reply *reply = NULL;
  DO(rekindle_reply_create(vocab, NULL, &reply));
  const char *says = "<think>Hm.</think>Because.";
  rekindle_status s = rekindle_reply_push(reply, says, strlen(says));
  if (s != REKINDLE_OK) failed(s, __LINE__, "push");
  DO(rekindle_reply_json(reply, text, sizeof text, &needed));
  DO(rekindle_reply_destroy(reply));
}

static void generation(rekindle_model *model, rekindle_vocab *vocab) {
  static const int32_t prompt[3] = {5, 6, 7};
  rekindle_grammar *grammar = NULL;
  const char *any = "[a-z ]{1,40}";
  if (has_text) DO(rekindle_grammar_create(vocab, REKINDLE_GRAMMAR_REGEX, any, strlen(any), NULL, &grammar));
  rekindle_generation_params params = {.struct_size = sizeof params, .grammar = grammar, .max_tokens = 4};
  params.prompt_tokens = prompt;
  params.n_prompt_tokens = 3;
  rekindle_generation *g = NULL;
  DO(rekindle_generation_create(model, &params, &g));
  for (int i = 0; i < 8; i++) {
    rekindle_status s = rekindle_step(model, &g, 1, NULL);
    if (s != REKINDLE_OK) failed(s, __LINE__, "step");
    rekindle_event event = {.struct_size = sizeof event};
    DO(rekindle_generation_next(g, &event));
  }
  DO(rekindle_generation_destroy(g));
  DO(rekindle_grammar_destroy(grammar));
}

static void run(void) {
  rekindle_context *context = NULL;
  rekindle_file *file = NULL, *chat_file = NULL;
  rekindle_plan_t *plan = NULL;
  rekindle_model *model = NULL;
  rekindle_vocab *vocab = NULL, *chat_vocab = NULL;
  rekindle_context_params cp = {.struct_size = sizeof cp, .n_threads = 2, .devices = "cpu", .devices_len = 3};
  DO(rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &context));
  DO(rekindle_file_open(context, model_path, strlen(model_path), &file));
  rekindle_plan_params pp = {.struct_size = sizeof pp, .n_ctx = 64, .n_seq_max = 2, .n_batch = 16, .n_ubatch = 16};
  DO(rekindle_plan(context, file, &pp, &plan));
  DO(rekindle_load(context, plan, NULL, &model));
  int32_t tokens[2] = {5, 6}, written[64];
  size_t needed = 0;
  char text[256];
  if (has_text) {
    DO(rekindle_model_vocab(model, &vocab));
    DO(rekindle_tokenize(vocab, "and so on", 9, 0, written, 64, &needed));
    DO(rekindle_detokenize(vocab, tokens, 2, 0, text, sizeof text, &needed));
  }
  rekindle_batch batch = {.struct_size = sizeof batch, .n_tokens = 2, .tokens = tokens};
  DO(rekindle_decode(model, &batch));
  const float *logits = NULL;
  uint32_t n = 0;
  DO(rekindle_logits(model, 0, &logits, &n));
  DO(rekindle_seq_save_file(model, 0, saved_path, strlen(saved_path), NULL, NULL));
  DO(rekindle_seq_remove(model, 0, 0, -1));
  DO(rekindle_seq_load_file(model, 0, saved_path, strlen(saved_path), NULL, NULL));
  rekindle_generate_params gp = {.struct_size = sizeof gp, .seq_id = 1, .max_tokens = 3, .prompt_tokens = tokens};
  gp.n_prompt_tokens = 2;
  rekindle_status s = rekindle_generate(model, NULL, &gp, piece, NULL, NULL);
  if (s != REKINDLE_OK) failed(s, __LINE__, "generate");
  DO(rekindle_seq_remove(model, -1, 0, -1));
  generation(model, vocab);
  DO(rekindle_file_open(context, chat_path, strlen(chat_path), &chat_file));
  DO(rekindle_vocab_create(chat_file, &chat_vocab));
  chat(chat_vocab);
  DO(rekindle_vocab_destroy(chat_vocab));
  DO(rekindle_file_close(chat_file));
  DO(rekindle_vocab_destroy(vocab));
  DO(rekindle_model_destroy(model));
  DO(rekindle_plan_destroy(plan));
  DO(rekindle_file_close(file));
  DO(rekindle_context_destroy(context));
}

/* Bytes of address space that this process has. */
static long space(void) {
  FILE *f = fopen("/proc/self/statm", "r");
  long pages = 0;
  if (!f || fscanf(f, "%ld", &pages) != 1) exit(2);
  fclose(f);
  return pages * sysconf(_SC_PAGESIZE);
}

/* Finds out if the model has a tokeniser. */
static void look(void) {
  rekindle_context *context = NULL;
  rekindle_file *file = NULL;
  rekindle_vocab *vocab = NULL;
  rekindle_context_params cp = {.struct_size = sizeof cp, .n_threads = 1, .devices = "cpu", .devices_len = 3};
  DO(rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &context));
  DO(rekindle_file_open(context, model_path, strlen(model_path), &file));
  has_text = rekindle_vocab_create(file, &vocab) == REKINDLE_OK;
  DO(rekindle_vocab_destroy(vocab));
  DO(rekindle_file_close(file));
  DO(rekindle_context_destroy(context));
}

static void *run_here(void *data) {
  run();
  return data;
}

/* A run on a thread with a stack of k KiB; its end, too, needs some of that. */
static void on_stack(void) {
  pthread_attr_t attributes;
  pthread_t thread;
  if (pthread_attr_init(&attributes) || pthread_attr_setstacksize(&attributes, (size_t)k * 1024) ||
      pthread_create(&thread, &attributes, run_here, NULL) || pthread_join(thread, NULL))
    _exit(2);
  _exit(1);
}

/* A run for each limit, in a child. Prints how many were killed. */
static int limits(long first, long step, long last, int of_stack) {
  long runs = 0, killed = 0, refused = 0;
  for (k = first; k <= last; k += step, runs++) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) return 2;
    if (pid == 0) {
      if (of_stack) on_stack();
      struct rlimit limit = {(rlim_t)(space() + k * 1024), RLIM_INFINITY};
      limit.rlim_max = limit.rlim_cur;
      if (setrlimit(RLIMIT_AS, &limit)) _exit(2);
      within_limit = 1;
      run();
      _exit(1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) {
      killed++;
      printf("killed by %d at %ld KiB\n", WTERMSIG(status), k);
    } else if (WEXITSTATUS(status) == 0) {
      refused++;
    } else if (WEXITSTATUS(status) != 1) {
      return 2;
    }
  }
  printf("limits %ld refused %ld killed %ld\n", runs, refused, killed);
  return killed > 0;
}

int main(int argc, char **argv) {
  if (argc != 8) return 2;
  model_path = argv[1], chat_path = argv[2], saved_path = argv[3];
  look();
  int of_stack = !strcmp(argv[4], "stack");
  if (of_stack || !strcmp(argv[4], "space")) return limits(atol(argv[5]), atol(argv[6]), atol(argv[7]), of_stack);
  int kind = atoi(argv[4]);
  long first = atol(argv[5]), step = atol(argv[6]), last = atol(argv[7]);
  *(void **)&refuse_arm = dlsym(RTLD_DEFAULT, "refuse_arm");
  *(void **)&refuse_seen = dlsym(RTLD_DEFAULT, "refuse_seen");
  *(void **)&refuse_live = dlsym(RTLD_DEFAULT, "refuse_live");
  if (!refuse_arm || !refuse_seen || !refuse_live) return 2;
  run(); /* what is made once in a process */
  run();
  long before = refuse_live();
  refuse_arm(kind, 0);
  run();
  long all = refuse_seen(kind);
  if (last == 0 || last > all) last = all;
  long runs = 0;
  for (k = first; k <= last; k += step, runs++) {
    fprintf(stdout, "%ld\n", k);
    fflush(stdout);
    refuse_arm(kind, k);
    run();
    refuse_arm(kind, 0);
  }
  run();
  fprintf(stdout, "all %ld runs %ld failed %ld leaked %ld\n", all, runs, n_failed, refuse_live() - before);
  return 0;
}
