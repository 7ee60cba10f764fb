// Rope, rotary position embedding: pairs of elements of each head are turned by the angles of a table, then multiplied
// by a factor that grows with the position where there is a temperature. A thread takes a pair, or copies one of the
// elements that do not turn. A result may lie in the place of x, because each element is read and written by one
// thread.
#include "args.h"
#include "device.h"

// Grid (tokens * heads, parts of a head).
KERNEL(rope, Rope, ROPE_THREADS) {
    const int head = (int)blockIdx.x, token = head / a.n_head;
    const int unit = (int)blockIdx.y * ROPE_THREADS + (int)threadIdx.x, n_pairs = a.n_rot / 2;
    const float* x = a.x + (long long)head * a.head_dim;
    float* y = a.y + (long long)head * a.head_dim;
    float by = 1;
    if (a.length > 0) by = 1.0f + a.scale * logf((float)((ldg(a.positions + token) + a.offset) / a.length + 1));
    if (unit < n_pairs) {
        const int one = a.first + (a.halves ? unit : 2 * unit), other = one + (a.halves ? n_pairs : 1);
        const float* angle = a.table + (long long)token * a.n_rot + 2 * unit;
        const float c = angle[0], s = angle[1], v = x[one], w = x[other];
        y[one] = (v * c - w * s) * by;
        y[other] = (v * s + w * c) * by;
    } else if (a.copies && unit - n_pairs < a.head_dim - a.n_rot) {
        const int i = unit - n_pairs, at = i < a.first ? i : i + a.n_rot;
        y[at] = x[at] * by;
    }
}
