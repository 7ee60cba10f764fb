// Blocks of IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S, decoded in registers for the mat-vec kernels; blocks.h says what a format
// has. A lane takes 64 neighbouring values, two sub-blocks of 32.
//
// A level g with its sign becomes the byte 64 + g or 64 - g, so its float is 48 + g / 4 (in IQ3_S, with four times the
// level below another top byte, 12 + g / 4).
#pragma once
#include "blocks.h"
#include "grid.h"

// Blocks begin at even addresses: the word that begins two bytes behind w[i] and the row's shift.
template <int N> DEVICE unsigned word_behind(const unsigned (&w)[N], const Lane& lane, int i) {
    return joined(w[i], w[i + 1], 16 + lane.shift);
}
// The two bytes, or the byte, at `at` of a block.
DEVICE unsigned short_at(const unsigned char* p, const Lane& lane, int at) {
    return ldg(reinterpret_cast<const unsigned short*>(p + lane.shift / 8 + at));
}
DEVICE unsigned byte_at(const unsigned char* p, const Lane& lane, int at) { return ldg(p + lane.shift / 8 + at); }

// Levels below 64, with the lowest four of `signs`, below the top byte of a float.
DEVICE void signed_four(unsigned levels, unsigned signs, unsigned top, float (&f)[4]) {
    const unsigned tops = top_bits(signs), negative = tops - (tops >> 7);
    // A negative one: 127 - g, and 64 - 127 more.
    placed((levels ^ negative) + (0x40404040 - negative), top, f);
}

struct IQ3_XXS {
    enum { LEN = 256, BYTES = 98, GROUPS = 2, HAS_D = 1, HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 4, OFFSET = 48;
    struct Raw {
        unsigned d, number[5], signs[3];
    };
    struct Scales {
        float d, dmin, scale[2], min[1];
    };
    DEVICE int place(int u) { return place_pairs(u); }
    DEVICE int order(int g, int i) { return g * 8 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const int k = lane.j & 3;
        raw.d = word(p, 0);
#pragma unroll
        for (int i = 0; i < 5; i++) raw.number[i] = word(p + 16 * k, i);
#pragma unroll
        for (int i = 0; i < 3; i++) raw.signs[i] = word(p + 64 + 8 * k, i);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        s.d = low_half(raw.d >> lane.shift);
#pragma unroll
        for (int g = 0; g < 2; g++) s.scale[g] = fmaf((float)(word_behind(raw.signs, lane, g) >> 28), 0.5f, 0.25f);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const unsigned number = word_behind(raw.number, lane, t / 4) >> (8 * (t % 4)) & 255;
        const unsigned signs = even_signs(sevens_apart(word_behind(raw.signs, lane, t / 8)));
        signed_four(entry(IQ3_XXS_GRID, number), signs >> (4 * (t % 8)), 0x42000000, f);
    }
};

struct IQ3_S {
    enum { LEN = 256, BYTES = 110, GROUPS = 2, HAS_D = 1, HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 4, OFFSET = 12;
    struct Raw {
        unsigned d, number[5], signs[3], high, scales;
    };
    typedef IQ3_XXS::Scales Scales;
    DEVICE int place(int u) { return place_pairs(u); }
    DEVICE int order(int g, int i) { return g * 8 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const int k = lane.j & 3;
        raw.d = word(p, 0);
#pragma unroll
        for (int i = 0; i < 5; i++) raw.number[i] = word(p + 16 * k, i);
#pragma unroll
        for (int i = 0; i < 3; i++) raw.signs[i] = word(p + 72 + 8 * k, i);
        raw.high = short_at(p, lane, 66 + 2 * k), raw.scales = byte_at(p, lane, 106 + k);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        s.d = low_half(raw.d >> lane.shift);
        s.scale[0] = (float)(2 * (raw.scales & 15) + 1), s.scale[1] = (float)(2 * (raw.scales >> 4) + 1);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const unsigned low = word_behind(raw.number, lane, t / 4) >> (8 * (t % 4)) & 255;
        const unsigned signs = word_behind(raw.signs, lane, t / 8) >> (4 * (t % 8));
        signed_four(entry(IQ3_S_GRID, low | (raw.high >> t & 1) << 8) << 2, signs, 0x41000000, f);
    }
};

// Scales of IQ2_XS and IQ2_S, four nibbles: a quarter of s + 1/2.
DEVICE void quarter_scales(unsigned nibbles, Scales4& s) {
#pragma unroll
    for (int g = 0; g < 4; g++) s.scale[g] = fmaf((float)(nibbles >> (4 * g) & 15), 0.25f, 0.125f);
}

struct IQ2_XS {
    enum { LEN = 256, BYTES = 74, GROUPS = 4, HAS_D = 1, HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 4, OFFSET = 48;
    struct Raw {
        unsigned d, number[5], scales;
    };
    typedef Scales4 Scales;
    DEVICE int place(int u) { return place_pairs(u); }
    DEVICE int order(int g, int i) { return g * 4 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const int k = lane.j & 3;
        raw.d = word(p, 0);
#pragma unroll
        for (int i = 0; i < 5; i++) raw.number[i] = word(p + 16 * k, i);
        raw.scales = short_at(p, lane, 66 + 2 * k);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        s.d = low_half(raw.d >> lane.shift);
        quarter_scales(raw.scales, s);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        // Two groups of eight: nine bits of number and seven of signs each.
        const unsigned two = word_behind(raw.number, lane, t / 4), number = two >> (16 * (t / 2 % 2)) & 511;
        const unsigned signs = even_signs(two >> 9 & 0x007f007f) >> (16 * (t / 2 % 2) + 4 * (t % 2));
        signed_four(half_of_eight(entry(IQ2_XS_GRID, number), t % 2), signs, 0x42000000, f);
    }
};

struct IQ2_S {
    enum { LEN = 256, BYTES = 82, GROUPS = 4, HAS_D = 1, HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 4, OFFSET = 48;
    struct Raw {
        unsigned d, number[3], signs[3], high, scales;
    };
    typedef Scales4 Scales;
    DEVICE int place(int u) { return place_pairs(u); }
    DEVICE int order(int g, int i) { return g * 4 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const int k = lane.j & 3;
        raw.d = word(p, 0);
#pragma unroll
        for (int i = 0; i < 3; i++) raw.number[i] = word(p + 8 * k, i), raw.signs[i] = word(p + 32 + 8 * k, i);
        raw.high = short_at(p, lane, 66 + 2 * k), raw.scales = short_at(p, lane, 74 + 2 * k);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        s.d = low_half(raw.d >> lane.shift);
        quarter_scales(raw.scales, s);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const int u = t / 2;
        const unsigned low = word_behind(raw.number, lane, u / 4) >> (8 * (u % 4)) & 255;
        const unsigned signs = word_behind(raw.signs, lane, u / 4) >> (4 * (t % 8));
        const unsigned long long group = entry(IQ2_S_GRID, low | (raw.high >> (2 * u) & 3) << 8);
        signed_four(half_of_eight(group, t % 2), signs, 0x42000000, f);
    }
};
