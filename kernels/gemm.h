// Products of many rows, in single precision: y[row, o] = sum over i of W[o, i] x[row, i] (+ bias[o]). Weights become
// numbers on the way to shared memory (decode.h). There are three kernels of each type, which the files of kernels make
// by `GEMM`:
//
//   gemm_TYPE          tiles of 128 outputs x 64 rows, 32 elements deep; grid (row tiles, output tiles, heads)
//   gemm_small_TYPE    tiles of 64 outputs x 32 rows, 64 deep, in which each warp takes a quarter of the depth, so that
//                      few rows fill a die too; the same grid
//   gemm_experts_TYPE  the same over pairs of a row and an expert, by the lists of experts.cu; grid (tiles of pairs,
//                      output tiles)
//
// A block takes a tile of the results and walks along the depth. At each step its threads bring a slice of the weights
// and one of x to shared memory, then each thread multiplies two float4 of weights by two of x for each element of the
// depth: it has 8 x 8 results in registers. While a slice is multiplied, the next one's loads are under way, their
// bytes still undecoded.
//
// A block has 128 threads and 24 KB of shared memory: four blocks a multiprocessor of a GK210. Neighbouring row tiles
// run at the same time, so weights come from memory about once.
#pragma once
#include "args.h"
#include "decode.h"

// Rows of x and y that follow each other, from `first` on. `in` and `out` give row r of the tile; a row behind the end
// reads the last one, and is not written (`has`).
struct Plain {
    const float* x;
    float* y;
    int x_stride, y_stride, first, n;
    __device__ __forceinline__ bool has(int r) const { return first + r < n; }
    __device__ __forceinline__ const float* in(int r) const {
        return x + (long long)(has(r) ? first + r : n - 1) * x_stride;
    }
    __device__ __forceinline__ float* out(int r) const { return y + (long long)(first + r) * y_stride; }
};

// Rows by a list of pairs of a row and an expert.
struct Listed {
    const float* x;
    float* y;
    const int* pairs;
    int n, per_row, n_in, n_out;
    __device__ __forceinline__ bool has(int r) const { return r < n; }
    __device__ __forceinline__ const float* in(int r) const {
        return x + (long long)(ldg(pairs + (has(r) ? r : n - 1)) / per_row) * n_in;
    }
    __device__ __forceinline__ float* out(int r) const { return y + (long long)ldg(pairs + r) * n_out; }
};

// A thread takes a piece of a row of weights: 32 elements. Types of blocks have whole pieces only, since their rows are
// multiples of 32 elements.
template <class W, bool SINGLE> struct Piece {
    static __device__ __forceinline__ void load(W& w, const Byte* row, int p, int, bool) { w.load(row, p); }
};
template <class W> struct Piece<W, true> {
    static __device__ __forceinline__ void load(W& w, const Byte* row, int p, int n_in, bool whole) {
        if (whole) {
            w.load(row, p);
        } else {
            w.load_some(row, p, n_in);
        }
    }
};

DEVICE float4 zeros() { return make_float4(0, 0, 0, 0); }

// Multiplies 4 n_k elements of the depth, from 4 first_k on, into a thread's results: the first N of its eight rows.
template <int OUT, int ROWS, int N>
DEVICE void multiply(float (&acc)[8][8], const float* ws, const float* xs, int out4, int row4, int first_k, int n_k) {
#pragma unroll 1
    for (int q = first_k; q < first_k + n_k; q++) {
        const float* wk = ws + q * 4 * OUT + out4 * 4;
        const float* xa = xs + q * 4 * ROWS + (row4 ^ (q % 8)) * 4;
        const float* xb = xs + q * 4 * ROWS + ((row4 + ROWS / 8) ^ (q % 8)) * 4;
#pragma unroll
        for (int c = 0; c < 4; c++) {
            alignas(16) float a[8];
            alignas(16) float b[8];
            *(float4*)a = *(const float4*)(wk + c * OUT);
            *(float4*)(a + 4) = *(const float4*)(wk + c * OUT + OUT / 2);
            *(float4*)b = *(const float4*)(xa + c * ROWS);
            if (N > 4) *(float4*)(b + 4) = *(const float4*)(xb + c * ROWS);
#pragma unroll
            for (int r = 0; r < N; r++)
#pragma unroll
                for (int o = 0; o < 8; o++) acc[r][o] += a[o] * b[r];
        }
    }
}

