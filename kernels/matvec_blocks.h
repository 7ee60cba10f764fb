// The mat-vec kernels of weights in blocks: matvec.h has the algorithm, blocks.h the decoding.
//
// A block stages x slice by slice. Of each slice a warp's lanes, eight a row, take 512 values at a time: they load the
// raw blocks of R rows, then decode four values at a time and multiply them by the same four of each row of x. The
// quants are summed up before scales are applied, once for each group of values with one scale.
#pragma once
#include "blocks.h"
#include "matvec.h"

// Values that eight lanes take at a time, and rows of a warp that lie side by side.
enum { CHUNK = 512, GROUP_ROWS = 4 };

// For NR rows of x: values of x that are staged at once.
template <class F, int NR> struct Shape {
    enum { SLICE = NR == 1 ? 2048 : NR == 2 ? 1024 : 512 };
    // The compiler aims at so few registers that as many blocks run as shared memory allows. It spills where that is
    // too few, and where it is very many; so a little shared memory is left unused.
    enum { UNUSED = F::GROUPS == 4 ? (NR == 1 || NR == 4 ? 160 : 0) : NR == 1 ? 300 : 0 };
    // One float4 in nine is padding.
    enum { QUADS = NR * SLICE / 4 / 8 * 9 + UNUSED, SUMS = NR * SLICE / 16 };
    // With the next chunk in registers too.
    enum { QUADS_AHEAD = QUADS + (F::GROUPS == 4 || !F::HAS_OFFSET ? 140 : 0) };
};

DEVICE float4 zero4() { return make_float4(0, 0, 0, 0); }

// Stages a slice of x as [row][512 values][four of a lane's values, lane], and the sums over its groups as
// [row][512 values][lane][group].
template <class F, int NR> DEVICE void stage(const Product& p, int first, float4* xs, float* sums) {
    const int units = Shape<F, NR>::SLICE / 16;
    for (int i = threadIdx.x; i < NR * units; i += MATVEC_THREADS) {
        const int n = i / units, u = i % units, e = first + u * 16;
        float4 v[4];
        const bool there = n < p.n_rows && e < p.n_in;
        const float4* x = reinterpret_cast<const float4*>(p.x + (long long)n * p.x_stride + e);
#pragma unroll
        for (int k = 0; k < 4; k++) v[k] = there ? ldg(x + k) : zero4();
        const int place = F::place(u % 32), j = place / 4, unit = place % 4, c = n * (units / 32) + u / 32;
#pragma unroll
        for (int k = 0; k < 4; k++) xs[(c * 16 + unit * 4 + k) * 9 + j] = v[k];
        float sum = 0;
#pragma unroll
        for (int k = 0; k < 4; k++) sum += (v[k].x + v[k].y) + (v[k].z + v[k].w);
        if (F::GROUPS == 2) sum += shfl_xor(sum, 1);
        sums[(c * 8 + j) * F::GROUPS + unit * F::GROUPS / 4] = sum * (1 / F::FACTOR);
    }
}

