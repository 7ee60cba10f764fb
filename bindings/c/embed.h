/* `rekindle embed`: a row of numbers for each text, or for each of its tokens.
 *
 * All texts are tokenised first, so that the plan is made for the longest of them. As many as fit a batch are computed
 * together, each as a sequence of its own. */
#ifndef EMBED_H
#define EMBED_H

#include "load.h"
#include "text.h"

typedef struct {
    int32_t *tokens;
    size_t n;
    /* One row of numbers, or one for each token. */
    float *rows;
    size_t n_rows;
} input;

typedef struct {
    input *all;
    size_t n, longest;
    uint32_t n_row;
} inputs;

static void add_input(inputs *texts, const rekindle_vocab *vocab, const options *o, const char *text, size_t len) {
    uint32_t flags = REKINDLE_TEXT_SPECIAL | (o->special ? REKINDLE_TEXT_PARSE_SPECIAL : 0);
    texts->all = grown(texts->all, (texts->n + 1) * sizeof *texts->all);
    input *to = &texts->all[texts->n++];
    *to = (input){0};
    to->tokens = tokens_of(vocab, text, len, flags, &to->n);
    if (!to->n) {
        fprintf(stderr, "rekindle: text %zu has no tokens\n", texts->n - 1);
        exit(2);
    }
    if (to->n > texts->longest) texts->longest = to->n;
}

/* The texts of the command line, or else the lines of a file. */
static inputs read_inputs(const options *o) {
    inputs texts = {0};
    rekindle_vocab *vocab = NULL;
    if (o->path && o->n_texts) fail("texts are given twice: as arguments, and as -f ", o->path);
    check(rekindle_vocab_create(file, &vocab), "vocabulary");
    for (uint32_t i = 0; i < o->n_texts; i++) add_input(&texts, vocab, o, o->texts[i], strlen(o->texts[i]));
    if (!o->n_texts) {
        size_t len = 0;
        char *lines = whole_file(o->path ? o->path : "-", &len);
        for (size_t from = 0, to; from < len; from = to + 1) {
            const char *end = memchr(lines + from, '\n', len - from);
            to = end ? (size_t)(end - lines) : len;
            add_input(&texts, vocab, o, lines + from, to - from - (to > from && lines[to - 1] == '\r'));
        }
        free(lines);
    }
    if (!texts.n) fail("there is no text", "");
    (void)rekindle_vocab_destroy(vocab);
    return texts;
}

/* The pooling of the options, else the file's, else the mean. */
static int32_t pooling(const options *o) {
    if (o->plan.pooling) return o->plan.pooling;
    rekindle_file_info info = {.struct_size = sizeof info};
    check(rekindle_file_get_info(file, &info), "info");
    char name[128];
    uint32_t key = 0;
    snprintf(name, sizeof name, "%s.pooling_type", info.architecture);
    rekindle_status status = rekindle_file_find_key(file, name, strlen(name), &key);
    if (status == REKINDLE_NOT_FOUND) return REKINDLE_POOLING_MEAN;
    check(status, name);
    int64_t number = 0;
    check(rekindle_file_key_integer(file, key, &number), name);
    /* 0 stands for none, which needs room for more rows than the others. */
    return number ? REKINDLE_POOLING_FILE : REKINDLE_POOLING_NONE;
}

/* Sizes that the options leave open: a batch holds the longest text, and some more if there are more. */
static options sized(const options *o, const inputs *texts) {
    options sized = *o;
    rekindle_plan_params *p = &sized.plan;
    size_t all = 0;
    for (size_t i = 0; i < texts->n; i++) all += texts->all[i].n;
    size_t batch = all < 512 ? all : 512;
    if (batch < texts->longest) batch = texts->longest;
    if (batch > UINT32_MAX) fail("a text is too long", "");
    p->pooling = pooling(o);
    if (!p->n_batch) p->n_batch = p->n_ubatch > batch ? p->n_ubatch : (uint32_t)batch;
    if (!p->n_ubatch) p->n_ubatch = p->n_batch;
    if (!p->n_ctx) p->n_ctx = p->n_batch;
    if (!p->n_seq_max) p->n_seq_max = texts->n < 256 ? (uint32_t)texts->n : 256;
    if (p->n_seq_max > p->n_batch) p->n_seq_max = p->n_batch;
    if (p->pooling == REKINDLE_POOLING_NONE && !p->n_outputs_max) p->n_outputs_max = p->n_batch;
    return sized;
}

/* Divides a row by its length, the root of the sum of its squares. */
static void normalise(float *row, uint32_t n) {
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) squares += (double)row[i] * (double)row[i];
    for (uint32_t i = 0; i < n && squares > 0; i++) row[i] = (float)((double)row[i] / sqrt(squares));
}

