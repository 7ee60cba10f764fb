/* What `rekindle bench` says of a model, in columns with the names of llama-bench's.
 *
 * Programs that read llama-bench's output want all of its columns. Those that say nothing here (masks of CPUs, places
 * of tensors) have the value that llama-bench has without such an option. One column is added, n_sequences. */
#ifndef BENCH_COLUMNS_H
#define BENCH_COLUMNS_H

#include <stdarg.h>

#include "objects.h"
#include "options.h"

/* The values of a column: a text, a number, or 0 and 1, which are false and true in JSON. */
typedef enum { TEXT, NUMBER, TRUTH } kind;

/* First the columns of the model, then those of the test. */
typedef struct {
    struct {
        const char *name;
        kind kind;
        char *text;
    } all[64];
    size_t n, n_of_model;
} columns;

__attribute__((format(printf, 4, 5))) static void add(columns *c, const char *name, kind of, const char *format, ...) {
    va_list values, again;
    va_start(values, format);
    va_copy(again, values);
    int n = vsnprintf(NULL, 0, format, again);
    if (n < 0 || c->n == sizeof c->all / sizeof *c->all) fail("no room for the column ", name);
    char *text = grown(NULL, (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, values);
    va_end(again);
    va_end(values);
    c->all[c->n].name = name;
    c->all[c->n].kind = of;
    c->all[c->n++].text = text;
}

/* Leaves the first `n` columns. */
static void drop_columns(columns *c, size_t n) {
    while (c->n > n) free(c->all[--c->n].text);
}

static const char *value_of(const columns *c, const char *name) {
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->all[i].name, name)) return c->all[i].text;
    return "";
}

static double number_of(const columns *c, const char *name) { return strtod(value_of(c, name), NULL); }

/* The names of a context's devices of one kind. */
static void names_of_devices(int32_t of, char *to, size_t room) {
    rekindle_context_info info = {.struct_size = sizeof info};
    check(rekindle_context_get_info(context, &info), "context");
    size_t used = 0;
    *to = 0;
    for (uint32_t i = 0; i < info.n_devices && used < room; i++) {
        rekindle_device_info d = {.struct_size = sizeof d};
        check(rekindle_context_get_device(context, i, &d), "device");
        if (d.kind == of) used += (size_t)snprintf(to + used, room - used, "%s%s", used ? ", " : "", d.name);
    }
}

/* Layers on CUDA devices, the output among them, and layers that have only their experts on the CPU. */
static void count_layers(uint32_t *on_gpus, uint32_t *experts_on_cpu) {
    rekindle_plan_summary summary = {.struct_size = sizeof summary};
    check(rekindle_plan_get_summary(plan, &summary), "plan");
    for (uint32_t i = 0; i <= summary.n_layer; i++) {
        rekindle_plan_layer layer = {.struct_size = sizeof layer};
        rekindle_device_info d = {.struct_size = sizeof d};
        check(rekindle_plan_get_layer(plan, i, &layer), "plan");
        check(rekindle_context_get_device(context, layer.device, &d), "device");
        *on_gpus += d.kind == REKINDLE_DEVICE_CUDA;
        *experts_on_cpu += layer.experts_device != layer.device;
    }
}

/* Architecture, size, and the type that most bytes of the weights have: "llama 1.1B Q4_K". Returns all bytes. */
static uint64_t describe_weights(const rekindle_file_info *f, char *to, size_t room) {
    uint64_t bytes[256] = {0}, all = 0, most = 0;
    char type[16] = "";
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        rekindle_tensor_info t = {.struct_size = sizeof t};
        check(rekindle_file_get_tensor(file, i, &t), "tensor");
        all += t.n_bytes;
        uint64_t *of_type = &bytes[t.tensor_type % 256];
        *of_type += t.n_bytes;
        if (*of_type < most) continue;
        most = *of_type;
        memcpy(type, t.type_name, sizeof type);
    }
    double n = (double)f->n_params;
    snprintf(to, room, "%s %.3g%s %s", f->architecture, n >= 1e9 ? n / 1e9 : n >= 1e6 ? n / 1e6 : n / 1e3,
             n >= 1e9 ? "B" : n >= 1e6 ? "M" : "K", type);
    return all;
}

/* The columns of the model that was loaded. */
static void describe_model(columns *c, const options *o) {
    char cpu[256], gpu[512], type[128];
    uint32_t on_gpus = 0, experts_on_cpu = 0;
    names_of_devices(REKINDLE_DEVICE_CPU, cpu, sizeof cpu);
    names_of_devices(REKINDLE_DEVICE_CUDA, gpu, sizeof gpu);
    count_layers(&on_gpus, &experts_on_cpu);
    rekindle_context_info found = {.struct_size = sizeof found};
    check(rekindle_context_get_info(context, &found), "context");
    rekindle_file_info f = {.struct_size = sizeof f};
    check(rekindle_file_get_info(file, &f), "info");
    rekindle_plan_summary p = {.struct_size = sizeof p};
    check(rekindle_plan_get_summary(plan, &p), "plan");
    uint64_t bytes = describe_weights(&f, type, sizeof type);
    drop_columns(c, 0);
    add(c, "build_commit", TEXT, "%s", rekindle_version());
    add(c, "build_number", NUMBER, "%u", rekindle_abi_version());
    add(c, "cpu_info", TEXT, "%s", cpu);
    add(c, "gpu_info", TEXT, "%s", gpu);
    add(c, "backends", TEXT, "%s", on_gpus ? "CUDA" : "CPU");
    add(c, "model_filename", TEXT, "%s", o->model);
    add(c, "model_type", TEXT, "%s", type);
    add(c, "model_size", NUMBER, "%llu", (unsigned long long)bytes);
    add(c, "model_n_params", NUMBER, "%llu", (unsigned long long)f.n_params);
    add(c, "n_batch", NUMBER, "%u", p.n_batch);
    add(c, "n_ubatch", NUMBER, "%u", p.n_ubatch);
    add(c, "n_threads", NUMBER, "%u", found.n_threads);
    add(c, "cpu_mask", TEXT, "0x0");
    add(c, "cpu_strict", TRUTH, "0");
    add(c, "poll", NUMBER, "50");
    add(c, "type_k", TEXT, "%s", name_of(KV, p.type_k));
    add(c, "type_v", TEXT, "%s", name_of(KV, p.type_v));
    add(c, "n_gpu_layers", NUMBER, "%u", on_gpus);
    add(c, "n_cpu_moe", NUMBER, "%u", experts_on_cpu);
    add(c, "split_mode", TEXT, "layer");
    add(c, "main_gpu", NUMBER, "0");
    add(c, "no_kv_offload", TRUTH, "0");
    /* Attention never has a row of scores for each token of the context. */
    add(c, "flash_attn", NUMBER, "1");
    add(c, "devices", TEXT, "%s", *o->devices ? o->devices : "auto");
    add(c, "tensor_split", TEXT, "0.00");
    add(c, "tensor_buft_overrides", TEXT, "%s", o->plan.placements ? o->plan.placements : "none");
    add(c, "load_mode", TEXT, "%s", o->copied ? "none" : "mmap");
    add(c, "lazy_mode", TEXT, "auto");
    add(c, "embeddings", TRUTH, "0");
    add(c, "no_op_offload", NUMBER, "0");
    add(c, "no_host", TRUTH, "0");
    add(c, "repack", TRUTH, "1");
    add(c, "fit_target", NUMBER, "0");
    add(c, "fit_min_ctx", NUMBER, "0");
    c->n_of_model = c->n;
}

#endif
