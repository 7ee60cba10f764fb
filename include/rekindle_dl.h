/* Opens librekindle at run time: a host that includes this needs nothing at link time (except -ldl on old systems). It
 * is header-only and needs C99 or C++11, and POSIX.
 *
 *     char why[256];
 *     const rekindle_api_table *rk = rekindle_dl_open(NULL, why, sizeof why);
 *     if (!rk) fprintf(stderr, "%s\n", why);
 *     else rk->context_create(REKINDLE_ABI_VERSION, NULL, &context);
 *
 * Functions have their names of rekindle.h without the prefix: rekindle_plan is rk->plan. The library stays open until
 * the process ends.
 */
#ifndef REKINDLE_DL_H
#define REKINDLE_DL_H

#include <dlfcn.h>
#include <stdio.h>

#include "rekindle.h"

/* `path` is the library's file, or NULL for librekindle.so.1 where the system looks for libraries (LD_LIBRARY_PATH, the
 * host's run path, the system's folders). The result is NULL if there is no such library or if it is too old for this
 * header; then `why` (of `capacity` bytes, may be NULL with 0) says what was tried and what is wrong. */
static inline const rekindle_api_table *rekindle_dl_open(const char *path, char *why, size_t capacity) {
    const char *name = path ? path : "librekindle.so.1";
    /* POSIX gives functions as object pointers; a union says so without a cast that the C standard forbids. */
    union {
        void *object;
        const rekindle_api_table *(*function)(uint32_t);
    } api;
    const rekindle_api_table *table;
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        if (why) (void)snprintf(why, capacity, "rekindle could not be opened: %s", reason ? reason : name);
        return NULL;
    }
    api.object = dlsym(library, "rekindle_api");
    if (!api.object) {
        if (why) (void)snprintf(why, capacity, "%s is not rekindle: it has no rekindle_api", name);
        (void)dlclose(library);
        return NULL;
    }
    table = api.function(REKINDLE_ABI_VERSION);
    if (!table || table->struct_size < sizeof(rekindle_api_table)) {
        if (why) {
            (void)snprintf(why, capacity, "%s is too old: this program needs rekindle's ABI version %u", name,
                           (unsigned)REKINDLE_ABI_VERSION);
        }
        (void)dlclose(library);
        return NULL;
    }
    return table;
}

#endif