// Computes a tile: OUT outputs from `o0` on, and ROWS rows. `shared` has room for (OUT + ROWS) * DEPTH floats, the
// weights first.
//
// In shared memory both lie by depth: element k of output o at [k][o]. Groups of four rows of x change places by k / 4,
// so that the four rows x eight float4 that a warp reads from memory (whole lines) fall into different banks.
template <class W, int OUT, int ROWS, class Rows>
DEVICE void tile(const Byte* w, int row_bytes, const float* bias, int n_in, int n_out, int o0, const Rows& rows,
                 float* shared) {
    const int PIECES = GEMM_THREADS / OUT, DEPTH = 32 * PIECES;
    const int t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
    const bool whole = W::LEN > 1 || n_in % 32 == 0;
    float* ws = shared;
    float* xs = shared + OUT * DEPTH;

    // This thread brings a piece of one output's weights, and four float4 of x.
    const int my_out = t % OUT, part = t / OUT;
    const Byte* my_w = w + (long long)(o0 + my_out < n_out ? o0 + my_out : n_out - 1) * row_bytes;
    const int my_k = t % 8 * 4, my_row = t / 8;
    const float* my_x[4 / PIECES];
#pragma unroll
    for (int i = 0; i < 4 / PIECES; i++) my_x[i] = rows.in(my_row + 16 * i) + my_k;

    // It computes eight outputs of eight rows. With tiles of 64 x 32, each warp has a quarter of the depth instead of a
    // quarter of the results.
    const int out4 = PIECES == 1 ? lane % 8 + warp % 2 * 8 : lane % 8;
    const int row4 = PIECES == 1 ? lane / 8 + warp / 2 * 4 : lane / 8;
    // The second half of the rows may be empty.
    const bool half = PIECES > 1 && !rows.has(ROWS / 2);
    const int first_k = PIECES == 1 ? 0 : 4 * warp, n_k = PIECES == 1 ? 8 : 4;
    float acc[8][8];
#pragma unroll
    for (int r = 0; r < 8; r++)
#pragma unroll
        for (int o = 0; o < 8; o++) acc[r][o] = 0;

    W piece;
    float4 xv[4];
    // Loads the slice of the depth that begins at k0.
    auto load = [&](int k0) {
        const int p = k0 / 32 + part, last = (n_in - 1) / 32;
        Piece<W, W::LEN == 1>::load(piece, my_w, p < last ? p : last, n_in, whole);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float* from = my_x[i / PIECES] + k0 + i % PIECES * 32;
            const int left = n_in - (k0 + i % PIECES * 32 + my_k);
            if (whole) {
                xv[i] = PIECES == 1 || left > 0 ? ldg((const float4*)from) : zeros();
            } else {
                xv[i].x = left > 0 ? ldg(from) : 0;
                xv[i].y = left > 1 ? ldg(from + 1) : 0;
                xv[i].z = left > 2 ? ldg(from + 2) : 0;
                xv[i].w = left > 3 ? ldg(from + 3) : 0;
            }
        }
    };

    load(0);
    for (int k0 = 0; k0 < n_in; k0 += DEPTH) {
        const int p = k0 / 32 + part;
        float* column = ws + part * 32 * OUT + my_out;
        if (PIECES == 1 || 32 * p < n_in) {
            piece.template store<OUT>(column, p);
        } else {
#pragma unroll
            for (int i = 0; i < 32; i++) column[i * OUT] = 0;
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = my_row + 16 * (i / PIECES), k = my_k + i % PIECES * 32;
            float* to = xs + k * ROWS + ((row / 4) ^ (my_k / 4)) * 4 + row % 4;
            to[0] = xv[i].x;
            to[ROWS] = xv[i].y;
            to[2 * ROWS] = xv[i].z;
            to[3 * ROWS] = xv[i].w;
        }
        __syncthreads();
        if (k0 + DEPTH < n_in) load(k0 + DEPTH);
        if (half) {
            multiply<OUT, ROWS, 4>(acc, ws, xs, out4, row4, first_k, n_k);
        } else {
            multiply<OUT, ROWS, 8>(acc, ws, xs, out4, row4, first_k, n_k);
        }
        __syncthreads();
    }

    if (PIECES > 1) {
        // The other warps leave their parts where the slices were, and the first adds them to its own, in order.
        if (warp > 0) {
#pragma unroll
            for (int i = 0; i < 64; i++) shared[((warp - 1) * 64 + i) * 32 + lane] = acc[i / 8][i % 8];
        }
        __syncthreads();
        if (warp > 0) return;
#pragma unroll
        for (int i = 0; i < 64; i++) {
#pragma unroll
            for (int other = 0; other < 3; other++) acc[i / 8][i % 8] += shared[(other * 64 + i) * 32 + lane];
        }
    }
    float offset[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int o = o0 + i / 4 * (OUT / 2) + out4 * 4 + i % 4;
        offset[i] = bias && o < n_out ? ldg(bias + o) : 0;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int r = i / 4 * (ROWS / 2) + row4 * 4 + i % 4;
        if (!rows.has(r)) continue;
        float* y = rows.out(r);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int o = o0 + j * (OUT / 2) + out4 * 4;
            const float4 v = make_float4(acc[i][4 * j] + offset[4 * j], acc[i][4 * j + 1] + offset[4 * j + 1],
                                         acc[i][4 * j + 2] + offset[4 * j + 2], acc[i][4 * j + 3] + offset[4 * j + 3]);
            if (o + 4 <= n_out && ((unsigned long long)(y + o) & 15) == 0) {
                *(float4*)(y + o) = v;
            } else {
                if (o < n_out) y[o] = v.x;
                if (o + 1 < n_out) y[o + 1] = v.y;
                if (o + 2 < n_out) y[o + 2] = v.z;
                if (o + 3 < n_out) y[o + 3] = v.w;
            }
        }
    }
}

