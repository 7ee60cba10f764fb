// Scale, Add, Gate and SoftCap: element by element. y may be x's place.
#include "device.h"

#define EACH_THREADS 256

// x times a scale, plus a bias; those of each expert where there is a route. n_used: experts of a row, 0 without a route.
struct Scale {
    const float* x;
    const float* scale;
    const float* bias;
    const float* route;
    float* y;
    int cols, n_used;
};

// Grid (rows * parts of a row, parts of cols).
KERNEL(scale, Scale, EACH_THREADS) {
    const long long i = blockIdx.x;
    const int c = (int)blockIdx.y * EACH_THREADS + (int)threadIdx.x;
    if (c >= a.cols) return;
    const int expert = a.route ? (int)a.route[i / a.n_used * 2 * a.n_used + i % a.n_used] : 0;
    const float offset = a.bias ? ldg(a.bias + (long long)expert * a.cols + c) : 0;
    a.y[i * a.cols + c] = a.x[i * a.cols + c] * ldg(a.scale + expert) + offset;
}

// n elements of x, b and y. alpha, limit: what the operation has.
struct Each {
    const float* x;
    const float* b;
    float* y;
    long long n;
    float alpha, limit;
};

// All of a thread's elements: any grid.
#define EACH(i) \
    for (long long i = (long long)blockIdx.x * EACH_THREADS + threadIdx.x; i < a.n; i += (long long)gridDim.x * EACH_THREADS)

KERNEL(add, Each, EACH_THREADS) {
    EACH(i) a.y[i] = a.x[i] + a.b[i];
}

KERNEL(gate_silu, Each, EACH_THREADS) {
    EACH(i) {
        const float x = a.x[i];
        a.y[i] = x / (1.0f + expf(-x)) * a.b[i];
    }
}

// The tanh form.
KERNEL(gate_gelu, Each, EACH_THREADS) {
    EACH(i) {
        const float x = a.x[i];
        a.y[i] = 0.5f * x * (1.0f + tanhf(0.7978846f * x * (1.0f + 0.044715f * x * x))) * a.b[i];
    }
}

KERNEL(gate_silu_clamped, Each, EACH_THREADS) {
    EACH(i) {
        // Not fminf, which would make a number of what is none.
        const float x = a.x[i] > a.limit ? a.limit : a.x[i], b = a.b[i];
        const float clamped = b < -a.limit ? -a.limit : b > a.limit ? a.limit : b;
        a.y[i] = x / (1.0f + expf(-a.alpha * x)) * (clamped + 1.0f);
    }
}

// limit tanh(x / limit)
KERNEL(soft_cap, Each, EACH_THREADS) {
    EACH(i) a.y[i] = a.limit * tanhf(a.x[i] / a.limit);
}
