/* The options that the tool was given, and the readers of their values. The table of options is in table.h. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rekindle.h"
#include "values.h"

typedef struct {
    const char *command, *model, *devices, *prompt, *system, *template_path, *override, *path, *draft_model, *svg;
    const char *schema, *grammar, *stops[256], *adapters[32];
    float scales[32];
    char **texts;
    rekindle_plan_params plan;
    rekindle_sampler_params sampler;
    rekindle_device_limit limits[32];
    uint32_t threads, n, n_stops, n_adapters, n_texts, stride, chunks, repetitions;
    int32_t steps[64], ask, grammar_kind, format;
    list prompts, generated, both, depths, batches, ubatches, thread_counts, keys, values, sequences;
    int special, copied, json, compare, no_graphs, quiet, as_they_are, similarity, no_warmup, seeded;
    const char *root;
    /* The beginning of a remedy's command: the command line as it was given. */
    int argc;
    char **argv;
} options;

/* A bit for each command. */
enum {
    PLAN = 1, RUN = 2, CHAT = 4, EMBED = 8, PERPLEXITY = 16, BENCH = 32, TOKENIZE = 64, INFO = 128, DEVICES = 256,
    HELP = 512,
    /* Those that plan and load a model. */
    LOADS = PLAN | RUN | CHAT | EMBED | PERPLEXITY | BENCH,
    WRITES = RUN | CHAT
};

static const choice KV[] = {{"f32", REKINDLE_KV_F32},
                            {"f16", REKINDLE_KV_F16},
                            {"q8_0", REKINDLE_KV_Q8_0},
                            {"q4_0", REKINDLE_KV_Q4_0},
                            {NULL, 0}};
static const choice OBJECTIVES[] = {{"latency", REKINDLE_OBJECTIVE_LATENCY},
                                    {"throughput", REKINDLE_OBJECTIVE_THROUGHPUT},
                                    {"headroom", REKINDLE_OBJECTIVE_HEADROOM},
                                    {NULL, 0}};
static const choice ESTIMATORS[] = {{"measured", REKINDLE_ESTIMATOR_MEASURED},
                                    {"family", REKINDLE_ESTIMATOR_FAMILY},
                                    {NULL, 0}};
static const choice QUESTIONS[] = {{"context", REKINDLE_ASK_LARGEST_CONTEXT},
                                   {"batch", REKINDLE_ASK_LARGEST_BATCH},
                                   {"devices", REKINDLE_ASK_FEWEST_DEVICES},
                                   {"kv", REKINDLE_ASK_BEST_KV_TYPE},
                                   {NULL, 0}};
static const choice POOLINGS[] = {{"mean", REKINDLE_POOLING_MEAN}, {"cls", REKINDLE_POOLING_CLS},
                                  {"last", REKINDLE_POOLING_LAST}, {"rank", REKINDLE_POOLING_RANK},
                                  {"none", REKINDLE_POOLING_NONE}, {NULL, 0}};
static const choice GRAMMARS[] = {{"gbnf", REKINDLE_GRAMMAR_GBNF},
                                  {"lark", REKINDLE_GRAMMAR_LARK},
                                  {"regex", REKINDLE_GRAMMAR_REGEX},
                                  {"json", REKINDLE_GRAMMAR_JSON_SCHEMA},
                                  {NULL, 0}};
static const choice STEPS[] = {
    {"penalties", REKINDLE_STEP_PENALTIES}, {"dry", REKINDLE_STEP_DRY}, {"top-n-sigma", REKINDLE_STEP_TOP_N_SIGMA},
    {"top-k", REKINDLE_STEP_TOP_K}, {"typical", REKINDLE_STEP_TYPICAL}, {"top-p", REKINDLE_STEP_TOP_P},
    {"min-p", REKINDLE_STEP_MIN_P}, {"xtc", REKINDLE_STEP_XTC}, {"temperature", REKINDLE_STEP_TEMPERATURE},
    {"infill", REKINDLE_STEP_INFILL}, {NULL, 0}};

/* Forms of output: of rows of numbers, and of a bench's lines. */
enum { JSON, ARRAY, RAW, MARKDOWN, CSV, JSON_ARRAY };
static const choice ROWS[] = {{"json", JSON}, {"array", ARRAY}, {"raw", RAW}, {NULL, 0}};
static const choice LINES[] = {{"md", MARKDOWN}, {"csv", CSV}, {"json", JSON_ARRAY}, {"jsonl", JSON}, {NULL, 0}};

