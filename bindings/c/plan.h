/* `rekindle plan`: makes a plan, prints it, compares it, answers questions. */
#ifndef PLAN_H
#define PLAN_H

#include "terminal.h"
#include "text.h"

typedef rekindle_status plan_text(const rekindle_plan_t *, char *, size_t, size_t *);

/* Text of unknown length, which the caller frees: asks for the size, then for the text. */
static char *plan_string(const rekindle_plan_t *of, plan_text *text) {
    size_t needed = 0;
    check(text(of, NULL, 0, &needed), "plan");
    char *buffer = grown(NULL, needed);
    check(text(of, buffer, needed, NULL), "plan");
    return buffer;
}

static void write_plan(plan_text *text, FILE *to) {
    char *buffer = plan_string(plan, text);
    fputs(buffer, to);
    free(buffer);
}

static void print_plan(const options *o, FILE *to) {
    char *buffer = plan_string(plan, rekindle_plan_text);
    print_plan_text(o, buffer, to);
    free(buffer);
}

/* Draws the plan into a file. */
static void draw_plan(const char *path) {
    FILE *to = fopen(path, "wb");
    if (!to) fail("cannot write ", path);
    write_plan(rekindle_plan_svg, to);
    if (fclose(to)) fail("cannot write ", path);
}

/* Makes the plan. If `show`, or if it does not fit, it is printed to standard error. */
static void make_plan(const options *o, int show) {
    rekindle_status status = rekindle_plan(context, file, &o->plan, &plan);
    if (plan && (show || status == REKINDLE_NOT_FIT)) print_plan(o, stderr);
    check(status, "plan");
}

/* Answers the question of --ask. */
static void ask(const options *o) {
    uint32_t answer = 0;
    check(rekindle_plan_ask(context, file, &o->plan, o->ask, &answer), "plan");
    const char *type = o->ask == REKINDLE_ASK_BEST_KV_TYPE ? name_of(KV, (int32_t)answer) : NULL;
    if (o->json) printf("{\"question\": \"%s\", \"answer\": ", name_of(QUESTIONS, o->ask));
    if (type) printf(o->json ? "\"%s\"" : "%s", type);
    else printf("%u", answer);
    puts(o->json ? "}" : "");
}

/* Measured and family side by side. */
static void compare(const options *o) {
    rekindle_plan_t *plans[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        rekindle_plan_params p = o->plan;
        p.estimator = i == 0 ? REKINDLE_ESTIMATOR_AUTO : REKINDLE_ESTIMATOR_FAMILY;
        rekindle_status status = rekindle_plan(context, file, &p, &plans[i]);
        if (status != REKINDLE_NOT_FIT) check(status, "plan");
    }
    if (o->json) {
        char *measured = plan_string(plans[0], rekindle_plan_json), *family = plan_string(plans[1], rekindle_plan_json);
        printf("{\"measured\": %s, \"family\": %s}\n", measured, family);
        free(measured), free(family);
    } else {
        size_t needed = 0;
        check(rekindle_plan_compare(plans[0], plans[1], NULL, 0, &needed), "plan");
        char *buffer = grown(NULL, needed);
        check(rekindle_plan_compare(plans[0], plans[1], buffer, needed, NULL), "plan");
        fputs(buffer, stdout);
        free(buffer);
    }
    for (int i = 0; i < 2; i++) (void)rekindle_plan_destroy(plans[i]);
}

/* A plan that does not fit has said so itself, and ends the program with status 1. */
static void show_plan(const options *o) {
    if (o->svg && (o->ask || o->compare)) fail("--svg cannot go together with --ask and --compare", "");
    if (o->ask || o->compare) {
        if (o->ask) ask(o);
        else compare(o);
        return;
    }
    rekindle_status status = rekindle_plan(context, file, &o->plan, &plan);
    if (!plan) check(status, "plan");
    if (o->svg) draw_plan(o->svg);
    if (o->json) write_plan(rekindle_plan_json, stdout);
    else print_plan(o, stdout);
    if (status == REKINDLE_NOT_FIT) exit(1);
    check(status, "plan");
}

#endif
