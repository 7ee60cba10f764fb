// gemm.cu and experts.cu against plain sums in double precision over weights that are decoded here, element by element,
// from the formats' definitions.
//
// Tolerance: products of single-precision numbers summed one after the other err by at most n 2^-24 of the sum of their
// magnitudes, and as roundings go up and down, by about sqrt(n) of that; four times this is allowed. Where each row of
// x picks one element, the result must be that weight to the bit.
//
// Under valgrind it also shows that nothing is read
// beyond what is there.
#include "args.h"
#include "numbers.h"

#include <cstring>

using Bytes = Place<uint8_t>;

// --- The formats ---

static double half(const uint8_t* p) {
    const int bits = p[0] | p[1] << 8, e = bits >> 10 & 31, m = bits & 1023;
    const double x = e == 0 ? std::ldexp(m, -24) : std::ldexp(1024 + m, e - 25);
    return bits & 0x8000 ? -x : x;
}
static double single(const uint8_t* p, int n) {
    uint8_t bytes[4] = {0, 0, 0, 0};
    memcpy(bytes + 4 - n, p, (size_t)n);
    float x;
    memcpy(&x, bytes, 4);
    return x;
}
static int nibble(const uint8_t* p, int i) { return i < 16 ? p[i] & 15 : p[i - 16] >> 4; }
static int bit(const uint8_t* p, int i) { return p[i / 8] >> i % 8 & 1; }
static const int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const double fp4[16] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};

