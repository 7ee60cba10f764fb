/* Samplers through the C ABI: orders of steps, a step of the host's own and its bad answers, copies, log-probabilities,
 * texts and tokens that break repetitions. */
#include "world.h"

#include <math.h>

#define N 8

static const float logits[N] = {0, 1, 2, 3, 4, 5, 6, 7};

static rekindle_sampler_params params(void) {
  rekindle_sampler_params p;
  memset(&p, 0, sizeof p);
  p.struct_size = sizeof p;
  p.temperature = 1;
  p.n_logprobs = N;
  return p;
}

static rekindle_sampler *make(const rekindle_sampler_params *p) {
  rekindle_sampler *s = NULL;
  OK(rekindle_sampler_create(p, &s));
  return s;
}

static void refuse(const rekindle_sampler_params *p, const char *name) {
  rekindle_sampler *s = NULL;
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_sampler_create(p, &s));
  rekindle_error_detail d = {.struct_size = sizeof d};
  OK(rekindle_last_error_detail(&d));
  CHECK(s == NULL && strcmp(d.subject, name) == 0);
}

/* Samples, and counts the candidates that are left for the draw. */
static size_t left(rekindle_sampler *s, rekindle_logprob *best) {
  int32_t token = -1;
  size_t n = 0;
  OK(rekindle_sampler_sample_logits(s, logits, N, &token));
  rekindle_logprob chosen = {-1, 1};
  OK(rekindle_sampler_logprobs(s, REKINDLE_LOGPROBS_DRAWN, &chosen, best, N, &n));
  CHECK(chosen.token == token && chosen.logprob <= 0 && n <= N);
  return n;
}

static void orders(void) {
  rekindle_logprob best[N];
  /* At a temperature of 10 top-p leaves more. */
  static const int32_t heat_first[] = {REKINDLE_STEP_TEMPERATURE, REKINDLE_STEP_TOP_P};
  rekindle_sampler_params p = params();
  p.temperature = 10;
  p.top_p = 0.8f;
  rekindle_sampler *s = make(&p);
  CHECK(left(s, best) == 2 && best[0].token == 7 && best[1].token == 6);
  OK(rekindle_sampler_destroy(s));
  p.steps = heat_first;
  p.n_steps = 2;
  s = make(&p);
  CHECK(left(s, best) > 4);
  rekindle_logprob chosen;
  OK(rekindle_sampler_logprobs(s, REKINDLE_LOGPROBS_MODEL, &chosen, NULL, 0, NULL));
  CHECK(chosen.logprob < 0);
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_sampler_logprobs(s, 2, &chosen, NULL, 0, NULL));
  EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_sampler_logprobs(s, 0, NULL, NULL, 0, NULL));
  OK(rekindle_sampler_reset(s));
  EXPECT(REKINDLE_NOT_FOUND, rekindle_sampler_logprobs(s, REKINDLE_LOGPROBS_MODEL, &chosen, NULL, 0, NULL));
  OK(rekindle_sampler_destroy(s));

  static const int32_t unknown[] = {REKINDLE_STEP_TOP_K, 0}, other[] = {12}, host[] = {REKINDLE_STEP_HOST},
                       infill[] = {REKINDLE_STEP_INFILL};
  p.steps = unknown;
  refuse(&p, "steps");
  p.n_steps = 1;
  p.steps = other;
  refuse(&p, "steps");
  p.steps = host;
  refuse(&p, "host_step");
  p.steps = infill;
  refuse(&p, "vocab");
  p.steps = NULL;
  refuse(&p, "steps");
}

struct own {
  rekindle_sampler *sampler;
  int answer;
  size_t calls;
};

static int32_t own(void *user_data, rekindle_candidate *c, size_t *n) {
  struct own *o = (struct own *)user_data;
  o->calls++;
  float sum = 0;
  for (size_t i = 0; i < *n; i++) sum += c[i].p;
  CHECK(*n == N && sum > 0.999f && sum < 1.001f);
  int32_t token;
  EXPECT(REKINDLE_BUSY, rekindle_sampler_sample_logits(o->sampler, logits, N, &token));
  switch (o->answer) {
    case 0: for (size_t i = 0; i < *n; i++) c[i].logit = -c[i].logit; *n = 3; return 0;
    case 1: *n = 0; return 0;
    case 2: *n = SIZE_MAX; return 0;
    case 3: c[0].token = -1; return 0;
    case 4: c[0] = c[1]; return 0;
    case 5: c[0].logit = NAN; return 0;
    case 6: for (size_t i = 0; i < *n; i++) c[i].logit = -INFINITY; return 0;
    default: return 7;
  }
}

