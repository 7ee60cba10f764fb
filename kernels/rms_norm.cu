// RmsNorm: each group of columns (a row, or a head's part of one) is divided by its root mean square, then multiplied
// by the weight. Threads add up the squares of their own elements, each warp adds up its threads' sums, and all warps
// theirs by way of shared memory; then every thread scales its elements. The first few of them stay in registers
// meanwhile, so that most rows are read once. A result may lie in the place of x, because each element is read and
// written by one thread.
#include "args.h"
#include "device.h"

// Elements of a thread that stay in registers.
#define NORM_KEPT 4

DEVICE float norm_scale(float sum, int group, float eps) { return 1.0f / sqrtf(sum / (float)group + eps); }

// A block per group: grid (groups).
KERNEL(rms_norm, RmsNorm, NORM_THREADS) {
    SHARED(float, sums[NORM_THREADS / 32]);
    const int t = (int)threadIdx.x;
    const float* x = a.x + (long long)blockIdx.x * a.group;
    float* y = a.y + (long long)blockIdx.x * a.group;
    float kept[NORM_KEPT];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < NORM_KEPT; i++) {
        const int c = t + i * NORM_THREADS;
        kept[i] = c < a.group ? x[c] : 0;
    }
#pragma unroll
    for (int i = 0; i < NORM_KEPT; i++) sum += kept[i] * kept[i];
#pragma unroll 4
    for (int c = t + NORM_KEPT * NORM_THREADS; c < a.group; c += NORM_THREADS) sum += x[c] * x[c];
    sum = warp_sum(sum);
    if (t % 32 == 0) sums[t / 32] = sum;
    __syncthreads();
    const float scale = norm_scale(warp_sum(t % 32 < NORM_THREADS / 32 ? sums[t % 32] : 0), a.group, a.eps);
#pragma unroll
    for (int i = 0; i < NORM_KEPT; i++) {
        const int c = t + i * NORM_THREADS;
        if (c < a.group) y[c] = kept[i] * scale * ldg(a.weight + c);
    }
#pragma unroll 4
    for (int c = t + NORM_KEPT * NORM_THREADS; c < a.group; c += NORM_THREADS) y[c] = x[c] * scale * ldg(a.weight + c);
}

// A warp per group, for small ones (a head's): grid (groups / 4).
KERNEL(rms_norm_small, RmsNorm, NORM_SMALL_THREADS) {
    const int lane = (int)threadIdx.x % 32;
    const long long g = (long long)blockIdx.x * (NORM_SMALL_THREADS / 32) + threadIdx.x / 32;
    if (g >= a.n_groups) return;
    const float* x = a.x + g * a.group;
    float* y = a.y + g * a.group;
    float sum = 0;
    for (int c = lane; c < a.group; c += 32) sum += x[c] * x[c];
    const float scale = norm_scale(warp_sum(sum), a.group, a.eps);
    for (int c = lane; c < a.group; c += 32) y[c] = x[c] * scale * ldg(a.weight + c);
}
