// Attention of many tokens, the tiled form. The query rows that see the same keys are the tokens of a run times the
// heads that share a KV head; they are cut into tiles of R rows.
//
// A block takes a tile and passes over 32 keys at a time:
//   1. Scores. Queries and keys come to shared memory in pieces of 32 elements, keys as floats, and each thread
//      multiplies its ROWS rows by four keys. In pieces, 23 KB of shared memory do for heads of any length.
//   2. Weights. The eight lanes that share a row are neighbours in a warp: maximum, sum and weights of a row
//      (attention.h) never leave it. Keys that a row does not see get the weight zero.
//   3. Values. They come to shared memory in pieces of 64 columns, in the place of queries and keys, and each thread
//      adds to 4 COLS columns of its rows.
// The types of keys and values matter on the way to shared memory only.
//
// Few tokens come here too where attention.cu has no form for them: large heads or groups (latent attention), lengths
// that are no multiple of 8. The context is then cut into parts, as there.
#include "attention.h"

// Keys of a block, elements of a piece, and floats from row to row of a piece: four more, so that lanes meet different
// banks.
#define KEYS 32
#define PIECE 32
#define STRIDE 36
// Columns of values that are in shared memory at once, and floats from key to key.
#define V_PIECE 64
#define V_STRIDE 68

DEVICE void load_halves(Raw<TYPE_Q8_0>& r, const unsigned short* two) {
    if ((size_t)two % 8 == 0) {
        r.a = ldg((const uint2*)two);
        return;
    }
    r.a.x = ldg(two) | (unsigned)ldg(two + 1) << 16;
    r.a.y = ldg(two + 2) | (unsigned)ldg(two + 3) << 16;
}
DEVICE void load_halves(Raw<TYPE_Q4_0>& r, const unsigned short* two) { r.a = ldg(two) | (unsigned)ldg(two + 1) << 16; }

// Brings elements e .. e + 8 of a head of `n` elements, which begins at element `first` of each row, to shared memory as
// floats; zeros behind the head's end, and where there is no cell.
//
// This code stands in unrolled loops, whose registers are nearly all in use. So heads of odd lengths take the short way
// here, not the quick one: element by element.
template <int TYPE> DEVICE void stage(float* to, const unsigned char* side, int row, int cell, int first, int e, int n) {
    const Place p = place<TYPE>(side, row, first + e);
    const unsigned long long offset = (unsigned long long)(unsigned)cell * (unsigned)row;
    float x[8];
    if constexpr (TYPE == TYPE_Q8_0 || TYPE == TYPE_Q4_0) {
        // There are whole blocks only, at even addresses.
        Raw<TYPE> raw;
        load_halves(raw, (const unsigned short*)(p.elements + offset));
        raw.d = ldg((const unsigned short*)(p.scale + offset));
        decode(raw, x);
    } else if (e + 8 <= n && row % 16 == 0 && first % 8 == 0) {
        Raw<TYPE> raw;
        load(raw, p, offset);
        decode(raw, x);
    } else {
#pragma unroll 1
        for (int i = 0; i < 8; i++) {
            float one = 0;
            if (e + i < n && TYPE == TYPE_F32) one = ldg((const float*)(p.elements + offset) + i);
            if (e + i < n && TYPE == TYPE_F16) {
                one = half_to_float(ldg((const unsigned short*)(p.elements + offset) + i));
            }
            to[i] = one;
        }
        return;
    }
    *(float4*)to = make_float4(x[0], x[1], x[2], x[3]);
    *(float4*)(to + 4) = make_float4(x[4], x[5], x[6], x[7]);
}

DEVICE void stage(float* to, int type, const unsigned char* side, int row, int cell, int first, int e, int n) {
    if (cell < 0 || e >= n) {
        *(float4*)to = *(float4*)(to + 4) = make_float4(0, 0, 0, 0);
    } else if (type == TYPE_F16) {
        stage<TYPE_F16>(to, side, row, cell, first, e, n);
    } else if (type == TYPE_Q8_0) {
        stage<TYPE_Q8_0>(to, side, row, cell, first, e, n);
    } else if (type == TYPE_Q4_0) {
        stage<TYPE_Q4_0>(to, side, row, cell, first, e, n);
    } else {
        stage<TYPE_F32>(to, side, row, cell, first, e, n);
    }
}