template <class W, int OUT, int ROWS> DEVICE void gemm(const Gemm& a, float* shared) {
    const int head = (int)blockIdx.z;
    const Plain rows = {a.x + (long long)head * a.n_in, a.y + (long long)head * a.n_out,
                        a.x_stride, a.y_stride, (int)blockIdx.x * ROWS, a.n_rows};
    tile<W, OUT, ROWS>(a.w + head * a.head_bytes, a.row_bytes, a.bias, a.n_in, a.n_out, (int)blockIdx.y * OUT, rows,
                       shared);
}

// One tile of pairs of one expert. There are more blocks than tiles; those without one end at once.
template <class W> DEVICE void gemm_experts(const GemmExperts& a, float* shared) {
    const int block = (int)blockIdx.x;
    if (block >= a.lists[0]) return;
    const int* starts = a.lists + 1;
    const int* pairs = starts + a.n_expert + 1;
    const int* mine = pairs + a.n_pairs + 2 * block;
    const int expert = mine[0], first = mine[1];
    const Listed rows = {a.x, a.y, pairs + first, starts[expert + 1] - first, a.per_row, a.n_in, a.n_out};
    const float* bias = a.bias ? a.bias + (long long)expert * a.bias_stride : nullptr;
    tile<W, GEMM_SMALL_OUTPUTS, GEMM_SMALL_ROWS>(a.w + expert * a.expert_bytes, a.row_bytes, bias, a.n_in, a.n_out,
                                                 (int)blockIdx.y * GEMM_SMALL_OUTPUTS, rows, shared);
}

#define GEMM(TYPE)                                                            \
    KERNEL(gemm_##TYPE, Gemm, GEMM_THREADS) {                                 \
        SHARED(float4, shared[1536]);                                         \
        gemm<TYPE, GEMM_OUTPUTS, GEMM_ROWS>(a, (float*)shared);               \
    }                                                                         \
    KERNEL(gemm_small_##TYPE, Gemm, GEMM_THREADS) {                           \
        SHARED(float4, shared[1536]);                                         \
        gemm<TYPE, GEMM_SMALL_OUTPUTS, GEMM_SMALL_ROWS>(a, (float*)shared);   \
    }                                                                         \
    KERNEL(gemm_experts_##TYPE, GemmExperts, GEMM_THREADS) {                  \
        SHARED(float4, shared[1536]);                                         \
        gemm_experts<TYPE>(a, (float*)shared);                                \
    }
