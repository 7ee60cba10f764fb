// Weights become numbers for gemm.cu, with the values that src/quant/dequantize.rs defines: the same to the bit,
// because each is one rounding of a product that single precision holds exactly.
//
// A thread takes 32 neighbouring elements of a row (a "piece") to registers, as they stand in the file (`load`), and
// later writes their values to a column of shared memory (`store`). Nothing is computed while loading, so that nothing
// waits for memory before the piece is stored.
//
// Loads are as wide as the format's alignment allows: a tensor begins at a multiple of 64 bytes, so a block of 18 bytes
// begins at a multiple of 2, and one of 17 anywhere. No byte outside of the tensor is read.
#pragma once

#include "device.h"

typedef unsigned char Byte;

DEVICE unsigned load_byte(const Byte* p) { return ldg(p); }
DEVICE unsigned load_half(const Byte* p) { return ldg((const unsigned short*)p); }
DEVICE unsigned load_word(const Byte* p) { return ldg((const unsigned*)p); }
DEVICE float to_float(unsigned half) { return half_to_float((unsigned short)half); }

// N words at a multiple of 4, 8 or 16 bytes.
template <int N> DEVICE void load_words(unsigned (&w)[N], const Byte* p) {
#pragma unroll
    for (int i = 0; i < N; i++) w[i] = load_word(p + 4 * i);
}
template <int N> DEVICE void load_words_8(unsigned (&w)[N], const Byte* p) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
        const uint2 v = ldg((const uint2*)(p + 4 * i));
        w[i] = v.x, w[i + 1] = v.y;
    }
}
template <int N> DEVICE void load_words_16(unsigned (&w)[N], const Byte* p) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        const uint4 v = ldg((const uint4*)(p + 4 * i));
        w[i] = v.x, w[i + 1] = v.y, w[i + 2] = v.z, w[i + 3] = v.w;
    }
}

// N words at a multiple of 2: the aligned words from at most two bytes before (which belong to the tensor, as it begins
// at a multiple of 4), then the last two bytes.
template <int N> struct EvenWords {
    unsigned w[N + 1];
    int shift;
    __device__ __forceinline__ void load(const Byte* p) {
        const int before = (int)((unsigned long long)p & 2);
        shift = 8 * before;
#pragma unroll
        for (int i = 0; i < N; i++) w[i] = load_word(p - before + 4 * i);
        w[N] = load_half(p + 4 * N - 2);
    }
    __device__ __forceinline__ unsigned word(int i) const { return __funnelshift_r(w[i], w[i + 1], (unsigned)shift); }
};

// N words anywhere: the aligned words from at most three bytes before, then the last three bytes, of which as many are
// wanted as there are bytes before.
template <int N> struct OddWords {
    unsigned w[N], end[3];
    int shift;
    __device__ __forceinline__ void load(const Byte* p) {
        const int before = (int)((unsigned long long)p & 3);
        shift = 8 * before;
#pragma unroll
        for (int i = 0; i < N; i++) w[i] = load_word(p - before + 4 * i);
#pragma unroll
        for (int i = 0; i < 3; i++) end[i] = load_byte(p + 4 * N - 3 + i);
    }
    __device__ __forceinline__ unsigned word(int i) const {
        const unsigned last = (end[0] | end[1] << 8 | end[2] << 16) >> (24 - shift);
        const unsigned next = i + 1 < N ? w[i + 1 < N ? i + 1 : 0] : last;
        return __funnelshift_r(w[i], next, (unsigned)shift);
    }
};

