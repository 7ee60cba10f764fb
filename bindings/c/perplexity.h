/* `rekindle perplexity`: how surprised a model is by a text, defined as llama.cpp's llama-perplexity defines it.
 *
 * The text's tokens are cut into windows of n_ctx, and what is left over at the end is not used. A window begins with
 * BOS in the place of its first token, if the vocabulary adds one. Its second half is counted: tokens n_ctx/2 + 1 to
 * n_ctx - 1, each predicted from those before it in the window. The perplexity is e to the mean of -ln p, and its
 * standard error that of the mean times the perplexity. With a stride, windows begin that many tokens apart and as many
 * are counted of each, the last ones. */
#ifndef PERPLEXITY_H
#define PERPLEXITY_H

#include "load.h"
#include "text.h"

/* Rows of logits that a batch leaves at most: a row has as many floats as the vocabulary has tokens. */
enum { MOST_ROWS = 128 };

typedef struct {
    size_t n;
    double sum, squares;
} surprises;

/* -ln p of a token. */
static double surprise(const float *logits, uint32_t n_vocab, int32_t token) {
    double sum = 0;
    float top = logits[0];
    for (uint32_t i = 1; i < n_vocab; i++) top = logits[i] > top ? logits[i] : top;
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - (double)top);
    return log(sum) + (double)top - (double)logits[token];
}

/* Runs a window of `n` tokens from position 0 on. Those behind token `first` are counted. */
static void measure(const int32_t *window, uint32_t n, uint32_t first, const rekindle_model_info *m, surprises *s) {
    uint8_t *outputs = grown(NULL, n);
    for (uint32_t i = 0; i < n; i++) outputs[i] = i >= first;
    check(rekindle_seq_remove(model, -1, -1, -1), "perplexity");
    /* The last token predicts nothing that is here. */
    for (uint32_t from = 0, to; from + 1 < n; from = to) {
        uint32_t most = from < first ? m->n_batch : m->n_outputs_max, end = from < first ? first : n - 1;
        to = end - from > most ? from + most : end;
        rekindle_batch b = {.struct_size = sizeof b, .n_tokens = to - from, .tokens = window + from};
        b.outputs = outputs + from;
        decode(&b, "perplexity");
        for (uint32_t row = 0; from >= first && row < to - from; row++) {
            const float *logits = NULL;
            check(rekindle_logits(model, row, &logits, NULL), "perplexity");
            double x = surprise(logits, m->n_vocab, window[from + row + 1]);
            if (!isfinite(x)) fail("the model's logits are no finite numbers", "");
            s->n++;
            s->sum += x;
            s->squares += x * x;
        }
    }
    free(outputs);
}

static double perplexity_of(const surprises *s) { return exp(s->sum / (double)s->n); }

static double standard_error(const surprises *s) {
    double mean = s->sum / (double)s->n, variance = s->squares / (double)s->n - mean * mean;
    return s->n > 1 && variance > 0 ? sqrt(variance / (double)(s->n - 1)) * exp(mean) : 0;
}

/* The windows of a text, of which a stride chooses the beginnings. */
static surprises measure_all(const options *o, int32_t *tokens, size_t n_tokens, uint32_t n, int32_t bos) {
    rekindle_model_info m = model_info();
    surprises s = {0};
    uint32_t step = o->stride ? o->stride : n, first = o->stride ? n - o->stride - 1 : n / 2;
    size_t windows = (n_tokens - n) / step + 1;
    if (o->chunks && windows > o->chunks) windows = o->chunks;
    if (!o->json) printf("%zu tokens, %zu windows of %u, %u counted of each\n", n_tokens, windows, n, n - 1 - first);
    for (size_t i = 0; i < windows; i++) {
        int32_t *window = tokens + i * step, replaced = window[0];
        if (bos >= 0) window[0] = bos;
        measure(window, n, first, &m, &s);
        window[0] = replaced;
        if (o->json) printf("{\"chunk\": %zu, \"perplexity\": %.6f}\n", i + 1, perplexity_of(&s));
        else printf("[%zu]%.4f,", i + 1, perplexity_of(&s));
        fflush(stdout);
    }
    return s;
}

static void perplexity(options *o) {
    on_interrupt(watch);
    if (!o->path) fail("-f FILE is needed, the text", "");
    uint32_t n = o->plan.n_ctx ? o->plan.n_ctx : 512;
    if (n < 4) fail("--ctx is expected to be at least 4", "");
    if (o->stride && o->stride > n - 2) fail("--stride is expected to be at most --ctx less 2", "");
    size_t len = 0, n_tokens = 0;
    char *text = whole_file(o->path, &len);
    rekindle_vocab *vocab = NULL;
    check(rekindle_vocab_create(file, &vocab), "vocabulary");
    rekindle_vocab_info about = {.struct_size = sizeof about};
    check(rekindle_vocab_get_info(vocab, &about), "vocabulary");
    int32_t *tokens = tokens_of(vocab, text, len, REKINDLE_TEXT_SPECIAL, &n_tokens);
    if (n_tokens < 2 * (size_t)n) {
        fprintf(stderr, "rekindle: %s has %zu tokens, and 2 windows of %u (--ctx) are needed\n", o->path, n_tokens, n);
        exit(2);
    }
    o->plan.n_ctx = n;
    if (!o->plan.n_outputs_max) {
        uint32_t most = o->plan.n_batch ? o->plan.n_batch : n < 512 ? n : 512;
        o->plan.n_batch = most;
        o->plan.n_outputs_max = most < MOST_ROWS ? most : MOST_ROWS;
    }
    load(o, 0);
    use_adapters(o);
    surprises s = measure_all(o, tokens, n_tokens, n, about.add_bos ? about.bos : -1);
    if (o->json)
        printf("{\"perplexity\": %.6f, \"standard_error\": %.6f, \"n_counted\": %zu, \"n_ctx\": %u}\n",
               perplexity_of(&s), standard_error(&s), s.n, n);
    else printf("\nperplexity %.4f +/- %.5f over %zu tokens\n", perplexity_of(&s), standard_error(&s), s.n);
    free(tokens), free(text);
    (void)rekindle_vocab_destroy(vocab);
}

#endif
