// kernels/attention*.cu and kv.cu on the emulator, against a plain computation in double.
//
// All is in a die's memory, where the rig finds every access out of bounds, every read of what nobody wrote (cells that
// no token sees, a workspace's empty parts) and every race. Outputs hold NaN before each launch.
//
// Tolerance of an output: the largest visible |value| times (4 e + 2^-21), where e = 2^-23 * the largest sum of |q k| *
// scale is what rounding may do to a score: a sum of up to 576 products in FP32 goes wrong like a random walk, by some
// sqrt(576) = 24 half units of 2^-24 of its partial sums, which are far smaller than the sum of |q k|. A score that is
// off by e makes its weight off by e, and the sum of weights too; 2^-21 is for exp2 and the sums over keys. The worst
// share of it that was seen is printed. That it is narrow enough is tested: with one key left out, or one key too many,
// of the reference the results must not agree.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>
#include "args.h"
#include "rig.h"

namespace {

enum Type { F32, F16, Q8_0 };
const char* const names[] = {"F32", "F16", "Q8_0"};
const int gguf[] = {0, 1, 8};

std::mt19937 rng(1);
int between(int low, int high) { return low + (int)(rng() % (unsigned)(high - low + 1)); }
float normal() { return std::normal_distribution<float>()(rng); }

// --- Types, written down once more ---

double half_value(uint16_t h) {
    const int e = h >> 10 & 31, m = h & 1023;
    const double x = e == 31 ? (m ? NAN : INFINITY) : e ? std::ldexp(1024 + m, e - 25) : std::ldexp(m, -24);
    return h & 0x8000 ? -x : x;
}
// The nearest half, ties to even, by search.
uint16_t half_of(float x) {
    if (std::isnan(x)) return 0x7e00;
    const double a = std::fabs((double)x);
    uint16_t low = 0, high = 0x7c00;
    while (high - low > 1) {
        const uint16_t middle = (low + high) / 2;
        (half_value(middle) <= a ? low : high) = middle;
    }
    const double below = half_value(low), above = high == 0x7c00 ? 65536 : half_value(high);
    const uint16_t h = a - below < above - a || (a - below == above - a && low % 2 == 0) ? low : high;
    return h | (std::signbit(x) ? 0x8000 : 0);
}
size_t row_bytes(Type t, int n) { return t == F32 ? 4 * n : t == F16 ? 2 * n : n / 32 * 34; }
// A row of Q8_0 on a die: bytes, then scales.
void encode(Type t, const float* x, int n, uint8_t* to) {
    if (t == F32) std::memcpy(to, x, 4 * n);
    if (t == F16) {
        for (int i = 0; i < n; i++) {
            const uint16_t h = half_of(x[i]);
            std::memcpy(to + 2 * i, &h, 2);
        }
    }
    if (t != Q8_0) return;
    for (int b = 0; b < n / 32; b++) {
        float most = 0;
        for (int i = 0; i < 32; i++) most = std::max(most, std::fabs(x[32 * b + i]));
        const float d = most / 127.0f, inverse = d == 0 ? 0 : 1.0f / d;
        const uint16_t h = half_of(d);
        std::memcpy(to + n + 2 * b, &h, 2);
        for (int i = 0; i < 32; i++)
            to[32 * b + i] = (uint8_t)(int8_t)std::min(127.0f, std::max(-127.0f, rintf(x[32 * b + i] * inverse)));
    }
}
double element(Type t, const uint8_t* row, int i, int n) {
    uint16_t h;
    float f;
    if (t == F32) return std::memcpy(&f, row + 4 * i, 4), f;
    if (t == F16) return std::memcpy(&h, row + 2 * i, 2), half_value(h);
    std::memcpy(&h, row + n + i / 32 * 2, 2);
    return half_value(h) * (int8_t)row[i];
}

int failures = 0, cases = 0;
double largest = 0;

void fail(const std::string& what) {
    if (failures++ < 20) std::printf("FAILED: %s\n", what.c_str());
}
template <class Args> void launch(const std::string& name, int x, int y, int z, const Args& args) {
    const rig::Size3 grid = {(unsigned)x, (unsigned)y, (unsigned)z}, block = {128, 1, 1};
    if (!rig::launch(name.c_str(), grid, block, args)) fail(name + " was stopped");
}

// Memory of the die.
template <class T> struct Device {
    T* p;
    size_t n;
    explicit Device(size_t n) : p((T*)rig::device_memory(std::max(n, (size_t)1) * sizeof(T))), n(n) {
        if (!p) std::printf("no memory\n"), std::exit(1);
    }
    explicit Device(const std::vector<T>& x) : Device(x.size()) { put(0, x.data(), n); }
    Device(const Device&) = delete;
    ~Device() { rig::free_device(p); }
    void put(size_t at, const T* x, size_t count) {
        if (count) rig::to_device(p + at, x, count * sizeof(T));
    }
    std::vector<T> get() const {
        std::vector<T> x(n);
        if (n) rig::from_device(x.data(), p, n * sizeof(T));
        return x;
    }
};
using Floats = Device<float>;

// --- One case ---

enum Cells { WHOLE, SINGLE, CHUNKS, GAPS };

struct Case {
    Type k, v;
    int dk, dv, group, n_head_kv;
    bool v_in_k;
    int window;  // 0: none
    bool sinks;
    float softcap;
    Cells how;
    // Of each run: its sequence, and its tokens, the last of a context.
    std::vector<std::pair<int, int>> runs;
    std::vector<int> contexts;
};

std::string describe(const Case& c, const char* form) {
    char text[300];
    std::snprintf(text, sizeof text,
                  "%s %s/%s dk %d dv %d group %d x %d%s window %d%s softcap %g cells %d runs %zu x %d context %d", form,
                  names[c.k], names[c.v], c.dk, c.dv, c.group, c.n_head_kv, c.v_in_k ? " v in k" : "", c.window,
                  c.sinks ? " sinks" : "", c.softcap, c.how, c.runs.size(), c.runs[0].second,
                  c.contexts[c.runs[0].first]);
    return text;
}

struct Bench {
    Case c;
    Type tv;
    int n_head, n_tokens = 0;
    size_t k_row, v_row;
    std::vector<float> q, sinks;
    std::vector<uint8_t> keys, values;
    std::vector<int> positions;
    std::vector<Run> runs;
    std::vector<Span> spans;
    std::unique_ptr<Device<float>> d_q, d_sinks;
    std::unique_ptr<Device<uint8_t>> d_keys, d_values;
    std::unique_ptr<Device<int>> d_positions;
    std::unique_ptr<Device<Run>> d_runs;
    std::unique_ptr<Device<Span>> d_spans;
    // What is expected, and how far a result may be off.
    std::vector<double> expected, allowed;

