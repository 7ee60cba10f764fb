// Products of up to eight rows of x: y[row, o] = sum over i of W[o, i] x[row, i] + bias[o]. Decoding a token does
// hardly anything else, and memory bounds it if few instructions are spent on each value of W (kernels/README.md counts
// them).
//
// Weights of blocks (matvec_blocks.h): a block of 128 threads stages a slice of x in shared memory, in the order in
// which its lanes will want it, with the sums of x over each group of weights that has one scale. Then each eight lanes
// take R rows of the matrix, 512 values at a time, decode them in registers (blocks.h), and multiply them by every row
// of x. Weights that are plain numbers (matvec_plain.cu) need no decoding, and x comes from the caches.
//
// Where the matrix has too few rows to fill a die, `split` warps share the same rows and take turns at the 512 values;
// their sums meet in shared memory at the end. No sum depends on timing.
#pragma once
#include "args.h"
#include "device.h"

enum { WARPS = MATVEC_THREADS / 32 };

// A product by one matrix: what is left of Matvec and MatvecExperts when head or expert is known.
struct Product {
    const unsigned char* w;
    const float* x;
    float* y;
    const float* bias;
    long long row_bytes;
    int n_in, n_out, n_rows, x_stride, y_stride, split;
};

DEVICE Product product_of(const Matvec& a) {
    const long long head = blockIdx.y;
    Product p = {a.w + head * a.head_bytes, a.x + head * a.x_head, a.y + head * a.y_head, a.bias, a.row_bytes,
                 a.n_in, a.n_out, a.n_rows, a.x_stride, a.y_stride, a.split};
    return p;
}

DEVICE Product product_of(const MatvecExperts& a) {
    const int row = blockIdx.y / a.n_used, part = blockIdx.y % a.n_used;
    int expert = (int)ldg(a.route + (long long)row * 2 * a.n_used + part);
    expert = expert < a.n_expert ? expert : a.n_expert - 1;
    Product p = {a.w + expert * a.expert_bytes,
                 a.x + (long long)row * a.x_row + (long long)part * a.x_part,
                 a.y + (long long)row * a.y_stride + (long long)part * a.n_out,
                 a.bias ? a.bias + (long long)expert * a.bias_stride : a.bias,
                 a.row_bytes, a.n_in, a.n_out, 1, 0, 0, a.split};
    return p;
}

// Adds up the sums of LANES lanes and of the warps that share their rows, and writes y. Row r of a lane is
// first_row + r * (32 / LANES).
template <int LANES, int NR, int R>
DEVICE void finish(const Product& p, int first_row, float (&acc)[R][NR], float factor, float* shared) {
    enum { GROUPS = 32 / LANES };
    const int thread = threadIdx.x, warp = thread / 32, group = thread % 32 / LANES, lane = thread % LANES;
    const int part = warp % p.split;
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int n = 0; n < NR; n++)
#pragma unroll
            for (int mask = LANES / 2; mask > 0; mask >>= 1) acc[r][n] += shfl_xor(acc[r][n], mask);
    // Each lane stores another one of the sums.
    if (p.split > 1) {
        if (part > 0) {
#pragma unroll
            for (int r = 0; r < R; r++)
#pragma unroll
                for (int n = 0; n < NR; n++)
                    if (lane == (r * NR + n) % LANES) shared[((warp * R + r) * NR + n) * GROUPS + group] = acc[r][n];
        }
        __syncthreads();
        if (part > 0) return;
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int o = first_row + r * GROUPS;
#pragma unroll
        for (int n = 0; n < NR; n++) {
            if (lane != (r * NR + n) % LANES || o >= p.n_out || n >= p.n_rows) continue;
            float sum = acc[r][n];
            for (int k = 1; k < p.split; k++) sum += shared[(((warp + k) * R + r) * NR + n) * GROUPS + group];
            sum *= factor;
            if (p.bias) sum += ldg(p.bias + o);
            p.y[(long long)n * p.y_stride + o] = sum;
        }
    }
}
