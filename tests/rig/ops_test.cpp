// The small operations against plain loops in double precision, over shapes with edges, in place where the executor
// does that.
//
// Tolerance: a few roundings of single precision (2^-24 each) of the numbers that go into a result; sums of n add
// sqrt(n) of them; exp, tanh and log of a card may err by two or three units in the last place.
#include "args.h"
#include "numbers.h"

#include <algorithm>

static const double ulp = 0x1p-24;
static const float nan_ = NAN, inf = INFINITY;
static unsigned up(long long n, int by) { return (unsigned)((n + by - 1) / by); }
static Place<float> copy(const Place<float>& x) {
    Place<float> y(x.n);
    std::copy(x.get(), x.get() + x.n, y.get());
    return y;
}

static void norm(Random& random, int n_groups, int group) {
    const Place<float> x = floats(random, (size_t)(n_groups * group), -3, 3), weight = floats(random, (size_t)group);
    for (const char* name : {"rms_norm", "rms_norm_small"}) {
        Place<float> y = copy(x);
        const bool small = name[8] != 0;
        run(name, {small ? up(n_groups, 4) : (unsigned)n_groups, 1, 1}, small ? 128 : 512,
            RmsNorm{y.get(), weight.get(), y.get(), n_groups, group, 1e-5f});
        Check check = {std::string(name) + " of " + std::to_string(group)};
        for (int g = 0; g < n_groups; g++) {
            double sum = 0;
            for (int i = 0; i < group; i++) sum += (double)x[(size_t)(g * group + i)] * x[(size_t)(g * group + i)];
            const double by = 1 / std::sqrt(sum / group + 1e-5f);
            for (int i = 0; i < group; i++) {
                const size_t at = (size_t)(g * group + i);
                const double should = x[at] * by * weight[(size_t)i];
                check.number(at, y[at], should, (6 + std::sqrt(group)) * ulp * std::fabs(should));
            }
        }
        check.done();
    }
}

static void rope(Random& random, int n_tokens, int n_head, int head_dim, int n_rot, int first, int halves, int length,
                 bool in_place) {
    const size_t n = (size_t)(n_tokens * n_head * head_dim);
    const Place<float> x = floats(random, n), table = floats(random, (size_t)(n_tokens * n_rot));
    Place<int> positions((size_t)n_tokens);
    for (int t = 0; t < n_tokens; t++) positions[(size_t)t] = t * 4099;
    Place<float> y = in_place ? copy(x) : filled(n, -9);
    const int copies = !in_place || length > 0;
    const Rope args = {in_place ? y.get() : x.get(),
                       table.get(),
                       positions.get(),
                       y.get(),
                       n_head,
                       head_dim,
                       n_rot,
                       first,
                       halves,
                       length,
                       0.1f,
                       copies};
    run("rope", {(unsigned)(n_tokens * n_head), up(n_rot / 2 + (copies ? head_dim - n_rot : 0), 128), 1}, 128, args);
    Check check = {"rope of " + std::to_string(n_rot) + " of " + std::to_string(head_dim)};
    for (int h = 0; h < n_tokens * n_head; h++) {
        const int token = h / n_head;
        std::vector<double> should(x.get() + h * head_dim, x.get() + (h + 1) * head_dim);
        for (int i = 0; i < n_rot / 2; i++) {
            const int a = first + (halves ? i : 2 * i), b = halves ? a + n_rot / 2 : a + 1;
            const double c = table[(size_t)(token * n_rot + 2 * i)], s = table[(size_t)(token * n_rot + 2 * i + 1)];
            const double v = should[(size_t)a], w = should[(size_t)b];
            should[(size_t)a] = v * c - w * s, should[(size_t)b] = v * s + w * c;
        }
        const double by =
            length ? 1 + (double)0.1f * std::log(std::floor((double)positions[(size_t)token] / length) + 1) : 1;
        for (int i = 0; i < head_dim; i++) {
            check.number((size_t)(h * head_dim + i), y[(size_t)(h * head_dim + i)], should[(size_t)i] * by,
                         8 * ulp * 2 * by);
        }
    }
    check.done();
}

static void columns(Random& random, int n_rows, int n_head, int head, int first, int n) {
    const Place<float> x = floats(random, (size_t)(n_rows * n_head * head));
    Place<float> y = filled((size_t)(n_rows * n_head * n), -9);
    run("columns", {(unsigned)(n_rows * n_head), up(n, 128), 1}, 128, Columns{x.get(), y.get(), head, first, n, 0});
    Check check = {"columns"};
    for (int h = 0; h < n_rows * n_head; h++) {
        for (int i = 0; i < n; i++)
            check.number((size_t)h, y[(size_t)(h * n + i)], x[(size_t)(h * head + first + i)], 0);
    }
    check.done();
}

