// Blocks of quantised weights, decoded in registers for the mat-vec kernels (matvec_blocks.h).
//
// A value of a block is a small integer, the quant, times a scale, plus or minus an offset or minimum. Converting
// integers to floats is slow on Kepler, so the bits of a float are put together instead: the quant is shifted to the
// top of the low seven bits of its byte, four bytes at a time, and one byte permutation puts the byte below a constant
// top byte of a float. With 0x41 that float is 8 (1 + byte / 128), and with 0x42 it is 32 (1 + byte / 128). So each
// float f stands for the quant v = FACTOR * (f - OFFSET), exactly. The OFFSET is taken away from a whole sum at once:
// by way of the sum of x, which is computed once for all rows.
//
// Eight lanes take 512 values of a row, 64 each (a piece), in four units of 16 values. A format has:
//   LEN, BYTES        values and bytes of a block
//   GROUPS            scales in a piece, 4 (of 16 values) or 2 (of 32)
//   place(u)          the lane that has unit u of the 512 values, and its number among the lane's four: lane * 4 + unit
//   order(g, i)       the i-th four values of group g, among the 16 of a piece
//   Raw, load         a piece as it lies in memory
//   Scales, scales    its scales, decoded
//   four(raw, t, f)   values 4t to 4t + 3, as the floats f that stand for them
#pragma once
#include "device.h"

// The place of a lane.
struct Lane {
    // Its number among the eight.
    int j;
    // Bits that its data lie behind a multiple of four bytes.
    unsigned shift;
    // Bytes from its first block of 32 values to its second. If the row ends between them this is 0: the first block is
    // read once more, where x is zero.
    int next;
};

DEVICE unsigned word(const unsigned char* p, int i) { return ldg(reinterpret_cast<const unsigned*>(p) + i); }

// PRMT with all its modes: a selector's fourth bit repeats the sign of the byte.
DEVICE unsigned permuted(unsigned a, unsigned b, unsigned selector) {
#ifdef __CUDACC__
    unsigned r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
    return r;
#else
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        const unsigned s = selector >> (4 * i) & 15, byte = (s & 4 ? b : a) >> (8 * (s & 3)) & 255;
        r |= (s < 8 ? byte : byte & 128 ? 255 : 0) << (8 * i);
    }
    return r;
#endif
}

// Byte I of w below the top byte `top` of a float.
template <int I> DEVICE float placed(unsigned w, unsigned top) {
    return __uint_as_float(__byte_perm(w, top, 0x7044 + I * 0x100));
}
DEVICE void placed(unsigned w, unsigned top, float (&f)[4]) {
    f[0] = placed<0>(w, top), f[1] = placed<1>(w, top), f[2] = placed<2>(w, top), f[3] = placed<3>(w, top);
}
// Byte I as a signed number. Put like this, the extraction becomes part of the conversion.
template <int I> DEVICE float signed_byte_to_float(unsigned w) {
#ifdef __CUDACC__
    float x;
    asm("{ .reg .s32 t; bfe.s32 t, %1, %2, 8; cvt.rn.f32.s32 %0, t; }" : "=f"(x) : "r"(w), "n"(8 * I));
    return x;
#else
    return (float)(signed char)(w >> (8 * I));
#endif
}

// The word that begins `shift` bits (0 to 32) behind the start of lo.
DEVICE unsigned joined(unsigned lo, unsigned hi, unsigned shift) {
#ifdef __CUDACC__
    return __funnelshift_rc(lo, hi, shift);
#else
    return shift < 32 ? __funnelshift_r(lo, hi, shift) : hi;
#endif
}

DEVICE float low_half(unsigned w) { return half_to_float((unsigned short)w); }
DEVICE float high_half(unsigned w) { return half_to_float((unsigned short)(w >> 16)); }

DEVICE int place_pairs(int u) { return u; }
// Two blocks of 32 for each lane, eight blocks apart.
DEVICE int place_small(int u) { return (u / 2 % 8) * 4 + u / 16 * 2 + u % 2; }
// Of 128 values a lane has 16 of each quarter.
DEVICE int place_quarters(int u) { return (u / 8 * 2 + u % 2) * 4 + u / 2 % 4; }