/* Computes texts `first` to `end` - 1, of which each is a sequence. */
static void embed_batch(inputs *texts, size_t first, size_t end, int32_t by, int normal) {
    size_t n = 0;
    for (size_t i = first; i < end; i++) n += texts->all[i].n;
    int32_t *tokens = grown(NULL, n * sizeof *tokens), *seqs = grown(NULL, n * sizeof *seqs);
    uint8_t *outputs = grown(NULL, n);
    memset(outputs, 1, n);
    n = 0;
    for (size_t i = first; i < end; i++) {
        memcpy(tokens + n, texts->all[i].tokens, texts->all[i].n * sizeof *tokens);
        for (size_t k = 0; k < texts->all[i].n; k++) seqs[n++] = (int32_t)(i - first);
    }
    rekindle_batch b = {.struct_size = sizeof b, .n_tokens = (uint32_t)n, .tokens = tokens, .seq_ids = seqs};
    if (by == REKINDLE_POOLING_NONE) b.outputs = outputs;
    check(rekindle_seq_remove(model, -1, -1, -1), "embed");
    char what[64];
    snprintf(what, sizeof what, "texts %zu to %zu", first, end - 1);
    decode(&b, what);
    uint32_t row = 0;
    for (size_t i = first; i < end; i++) {
        input *t = &texts->all[i];
        t->n_rows = by == REKINDLE_POOLING_NONE ? t->n : 1;
        t->rows = grown(NULL, t->n_rows * texts->n_row * sizeof *t->rows);
        for (size_t k = 0; k < t->n_rows; k++, row++) {
            const float *from = NULL;
            check(rekindle_embeddings(model, row, &from, NULL), "embed");
            memcpy(t->rows + k * texts->n_row, from, texts->n_row * sizeof *from);
            if (normal) normalise(t->rows + k * texts->n_row, texts->n_row);
        }
    }
    free(tokens), free(seqs), free(outputs);
}

/* Numbers of a row, with something between them. */
static void print_row(const float *row, uint32_t n, const char *between) {
    for (uint32_t i = 0; i < n; i++) {
        if (i) fputs(between, stdout);
        json_number(stdout, row[i]);
    }
}

static void print_input(const inputs *texts, size_t i, int32_t format, int of_tokens) {
    const input *t = &texts->all[i];
    if (format == JSON) printf("{\"index\": %zu, \"n_tokens\": %zu, \"embedding\": %s", i, t->n, of_tokens ? "[" : "");
    for (size_t k = 0; k < t->n_rows; k++) {
        if (format != RAW) fputs(k ? ", [" : "[", stdout);
        print_row(t->rows + k * texts->n_row, texts->n_row, format == RAW ? " " : ", ");
        fputs(format == RAW ? "\n" : "]", stdout);
    }
    if (format == JSON) fputs(of_tokens ? "]}\n" : "}\n", stdout);
}

/* The cosine of the angle between the rows of each two texts. */
static void print_similarity(const inputs *texts, int32_t format) {
    float *row = grown(NULL, texts->n * sizeof *row);
    fputs(format == JSON ? "{\"similarity\": [" : format == ARRAY ? "[" : "\n", stdout);
    for (size_t i = 0; i < texts->n; i++) {
        for (size_t k = 0; k < texts->n; k++) {
            const float *a = texts->all[i].rows, *b = texts->all[k].rows;
            double ab = 0, aa = 0, bb = 0;
            for (uint32_t j = 0; j < texts->n_row; j++) {
                ab += (double)a[j] * (double)b[j];
                aa += (double)a[j] * (double)a[j];
                bb += (double)b[j] * (double)b[j];
            }
            row[k] = aa > 0 && bb > 0 ? (float)(ab / sqrt(aa * bb)) : 0;
        }
        if (format != RAW) fputs(i ? ", [" : "[", stdout);
        print_row(row, (uint32_t)texts->n, format == RAW ? " " : ", ");
        fputs(format == RAW ? "\n" : "]", stdout);
    }
    fputs(format == JSON ? "]}\n" : format == ARRAY ? "]\n" : "", stdout);
    free(row);
}

static void embed(const options *given) {
    on_interrupt(watch);
    inputs texts = read_inputs(given);
    options o = sized(given, &texts);
    load(&o, 0);
    use_adapters(&o);
    rekindle_model_info info = model_info();
    texts.n_row = info.n_embd_out;
    int of_tokens = info.pooling == REKINDLE_POOLING_NONE;
    if (of_tokens && o.similarity) fail("--similarity compares texts, and --pooling none has no row for a text", "");
    /* Scores have a meaning as they are. */
    int normal = !o.as_they_are && info.pooling != REKINDLE_POOLING_RANK;
    for (size_t first = 0, end = 0; first < texts.n; first = end) {
        size_t n = texts.all[end++].n;
        while (end < texts.n && end - first < info.n_seq_max && n + texts.all[end].n <= info.n_batch)
            n += texts.all[end++].n;
        embed_batch(&texts, first, end, info.pooling, normal);
        for (size_t i = first; i < end; i++) {
            if (o.format == ARRAY) fputs(i ? ", " : "[", stdout);
            print_input(&texts, i, o.format, of_tokens);
            if (o.similarity) continue;
            free(texts.all[i].rows);
            texts.all[i].rows = NULL;
        }
        fflush(stdout);
    }
    if (o.format == ARRAY) fputs("]\n", stdout);
    if (o.similarity) print_similarity(&texts, o.format);
    for (size_t i = 0; i < texts.n; i++) free(texts.all[i].tokens), free(texts.all[i].rows);
    free(texts.all);
}

#endif
