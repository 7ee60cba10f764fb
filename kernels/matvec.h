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

// A product by one matrix: what is left of Matvec, MatvecOne and MatvecExperts when part, head or expert is known.
struct Product {
    const unsigned char* w;
    const float* x;
    float* y;
    const float* bias;
    long long row_bytes;
    int n_in, n_out, n_rows, x_stride, y_stride, split;
    // The block's number among those of this product.
    int block;
};

DEVICE Product product_of(const Matvec& a) {
    const long long head = blockIdx.y;
    Product p = {a.w + head * a.head_bytes, a.x + head * a.x_head, a.y + head * a.y_head, a.bias, a.row_bytes,
                 a.n_in, a.n_out, a.n_rows, a.x_stride, a.y_stride, a.split, (int)blockIdx.x};
    return p;
}

DEVICE int part_of(const MatvecOne& a) {
    return (int)blockIdx.x < a.second.first_block ? 0 : (int)blockIdx.x < a.third.first_block ? 1 : 2;
}
DEVICE Product product_of(const MatvecOne& a, const MatvecPart& part) {
    const long long head = blockIdx.y;
    Product p = {part.w + head * a.head_bytes, a.x + head * a.x_head, part.y + head * a.y_head, part.bias,
                 part.row_bytes, a.n_in, part.n_out, 1, 0, 0, part.split, (int)blockIdx.x - part.first_block};
    return p;
}
DEVICE Product product_of(const MatvecOne& a) {
    const int i = part_of(a);
    return product_of(a, i == 0 ? a.first : i == 1 ? a.second : a.third);
}

DEVICE Product product_of(const MatvecExperts& a) {
    const int row = blockIdx.y / a.n_used, part = blockIdx.y % a.n_used;
    int expert = (int)ldg(a.route + (long long)row * 2 * a.n_used + part);
    expert = expert < a.n_expert ? expert : a.n_expert - 1;
    Product p = {a.w + expert * a.expert_bytes,
                 a.x + (long long)row * a.x_row + (long long)part * a.x_part,
                 a.y + (long long)row * a.y_stride + (long long)part * a.n_out,
                 a.bias ? a.bias + (long long)expert * a.bias_stride : a.bias,
                 a.row_bytes, a.n_in, a.n_out, 1, 0, 0, a.split, (int)blockIdx.x};
    return p;
}

// The function of a gate that a product is multiplied by; elementwise.cu has them all.
DEVICE float gate_of(int function, float x) {
    if (function == FUNCTION_SILU) return x / (1.0f + expf(-x));
    return 0.5f * x * (1.0f + tanhf(0.7978846f * x * (1.0f + 0.044715f * x * x)));
}

// Of a gated pair of matrices: the sums of their rows, as `finish` makes them. The first H of R sums are the gate's.
template <int LANES, int H>
DEVICE void finish_gated(const Product& p, const float* other_bias, int function, int first_row, float (&acc)[2 * H],
                         float factor, float* shared) {
    enum { GROUPS = 32 / LANES, R = 2 * H };
    const int thread = threadIdx.x, warp = thread / 32, group = thread % 32 / LANES, lane = thread % LANES;
    const int part = warp % p.split;
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int mask = LANES / 2; mask > 0; mask >>= 1) acc[r] += shfl_xor(acc[r], mask);
    if (p.split > 1) {
        if (part > 0) {
#pragma unroll
            for (int r = 0; r < R; r++)
                if (lane == r % LANES) shared[(warp * R + r) * GROUPS + group] = acc[r];
        }
        __syncthreads();
        if (part > 0) return;
    }
#pragma unroll
    for (int h = 0; h < H; h++) {
        const int o = first_row + h * GROUPS;
        if (lane != h % LANES || o >= p.n_out) continue;
        float gate = acc[h], up = acc[h + H];
        for (int k = 1; k < p.split; k++) {
            gate += shared[((warp + k) * R + h) * GROUPS + group];
            up += shared[((warp + k) * R + h + H) * GROUPS + group];
        }
        gate *= factor, up *= factor;
        if (p.bias) gate += ldg(p.bias + o);
        if (other_bias) up += ldg(other_bias + o);
        p.y[o] = gate_of(function, gate) * up;
    }
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
