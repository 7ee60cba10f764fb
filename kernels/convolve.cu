// Convolve: y[t] = sum over taps of w[tap] x[t - n_taps + 1 + tap] (+ bias), column by column; then SiLU, if it is
// asked for. Rows of x before the run are those of the state, the oldest first.
//
// A thread takes a column and goes over the tokens of a chain (recurrent.h) with the last rows' numbers in registers.
// It loads some tokens ahead, so that memory has enough to do.
#include "recurrent.h"

// Up to N taps: those of fewer are the last. The loads of AHEAD tokens are under way together. Grid (runs, pieces of
// columns).
template <int N, int AHEAD> DEVICE void convolve(const Convolve& a) {
    int run = (int)blockIdx.x;
    if (goes_on(a.states, run)) return;
    // Lanes behind the end take the last column, and write nothing.
    const int own = (int)blockIdx.y * CONVOLVE_THREADS + (int)threadIdx.x;
    const bool real = own < a.cols;
    const int c = real ? own : a.cols - 1, none = N - a.n_taps;
    float w[N], old[N];
    const int from = cell_before(a.states, run);
    const float* state = a.states.at + from * a.states.row + c;
    const float* weight = a.weight + (long long)c * a.n_taps;
#pragma unroll
    for (int i = 0; i < N; i++) {
        w[i] = old[i] = 0;
        if (i < none) continue;
        w[i] = *weight++;
        // Another warp may write that state by now.
        if (i == N - 1 || from == NO_CELL || !real) continue;
        old[i] = *state;
        state += a.cols;
    }
    const float offset = a.bias ? a.bias[c] : 0;

    // Lets a token pass.
    const auto pass = [&](float x, float* y, int cell) {
        old[N - 1] = x;
        float sum = offset;
#pragma unroll
        for (int i = 0; i < N; i++) {
            // Values behind the taps may be no numbers.
            if (i >= none) sum = fmaf(old[i], w[i], sum);
        }
        if (a.silu) sum = __fdividef(sum, 1.0f + expf(-sum));
        if (real) *y = sum;
#pragma unroll
        for (int i = 0; i < N - 1; i++) old[i] = old[i + 1];
        if (cell == NO_CELL || !real) return;
        float* to = a.states.at + cell * a.states.row + c;
        const int stride = settled(a.cols);
#pragma unroll
        for (int i = 0; i < N - 1; i++) {
            if (i < none) continue;
            *to = old[i];
            to += stride;
        }
    };

    for (; run >= 0; run = next_run(a.states, run)) {
        const int first = ldg(&a.states.runs[run].first), end = first + ldg(&a.states.runs[run].n);
        const float* in = a.x + (long long)first * a.cols + c;
        float* y = a.y + (long long)first * a.cols + c;
        int t = first;
        for (; t + AHEAD <= end; t += AHEAD) {
            float x[AHEAD];
            int cells[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; i++, in += a.cols) {
                x[i] = *in;
                cells[i] = a.states.cells[t + i];
            }
#pragma unroll
            for (int i = 0; i < AHEAD; i++, y += a.cols) pass(x[i], y, cells[i]);
        }
#pragma unroll 1
        for (; t < end; t++, in += a.cols, y += a.cols) pass(*in, y, a.states.cells[t]);
    }
}

KERNEL(convolve_4, Convolve, CONVOLVE_THREADS) { convolve<4, 8>(a); }
KERNEL(convolve_16, Convolve, CONVOLVE_THREADS) { convolve<16, 4>(a); }