static void concat(Random& random, int n_rows, int n_head, int n_x, int n_b, int parts) {
    const Place<float> x = floats(random, (size_t)(n_rows * n_head * n_x)),
                       b = floats(random, (size_t)(n_rows * parts * n_b));
    const int n = n_x + n_b;
    Place<float> y = filled((size_t)(n_rows * n_head * n), -9);
    run("concat", {(unsigned)(n_rows * n_head), up(n, 128), 1}, 128,
        Concat{x.get(), b.get(), y.get(), n_head, n_x, n_b, parts});
    Check check = {"concat"};
    for (int r = 0; r < n_rows; r++) {
        for (int h = 0; h < n_head; h++) {
            const int part = parts == 1 ? r : r * n_head + h;
            for (int i = 0; i < n; i++) {
                const float should =
                    i < n_x ? x[(size_t)((r * n_head + h) * n_x + i)] : b[(size_t)(part * n_b + i - n_x)];
                check.number((size_t)(r * n_head + h), y[(size_t)((r * n_head + h) * n + i)], should, 0);
            }
        }
    }
    check.done();
}

static void scale(Random& random, int n_rows, int cols, int n_used, bool with_bias) {
    const int n_expert = 7, parts = std::max(n_used, 1);
    const Place<float> x = floats(random, (size_t)(n_rows * parts * cols)), scales = floats(random, n_expert);
    const Place<float> bias = floats(random, (size_t)(n_expert * cols));
    Place<float> route = filled((size_t)(n_rows * 2 * parts), 0.5f), y = copy(x);
    for (int r = 0; r < n_rows; r++) {
        for (int i = 0; i < n_used; i++) route[(size_t)(r * 2 * n_used + i)] = (float)((r + 3 * i) % n_expert);
    }
    run("scale", {(unsigned)(n_rows * parts), up(cols, 256), 1}, 256,
        Scale{y.get(), scales.get(), with_bias ? bias.get() : nullptr, n_used ? route.get() : nullptr, y.get(), cols,
              n_used});
    Check check = {"scale"};
    for (int i = 0; i < n_rows * parts; i++) {
        const int e = n_used ? (i / parts + 3 * (i % parts)) % n_expert : 0;
        for (int c = 0; c < cols; c++) {
            const size_t at = (size_t)(i * cols + c);
            const double should = (double)x[at] * scales[(size_t)e] + (with_bias ? bias[(size_t)(e * cols + c)] : 0);
            check.number(at, y[at], should, 4 * ulp);
        }
    }
    check.done();
}

// Odd numbers first, then random ones; a grid that is too small for one element a thread, and one that is too large.
static void each(Random& random, const char* name, double (*f)(double, double), float alpha, float limit) {
    for (long long n : {1, 255, 3001}) {
        for (unsigned blocks : {1u, 20u}) {
            Place<float> x = floats(random, (size_t)n, -12, 12), b = floats(random, (size_t)n, -12, 12);
            const float odd[] = {0, -0.0f, 80, -80, 200, -200, 1e-30f, nan_};
            for (size_t i = 0; i < 8 && n > 8; i++) x[i] = odd[i];
            Place<float> y = copy(x);
            run(name, {blocks, 1, 1}, 256, Each{y.get(), b.get(), y.get(), n, alpha, limit});
            Check check = {name};
            for (size_t i = 0; i < (size_t)n; i++) {
                const double should = f(x[i], b[i]);
                // exp of x errs by x roundings; sums may cancel down from x and b.
                const double size = std::isnan(x[i]) ? 12 : std::fabs(x[i]);
                const double most = std::fabs(should) * (8 + 2 * size) + (name[0] == 'a'   ? 24
                                                                          : name[5] == 'g' ? 8 * size * std::fabs(b[i])
                                                                                           : 0);
                check.number(i, y[i], should, ulp * most + 1e-37);
            }
            check.done();
        }
    }
}

