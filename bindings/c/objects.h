/* The objects that the commands work with, and the check of every call. */
#ifndef OBJECTS_H
#define OBJECTS_H

#include <stdatomic.h>

#include "rekindle.h"
#include "values.h"

static rekindle_context *context;
static rekindle_file *file;
static rekindle_plan_t *plan;
/* The thread that waits for Ctrl-C looks at it, too. */
static rekindle_model *_Atomic model;

/* Prints the library's message and ends. */
static void check(rekindle_status status, const char *what) {
    if (status == REKINDLE_OK) return;
    fprintf(stderr, "rekindle: %s: %s (%s)\n", what, rekindle_last_error(), rekindle_status_name(status));
    exit(status == REKINDLE_CANCELLED ? 130 : 1);
}

static void *grown(void *p, size_t bytes) {
    p = realloc(p, bytes ? bytes : 1);
    if (!p) fail("out of memory", "");
    return p;
}

static rekindle_model_info model_info(void) {
    rekindle_model_info info = {.struct_size = sizeof info};
    check(rekindle_model_get_info(model, &info), "model");
    return info;
}

static void destroy_all(void) {
    (void)rekindle_model_destroy(atomic_exchange(&model, NULL));
    (void)rekindle_plan_destroy(plan);
    (void)rekindle_file_close(file);
    (void)rekindle_context_destroy(context);
    plan = NULL, file = NULL, context = NULL;
}

#endif
