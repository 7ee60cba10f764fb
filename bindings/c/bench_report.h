/* The output of `rekindle bench`: a table for people, CSV, JSON, or an object of JSON a line. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench_columns.h"
#include "text.h"

typedef struct {
    uint32_t n_prompt, n_gen, n_depth, n_seqs;
} test;

typedef struct {
    int32_t format;
    int n_lines, shown[16];
    columns columns;
} report;

/* The mean, and the deviation that one of several runs has from it. */
static double mean_of(const double *values, uint32_t n, double *deviation) {
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) sum += values[i];
    double mean = sum / n;
    for (uint32_t i = 0; i < n; i++) squares += (values[i] - mean) * (values[i] - mean);
    *deviation = n > 1 ? sqrt(squares / (n - 1)) : 0;
    return mean;
}

/* A cell of the table; texts stand left and numbers right. */
static void print_cell(const char *text, int room, int left) {
    int letters = 0;
    for (const char *c = text; *c; c++) letters += (*c & 0xc0) != 0x80;
    int space = letters < room ? room - letters : 0;
    if (left) printf(" %s%*s |", text, space, "");
    else printf(" %*s%s |", space, "", text);
}

/* The cells of the table. Those without a column are made from others. */
enum { MODEL, SIZE, PARAMS, BACKEND, LAYERS, THREADS, BATCH, UBATCH, TYPE_K, TYPE_V, SEQUENCES, TEST, SPEED, CELLS };
static const struct {
    const char *heading, *column;
    int room, left;
} TABLE[CELLS] = {{"model", "model_type", 30, 1}, {"size", NULL, 10, 0}, {"params", NULL, 10, 0},
                  {"backend", "backends", 10, 1}, {"ngl", "n_gpu_layers", 3, 0}, {"threads", "n_threads", 7, 0},
                  {"n_batch", "n_batch", 7, 0}, {"n_ubatch", "n_ubatch", 8, 0}, {"type_k", "type_k", 6, 0},
                  {"type_v", "type_v", 6, 0}, {"sequences", "n_sequences", 9, 0}, {"test", NULL, 15, 0},
                  {"t/s", NULL, 20, 0}};

/* The cell is shown: always, because a list was given for it, or (layers on GPUs) because there are some. */
static int is_shown(int cell, const options *o) {
    switch (cell) {
    case LAYERS: return 0;
    case BATCH: return o->batches.n > 0;
    case UBATCH: return o->ubatches.n > 0;
    case TYPE_K: return o->keys.n > 0;
    case TYPE_V: return o->values.n > 0;
    case SEQUENCES: return o->sequences.n > 0;
    default: return 1;
    }
}

static void print_head(const report *r) {
    putchar('|');
    for (int i = 0; i < CELLS; i++)
        if (r->shown[i]) print_cell(TABLE[i].heading, TABLE[i].room, TABLE[i].left);
    fputs("\n|", stdout);
    for (int i = 0; i < CELLS; i++) {
        if (!r->shown[i]) continue;
        putchar(' ');
        for (int c = 1; c < TABLE[i].room; c++) putchar('-');
        fputs(TABLE[i].left ? "- |" : ": |", stdout);
    }
    putchar('\n');
}

/* "pp512+tg128 @ d4096" */
static void name_test(const test *t, char *to, size_t room) {
    int used = t->n_prompt ? snprintf(to, room, "pp%u", t->n_prompt) : 0;
    if (t->n_gen) used += snprintf(to + used, room - (size_t)used, "%stg%u", used ? "+" : "", t->n_gen);
    if (t->n_depth) snprintf(to + used, room - (size_t)used, " @ d%u", t->n_depth);
}

static void print_line(const report *r, const test *t) {
    putchar('|');
    for (int i = 0; i < CELLS; i++) {
        if (!r->shown[i]) continue;
        char text[64];
        double bytes = number_of(&r->columns, "model_size"), n = number_of(&r->columns, "model_n_params");
        if (i == SIZE && bytes < 1073741824) snprintf(text, sizeof text, "%.2f MiB", bytes / 1048576);
        else if (i == SIZE) snprintf(text, sizeof text, "%.2f GiB", bytes / 1073741824);
        else if (i == PARAMS) snprintf(text, sizeof text, "%.2f %s", n < 1e9 ? n / 1e6 : n / 1e9, n < 1e9 ? "M" : "B");
        else if (i == TEST) name_test(t, text, sizeof text);
        else if (i == SPEED)
            snprintf(text, sizeof text, "%.2f ± %.2f", number_of(&r->columns, "avg_ts"),
                     number_of(&r->columns, "stddev_ts"));
        print_cell(TABLE[i].column ? value_of(&r->columns, TABLE[i].column) : text, TABLE[i].room, TABLE[i].left);
    }
    putchar('\n');
}