    explicit Bench(const Case& of) : c(of) {
        tv = c.v_in_k ? c.k : c.v;
        n_head = c.group * c.n_head_kv;
        const int n_seq = (int)c.contexts.size();
        // Positions of each sequence.
        std::vector<std::vector<int>> pos(n_seq);
        int n_cells = 3;
        for (int s = 0; s < n_seq; s++) {
            int p = c.how == GAPS ? between(0, 1000) : 0;
            for (int i = 0; i < c.contexts[s]; i++) {
                pos[s].push_back(p++);
                if (c.how == GAPS && between(0, 40) == 0) p += between(1, between(0, 3) ? 70 : 5000);
            }
            n_cells += c.contexts[s];
        }
        std::vector<std::vector<int>> cell(n_seq);
        if (c.how == WHOLE) {
            int next = 2;
            for (int s = 0; s < n_seq; s++) for (int i = 0; i < c.contexts[s]; i++) cell[s].push_back(next++);
        } else {
            // Chunks of the sequences in an order of their own; SINGLE: one cell each.
            std::vector<std::pair<int, int>> chunks;
            std::vector<int> sizes;
            for (int s = 0; s < n_seq; s++) {
                cell[s].resize(c.contexts[s]);
                for (int i = 0; i < c.contexts[s];) {
                    const int n = std::min(c.contexts[s] - i, c.how == SINGLE ? 1 : between(1, 70));
                    chunks.push_back({s, i});
                    sizes.push_back(n);
                    i += n;
                }
            }
            std::vector<int> order(chunks.size());
            for (size_t i = 0; i < order.size(); i++) order[i] = (int)i;
            std::shuffle(order.begin(), order.end(), rng);
            int next = 1;
            for (int o : order) for (int i = 0; i < sizes[o]; i++) cell[chunks[o].first][chunks[o].second + i] = next++;
        }
        std::vector<std::pair<int, int>> listed(n_seq);
        for (int s = 0; s < n_seq; s++) {
            listed[s].first = (int)spans.size();
            for (int i = 0; i < c.contexts[s]; i++) {
                const bool goes_on = i > 0 && cell[s][i] == cell[s][i - 1] + 1 && pos[s][i] == pos[s][i - 1] + 1;
                if (goes_on) spans.back().len++;
                else spans.push_back({cell[s][i], pos[s][i], 1});
            }
            listed[s].second = (int)spans.size() - listed[s].first;
        }

        k_row = row_bytes(c.k, c.n_head_kv * c.dk);
        v_row = c.v_in_k ? k_row : row_bytes(tv, c.n_head_kv * c.dv);
        keys.assign(k_row * n_cells, 0xff);
        values.assign(c.v_in_k ? 0 : v_row * n_cells, 0xff);
        std::vector<float> x(c.n_head_kv * std::max(c.dk, c.dv));
        for (int s = 0; s < n_seq; s++) {
            for (int at : cell[s]) {
                for (float& e : x) e = normal();
                encode(c.k, x.data(), c.n_head_kv * c.dk, &keys[at * k_row]);
                for (float& e : x) e = normal();
                if (!c.v_in_k) encode(tv, x.data(), c.n_head_kv * c.dv, &values[at * v_row]);
            }
        }
        std::vector<int> left = c.contexts;
        // Tokens of a sequence that has several runs go up from run to run.
        for (size_t r = c.runs.size(); r-- > 0;) left[c.runs[r].first] -= c.runs[r].second;
        for (auto [s, n] : c.runs) {
            runs.push_back({n_tokens, n, listed[s].first, listed[s].second});
            for (int i = 0; i < n; i++) positions.push_back(pos[s][left[s]++]);
            n_tokens += n;
        }
        q.resize((size_t)n_tokens * n_head * c.dk);
        for (float& e : q) e = normal() * 1.5f;
        if (c.sinks) for (int h = 0; h < n_head; h++) sinks.push_back(normal() * 2);
        expected = reference(0, 0, &allowed);

        d_q = std::make_unique<Device<float>>(q);
        d_sinks = std::make_unique<Device<float>>(sinks);
        d_positions = std::make_unique<Device<int>>(positions);
        d_runs = std::make_unique<Device<Run>>(runs);
        d_spans = std::make_unique<Device<Span>>(spans);
        d_keys = std::make_unique<Device<uint8_t>>(keys.size());
        d_values = std::make_unique<Device<uint8_t>>(values.size());
        for (int s = 0; s < n_seq; s++) {
            for (int at : cell[s]) {
                d_keys->put(at * k_row, &keys[at * k_row], k_row);
                if (!c.v_in_k) d_values->put(at * v_row, &values[at * v_row], v_row);
            }
        }
    }

