/* From the options to a loaded model, and Ctrl-C. */
#ifndef LOAD_H
#define LOAD_H

#include <pthread.h>
#include <signal.h>

#include "plan.h"

static atomic_int interrupted;

static void log_line(void *user_data, int32_t level, const char *message) {
    (void)user_data;
    (void)level;
    fprintf(stderr, "rekindle: %s\n", message);
}

static void open_file(const options *o) {
    rekindle_context_params p = {.struct_size = sizeof p, .n_threads = o->threads, .log = log_line};
    p.devices = o->devices;
    p.devices_len = strlen(o->devices);
    check(rekindle_context_create(REKINDLE_ABI_VERSION, &p, &context), "context");
    const char *override = o->override ? o->override : "";
    check(rekindle_file_open_with(context, o->model, strlen(o->model), override, strlen(override), &file), "open");
    if (!o->n_adapters) return;
    size_t lengths[sizeof o->adapters / sizeof *o->adapters];
    for (uint32_t i = 0; i < o->n_adapters; i++) lengths[i] = strlen(o->adapters[i]);
    rekindle_file *plain = file;
    check(rekindle_file_adapt(context, plain, o->adapters, lengths, o->n_adapters, &file), "adapters");
    (void)rekindle_file_close(plain);
}

/* Ctrl-C ends the running call; a second one ends the program. */
static void *watch(void *set) {
    int signal = 0;
    while (sigwait(set, &signal) == 0) {
        if (atomic_exchange(&interrupted, 1)) _exit(130);
        (void)rekindle_cancel(model);
    }
    return NULL;
}

/* Starts a thread that waits for Ctrl-C. */
static void on_interrupt(void *(*waits)(void *)) {
    static sigset_t set;
    pthread_t thread;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) == 0 && pthread_create(&thread, NULL, waits, &set) == 0)
        pthread_detach(thread);
}

static int32_t progress(void *user_data, float done) {
    (void)user_data;
    if (done < 1) show_progress("loading", (double)done);
    else erase_progress();
    return atomic_load(&interrupted);
}

/* Loads the model that guesses, which has the context of the one that it guesses for. It lives as long as that. */
static void load_draft_model(const options *o) {
    rekindle_file *small = NULL;
    rekindle_plan_t *planned = NULL;
    rekindle_model *loaded = NULL;
    rekindle_plan_params p = {.struct_size = sizeof p, .n_ctx = model_info().n_ctx};
    check(rekindle_file_open(context, o->draft_model, strlen(o->draft_model), &small), "--draft-model");
    check(rekindle_plan(context, small, &p, &planned), "--draft-model");
    check(rekindle_load(context, planned, NULL, &loaded), "--draft-model");
    check(rekindle_model_set_draft(model, loaded), "--draft-model");
    (void)rekindle_model_destroy(loaded);
    (void)rekindle_plan_destroy(planned);
    (void)rekindle_file_close(small);
}

/* Plans and loads; prints the plan if `show`, or if it does not fit. */
static void load(const options *o, int show) {
    make_plan(o, show);
    rekindle_load_params p = {.struct_size = sizeof p, .progress = progress, .on_oom = REKINDLE_ON_OOM_REPLAN};
    p.no_cuda_graphs = (uint32_t)o->no_graphs;
    rekindle_model *loaded = NULL;
    check(rekindle_load(context, plan, &p, &loaded), "load");
    model = loaded;
    if (o->draft_model) load_draft_model(o);
}

/* Lets every sequence use the adapters. (Generations have scales of their own.) */
static void use_adapters(const options *o) {
    uint32_t n = o->n_adapters ? model_info().n_seq_max : 0;
    for (uint32_t s = 0; s < n; s++)
        check(rekindle_seq_set_adapters(model, (int32_t)s, o->scales, o->n_adapters), "adapters");
}

/* Computes a batch, of `what`. A Ctrl-C between two calls ends the program here. */
static void decode(const rekindle_batch *batch, const char *what) {
    if (atomic_load(&interrupted)) exit(130);
    check(rekindle_decode(model, batch), what);
}

#endif
