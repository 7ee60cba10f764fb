// Route chooses the experts of each row and their weights, by the rules of src/cpu/route.rs. SumExperts adds up what
// the experts gave, weighted.
//
// A warp takes a row, with its probabilities and scores in shared memory. Logits become probabilities; scores are those
// plus a bias, which counts for choosing only. Where experts stand in groups, only the scores of the best groups are
// kept. Then each lane knows the best of its own scores, the warp takes the best of those out, and its lane looks for
// another, until there are as many as wanted. Ties go to the earlier expert, and NaN loses to every number, so that the
// choice is the same everywhere.
#include "args.h"
#include "device.h"

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

// True if score x of i stands before y of j: larger, or equal and earlier. NaN stands behind all numbers.
DEVICE bool before(float x, int i, float y, int j) {
    if (x > y) return true;
    if (isnan(x) != isnan(y)) return isnan(y);
    return (x == y || isnan(x)) && i < j;
}

// A number that stands before another's where the score does; that of NaN is 0, before which all others stand.
DEVICE unsigned rank_of(float x) {
    if (isnan(x)) return 0;
    const unsigned bits = __float_as_uint(x == 0 ? 0.0f : x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The best of a lane's own scores: each 32nd.
DEVICE void best_own(const float* scores, int n, int lane, unsigned& rank, int& best) {
    rank = 0, best = lane < n ? lane : 0;
#pragma unroll 4
    for (int i = lane; i < n; i += 32) {
        const unsigned other = rank_of(scores[i]);
        if (other > rank) rank = other, best = i;
    }
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
        // The largest of the others; zero where there is no other.
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
    for (int i = lane; i < n; i += 32) {
        probs[i] = a.gating == GATING_SIGMOID ? 1.0f / (1.0f + expf(-logits[i])) : logits[i];
    }
    __syncwarp();
    if (a.gating == GATING_SOFTMAX) softmax(probs, n, lane);
    for (int i = lane; i < n; i += 32) scores[i] = a.bias ? probs[i] + ldg(a.bias + i) : probs[i];
    __syncwarp();
    if (a.n_group > 1) keep_groups(scores, worths, n, a.n_group, a.n_group_used, lane);
    unsigned rank;
    int own;
    best_own(scores, n, lane, rank, own);
    for (int i = 0; i < a.n_used; i++) {
        unsigned highest = rank;
        for (int mask = 16; mask > 0; mask >>= 1) highest = max(highest, (unsigned)shfl_xor((int)highest, mask));
        int best = rank == highest ? own : n;
        for (int mask = 16; mask > 0; mask >>= 1) best = min(best, shfl_xor(best, mask));
        // Where only NaN is left, any expert that is not yet chosen will do. (Those chosen were made NaN below.)
        if (highest == 0) {
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
        // Only the lane whose it was has another best one now.
        if (best % 32 == lane) best_own(scores, n, lane, rank, own);
    }
    if (a.gating == GATING_SOFTMAX_OF_CHOSEN) softmax(weights, a.n_used, lane);
    float sum = 1;
    if (a.normalise) {
        sum = 0;
        for (int i = 0; i < a.n_used; i++) sum += weights[i];
        sum = fmaxf(sum, LEAST_SUM);
    }
    __syncwarp();
    for (int i = lane; i < a.n_used; i += 32) weights[i] = weights[i] / sum * a.scale;
}

// Grid (rows). For few experts, so that shared memory holds many rows at once.
KERNEL(route, Route, ROUTE_THREADS) {
    SHARED(float, shared[3][ROUTE_FEW]);
    choose(a, shared[0], shared[1], shared[2]);
}

// Grid (rows). No architecture takes more experts.
KERNEL(route_many, Route, ROUTE_THREADS) {
    SHARED(float, shared[3][ROUTE_MOST]);
    choose(a, shared[0], shared[1], shared[2]);
}

// y[row] = sum over i of weight i (or 1) times part i of the row. Grid (rows, parts of cols).
KERNEL(sum_experts, SumExperts, SUM_THREADS) {
    const long long row = blockIdx.x;
    const int c = (int)blockIdx.y * SUM_THREADS + (int)threadIdx.x;
    if (c >= a.cols) return;
    const float* weights = a.route + row * 2 * a.n_used + a.n_used;
    const float* x = a.x + row * a.n_used * a.cols + c;
    float sum = 0;
#pragma unroll 4
    for (int i = 0; i < a.n_used; i++) sum += (a.weighted ? weights[i] : 1.0f) * x[(long long)i * a.cols];
    a.y[row * a.cols + c] = sum;
}
