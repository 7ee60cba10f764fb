// The KV cache: keys or values to their cells, copies of cells, and the rotation of cached keys to other positions.
//
// On a die a row of Q8_0 has its bytes first and the scales of its blocks behind them: the same bytes as src/quant/quantize.rs makes, in
// an order that wide loads can read.
#include "device.h"

struct StoreArgs {
    // [n_tokens, cols]
    const float* x;
    // The first cell's row, of `row` bytes.
    unsigned char* side;
    // Of each token.
    const int* cells;
    int row, cols;
};

// 32 elements of Q8_0, one a lane: element `e` of a row of `cols`.
DEVICE void quantize_q8_0(unsigned char* row, int cols, int e, float x) {
    const float d = __fdiv_rn(warp_max_or_none(fabsf(x)), 127.0f);
    const float inverse = d == 0 ? 0.0f : __fdiv_rn(1.0f, d);
    const int q = min(max(__float2int_rn(__fmul_rn(x, inverse)), -127), 127);
    row[e] = (unsigned char)q;
    if (e % 32 == 0) *(unsigned short*)(row + cols + e / 32 * 2) = float_to_half(d);
}

// Grid: (blocks of 128 columns, tokens).
KERNEL(store_F32, StoreArgs, 128) {
    const int c = blockIdx.y * 128 + threadIdx.x, t = blockIdx.x;
    float* to = (float*)(a.side + (long long)ldg(a.cells + t) * a.row);
    if (c < a.cols) to[c] = a.x[(long long)t * a.cols + c];
}

KERNEL(store_F16, StoreArgs, 128) {
    const int c = blockIdx.y * 128 + threadIdx.x, t = blockIdx.x;
    unsigned short* to = (unsigned short*)(a.side + (long long)ldg(a.cells + t) * a.row);
    if (c < a.cols) to[c] = float_to_half(a.x[(long long)t * a.cols + c]);
}

// `cols` is a multiple of 32, so warps are whole.
KERNEL(store_Q8_0, StoreArgs, 128) {
    const int c = blockIdx.y * 128 + threadIdx.x, t = blockIdx.x;
    if (c >= a.cols) return;
    unsigned char* to = a.side + (long long)ldg(a.cells + t) * a.row;
    quantize_q8_0(to, a.cols, c, a.x[(long long)t * a.cols + c]);
}

struct CopyArgs {
    // The first cell's row, of `row` bytes, an even number.
    unsigned char* side;
    // Pairs of cells: from, to. None is in one pair the first and in another the second.
    const int* pairs;
    long long row;
};

// Grid: (any number of blocks, pairs).
KERNEL(copy_cells, CopyArgs, 128) {
    const unsigned char* from = a.side + ldg(a.pairs + 2 * blockIdx.y) * a.row;
    unsigned char* to = a.side + ldg(a.pairs + 2 * blockIdx.y + 1) * a.row;
    const long long first = (long long)blockIdx.x * 128 + threadIdx.x, step = (long long)gridDim.x * 128;
    if (a.row % 16 == 0) {
        for (long long i = first; i < a.row / 16; i += step) ((uint4*)to)[i] = ((const uint4*)from)[i];
    } else {
        for (long long i = first; i < a.row / 2; i += step) ((unsigned short*)to)[i] = ((const unsigned short*)from)[i];
    }
}

struct TurnArgs {
    // The first cell's row, of `row` bytes.
    unsigned char* side;
    const int* cells;
    // [n_rot]: cosine and sine of each pair, side by side
    const float* angles;
    long long row;
    // Elements of a head; the first that turns; and how many do.
    int head_dim, first, n_rot;
    // Pairs are (i, i + n_rot / 2), not neighbours.
    int neox;
};

// The two elements of a head that make pair i.
DEVICE int one(const TurnArgs& a, int i) { return a.first + (a.neox ? i : 2 * i); }
DEVICE int other(const TurnArgs& a, int i) { return a.first + (a.neox ? i + a.n_rot / 2 : 2 * i + 1); }

DEVICE void turn(float& x, float& y, float cosine, float sine) {
    const float turned = __fadd_rn(__fmul_rn(x, cosine), -__fmul_rn(y, sine));
    y = __fadd_rn(__fmul_rn(x, sine), __fmul_rn(y, cosine));
    x = turned;
}

// Grid: (heads, cells).
KERNEL(turn_F32, TurnArgs, 128) {
    float* head = (float*)(a.side + ldg(a.cells + blockIdx.y) * a.row) + (long long)blockIdx.x * a.head_dim;
    for (int i = threadIdx.x; i < a.n_rot / 2; i += 128) {
        turn(head[one(a, i)], head[other(a, i)], a.angles[2 * i], a.angles[2 * i + 1]);
    }
}

KERNEL(turn_F16, TurnArgs, 128) {
    unsigned short* head = (unsigned short*)(a.side + ldg(a.cells + blockIdx.y) * a.row) + (long long)blockIdx.x * a.head_dim;
    for (int i = threadIdx.x; i < a.n_rot / 2; i += 128) {
        float x = half_to_float(head[one(a, i)]), y = half_to_float(head[other(a, i)]);
        turn(x, y, a.angles[2 * i], a.angles[2 * i + 1]);
        head[one(a, i)] = float_to_half(x), head[other(a, i)] = float_to_half(y);
    }
}

// Elements of a head at most.
#define MOST 2048

KERNEL(turn_Q8_0, TurnArgs, 128) {
    SHARED(float, x[MOST]);
    unsigned char* row = a.side + ldg(a.cells + blockIdx.y) * a.row;
    const int first = blockIdx.x * a.head_dim, cols = gridDim.x * a.head_dim;
    for (int i = threadIdx.x; i < a.head_dim; i += 128) {
        x[i] = (float)(signed char)row[first + i] * half_to_float(*(const unsigned short*)(row + cols + (first + i) / 32 * 2));
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.n_rot / 2; i += 128) turn(x[one(a, i)], x[other(a, i)], a.angles[2 * i], a.angles[2 * i + 1]);
    __syncthreads();
    for (int i = threadIdx.x; i < a.head_dim; i += 128) quantize_q8_0(row, cols, first + i, x[i]);
}