DEVICE float dot(const float4& a, const float4& b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}
DEVICE void add(float4& sum, float p, const float4& v) {
    sum.x = fmaf(p, v.x, sum.x), sum.y = fmaf(p, v.y, sum.y), sum.z = fmaf(p, v.z, sum.z), sum.w = fmaf(p, v.w, sum.w);
}

// Floats of shared memory: queries and keys, in whose place values come; and weights.
#define QUERIES_FLOATS(ROWS) ((16 * ROWS + KEYS) * STRIDE)
#define PIECES_FLOATS(ROWS) (QUERIES_FLOATS(ROWS) > KEYS * V_STRIDE ? QUERIES_FLOATS(ROWS) : KEYS * V_STRIDE)
#define SHARED_FLOATS(ROWS) (PIECES_FLOATS(ROWS) + 16 * ROWS * STRIDE)

// With FALLS scores fall with the distance of a key, in each head by a slope of its own (`slope` in src/graph/op.rs).
DEVICE float slope_of(const Attention& a, int head) {
    const int n = 1 << (31 - __clz(a.n_head));
    const float power = head < n ? a.alibi / n : a.alibi / (2 * n);
    return exp2f(-power * (head < n ? head + 1 : 2 * (head - n) + 1));
}

template <int ROWS, int COLS, bool FALLS = false> DEVICE void prefill(const Attention& a, float* shared) {
    constexpr int R = 16 * ROWS;
    float* const qs = shared;
    float* const ks = shared + R * STRIDE;
    float* const vs = shared;
    float* const ps = shared + PIECES_FLOATS(ROWS);
    const int thread = threadIdx.x, lane = thread % 32;
    // The thread's rows are `row` and every fourth from there on; its columns are 4 x .. 4 x + 4 and every 32nd from
    // there on.
    const int row = thread / 32 * (4 * ROWS) + lane / 8, x = lane % 8;
    const float *const my_qs = qs + row * STRIDE, *const my_ks = ks + x * STRIDE, *const my_vs = vs + 4 * x;
    float* const my_ps = ps + row * STRIDE;
    const int part = blockIdx.y, head_kv = blockIdx.z, group = a.n_head / a.n_head_kv;

    // Finds the tile's run. There may be fewer tiles than blocks.
    int tile = blockIdx.x, r = 0, n_rows = 0;
    for (; r < a.n_runs; r++) {
        n_rows = ldg(&a.runs[r].n) * group;
        const int n_tiles = (n_rows + R - 1) / R;
        if (tile < n_tiles) break;
        tile -= n_tiles;
    }
    if (r == a.n_runs) return;
    const int first_token = ldg(&a.runs[r].first), first_row = tile * R;
    const Spans spans = {a.spans + ldg(&a.runs[r].first_span), ldg(&a.runs[r].n_spans)};
    n_rows = min(R, n_rows - first_row);
    // A warp whose rows are all behind the end helps to fetch, and computes nothing.
    const bool busy = thread / 32 * (4 * ROWS) < n_rows;

    // Of each of the thread's rows: the last position that it sees, and its (token, head) among [n_tokens, n_head].
    int last[ROWS], line[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int f = row + 4 * i, token = first_token + (first_row + f) / group;
        const bool real = f < n_rows;
        line[i] = real ? token * a.n_head + head_kv * group + (first_row + f) % group : -1;
        last[i] = real ? ldg(a.positions + token) : -1;
    }
    // The rows whose queries the thread fetches: thread / 8, and every 16th from there on.
    int source[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int f = thread / 8 + 16 * i, token = first_token + (first_row + f) / group;
        source[i] = f < n_rows ? token * a.n_head + head_kv * group + (first_row + f) % group : -1;
    }
    const int low = first_seen(a, ldg(a.positions + first_token + first_row / group));
    const int high = ldg(a.positions + first_token + (first_row + n_rows - 1) / group);
    Walk w = walk(spans, share_of(spans, low, high, part, a.n_parts));
    const int first_k = head_kv * a.k_head, first_v = head_kv * a.v_head;
    const float factor = query_factor(a.scale, a.softcap);

    float4 sums[ROWS][COLS];
    float highest[ROWS], total[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        highest[i] = LOWEST, total[i] = 0;
#pragma unroll
        for (int j = 0; j < COLS; j++) sums[i][j] = make_float4(0, 0, 0, 0);
    }

    for (; seek(w); w.pos = w.end - w.pos > KEYS ? w.pos + KEYS : w.end) {
        const int cells = cell_of_lane(w, lane);
        // The key whose elements the thread fetches: four threads a key.
        const int cell = shfl(cells, thread / 4), e = thread % 4 * 8;

        // 1. Scores.
        float s[ROWS][4];
#pragma unroll
        for (int i = 0; i < ROWS; i++) s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0;
        for (int k0 = 0; k0 < a.dk; k0 += PIECE) {
            __syncthreads();
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const int c = k0 + thread % 8 * 4;
                float4 q = make_float4(0, 0, 0, 0);
                if (source[i] >= 0) {
                    const float* from = a.q + (long long)source[i] * a.dk + c;
                    if (a.dk % 4 == 0) {
                        if (c < a.dk) q = ldg((const float4*)from);
                    } else {
                        if (c < a.dk) q.x = ldg(from);
                        if (c + 1 < a.dk) q.y = ldg(from + 1);
                        if (c + 2 < a.dk) q.z = ldg(from + 2);
                        if (c + 3 < a.dk) q.w = ldg(from + 3);
                    }
                }
                *(float4*)(qs + (thread / 8 + 16 * i) * STRIDE + thread % 8 * 4) = q;
            }
            stage(ks + thread / 4 * STRIDE + e, a.type_k, a.keys, a.k_row, cell, first_k, k0 + e, a.dk);
            __syncthreads();
#pragma unroll 1
            for (int c = 0; c < PIECE && busy; c += 4) {
                float4 q[ROWS];
#pragma unroll
                for (int i = 0; i < ROWS; i++) q[i] = *(const float4*)(my_qs + 4 * i * STRIDE + c);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const float4 k = *(const float4*)(my_ks + 8 * j * STRIDE + c);
#pragma unroll
                    for (int i = 0; i < ROWS; i++) s[i][j] = dot(q[i], k, s[i][j]);
                }
            }
        }

        // 2. Weights. A row sees the last positions up to its own, as far as it reaches: the keys below `n` of these
        //    32, but for the first `gone`.
        bool there[4];
