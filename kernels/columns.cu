// Columns and Concat: parts of heads are taken apart and put together. Each thread copies one element, and neighbouring
// threads copy neighbouring elements of one head.
#include "args.h"
#include "device.h"

// Grid (rows * heads, parts of n).
KERNEL(columns, Columns, COLUMNS_THREADS) {
    const long long h = blockIdx.x;
    const int c = (int)blockIdx.y * COLUMNS_THREADS + (int)threadIdx.x;
    if (c < a.n) a.y[h * a.n + c] = a.x[h * a.head + a.first + c];
}

// Grid (rows * heads, parts of n_x + n_b).
KERNEL(concat, Concat, COLUMNS_THREADS) {
    const int h = (int)blockIdx.x, n = a.n_x + a.n_b;
    const int c = (int)blockIdx.y * COLUMNS_THREADS + (int)threadIdx.x;
    if (c >= n) return;
    const long long part = (long long)(h / a.n_head) * a.parts + h % a.n_head % a.parts;
    a.y[(long long)h * n + c] = c < a.n_x ? a.x[(long long)h * a.n_x + c] : a.b[part * a.n_b + c - a.n_x];
}