static void own_steps(void) {
  static const int32_t host[] = {REKINDLE_STEP_HOST};
  struct own o = {0};
  rekindle_sampler_params p = params();
  p.steps = host;
  p.n_steps = 1;
  p.host_step = own;
  p.host_data = &o;
  o.sampler = make(&p);
  rekindle_logprob best[N];
  CHECK(left(o.sampler, best) == 3 && o.calls == 1);
  for (size_t i = 1; i < 3; i++) CHECK(best[i].logprob <= best[i - 1].logprob);
  int32_t token = 77;
  for (o.answer = 1; o.answer < 7; o.answer++)
    EXPECT(REKINDLE_INVALID_ARGUMENT, rekindle_sampler_sample_logits(o.sampler, logits, N, &token));
  EXPECT(REKINDLE_CANCELLED, rekindle_sampler_sample_logits(o.sampler, logits, N, &token));
  CHECK(token == 77);
  o.answer = 0;
  OK(rekindle_sampler_sample_logits(o.sampler, logits, N, &token));
  p.steps = NULL;
  p.n_steps = 0;
  refuse(&p, "steps");
  OK(rekindle_sampler_destroy(o.sampler));
}

static void copies(void) {
  rekindle_sampler_params p = params();
  p.temperature = 3;
  p.repeat_penalty = 1.5f;
  p.mirostat = 2;
  rekindle_sampler *a = make(&p), *b = NULL;
  int32_t from_a[20], from_b[20];
  for (int i = 0; i < 20; i++) {
    OK(rekindle_sampler_sample_logits(a, logits, N, &from_a[i]));
    OK(rekindle_sampler_accept(a, from_a[i]));
  }
  OK(rekindle_sampler_copy(a, &b));
  for (int i = 0; i < 20; i++) {
    OK(rekindle_sampler_sample_logits(a, logits, N, &from_a[i]));
    OK(rekindle_sampler_accept(a, from_a[i]));
  }
  OK(rekindle_sampler_destroy(a));
  for (int i = 0; i < 20; i++) {
    OK(rekindle_sampler_sample_logits(b, logits, N, &from_b[i]));
    OK(rekindle_sampler_accept(b, from_b[i]));
  }
  CHECK(memcmp(from_a, from_b, sizeof from_a) == 0);
  OK(rekindle_sampler_destroy(b));
}

static void breakers(const rekindle_vocab *vocab) {
  rekindle_sampler_params p = params();
  p.dry_multiplier = 1;
  static const rekindle_text texts[] = {{"\n", 1}, {"Amen", 4}}, empty[] = {{"", 0}}, bad[] = {{"\xff", 1}};
  static const int32_t tokens[] = {1, 2, -1, 3, -1}, open_end[] = {1, 2}, none[] = {-1};
  p.dry_breakers = texts;
  p.n_dry_breakers = 2;
  refuse(&p, "vocab");
  p.vocab = vocab;
  OK(rekindle_sampler_destroy(make(&p)));
  p.dry_breakers = empty;
  p.n_dry_breakers = 1;
  refuse(&p, "dry_breakers");
  p.dry_breakers = bad;
  refuse(&p, "dry_breakers");
  rekindle_text lasting = {"x", SIZE_MAX};
  p.dry_breakers = &lasting;
  refuse(&p, "dry_breakers");
  p.dry_breakers = NULL;
  refuse(&p, "dry_breakers");
  p.n_dry_breakers = 0;
  OK(rekindle_sampler_destroy(make(&p)));
  p.vocab = NULL;
  p.n_dry_breaker_tokens = 5;
  p.dry_breaker_tokens = tokens;
  rekindle_sampler *s = make(&p);
  for (int i = 0; i < 8; i++) OK(rekindle_sampler_accept(s, 4 + i % 4));
  rekindle_logprob best[N];
  CHECK(left(s, best) == N);
  /* 4 would repeat four tokens, so it falls behind. */
  CHECK(best[0].token == 7 && best[N - 1].token == 0 && best[2].token == 5 && best[3].token == 3);
  OK(rekindle_sampler_destroy(s));
  p.n_dry_breaker_tokens = 2;
  p.dry_breaker_tokens = open_end;
  refuse(&p, "dry_breaker_tokens");
  p.n_dry_breaker_tokens = 1;
  p.dry_breaker_tokens = none;
  refuse(&p, "dry_breaker_tokens");
  p.n_dry_breaker_tokens = 0;
  p.vocab = (const rekindle_vocab *)(uintptr_t)0x5a5a;
  rekindle_sampler *never = NULL;
  EXPECT(REKINDLE_BAD_HANDLE, rekindle_sampler_create(&p, &never));
  CHECK(never == NULL);
}

int main(void) {
  struct world w = world_make();
  orders();
  own_steps();
  copies();
  breakers(w.vocab);
  world_end(&w);
  puts("samplers: fine");
  return 0;
}
