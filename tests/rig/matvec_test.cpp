// The mat-vec kernels against sums in double precision of weights that are decoded here, value by value, from the
// formats' descriptions.
//
// The bound: each addition of a partial sum p rounds it by at most 2^-24 |p|, up or down. With a_i the largest size
// that the terms of value i can have on the way, the offset that decoding adds included (`amplified` below), partial
// sums are about sqrt(sum (x_i a_i)^2) or less, and at most 40 + n / 64 of them are rounded one after another.
// Roundings are independent enough to grow with the root of their number; 4 standard deviations are allowed, and the
// rounding of the result and of its bias.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "args.h"
#include "rig.h"

namespace rig {
extern "C" const char* rig_report() __attribute__((weak));
}

static uint64_t state = 88172645463325252ull;
static uint32_t random_bits() {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}
static float random_unit() { return (float)(random_bits() & 0xffffff) / 0x800000 - 1.0f; }

// ---- The formats ----

static double half_value(const uint8_t* p) {
    const int bits = p[0] | p[1] << 8, e = bits >> 10 & 31, m = bits & 1023;
    const double v = e ? std::ldexp(1024 + m, e - 25) : std::ldexp(m, -24);
    return bits & 0x8000 ? -v : v;
}
static const int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const double e2m1[16] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};

// A value and the size its terms have on the way.
struct Value {
    double v, amplified;
};
static void six_bits(const uint8_t* s, int j, int& scale, int& min) {
    if (j < 4)
        scale = s[j] & 63, min = s[j + 4] & 63;
    else
        scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4, min = s[j + 4] >> 4 | (s[j] >> 6) << 4;
}
struct Format {
    const char* name;
    int len, bytes;
    std::vector<int> halves;  // where a block has halves, which must be finite
    Value (*at)(const uint8_t* b, int i);
};
static int nibble(const uint8_t* q, int i) { return i < 16 ? q[i] & 15 : q[i - 16] >> 4; }
static int fifth(const uint8_t* h, int i) { return (h[i / 8] >> i % 8 & 1) << 4; }
static Value scaled(double d, double q, double offset) { return {d * q, std::fabs(d) * (std::fabs(q) + offset)}; }
static Value lowered(Value v, double min) { return {v.v + min, v.amplified + std::fabs(min)}; }

