/* Hostile files, through the C ABI: hostile FLIPS TRUNCATIONS MODEL...
 *
 * Of each model: copies cut short (TRUNCATIONS of them, 0: one per 64 bytes), then FLIPS copies with one to four bytes
 * of the header changed at random. Each is opened, listed, planned, loaded, tokenised with and decoded, as far as it
 * gets. Whatever happens must be a status with a text, within a second, and leave the context usable. */
#define _POSIX_C_SOURCE 200809L
#include "world.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* More is refused here, not by the library: a changed size may ask for all of the machine's memory and get it. */
#define MOST_BYTES ((uint64_t)256 << 20)

static unsigned long counts[32], rejected, too_large, decoded;
static double slowest;

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t random_below(uint64_t n) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state % n;
}

/* Seconds of the processors. The clock on the wall would blame a file for what else runs on the machine. */
static double used(void) { return (double)clock() / CLOCKS_PER_SEC; }

/* Counts what came out; an error must have a text. */
static int good(rekindle_status s) {
  CHECK(s >= 0 && s < 32 && s != REKINDLE_INTERNAL);
  counts[s]++;
  CHECK(s == REKINDLE_OK || rekindle_last_error()[0] != 0);
  return s == REKINDLE_OK;
}

static void list(const rekindle_file *f) {
  rekindle_file_info info = {.struct_size = sizeof info};
  OK(rekindle_file_get_info(f, &info));
  for (uint32_t i = 0; i < info.n_keys; i++) {
    size_t needed;
    good(rekindle_file_key_text(f, i, 4, NULL, 0, &needed));
  }
  for (uint32_t i = 0; i < info.n_tensors; i++) {
    rekindle_tensor_info t = {.struct_size = sizeof t};
    OK(rekindle_file_get_tensor(f, i, &t));
  }
}

static void text(rekindle_model *m) {
  static const char words[] = "Hello, w\xc3\xb6rld <s> 123\n";
  rekindle_vocab *v = NULL;
  if (!good(rekindle_model_vocab(m, &v))) return;
  int32_t ids[64];
  size_t n = 0, needed = 0;
  if (good(rekindle_tokenize(v, words, sizeof words - 1, REKINDLE_TEXT_SPECIAL, ids, 64, &n)))
    good(rekindle_detokenize(v, ids, n, 0, NULL, 0, &needed));
  OK(rekindle_vocab_destroy(v));
}

static void use(rekindle_context *c, const char *path) {
  rekindle_file *f = NULL;
  rekindle_plan_t *p = NULL;
  rekindle_model *m = NULL;
  double start = used();
  if (!good(rekindle_file_open(c, path, strlen(path), &f))) {
    CHECK(f == NULL);
    rejected++;
  } else {
    list(f);
    rekindle_plan_params params = {.struct_size = sizeof params, .n_ctx = 32, .n_batch = 16};
    if (good(rekindle_plan(c, f, &params, &p))) {
      rekindle_plan_device d = {.struct_size = sizeof d};
      OK(rekindle_plan_get_device(p, 0, &d));
      if (d.weights + d.kv + d.compute > MOST_BYTES) {
        too_large++;
      } else if (good(rekindle_load(c, p, NULL, &m))) {
        text(m);
        rekindle_batch b = {.struct_size = sizeof b};
        fill_rekindle_batch(&b);
        decoded += good(rekindle_decode(m, &b));
        OK(rekindle_model_destroy(m));
      }
    }
    if (p) OK(rekindle_plan_destroy(p));
    OK(rekindle_file_close(f));
  }
  double took = used() - start;
  if (took > slowest) slowest = took;
  if (!getenv("REKINDLE_TEST_SHORT")) CHECK(took < 1.0);
}

static size_t header_bytes(rekindle_context *c, const char *path) {
  rekindle_file *f = NULL;
  rekindle_file_info info = {.struct_size = sizeof info};
  OK(rekindle_file_open(c, path, strlen(path), &f));
  OK(rekindle_file_get_info(f, &info));
  uint64_t least = UINT64_MAX;
  for (uint32_t i = 0; i < info.n_tensors; i++) {
    rekindle_tensor_info t = {.struct_size = sizeof t};
    OK(rekindle_file_get_tensor(f, i, &t));
    if (t.offset < least) least = t.offset;
  }
  OK(rekindle_file_close(f));
  return (size_t)least;
}

int main(int argc, char **argv) {
  CHECK(argc > 3);
  unsigned long flips = strtoul(argv[1], NULL, 10), truncations = strtoul(argv[2], NULL, 10), files = 0;
  rekindle_context *c = NULL;
  rekindle_context_params cp = {.struct_size = sizeof cp, .n_threads = 1};
  OK(rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &c));
  for (int i = 3; i < argc; i++) {
    char path[4096];
    CHECK(snprintf(path, sizeof path, "%s.hostile", argv[0]) < (int)sizeof path);
    FILE *in = fopen(argv[i], "rb");
    CHECK(in && fseek(in, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(in);
    rewind(in);
    unsigned char *bytes = allocate(size);
    CHECK(fread(bytes, 1, size, in) == size);
    fclose(in);
    int out = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(out >= 0 && pwrite(out, bytes, size, 0) == (ssize_t)size);
    size_t header = header_bytes(c, path);

    for (unsigned long n = 0; n < flips; n++, files++) {
      size_t at[4], changed = 1 + random_below(4);
      for (size_t k = 0; k < changed; k++) {
        at[k] = random_below(header);
        unsigned char byte = (unsigned char)(bytes[at[k]] ^ (1 + random_below(255)));
        CHECK(pwrite(out, &byte, 1, (off_t)at[k]) == 1);
      }
      use(c, path);
      for (size_t k = 0; k < changed; k++) CHECK(pwrite(out, bytes + at[k], 1, (off_t)at[k]) == 1);
    }
    /* The longest first, so that the one file serves for all. */
    size_t step = truncations ? size / truncations + 1 : 64;
    for (size_t length = (size - 1) / step * step;; length -= step, files++) {
      CHECK(ftruncate(out, (off_t)length) == 0);
      unsigned long before = rejected;
      use(c, path);
      CHECK(rejected == before + 1);
      if (length == 0) break;
    }
    files++;
    close(out);
    remove(path);
    free(bytes);
  }
  OK(rekindle_context_destroy(c));
  printf("hostile: %lu files, %lu not opened, %lu too large to load here, %lu decoded; slowest %.3f s\n", files,
         rejected, too_large, decoded, slowest);
  for (int s = 0; s < 32; s++)
    if (counts[s]) printf("  %-26s %lu\n", rekindle_status_name(s), counts[s]);
  return 0;
}
