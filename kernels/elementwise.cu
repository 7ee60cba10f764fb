// Scale, Add, Activation, Gate and SoftCap: element by element. A result may lie in the place of x, because each
// element is read and written by one thread.
#include "args.h"
#include "device.h"

// Grid (rows * parts of a row, parts of cols). A part is an expert's where there is a route, else the whole row.
KERNEL(scale, Scale, EACH_THREADS) {
    const long long i = blockIdx.x;
    const int c = (int)blockIdx.y * EACH_THREADS + (int)threadIdx.x;
    if (c >= a.cols) return;
    const int expert = a.route ? (int)a.route[i / a.n_used * 2 * a.n_used + i % a.n_used] : 0;
    const float offset = a.bias ? ldg(a.bias + (long long)expert * a.cols + c) : 0;
    const float scale = a.scale ? a.by * ldg(a.scale + (a.of_columns ? c : expert)) : a.by;
    a.y[i * a.cols + c] = a.x[i * a.cols + c] * scale + offset;
}

// Walks over all elements of a thread: any grid will do.
#define EACH(i)                                                                       \
    for (long long i = (long long)blockIdx.x * EACH_THREADS + threadIdx.x; i < a.n; \
         i += (long long)gridDim.x * EACH_THREADS)

KERNEL(add, Each, EACH_THREADS) {
    EACH(i) a.y[i] = a.x[i] + a.b[i];
}

// fminf would make a number of NaN.
DEVICE float at_most(float x, float limit) { return x > limit ? limit : x; }
DEVICE float within(float x, float limit) { return x < -limit ? -limit : at_most(x, limit); }

DEVICE float activation_of(const Gate& a, float x) {
    switch (a.function) {
        case FUNCTION_SILU: return x / (1.0f + expf(-x));
        // In its form with tanh.
        case FUNCTION_GELU: return 0.5f * x * (1.0f + tanhf(0.7978846f * x * (1.0f + 0.044715f * x * x)));
        case FUNCTION_GELU_ERF: return 0.5f * x * erfcf(-0.70710678f * x);
        case FUNCTION_RELU: return x < 0 ? 0 : x;
        case FUNCTION_RELU_SQUARED: return x < 0 ? 0 : x * x;
        case FUNCTION_SIGMOID: return 1.0f / (1.0f + expf(-x));
        case FUNCTION_SOFTPLUS: return x > 20 ? x : log1pf(expf(x));
        case FUNCTION_CLAMP: return within(x, a.limit);
        case FUNCTION_RECIPROCAL: return 1.0f / x;
        case FUNCTION_XIELU:
            if (x > 0) return a.alpha * x * x + a.beta * x;
            return a.limit * (expm1f(at_most(x, a.eps)) - x) + a.beta * x;
        default: return x;
    }
}

KERNEL(activation, Gate, EACH_THREADS) {
    EACH(i) a.y[i] = activation_of(a, a.x[i]);
}

// Each number of x counts for `wide` of b.
KERNEL(gate, Gate, EACH_THREADS) {
    EACH(i) {
        const float x = a.x[a.wide == 1 ? i : i / a.wide], b = a.b[i];
        switch (a.function) {
            case FUNCTION_SILU_CLAMPED: {
                const float low = at_most(x, a.limit);
                a.y[i] = low / (1.0f + expf(-a.alpha * low)) * (within(b, a.limit) + 1.0f);
                break;
            }
            case FUNCTION_SILU_OF_LIMITED: {
                const float low = at_most(x, a.limit);
                a.y[i] = low / (1.0f + expf(-low)) * within(b, a.limit);
                break;
            }
            case FUNCTION_SILU_LIMITED:
                a.y[i] = at_most(x / (1.0f + expf(-x)), a.limit) * within(b, a.limit);
                break;
            default: a.y[i] = activation_of(a, x) * b;
        }
    }
}

// limit tanh(x / limit)
KERNEL(soft_cap, Each, EACH_THREADS) {
    EACH(i) a.y[i] = a.limit * tanhf(a.x[i] / a.limit);
}
