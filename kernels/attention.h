// Attention: the parts that both forms share (attention.cu for few tokens, attention_prefill.cu for many).
//
// A query row is compared with the cached keys that its token sees, in the order of positions. Three numbers are kept
// on the way: the highest score so far, the sum of weights, and the sum of values times weights, where the weight of a
// key is exp of its score less the highest. When a higher score comes, both sums shrink by exp of the difference. So
// nothing grows with the context, and two halves of a context can be joined the same way. Scores are kept times
// log2(e), so that exp2 gives the weights.
//
// The first half of this file finds the keys: positions lie in spans of neighbouring cells (args.h), a share of them is
// a part's, and a walk goes over a share 32 positions at a time. The second half turns cached elements into floats.
#pragma once
#include "args.h"
#include "device.h"

#define LOG2E 1.4426950408889634f
// Lower than any score, and no infinity: the difference of two of these is a number.
#define LOWEST -1e30f

#ifdef __CUDACC__
// Two blocks a multiprocessor are enough here. Not told so, ptxas spills a few registers to reach the next step of
// occupancy.
#undef KERNEL
#define KERNEL(name, Args, threads) extern "C" __global__ void __launch_bounds__(threads, 2) name(const Args a)

DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#else
DEVICE float exp2_fast(float x) { return exp2f(x); }
#endif

// The factor that a query is multiplied by, and the score that becomes of a product.
DEVICE float query_factor(float scale, float softcap) { return softcap > 0 ? scale / softcap : scale * LOG2E; }
DEVICE float capped(float score, float softcap) { return softcap > 0 ? softcap * LOG2E * tanhf(score) : score; }

// --- Finding keys ---

// The spans of a run.
struct Spans {
    const Span* at;
    int n;
};

// The last span of `i .. end` that begins at or before `pos`; `i` where none does.
DEVICE int span_at(const Spans& s, int i, int end, int pos) {
    while (i + 1 < end) {
        const int middle = i + (end - i) / 2;
        if (ldg(&s.at[middle].pos) <= pos) i = middle;
        else end = middle;
    }
    return i;
}

// Positions `begin .. begin + n`: the keys that one part of the work takes.
struct Share {
    int begin, n;
};

// A part's share of the positions `low ..= high`, of which the first that is cached is that of the first span. Shares
// are whole warps of keys, no fewer than two, and depend on positions alone: it does not matter where the cells lie.
DEVICE Share share_of(const Spans& s, int low, int high, int part, int n_parts) {
    Share share = {0, 0};
    if (s.n == 0) return share;
    low = max(low, ldg(&s.at[0].pos));
    if (low > high) return share;
    const unsigned n = (unsigned)(high - low) + 1;
    const unsigned each = max(64u, ((n - 1) / (unsigned)n_parts / 32 + 1) * 32);
    const unsigned before = (unsigned)part * each;
    if (before >= n) return share;
    share.begin = low + (int)before;
    share.n = (int)min(each, n - before);
    return share;
}

// The number of positions that a token at `pos` sees, itself among them.
DEVICE int reach(const Attention& a, int pos) { return a.chunked ? pos % a.window + 1 : a.window; }
// The first of them.
DEVICE int first_seen(const Attention& a, int pos) { return max(pos - reach(a, pos) + 1, 0); }

// Walks over a share, 32 positions at a time.
struct Walk {
    Spans spans;
    // Uniform in the block, or in the warp: the next positions, and the span that the first of them is in.
    int pos, end, span;
};

DEVICE Walk walk(const Spans& s, const Share& share) {
    const Walk w = {s, share.begin, share.begin + share.n, 0};
    return w;
}

// Moves to the next position from `pos` on that is cached. False if there is none.
DEVICE bool seek(Walk& w) {
    if (w.pos >= w.end) return false;
    w.span = span_at(w.spans, w.span, w.spans.n, w.pos);
    const Span* s = &w.spans.at[w.span];
    if (w.pos - ldg(&s->pos) < ldg(&s->len)) return true;
    // Behind a span's end there is a gap.
    if (++w.span >= w.spans.n) return false;
    w.pos = ldg(&w.spans.at[w.span].pos);
    return w.pos < w.end;
}

// The cell of the lane's position, `pos + lane`; -1 if it has none or is not of the share. To be called after `seek`.
DEVICE int cell_of_lane(const Walk& w, int lane) {
    // The end of a share is at most 2^31 - 1, so a lane's position may be past what an int holds.
    if (lane >= w.end - w.pos) return -1;
    const int pos = w.pos + lane;
    const Span* s = &w.spans.at[w.span];
    int offset = pos - ldg(&s->pos);
    if (offset >= ldg(&s->len)) {
        // Every span has at least one position, so the lane's span is at most `lane` spans further.
        s = &w.spans.at[span_at(w.spans, w.span, min(w.spans.n, w.span + lane + 1), pos)];
        offset = pos - ldg(&s->pos);
        if (offset >= ldg(&s->len)) return -1;
    }
    return ldg(&s->cell) + offset;
}

// --- Cached elements ---