    float scale() const { return 1.0f / std::sqrt((float)c.dk); }

    // `without` keys from the end of what is seen left out, `more` taken in before its beginning.
    std::vector<double> reference(int without, int more, std::vector<double>* allowed) const {
        std::vector<double> out((size_t)n_tokens * n_head * c.dv, 0);
        if (allowed) allowed->assign(out.size(), 0);
        for (const Run& run : runs) for (int t = run.first; t < run.first + run.n; t++) {
            std::vector<int> seen;
            const int last = positions[t] - without, first = c.window ? positions[t] - c.window + 1 - more : 0;
            for (int i = 0; i < run.n_spans; i++) {
                const Span& s = spans[run.first_span + i];
                for (int j = 0; j < s.len; j++) if (s.pos + j <= last && s.pos + j >= first) seen.push_back(s.cell + j);
            }
            for (int hk = 0; hk < c.n_head_kv; hk++) {
                std::vector<double> k(seen.size() * c.dk), v(seen.size() * c.dv);
                double most = 0;
                for (size_t i = 0; i < seen.size(); i++) {
                    const uint8_t* row = &keys[seen[i] * k_row];
                    for (int e = 0; e < c.dk; e++)
                        k[i * c.dk + e] = element(c.k, row, hk * c.dk + e, c.n_head_kv * c.dk);
                    for (int e = 0; e < c.dv; e++) {
                        v[i * c.dv + e] =
                            c.v_in_k ? k[i * c.dk + e]
                                     : element(tv, &values[seen[i] * v_row], hk * c.dv + e, c.n_head_kv * c.dv);
                        most = std::max(most, std::fabs(v[i * c.dv + e]));
                    }
                }
                for (int g = 0; g < c.group; g++) {
                    const int head = hk * c.group + g;
                    const float* query = &q[((size_t)t * n_head + head) * c.dk];
                    double* to = &out[((size_t)t * n_head + head) * c.dv];
                    std::vector<double> p(seen.size());
                    double high = c.sinks ? sinks[head] : -INFINITY, total = 0, e = 0;
                    for (size_t i = 0; i < seen.size(); i++) {
                        double sum = 0, size = 0;
                        for (int j = 0; j < c.dk; j++)
                            sum += query[j] * k[i * c.dk + j], size += std::fabs(query[j] * k[i * c.dk + j]);
                        e = std::max(e, 0x1p-23 * size * scale());
                        p[i] = c.softcap > 0 ? c.softcap * std::tanh(sum * scale() / c.softcap) : sum * scale();
                        high = std::max(high, p[i]);
                    }
                    if (c.sinks) total = std::exp(sinks[head] - high);
                    for (size_t i = 0; i < seen.size(); i++) {
                        p[i] = std::exp(p[i] - high);
                        total += p[i];
                        for (int j = 0; j < c.dv; j++) to[j] += p[i] * v[i * c.dv + j];
                    }
                    for (int j = 0; j < c.dv; j++) to[j] /= total;
                    if (allowed) std::fill_n(&(*allowed)[to - out.data()], c.dv, most * (4 * e + 0x1p-21));
                }
            }
        }
        return out;
    }