// ---- Blocks of 256, two sub-blocks of 32 a lane ----

struct ScalesMins {
    float d, dmin, scale[2], min[2];
};

// Of Q4_K and Q5_K: the 6-bit scales and minimums of sub-blocks 2k and 2k + 1.
DEVICE void scales_mins(const uint4& head, int k, ScalesMins& s) {
    const unsigned half = k & 1 ? 0x7632 : 0x5410;
    const unsigned six = __byte_perm(head.y, head.z, half);
    const unsigned four = __byte_perm(head.w, head.w >> 4, half) & 0x0f0f0f0f;
    // Bytes: scale, scale, minimum, minimum.
    const unsigned packed = k < 2 ? six & 0x3f3f3f3f : four | (six >> 2 & 0x30303030);
    s.d = low_half(head.x), s.dmin = high_half(head.x);
    s.scale[0] = signed_byte_to_float<0>(packed), s.scale[1] = signed_byte_to_float<1>(packed);
    s.min[0] = signed_byte_to_float<2>(packed), s.min[1] = signed_byte_to_float<3>(packed);
}

// Word i of the eight in a and b.
DEVICE unsigned of(const uint4& a, const uint4& b, int i) {
    const uint4& v = i < 4 ? a : b;
    return i % 4 == 0 ? v.x : i % 4 == 1 ? v.y : i % 4 == 2 ? v.z : v.w;
}

