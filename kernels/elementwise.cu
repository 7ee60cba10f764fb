// Scale, Add, Gate and SoftCap: element by element. A result may lie in the place of x, because each element is read
// and written by one thread.
#include "args.h"
#include "device.h"

// Grid (rows * parts of a row, parts of cols). A part is an expert's where there is a route, else the whole row.
KERNEL(scale, Scale, EACH_THREADS) {
    const long long i = blockIdx.x;
    const int c = (int)blockIdx.y * EACH_THREADS + (int)threadIdx.x;
    if (c >= a.cols) return;
    const int expert = a.route ? (int)a.route[i / a.n_used * 2 * a.n_used + i % a.n_used] : 0;
    const float offset = a.bias ? ldg(a.bias + (long long)expert * a.cols + c) : 0;
    a.y[i * a.cols + c] = a.x[i * a.cols + c] * ldg(a.scale + expert) + offset;
}

// Walks over all elements of a thread: any grid will do.
#define EACH(i)                                                                       \
    for (long long i = (long long)blockIdx.x * EACH_THREADS + threadIdx.x; i < a.n; \
         i += (long long)gridDim.x * EACH_THREADS)

KERNEL(add, Each, EACH_THREADS) {
    EACH(i) a.y[i] = a.x[i] + a.b[i];
}

KERNEL(gate_silu, Each, EACH_THREADS) {
    EACH(i) {
        const float x = a.x[i];
        a.y[i] = x / (1.0f + expf(-x)) * a.b[i];
    }
}

// GELU in its form with tanh.
KERNEL(gate_gelu, Each, EACH_THREADS) {
    EACH(i) {
        const float x = a.x[i];
        a.y[i] = 0.5f * x * (1.0f + tanhf(0.7978846f * x * (1.0f + 0.044715f * x * x))) * a.b[i];
    }
}

KERNEL(gate_silu_clamped, Each, EACH_THREADS) {
    EACH(i) {
        // fminf would make a number of NaN.
        const float x = a.x[i] > a.limit ? a.limit : a.x[i], b = a.b[i];
        const float clamped = b < -a.limit ? -a.limit : b > a.limit ? a.limit : b;
        a.y[i] = x / (1.0f + expf(-a.alpha * x)) * (clamped + 1.0f);
    }
}

// limit tanh(x / limit)
KERNEL(soft_cap, Each, EACH_THREADS) {
    EACH(i) a.y[i] = a.limit * tanhf(a.x[i] / a.limit);
}
