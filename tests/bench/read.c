/* Measures how fast this machine reads memory: some threads read every byte of a range once, and do nothing else. Built
 * by bench.py. */

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef uint64_t vector __attribute__((vector_size(64)));
typedef struct {
    const vector *from, *to;
    uint64_t sum;
} part;

static void *read_part(void *argument) {
    part *p = argument;
    vector a = {0}, b = {0}, c = {0}, d = {0};
    for (const vector *v = p->from; v + 4 <= p->to; v += 4) {
        __builtin_prefetch((const char *)v + 8192, 0, 2);
        __builtin_prefetch((const char *)v + 8256, 0, 2);
        __builtin_prefetch((const char *)v + 8320, 0, 2);
        __builtin_prefetch((const char *)v + 8384, 0, 2);
        a += v[0];
        b += v[1];
        c += v[2];
        d += v[3];
    }
    a += b + c + d;
    for (int i = 0; i < 8; i++) p->sum += a[i];
    return NULL;
}

/* Seconds. `data` is aligned to a page. */
double read_all(const void *data, size_t bytes, int n_threads, uint64_t *sum) {
    struct timespec start, end;
    pthread_t threads[256];
    part parts[256];
    size_t n = bytes / 64;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < n_threads; i++) {
        const vector *v = data;
        parts[i] = (part){v + n * (size_t)i / (size_t)n_threads, v + n * (size_t)(i + 1) / (size_t)n_threads, 0};
        if (i && pthread_create(&threads[i], NULL, read_part, &parts[i])) return -1;
    }
    read_part(&parts[0]);
    *sum = parts[0].sum;
    for (int i = 1; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        *sum += parts[i].sum;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}
