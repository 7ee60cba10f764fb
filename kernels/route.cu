// Route: which experts a row goes to, and with which weights, by the rules of src/cpu/route.rs. SumExperts: what they gave, weighted.
#include "device.h"

#define ROUTE_THREADS 32
#define FEW_EXPERTS 512
// No architecture takes more.
#define MAX_EXPERTS 4096

enum { SOFTMAX = 0, SIGMOID = 1, SOFTMAX_OF_CHOSEN = 2 };

// logits [n_rows, n_expert] -> y [n_rows, 2 * n_used]: numbers of experts, then weights. bias: added for choosing only, or null.
struct Route {
    const float* logits;
    const float* bias;
    float* y;
    int n_expert, n_used, gating, normalise, n_group, n_group_used;
    float scale;
    int unused;
};

// A sum of weights below this is taken as this: the least normal half.
#define LEAST_SUM 6.1035156e-5f

DEVICE void softmax(float* x, int n, int lane) {
    float max = -INFINITE, sum = 0;
    for (int i = lane; i < n; i += 32) max = fmaxf(max, x[i]);
    max = warp_max(max);
    for (int i = lane; i < n; i += 32) {
        x[i] = expf(x[i] - max);
        sum += x[i];
    }
    sum = warp_sum(sum);
    for (int i = lane; i < n; i += 32) x[i] /= sum;
    __syncwarp();
}

// Whether score x of i stands before y of j: larger, or equal and earlier; one that is no number loses to all others.
DEVICE bool before(float x, int i, float y, int j) {
    if (x > y) return true;
    if (isnan(x) != isnan(y)) return isnan(y);
    return (x == y || isnan(x)) && i < j;
}

// Where the largest score stands, in every lane.
DEVICE int largest(const float* scores, int n, int lane) {
    int best = lane < n ? lane : 0;
    float score = scores[best];
    for (int i = lane + 32; i < n; i += 32) {
        if (before(scores[i], i, score, best)) best = i, score = scores[i];
    }
    for (int mask = 16; mask > 0; mask >>= 1) {
        const int other = shfl_xor(best, mask);
        const float other_score = shfl_xor(score, mask);
        if (before(other_score, other, score, best)) best = other, score = other_score;
    }
    return best;
}

// Leaves only the scores of the best groups, by their two best experts together.
DEVICE void keep_groups(float* scores, float* worths, int n_expert, int n_group, int n_used, int lane) {
    const int size = n_expert / n_group;
    for (int g = lane; g < n_group; g += 32) {
        const float* group = scores + g * size;
        int first = 0;
        for (int i = 1; i < size; i++) {
            if (before(group[i], i, group[first], first)) first = i;
        }
        // The largest of the others; none counts as zero.
        float second = size > 1 ? group[first == 0] : 0;
        for (int i = 0; i < size; i++) {
            if (i != first) second = fmaxf(second, group[i]);
        }
        worths[g] = group[first] + second;
    }
    __syncwarp();
    for (int g = lane; g < n_group; g += 32) {
        int better = 0;
        for (int o = 0; o < n_group; o++) better += worths[o] > worths[g] || (worths[o] == worths[g] && o < g);
        if (better >= n_used) {
            for (int i = 0; i < size; i++) scores[g * size + i] = -INFINITE;
        }
    }
    __syncwarp();
}

// One row, by a warp. Each array has room for n_expert.
DEVICE void choose(const Route& a, float* probs, float* scores, float* worths) {
    const int lane = (int)threadIdx.x, n = a.n_expert;
    const float* logits = a.logits + (long long)blockIdx.x * n;
    float* ids = a.y + (long long)blockIdx.x * 2 * a.n_used;
    float* weights = ids + a.n_used;
    for (int i = lane; i < n; i += 32) probs[i] = a.gating == SIGMOID ? 1.0f / (1.0f + expf(-logits[i])) : logits[i];
    __syncwarp();
    if (a.gating == SOFTMAX) softmax(probs, n, lane);
    for (int i = lane; i < n; i += 32) scores[i] = a.bias ? probs[i] + ldg(a.bias + i) : probs[i];
    __syncwarp();
    if (a.n_group > 1) keep_groups(scores, worths, n, a.n_group, a.n_group_used, lane);
    for (int i = 0; i < a.n_used; i++) {
        int best = largest(scores, n, lane);
        // Where all that is left is no number, any other will do; those chosen are no numbers either.
        if (isnan(scores[best])) {
            for (int j = 0; j < i; j++) {
                if (ids[j] == (float)best) best = (best + 1) % n, j = -1;
            }
        }
        __syncwarp();
        if (lane == 0) {
            ids[i] = (float)best;
            weights[i] = probs[best];
            scores[best] = __int_as_float(0x7fc00000);
        }
        __syncwarp();
    }
    if (a.gating == SOFTMAX_OF_CHOSEN) softmax(weights, a.n_used, lane);
    float sum = 1;
    if (a.normalise) {
        sum = 0;
        for (int i = 0; i < a.n_used; i++) sum += weights[i];
        sum = fmaxf(sum, LEAST_SUM);
    }
    __syncwarp();
    for (int i = lane; i < a.n_used; i += 32) weights[i] = weights[i] / sum * a.scale;
}

// A warp per row: grid (rows). Up to 512 experts, so that shared memory holds many rows at once.
KERNEL(route, Route, ROUTE_THREADS) {
    SHARED(float, shared[3][FEW_EXPERTS]);
    choose(a, shared[0], shared[1], shared[2]);
}

KERNEL(route_many, Route, ROUTE_THREADS) {
    SHARED(float, shared[3][MAX_EXPERTS]);
    choose(a, shared[0], shared[1], shared[2]);
}

#define SUM_THREADS 256

// y[row] = sum over i of weight i times part i of the row.
struct SumExperts {
    const float* x;
    const float* route;
    float* y;
    int cols, n_used;
};

// Grid (rows, parts of cols).
KERNEL(sum_experts, SumExperts, SUM_THREADS) {
    const long long row = blockIdx.x;
    const int c = (int)blockIdx.y * SUM_THREADS + (int)threadIdx.x;
    if (c >= a.cols) return;
    const float* weights = a.route + row * 2 * a.n_used + a.n_used;
    const float* x = a.x + row * a.n_used * a.cols + c;
    float sum = 0;
#pragma unroll 4
    for (int i = 0; i < a.n_used; i++) sum += weights[i] * x[(long long)i * a.cols];
    a.y[row * a.cols + c] = sum;
}
