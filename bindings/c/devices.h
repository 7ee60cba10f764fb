/* `rekindle devices`: the devices that the library finds, the cards that the kernel knows, and what each lacks. */
#ifndef DEVICES_H
#define DEVICES_H

#include "cards.h"
#include "info.h"

static double gib(uint64_t bytes) { return (double)bytes / 1073741824.0; }

static void print_device(const options *o, uint32_t i, int first) {
    rekindle_device_info d = {.struct_size = sizeof d};
    rekindle_context_info c = {.struct_size = sizeof c};
    check(rekindle_context_get_device(context, i, &d), "devices");
    check(rekindle_context_get_info(context, &c), "devices");
    int cuda = d.kind == REKINDLE_DEVICE_CUDA;
    if (o->json) {
        printf("%s{\"index\": %u, ", first ? "" : ", ", (unsigned)i), json_text("name", d.name);
        printf(", \"kind\": \"%s\", \"described\": %s, ", cuda ? "cuda" : "cpu", d.described ? "true" : "false");
        printf("\"total_bytes\": %llu, \"free_bytes\": %llu, ", (unsigned long long)d.total_bytes,
               (unsigned long long)d.free_bytes);
        printf("\"read_bandwidth\": %.0f, \"compute_capability\": \"%u.%u\", ", d.read_bandwidth,
               (unsigned)d.compute_major, (unsigned)d.compute_minor);
        json_text("kernels", cuda ? d.image : c.isa), putchar('}');
        return;
    }
    printf("%2u  %s%s, %.2f GiB, %.2f GiB free", (unsigned)i, d.name, d.described ? " (described)" : "",
           gib(d.total_bytes), gib(d.free_bytes));
    if (cuda) printf(", compute capability %u.%u", (unsigned)d.compute_major, (unsigned)d.compute_minor);
    else printf(", %u threads, %s", (unsigned)c.n_threads, c.isa);
    if (d.read_bandwidth > 0) printf(", reads %.0f GB/s", d.read_bandwidth / 1e9);
    puts(cuda && !d.takes_layers ? " (takes no layers)" : "");
}

/* The devices of the library; how many of them are CUDA devices of this machine. */
static uint32_t print_devices(const options *o) {
    rekindle_context_params p = {.struct_size = sizeof p, .n_threads = o->threads, .log = log_line};
    p.devices = o->devices;
    p.devices_len = strlen(o->devices);
    check(rekindle_context_create(REKINDLE_ABI_VERSION, &p, &context), "devices");
    rekindle_context_info c = {.struct_size = sizeof c};
    check(rekindle_context_get_info(context, &c), "devices");
    uint32_t n = 0;
    for (uint32_t i = 0; i < c.n_devices; i++) {
        rekindle_device_info d = {.struct_size = sizeof d};
        check(rekindle_context_get_device(context, i, &d), "devices");
        n += d.kind == REKINDLE_DEVICE_CUDA && !d.described;
        print_device(o, i, i == 0);
    }
    return n;
}

/* Returns the library's words on CUDA devices; NULL if there are none. */
static const char *why_none(void) {
    rekindle_context *cuda = NULL;
    rekindle_context_params p = {.struct_size = sizeof p, .devices = "cuda", .devices_len = 4};
    rekindle_status status = rekindle_context_create(REKINDLE_ABI_VERSION, &p, &cuda);
    (void)rekindle_context_destroy(cuda);
    return status == REKINDLE_OK ? NULL : rekindle_last_error();
}

static void print_card(const options *o, const cards *c, uint32_t i, const char *root) {
    const card *of = &c->all[i];
    complaint is;
    int any = complain(c, of, root, &is);
    if (o->json) {
        printf("%s{", i ? ", " : ""), json_text("address", of->address), fputs(", ", stdout);
        json_text("name", of->name), fputs(", ", stdout), json_text("problem", is.what), fputs(", ", stdout);
        json_text("mend", is.mend), putchar('}');
    } else {
        printf("    %s  %s%s%s\n", of->address, of->name, any ? ": " : "", is.what);
        if (*is.mend) printf("        %s\n", is.mend);
    }
}

static void devices(const options *o) {
    const char *root = o->root ? o->root : "", *why = NULL;
    uint32_t found = 0;
    if (o->json) fputs("{\"devices\": [", stdout);
    if (!o->root) found = print_devices(o);
    if (!o->root && !found) why = why_none();
    cards c = find_cards(root);
    if (o->json) {
        fputs("], ", stdout), json_text("driver", c.driver), fputs(", ", stdout);
        json_text("cuda", why ? why : ""), fputs(", \"cards\": [", stdout);
        for (uint32_t i = 0; i < c.n; i++) print_card(o, &c, i, root);
        puts("]}");
    } else {
        if (c.n) printf("\nNVIDIA cards on the bus; driver: %s\n", *c.driver ? c.driver : "none is loaded");
        else puts("\nno NVIDIA card is on the bus");
        for (uint32_t i = 0; i < c.n; i++) print_card(o, &c, i, root);
        if (why && c.n) printf("no card is used: %s\n", why);
    }
    destroy_all();
}

#endif