static void print_csv(const columns *all, int with_head) {
    for (size_t i = 0; with_head && i < all->n; i++) printf("%s%s", i ? "," : "", all->all[i].name);
    if (with_head) putchar('\n');
    for (size_t i = 0; i < all->n; i++) {
        fputs(i ? ",\"" : "\"", stdout);
        for (const char *c = all->all[i].text; *c; c++) {
            if (*c == '"') putchar('"');
            putchar(*c);
        }
        putchar('"');
    }
    putchar('\n');
}

/* An object, on a line of its own or as an element of an array. */
static void print_json(const report *r, const uint64_t *ns, const double *rates, uint32_t n) {
    const char *end = r->format == JSON ? "" : "\n    ", *between = r->format == JSON ? " " : "\n    ";
    if (r->format == JSON_ARRAY) fputs(r->n_lines ? ",\n  " : "[\n  ", stdout);
    printf("{%s", end);
    for (size_t i = 0; i < r->columns.n; i++) {
        const char *text = r->columns.all[i].text;
        printf("\"%s\": ", r->columns.all[i].name);
        if (r->columns.all[i].kind == TEXT) json_string(stdout, text, strlen(text));
        else if (r->columns.all[i].kind == TRUTH) fputs(*text == '0' ? "false" : "true", stdout);
        else fputs(text, stdout);
        printf(",%s", between);
    }
    fputs("\"samples_ns\": [", stdout);
    for (uint32_t i = 0; i < n; i++) printf("%s%llu", i ? ", " : "", (unsigned long long)ns[i]);
    printf("],%s\"samples_ts\": [", between);
    for (uint32_t i = 0; i < n; i++) printf("%s%.6f", i ? ", " : "", rates[i]);
    fputs(r->format == JSON ? "]}\n" : "]\n  }", stdout);
}

/* Prints a test that took `ns` nanoseconds in each of `n` runs. */
static void print_test(report *r, const test *t, const char *when, const uint64_t *ns, uint32_t n) {
    double *times = grown(NULL, n * sizeof *times), *rates = grown(NULL, n * sizeof *rates);
    for (uint32_t i = 0; i < n; i++) {
        times[i] = (double)ns[i];
        rates[i] = 1e9 * (double)(t->n_prompt + t->n_gen) * t->n_seqs / (double)(ns[i] ? ns[i] : 1);
    }
    double deviation_ns = 0, deviation_ts = 0;
    double mean_ns = mean_of(times, n, &deviation_ns), mean_ts = mean_of(rates, n, &deviation_ts);
    columns *c = &r->columns;
    drop_columns(c, c->n_of_model);
    add(c, "n_prompt", NUMBER, "%u", t->n_prompt);
    add(c, "n_gen", NUMBER, "%u", t->n_gen);
    add(c, "n_depth", NUMBER, "%u", t->n_depth);
    add(c, "test_time", TEXT, "%s", when);
    add(c, "avg_ns", NUMBER, "%.0f", mean_ns);
    add(c, "stddev_ns", NUMBER, "%.0f", deviation_ns);
    add(c, "avg_ts", NUMBER, "%.6f", mean_ts);
    add(c, "stddev_ts", NUMBER, "%.6f", deviation_ts);
    add(c, "n_sequences", NUMBER, "%u", t->n_seqs);
    if (r->format == MARKDOWN && !r->n_lines) print_head(r);
    if (r->format == MARKDOWN) print_line(r, t);
    else if (r->format == CSV) print_csv(c, !r->n_lines);
    else print_json(r, ns, rates, n);
    fflush(stdout);
    r->n_lines++;
    free(times), free(rates);
}

static void end_report(report *r) {
    if (r->format == JSON_ARRAY) fputs(r->n_lines ? "\n]\n" : "[]\n", stdout);
    if (r->format == MARKDOWN) printf("\nbuild: rekindle %s\n", rekindle_version());
    drop_columns(&r->columns, 0);
}

#endif