    // The worst share of what is allowed.
    static double off(const std::vector<float>& x, const std::vector<double>& expected,
                      const std::vector<double>& allowed) {
        double worst = 0;
        for (size_t i = 0; i < expected.size(); i++) {
            const double share = std::fabs(x[i] - expected[i]) / allowed[i];
            worst = std::isnan(share) ? INFINITY : std::max(worst, share);
        }
        return worst;
    }
    void compare(const char* form, Floats& out) {
        cases++;
        const std::string what = describe(c, form);
        const double worst = off(out.get(), expected, allowed);
        largest = std::max(largest, worst);
        if (!(worst <= 1)) fail(what + ": off by " + std::to_string(worst) + " of what is allowed");
    }

    size_t rows() const { return (size_t)n_tokens * n_head; }
    int window() const { return c.window ? c.window : 0x7fffffff; }
    const uint8_t* v_base() const { return c.v_in_k ? d_keys->p : d_values->p; }
    const float* sinks_or_none() const { return c.sinks ? d_sinks->p : nullptr; }
    std::vector<float> nothing() const { return std::vector<float>(rows() * c.dv, NAN); }
    int k_head() const { return c.dk; }
    int v_head() const { return c.v_in_k ? c.dk : c.dv; }

    Attention whole(float* out, float* partial, int n_parts) const {
        Attention a = {};
        a.q = d_q->p, a.keys = d_keys->p, a.values = v_base();
        a.out = out, a.partial = partial, a.sinks = sinks_or_none();
        a.positions = d_positions->p, a.runs = d_runs->p, a.spans = d_spans->p;
        a.k_row = (int)k_row, a.v_row = (int)v_row, a.k_head = k_head(), a.v_head = v_head();
        a.type_k = gguf[c.k], a.type_v = gguf[tv];
        a.n_tokens = n_tokens, a.n_runs = (int)runs.size(), a.n_head = n_head, a.n_head_kv = c.n_head_kv;
        a.dk = c.dk, a.dv = c.dv, a.n_parts = n_parts;
        a.window = window(), a.scale = scale(), a.softcap = c.softcap;
        return a;
    }
    void merge(const char* form, Attention a) {
        Floats out(nothing());
        a.out = out.p;
        launch("attention_merge", n_head, n_tokens, 1, a);
        compare(form, out);
    }
    bool has_split() const {
        const bool aligned = k_row % (c.k == Q8_0 ? 8 : 16) == 0 && v_row % (tv == Q8_0 ? 8 : 16) == 0;
        return (c.k == F32) == (tv == F32) && c.dk % 8 == 0 && c.dv % 8 == 0 && c.dk <= 256 && c.dv <= 256 && aligned;
    }
    void split(int n_parts) {
        const int most = std::max(c.dk, c.dv), lanes = most <= 64 ? 8 : most <= 128 ? 16 : 32;
        const int g = c.group <= 2 ? 2 : c.group <= 4 ? 4 : 8, pieces = (c.group + g - 1) / g;
        Floats partial(rows() * n_parts * (c.dv + 2));
        Attention a = whole(nullptr, partial.p, n_parts);
        a.pieces = pieces, a.lanes = lanes;
        const std::string kernel = std::string("attention_") + names[c.k] + "_" + names[tv] + "_" + std::to_string(g);
        launch(kernel, n_tokens * pieces, n_parts / 4, c.n_head_kv, a);
        merge("split", a);
    }
    // `spare` blocks find no tile.
    void tiles(int n_parts, int spare) {
        const int form = c.dv <= 128 ? 128 : c.dv <= 256 ? 256 : 512, r = form == 512 ? 32 : 64;
        int n_tiles = spare;
        for (const Run& run : runs) n_tiles += (run.n * c.group + r - 1) / r;
        Floats partial(n_parts > 1 ? rows() * n_parts * (c.dv + 2) : 0), out(nothing());
        const Attention a = whole(out.p, partial.p, n_parts);
        launch("attention_prefill_" + std::to_string(form), n_tiles, n_parts, c.n_head_kv, a);
        if (n_parts == 1) compare("tiles", out);
        else merge("tiles in parts", a);
    }
    // The reference without a key each token sees, or with one that it does not see any more, must be told from the
    // right one.
    void can_fail() {
        std::vector<float> right(expected.begin(), expected.end());
        if (off(right, reference(1, 0, nullptr), allowed) < 4) fail(describe(c, "a missing key") + " goes unseen");
        if (c.window && off(right, reference(0, 1, nullptr), allowed) < 4)
            fail(describe(c, "a key too many") + " goes unseen");
    }
};

// Runs of sequences of their own, one of them twice where there are many.
Case with_runs(Case c, int n_runs, int n_tokens, int context) {
    c.runs.clear();
    c.contexts.clear();
    for (int i = 0; i < n_runs; i++) {
        const int n = i + 1 < n_runs ? n_tokens / n_runs : n_tokens - n_tokens / n_runs * (n_runs - 1);
        if (i == 2) {
            c.runs.push_back({0, n});
            c.contexts[0] += n;
        } else {
            c.runs.push_back({(int)c.contexts.size(), n});
            c.contexts.push_back(std::max(n, i ? between(1, context) : context));
        }
    }
    return c;
}

void both(const Case& c) {
    Bench b(c);
    if (b.n_tokens <= 8) {
        const int parts = 4 * between(1, 8);
        if (b.has_split()) b.split(parts);
        b.tiles(between(2, 32), between(0, 3));
    }
    b.tiles(1, 0);
}

// --- The cache ---

void cache(Type t, int n_head, int dim) {
    cases++;
    const std::string what =
        std::string("cache ") + names[t] + " " + std::to_string(n_head) + " x " + std::to_string(dim);
    const int cols = n_head * dim, n_cells = 11, n = 5, cells[n] = {7, 2, 3, 10, 0};
    const size_t row = row_bytes(t, cols);
    std::vector<float> x(n * cols);
    for (size_t i = 0; i < x.size(); i++) x[i] = normal() * (i % 7 == 0 ? 100 : 1) * (i / 32 % 5 == 4 ? 0 : 1);
    std::vector<uint8_t> expected(n_cells * row, 0xa5);
    const Device<float> d_x(x);
    const Device<uint8_t> side(expected);
    const Device<int> d_cells(std::vector<int>(cells, cells + n));
    for (int i = 0; i < n; i++) encode(t, &x[i * cols], cols, &expected[cells[i] * row]);
    launch(std::string("store_") + names[t], n, (cols + 127) / 128, 1, Store{d_x.p, side.p, d_cells.p, (int)row, cols});
    if (side.get() != expected) fail(what + ": store");

    const int pairs[4] = {7, 8, 3, 1};
    for (int i = 0; i < 2; i++) std::memcpy(&expected[pairs[2 * i + 1] * row], &expected[pairs[2 * i] * row], row);
    const Device<int> d_pairs(std::vector<int>(pairs, pairs + 4));
    launch("copy_cells", 2, 2, 1, CopyCells{side.p, d_pairs.p, (long long)row});
    if (side.get() != expected) fail(what + ": copy");

    for (int neox = 0; neox < 2; neox++) {
        const int first = dim > 16 ? dim / 4 : 0, n_rot = (dim - first) / 2 * 2;
        std::vector<float> angles;
        for (int j = 0; j < n_rot / 2; j++) {
            const double angle = normal() * 3;
            angles.push_back((float)std::cos(angle));
            angles.push_back((float)std::sin(angle));
        }
        for (int i = 0; i < n; i++) {
            uint8_t* to = &expected[cells[i] * row];
            std::vector<float> y(cols);
            for (int j = 0; j < cols; j++) y[j] = (float)element(t, to, j, cols);
            for (int h = 0; h < n_head; h++) for (int j = 0; j < n_rot / 2; j++) {
                float& a = y[h * dim + first + (neox ? j : 2 * j)];
                float& b = y[h * dim + first + (neox ? j + n_rot / 2 : 2 * j + 1)];
                const float c = angles[2 * j], s = angles[2 * j + 1];
                const float ac = a * c, bs = b * s, as = a * s, bc = b * c;
                a = ac - bs, b = as + bc;
            }
            encode(t, y.data(), cols, to);
        }
        const Device<float> d_angles(angles);
        launch(std::string("turn_") + names[t], n_head, n, 1,
            Turn{side.p, d_cells.p, d_angles.p, (long long)row, dim, first, n_rot, neox});
        if (side.get() != expected) fail(what + ": turn");
    }
}

}  // namespace

