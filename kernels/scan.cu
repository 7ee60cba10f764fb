// Scan, the selective scan of Mamba: a column has a state s of up to 4 N numbers. For each token
//
//   s[n] = exp(a[n] step) s[n] + B[n] step v
//   y = sum over n of C[n] s[n]
//
// A block takes 32 columns. Four neighbouring lanes share a column: each keeps N numbers of its state in registers from
// the first token of a chain (recurrent.h) to the last. What the tokens bring comes to shared memory, some tokens at a
// time.
//
// A state's rows go to the lanes in fours, so that a lane reads B and C as float4.
#include "recurrent.h"

// Tokens that are in shared memory together.
#define TOKENS 16
#define COLUMNS (SCAN_THREADS / 4)
#define WARPS (SCAN_THREADS / 32)
#define LOG2E 1.4426950408889634f
// Floats of a token: B, C, values, steps, and its cell.
#define TOKEN_FLOATS(N) (8 * (N) + 2 * COLUMNS + 4)

#ifdef __CUDACC__
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#else
DEVICE float exp2_fast(float x) { return exp2f(x); }
#endif

// Grid (runs, pieces of columns).
template <int N> DEVICE void scan(const Scan& a, float* shared) {
    int run = (int)blockIdx.x;
    if (goes_on(a.states, run)) return;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, l = threadIdx.x % 4, column = threadIdx.x / 4;
    const int first_col = (int)blockIdx.y * COLUMNS, c = first_col + column;
    // Number i of this lane is number 16 (i / 4) + i % 4 of those from 4 l on, of which there are so many.
    const int left = c < a.cols ? a.n_state - 4 * l : 0;
    float s[N], log2_a[N];
    const int from = cell_before(a.states, run);
    const long long own = (long long)(4 * l) * a.cols + c;
    const float* decays = a.a + (long long)c * a.n_state + 4 * l;
    const float* state = a.states.at + from * a.states.row + own;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const bool is = 4 * (i - i % 4) + i % 4 < left;
        log2_a[i] = is ? decays[4 * (i - i % 4) + i % 4] * LOG2E : 0;
        s[i] = is && from != NO_CELL ? *state : 0;
        state += i % 4 < 3 ? a.cols : 13 * a.cols;
    }

    // A warp brings tokens: B and C of N / 4 lanes' floats, values, steps.
    const bool has = first_col + lane < a.cols;
    for (; run >= 0; run = next_run(a.states, run)) {
        const int first = ldg(&a.states.runs[run].first), end = first + ldg(&a.states.runs[run].n);
        float* y = a.y + (long long)first * a.cols + c;
        for (int t0 = first; t0 < end; t0 += TOKENS) {
            const int n = min(TOKENS, end - t0);
            __syncthreads();
            const float* b_c = (4 * N == 16 && lane >= 16 ? a.c - 16 : a.b) + (long long)(t0 + warp) * a.n_state + lane;
            const float* v = a.v + (long long)(t0 + warp) * a.cols + first_col + lane;
            const float* step = a.steps + (v - a.v);
            for (int t = warp; t < n; t += WARPS) {
                float* token = shared + t * TOKEN_FLOATS(N);
#pragma unroll
                for (int i = 0; i < 8 * N; i += 32) {
                    const int row = (i + lane) % (4 * N);
                    const float* from = 4 * N == 16 || i < 4 * N ? b_c + i : b_c + (a.c - a.b) + (i - 4 * N);
                    token[i + lane] = row < a.n_state ? *from : 0;
                }
                token[8 * N + lane] = has ? *v : 0;
                token[8 * N + COLUMNS + lane] = has ? *step : 0;
                if (lane == 0) token[8 * N + 2 * COLUMNS] = __int_as_float(a.states.cells[t0 + t]);
                b_c += WARPS * a.n_state;
                v += WARPS * a.cols;
                step += WARPS * a.cols;
            }
            __syncthreads();
            const float* token = shared;
            for (int t = 0; t < n; t++, token += TOKEN_FLOATS(N), y += a.cols) {
                const float step = token[8 * N + COLUMNS + column], added = step * token[8 * N + column];
                float sum = 0;
#pragma unroll
                for (int i = 0; i < N; i += 4) {
                    const float4 b = *(const float4*)(token + 4 * i + 4 * l);
                    const float4 c = *(const float4*)(token + 4 * N + 4 * i + 4 * l);
                    s[i] = fmaf(exp2_fast(log2_a[i] * step), s[i], b.x * added);
                    s[i + 1] = fmaf(exp2_fast(log2_a[i + 1] * step), s[i + 1], b.y * added);
                    s[i + 2] = fmaf(exp2_fast(log2_a[i + 2] * step), s[i + 2], b.z * added);
                    s[i + 3] = fmaf(exp2_fast(log2_a[i + 3] * step), s[i + 3], b.w * added);
                    sum = fmaf(c.x, s[i], sum);
                    sum = fmaf(c.y, s[i + 1], sum);
                    sum = fmaf(c.z, s[i + 2], sum);
                    sum = fmaf(c.w, s[i + 3], sum);
                }
                sum += shfl_xor(sum, 1);
                sum += shfl_xor(sum, 2);
                if (l == 0 && left > 0) *y = sum;
                const int cell = __float_as_int(token[8 * N + 2 * COLUMNS]);
                if (cell == NO_CELL) continue;
                float* to = a.states.at + cell * a.states.row + own;
                const int n_own = settled(left), stride = settled(a.cols);
#pragma unroll
                for (int i = 0; i < N; i++) {
                    if (4 * (i - i % 4) + i % 4 < n_own) *to = s[i];
                    to += i % 4 < 3 ? stride : 13 * stride;
                }
            }
        }
    }
}

// Each is named by the most numbers of a column's state.
#define FORM(most)                                                     \
    KERNEL(scan_##most, Scan, SCAN_THREADS) {                          \
        SHARED(float4, shared[TOKENS * TOKEN_FLOATS(most / 4) / 4]);   \
        scan<most / 4>(a, (float*)shared);                             \
    }
FORM(16)
FORM(64)
