// IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S for gemm.cu, as decode.h has the other types.
#pragma once
#include "decode.h"
#include "grid.h"

// Levels with the lowest four of `signs`, as bytes with a sign. None is 0.
DEVICE unsigned signed_bytes(unsigned levels, unsigned signs) {
    const unsigned tops = top_bits(signs), ones = tops >> 7, negative = tops | (tops - ones);
    return (levels ^ negative) + ones;
}

struct IQ3_XXS {
    enum { LEN = 256 };
    unsigned d;
    EvenWords<2> number;
    EvenWords<1> signs;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 98ll * (p / 8);
        d = load_half(b);
        number.load(b + 2 + p % 8 * 8);
        signs.load(b + 66 + p % 8 * 4);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
        const unsigned w = signs.word(0), bits = even_signs(sevens_apart(w));
        const float scale = to_float(d) * ((float)(w >> 28) + 0.5f) * 0.5f;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const unsigned levels = entry(IQ3_XXS_GRID, number.word(i / 4) >> 8 * (i % 4) & 255);
            put_signed<S>(to, 4 * i, signed_bytes(levels, bits >> 4 * i), scale);
        }
    }
};

struct IQ3_S {
    enum { LEN = 256 };
    unsigned d, high, scales;
    EvenWords<2> number;
    EvenWords<1> signs;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 110ll * (p / 8);
        const int j = p % 8;
        d = load_half(b);
        number.load(b + 2 + 8 * j);
        high = load_byte(b + 66 + j);
        signs.load(b + 74 + 4 * j);
        scales = load_byte(b + 106 + j / 2);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int p) const {
        const float scale = to_float(d) * (float)(2 * (scales >> p % 2 * 4 & 15) + 1);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const unsigned low = number.word(i / 4) >> 8 * (i % 4) & 255;
            const unsigned levels = entry(IQ3_S_GRID, low | (high >> i & 1) << 8);
            put_signed<S>(to, 4 * i, signed_bytes(levels, signs.word(0) >> 4 * i), scale);
        }
    }
};

// The scale of half `h` of 32 weights, whose scales are two nibbles.
DEVICE float quarter_scale(unsigned d, unsigned scales, int h) {
    return to_float(d) * ((float)(scales >> 4 * h & 15) + 0.5f) * 0.25f;
}

struct IQ2_XS {
    enum { LEN = 256 };
    unsigned d, scales;
    EvenWords<2> number;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 74ll * (p / 8);
        d = load_half(b);
        number.load(b + 2 + p % 8 * 8);
        scales = load_byte(b + 66 + p % 8);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            // Two groups of eight: nine bits of number and seven of signs each.
            const unsigned two = number.word(i / 4), which = 16 * (i / 2 % 2);
            const unsigned levels = half_of_eight(entry(IQ2_XS_GRID, two >> which & 511), i % 2);
            const unsigned bits = even_signs(two >> 9 & 0x007f007f) >> which;
            put_signed<S>(to, 4 * i, signed_bytes(levels, bits >> 4 * (i % 2)), quarter_scale(d, scales, i / 4));
        }
    }
};

struct IQ2_S {
    enum { LEN = 256 };
    unsigned d, high, scales;
    EvenWords<1> number, signs;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 82ll * (p / 8);
        const int j = p % 8;
        d = load_half(b);
        number.load(b + 2 + 4 * j);
        signs.load(b + 34 + 4 * j);
        high = load_byte(b + 66 + j);
        scales = load_byte(b + 74 + j);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const unsigned low = number.word(0) >> 8 * (i / 2) & 255;
            const unsigned long long group = entry(IQ2_S_GRID, low | (high >> 2 * (i / 2) & 3) << 8);
            const unsigned bits = signs.word(0) >> 4 * i;
            put_signed<S>(to, 4 * i, signed_bytes(half_of_eight(group, i % 2), bits), quarter_scale(d, scales, i / 4));
        }
    }
};