static void select(Random& random) {
    const Place<float> x = floats(random, 10 * 300);
    Place<int> outputs(3);
    outputs[0] = 9, outputs[1] = 0, outputs[2] = 4;
    Place<float> y = filled(3 * 300, -9);
    run("select_outputs", {3, 2, 1}, 256, SelectOutputs{x.get(), outputs.get(), y.get(), 300, 0});
    Check check = {"select_outputs"};
    for (int i = 0; i < 900; i++)
        check.number((size_t)i, y[(size_t)i], x[(size_t)(outputs[(size_t)(i / 300)] * 300 + i % 300)], 0);
    check.done();
}

static void sum_experts(Random& random, int n_rows, int n_used, int cols) {
    const Place<float> x = floats(random, (size_t)(n_rows * n_used * cols)),
                       route = floats(random, (size_t)(n_rows * 2 * n_used));
    Place<float> y = filled((size_t)(n_rows * cols), -9);
    run("sum_experts", {(unsigned)n_rows, up(cols, 256), 1}, 256,
        SumExperts{x.get(), route.get(), y.get(), cols, n_used});
    Check check = {"sum_experts"};
    for (int r = 0; r < n_rows; r++) {
        for (int c = 0; c < cols; c++) {
            double sum = 0;
            for (int i = 0; i < n_used; i++)
                sum += (double)route[(size_t)((2 * r + 1) * n_used + i)] * x[(size_t)((r * n_used + i) * cols + c)];
            check.number((size_t)(r * cols + c), y[(size_t)(r * cols + c)], sum, 2 * n_used * ulp);
        }
    }
    check.done();
}

// The rules of src/cpu/route.rs, in its words and in single precision.
static std::vector<float> soft(std::vector<float> x) {
    float max = -inf, sum = 0;
    for (float v : x) max = std::fmax(max, v);
    for (float& v : x) v = std::exp(v - max), sum += v;
    for (float& v : x) v /= sum;
    return x;
}
static int largest(const float* scores, int n) {
    int best = 0;
    for (int i = 0; i < n; i++) {
        if (scores[i] > scores[best] || (std::isnan(scores[best]) && !std::isnan(scores[i]))) best = i;
    }
    return best;
}
static void choose(const Route& r, const float* logits, std::vector<int>& ids, std::vector<float>& weights) {
    std::vector<float> probs(logits, logits + r.n_expert);
    if (r.gating == 0) probs = soft(probs);
    for (float& p : probs) p = r.gating == 1 ? 1 / (1 + std::exp(-p)) : p;
    std::vector<float> scores = probs;
    for (int i = 0; i < r.n_expert; i++) scores[(size_t)i] += r.bias ? r.bias[i] : 0;
    if (r.n_group > 1) {
        const int size = r.n_expert / r.n_group;
        std::vector<float> worths;
        for (int g = 0; g < r.n_group; g++) {
            const float* group = &scores[(size_t)(g * size)];
            const int first = largest(group, size);
            float second = size == 1 ? 0 : nan_;
            for (int i = 0; i < size; i++) second = i == first ? second : std::fmax(second, group[i]);
            worths.push_back(group[first] + second);
        }
        for (int g = 0; g < r.n_group; g++) {
            int better = 0;
            for (int o = 0; o < r.n_group; o++) {
                better += worths[(size_t)o] > worths[(size_t)g] || (worths[(size_t)o] == worths[(size_t)g] && o < g);
            }
            if (better >= r.n_group_used) std::fill_n(scores.begin() + g * size, size, -inf);
        }
    }
    for (int i = 0; i < r.n_used; i++) {
        int best = largest(scores.data(), r.n_expert);
        while (std::find(ids.begin(), ids.end(), best) != ids.end()) best = (best + 1) % r.n_expert;
        ids.push_back(best);
        weights.push_back(probs[(size_t)best]);
        scores[(size_t)best] = nan_;
    }
    if (r.gating == 2) weights = soft(weights);
    float sum = 0;
    for (float w : weights) sum += w;
    for (float& w : weights) w = (r.normalise ? w / std::fmax(sum, 6.1035156e-5f) : w) * r.scale;
}