// Multiplies 512 values of R rows, by eight lanes.
template <class F, int NR, int R>
DEVICE void chunk(const typename F::Raw (&raw)[R], const Lane& lane, const float4* xs, const float* sums,
                  float (&acc)[R][NR]) {
    const int row = Shape<F, NR>::SLICE / CHUNK;
    typename F::Scales s[R];
#pragma unroll
    for (int r = 0; r < R; r++) F::scales(raw[r], lane, s[r]);
    float scaled[R], lowered[R];
#pragma unroll
    for (int g = 0; g < F::GROUPS; g++) {
        float dot[R][NR], sum[NR];
#pragma unroll
        for (int n = 0; n < NR; n++) {
            sum[n] = sums[n * row * 8 * F::GROUPS + g];
            const float start = F::HAS_OFFSET ? -F::OFFSET * F::FACTOR * sum[n] : 0.0f;
#pragma unroll
            for (int r = 0; r < R; r++) dot[r][n] = start;
        }
#pragma unroll
        for (int i = 0; i < 16 / F::GROUPS; i++) {
            const int t = F::order(g, i);
            float f[R][4];
#pragma unroll
            for (int r = 0; r < R; r++) F::four(raw[r], lane, t, f[r]);
#pragma unroll
            for (int n = 0; n < NR; n++) {
                const float4 x = xs[(n * row * 16 + t) * 9];
#pragma unroll
                for (int r = 0; r < R; r++) {
                    dot[r][n] = fmaf(f[r][0], x.x, dot[r][n]);
                    dot[r][n] = fmaf(f[r][1], x.y, dot[r][n]);
                    dot[r][n] = fmaf(f[r][2], x.z, dot[r][n]);
                    dot[r][n] = fmaf(f[r][3], x.w, dot[r][n]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (F::HAS_D && NR == 1) {
                scaled[r] = g == 0 ? s[r].scale[g] * dot[r][0] : fmaf(s[r].scale[g], dot[r][0], scaled[r]);
                if (F::HAS_MIN) lowered[r] = g == 0 ? s[r].min[g] * sum[0] : fmaf(s[r].min[g], sum[0], lowered[r]);
                if (g == F::GROUPS - 1) {
                    acc[r][0] = fmaf(s[r].d, scaled[r], acc[r][0]);
                    if (F::HAS_MIN) acc[r][0] = fmaf(-s[r].dmin, lowered[r], acc[r][0]);
                }
            } else {
                const float scale = F::HAS_D ? s[r].d * s[r].scale[g] : s[r].scale[g];
                const float min = F::HAS_MIN ? (F::HAS_D ? s[r].dmin * s[r].min[g] : s[r].min[g]) : 0.0f;
#pragma unroll
                for (int n = 0; n < NR; n++) {
                    acc[r][n] = fmaf(scale, dot[r][n], acc[r][n]);
                    if (F::HAS_MIN) acc[r][n] = fmaf(-min, sum[n], acc[r][n]);
                }
            }
        }
    }
}

// The rows of one matrix that a lane takes; half of them are another's, of the same shape, if GATED.
template <int R, bool GATED> struct RowsOf {
    enum { OWN = GATED ? R / 2 : R };
};

// Without a second matrix `other` is null.
template <class F, int NR, int R, bool AHEAD, bool GATED>
DEVICE void product(const Product& p, const unsigned char* other, const float* other_bias, int function, float4* xs,
                    float* sums) {
    enum { SLICE = Shape<F, NR>::SLICE, STEP = CHUNK / F::LEN * F::BYTES, OWN = RowsOf<R, GATED>::OWN };
    const int thread = threadIdx.x, warp = thread / 32, group = thread % 32 / 8;
    const int part = warp % p.split;
    const int first_row = (p.block * (WARPS / p.split) + warp / p.split) * (GROUP_ROWS * OWN) + group;
    const int n_blocks = p.n_in / F::LEN;
    Lane lane;
    lane.j = thread % 8;
    // The block of the 512 values that the lane begins with. Rows that are too short for it begin with their first.
    const int block = F::LEN == 256 ? lane.j / 4 : lane.j;
    const unsigned char* w[R];
    // Rows of a lane lie four apart, so all are aligned alike to four bytes; matrices begin at multiples of four.
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int o = first_row + r % OWN * GROUP_ROWS;
        const int row = o < p.n_out ? o : first_row < p.n_out ? first_row : p.n_out - 1;
        w[r] = (r < OWN ? p.w : other) + row * p.row_bytes + (block < n_blocks ? block : 0) * F::BYTES;
    }
    lane.shift = (unsigned)((unsigned long long)w[0] % 4 * 8);
#pragma unroll
    for (int r = 0; r < R; r++) w[r] -= lane.shift / 8;
    float acc[R][NR];
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int n = 0; n < NR; n++) acc[r][n] = 0;

    // Blocks from the lane's on.
    int left = n_blocks - block - part * (CHUNK / F::LEN);
#pragma unroll
    for (int r = 0; r < R; r++) w[r] += part * STEP;
    if constexpr (AHEAD) {
        // The first chunk is under way while x is staged, and each other one while the one before it is computed.
        typename F::Raw next[R];
        if (left > 0) {
            lane.next = left > 8 ? 8 * F::BYTES : 0;
#pragma unroll
            for (int r = 0; r < R; r++) F::load(w[r], lane, next[r]);
        }
        for (int first = 0; first < p.n_in; first += SLICE) {
            stage<F, NR>(p, first, xs, sums);
            __syncthreads();
#pragma unroll 1
            for (int at = part * CHUNK; at < SLICE; at += p.split * CHUNK) {
                const bool there = left > 0;
                typename F::Raw raw[R];
#pragma unroll
                for (int r = 0; r < R; r++) raw[r] = next[r];
                left -= p.split * (CHUNK / F::LEN);
#pragma unroll
                for (int r = 0; r < R; r++) w[r] += p.split * STEP;
                if (left > 0) {
                    lane.next = left > 8 ? 8 * F::BYTES : 0;
#pragma unroll
                    for (int r = 0; r < R; r++) F::load(w[r], lane, next[r]);
                }
                if (there) {
                    const float4* x = xs + at / 4 / 8 * 9 + lane.j;
                    chunk<F, NR, R>(raw, lane, x, sums + (at / 64 + lane.j) * F::GROUPS, acc);
                }
            }
            __syncthreads();
        }
    } else {
        for (int first = 0; first < p.n_in; first += SLICE) {
            stage<F, NR>(p, first, xs, sums);
            __syncthreads();
            for (int at = part * CHUNK; at < SLICE; at += p.split * CHUNK) {
                if (left > 0) {
                    lane.next = left > 8 ? 8 * F::BYTES : 0;
                    typename F::Raw raw[R];
#pragma unroll
                    for (int r = 0; r < R; r++) F::load(w[r], lane, raw[r]);
                    const float4* x = xs + at / 4 / 8 * 9 + lane.j;
                    chunk<F, NR, R>(raw, lane, x, sums + (at / 64 + lane.j) * F::GROUPS, acc);
                }
                left -= p.split * (CHUNK / F::LEN);
#pragma unroll
                for (int r = 0; r < R; r++) w[r] += p.split * STEP;
            }
            __syncthreads();
        }
    }

    if constexpr (GATED) {
        float one[R];
#pragma unroll
        for (int r = 0; r < R; r++) one[r] = acc[r][0];
        finish_gated<8, OWN>(p, other_bias, function, first_row, one, F::FACTOR, sums);
    } else {
        finish<8, NR, R>(p, first_row, acc, F::FACTOR, sums);
    }
}

#define SHARED_OF(type, rows, ahead)                                        \
    typedef Shape<type, rows> Here;                                         \
    SHARED(float4, xs[ahead ? (int)Here::QUADS_AHEAD : (int)Here::QUADS]);  \
    SHARED(float, sums[Here::SUMS]);
#define MATVEC(type, name, rows, r, ahead, Args)                                        \
    KERNEL(name, Args, MATVEC_THREADS) {                                                \
        SHARED_OF(type, rows, ahead)                                                    \
        product<type, rows, r, ahead, false>(product_of(a), nullptr, nullptr, 0, xs, sums); \
    }
#define GATED(type, name, r, ahead)                                                     \
    KERNEL(name, MatvecOne, MATVEC_THREADS) {                                           \
        SHARED_OF(type, 1, ahead)                                                       \
        product<type, 1, r, ahead, true>(product_of(a, a.first), a.second.w, a.second.bias, a.function, xs, sums); \
    }
// A lane takes four rows of W, or two and loads ahead; the card decides (src/cuda/matvec.rs).
#define MATVECS(type)                                                            \
    MATVEC(type, matvec_##type##_1, 1, 4, false, MatvecOne)                      \
    MATVEC(type, matvec_##type##_2, 2, 2, false, Matvec)                         \
    MATVEC(type, matvec_##type##_4, 4, 2, false, Matvec)                         \
    MATVEC(type, matvec_##type##_8, 8, 1, false, Matvec)                         \
    MATVEC(type, matvec_experts_##type, 1, 4, false, MatvecExperts)              \
    GATED(type, matvec_gated_##type, 4, false)                                   \
    MATVEC(type, matvec_ahead_##type##_1, 1, 2, true, MatvecOne)                 \
    MATVEC(type, matvec_ahead_experts_##type, 1, 2, true, MatvecExperts)         \
    GATED(type, matvec_ahead_gated_##type, 2, true)

// Parts of two types in one launch: the first two matrices of A, the third of B.
#define MATVEC_PAIR(A, B, name, r, ahead)                                                                  \
    KERNEL(name, MatvecOne, MATVEC_THREADS) {                                                              \
        enum { OF_A = (int)Shape<A, 1>::QUADS_AHEAD, OF_B = (int)Shape<B, 1>::QUADS_AHEAD };               \
        enum { MORE = ahead ? 0 : 140, SUMS = Shape<A, 1>::SUMS };                                         \
        enum { QUADS = (OF_A > OF_B ? OF_A : OF_B) + MORE };                                               \
        SHARED(float4, xs[QUADS]);                                                                         \
        SHARED(float, sums[SUMS]);                                                                         \
        if (part_of(a) < 2) product<A, 1, r, ahead, false>(product_of(a), nullptr, nullptr, 0, xs, sums);  \
        else product<B, 1, r, ahead, false>(product_of(a, a.third), nullptr, nullptr, 0, xs, sums);        \
    }