// Eight elements as they lie in memory.
template <int TYPE> struct Raw;
template <> struct Raw<TYPE_F32> {
    float4 a, b;
};
template <> struct Raw<TYPE_F16> {
    uint4 a;
};
template <> struct Raw<TYPE_Q8_0> {
    uint2 a;
    unsigned short d;
};
template <> struct Raw<TYPE_Q4_0> {
    unsigned a;
    unsigned short d;
};

// The place of an element in the first cell's row; other cells lie a multiple of the row's bytes behind it. A row of
// Q8_0 has its bytes first and its scales, one for each 32, behind them, so that wide loads have whole bytes to load.
// Q4_0 has a word for each 8 elements, the first four in the low nibbles of its bytes, and then its scales.
struct Place {
    const unsigned char* elements;
    const unsigned char* scale;
};

#ifdef __CUDACC__
// Keeps the compiler from adding the parts of an address anew with each use.
DEVICE const unsigned char* settled(const unsigned char* p) {
    asm("" : "+l"(p));
    return p;
}
#else
DEVICE const unsigned char* settled(const unsigned char* p) { return p; }
#endif

// That of element `e` of a row of `row` bytes.
template <int TYPE> DEVICE Place place(const unsigned char* side, int row, int e) {
    if (TYPE == TYPE_Q8_0) return Place{settled(side + e), settled(side + row / 34 * 32 + e / 32 * 2)};
    if (TYPE == TYPE_Q4_0) return Place{settled(side + e / 2), settled(side + row / 18 * 16 + e / 32 * 2)};
    return Place{settled(side + (TYPE == TYPE_F32 ? 4 : 2) * e), side};
}

// Loads eight elements, the first a multiple of 8, of the cell whose row begins `offset` bytes behind the first one's.
// Rows of F32 and F16 are multiples of 16 bytes, those of Q8_0 of 8, those of Q4_0 of 4.
DEVICE void load(Raw<TYPE_F32>& r, const Place& p, unsigned long long offset) {
    const float4* at = (const float4*)(p.elements + offset);
    r.a = ldg(at);
    r.b = ldg(at + 1);
}
DEVICE void load(Raw<TYPE_F16>& r, const Place& p, unsigned long long offset) {
    r.a = ldg((const uint4*)(p.elements + offset));
}
DEVICE void load(Raw<TYPE_Q8_0>& r, const Place& p, unsigned long long offset) {
    r.a = ldg((const uint2*)(p.elements + offset));
    r.d = ldg((const unsigned short*)(p.scale + offset));
}
DEVICE void load(Raw<TYPE_Q4_0>& r, const Place& p, unsigned long long offset) {
    r.a = ldg((const unsigned*)(p.elements + offset));
    r.d = ldg((const unsigned short*)(p.scale + offset));
}

DEVICE void decode(const Raw<TYPE_F32>& r, float* x) {
    x[0] = r.a.x, x[1] = r.a.y, x[2] = r.a.z, x[3] = r.a.w;
    x[4] = r.b.x, x[5] = r.b.y, x[6] = r.b.z, x[7] = r.b.w;
}
DEVICE void decode_halves(unsigned two, float* x) {
    x[0] = half_to_float((unsigned short)(two & 0xffff));
    x[1] = half_to_float((unsigned short)(two >> 16));
}
DEVICE void decode(const Raw<TYPE_F16>& r, float* x) {
    decode_halves(r.a.x, x);
    decode_halves(r.a.y, x + 2);
    decode_halves(r.a.z, x + 4);
    decode_halves(r.a.w, x + 6);
}
// PRMT sets a byte b = v + 128 (8 in Q4_0) into the float 2^15 + b. Less 2^15 + 128, times d, is v d; as one FMA that
// is exact, because (2^15 + 128) d has no more than 20 bits (24 with 8).
DEVICE void decode_bytes(unsigned four, float d, float minus, float* x) {
    x[0] = fmaf(__uint_as_float(__byte_perm(four, 0x47000000, 0x7404)), d, minus);
    x[1] = fmaf(__uint_as_float(__byte_perm(four, 0x47000000, 0x7414)), d, minus);
    x[2] = fmaf(__uint_as_float(__byte_perm(four, 0x47000000, 0x7424)), d, minus);
    x[3] = fmaf(__uint_as_float(__byte_perm(four, 0x47000000, 0x7434)), d, minus);
}
DEVICE void decode(const Raw<TYPE_Q8_0>& r, float* x) {
    const float d = half_to_float(r.d), minus = -32896.0f * d;
    decode_bytes(r.a.x ^ 0x80808080, d, minus, x);
    decode_bytes(r.a.y ^ 0x80808080, d, minus, x + 4);
}
DEVICE void decode(const Raw<TYPE_Q4_0>& r, float* x) {
    const float d = half_to_float(r.d), minus = -32776.0f * d;
    decode_bytes(r.a & 0x0f0f0f0f, d, minus, x);
    decode_bytes(r.a >> 4 & 0x0f0f0f0f, d, minus, x + 4);
}
