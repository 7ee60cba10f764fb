/* The options of the tool: numbers, choices, and what steers sampling. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rekindle.h"

static void fail(const char *message, const char *detail) {
    fprintf(stderr, "rekindle: %s%s\n", message, detail);
    exit(2);
}

static unsigned number(const char *option, const char *text) {
    char *end = NULL;
    unsigned long n = text ? strtoul(text, &end, 10) : 0;
    if (!text || !*text || *end || text[0] == '-' || n > UINT32_MAX) fail("a number is expected after ", option);
    return (unsigned)n;
}

static float real(const char *option, const char *text) {
    char *end = NULL;
    float x = text ? strtof(text, &end) : 0;
    if (!text || !*text || *end) fail("a number is expected after ", option);
    return x;
}

typedef struct {
    const char *name;
    int32_t value;
} choice;

static int32_t choose(const char *option, const char *text, const choice *choices) {
    for (const choice *c = choices; c->name; c++)
        if (text && !strcmp(text, c->name)) return c->value;
    fprintf(stderr, "rekindle: %s takes", option);
    for (const choice *c = choices; c->name; c++) fprintf(stderr, "%s %s", c == choices ? "" : ",", c->name);
    fputs("\n", stderr);
    exit(2);
}

static const choice STEPS[] = {
    {"penalties", REKINDLE_STEP_PENALTIES}, {"dry", REKINDLE_STEP_DRY}, {"top-n-sigma", REKINDLE_STEP_TOP_N_SIGMA},
    {"top-k", REKINDLE_STEP_TOP_K}, {"typical", REKINDLE_STEP_TYPICAL}, {"top-p", REKINDLE_STEP_TOP_P},
    {"min-p", REKINDLE_STEP_MIN_P}, {"xtc", REKINDLE_STEP_XTC}, {"temperature", REKINDLE_STEP_TEMPERATURE},
    {"infill", REKINDLE_STEP_INFILL}, {NULL, 0}};

/* Names of steps with commas between them. */
static void add_steps(rekindle_sampler_params *p, char *text) {
    static int32_t steps[64];
    p->steps = steps;
    for (char *name = text ? strtok(text, ",") : NULL; name; name = strtok(NULL, ",")) {
        if (p->n_steps == sizeof steps / sizeof *steps) fail("too many steps in ", "--steps");
        steps[p->n_steps++] = choose("--steps", name, STEPS);
    }
}

/* The sampler's parameters that are numbers, whole ones or not. */
#define REAL(option, field) {option, offsetof(rekindle_sampler_params, field), 1}
#define WHOLE(option, field) {option, offsetof(rekindle_sampler_params, field), 0}
static const struct {
    const char *option;
    size_t field;
    int real;
} SAMPLING[] = {
    REAL("--temp", temperature), WHOLE("--top-k", top_k), REAL("--top-p", top_p), REAL("--min-p", min_p),
    REAL("--repeat-penalty", repeat_penalty), REAL("--presence-penalty", presence_penalty),
    REAL("--frequency-penalty", frequency_penalty), WHOLE("--repeat-last-n", penalty_last_n),
    REAL("--typical", typical_p), REAL("--top-n-sigma", top_n_sigma), REAL("--xtc", xtc_probability),
    REAL("--xtc-threshold", xtc_threshold), REAL("--dynatemp-range", dynatemp_range),
    REAL("--dynatemp-exp", dynatemp_exponent), WHOLE("--mirostat", mirostat), REAL("--mirostat-tau", mirostat_tau),
    REAL("--mirostat-eta", mirostat_eta), REAL("--dry", dry_multiplier), REAL("--dry-base", dry_base),
    WHOLE("--dry-allowed-length", dry_allowed_length), WHOLE("--dry-last-n", dry_last_n),
    REAL("--adaptive-target", adaptive_target), REAL("--adaptive-decay", adaptive_decay),
    WHOLE("--min-keep", min_keep),
};

/* True if the option is one of them. */
static int sampling(rekindle_sampler_params *p, const char *option, const char *text) {
    for (size_t i = 0; i < sizeof SAMPLING / sizeof *SAMPLING; i++) {
        if (strcmp(option, SAMPLING[i].option)) continue;
        void *field = (char *)p + SAMPLING[i].field;
        if (SAMPLING[i].real) *(float *)field = real(option, text);
        else *(uint32_t *)field = number(option, text);
        return 1;
    }
    return 0;
}

#endif
