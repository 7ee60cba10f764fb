// LinearAttention: a head has a state S of up to 4 R rows. For each token
//
//   S = decay S                        (a number, or one of each row)
//   u = beta (v - S^T k)               (beta v with the rule of sums)
//   S = S + k u^T
//   y = S^T q + skip v
//
// The columns of S are independent, so a block takes 32 of them. Four neighbouring lanes share a column: each keeps R
// of its rows in registers from the first token of a chain (recurrent.h) to the last. What the tokens bring comes to
// shared memory, some tokens at a time. So a single token costs one read and one write of the state, and a prompt no
// more than that.
//
// A prompt is not taken in chunks as on the CPU: kernels/README.md counts why.
//
// A state's rows go to the lanes in fours, so that a lane reads keys and queries as float4.
#include "recurrent.h"

// Tokens that are in shared memory together.
#define TOKENS(BY_ROW) ((BY_ROW) ? 4 : 8)
#define COLUMNS (LINEAR_ATTENTION_THREADS / 4)
#define WARPS (LINEAR_ATTENTION_THREADS / 32)
// Floats of a token: queries, keys and decays by row; values; a decay for all rows, beta, its cell.
#define VALUES(R, BY_ROW) (4 * (R) * (2 + (BY_ROW)))
#define TOKEN_FLOATS(R, BY_ROW) (VALUES(R, BY_ROW) + COLUMNS + 4)

// The sum over the four lanes that share a column.
DEVICE float column_sum(const float4& x) {
    float sum = (x.x + x.y) + (x.z + x.w);
    sum += shfl_xor(sum, 1);
    return sum + shfl_xor(sum, 2);
}

