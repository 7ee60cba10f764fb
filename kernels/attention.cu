// Attention of few tokens over a long context, the split form: the context is cut into parts, so that few query rows
// fill a die.
//
// A warp takes a token, a part of the positions it sees, and the up to G query heads that share a KV head (of larger
// groups, a piece). Each key and value is read once, and becomes floats once, for all of them.
//
// L lanes hold a key, eight elements each, so a warp reads 32 / L keys at once, and each load of F16 is 16 bytes a
// lane. Lanes hold the queries in an order of their own: register i is of head i ^ (lane % G). So half of the scores
// that a lane adds up are its partner's, and none has to be selected; after log2(G) exchanges a lane has the score of
// head lane % G. Each L lanes keep a running maximum and sum (attention.h). They meet at the end, and the parts meet in
// attention_merge.
#include "attention.h"

// Keys that each L lanes have under way at a time.
#define DEPTH 4

template <int K, int V, int G> DEVICE void attention(const Attention& a) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int token = blockIdx.x / a.pieces, piece = blockIdx.x % a.pieces;
    const int part = blockIdx.y * (ATTENTION_THREADS / 32) + warp, head_kv = blockIdx.z;
    const int group = a.n_head / a.n_head_kv, first_head = head_kv * group + piece * G;
    const int n_heads = min(G, group - piece * G);
    const int l = lane & (a.lanes - 1), own = l & (G - 1);
    // The number of keys that a warp reads at once, and the lane's among them.
    const int n_keys = 32 / a.lanes, key = lane / a.lanes;
    // Lanes behind the end read the row's start, with queries of zero.
    const int ke = 8 * l < a.dk ? 8 * l : 0, ve = 8 * l < a.dv ? 8 * l : 0;

    float q[G][8], sums[G][8];
    const float factor = query_factor(a.scale, a.softcap);
#pragma unroll
    for (int i = 0; i < G; i++) {
        const int h = i ^ own;
        const bool real = h < n_heads && 8 * l < a.dk;
        const long long row = (long long)token * a.n_head + first_head + (real ? h : 0);
        const float4* from = (const float4*)(a.q + row * a.dk + ke);
        const float4 x = from[0], y = from[1];
        const float f = real ? factor : 0.0f;
        q[i][0] = x.x * f, q[i][1] = x.y * f, q[i][2] = x.z * f, q[i][3] = x.w * f;
        q[i][4] = y.x * f, q[i][5] = y.y * f, q[i][6] = y.z * f, q[i][7] = y.w * f;
#pragma unroll
        for (int e = 0; e < 8; e++) sums[i][e] = 0;
    }
    float highest = LOWEST, total = 0;

    int r = 0;
    while (r + 1 < a.n_runs && token >= ldg(&a.runs[r].first) + ldg(&a.runs[r].n)) r++;
    const Spans spans = {a.spans + ldg(&a.runs[r].first_span), ldg(&a.runs[r].n_spans)};
    const int pos = ldg(a.positions + token);
    Walk w = walk(spans, share_of(spans, first_seen(a, pos), pos, part, a.n_parts));
    const Place keys = place<K>(a.keys, a.k_row, head_kv * a.k_head + ke);
    const Place values = place<V>(a.values, a.v_row, head_kv * a.v_head + ve);

    for (; seek(w); w.pos = w.end - w.pos > 32 ? w.pos + 32 : w.end) {
        int cells = cell_of_lane(w, lane);
        // A lane without a key reads the first one's cell (complemented, so that it is known), which counts for
        // nothing.
        const int some = shfl(cells, 0);
        if (cells < 0) cells = ~some;
        const int n = min(32, w.end - w.pos);
        for (int k0 = 0; k0 < n; k0 += DEPTH * n_keys) {
            Raw<K> k[DEPTH];
            Raw<V> v[DEPTH];
            bool none[DEPTH];
#pragma unroll
            for (int u = 0; u < DEPTH; u++) {
                const int c = shfl(cells, k0 + u * n_keys + key);
                none[u] = c < 0;
                const unsigned cell = c ^ c >> 31;
                load(k[u], keys, (unsigned long long)cell * (unsigned)a.k_row);
                load(v[u], values, (unsigned long long)cell * (unsigned)a.v_row);
            }
            float p[DEPTH];
#pragma unroll
            for (int u = 0; u < DEPTH; u++) {
                float x[8], s[G];
                decode(k[u], x);
#pragma unroll
                for (int i = 0; i < G; i++) {
                    s[i] = q[i][0] * x[0];
#pragma unroll
                    for (int e = 1; e < 8; e++) s[i] = fmaf(q[i][e], x[e], s[i]);
                }
#pragma unroll
                for (int half = G / 2; half > 0; half /= 2) {
#pragma unroll
                    for (int i = 0; i < half; i++) s[i] += shfl_xor(s[i + half], half);
                }
                p[u] = s[0];
            }
            for (int mask = G; mask < a.lanes; mask *= 2) {
#pragma unroll
                for (int u = 0; u < DEPTH; u++) p[u] += shfl_xor(p[u], mask);
            }
            float next = highest;
#pragma unroll
            for (int u = 0; u < DEPTH; u++) {
                p[u] = none[u] ? -INFINITE : capped(p[u], a.softcap);
                next = fmaxf(next, p[u]);
            }
            if (__any_sync(0xffffffffu, next > highest)) {
                const float shrink = exp2_fast(highest - next);
                highest = next;
                total *= shrink;
#pragma unroll
                for (int i = 0; i < G; i++) {
                    const float by = i == 0 ? shrink : shfl_xor(shrink, i);
#pragma unroll
                    for (int e = 0; e < 8; e++) sums[i][e] *= by;
                }
            }
#pragma unroll
            for (int u = 0; u < DEPTH; u++) {
                p[u] = exp2_fast(p[u] - highest);
                total += p[u];
                float x[8];
                decode(v[u], x);
#pragma unroll
                for (int i = 0; i < G; i++) {
                    const float by = i == 0 ? p[u] : shfl_xor(p[u], i);
#pragma unroll
                    for (int e = 0; e < 8; e++) sums[i][e] = fmaf(by, x[e], sums[i][e]);
                }
            }
        }
    }

    for (int mask = a.lanes; mask < 32; mask *= 2) {
        const float next = fmaxf(highest, shfl_xor(highest, mask)), shrink = exp2_fast(highest - next);
        highest = next;
        total *= shrink;
        total += shfl_xor(total, mask);
#pragma unroll
        for (int i = 0; i < G; i++) {
            const float by = i == 0 ? shrink : shfl_xor(shrink, i);
#pragma unroll
            for (int e = 0; e < 8; e++) {
                sums[i][e] *= by;
                sums[i][e] += shfl_xor(sums[i][e], mask);
            }
        }
    }
    if (key > 0) return;
    const long long row = ((long long)token * a.n_head + first_head) * a.n_parts + part;
    if (l < G && own < n_heads) {
        float* ends = a.partial + (long long)a.n_tokens * a.n_head * a.n_parts * a.dv;
        *(float2*)(ends + 2 * (row + (long long)own * a.n_parts)) = make_float2(highest, total);
    }
    // Nobody reads the values of an empty part, whose sum is zero.
    if (8 * l >= a.dv || total == 0) return;
