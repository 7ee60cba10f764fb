/* The scenario that hosts in all languages run: plan, load, several sequences, grammar, cancel, save, errors. It prints
 * what it sees, floats as their bits, and every host must print the same bytes. usage: scenario MODEL */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rekindle.h"

static rekindle_context *context;
static rekindle_file *file;
static rekindle_model *model;
static rekindle_vocab *vocab;

#define TEXT(s) (s), strlen(s)
#define SIZED(type, name, ...) type name = {.struct_size = sizeof(type), __VA_ARGS__}

static void must(rekindle_status status) {
    if (status == REKINDLE_OK) return;
    printf("unexpected: %s: %s\n", rekindle_status_name(status), rekindle_last_error());
    exit(1);
}

/* Prints an error with its particulars. */
static void fails(const char *what, rekindle_status status) {
    SIZED(rekindle_error_detail, d, .device = -1);
    must(rekindle_last_error_detail(&d));
    printf("%s: %s: %s [%s] device %d, needed %llu, available %llu\n", what, rekindle_status_name(status),
           rekindle_last_error(), d.subject, (int)d.device, (unsigned long long)d.needed,
           (unsigned long long)d.available);
}

static unsigned bits(float x) {
    unsigned u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static rekindle_plan_t *make_plan(rekindle_context *c, uint32_t n_ctx, uint32_t n_seq_max) {
    SIZED(rekindle_plan_params, p, .n_ctx = n_ctx, .n_seq_max = n_seq_max);
    rekindle_plan_t *plan = NULL;
    must(rekindle_plan(c, file, &p, &plan));
    return plan;
}

static void plans(const char *path) {
    SIZED(rekindle_context_params, p, .n_threads = 2, .devices = "k80:2", .devices_len = 5);
    rekindle_context *dies = NULL;
    must(rekindle_context_create(REKINDLE_ABI_VERSION, &p, &dies));
    must(rekindle_file_open(context, TEXT(path), &file));
    rekindle_plan_t *plan = make_plan(dies, 512, 2);
    SIZED(rekindle_plan_summary, s, .fits = 0);
    must(rekindle_plan_get_summary(plan, &s));
    printf("plan: fits %u, n_ctx %u, n_batch %u, %s, %s\n", s.fits != 0, s.n_ctx, s.n_batch, s.architecture, s.name);
    for (uint32_t i = 0; i < s.n_devices; i++) {
        SIZED(rekindle_plan_device, d, .device = 0);
        must(rekindle_plan_get_device(plan, i, &d));
        printf("device %u: layers %u, weights %llu, kv %llu, compute %llu\n", d.device, d.n_layers,
               (unsigned long long)d.weights, (unsigned long long)d.kv, (unsigned long long)d.compute);
    }
    fails("load", rekindle_load(dies, plan, NULL, &model));
    must(rekindle_plan_destroy(plan));
    must(rekindle_context_destroy(dies));
}

static void load(void) {
    rekindle_plan_t *plan = make_plan(context, 128, 4);
    must(rekindle_load(context, plan, NULL, &model));
    must(rekindle_plan_destroy(plan));
    SIZED(rekindle_memory, m, .reserved = 0);
    must(rekindle_model_memory(model, 0, &m));
    printf("memory: mapped %llu, kv %llu\n", (unsigned long long)m.mapped, (unsigned long long)m.kv);
    must(rekindle_model_vocab(model, &vocab));
    must(rekindle_file_close(file));
}

static size_t tokens_of(const char *text, int32_t *tokens) {
    size_t n = 0;
    must(rekindle_tokenize(vocab, TEXT(text), REKINDLE_TEXT_SPECIAL, tokens, 64, &n));
    return n;
}

/* The likeliest token of a row, and the bits of its logit. */
static int32_t likeliest(uint32_t row) {
    const float *logits = NULL;
    uint32_t n = 0, most = 0;
    must(rekindle_logits(model, row, &logits, &n));
    for (uint32_t i = 1; i < n; i++) most = logits[i] > logits[most] ? i : most;
    printf("row %u: token %u, logit %08x\n", row, most, bits(logits[most]));
    return (int32_t)most;
}

static void lengths(const char *what) {
    uint32_t n = 0, free_cells = 0;
    printf("%s: lengths", what);
    for (int32_t seq = 0; seq < 4; seq++) {
        must(rekindle_seq_length(model, seq, &n));
        printf(" %u", n);
    }
    must(rekindle_n_free(model, &free_cells));
    printf(", free %u\n", free_cells);
}

static void sequences(void) {
    int32_t tokens[64], seqs[64] = {0}, next[2];
    size_t n = tokens_of("In the beginning God", tokens), m = tokens_of("And God said", tokens + n);
    for (size_t i = n; i < n + m; i++) seqs[i] = 1;
    SIZED(rekindle_batch, b, .n_tokens = (uint32_t)(n + m), .tokens = tokens, .seq_ids = seqs);
    must(rekindle_decode(model, &b));
    for (uint32_t i = 0; i < 2; i++) next[i] = likeliest(i), seqs[i] = (int32_t)i;
    b.n_tokens = 2, b.tokens = next;
    must(rekindle_decode(model, &b));
    (void)likeliest(0), (void)likeliest(1);
    lengths("decoded");
    must(rekindle_seq_copy(model, 0, 2, -1, -1));
    uint32_t reached = 0;
    must(rekindle_seq_cut(model, 2, 3, &reached));
    must(rekindle_seq_remove(model, 1, 0, 2));
    must(rekindle_seq_shift(model, 1, 2, -1, -2));
    lengths("changed");
    seqs[0] = 2, b.n_tokens = 1;
    must(rekindle_decode(model, &b));
    (void)likeliest(0);
}

static void save(void) {
    size_t n = 0;
    must(rekindle_seq_save(model, 0, NULL, 0, &n));
    uint8_t *bytes = malloc(n);
    if (!bytes) exit(1);
    must(rekindle_seq_save(model, 0, bytes, n, &n));
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    printf("saved: %zu bytes, %016llx\n", n, (unsigned long long)hash);
    must(rekindle_seq_load(model, 3, bytes, n));
    lengths("loaded");
    bytes[n - 1] ^= 1;
    fails("damaged", rekindle_seq_load(model, 3, bytes, n));
    free(bytes);
    must(rekindle_seq_remove(model, -1, -1, -1));
}

/* Writes all that a generation has told. */
static void tell(rekindle_generation *g) {
    SIZED(rekindle_event, e, .kind = REKINDLE_EVENT_TOKEN);
    while (e.kind != REKINDLE_EVENT_END) {
        must(rekindle_generation_next(g, &e));
        if (e.kind == REKINDLE_EVENT_TOKEN) printf("%d:%.*s|", e.token, (int)e.text_len, e.text);
    }
    printf("%.*s stop %d\n", (int)e.text_len, e.text, e.stop);
}

static void generations(void) {
    static const char *const prompts[] = {"And God said", "In the beginning", "And God said unto"};
    static const char *const stops[] = {"the LORD"};
    static const size_t stop_lens[] = {8};
    SIZED(rekindle_sampler_params, sp, .temperature = 0.9f, .top_k = 40, .seed = 7);
    rekindle_sampler *sampler = NULL;
    must(rekindle_sampler_create(&sp, &sampler));
    rekindle_generation *g[3] = {NULL};
    for (int i = 0; i < 3; i++) {
        SIZED(rekindle_generation_params, p, .prompt = prompts[i], .prompt_len = strlen(prompts[i]));
        p.max_tokens = 12, p.sampler = i == 1 ? sampler : NULL;
        if (i == 0) p.stop_texts = stops, p.stop_text_lens = stop_lens, p.n_stop_texts = 1;
        must(rekindle_generation_create(model, &p, &g[i]));
    }
    SIZED(rekindle_step_result, r, .n_going = 3);
    for (int steps = 0; r.n_going > 0; steps++) {
        if (steps == 4) must(rekindle_generation_cancel(g[2]));
        must(rekindle_step(model, g, 3, &r));
    }
    for (int i = 0; i < 3; i++) {
        tell(g[i]);
        must(rekindle_generation_destroy(g[i]));
    }
    must(rekindle_sampler_destroy(sampler));
}

static void grammars(void) {
    const char *pattern = " the (day|night) of [0-9]{2}";
    rekindle_grammar *grammar = NULL;
    must(rekindle_grammar_create(vocab, REKINDLE_GRAMMAR_REGEX, TEXT(pattern), NULL, &grammar));
    uint32_t mask[64], allowed = 0;
    must(rekindle_grammar_mask(grammar, mask, 64, NULL));
    for (int i = 0; i < 64 * 32; i++) allowed += mask[i / 32] >> (i % 32) & 1;
    printf("grammar: %u tokens may come first\n", allowed);
    SIZED(rekindle_generation_params, p, .prompt = "And God made", .prompt_len = 12, .grammar = grammar);
    rekindle_generation *g = NULL;
    must(rekindle_generation_create(model, &p, &g));
    SIZED(rekindle_step_result, r, .n_going = 1);
    while (r.n_going > 0) must(rekindle_step(model, &g, 1, &r));
    tell(g);
    must(rekindle_generation_destroy(g));
    for (int i = 0; i < 3; i++) {
        static const char *const texts[] = {" the day of 12", " the da", " the month"};
        SIZED(rekindle_grammar_verdict, v, .verdict = 0);
        must(rekindle_grammar_check(grammar, TEXT(texts[i]), &v));
        printf("check: %u at %llu\n", v.verdict, (unsigned long long)v.at);
    }
    must(rekindle_grammar_destroy(grammar));
    fails("grammar", rekindle_grammar_create(vocab, REKINDLE_GRAMMAR_REGEX, TEXT("(day"), NULL, &grammar));
}

static int32_t cancels(void *user_data, int32_t token, const char *piece, size_t len) {
    int *left = user_data;
    printf("piece %d:%.*s\n", token, (int)len, piece);
    return --*left ? 0 : (int32_t)rekindle_cancel(model);
}

static void cancel(void) {
    SIZED(rekindle_generate_params, p, .prompt = "And God said", .prompt_len = 12);
    int left = 3;
    fails("cancel", rekindle_generate(model, NULL, &p, cancels, &left, NULL));
    lengths("cancelled");
}

static void errors(void) {
    int32_t wrong[] = {5, 99999}, none[200] = {0};
    SIZED(rekindle_batch, b, .n_tokens = 2, .tokens = wrong);
    fails("decode", rekindle_decode(model, &b));
    b.n_tokens = 128, b.tokens = none;
    fails("decode", rekindle_decode(model, &b));
    const float *row = NULL;
    fails("logits", rekindle_logits(model, 7, &row, NULL));
    fails("open", rekindle_file_open(context, TEXT("/no/such/model.gguf"), &file));
    SIZED(rekindle_sampler_params, sp, .top_p = 2);
    rekindle_sampler *sampler = NULL;
    fails("sampler", rekindle_sampler_create(&sp, &sampler));
    fails("length", rekindle_seq_remove(model, 9, 0, -1));
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    SIZED(rekindle_context_params, p, .n_threads = 2, .devices = "cpu", .devices_len = 3);
    must(rekindle_context_create(REKINDLE_ABI_VERSION, &p, &context));
    plans(argv[1]);
    load();
    sequences();
    save();
    generations();
    grammars();
    cancel();
    errors();
    must(rekindle_vocab_destroy(vocab));
    must(rekindle_model_destroy(model));
    must(rekindle_context_destroy(context));
    return 0;
}
