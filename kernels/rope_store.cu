// Rope of a token's queries and keys, and its new cells, in one launch: what rope.cu does with each of both and kv.cu
// with the turned keys and the values, element by element with the same operations. Queries are turned as there, a pair
// a thread. Of keys a thread makes one element, which goes straight to its cell.
#include "kv.h"

// Writes element c of a row of `cols`, of which a thread each has one. Warps are whole where the type has blocks.
DEVICE void store(int type, unsigned char* row, int cols, int c, float x) {
    switch (type) {
        case TYPE_F16: ((unsigned short*)row)[c] = float_to_half(x); break;
        case TYPE_Q8_0: quantize_q8_0(row, cols, c, x); break;
        case TYPE_Q4_0: quantize_q4_0(row, cols, c, x); break;
        default: ((float*)row)[c] = x;
    }
}

// Grid (tokens, blocks of queries, then of keys, then of values).
KERNEL(rope_store, RopeStore, KV_THREADS) {
    const int token = (int)blockIdx.x, block = (int)blockIdx.y, n_pairs = a.n_rot / 2;
    const float* table = a.table + (long long)token * a.n_rot;
    if (block < a.q_blocks) {
        // A pair, or one of the elements that do not turn.
        const int units = n_pairs + (a.copies ? a.head_dim - a.n_rot : 0);
        const int u = block * KV_THREADS + (int)threadIdx.x, head = u / units, unit = u % units;
        if (head * a.head_dim >= a.q_cols) return;
        const float* x = a.q + (long long)token * a.q_cols + head * a.head_dim;
        float* y = a.q_out + (long long)token * a.q_cols + head * a.head_dim;
        if (unit < n_pairs) {
            const int one = a.first + (a.halves ? unit : 2 * unit), other = one + (a.halves ? n_pairs : 1);
            const float c = table[2 * unit], s = table[2 * unit + 1], v = x[one], w = x[other];
            y[one] = v * c - w * s;
            y[other] = v * s + w * c;
        } else {
            const int i = unit - n_pairs, at = i < a.first ? i : i + a.n_rot;
            y[at] = x[at];
        }
        return;
    }
    const long long cell = ldg(a.cells + token);
    if (block < a.q_blocks + a.k_blocks) {
        const int e = (block - a.q_blocks) * KV_THREADS + (int)threadIdx.x;
        if (e >= a.k_cols) return;
        const float* x = a.k + (long long)token * a.k_cols;
        const int i = e % a.head_dim - a.first, head = e - e % a.head_dim + a.first;
        float y = x[e];
        if (i >= 0 && i < a.n_rot) {
            const int pair = a.halves ? i % n_pairs : i / 2;
            const bool second = a.halves ? i >= n_pairs : i % 2;
            const float c = table[2 * pair], s = table[2 * pair + 1];
            const float v = x[head + (a.halves ? pair : 2 * pair)];
            const float w = x[head + (a.halves ? pair + n_pairs : 2 * pair + 1)];
            y = second ? v * s + w * c : v * c - w * s;
        }
        store(a.type_k, a.keys + cell * a.k_row, a.k_cols, e, y);
        return;
    }
    const int e = (block - a.q_blocks - a.k_blocks) * KV_THREADS + (int)threadIdx.x;
    if (e >= a.v_cols) return;
    store(a.type_v, a.values + cell * a.v_row, a.v_cols, e, a.v[(long long)token * a.v_cols + e]);
}