// An argument is the seed of other random cases.
int main(int n, char** args) {
    if (n > 1) rng.seed((unsigned)std::atoi(args[1]));
    for (Type t : {F32, F16, Q8_0}) {
        cache(t, 2, 64);
        cache(t, 3, 96);
        cache(t, 1, 576);
        if (t != Q8_0) cache(t, 2, 10), cache(t, 3, 5);
    }

    const Case plain = {F16, F16, 64, 64, 4, 2, false, 0, false, 0, WHOLE, {}, {}};
    const auto type = [](int i) { return (Type)(i % 3); };
    const auto cells = [] { return (Cells)between(0, 3); };
    // Each pair of types, split, in tiles and in parts of tiles.
    for (int i = 0; i < 9; i++) for (int dim : {32, 64, 128, 256}) {
        Case c = plain;
        c.k = type(i), c.v = type(i / 3), c.dk = c.dv = dim, c.how = cells();
        c.group = dim == 64 ? 8 : dim == 32 ? 2 : 3;
        both(with_runs(c, 1, between(1, 2), between(40, 200)));
        c.how = cells();
        both(with_runs(c, 2, between(9, 24), between(20, 70)));
    }
    // Groups, windows, sinks, softcap, runs, cells in disorder.
    const int groups[] = {1, 2, 3, 4, 5, 7, 8, 12, 16, 32};
    for (int i = 0; i < 150; i++) {
        Case c = plain;
        c.k = type(between(0, 2)), c.v = type(between(0, 2));
        const bool blocks = c.k == Q8_0 || c.v == Q8_0;
        const int dims[] = {8, 64, 80, 96, 128, 16, 40, 192, 256, 20, 5};
        c.dk = blocks ? 32 * between(1, 5) : dims[between(0, 10)];
        c.dv = between(0, 2) ? c.dk : blocks ? 32 * between(1, 5) : dims[between(0, 10)];
        c.group = groups[i % 10];
        c.n_head_kv = c.group > 8 || between(0, 1) ? 1 : 3;
        if (c.k != Q8_0 && between(0, 4) == 0)
            c.v_in_k = true, c.dk = std::max(c.dk, c.dv), c.dv = std::min(c.dk, c.dv), c.v = c.k;
        c.window = between(0, 2) ? 0 : between(1, 90);
        c.sinks = between(0, 2) == 0;
        c.softcap = between(0, 2) ? 0 : 5.0f;
        c.how = cells();
        const bool prefill = between(0, 2) == 0;
        const int n_tokens = prefill ? between(9, 40) : between(1, 8);
        const int n_runs = std::min(n_tokens, between(1, prefill ? 3 : n_tokens));
        both(with_runs(c, n_runs, n_tokens, between(1, i % 10 == 0 ? 600 : 150)));
    }
    // Latent attention.
    for (Type t : {F32, F16, Q8_0}) for (int group : {16, 128}) {
        Case c = plain;
        if (group == 128 && t != F16) continue;
        c.k = c.v = t, c.dk = 576, c.dv = 512, c.v_in_k = true, c.n_head_kv = 1, c.group = group, c.how = cells();
        both(with_runs(c, 1, 1, 100));
        if (group == 16) both(with_runs(c, 2, 9, 30));
    }
    // Long contexts, also of single cells; a prompt of 70 tokens.
    for (int i = 0; i < 6; i++) {
        Case c = plain;
        c.k = type(i), c.v = type(i + i / 3), c.dk = c.dv = 128, c.how = i % 2 ? SINGLE : WHOLE,
        c.window = i == 4 ? 100 : 0;
        both(with_runs(c, 1, 1, 600));
        c.n_head_kv = 1;
        both(with_runs(c, 1, 70, 70 + 40 * i));
    }
    // What a difference of one key does.
    for (int window : {0, 20}) for (Type t : {F16, Q8_0}) {
        Case c = plain;
        c.k = c.v = t, c.window = window, c.dk = c.dv = 128;
        Bench(with_runs(c, 1, 4, 300)).can_fail();
        Bench(with_runs(c, 1, 20, 60)).can_fail();
    }

    std::printf("attention: %d cases, %d failures, largest deviation %.3f of what is allowed\n", cases, failures,
                largest);
    return failures != 0;
}
