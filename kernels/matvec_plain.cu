// The mat-vec kernels of weights that are plain numbers: F32, F16, BF16. A warp takes R rows of the matrix, 128 values
// at a time (four a lane) where everything is aligned to four values, else 32. Memory bounds these by far, so x is not
// staged; but several loads of each row are under way at once.
#include "matvec.h"

struct F32 {
    typedef float Element;
    typedef float4 Four;
    DEVICE float one(float x) { return x; }
    DEVICE float4 four(const float4& x) { return x; }
};
struct F16 {
    typedef unsigned short Element;
    typedef uint2 Four;
    DEVICE float one(unsigned short x) { return half_to_float(x); }
    DEVICE float4 four(const uint2& x) {
        return make_float4(half_to_float((unsigned short)x.x), half_to_float((unsigned short)(x.x >> 16)),
                           half_to_float((unsigned short)x.y), half_to_float((unsigned short)(x.y >> 16)));
    }
};
struct BF16 {
    typedef unsigned short Element;
    typedef uint2 Four;
    DEVICE float one(unsigned short x) { return __uint_as_float((unsigned)x << 16); }
    DEVICE float4 four(const uint2& x) {
        return make_float4(__uint_as_float(x.x << 16), __uint_as_float(x.x & 0xffff0000), __uint_as_float(x.y << 16),
                           __uint_as_float(x.y & 0xffff0000));
    }
};

template <class F, int NR> DEVICE void plain(const Product& p, float* shared) {
    enum { R = NR == 8 ? 1 : 2, AHEAD = NR == 1 ? 4 : NR == 2 ? 2 : 1 };
    typedef typename F::Element Element;
    typedef typename F::Four Four;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = warp % p.split;
    const int first_row = (p.block * (WARPS / p.split) + warp / p.split) * R;
    const Element* w[R];
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int row = first_row + r < p.n_out ? first_row + r : p.n_out - 1;
        w[r] = reinterpret_cast<const Element*>(p.w + row * p.row_bytes);
    }
    // Rows behind the last are computed as the first once more, and not written.
    const float* x[NR];
#pragma unroll
    for (int n = 0; n < NR; n++) x[n] = p.x + (long long)(n < p.n_rows ? n : 0) * p.x_stride;
    float acc[R][NR];
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int n = 0; n < NR; n++) acc[r][n] = 0;

    const unsigned long long places =
        (unsigned long long)p.w / sizeof(Element) | (unsigned long long)p.x / sizeof(float);
    if (((places | p.n_in | p.x_stride) & 3) == 0) {
        int e = (part * 32 + lane) * 4;
        const int step = p.split * 128;
        for (; e + (AHEAD - 1) * step < p.n_in; e += AHEAD * step) {
            Four raw[R][AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; i++)
#pragma unroll
                for (int r = 0; r < R; r++) raw[r][i] = ldg(reinterpret_cast<const Four*>(w[r] + e + i * step));
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                float4 v[R];
#pragma unroll
                for (int r = 0; r < R; r++) v[r] = F::four(raw[r][i]);
#pragma unroll
                for (int n = 0; n < NR; n++) {
                    const float4 y = ldg(reinterpret_cast<const float4*>(x[n] + e + i * step));
#pragma unroll
                    for (int r = 0; r < R; r++) {
                        acc[r][n] = fmaf(v[r].x, y.x, acc[r][n]), acc[r][n] = fmaf(v[r].y, y.y, acc[r][n]);
                        acc[r][n] = fmaf(v[r].z, y.z, acc[r][n]), acc[r][n] = fmaf(v[r].w, y.w, acc[r][n]);
                    }
                }
            }
        }
        for (; e < p.n_in; e += step) {
            float4 v[R];
#pragma unroll
            for (int r = 0; r < R; r++) v[r] = F::four(ldg(reinterpret_cast<const Four*>(w[r] + e)));
#pragma unroll
            for (int n = 0; n < NR; n++) {
                const float4 y = ldg(reinterpret_cast<const float4*>(x[n] + e));
#pragma unroll
                for (int r = 0; r < R; r++) {
                    acc[r][n] = fmaf(v[r].x, y.x, acc[r][n]), acc[r][n] = fmaf(v[r].y, y.y, acc[r][n]);
                    acc[r][n] = fmaf(v[r].z, y.z, acc[r][n]), acc[r][n] = fmaf(v[r].w, y.w, acc[r][n]);
                }
            }
        }
    } else {
        const int step = p.split * 32;
#pragma unroll 4
        for (int e = part * 32 + lane; e < p.n_in; e += step) {
            float v[R];
#pragma unroll
            for (int r = 0; r < R; r++) v[r] = F::one(ldg(w[r] + e));
#pragma unroll
            for (int n = 0; n < NR; n++) {
                const float y = ldg(x[n] + e);
#pragma unroll
                for (int r = 0; r < R; r++) acc[r][n] = fmaf(v[r], y, acc[r][n]);
            }
        }
    }
    finish<32, NR, R>(p, first_row, acc, 1.0f, shared);
}

#define MATVEC(type, name, rows, Args)               \
    KERNEL(name, Args, MATVEC_THREADS) {             \
        SHARED(float, shared[WARPS * 2 * rows]);     \
        plain<type, rows>(product_of(a), shared);    \
    }
#define MATVECS(type)                               \
    MATVEC(type, matvec_##type##_1, 1, MatvecOne)   \
    MATVEC(type, matvec_##type##_2, 2, Matvec)      \
    MATVEC(type, matvec_##type##_4, 4, Matvec)      \
    MATVEC(type, matvec_##type##_8, 8, Matvec)      \
    MATVEC(type, matvec_experts_##type, 1, MatvecExperts)

MATVECS(F32)
MATVECS(F16)
MATVECS(BF16)