#pragma unroll
    for (int i = 0; i < G; i++) {
        const int h = i ^ own;
        if (h < n_heads) {
            float4* at = (float4*)(a.partial + (row + (long long)h * a.n_parts) * a.dv + ve);
            at[0] = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
            at[1] = make_float4(sums[i][4], sums[i][5], sums[i][6], sums[i][7]);
        }
    }
}

#define FORM(K, V, G) \
    KERNEL(attention_##K##_##V##_##G, Attention, ATTENTION_THREADS) { attention<TYPE_##K, TYPE_##V, G>(a); }
#define FORMS(K, V) FORM(K, V, 2) FORM(K, V, 4) FORM(K, V, 8)
// Keys or values of F32 beside others, and keys of Q4_0 beside finer values, which nobody has a reason to use, go by
// tiles.
FORMS(F32, F32)
FORMS(F16, F16)
FORMS(F16, Q8_0)
FORMS(Q8_0, F16)
FORMS(Q8_0, Q8_0)
FORMS(F16, Q4_0)
FORMS(Q8_0, Q4_0)
FORMS(Q4_0, Q4_0)

// Joins the parts: each part's sums shrink to the highest maximum of all (a sink counts as a key without a value). A
// warp's lane takes the maximum and sum of a part, then its threads add up a column of values each. Grid (heads,
// tokens).
KERNEL(attention_merge, Attention, ATTENTION_THREADS) {
    const int lane = threadIdx.x % 32, head = blockIdx.x;
    const long long row = (long long)blockIdx.y * a.n_head + head;
    const float* partial = a.partial + row * a.n_parts * a.dv;
    const float* ends = a.partial + ((long long)a.n_tokens * a.n_head * a.dv + 2 * row) * a.n_parts;
    float highest = LOWEST, total = 0;
    if (lane < a.n_parts) highest = ends[2 * lane], total = ends[2 * lane + 1];
    const float sink = a.sinks ? a.sinks[head] * LOG2E : LOWEST;
    const float most = fmaxf(warp_max(total > 0 ? highest : LOWEST), sink);
    const float weight = total > 0 ? exp2_fast(highest - most) : 0.0f;
    const float sum = warp_sum(weight * total) + (a.sinks ? exp2_fast(sink - most) : 0.0f);
    const float mine = weight / sum;
    // All lanes meet at the shuffles, those behind the end too.
    for (int d0 = threadIdx.x - lane; d0 < a.dv; d0 += ATTENTION_THREADS) {
        const int d = d0 + lane;
        float x = 0;
        // Eight loads are under way at once. A part without keys has left nothing to be read.
        for (int i = 0; i < a.n_parts; i += 8) {
            float by[8], value[8];
#pragma unroll
            for (int k = 0; k < 8; k++) {
                by[k] = i + k < a.n_parts ? shfl(mine, (i + k) % 32) : 0.0f;
                const bool there = by[k] != 0 && d < a.dv;
                value[k] = there ? partial[(i + k) * a.dv + d] : 0.0f;
            }
#pragma unroll
            for (int k = 0; k < 8; k++) x = fmaf(by[k], value[k], x);
        }
        if (d < a.dv) a.out[row * a.dv + d] = x;
    }
}