static double q4_0(const uint8_t* b, int i) { return half(b) * (nibble(b + 2, i) - 8); }
static double q4_1(const uint8_t* b, int i) { return half(b) * nibble(b + 4, i) + half(b + 2); }
static double q5_0(const uint8_t* b, int i) { return half(b) * (nibble(b + 6, i) + 16 * bit(b + 2, i) - 16); }
static double q5_1(const uint8_t* b, int i) { return half(b) * (nibble(b + 8, i) + 16 * bit(b + 4, i)) + half(b + 2); }
static double q8_0(const uint8_t* b, int i) { return half(b) * (int8_t)b[2 + i]; }
static double iq4_nl(const uint8_t* b, int i) { return half(b) * iq4[nibble(b + 2, i)]; }
static double mxfp4(const uint8_t* b, int i) { return std::ldexp(fp4[nibble(b + 1, i)], b[0] - 127); }
static int two(const uint8_t* p, int i) { return p[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3; }
static double q2_k(const uint8_t* b, int i) {
    return half(b + 80) * (b[i / 16] & 15) * two(b + 16, i) - half(b + 82) * (b[i / 16] >> 4);
}
static double q3_k(const uint8_t* b, int i) {
    const uint8_t* s = b + 96;
    const int j = i / 16;
    const int scale = (j < 8 ? s[j] & 15 : s[j - 8] >> 4) + 16 * (s[8 + j % 4] >> j / 4 * 2 & 3) - 32;
    return half(b + 108) * scale * (two(b + 32, i) + 4 * (b[i % 32] >> i / 32 & 1) - 4);
}
static double with_mins(const uint8_t* b, int i, int q) {
    const uint8_t* s = b + 4;
    const int j = i / 32;
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) + 16 * (s[j - 4] >> 6);
    const int min = j < 4 ? s[j + 4] & 63 : (s[j + 4] >> 4) + 16 * (s[j] >> 6);
    return half(b) * scale * q - half(b + 2) * min;
}
static int k_nibble(const uint8_t* p, int i) { return p[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15; }
static double q4_k(const uint8_t* b, int i) { return with_mins(b, i, k_nibble(b + 16, i)); }
static double q5_k(const uint8_t* b, int i) {
    return with_mins(b, i, k_nibble(b + 48, i) + 16 * (b[16 + i % 32] >> i / 32 & 1));
}
static double q6_k(const uint8_t* b, int i) {
    const int l = b[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15,
              h = b[128 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
    return half(b + 208) * (int8_t)b[192 + i / 16] * (l + 16 * h - 32);
}
static double iq4_xs(const uint8_t* b, int i) {
    const int j = i / 32, low = b[4 + j / 2] >> j % 2 * 4 & 15, high = (b[2] | b[3] << 8) >> 2 * j & 3;
    return half(b) * (low + 16 * high - 32) * iq4[nibble(b + 8 + 16 * j, i % 32)];
}

// halves: where a block keeps halves, which must be finite; the exponent of MXFP4 is kept near one.
struct Type {
    const char* name;
    int len, bytes;
    double (*value)(const uint8_t*, int);
    std::vector<int> halves;
};
static const Type types[] = {
    {"F32", 1, 4, [](const uint8_t* b, int) { return single(b, 4); }, {}},
    {"F16", 1, 2, [](const uint8_t* b, int) { return half(b); }, {0}},
    {"BF16", 1, 2, [](const uint8_t* b, int) { return single(b, 2); }, {}},
    {"Q8_0", 32, 34, q8_0, {0}},
    {"Q4_0", 32, 18, q4_0, {0}},
    {"Q4_1", 32, 20, q4_1, {0, 2}},
    {"Q5_0", 32, 22, q5_0, {0}},
    {"Q5_1", 32, 24, q5_1, {0, 2}},
    {"Q2_K", 256, 84, q2_k, {80, 82}},
    {"Q3_K", 256, 110, q3_k, {108}},
    {"Q4_K", 256, 144, q4_k, {0, 2}},
    {"Q5_K", 256, 176, q5_k, {0, 2}},
    {"Q6_K", 256, 210, q6_k, {208}},
    {"IQ4_NL", 32, 18, iq4_nl, {0}},
    {"IQ4_XS", 256, 136, iq4_xs, {0}},
    {"MXFP4", 32, 17, mxfp4, {}},
};

static int row_bytes(const Type& type, int n_in) { return n_in / type.len * type.bytes; }

static Bytes blocks(Random& random, const Type& type, size_t n_rows, int n_in) {
    const size_t n = n_rows * (size_t)(n_in / type.len);
    Bytes all(n * (size_t)type.bytes);
    for (size_t i = 0; i < n; i++) {
        uint8_t* b = all.get() + i * (size_t)type.bytes;
        for (int j = 0; j < type.bytes; j++) b[j] = (uint8_t)random.bits();
        for (int at : type.halves) b[at + 1] = (uint8_t)((b[at + 1] & 0x83) | (6 + random.below(6)) << 2);
        if (!strcmp(type.name, "MXFP4")) b[0] = (uint8_t)(120 + random.below(8));
        if (type.len == 1 && type.halves.empty()) {
            const float x = random.within(-1, 1);
            memcpy(b, (const uint8_t*)&x + 4 - type.bytes, (size_t)type.bytes);
        }
    }
    return all;
}

static double weight(const Type& type, const uint8_t* row, int i) {
    return type.value(row + (size_t)(i / type.len) * (size_t)type.bytes, i % type.len);
}

static std::vector<double> decoded(const Type& type, const uint8_t* row, int n_in) {
    std::vector<double> w((size_t)n_in);
    for (int i = 0; i < n_in; i++) w[(size_t)i] = weight(type, row, i);
    return w;
}

// One result against the sum in double precision.
static void compare(Check& check, size_t i, float is, const std::vector<double>& w, const float* x, double bias) {
    double sum = bias, magnitude = std::fabs(bias);
    for (size_t k = 0; k < w.size(); k++) sum += w[k] * x[k], magnitude += std::fabs(w[k] * x[k]);
    check.number(i, is, sum, 4 * std::sqrt((double)w.size() + 1) * 0x1p-24 * magnitude);
}

static unsigned up(int n, int by) { return (unsigned)((n + by - 1) / by); }

// --- The kernels ---

// What lies in y where nothing may be written.
static const float untouched = -12345;

static void product(Random& random, const Type& type, bool small, int n_in, int n_out, int n_rows, int n_head,
                    bool with_bias) {
    const int bytes = row_bytes(type, n_in), x_stride = n_in * n_head, y_stride = n_out * n_head;
    const Bytes w = blocks(random, type, (size_t)(n_out * n_head), n_in);
    Place<float> x = floats(random, (size_t)(n_rows * x_stride));
    // One head's NaN is not another's.
    if (n_head > 1) x[(size_t)(2 * x_stride + n_in)] = NAN;
    const Place<float> bias = floats(random, (size_t)n_out);
    Place<float> y = filled((size_t)((n_rows + 1) * y_stride), untouched);
    const Gemm args = {w.get(),
                       x.get(),
                       with_bias ? bias.get() : nullptr,
                       y.get(),
                       (long long)n_out * bytes,
                       bytes,
                       n_in,
                       n_out,
                       n_rows,
                       x_stride,
                       y_stride};
    const std::string name = std::string(small ? "gemm_small_" : "gemm_") + type.name;
    run(name, {up(n_rows, small ? 32 : 64), up(n_out, small ? 64 : 128), (unsigned)n_head}, 128, args);
    char shape[80];
    snprintf(shape, sizeof shape, " %d x %d, %d rows, %d heads", n_in, n_out, n_rows, n_head);
    // The second must find a weight with another sign.
    Check check = {name + shape}, other = {name};
    other.quiet = true;
    for (int h = 0; h < n_head; h++) {
        for (int o = 0; o < n_out; o++) {
            std::vector<double> v = decoded(type, w.get() + (size_t)(h * n_out + o) * (size_t)bytes, n_in);
            for (int r = 0; r < n_rows; r++) {
                const size_t at = (size_t)(r * y_stride + h * n_out + o);
                compare(check, at, y[at], v, x.get() + (size_t)(r * x_stride + h * n_in),
                        with_bias ? bias[(size_t)o] : 0);
            }
            const int k = random.below(n_in);
            const float* row = x.get() + (size_t)(h * n_in);
            double magnitude = 0;
            for (int i = 0; i < n_in; i++) magnitude += std::fabs(v[(size_t)i] * row[i]);
            if (std::fabs(v[(size_t)k] * row[k]) < 1e-3 * magnitude) continue;
            v[(size_t)k] = -v[(size_t)k];
            compare(other, 0, y[(size_t)(h * n_out + o)], v, row, with_bias ? bias[(size_t)o] : 0);
        }
    }
    for (int i = 0; i < y_stride; i++)
        check.number((size_t)(n_rows * y_stride + i), y[(size_t)(n_rows * y_stride + i)], untouched, 0);
    check.done();
    if (other.wrong != other.all) printf("%s: wrong weights are not found\n", check.what.c_str()), failures++;
}

// Rows of x pick one element each: the weights must come out to the bit.
static void values(Random& random, const Type& type, bool small) {
    const int n_in = 256, n_out = 40;
    const Bytes w = blocks(random, type, n_out, n_in);
    Place<float> x = filled(n_in * n_in, 0), y = filled(n_in * n_out, untouched);
    for (int i = 0; i < n_in; i++) x[(size_t)(i * n_in + i)] = 1;
    const int bytes = row_bytes(type, n_in);
    const Gemm args = {w.get(), x.get(), nullptr, y.get(), 0, bytes, n_in, n_out, n_in, n_in, n_out};
    const std::string name = std::string(small ? "gemm_small_" : "gemm_") + type.name;
    run(name, {up(n_in, small ? 32 : 64), 1, 1}, 128, args);
    Check check = {name + " values"};
    for (int o = 0; o < n_out; o++) {
        for (int i = 0; i < n_in; i++) {
            check.number((size_t)(i * n_out + o), y[(size_t)(i * n_out + o)],
                         (float)weight(type, w.get() + o * bytes, i), 0);
        }
    }
    check.done();
}

// The lists of a route, checked against sorting in the plainest way.
static Place<int> lists(const Place<float>& route, int n_rows, int n_used, int n_expert) {
    const int n_pairs = n_rows * n_used, n_tiles = n_pairs / 32 + n_expert;
    Place<int> all((size_t)(2 + n_expert + n_pairs + 2 * n_tiles));
    for (size_t i = 0; i < all.n; i++) all[i] = -7;
    run("expert_lists", {1, 1, 1}, 1024, ExpertLists{route.get(), all.get(), n_rows, n_used, n_expert, 0});
    std::vector<int> starts, pairs, tiles;
    for (int e = 0; e < n_expert; e++) {
        starts.push_back((int)pairs.size());
        for (int p = 0; p < n_pairs; p++) {
            if (route[(size_t)(p / n_used * 2 * n_used + p % n_used)] == (float)e) pairs.push_back(p);
        }
        for (int i = starts.back(); i < (int)pairs.size(); i += 32) tiles.push_back(e), tiles.push_back(i);
    }
    starts.push_back(n_pairs);
    std::vector<int> should = {(int)tiles.size() / 2};
    for (const std::vector<int>* part : {&starts, &pairs, &tiles})
        should.insert(should.end(), part->begin(), part->end());
    Check check = {"lists of " + std::to_string(n_pairs) + " pairs, " + std::to_string(n_expert) + " experts"};
    if (should.size() > all.n) printf("more tiles than there is room for\n"), failures++;
    for (size_t i = 0; i < all.n; i++) check.number(i, all[i], i < should.size() ? should[i] : -7, 0);
    check.done();
    return all;
}

// Distinct experts of each row: the first crowded, expert `empty` never taken.
static Place<float> routes(Random& random, int n_rows, int n_used, int n_expert, int empty) {
    Place<float> route((size_t)(n_rows * 2 * n_used));
    for (int r = 0; r < n_rows; r++) {
        std::vector<int> taken;
        while ((int)taken.size() < n_used) {
            int e = taken.empty() && random.below(3) ? 0 : random.below(n_expert);
            bool again = e == empty;
            for (int t : taken) again = again || t == e;
            if (!again) taken.push_back(e);
        }
        for (int i = 0; i < n_used; i++) {
            route[(size_t)((2 * r) * n_used + i)] = (float)taken[(size_t)i];
            route[(size_t)((2 * r + 1) * n_used + i)] = random.within(0, 1);
        }
    }
    return route;
}

static void experts(Random& random, const Type& type, int n_in, int n_all, int first, int n_out, int n_rows,
                    bool each) {
    const int n_expert = 5, n_used = 2, n_pairs = n_rows * n_used, bytes = row_bytes(type, n_in);
    const Place<float> route = routes(random, n_rows, n_used, n_expert, 3);
    const Place<int> all = lists(route, n_rows, n_used, n_expert);
    const Bytes w = blocks(random, type, (size_t)(n_expert * n_all), n_in);
    const Place<float> x = floats(random, (size_t)((each ? n_pairs : n_rows) * n_in)),
                       bias = floats(random, (size_t)(n_expert * n_all));
    Place<float> y = filled((size_t)(n_pairs * n_out), untouched);
    const GemmExperts args = {w.get() + (size_t)(first * bytes),
                              x.get(),
                              bias.get() + first,
                              y.get(),
                              all.get(),
                              (long long)n_all * bytes,
                              bytes,
                              n_in,
                              n_out,
                              n_pairs,
                              n_expert,
                              n_all,
                              each ? 1 : n_used,
                              0};
    const std::string name = std::string("gemm_experts_") + type.name;
    run(name, {(unsigned)(n_pairs / 32 + n_expert), up(n_out, 64), 1}, 128, args);
    Check check = {name + " " + std::to_string(n_in) + " x " + std::to_string(n_out) + ", " + std::to_string(n_rows) +
                   " rows"};
    for (int p = 0; p < n_pairs; p++) {
        const int e = (int)route[(size_t)(p / n_used * 2 * n_used + p % n_used)];
        for (int o = 0; o < n_out; o++) {
            const size_t row = (size_t)(e * n_all + first + o);
            const std::vector<double> v = decoded(type, w.get() + row * (size_t)bytes, n_in);
            compare(check, (size_t)(p * n_out + o), y[(size_t)(p * n_out + o)], v,
                    x.get() + (size_t)((each ? p : p / n_used) * n_in), bias[row]);
        }
    }
    check.done();
}

int main() {
    Random random;
    for (const Type& type : types) {
        for (bool small : {false, true}) {
            values(random, type, small);
            // Edges of tiles in all three directions; several tiles; heads.
            product(random, type, small, 256, 1, 9, 1, true);
            product(random, type, small, 512, 130, 67, 1, false);
            product(random, type, small, 256, 66, 33, 2, false);
            if (type.len <= 32) {
                product(random, type, small, 32, 64, 32, 1, true);
                product(random, type, small, 96, 63, 10, 3, false);
            }
            if (type.len == 1) {
                for (int n_in : {1, 2, 33, 36, 63, 100}) product(random, type, small, n_in, 17, 11, 2, true);
            }
        }
        experts(random, type, 256, 70, 0, 70, 50, false);
        experts(random, type, 256, 9, 4, 5, 20, true);
        if (type.len <= 32) experts(random, type, 96, 66, 1, 65, 3, true);
        if (type.len == 1) experts(random, type, 37, 3, 0, 3, 9, false);
    }
    for (int n_expert : {2, 32, 256, 257, 700}) {
        for (int n_rows : {1, 17, 300})
            lists(routes(random, n_rows, n_expert < 8 ? 1 : 7, n_expert, 1), n_rows, n_expert < 8 ? 1 : 7, n_expert);
    }
    printf("gemm_test: %d failures\n", failures);
    return failures != 0;
}
