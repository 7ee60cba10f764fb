/* `rekindle bench`: tokens per second of prompts, of generated tokens, and of both, as llama.cpp's llama-bench has it.
 *
 * A model is loaded for each combination of threads, batch sizes, types of the cache and sequences. With it each test
 * is run at each depth: every sequence has `depth` tokens already, then all together read a prompt, then go on token by
 * token. Nothing is sampled; the tokens are made up, and the same in every run. */
#ifndef BENCH_H
#define BENCH_H

#include <time.h>

#include "bench_report.h"
#include "load.h"

static uint64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Tokens `from` to `to` - 1 of each sequence; in batches of the most tokens, or one token of each at a time. */
static void read_tokens(uint32_t n_seqs, uint32_t from, uint32_t to, int singly) {
    rekindle_model_info m = model_info();
    int32_t *tokens = grown(NULL, m.n_batch * sizeof *tokens), *seqs = grown(NULL, m.n_batch * sizeof *seqs);
    uint32_t n = 0;
    uint64_t count = (uint64_t)n_seqs * (to - from);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t seq = (uint32_t)(singly ? i % n_seqs : i / (to - from));
        uint64_t at = from + (singly ? i / n_seqs : i % (to - from));
        seqs[n] = (int32_t)seq;
        tokens[n++] = (int32_t)((at * 7919 + seq * 104729 + 1) % m.n_vocab);
        if (n < m.n_batch && i + 1 < count && !(singly && seq + 1 == n_seqs)) continue;
        rekindle_batch b = {.struct_size = sizeof b, .n_tokens = n, .tokens = tokens, .seq_ids = seqs};
        decode(&b, "bench");
        n = 0;
    }
    free(tokens), free(seqs);
}

/* Brings each sequence to the same length. What an earlier run has left is used as far as it serves. */
static void reach_depth(uint32_t n_seqs, uint32_t depth) {
    uint32_t least = depth, reached = 0;
    for (uint32_t s = 0; s < n_seqs; s++) {
        check(rekindle_seq_cut(model, (int32_t)s, depth, &reached), "bench");
        if (reached < least) least = reached;
    }
    if (least < depth) {
        check(rekindle_seq_remove(model, -1, -1, -1), "bench");
        read_tokens(n_seqs, 0, depth, 0);
    }
    /* Recurrent layers can go back here then. */
    uint32_t n_checkpoints = model_info().n_checkpoints;
    for (uint32_t s = 0; s < n_seqs && depth && n_checkpoints; s++)
        check(rekindle_seq_checkpoint(model, (int32_t)s), "bench");
}

/* Nanoseconds for a prompt and tokens behind it, of all sequences together. */
static uint64_t timed(const test *t) {
    reach_depth(t->n_seqs, t->n_depth);
    uint64_t start = nanoseconds();
    read_tokens(t->n_seqs, t->n_depth, t->n_depth + t->n_prompt, 0);
    read_tokens(t->n_seqs, t->n_depth + t->n_prompt, t->n_depth + t->n_prompt + t->n_gen, 1);
    return nanoseconds() - start;
}

static void measure_test(const options *o, report *r, test t, uint32_t repetitions) {
    if (model_info().pooling != REKINDLE_POOLING_DEFAULT && (t.n_gen || t.n_depth))
        fail("this model reads whole texts and generates none, so it takes -n 0, no -pg and no -d", "");
    char when[32];
    time_t now = time(NULL);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    if (!o->no_warmup) {
        test once = t;
        once.n_gen = t.n_gen > 0;
        (void)timed(&once);
    }
    uint64_t *samples = grown(NULL, repetitions * sizeof *samples);
    for (uint32_t i = 0; i < repetitions; i++) samples[i] = timed(&t);
    print_test(r, &t, when, samples, repetitions);
    free(samples);
}

/* All tests with one model. */
static void bench_model(const options *o, report *r, uint32_t n_seqs, uint32_t repetitions) {
    const list *const tests[] = {&o->prompts, &o->generated, &o->both};
    uint64_t longest = 1, deepest = 0;
    for (uint32_t i = 0; i < o->depths.n; i++) deepest = o->depths.values[i] > deepest ? o->depths.values[i] : deepest;
    for (int kind = 0; kind < 3; kind++)
        for (uint32_t i = 0; i < tests[kind]->n; i += kind == 2 ? 2 : 1) {
            uint64_t n = (uint64_t)tests[kind]->values[i] + (kind == 2 ? tests[kind]->values[i + 1] : 0);
            longest = n > longest ? n : longest;
        }
    options with = *o;
    if (!n_seqs) fail("at least 1 is expected after ", "--sequences");
    if ((longest + deepest) * n_seqs > INT32_MAX) fail("so many tokens need a context that is too long", "");
    if (!with.plan.n_ctx) with.plan.n_ctx = (uint32_t)((longest + deepest) * n_seqs);
    /* A plan would cut larger batches, and say so. */
    if (with.plan.n_ctx < with.plan.n_batch) with.plan.n_ctx = with.plan.n_batch;
    with.plan.n_seq_max = n_seqs;
    open_file(&with);
    load(&with, 0);
    use_adapters(&with);
    describe_model(&r->columns, &with);
    if (!r->n_lines) r->shown[LAYERS] = number_of(&r->columns, "n_gpu_layers") > 0;
    for (uint32_t d = 0; d < o->depths.n; d++)
        for (int kind = 0; kind < 3; kind++)
            for (uint32_t i = 0; i < tests[kind]->n; i += kind == 2 ? 2 : 1) {
                test t = {.n_depth = o->depths.values[d], .n_seqs = n_seqs};
                if (kind != 1) t.n_prompt = tests[kind]->values[i];
                if (kind != 0) t.n_gen = tests[kind]->values[i + (kind == 2)];
                if (t.n_prompt + t.n_gen) measure_test(o, r, t, repetitions);
            }
    destroy_all();
}

/* What the options leave open. */
static void fill(list *l, uint32_t value) {
    if (!l->n) l->values[l->n++] = value;
}

static void bench(options *o) {
    on_interrupt(watch);
    uint32_t repetitions = o->repetitions ? o->repetitions : 5;
    report r = {.format = o->json ? JSON_ARRAY : o->format};
    for (int i = 0; i < CELLS; i++) r.shown[i] = is_shown(i, o);
    fill(&o->prompts, 512), fill(&o->generated, 128), fill(&o->depths, 0);
    fill(&o->thread_counts, 0), fill(&o->batches, 0), fill(&o->ubatches, 0), fill(&o->sequences, 1);
    fill(&o->keys, (uint32_t)o->plan.type_k), fill(&o->values, (uint32_t)o->plan.type_v);
    const list *lists[] = {&o->sequences, &o->values, &o->keys, &o->ubatches, &o->batches, &o->thread_counts};
    enum { LISTS = sizeof lists / sizeof *lists };
    uint64_t combinations = 1;
    for (int i = 0; i < LISTS; i++) combinations *= lists[i]->n;
    options c = *o;
    for (uint64_t combination = 0; combination < combinations; combination++) {
        uint32_t chosen[LISTS];
        uint64_t rest = combination;
        for (int i = 0; i < LISTS; rest /= lists[i++]->n) chosen[i] = lists[i]->values[rest % lists[i]->n];
        c.plan.type_v = (int32_t)chosen[1];
        c.plan.type_k = (int32_t)chosen[2];
        c.plan.n_ubatch = chosen[3];
        c.plan.n_batch = chosen[4];
        c.threads = chosen[5];
        bench_model(&c, &r, chosen[0], repetitions);
    }
    end_report(&r);
}

#endif
