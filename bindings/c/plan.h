/* `rekindle plan`: makes a plan, prints it, compares it, answers questions. */
#ifndef PLAN_H
#define PLAN_H

#include "objects.h"
#include "options.h"

typedef rekindle_status plan_text(const rekindle_plan_t *, char *, size_t, size_t *);

/* Text of unknown length: asks for the size, then for the text. */
static void write_plan(plan_text *text, FILE *to) {
    size_t needed = 0;
    check(text(plan, NULL, 0, &needed), "plan");
    char *buffer = grown(NULL, needed);
    check(text(plan, buffer, needed, NULL), "plan");
    fputs(buffer, to);
    free(buffer);
}

static void print_plan(int json) { write_plan(json ? rekindle_plan_json : rekindle_plan_text, stdout); }

/* Draws the plan into a file. */
static void draw_plan(const char *path) {
    FILE *to = fopen(path, "wb");
    if (!to) fail("cannot write ", path);
    write_plan(rekindle_plan_svg, to);
    if (fclose(to)) fail("cannot write ", path);
}

/* Makes the plan. If `show`, or if it does not fit, it is printed. */
static void make_plan(const options *o, int show) {
    rekindle_status status = rekindle_plan(context, file, &o->plan, &plan);
    if (plan && o->svg) draw_plan(o->svg);
    if (plan && (show || status == REKINDLE_NOT_FIT)) print_plan(o->json);
    check(status, "plan");
}

/* Answers the question of --ask. */
static void ask(const options *o) {
    uint32_t answer = 0;
    check(rekindle_plan_ask(context, file, &o->plan, o->ask, &answer), "plan");
    if (o->ask == REKINDLE_ASK_BEST_KV_TYPE) printf("%s\n", name_of(KV, (int32_t)answer));
    else printf("%u\n", answer);
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
    size_t needed = 0;
    check(rekindle_plan_compare(plans[0], plans[1], NULL, 0, &needed), "plan");
    char *buffer = grown(NULL, needed);
    check(rekindle_plan_compare(plans[0], plans[1], buffer, needed, NULL), "plan");
    fputs(buffer, stdout);
    free(buffer);
    for (int i = 0; i < 2; i++) (void)rekindle_plan_destroy(plans[i]);
}

static void show_plan(const options *o) {
    if (o->svg && (o->ask || o->compare)) fail("--svg cannot go together with --ask and --compare", "");
    if (o->ask) ask(o);
    else if (o->compare) compare(o);
    else make_plan(o, 1);
}

#endif