#pragma unroll
        for (int j = 0; j < 4; j++) there[j] = shfl(cells, x + 8 * j) >= 0;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int n = last[i] - w.pos + 1, gone = n - reach(a, last[i]);
            float next = highest[i];
            const float slope = FALLS && line[i] >= 0 ? slope_of(a, line[i] % a.n_head) * LOG2E : 0.0f;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int key = x + 8 * j;
                s[i][j] = there[j] && key < n && key >= gone ? capped(s[i][j] * factor, a.softcap) : -INFINITE;
                if (FALLS) s[i][j] -= slope * (n - 1 - key);
                next = fmaxf(next, s[i][j]);
            }
            next = fmaxf(next, shfl_xor(next, 1));
            next = fmaxf(next, shfl_xor(next, 2));
            next = fmaxf(next, shfl_xor(next, 4));
            const float shrink = exp2_fast(highest[i] - next);
            highest[i] = next;
            total[i] *= shrink;
#pragma unroll
            for (int j = 0; j < COLS; j++) {
                sums[i][j].x *= shrink, sums[i][j].y *= shrink, sums[i][j].z *= shrink, sums[i][j].w *= shrink;
            }
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float p = exp2_fast(s[i][j] - next);
                total[i] += p;
                my_ps[4 * i * STRIDE + x + 8 * j] = p;
            }
        }

        // 3. Values.