// Grid (runs times pieces of columns, heads).
template <int R, int BY_ROW> DEVICE void linear_attention(const LinearAttention& a, float* shared) {
    int run = (int)blockIdx.x / a.pieces;
    if (goes_on(a.states, run)) return;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, l = threadIdx.x % 4, column = threadIdx.x / 4;
    const int first_col = (int)blockIdx.x % a.pieces * COLUMNS, c = first_col + column, head = (int)blockIdx.y;
    const int head_k = a.turns ? head % a.n_head_k : head / (a.n_head / a.n_head_k);
    const float log_decay = a.a[head], skip = a.skip ? a.skip[head] : 0;
    // Row i of this lane is row 16 (i / 4) + i % 4 of those from 4 l on, of which there are so many.
    const int left = c < a.head_v ? a.head_k - 4 * l : 0;
    // The host checks that a state has fewer than 2^31 numbers. A second register for this one would be spilled.
    const unsigned own = ((unsigned)head * a.head_k + 4 * l) * a.head_v + c;
    float s[R];
    const int from = cell_before(a.states, run);
    const float* state = a.states.at + from * a.states.row + own;
#pragma unroll
    for (int i = 0; i < R; i++) {
        s[i] = from != NO_CELL && 4 * (i - i % 4) + i % 4 < left ? *state : 0;
        state += i % 4 < 3 ? a.head_v : 13 * a.head_v;
    }

    // From token to token.
    const int key_stride = a.n_head_k * a.head_k, value_stride = a.n_head * a.head_v;
    for (; run >= 0; run = next_run(a.states, run)) {
        const int first = ldg(&a.states.runs[run].first), end = first + ldg(&a.states.runs[run].n);
        float* y = a.y + (long long)first * value_stride + head * a.head_v + c;
        for (int t0 = first; t0 < end; t0 += TOKENS(BY_ROW)) {
            const int n = min(TOKENS(BY_ROW), end - t0);
            __syncthreads();
            // Each warp brings a token, then the one WARPS further.
            const long long key = (long long)(t0 + warp) * key_stride + head_k * a.head_k + lane;
            const float* q = a.q + key;
            const float* k = a.k + key;
            const float* v = a.v + (long long)(t0 + warp) * value_stride + head * a.head_v + first_col + lane;
            int of_head = (t0 + warp) * a.n_head + head;
            for (int t = warp; t < n; t += WARPS) {
                float* to = shared + t * TOKEN_FLOATS(R, BY_ROW);
                const float* steps = a.steps + (long long)of_head * (BY_ROW ? a.head_k : 1);
#pragma unroll
                for (int i = 0; i < 4 * R; i += 32) {
                    const bool is = i + lane < a.head_k;
                    to[i + lane] = is ? q[i] * a.scale_q : 0;
                    to[4 * R + i + lane] = is ? k[i] * a.scale_k : 0;
                    if (BY_ROW) to[8 * R + i + lane] = is ? expf(log_decay * steps[i + lane]) : 0;
                }
                to += VALUES(R, BY_ROW);
                to[lane] = first_col + lane < a.head_v ? *v : 0;
                if (lane == 0) {
                    to[COLUMNS] = BY_ROW ? 0 : expf(log_decay * *steps);
                    to[COLUMNS + 1] = a.betas[of_head];
                    to[COLUMNS + 2] = __int_as_float(a.states.cells[t0 + t]);
                }
                q += WARPS * key_stride;
                k += WARPS * key_stride;
                v += WARPS * value_stride;
                of_head += WARPS * a.n_head;
            }
            __syncthreads();
            const float* token = shared;
            for (int t = 0; t < n; t++, token += TOKEN_FLOATS(R, BY_ROW), y += value_stride) {
                const float* rest = token + VALUES(R, BY_ROW);
                const float v = rest[column], decay = rest[COLUMNS], beta = rest[COLUMNS + 1];
                const float4* q = (const float4*)token + l;
                float4 k[R / 4], sum = make_float4(0, 0, 0, 0);
#pragma unroll
                for (int i = 0; i < R / 4; i++) {
                    const float4 d = BY_ROW ? q[2 * R + 4 * i] : make_float4(decay, decay, decay, decay);
                    k[i] = q[R + 4 * i];
                    s[4 * i] *= d.x, s[4 * i + 1] *= d.y, s[4 * i + 2] *= d.z, s[4 * i + 3] *= d.w;
                    sum.x = fmaf(k[i].x, s[4 * i], sum.x);
                    sum.y = fmaf(k[i].y, s[4 * i + 1], sum.y);
                    sum.z = fmaf(k[i].z, s[4 * i + 2], sum.z);
                    sum.w = fmaf(k[i].w, s[4 * i + 3], sum.w);
                }
                const float u = beta * (v - (a.delta ? column_sum(sum) : 0.0f));
                sum = make_float4(0, 0, 0, 0);
#pragma unroll
                for (int i = 0; i < R / 4; i++) {
                    const float4 by = q[4 * i];
                    s[4 * i] = fmaf(k[i].x, u, s[4 * i]);
                    s[4 * i + 1] = fmaf(k[i].y, u, s[4 * i + 1]);
                    s[4 * i + 2] = fmaf(k[i].z, u, s[4 * i + 2]);
                    s[4 * i + 3] = fmaf(k[i].w, u, s[4 * i + 3]);
                    sum.x = fmaf(by.x, s[4 * i], sum.x);
                    sum.y = fmaf(by.y, s[4 * i + 1], sum.y);
                    sum.z = fmaf(by.z, s[4 * i + 2], sum.z);
                    sum.w = fmaf(by.w, s[4 * i + 3], sum.w);
                }
                const float read = column_sum(sum);
                if (l == 0 && left > 0) *y = a.skip ? fmaf(skip, v, read) : read;
                const int cell = __float_as_int(rest[COLUMNS + 2]);
                if (cell == NO_CELL) continue;
                float* kept = a.states.at + settled(cell) * a.states.row + own;
                const int n_rows = settled(left), stride = settled(a.head_v);
#pragma unroll
                for (int i = 0; i < R; i++) {
                    if (4 * (i - i % 4) + i % 4 < n_rows) *kept = s[i];
                    kept += i % 4 < 3 ? stride : 13 * stride;
                }
            }
        }
    }
}

#ifdef __CUDACC__
// Not told how many blocks should fit a multiprocessor, ptxas takes more registers to load a state at once.
#undef KERNEL
#define KERNEL(name, Args, threads) \
    extern "C" __global__ void __launch_bounds__(threads, LEAST_##name) name(const Args a)
#define LEAST_linear_attention_64 16
#define LEAST_linear_attention_128 10
#define LEAST_linear_attention_256 5
#define LEAST_linear_attention_by_row_64 14
#define LEAST_linear_attention_by_row_128 10
#define LEAST_linear_attention_by_row_256 5
#endif

// Each is named by the most rows of a state.
#define FORM(name, most, BY_ROW)                                              \
    KERNEL(name, LinearAttention, LINEAR_ATTENTION_THREADS) {                 \
        SHARED(float4, shared[TOKENS(BY_ROW) * TOKEN_FLOATS(most / 4, BY_ROW) / 4]);  \
        linear_attention<most / 4, BY_ROW>(a, (float*)shared);                \
    }
FORM(linear_attention_64, 64, 0)
FORM(linear_attention_128, 128, 0)
FORM(linear_attention_256, 256, 0)
FORM(linear_attention_by_row_64, 64, 1)
FORM(linear_attention_by_row_128, 128, 1)
FORM(linear_attention_by_row_256, 256, 1)