// Writes four bytes, from element k on: each times a scale, plus an offset. S floats lie between one element and the
// next. The empty `asm` hides from the compiler where the bytes came from; otherwise it takes each out of the original
// word by an instruction of its own, which the conversion can do at no cost.
template <int S> DEVICE void put(float* to, int k, unsigned bytes, float scale, float offset) {
    asm("" : "+r"(bytes));
#pragma unroll
    for (int i = 0; i < 4; i++) to[(k + i) * S] = scale * (float)(bytes >> 8 * i & 255) + offset;
}
// The same for bytes with a sign.
template <int S> DEVICE void put_signed(float* to, int k, unsigned bytes, float scale) {
#pragma unroll
    for (int i = 0; i < 4; i++) to[(k + i) * S] = scale * (float)(signed char)(bytes >> 8 * i & 255);
}
DEVICE unsigned nibbles(unsigned w, int high) { return w >> 4 * high & 0x0f0f0f0f; }
// Bit i of the lowest four, to bit 4 of byte i.
DEVICE unsigned fifth_bits(unsigned bits) { return ((bits & 15) * 0x00204081 & 0x01010101) << 4; }

// Sixteen levels of a byte each are looked up by nibbles: each low nibble is an element, the high one the sixteenth
// after it.
template <int S>
DEVICE void put_levels(float* to, int k, unsigned w, unsigned t0, unsigned t1, unsigned t2, unsigned t3, float scale) {
    const unsigned which = 0x32103210 + (w >> 1 & 0x44444444);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const unsigned sel = w >> 16 * i & 0x7777;
        const unsigned v = __byte_perm(__byte_perm(t0, t1, sel), __byte_perm(t2, t3, sel), which >> 16 * i & 0x7777);
        to[(k + 2 * i) * S] = scale * (float)(signed char)(v & 255);
        to[(k + 2 * i + 16) * S] = scale * (float)(signed char)(v >> 8 & 255);
        to[(k + 2 * i + 1) * S] = scale * (float)(signed char)(v >> 16 & 255);
        to[(k + 2 * i + 17) * S] = scale * (float)(signed char)(v >> 24);
    }
}
template <int S> DEVICE void put_iq4(float* to, int k, unsigned w, float scale) {
    put_levels<S>(to, k, w, 0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535, scale);
}

// The types. Each has the elements of a block (LEN), `load`, which takes piece `p` of a row, and `store`, which writes
// its values. Types of single elements have `load_some` too, for rows that are no multiple of 32: it takes what there
// is of a piece.

struct F32 {
    enum { LEN = 1 };
    unsigned w[32];
    __device__ __forceinline__ void load(const Byte* row, int p) { load_words_16(w, row + 128ll * p); }
    __device__ __forceinline__ void load_some(const Byte* row, int p, int n) {
#pragma unroll
        for (int i = 0; i < 32; i++) w[i] = 32 * p + i < n ? load_word(row + 4ll * (32 * p + i)) : 0;
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
#pragma unroll
        for (int i = 0; i < 32; i++) to[i * S] = __int_as_float((int)w[i]);
    }
};

struct Pairs {
    enum { LEN = 1 };
    unsigned w[16];
    __device__ __forceinline__ void load(const Byte* row, int p) { load_words_16(w, row + 64ll * p); }
    __device__ __forceinline__ void load_some(const Byte* row, int p, int n) {
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const int k = 32 * p + 2 * i;
            w[i] = (k < n ? load_half(row + 2ll * k) : 0) | (k + 1 < n ? load_half(row + 2ll * k + 2) : 0) << 16;
        }
    }
};
struct F16 : Pairs {
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
#pragma unroll
        for (int i = 0; i < 16; i++) {
            to[2 * i * S] = to_float(w[i] & 0xffff);
            to[(2 * i + 1) * S] = to_float(w[i] >> 16);
        }
    }
};
struct BF16 : Pairs {
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
#pragma unroll
        for (int i = 0; i < 16; i++) {
            to[2 * i * S] = __int_as_float((int)(w[i] << 16));
            to[(2 * i + 1) * S] = __int_as_float((int)(w[i] & 0xffff0000u));
        }
    }
};

struct Q8_0 {
    enum { LEN = 32 };
    unsigned d;
    EvenWords<8> q;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 34ll * p;
        d = load_half(b);
        q.load(b + 2);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
        const float scale = to_float(d);
#pragma unroll
        for (int i = 0; i < 8; i++) put_signed<S>(to, 4 * i, q.word(i), scale);
    }
};

