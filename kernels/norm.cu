// Norm: each group of columns (a row, or a head's part of one) is brought to one size, then multiplied by the weight
// and added to the bias, where there are such. Rms divides by the root mean square, Layer takes the mean away and
// divides by the deviation from it, L2 divides by the length. Threads add up what they have of their own elements, each
// warp adds up its threads' sums, and all warps theirs by way of shared memory; then every thread scales its elements.
// The first of them stay in registers meanwhile, so that rows of up to 8192 elements are read once. A result may lie in
// the place of x, because each element is read and written by one thread. Where there is a b, x + b is kept and normed.
#include "args.h"
#include "device.h"

// Elements of a thread that stay in registers.
#define NORM_KEPT 16

DEVICE float norm_scale(const Norm& a, float squares) {
    if (a.kind == NORM_L2) return 1.0f / fmaxf(sqrtf(squares), a.eps);
    return 1.0f / sqrtf(squares / (float)a.group + a.eps);
}

// The result of an element. `at` is the column of the row at which its group begins, `c` its own within the group.
DEVICE float normed(const Norm& a, float x, float mean, float scale, int at, int c) {
    float y = (x - mean) * scale;
    if (a.weight) y *= ldg(a.weight + (a.weight_of_row ? at + c : c));
    if (a.bias) y += ldg(a.bias + (a.bias_of_row ? at + c : c));
    return y;
}

// A block per group: grid (groups).
KERNEL(norm, Norm, NORM_THREADS) {
    SHARED(float, sums[2][NORM_THREADS / 32]);
    const int t = (int)threadIdx.x, n_warps = NORM_THREADS / 32;
    const float* x = a.x + (long long)blockIdx.x * a.group;
    float* y = a.y + (long long)blockIdx.x * a.group;
    const int at = (int)((long long)blockIdx.x * a.group % a.cols);
    float kept[NORM_KEPT];
#pragma unroll
    for (int i = 0; i < NORM_KEPT; i++) {
        const int c = t + i * NORM_THREADS;
        kept[i] = c < a.group ? x[c] : 0;
    }
    if (a.b) {
        const float* b = a.b + (long long)blockIdx.x * a.group;
        float* added = a.sum + (long long)blockIdx.x * a.group;
        float other[NORM_KEPT];
#pragma unroll
        for (int i = 0; i < NORM_KEPT; i++) {
            const int c = t + i * NORM_THREADS;
            other[i] = c < a.group ? b[c] : 0;
        }
#pragma unroll
        for (int i = 0; i < NORM_KEPT; i++) {
            const int c = t + i * NORM_THREADS;
            kept[i] += other[i];
            if (c < a.group) added[c] = kept[i];
        }
        for (int c = t + NORM_KEPT * NORM_THREADS; c < a.group; c += NORM_THREADS) added[c] = x[c] + b[c];
        x = added;
    }
    float mean = 0;
    if (a.kind == NORM_LAYER) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < NORM_KEPT; i++) sum += kept[i];
        for (int c = t + NORM_KEPT * NORM_THREADS; c < a.group; c += NORM_THREADS) sum += x[c];
        sum = warp_sum(sum);
        if (t % 32 == 0) sums[0][t / 32] = sum;
        __syncthreads();
        mean = warp_sum(t % 32 < n_warps ? sums[0][t % 32] : 0) / (float)a.group;
    }
    float sum = 0;
#pragma unroll
    for (int i = 0; i < NORM_KEPT; i++) {
        const float off = t + i * NORM_THREADS < a.group ? kept[i] - mean : 0;
        sum += off * off;
    }
#pragma unroll 4
    for (int c = t + NORM_KEPT * NORM_THREADS; c < a.group; c += NORM_THREADS) sum += (x[c] - mean) * (x[c] - mean);
    sum = warp_sum(sum);
    if (t % 32 == 0) sums[1][t / 32] = sum;
    __syncthreads();
    const float scale = norm_scale(a, warp_sum(t % 32 < n_warps ? sums[1][t % 32] : 0));
#pragma unroll
    for (int i = 0; i < NORM_KEPT; i++) {
        const int c = t + i * NORM_THREADS;
        if (c < a.group) y[c] = normed(a, kept[i], mean, scale, at, c);
    }
#pragma unroll 4
    for (int c = t + NORM_KEPT * NORM_THREADS; c < a.group; c += NORM_THREADS) {
        y[c] = normed(a, x[c], mean, scale, at, c);
    }
}

// A warp per group, for small ones (a head's): grid (groups / 4).
KERNEL(norm_small, Norm, NORM_SMALL_THREADS) {
    const int lane = (int)threadIdx.x % 32;
    const long long g = (long long)blockIdx.x * (NORM_SMALL_THREADS / 32) + threadIdx.x / 32;
    if (g >= a.n_groups) return;
    const float* x = a.x + g * a.group;
    float* y = a.y + g * a.group;
    const int at = (int)(g * a.group % a.cols);
    float mean = 0, sum = 0;
    if (a.kind == NORM_LAYER) {
        for (int c = lane; c < a.group; c += 32) mean += x[c];
        mean = warp_sum(mean) / (float)a.group;
    }
    for (int c = lane; c < a.group; c += 32) sum += (x[c] - mean) * (x[c] - mean);
    const float scale = norm_scale(a, warp_sum(sum));
    for (int c = lane; c < a.group; c += 32) y[c] = normed(a, x[c], mean, scale, at, c);
}
