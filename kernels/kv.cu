// The KV cache. store_TYPE writes new keys or values to their cells, copy_cells copies cells, and turn_TYPE rotates
// cached keys to other positions when a sequence is shifted.
//
// A cell of a side (the keys or the values of one layer) is a row of bytes. On a die a row of Q8_0 has its bytes first
// and the scales of its blocks behind them: the same bytes as src/quant/quantize.rs makes, in an order that wide loads
// can read. Q4_0 likewise: a word for each eight elements, the first four in the low nibbles of its bytes. A warp makes
// a block: one element a lane, the scale from the largest of all lanes.
//
// Keys turn in place: a block takes a head of a cell, reads it as floats, turns its pairs of elements by given angles,
// and writes it back rounded. Products and sums are rounded one by one (__fmul_rn, __fadd_rn), as the CPU does it.
#include "kv.h"

// Grid of store_TYPE: (tokens, parts of cols).
KERNEL(store_F32, Store, KV_THREADS) {
    const int c = blockIdx.y * KV_THREADS + threadIdx.x, t = blockIdx.x;
    float* to = (float*)(a.side + (long long)ldg(a.cells + t) * a.row);
    if (c < a.cols) to[c] = a.x[(long long)t * a.cols + c];
}

KERNEL(store_F16, Store, KV_THREADS) {
    const int c = blockIdx.y * KV_THREADS + threadIdx.x, t = blockIdx.x;
    unsigned short* to = (unsigned short*)(a.side + (long long)ldg(a.cells + t) * a.row);
    if (c < a.cols) to[c] = float_to_half(a.x[(long long)t * a.cols + c]);
}

// `cols` is a multiple of 32, so warps are whole.
KERNEL(store_Q8_0, Store, KV_THREADS) {
    const int c = blockIdx.y * KV_THREADS + threadIdx.x, t = blockIdx.x;
    if (c >= a.cols) return;
    unsigned char* to = a.side + (long long)ldg(a.cells + t) * a.row;
    quantize_q8_0(to, a.cols, c, a.x[(long long)t * a.cols + c]);
}

KERNEL(store_Q4_0, Store, KV_THREADS) {
    const int c = blockIdx.y * KV_THREADS + threadIdx.x, t = blockIdx.x;
    if (c >= a.cols) return;
    unsigned char* to = a.side + (long long)ldg(a.cells + t) * a.row;
    quantize_q4_0(to, a.cols, c, a.x[(long long)t * a.cols + c]);
}

// Grid (any number of blocks, pairs).
KERNEL(copy_cells, CopyCells, KV_THREADS) {
    const unsigned char* from = a.side + ldg(a.pairs + 2 * blockIdx.y) * a.row;
    unsigned char* to = a.side + ldg(a.pairs + 2 * blockIdx.y + 1) * a.row;
    const long long first = (long long)blockIdx.x * KV_THREADS + threadIdx.x, step = (long long)gridDim.x * KV_THREADS;
    if (a.row % 16 == 0) {
        for (long long i = first; i < a.row / 16; i += step) ((uint4*)to)[i] = ((const uint4*)from)[i];
    } else {
        for (long long i = first; i < a.row / 2; i += step) ((unsigned short*)to)[i] = ((const unsigned short*)from)[i];
    }
}

// The two elements of a head that make pair i.
DEVICE int one(const Turn& a, int i) { return a.first + (a.neox ? i : 2 * i); }
DEVICE int other(const Turn& a, int i) { return a.first + (a.neox ? i + a.n_rot / 2 : 2 * i + 1); }

DEVICE void turn(float& x, float& y, float cosine, float sine) {
    const float turned = __fadd_rn(__fmul_rn(x, cosine), -__fmul_rn(y, sine));
    y = __fadd_rn(__fmul_rn(x, sine), __fmul_rn(y, cosine));
    x = turned;
}

// Grid of turn_TYPE: (heads, cells).
KERNEL(turn_F32, Turn, KV_THREADS) {
    float* head = (float*)(a.side + ldg(a.cells + blockIdx.y) * a.row) + (long long)blockIdx.x * a.head_dim;
    for (int i = threadIdx.x; i < a.n_rot / 2; i += KV_THREADS) {
        turn(head[one(a, i)], head[other(a, i)], a.angles[2 * i], a.angles[2 * i + 1]);
    }
}

KERNEL(turn_F16, Turn, KV_THREADS) {
    unsigned short* head =
        (unsigned short*)(a.side + ldg(a.cells + blockIdx.y) * a.row) + (long long)blockIdx.x * a.head_dim;
    for (int i = threadIdx.x; i < a.n_rot / 2; i += KV_THREADS) {
        float x = half_to_float(head[one(a, i)]), y = half_to_float(head[other(a, i)]);
        turn(x, y, a.angles[2 * i], a.angles[2 * i + 1]);
        head[one(a, i)] = float_to_half(x), head[other(a, i)] = float_to_half(y);
    }
}

// The whole head is written anew, since its blocks' scales may change.
KERNEL(turn_Q8_0, Turn, KV_THREADS) {
    SHARED(float, x[KV_TURN_MOST]);
    unsigned char* row = a.side + ldg(a.cells + blockIdx.y) * a.row;
    const int first = blockIdx.x * a.head_dim, cols = gridDim.x * a.head_dim;
    for (int i = threadIdx.x; i < a.head_dim; i += KV_THREADS) {
        x[i] = (float)(signed char)row[first + i] *
               half_to_float(*(const unsigned short*)(row + cols + (first + i) / 32 * 2));
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.n_rot / 2; i += KV_THREADS) {
        turn(x[one(a, i)], x[other(a, i)], a.angles[2 * i], a.angles[2 * i + 1]);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.head_dim; i += KV_THREADS) quantize_q8_0(row, cols, first + i, x[i]);
}

// The same of Q4_0.
KERNEL(turn_Q4_0, Turn, KV_THREADS) {
    SHARED(float, x[KV_TURN_MOST]);
    unsigned char* row = a.side + ldg(a.cells + blockIdx.y) * a.row;
    const int first = blockIdx.x * a.head_dim, cols = gridDim.x * a.head_dim;
    for (int i = threadIdx.x; i < a.head_dim; i += KV_THREADS) {
        const int e = first + i, q = row[e / 8 * 4 + e % 4] >> (e % 8 / 4 * 4) & 15;
        x[i] = (float)(q - 8) * half_to_float(*(const unsigned short*)(row + cols / 2 + e / 32 * 2));
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.n_rot / 2; i += KV_THREADS) {
        turn(x[one(a, i)], x[other(a, i)], a.angles[2 * i], a.angles[2 * i + 1]);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.head_dim; i += KV_THREADS) quantize_q4_0(row, cols, first + i, x[i]);
}