struct Q4_0 {
    enum { LEN = 32 };
    unsigned d;
    EvenWords<4> q;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 18ll * p;
        d = load_half(b);
        q.load(b + 2);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
        const float scale = to_float(d);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const unsigned w = q.word(i);
            put<S>(to, 4 * i, nibbles(w, 0), scale, -8 * scale);
            put<S>(to, 4 * i + 16, nibbles(w, 1), scale, -8 * scale);
        }
    }
};

struct Q4_1 {
    enum { LEN = 32 };
    unsigned dm, q[4];
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 20ll * p;
        dm = load_word(b);
        load_words(q, b + 4);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
        const float scale = to_float(dm & 0xffff), min = to_float(dm >> 16);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            put<S>(to, 4 * i, nibbles(q[i], 0), scale, min);
            put<S>(to, 4 * i + 16, nibbles(q[i], 1), scale, min);
        }
    }
};

struct Q5_0 {
    enum { LEN = 32 };
    unsigned d, low, high;
    EvenWords<4> q;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 22ll * p;
        d = load_half(b);
        low = load_half(b + 2);
        high = load_half(b + 4);
        q.load(b + 6);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
        const float scale = to_float(d);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const unsigned w = q.word(i);
            put<S>(to, 4 * i, nibbles(w, 0) | fifth_bits(low >> 4 * i), scale, -16 * scale);
            put<S>(to, 4 * i + 16, nibbles(w, 1) | fifth_bits(high >> 4 * i), scale, -16 * scale);
        }
    }
};

struct Q5_1 {
    enum { LEN = 32 };
    unsigned dm, bits, q[4];
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 24ll * p;
        const uint2 head = ldg((const uint2*)b);
        dm = head.x;
        bits = head.y;
        load_words_8(q, b + 8);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
        const float scale = to_float(dm & 0xffff), min = to_float(dm >> 16);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            put<S>(to, 4 * i, nibbles(q[i], 0) | fifth_bits(bits >> 4 * i), scale, min);
            put<S>(to, 4 * i + 16, nibbles(q[i], 1) | fifth_bits(bits >> (16 + 4 * i)), scale, min);
        }
    }
};

struct Q2_K {
    enum { LEN = 256 };
    unsigned scales, dm, q[8];
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 84ll * (p / 8);
        const int j = p % 8;
        scales = load_half(b + 2 * j);
        load_words(q, b + 16 + j / 4 * 32);
        dm = load_word(b + 80);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int p) const {
        const float d = to_float(dm & 0xffff), dmin = to_float(dm >> 16);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const unsigned s = scales >> i / 4 * 8;
            const float scale = d * (float)(s & 15), min = -dmin * (float)(s >> 4 & 15);
            put<S>(to, 4 * i, q[i] >> p % 4 * 2 & 0x03030303, scale, min);
        }
    }
};

struct Q3_K {
    enum { LEN = 256 };
    unsigned low, high, d;
    EvenWords<8> bits, q;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 110ll * (p / 8);
        const int j = p % 8;
        bits.load(b);
        q.load(b + 32 + j / 4 * 32);
        low = load_half(b + 96 + j % 4 * 2);
        high = load_half(b + 104 + j % 2 * 2);
        d = load_half(b + 108);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int p) const {
        const int j = p % 8;
        const unsigned scales = (low >> j / 4 * 4 & 0x0f0f) | (high >> j / 2 * 2 & 0x0303) << 4;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const float scale = to_float(d) * ((float)(scales >> i / 4 * 8 & 255) - 32.0f);
            const unsigned v = (q.word(i) >> j % 4 * 2 & 0x03030303) | (bits.word(i) >> j & 0x01010101) << 2;
            put<S>(to, 4 * i, v, scale, -4 * scale);
        }
    }
};

