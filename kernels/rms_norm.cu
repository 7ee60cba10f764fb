// RmsNorm: each group of `group` columns divided by its root mean square, times the weight. y may be x's place: each element is
// read and written by one thread.
#include "device.h"

#define NORM_THREADS 512
#define NORM_KEPT 4

// Groups follow each other without gaps, as columns of a row and as rows.
struct RmsNorm {
    const float* x;
    const float* weight;
    float* y;
    long long n_groups;
    int group;
    float eps;
};

DEVICE float norm_scale(float sum, int group, float eps) { return 1.0f / sqrtf(sum / (float)group + eps); }

// A block per group: grid (groups).
KERNEL(rms_norm, RmsNorm, NORM_THREADS) {
    SHARED(float, sums[NORM_THREADS / 32]);
    const int t = (int)threadIdx.x;
    const float* x = a.x + (long long)blockIdx.x * a.group;
    float* y = a.y + (long long)blockIdx.x * a.group;
    // The first few of each thread stay in registers.
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

#define SMALL_THREADS 128

// A warp per group, for small ones (a head's): grid (groups / 4).
KERNEL(rms_norm_small, RmsNorm, SMALL_THREADS) {
    const int lane = (int)threadIdx.x % 32;
    const long long g = (long long)blockIdx.x * (SMALL_THREADS / 32) + threadIdx.x / 32;
    if (g >= a.n_groups) return;
    const float* x = a.x + g * a.group;
    float* y = a.y + g * a.group;
    float sum = 0;
    for (int c = lane; c < a.group; c += 32) sum += x[c] * x[c];
    const float scale = norm_scale(warp_sum(sum), a.group, a.eps);
    for (int c = lane; c < a.group; c += 32) y[c] = x[c] * scale * ldg(a.weight + c);
}