#pragma unroll
        for (int j = 0; j < COLS; j += 2) {
            const int c0 = j / 2 * V_PIECE;
            if (c0 < a.dv) {
                __syncthreads();
                float* const to = vs + thread / 4 * V_STRIDE + e;
                stage(to, a.type_v, a.values, a.v_row, cell, first_v, c0 + e, a.dv);
                stage(to + 32, a.type_v, a.values, a.v_row, cell, first_v, c0 + 32 + e, a.dv);
                __syncthreads();
#pragma unroll 1
                for (int key = 0; key < KEYS && busy; key += 4) {
                    float4 p[ROWS];
#pragma unroll
                    for (int i = 0; i < ROWS; i++) p[i] = *(const float4*)(my_ps + 4 * i * STRIDE + key);
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        const float* v = my_vs + key * V_STRIDE + 32 * h;
                        const float4 v0 = *(const float4*)v, v1 = *(const float4*)(v + V_STRIDE);
                        const float4 v2 = *(const float4*)(v + 2 * V_STRIDE), v3 = *(const float4*)(v + 3 * V_STRIDE);
#pragma unroll
                        for (int i = 0; i < ROWS; i++) {
                            add(sums[i][j + h], p[i].x, v0);
                            add(sums[i][j + h], p[i].y, v1);
                            add(sums[i][j + h], p[i].z, v2);
                            add(sums[i][j + h], p[i].w, v3);
                        }
                    }
                }
            }
        }
    }

#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        total[i] += shfl_xor(total[i], 1);
        total[i] += shfl_xor(total[i], 2);
        total[i] += shfl_xor(total[i], 4);
        if (line[i] < 0) continue;
        float* to = a.out + (long long)line[i] * a.dv;
        float factor = 1.0f;
        if (a.n_parts > 1) {
            const long long at = (long long)line[i] * a.n_parts + part;
            to = a.partial + at * a.dv;
            if (x == 0) {
                float* ends = a.partial + (long long)a.n_tokens * a.n_head * a.n_parts * a.dv + 2 * at;
                ends[0] = highest[i], ends[1] = total[i];
            }
            // Nobody reads the values of an empty part, whose sum is zero.
            if (total[i] == 0) continue;
        } else {
            float most = highest[i], sink = 0;
            if (a.sinks) {
                // A sink is a key that every query sees, without a value.
                const float score = ldg(a.sinks + line[i] % a.n_head) * LOG2E;
                most = fmaxf(most, score);
                sink = exp2_fast(score - most);
            }
            const float shrink = exp2_fast(highest[i] - most);
            factor = shrink / fmaf(total[i], shrink, sink);
        }
#pragma unroll
        for (int j = 0; j < COLS; j++) {
            const int c = 4 * x + 32 * j;
            const float4 y = sums[i][j];
            if (a.dv % 4 == 0) {
                if (c < a.dv) *(float4*)(to + c) = make_float4(y.x * factor, y.y * factor, y.z * factor, y.w * factor);
            } else {
                if (c < a.dv) to[c] = y.x * factor;
                if (c + 1 < a.dv) to[c + 1] = y.y * factor;
                if (c + 2 < a.dv) to[c + 2] = y.z * factor;
                if (c + 3 < a.dv) to[c + 3] = y.w * factor;
            }
        }
    }
}

// Each is named by the most columns of values that it takes.
#define FORM(most, ROWS, COLS)                                       \
    KERNEL(attention_prefill_##most, Attention, ATTENTION_THREADS) { \
        SHARED(float4, shared[SHARED_FLOATS(ROWS) / 4]);             \
        prefill<ROWS, COLS>(a, (float*)shared);                      \
    }
FORM(128, 4, 4)
FORM(256, 4, 8)
FORM(512, 2, 16)

KERNEL(attention_prefill_alibi, Attention, ATTENTION_THREADS) {
    SHARED(float4, shared[SHARED_FLOATS(4) / 4]);
    prefill<4, 8, true>(a, (float*)shared);
}
