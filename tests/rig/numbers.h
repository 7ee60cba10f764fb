// For tests of single kernels: random numbers, launches, and comparing with sums in double precision.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "rig.h"

// Always the same numbers.
struct Random {
    uint64_t state = 88172645463325252ull;
    uint32_t bits() {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return (uint32_t)(state >> 16);
    }
    int below(int n) { return (int)(bits() % (uint32_t)n); }
    float within(float low, float high) { return low + (high - low) * (float)(bits() >> 8) * 0x1p-24f; }
};

// Memory that begins at a multiple of 64, as a tensor or value does, and ends where they end, so that valgrind sees
// what lies behind.
template <class T> struct Place {
    size_t n;
    std::unique_ptr<T[], void (*)(void*)> at;
    explicit Place(size_t n) : n(n), at((T*)aligned_alloc(64, n * sizeof(T)), free) {}
    T& operator[](size_t i) { return at[i]; }
    const T& operator[](size_t i) const { return at[i]; }
    T* get() const { return at.get(); }
};

inline Place<float> floats(Random& random, size_t n, float low = -1, float high = 1) {
    Place<float> x(n);
    for (size_t i = 0; i < n; i++) x[i] = random.within(low, high);
    return x;
}
inline Place<float> filled(size_t n, float by) {
    Place<float> x(n);
    for (size_t i = 0; i < n; i++) x[i] = by;
    return x;
}

static int failures = 0;

// Runs a kernel; what goes wrong counts as a failure.
template <class Args> void run(const std::string& name, rig::Size3 grid, unsigned threads, const Args& args) {
    if (!rig::launch(name.c_str(), grid, {threads, 1, 1}, args)) {
        printf("%s cannot run\n", name.c_str());
        failures++;
    }
}

// One number of a result against what it should be. NaN equals NaN.
inline bool near(double is, double should, double tolerance) {
    return (std::isnan(is) && std::isnan(should)) || is == should || std::fabs(is - should) <= tolerance;
}

// Counts what differs; tells of the first.
struct Check {
    std::string what;
    size_t wrong = 0, all = 0;
    bool quiet = false;
    void number(size_t i, double is, double should, double tolerance) {
        all++;
        if (near(is, should, tolerance)) return;
        if (wrong++ == 0 && !quiet) {
            printf("%s: number %zu is %.9g, should be %.9g within %.3g\n", what.c_str(), i, is, should, tolerance);
        }
    }
    void done() {
        if (all == 0) printf("%s: nothing was compared\n", what.c_str());
        if (wrong || all == 0) failures++;
    }
};