static const std::vector<Format> formats = {
    {"F32",
     1,
     4,
     {},
     [](const uint8_t* b, int) {
         float f;
         memcpy(&f, b, 4);
         return scaled(1, f, 0);
     }},
    {"F16", 1, 2, {0}, [](const uint8_t* b, int) { return scaled(1, half_value(b), 0); }},
    {"BF16",
     1,
     2,
     {},
     [](const uint8_t* b, int) {
         uint32_t u = (uint32_t)(b[0] | b[1] << 8) << 16;
         float f;
         memcpy(&f, &u, 4);
         return scaled(1, f, 0);
     }},
    {"Q8_0", 32, 34, {0}, [](const uint8_t* b, int i) { return scaled(half_value(b), (int8_t)b[2 + i], 0); }},
    {"Q4_0", 32, 18, {0}, [](const uint8_t* b, int i) { return scaled(half_value(b), nibble(b + 2, i) - 8, 32); }},
    {"Q4_1",
     32,
     20,
     {0, 2},
     [](const uint8_t* b, int i) { return lowered(scaled(half_value(b), nibble(b + 4, i), 24), half_value(b + 2)); }},
    {"Q5_0",
     32,
     22,
     {0},
     [](const uint8_t* b, int i) { return scaled(half_value(b), (nibble(b + 6, i) | fifth(b + 2, i)) - 16, 64); }},
    {"Q5_1",
     32,
     24,
     {0, 2},
     [](const uint8_t* b, int i) {
         return lowered(scaled(half_value(b), nibble(b + 8, i) | fifth(b + 4, i), 48), half_value(b + 2));
     }},
    {"Q2_K",
     256,
     84,
     {80, 82},
     [](const uint8_t* b, int i) {
         const int q = b[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, s = b[i / 16];
         return lowered(scaled(half_value(b + 80) * (s & 15), q, 6), -half_value(b + 82) * (s >> 4));
     }},
    {"Q3_K",
     256,
     110,
     {108},
     [](const uint8_t* b, int i) {
         const int j = i / 16,
                   q = (b[32 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) + (b[i % 32] >> i / 32 & 1) * 4 - 4;
         const int low = b[96 + j % 8] >> j / 8 * 4 & 15, high = b[104 + j % 4] >> j / 4 * 2 & 3;
         return scaled(half_value(b + 108) * (low + 16 * high - 32), q, 24);
     }},
    {"Q4_K",
     256,
     144,
     {0, 2},
     [](const uint8_t* b, int i) {
         int scale, min;
         six_bits(b + 4, i / 32, scale, min);
         const int byte = b[16 + i / 64 * 32 + i % 32], q = i / 32 % 2 ? byte >> 4 : byte & 15;
         return lowered(scaled(half_value(b) * scale, q, 32), -half_value(b + 2) * min);
     }},
    {"Q5_K",
     256,
     176,
     {0, 2},
     [](const uint8_t* b, int i) {
         int scale, min;
         six_bits(b + 4, i / 32, scale, min);
         const int byte = b[48 + i / 64 * 32 + i % 32],
                   q = (i / 32 % 2 ? byte >> 4 : byte & 15) + (b[16 + i % 32] >> i / 32 & 1) * 16;
         return lowered(scaled(half_value(b) * scale, q, 64), -half_value(b + 2) * min);
     }},
    {"Q6_K",
     256,
     210,
     {208},
     [](const uint8_t* b, int i) {
         const int half = i / 128, quarter = i % 128 / 32, l = i % 32, byte = b[half * 64 + quarter % 2 * 32 + l];
         const int q = (quarter < 2 ? byte & 15 : byte >> 4) + (b[128 + half * 32 + l] >> 2 * quarter & 3) * 16 - 32;
         return scaled(half_value(b + 208) * (int8_t)b[192 + i / 16], q, 160);
     }},
    {"IQ4_NL", 32, 18, {0}, [](const uint8_t* b, int i) { return scaled(half_value(b), iq4[nibble(b + 2, i)], 0); }},
    {"IQ4_XS",
     256,
     136,
     {0},
     [](const uint8_t* b, int i) {
         const int j = i / 32, low = b[4 + j / 2] >> j % 2 * 4 & 15, high = (b[2] | b[3] << 8) >> 2 * j & 3;
         return scaled(half_value(b) * (low + 16 * high - 32), iq4[nibble(b + 8 + 16 * j, i % 32)], 0);
     }},
    {"MXFP4",
     32,
     17,
     {},
     [](const uint8_t* b, int i) { return scaled(std::ldexp(1, b[0] - 127), e2m1[nibble(b + 1, i)], 48); }},
};

static std::vector<uint8_t> random_weights(const Format& f, size_t n_blocks) {
    std::vector<uint8_t> w((n_blocks * f.bytes + 63) / 64 * 64);
    for (auto& b : w) b = (uint8_t)random_bits();
    for (size_t k = 0; k < n_blocks; k++) {
        uint8_t* b = &w[k * f.bytes];
        // Halves: either sign, between 2^-8 and 2, at times subnormal.
        for (int at : f.halves) b[at + 1] = (b[at + 1] & 0x83) | (random_bits() % 8 + (k % 29 ? 8 : 0)) << 2;
        const float v = random_unit();
        if (!strcmp(f.name, "F32")) memcpy(b, &v, 4);
        if (!strcmp(f.name, "BF16")) memcpy(b, (const char*)&v + 2, 2);
        if (!strcmp(f.name, "MXFP4")) b[0] = (uint8_t)(k % 31 ? 120 + random_bits() % 8 : random_bits() % 3);
    }
    return w;
}

// ---- Running ----

template <class T> struct Device {
    T* p;
    size_t n;
    explicit Device(const std::vector<T>& from) : p((T*)rig::device_memory(from.size() * sizeof(T))), n(from.size()) {
        rig::to_device(p, from.data(), n * sizeof(T));
    }
    std::vector<T> read() const {
        std::vector<T> to(n);
        rig::from_device(to.data(), p, n * sizeof(T));
        return to;
    }
    ~Device() { rig::free_device(p); }
};

static int failures = 0, launches = 0;
static double worst = 0;

static void complain(const std::string& what) {
    if (++failures <= 20) fprintf(stderr, "%s\n", what.c_str());
}

// One row of the matrix and one of x, against y.
static void compare(const Format& f, const uint8_t* row, const float* x, int n_in, float bias, float y,
                    const std::string& what) {
    double sum = bias, squares = 0;
    for (int i = 0; i < n_in; i++) {
        const Value v = f.at(row + (size_t)(i / f.len) * f.bytes, i % f.len);
        sum += v.v * x[i];
        squares += v.amplified * x[i] * v.amplified * x[i];
    }
    const double half_ulp = std::ldexp(1, -24), product = std::fabs(sum - bias);
    const double allowed = half_ulp * (4 * std::sqrt((40 + n_in / 64.0) * squares) + std::fabs(sum) + product) + 1e-44;
    const double error = std::fabs(y - sum);
    worst = std::max(worst, error / allowed);
    if (!(error <= allowed)) {
        char text[200];
        snprintf(text, sizeof text, ": %.9g instead of %.9g, off by %.3g, allowed %.3g", y, sum, error, allowed);
        complain(what + text);
    }
}

template <class Args> static void run(const std::string& name, rig::Size3 grid, const Args& args) {
    launches++;
    if (!rig::launch(name.c_str(), grid, {128, 1, 1}, args))
        complain(name + ": " + (rig::rig_report ? rig::rig_report() : "launch failed"));
}

static unsigned blocks(const Format& f, int variant, int n_out, int split) {
    const int rows = (f.len == 1 ? variant == 8 ? 4 : 8 : variant == 1 ? 64 : variant <= 4 ? 32 : 16) / split;
    return (unsigned)((n_out + rows - 1) / rows);
}
static int most_split(const Format& f, int variant) {
    return f.len == 1 || variant == 1 ? 4 : variant == 2 ? 2 : 1;
}

static const float marker = -12345.0f;

static void matvec(const Format& f, int n_in, int n_out, int n_rows, int variant, int n_head, bool with_bias,
                   int split) {
    const size_t row_bytes = (size_t)(n_in / f.len) * f.bytes;
    const int x_stride = n_in * n_head, y_stride = n_out * n_head;
    std::vector<uint8_t> w = random_weights(f, (size_t)n_in / f.len * n_out * n_head);
    std::vector<float> x((size_t)n_rows * x_stride), bias(n_out), y((size_t)n_rows * y_stride + 16, marker);
    for (auto& v : x) v = random_unit() + 0.25f;
    for (auto& v : bias) v = random_unit();
    Device<uint8_t> dw(w);
    Device<float> dx(x), dy(y), db(bias);
    const Matvec a = {dw.p,
                      dx.p,
                      dy.p,
                      with_bias ? db.p : nullptr,
                      (long long)row_bytes,
                      (long long)(row_bytes * n_out),
                      n_in,
                      n_out,
                      n_rows,
                      x_stride,
                      y_stride,
                      n_in,
                      n_out,
                      split};
    const std::string name = std::string("matvec_") + f.name + "_" + std::to_string(variant);
    run(name, {blocks(f, variant, n_out, split), (unsigned)n_head, 1}, a);
    y = dy.read();
    for (int n = 0; n < n_rows; n++)
        for (int h = 0; h < n_head; h++)
            for (int o = 0; o < n_out; o++)
                compare(f, &w[(size_t)(h * n_out + o) * row_bytes], &x[(size_t)n * x_stride + h * n_in], n_in,
                        with_bias ? bias[o] : 0, y[(size_t)n * y_stride + h * n_out + o],
                        name + " " + std::to_string(n_in) + "x" + std::to_string(n_out) + " split " +
                            std::to_string(split) + " row " + std::to_string(n) + " of " + std::to_string(n_rows) +
                            " head " + std::to_string(h) + " output " + std::to_string(o));
    for (int i = 0; i < 16; i++)
        if (y[(size_t)n_rows * y_stride + i] != marker) complain(name + ": wrote behind y");
}

static void experts(const Format& f, int n_in, int n_all, int first, int n_out, int n_rows, bool per_part,
                    bool with_bias, int split) {
    const int n_expert = 5, n_used = 3;
    const size_t row_bytes = (size_t)(n_in / f.len) * f.bytes;
    std::vector<uint8_t> w = random_weights(f, (size_t)n_in / f.len * n_all * n_expert);
    const int x_row = per_part ? n_used * n_in : n_in;
    std::vector<float> x((size_t)n_rows * x_row), bias((size_t)n_expert * n_all),
        y((size_t)n_rows * n_used * n_out, marker);
    std::vector<float> route((size_t)n_rows * 2 * n_used, 0.5f);
    for (auto& v : x) v = random_unit() + 0.25f;
    for (auto& v : bias) v = random_unit();
    for (int n = 0; n < n_rows; n++)
        for (int j = 0; j < n_used; j++) route[n * 2 * n_used + j] = (float)((n * 2 + j * 3 + 4) % n_expert);
    Device<uint8_t> dw(w);
    Device<float> dx(x), dy(y), db(bias), dr(route);
    const MatvecExperts a = {dw.p + first * row_bytes,
                             dx.p,
                             dy.p,
                             with_bias ? db.p + first : nullptr,
                             dr.p,
                             (long long)row_bytes,
                             (long long)(row_bytes * n_all),
                             n_in,
                             n_out,
                             n_expert,
                             n_used,
                             n_all,
                             x_row,
                             per_part ? n_in : 0,
                             n_used * n_out,
                             split,
                             0};
    const std::string name = std::string("matvec_experts_") + f.name;
    run(name, {blocks(f, 1, n_out, split), (unsigned)(n_rows * n_used), 1}, a);
    y = dy.read();
    for (int n = 0; n < n_rows; n++)
        for (int j = 0; j < n_used; j++)
            for (int o = 0; o < n_out; o++) {
                const size_t e = (size_t)route[n * 2 * n_used + j], at = e * n_all + first + o;
                compare(f, &w[at * row_bytes], &x[(size_t)n * x_row + (per_part ? j * n_in : 0)], n_in,
                        with_bias ? bias[at] : 0, y[(size_t)(n * n_used + j) * n_out + o],
                        name + " " + std::to_string(n_in) + "x" + std::to_string(n_out) + " pair " + std::to_string(n) +
                            "," + std::to_string(j) + " output " + std::to_string(o));
            }
}

int main(int n_args, char** args) {
    for (const Format& f : formats) {
        if (n_args > 1 && strcmp(args[1], f.name)) continue;
        worst = 0;
        const std::vector<int> widths = f.len == 256  ? std::vector<int>{256, 768, 2560, 2304}
                                        : f.len == 32 ? std::vector<int>{32, 96, 544, 2880}
                                                      : std::vector<int>{1, 36, 131, 1024, 1377};
        int turn = 0;
        for (int n_in : widths) {
            for (int n_out : {1, 3, 33}) {
                for (int n_rows = 1; n_rows <= 8; n_rows++, turn++) {
                    const int variant = n_rows <= 1   ? 1
                                        : n_rows <= 2 ? 2
                                        : n_rows <= 4 ? 4
                                                      : 8,
                              most = most_split(f, variant);
                    matvec(f, n_in, n_out, n_rows, variant, 1, turn % 2, std::min(most, 1 << turn % 3));
                }
                // Fewer rows than the variant.
                matvec(f, n_in, n_out, 1, 8, 1, false, 1);
            }
            experts(f, n_in, 40, 7, 19, 2, turn % 2, turn % 4 < 2, 1 << turn % 3);
            matvec(f, n_in, 5, 3, 4, 3, false, 1);
            matvec(f, n_in, 17, 1, 1, 2, true, 4);
        }
        matvec(f, widths[3], 257, 1, 1, 1, true, 1);
        matvec(f, widths[2], 257, 8, 8, 1, true, 1);
        matvec(f, f.len == 1 ? 4096 : 4608, 70, 2, 2, 1, false, 2);
        experts(f, widths[3], 150, 80, 70, 1, true, true, 2);
        printf("%-7s largest error %.2f of the bound\n", f.name, worst);
    }
    printf("%d launches, %d failures\n", launches, failures);
    return failures > 0;
}