struct Q4_K {
    enum { LEN = 256, BYTES = 144, GROUPS = 2, HAS_D = 1, HAS_MIN = 1, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 2, OFFSET = 8;
    struct Raw {
        uint4 head, a, b;
    };
    typedef ScalesMins Scales;
    DEVICE int place(int u) { return place_pairs(u); }
    DEVICE int order(int g, int i) { return g * 8 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const uint4* q = reinterpret_cast<const uint4*>(p);
        raw.head = ldg(q);
        q += 1 + 2 * (lane.j & 3);
        raw.a = ldg(q), raw.b = ldg(q + 1);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) { scales_mins(raw.head, lane.j & 3, s); }
    DEVICE void four(const Raw& raw, const Lane&, int t, float (&f)[4]) {
        const unsigned w = of(raw.a, raw.b, t & 7);
        placed((t < 8 ? w << 3 : w >> 1) & 0x78787878, 0x41000000, f);
    }
};

struct Q5_K {
    enum { LEN = 256, BYTES = 176, GROUPS = 2, HAS_D = 1, HAS_MIN = 1, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 1, OFFSET = 32;
    struct Raw {
        uint4 head, high_a, high_b, a, b;
    };
    typedef ScalesMins Scales;
    DEVICE int place(int u) { return place_pairs(u); }
    // Words that share their high bits one after the other.
    DEVICE int order(int g, int i) { return g * 8 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const uint4* q = reinterpret_cast<const uint4*>(p);
        raw.head = ldg(q), raw.high_a = ldg(q + 1), raw.high_b = ldg(q + 2);
        q += 3 + 2 * (lane.j & 3);
        raw.a = ldg(q), raw.b = ldg(q + 1);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) { scales_mins(raw.head, lane.j & 3, s); }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const unsigned w = of(raw.a, raw.b, t & 7), high = of(raw.high_a, raw.high_b, t & 7) >> (2 * (lane.j & 3));
        const unsigned low = (t < 8 ? w << 2 : w >> 2) & 0x3c3c3c3c;
        placed(low + (t < 8 ? (high & 0x01010101) << 6 : (high & 0x02020202) << 5), 0x42000000, f);
    }
};

// Bytes of a table of 16 at the nibbles of w: a has those of w's bytes 0 and 1 (low, high, low, high), b those of 2 and
// 3.
struct Looked {
    unsigned a, b;
};
DEVICE Looked iq4_levels(unsigned w) {
    const unsigned t0 = 0xbfad9881, t1 = 0xf6eaddcf, t2 = 0x26190d01, t3 = 0x71594535;
    const unsigned index = w & 0x77777777, upper = (w & 0x88888888) >> 1 | 0x32103210;
    Looked l;
    l.a = permuted(permuted(t0, t1, index), permuted(t2, t3, index), upper);
    l.b = permuted(permuted(t0, t1, index >> 16), permuted(t2, t3, index >> 16), upper >> 16);
    return l;
}
// The levels of the low nibbles (high = 0) or the high ones (1), as floats.
DEVICE void signed_levels(const Looked& l, int high, float (&f)[4]) {
    if (high) {
        f[0] = signed_byte_to_float<1>(l.a), f[1] = signed_byte_to_float<3>(l.a);
        f[2] = signed_byte_to_float<1>(l.b), f[3] = signed_byte_to_float<3>(l.b);
    } else {
        f[0] = signed_byte_to_float<0>(l.a), f[1] = signed_byte_to_float<2>(l.a);
        f[2] = signed_byte_to_float<0>(l.b), f[3] = signed_byte_to_float<2>(l.b);
    }
}

struct IQ4_XS {
    enum { LEN = 256, BYTES = 136, GROUPS = 2, HAS_D = 1, HAS_MIN = 0, HAS_OFFSET = 0 };
    static constexpr float FACTOR = 1, OFFSET = 0;
    struct Raw {
        uint2 head, q[4];
    };
    struct Scales {
        float d, dmin, scale[2], min[1];
    };
    DEVICE int place(int u) { return place_pairs(u); }
    // Low and high nibbles of a word one after the other.
    DEVICE int order(int g, int i) { return g * 8 + i % 2 * 4 + i / 2; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const uint2* q = reinterpret_cast<const uint2*>(p);
        raw.head = ldg(q);
        q += 1 + 4 * (lane.j & 3);
#pragma unroll
        for (int i = 0; i < 4; i++) raw.q[i] = ldg(q + i);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        const int k = lane.j & 3;
        const unsigned low = raw.head.y >> (8 * k), high = raw.head.x >> (16 + 4 * k);
        s.d = low_half(raw.head.x);
        s.scale[0] = (float)((int)((low & 15) | (high & 3) << 4) - 32);
        s.scale[1] = (float)((int)((low >> 4 & 15) | (high & 12) << 2) - 32);
    }
    DEVICE void four(const Raw& raw, const Lane&, int t, float (&f)[4]) {
        const uint2 q = raw.q[t / 8 * 2 + t % 4 / 2];
        signed_levels(iq4_levels(t % 2 ? q.y : q.x), t / 4 % 2, f);
    }
};

// ---- Blocks of 256, 16 values of each quarter of a half a lane ----

DEVICE int half_of(const Lane& lane) { return lane.j >> 1 & 1; }
DEVICE int part_of(const Lane& lane) { return lane.j & 1; }

struct Scales4 {
    float d, dmin, scale[4], min[4];
};

struct Q6_K {
    enum { LEN = 256, BYTES = 210, GROUPS = 4, HAS_D = 1, HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 2, OFFSET = 48;
    struct Raw {
        unsigned a[5], b[5], high[5], scale[3], d;
    };
    typedef Scales4 Scales;
    DEVICE int place(int u) { return place_quarters(u); }
    DEVICE int order(int g, int i) { return g * 4 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const unsigned char* q = p + 64 * half_of(lane) + 16 * part_of(lane);
        const unsigned char* h = p + 128 + 32 * half_of(lane) + 16 * part_of(lane);
#pragma unroll
        for (int i = 0; i < 5; i++) raw.a[i] = word(q, i), raw.b[i] = word(q, 8 + i), raw.high[i] = word(h, i);
#pragma unroll
        for (int i = 0; i < 3; i++) raw.scale[i] = word(p + 192 + 8 * half_of(lane), i);
        raw.d = word(p, 52);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        const unsigned shift = lane.shift + 8 * part_of(lane);
        const unsigned a = joined(raw.scale[0], raw.scale[1], shift), b = joined(raw.scale[1], raw.scale[2], shift);
        s.d = low_half(raw.d >> lane.shift);
        s.scale[0] = signed_byte_to_float<0>(a), s.scale[1] = signed_byte_to_float<2>(a);
        s.scale[2] = signed_byte_to_float<0>(b), s.scale[3] = signed_byte_to_float<2>(b);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const int q = t / 4, i = t % 4;
        const unsigned high = joined(raw.high[i], raw.high[i + 1], lane.shift);
        const unsigned a = joined(raw.a[i], raw.a[i + 1], lane.shift), b = joined(raw.b[i], raw.b[i + 1], lane.shift);
        const unsigned w = q % 2 ? b : a;
        const unsigned low = (q < 2 ? w << 1 : w >> 3) & 0x1e1e1e1e;
        const unsigned pair = q == 0   ? (high & 0x03030303) << 5
                              : q == 1 ? (high & 0x0c0c0c0c) << 3
                              : q == 2 ? (high & 0x30303030) << 1
                                       : high >> 1 & 0x60606060;
        placed(low + pair, 0x42000000, f);
    }
};

struct Q3_K {
    enum { LEN = 256, BYTES = 110, GROUPS = 4, HAS_D = 1, HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 1, OFFSET = 12;
    struct Raw {
        unsigned high[5], pairs[5], scale[4];  // d behind the scales
    };
    typedef Scales4 Scales;
    DEVICE int place(int u) { return place_quarters(u); }
    DEVICE int order(int g, int i) { return g * 4 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const unsigned char* h = p + 16 * part_of(lane);
        const unsigned char* q = h + 32 + 32 * half_of(lane);
#pragma unroll
        for (int i = 0; i < 5; i++) raw.high[i] = word(h, i), raw.pairs[i] = word(q, i);
#pragma unroll
        for (int i = 0; i < 4; i++) raw.scale[i] = word(p, 24 + i);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        const unsigned shift = lane.shift + 8 * part_of(lane) + 4 * half_of(lane);
        const unsigned low_a = joined(raw.scale[0], raw.scale[1], shift);
        const unsigned low_b = joined(raw.scale[1], raw.scale[2], shift);
        const unsigned high = joined(raw.scale[2], raw.scale[3], shift);
        // The scales less 32, in bytes 0 and 2.
        const unsigned a = (low_a & 0x000f000f) + ((high & 0x00030003) << 4) + 0x00e000e0;
        const unsigned b = (low_b & 0x000f000f) + ((high & 0x000c000c) << 2) + 0x00e000e0;
        s.d = low_half(raw.scale[3] >> lane.shift);
        s.scale[0] = signed_byte_to_float<0>(a), s.scale[1] = signed_byte_to_float<2>(a);
        s.scale[2] = signed_byte_to_float<0>(b), s.scale[3] = signed_byte_to_float<2>(b);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const int q = t / 4, i = t % 4;
        const unsigned high = joined(raw.high[i], raw.high[i + 1], lane.shift) >> (4 * half_of(lane));
        const unsigned w = joined(raw.pairs[i], raw.pairs[i + 1], lane.shift);
        const unsigned low = (q < 2 ? w << (4 - 2 * q) : w >> (2 * q - 4)) & 0x30303030;
        placed(low + ((high & 0x01010101u << q) << (6 - q)), 0x41000000, f);
    }
};

struct Q2_K {
    enum { LEN = 256, BYTES = 84, GROUPS = 4, HAS_D = 1, HAS_MIN = 1, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 0.5f, OFFSET = 8;
    struct Raw {
        unsigned scale[2], pairs[4], d;
    };
    typedef Scales4 Scales;
    DEVICE int place(int u) { return place_quarters(u); }
    DEVICE int order(int g, int i) { return g * 4 + i; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const unsigned char* q = p + 16 + 32 * half_of(lane) + 16 * part_of(lane);
#pragma unroll
        for (int i = 0; i < 4; i++) raw.pairs[i] = word(q, i);
#pragma unroll
        for (int i = 0; i < 2; i++) raw.scale[i] = word(p + 8 * half_of(lane), i);
        raw.d = word(p, 20);
    }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        s.d = low_half(raw.d), s.dmin = high_half(raw.d);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const unsigned w = raw.scale[i] >> (8 * part_of(lane)), low = w & 0x0f0f0f0f, high = w >> 4 & 0x0f0f0f0f;
            s.scale[2 * i] = signed_byte_to_float<0>(low), s.scale[2 * i + 1] = signed_byte_to_float<2>(low);
            s.min[2 * i] = signed_byte_to_float<0>(high), s.min[2 * i + 1] = signed_byte_to_float<2>(high);
        }
    }
    DEVICE void four(const Raw& raw, const Lane&, int t, float (&f)[4]) {
        const int q = t / 4;
        const unsigned w = raw.pairs[t % 4];
        placed((q == 0 ? w << 5 : q == 1 ? w << 3 : q == 2 ? w << 1 : w >> 1) & 0x60606060, 0x41000000, f);
    }
};

// ---- Blocks of 32 ----

// WORDS are read from each of two blocks; the quants begin at byte HEAD.
template <int BYTES_, int HEAD, int WORDS> struct Small {
    enum { LEN = 32, BYTES = BYTES_, GROUPS = 2, HAS_D = 0 };
    struct Raw {
        unsigned w[2][WORDS];
    };
    struct Scales {
        float d, dmin, scale[2], min[2];
    };
    DEVICE int place(int u) { return place_small(u); }
    // Low and high nibbles of a word one after the other.
    DEVICE int order(int g, int i) { return g * 8 + i % 2 * 4 + i / 2; }
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const unsigned char* q = p + lane.next;
#pragma unroll
        for (int i = 0; i < WORDS; i++) raw.w[0][i] = word(p, i), raw.w[1][i] = word(q, i);
    }
    // The four bytes at byte `at` of a block.
    DEVICE unsigned bytes(const unsigned (&w)[WORDS], const Lane& lane, int at) {
        if (BYTES % 4 == 0) return w[at / 4];
        return joined(w[at / 4], w[at / 4 + 1], at % 4 * 8 + lane.shift);
    }
    DEVICE unsigned quants(const Raw& raw, const Lane& lane, int t) {
        return bytes(raw.w[t / 8], lane, HEAD + t % 4 * 4);
    }
    DEVICE float half_at_start(const unsigned (&w)[WORDS], const Lane& lane) {
        return low_half(BYTES % 4 ? w[0] >> lane.shift : w[0]);
    }
    DEVICE unsigned high_nibble(int t) { return t / 4 % 2; }
};

struct Q4_0 : Small<18, 2, 5> {
    enum { HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 2, OFFSET = 12;
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        for (int i = 0; i < 2; i++) s.scale[i] = half_at_start(raw.w[i], lane);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const unsigned w = quants(raw, lane, t);
        placed((high_nibble(t) ? w >> 1 : w << 3) & 0x78787878, 0x41000000, f);
    }
};

struct Q4_1 : Small<20, 4, 5> {
    enum { HAS_MIN = 1, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 2, OFFSET = 8;
    DEVICE void scales(const Raw& raw, const Lane&, Scales& s) {
        for (int i = 0; i < 2; i++) s.scale[i] = low_half(raw.w[i][0]), s.min[i] = -high_half(raw.w[i][0]);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const unsigned w = quants(raw, lane, t);
        placed((high_nibble(t) ? w >> 1 : w << 3) & 0x78787878, 0x41000000, f);
    }
};

// Bits 4i to 4i + 3 of 32, each to bit 6 of a byte. The product adds no two bits to one place.
DEVICE unsigned fifth_bits(unsigned bits, int i) {
    return ((bits >> (i / 2 * 8)) & 15u << (i % 2 * 4)) * (0x08102040u >> (i % 2 * 4)) & 0x40404040;
}
// Four 5-bit values.
DEVICE void five(unsigned w, unsigned bits, int t, float (&f)[4]) {
    const unsigned high = t / 4 % 2;
    placed(((high ? w >> 2 : w << 2) & 0x3c3c3c3c) + fifth_bits(bits, high * 4 + t % 4), 0x42000000, f);
}

struct Q5_0 : Small<22, 6, 6> {
    enum { HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 1, OFFSET = 48;
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        for (int i = 0; i < 2; i++) s.scale[i] = half_at_start(raw.w[i], lane);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        five(quants(raw, lane, t), bytes(raw.w[t / 8], lane, 2), t, f);
    }
};

struct Q5_1 : Small<24, 8, 6> {
    enum { HAS_MIN = 1, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 1, OFFSET = 32;
    DEVICE void load(const unsigned char* p, const Lane& lane, Raw& raw) {
        const uint2* q = reinterpret_cast<const uint2*>(p);
        const uint2* r = reinterpret_cast<const uint2*>(p + lane.next);
#pragma unroll
        for (int i = 0; i < 3; i++) {
            const uint2 a = ldg(q + i), b = ldg(r + i);
            raw.w[0][2 * i] = a.x, raw.w[0][2 * i + 1] = a.y, raw.w[1][2 * i] = b.x, raw.w[1][2 * i + 1] = b.y;
        }
    }
    DEVICE void scales(const Raw& raw, const Lane&, Scales& s) {
        for (int i = 0; i < 2; i++) s.scale[i] = low_half(raw.w[i][0]), s.min[i] = -high_half(raw.w[i][0]);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        five(quants(raw, lane, t), raw.w[t / 8][1], t, f);
    }
};

// The conversion has a sixth of the rate of an FMA, which is enough for a byte a value.
struct Q8_0 : Small<34, 2, 9> {
    enum { HAS_MIN = 0, HAS_OFFSET = 0 };
    static constexpr float FACTOR = 1, OFFSET = 0;
    DEVICE int order(int g, int i) { return g * 8 + i; }
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        for (int i = 0; i < 2; i++) s.scale[i] = half_at_start(raw.w[i], lane);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const unsigned w = bytes(raw.w[t / 8], lane, 2 + t % 8 * 4);
        f[0] = signed_byte_to_float<0>(w), f[1] = signed_byte_to_float<1>(w);
        f[2] = signed_byte_to_float<2>(w), f[3] = signed_byte_to_float<3>(w);
    }
};

// Its levels need eight bits, so they are converted.
struct IQ4_NL : Small<18, 2, 5> {
    enum { HAS_MIN = 0, HAS_OFFSET = 0 };
    static constexpr float FACTOR = 1, OFFSET = 0;
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        for (int i = 0; i < 2; i++) s.scale[i] = half_at_start(raw.w[i], lane);
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        signed_levels(iq4_levels(quants(raw, lane, t)), high_nibble(t), f);
    }
};

// The table has 64 + 4 level, so that a level is placed like the other formats' quants: 12 + level / 4. A permutation
// whose selector has its fourth bit set gives zeros from these bytes, so both halves of the table are looked up and
// joined by OR.
struct MXFP4 : Small<17, 1, 5> {
    enum { HAS_MIN = 0, HAS_OFFSET = 1 };
    static constexpr float FACTOR = 4, OFFSET = 12;
    DEVICE void scales(const Raw& raw, const Lane& lane, Scales& s) {
        for (int i = 0; i < 2; i++) {
            const unsigned e = raw.w[i][0] >> lane.shift & 255;
            // 2^(e - 128); the first two are below the normal numbers.
            s.scale[i] = __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
        }
    }
    DEVICE void four(const Raw& raw, const Lane& lane, int t, float (&f)[4]) {
        const unsigned t0 = 0x4c484440, t1 = 0x70605850, t2 = 0x34383c40, t3 = 0x10202830;
        const unsigned w = quants(raw, lane, t), other = w ^ 0x88888888;
        const unsigned a = permuted(t0, t1, w) | permuted(t2, t3, other);
        const unsigned b = permuted(t0, t1, w >> 16) | permuted(t2, t3, other >> 16);
        if (high_nibble(t)) {
            f[0] = placed<1>(a, 0x41000000), f[1] = placed<3>(a, 0x41000000);
            f[2] = placed<1>(b, 0x41000000), f[3] = placed<3>(b, 0x41000000);
        } else {
            f[0] = placed<0>(a, 0x41000000), f[1] = placed<2>(a, 0x41000000);
            f[2] = placed<0>(b, 0x41000000), f[3] = placed<2>(b, 0x41000000);
        }
    }
};