/* A reader of one of these choices. */
#define CHOOSES(name, choices) \
    static void name(void *to, const char *option, char *value) { *(int32_t *)to = choose(option, value, choices); }
CHOOSES(read_objective, OBJECTIVES)
CHOOSES(read_estimator, ESTIMATORS)
CHOOSES(read_question, QUESTIONS)
CHOOSES(read_pooling, POOLINGS)
CHOOSES(read_grammar, GRAMMARS)
CHOOSES(read_rows, ROWS)
CHOOSES(read_lines, LINES)

/* The readers below are given all options. */
static void read_kv(void *to, const char *option, char *value) {
    options *o = to;
    o->plan.type_k = o->plan.type_v = choose(option, value, KV);
}

static void read_kinds(void *to, const char *option, char *value) {
    list *l = to;
    for (char *part = value, *next; part; part = next) {
        if ((next = strchr(part, ','))) *next++ = 0;
        if (l->n == sizeof l->values / sizeof *l->values) fail("too many types for ", option);
        l->values[l->n++] = (uint32_t)choose(option, part, KV);
    }
}

static void read_checkpoints(void *to, const char *option, char *value) {
    uint32_t n = number(option, value);
    ((options *)to)->plan.n_checkpoints = n ? n : REKINDLE_CHECKPOINTS_NONE;
}

static void read_draft(void *to, const char *option, char *value) {
    options *o = to;
    o->plan.n_draft = number(option, value);
    o->plan.draft_source = strcmp(option, "--draft") ? REKINDLE_DRAFT_TEXT : REKINDLE_DRAFT_LAYER;
}

/* A second model that guesses; --draft says how many tokens, if not 8. */
static void read_draft_model(void *to, const char *option, char *value) {
    (void)option;
    options *o = to;
    o->draft_model = value;
}

/* DEVICE:BYTES, DEVICE:BYTES:LAYERS or DEVICE:BYTES:- */
static void read_limit(void *to, const char *option, char *value) {
    static const char FORM[] = "DEVICE:BYTES[:LAYERS]";
    options *o = to;
    unsigned device = 0;
    int used = 0;
    if (o->plan.n_limits == sizeof o->limits / sizeof *o->limits) fail("too many times ", option);
    if (sscanf(value, "%u:%n", &device, &used) != 1 || !used) refuse(option, FORM, value);
    rekindle_device_limit *l = &o->limits[o->plan.n_limits++];
    const char *rest = NULL;
    l->device = device;
    l->reserve_bytes = bytes_of(option, value + used, &rest);
    if (!strcmp(rest, ":-")) l->flags = REKINDLE_LIMIT_EXCLUDE;
    else if (*rest == ':') l->max_layers = number(option, rest + 1);
    else if (*rest) refuse(option, FORM, value);
}

static void read_placements(void *to, const char *option, char *value) {
    (void)option;
    options *o = to;
    o->plan.placements = value;
    o->plan.placements_len = strlen(value);
}

static void read_seed(void *to, const char *option, char *value) {
    options *o = to;
    o->sampler.seed = number(option, value);
    o->seeded = 1;
}

/* Names of steps with commas between them. */
static void read_steps(void *to, const char *option, char *value) {
    options *o = to;
    for (char *name = strtok(value, ","); name; name = strtok(NULL, ",")) {
        if (o->sampler.n_steps == sizeof o->steps / sizeof *o->steps) fail("too many steps in ", option);
        o->steps[o->sampler.n_steps++] = choose(option, name, STEPS);
    }
}

/* FILE or FILE=SCALE. A '=' that no number follows belongs to the name. */
static void read_adapter(void *to, const char *option, char *value) {
    options *o = to;
    if (o->n_adapters == sizeof o->adapters / sizeof *o->adapters) fail("too many times ", option);
    char *scale = strrchr(value, '='), *end = NULL;
    float number = scale ? strtof(scale + 1, &end) : 0;
    int is_scale = scale && end != scale + 1 && !*end;
    if (is_scale) *scale = 0;
    o->scales[o->n_adapters] = is_scale ? number : 1;
    o->adapters[o->n_adapters++] = value;
}

static void read_stop(void *to, const char *option, char *value) {
    options *o = to;
    if (o->n_stops == sizeof o->stops / sizeof *o->stops) fail("too many times ", option);
    o->stops[o->n_stops++] = value;
}

#endif
