/* The options of the tool: one table with the name of each, the commands that know it, and who reads its value. */
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
    int special, copied, json, compare, no_graphs, quiet, as_they_are, similarity, no_warmup;
} options;

/* A bit for each command. */
enum {
    PLAN = 1, RUN = 2, CHAT = 4, EMBED = 8, PERPLEXITY = 16, BENCH = 32, TOKENIZE = 64, INFO = 128,
    ALL = 255, WRITES = RUN | CHAT
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

/* DEVICE:MIB, DEVICE:MIB:LAYERS or DEVICE:MIB:- */
static void read_limit(void *to, const char *option, char *value) {
    options *o = to;
    unsigned device = 0, mib = 0;
    int used = 0;
    if (o->plan.n_limits == sizeof o->limits / sizeof *o->limits) fail("too many times ", option);
    if (sscanf(value, "%u:%u%n", &device, &mib, &used) != 2) refuse(option, "DEVICE:MIB[:LAYERS]", value);
    rekindle_device_limit *l = &o->limits[o->plan.n_limits++];
    l->device = device;
    l->reserve_bytes = (uint64_t)mib << 20;
    if (!strcmp(value + used, ":-")) l->flags = REKINDLE_LIMIT_EXCLUDE;
    else if (value[used] == ':') l->max_layers = number(option, value + used + 1);
    else if (value[used]) refuse(option, "DEVICE:MIB[:LAYERS]", value);
}

static void read_placements(void *to, const char *option, char *value) {
    (void)option;
    options *o = to;
    o->plan.placements = value;
    o->plan.placements_len = strlen(value);
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

#define AT(field) offsetof(options, field)
#define REAL(name, field) {name, WRITES, read_real, AT(sampler.field)}
#define WHOLE(name, field) {name, WRITES, read_number, AT(sampler.field)}
/* Without a reader an option has no value and sets an int. */
static const struct {
    const char *name;
    int commands;
    reader read;
    size_t at;
} OPTIONS[] = {
    {"--devices", ALL, read_text, AT(devices)},
    {"--threads", ALL & ~BENCH, read_number, AT(threads)},
    {"--ctx", ALL, read_number, AT(plan.n_ctx)},
    {"--seqs", ALL & ~BENCH, read_number, AT(plan.n_seq_max)},
    {"--batch", ALL & ~BENCH, read_number, AT(plan.n_batch)},
    {"--ubatch", ALL & ~BENCH, read_number, AT(plan.n_ubatch)},
    {"--outputs", ALL, read_number, AT(plan.n_outputs_max)},
    {"--kv", ALL, read_kv, 0},
    {"--copied", ALL, NULL, AT(copied)},
    {"--objective", ALL, read_objective, AT(plan.objective)},
    {"--estimator", ALL, read_estimator, AT(plan.estimator)},
    {"--margin", ALL, read_double, AT(plan.margin)},
    {"--reserve", ALL, read_mib, AT(plan.reserve_bytes)},
    {"--limit", ALL, read_limit, 0},
    {"--checkpoints", ALL, read_checkpoints, 0},
    {"--draft", PLAN | WRITES, read_draft, 0},
    {"--draft-text", PLAN | WRITES, read_draft, 0},
    {"--draft-model", WRITES, read_draft_model, 0},
    {"--place", ALL, read_placements, 0},
    {"--override", ALL, read_text, AT(override)},
    {"--lora", ALL & ~TOKENIZE, read_adapter, 0},
    {"--control-vector", ALL & ~TOKENIZE, read_adapter, 0},
    {"--ask", PLAN, read_question, AT(ask)},
    {"--svg", PLAN, read_text, AT(svg)},
    {"--compare", PLAN, NULL, AT(compare)},
    {"--json", ALL, NULL, AT(json)},
    {"-p", WRITES | TOKENIZE, read_text, AT(prompt)},
    {"-n", WRITES, read_number, AT(n)},
    {"--special", WRITES | TOKENIZE | EMBED, NULL, AT(special)},
    {"--system", CHAT, read_text, AT(system)},
    {"--template", CHAT, read_text, AT(template_path)},
    {"--seed", WRITES, read_seed, AT(sampler.seed)},
    {"--steps", WRITES, read_steps, 0},
    REAL("--temp", temperature),
    WHOLE("--top-k", top_k),
    REAL("--top-p", top_p),
    REAL("--min-p", min_p),
    REAL("--repeat-penalty", repeat_penalty),
    REAL("--presence-penalty", presence_penalty),
    REAL("--frequency-penalty", frequency_penalty),
    WHOLE("--repeat-last-n", penalty_last_n),
    REAL("--typical", typical_p),
    REAL("--top-n-sigma", top_n_sigma),
    REAL("--xtc", xtc_probability),
    REAL("--xtc-threshold", xtc_threshold),
    REAL("--dynatemp-range", dynatemp_range),
    REAL("--dynatemp-exp", dynatemp_exponent),
    WHOLE("--mirostat", mirostat),
    REAL("--mirostat-tau", mirostat_tau),
    REAL("--mirostat-eta", mirostat_eta),
    REAL("--dry", dry_multiplier),
    REAL("--dry-base", dry_base),
    WHOLE("--dry-allowed-length", dry_allowed_length),
    WHOLE("--dry-last-n", dry_last_n),
    REAL("--adaptive-target", adaptive_target),
    REAL("--adaptive-decay", adaptive_decay),
    WHOLE("--min-keep", min_keep),
    {"--json-schema", RUN, read_text, AT(schema)},
    {"--grammar", RUN, read_text, AT(grammar)},
    {"--grammar-kind", RUN, read_grammar, AT(grammar_kind)},
    {"--stop", RUN, read_stop, 0},
    {"--logprobs", RUN, read_number, AT(sampler.n_logprobs)},
    {"-q", RUN, NULL, AT(quiet)},
    {"-f", EMBED | PERPLEXITY, read_text, AT(path)},
    {"--pooling", EMBED, read_pooling, AT(plan.pooling)},
    {"--no-normalise", EMBED, NULL, AT(as_they_are)},
    {"--format", EMBED, read_rows, AT(format)},
    {"--similarity", EMBED, NULL, AT(similarity)},
    {"--stride", PERPLEXITY, read_number, AT(stride)},
    {"--chunks", PERPLEXITY, read_number, AT(chunks)},
    {"-p", BENCH, read_list, AT(prompts)},
    {"-n", BENCH, read_list, AT(generated)},
    {"-pg", BENCH, read_pair, AT(both)},
    {"-d", BENCH, read_list, AT(depths)},
    {"-b", BENCH, read_list, AT(batches)},
    {"--batch", BENCH, read_list, AT(batches)},
    {"-ub", BENCH, read_list, AT(ubatches)},
    {"--ubatch", BENCH, read_list, AT(ubatches)},
    {"-t", BENCH, read_list, AT(thread_counts)},
    {"--threads", BENCH, read_list, AT(thread_counts)},
    {"-ctk", BENCH, read_kinds, AT(keys)},
    {"-ctv", BENCH, read_kinds, AT(values)},
    {"--sequences", BENCH, read_list, AT(sequences)},
    {"-r", BENCH, read_number, AT(repetitions)},
    {"-o", BENCH, read_lines, AT(format)},
    {"--no-warmup", BENCH, NULL, AT(no_warmup)},
    {"--no-graphs", BENCH, NULL, AT(no_graphs)},
};

/* Reads option `i` of the line and returns where it ends. */
static int read_option(options *o, int command, int argc, char **argv, int i) {
    int known = 0;
    for (size_t k = 0; k < sizeof OPTIONS / sizeof *OPTIONS; k++) {
        if (strcmp(argv[i], OPTIONS[k].name)) continue;
        known = 1;
        if (!(OPTIONS[k].commands & command)) continue;
        void *to = (char *)o + OPTIONS[k].at;
        if (!OPTIONS[k].read) {
            *(int *)to = 1;
            return i;
        }
        if (i + 1 == argc) fail("a value is expected after ", argv[i]);
        OPTIONS[k].read(to, argv[i], argv[i + 1]);
        return i + 1;
    }
    if (known) {
        fprintf(stderr, "rekindle: %s is no option of %s\n", argv[i], o->command);
        exit(2);
    }
    fail("unknown option ", argv[i]);
}

/* The command line. The texts of `embed` are gathered at the front of argv. */
static void parse(options *o, int command, int argc, char **argv) {
    o->plan.struct_size = sizeof o->plan;
    o->sampler.struct_size = sizeof o->sampler;
    o->plan.limits = o->limits;
    o->devices = "";
    o->format = command == BENCH ? MARKDOWN : JSON;
    o->texts = argv;
    int only_texts = 0;
    for (int i = 3; i < argc; i++) {
        if (command == EMBED && !only_texts && !strcmp(argv[i], "--")) only_texts = 1;
        else if (command == EMBED && (only_texts || argv[i][0] != '-')) o->texts[o->n_texts++] = argv[i];
        else i = read_option(o, command, argc, argv, i);
    }
    if (o->draft_model) {
        if (!o->plan.n_draft) o->plan.n_draft = 8;
        o->plan.draft_source = REKINDLE_DRAFT_MODEL;
    }
    if (o->copied) o->plan.weights = REKINDLE_WEIGHTS_COPIED;
    if (o->sampler.n_steps) o->sampler.steps = o->steps;
}

#endif