static void route(Random& random, int n_expert, int n_used, int gating, int normalise, int n_group, int n_group_used,
                  bool with_bias) {
    const int n_rows = 12;
    Place<float> logits = floats(random, (size_t)(n_rows * n_expert), -4, 4), bias = floats(random, (size_t)n_expert);
    for (int i = 0; i < n_expert; i++) {
        const size_t at = (size_t)i, n = (size_t)n_expert;
        logits[at] = 1;                                              // all alike
        logits[n + at] = nan_;                                       // no number at all
        if (i % 3 == 0) logits[2 * n + at] = nan_;                   // some
        logits[3 * n + at] = -inf;
        logits[4 * n + at] = i == 1 ? inf : logits[4 * n + at];
        logits[5 * n + at] = (float)(i / 2 % 5);                     // ties
        logits[6 * n + at] = i == 0 ? 1 : nan_;                      // one only
        logits[7 * n + at] = i == n_expert - 1 ? 3 : -inf;
        logits[8 * n + at] = i % 2 ? inf : -inf;
        logits[9 * n + at] = -100;                                   // weights below the least sum
    }
    Place<float> y = filled((size_t)(n_rows * 2 * n_used), -9);
    const Route args = {logits.get(), with_bias ? bias.get() : nullptr, y.get(), n_expert, n_used, gating, normalise,
                        n_group, n_group_used, 2.5f, 0};
    run(n_expert <= 512 ? "route" : "route_many", {n_rows, 1, 1}, 32, args);
    Check check = {"route of " + std::to_string(n_expert) + ", gating " + std::to_string(gating)};
    for (int r = 0; r < n_rows; r++) {
        std::vector<int> ids;
        std::vector<float> weights;
        choose(args, logits.get() + r * n_expert, ids, weights);
        for (int i = 0; i < n_used; i++) {
            check.number((size_t)r, y[(size_t)(r * 2 * n_used + i)], ids[(size_t)i], 0);
            const double w = weights[(size_t)i];
            check.number((size_t)r, y[(size_t)(r * 2 * n_used + n_used + i)], w,
                         (16 + std::sqrt(n_expert)) * ulp * std::fabs(w));
        }
    }
    check.done();
}

int main() {
    Random random;
    for (int group : {1, 31, 64, 128, 576, 2048, 2049, 5000}) norm(random, 5, group);
    for (int halves : {0, 1}) {
        for (bool in_place : {false, true}) {
            rope(random, 3, 2, 128, 128, 0, halves, 0, in_place);
            rope(random, 3, 4, 80, 32, 0, halves, 0, in_place);
            rope(random, 2, 3, 192, 64, 128, halves, 8192, in_place);
            rope(random, 5, 1, 576, 6, 5, halves, 16, in_place);
        }
    }
    columns(random, 3, 4, 192, 128, 64);
    columns(random, 2, 1, 300, 7, 290);
    concat(random, 3, 4, 128, 64, 1);
    concat(random, 3, 4, 5, 300, 4);
    for (int n_used : {0, 1, 3}) scale(random, 4, 300, n_used, false), scale(random, 5, 7, n_used, true);
    each(random, "add", [](double x, double b) { return x + b; }, 0, 0);
    each(random, "gate_silu", [](double x, double b) { return x / (1 + std::exp(-x)) * b; }, 0, 0);
    each(random, "gate_gelu", [](double x, double b) {
        return 0.5 * x * (1 + std::tanh(0.7978845608 * (x + 0.044715 * x * x * x))) * b; }, 0, 0);
    each(random, "gate_silu_clamped", [](double x, double b) {
        x = x > 7 ? 7 : x;
        return x / (1 + std::exp(-(double)1.702f * x)) * (std::fmin(std::fmax(b, -7), 7) + 1); }, 1.702f, 7);
    each(random, "soft_cap", [](double x, double) { return 30 * std::tanh(x / 30); }, 0, 30);
    select(random);
    sum_experts(random, 3, 4, 300);
    sum_experts(random, 2, 9, 31);
    for (int gating : {0, 1, 2}) {
        for (int normalise : {0, 1}) {
            route(random, 4, 2, gating, normalise, 1, 1, false);
            route(random, 32, 4, gating, normalise, 1, 1, true);
            route(random, 128, 8, gating, normalise, 1, 1, false);
            route(random, 256, 8, gating, normalise, 8, 4, true);
            route(random, 40, 40, gating, normalise, 1, 1, false);
            route(random, 6, 3, gating, normalise, 6, 3, false);
            route(random, 513, 10, gating, normalise, 27, 2, true);
        }
    }
    // What is wrong must be found: another eps, another kind of pair.
    Check check = {"itself"};
    check.quiet = true;
    check.number(0, 1, 1 + 1e-5, 8 * ulp);
    check.number(0, nan_, 1, 1);
    check.number(0, 1, nan_, 1);
    if (check.wrong != 3) printf("wrong numbers are not found\n"), failures++;
    printf("ops_test: %d failures\n", failures);
    return failures != 0;
}