// d, dmin and the eight packed pairs of a scale and a min.
struct KHead {
    unsigned w[4];
    __device__ __forceinline__ void load(const Byte* b) { load_words_16(w, b); }
    __device__ __forceinline__ void of(int j, float& scale, float& min) const {
        unsigned s, m;
        if (j < 4) {
            s = w[1] >> 8 * j & 63;
            m = w[2] >> 8 * j & 63;
        } else {
            const int by = 8 * (j - 4);
            s = (w[3] >> by & 15) | (w[1] >> (by + 6) & 3) << 4;
            m = (w[3] >> (by + 4) & 15) | (w[2] >> (by + 6) & 3) << 4;
        }
        scale = to_float(w[0] & 0xffff) * (float)s;
        min = -to_float(w[0] >> 16) * (float)m;
    }
};

struct Q4_K {
    enum { LEN = 256 };
    KHead head;
    unsigned q[8];
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 144ll * (p / 8);
        head.load(b);
        load_words_16(q, b + 16 + p % 8 / 2 * 32);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int p) const {
        float scale, min;
        head.of(p % 8, scale, min);
#pragma unroll
        for (int i = 0; i < 8; i++) put<S>(to, 4 * i, nibbles(q[i], p % 2), scale, min);
    }
};

struct Q5_K {
    enum { LEN = 256 };
    KHead head;
    unsigned bits[8], q[8];
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 176ll * (p / 8);
        head.load(b);
        load_words_16(bits, b + 16);
        load_words_16(q, b + 48 + p % 8 / 2 * 32);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int p) const {
        float scale, min;
        head.of(p % 8, scale, min);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            put<S>(to, 4 * i, nibbles(q[i], p % 2) | (bits[i] >> p % 8 & 0x01010101) << 4, scale, min);
        }
    }
};

struct Q6_K {
    enum { LEN = 256 };
    unsigned scales, d;
    EvenWords<8> low, high;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 210ll * (p / 8);
        const int half = p % 8 / 4;
        low.load(b + 64 * half + p % 2 * 32);
        high.load(b + 128 + 32 * half);
        scales = load_half(b + 192 + p % 8 * 2);
        d = load_half(b + 208);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int p) const {
        const int quarter = p % 4;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const float scale = to_float(d) * (float)(signed char)(scales >> i / 4 * 8 & 255);
            const unsigned v = nibbles(low.word(i), quarter / 2) | (high.word(i) >> 2 * quarter & 0x03030303) << 4;
            put<S>(to, 4 * i, v, scale, -32 * scale);
        }
    }
};

struct IQ4_NL {
    enum { LEN = 32 };
    unsigned d;
    EvenWords<4> q;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 18ll * p;
        d = load_half(b);
        q.load(b + 2);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
        const float scale = to_float(d);
#pragma unroll
        for (int i = 0; i < 4; i++) put_iq4<S>(to, 4 * i, q.word(i), scale);
    }
};

struct IQ4_XS {
    enum { LEN = 256 };
    unsigned head, low, q[4];
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 136ll * (p / 8);
        const int j = p % 8;
        head = load_word(b);
        low = load_byte(b + 4 + j / 2);
        load_words_8(q, b + 8 + 16 * j);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int p) const {
        const int j = p % 8;
        const int s = (int)((low >> j % 2 * 4 & 15) | (head >> (16 + 2 * j) & 3) << 4) - 32;
        const float scale = to_float(head & 0xffff) * (float)s;
#pragma unroll
        for (int i = 0; i < 4; i++) put_iq4<S>(to, 4 * i, q[i], scale);
    }
};

struct MXFP4 {
    enum { LEN = 32 };
    unsigned e;
    OddWords<4> q;
    __device__ __forceinline__ void load(const Byte* row, int p) {
        const Byte* b = row + 17ll * p;
        e = load_byte(b);
        q.load(b + 1);
    }
    template <int S> __device__ __forceinline__ void store(float* to, int) const {
        // Half of 2^(e - 127), as the levels are doubled; the first two are below the normal numbers.
        const float scale = __int_as_float((int)(e < 2 ? 0x00200000u << e : (e - 1) << 23));
#pragma unroll
        for (int i = 0; i < 4; i++) {
            put_levels<S>(to, 4 * i, q.word(i), 0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc, scale);
        }
    }
};
