// The durations of kernels and copies on a K80's die. The figures of products, attention and route are those of a
// simulator of that generation (at 875 MHz; with `small_cache`, those of a small instruction cache), which are good to
// some 30 %; where it has none of a type, the instructions that kernels/README.md counts stand in for it, and a comment
// says so. The forms that load ahead were not simulated: they have the figures of those that were. None are the
// planner's: its predictions are held against these.
#include <algorithm>
#include <cstring>

#include "../../kernels/args.h"
#include "clock.h"
#include "fibre.h"
#include "host.h"
#include "memory.h"

namespace rig {
namespace {

// A product of one row and rows of a matrix: bytes of a row at `rate` GB/s, and `row_ns` besides (staging x, adding up).
// Of Q4_K: 4096 columns at 100 GB/s and 2048 at 87 are 117.6 GB/s and 3.4 ns a row.
struct TypeRate {
    const char* name;
    int values, bytes;          // of a block
    double rate, rate_small;    // with a large and a small instruction cache
};
const TypeRate type_rates[] = {
    {"Q4_K", 256, 144, 117.6, 66},
    {"Q6_K", 256, 210, 101, 62},
    {"Q8_0", 32, 34, 105, 70},
    // Plain numbers have no loop that a small cache cannot hold.
    {"F16", 1, 2, 131, 131},
    {"BF16", 1, 2, 131, 131},
    {"F32", 1, 4, 131, 131},
    // By instructions a value, beside Q4_K or, where blocks are aligned to two bytes, Q6_K.
    {"Q5_K", 256, 176, 111, 62},
    {"Q4_0", 32, 18, 100, 60},
    {"Q4_1", 32, 20, 125, 70},
    {"Q5_0", 32, 22, 89, 55},
    {"Q5_1", 32, 24, 120, 68},
    {"IQ4_NL", 32, 18, 77, 48},
    {"IQ4_XS", 256, 136, 86, 52},
    {"MXFP4", 32, 17, 76, 47},
    {"Q2_K", 256, 84, 63, 38},
    {"Q3_K", 256, 110, 54, 34},
    {"IQ2_XS", 256, 74, 45, 27},
    {"IQ2_S", 256, 82, 45, 27},
    {"IQ3_XXS", 256, 98, 52, 32},
    {"IQ3_S", 256, 110, 52, 32},
};
// ns a row of the matrix, with 1, 2 or 4 warps that share it (Q4_K, 4096 columns, split 4: 60 GB/s).
double row_ns(int split) { return split >= 4 ? 18.8 : split == 2 ? 8.0 : 3.44; }
// Cycles with 1, 2, 4 and 8 rows of x (4 of Q4_K at 48 GB/s; the others by instructions).
double rows_factor(int rows) { return rows <= 1 ? 1 : rows == 2 ? 1.3 : rows <= 4 ? 1.8 : 3.4; }

// F16 and Q8_0 were simulated; F32 is bound by memory as F16 is, Q4_0 by as many instructions as Q8_0.
double attention_rate(int type) { return type == TYPE_Q8_0 ? 77 : type == TYPE_Q4_0 ? 41 : 131; }
// GEMM of Q4_K, in operations a us. Attention by tiles has the same share of multiplications.
double gemm_rate() { return config_of_clock().small_cache ? 1.5e6 : 2.0e6; }
double plain_read = 150e3;  // bytes a us
// One block alone: a multiprocessor's share of a plain read.
double block_read = 11.5e3;
// 10,536 cycles at 875 MHz.
double merge_us = 12;
// 1.5 ms over 48 layers were those of a choice that compared scores one by one, some 3400 cycles an expert. By ranks it
// is some 400 (counted, not simulated).
double route_us = 4;

// The type in a kernel's name: the first, or the last of two.
const TypeRate* type_of(const char* name, bool last = false) {
    const TypeRate* found = nullptr;
    const char* place = nullptr;
    for (const TypeRate& t : type_rates) {
        const size_t n = strlen(t.name);
        for (const char* at = strstr(name, t.name); at; at = strstr(at + 1, t.name)) {
            if (at[-1] != '_' || (at[n] != 0 && at[n] != '_')) continue;
            if (!found || (last ? at > place : at < place)) found = &t, place = at;
        }
    }
    return found;
}

double row_bytes(const TypeRate& t, int n_in) { return (double)n_in / t.values * t.bytes; }
double up(double n, double to) { return (double)(long long)((n + to - 1) / to) * to; }

// us of a product of few rows.
double matvec_us(const TypeRate& t, double n_rows_of_w, int n_in, int split, int rows_of_x) {
    const double rate = config_of_clock().small_cache ? t.rate_small : t.rate;
    return n_rows_of_w * (row_ns(split) + row_bytes(t, n_in) / rate * rows_factor(rows_of_x)) * 1e-3;
}

double gemm_us(const TypeRate& t, double rows, double n_out, int n_in) {
    const double read = n_out * row_bytes(t, n_in) / (plain_read * 0.8);
    return std::max(2 * rows * n_out * n_in / gemm_rate(), read);
}

// Cached positions that tokens see, all together.
double visible(const ::Attention& a) {
    double all = 0;
    const int die = die_of((uintptr_t)a.positions);
    for (int i = 0; i < a.n_tokens; i++) {
        double n = 1;
        if (die >= 0 && holds(die, (uintptr_t)(a.positions + i), sizeof *a.positions)) n = a.positions[i] + 1.0;
        all += std::min(n, (double)a.window);
    }
    return all;
}

double attention_us(const char* name, const ::Attention& a) {
    if (strcmp(name, "attention_merge") == 0) return merge_us;
    const double seen = visible(a);
    if (strstr(name, "prefill")) {
        // Some rows of a tile stay empty where tokens are few.
        const double group = (double)a.n_head / a.n_head_kv, rows = a.n_tokens * group;
        return 2 * seen * a.n_head * (a.dk + a.dv) / gemm_rate() * (up(rows, 64) / rows);
    }
    auto bytes = [](int type, int n) {
        const double each = type == TYPE_Q8_0 ? 34 / 32. : type == TYPE_Q4_0 ? 18 / 32. : type == TYPE_F32 ? 4 : 2;
        return n * each;
    };
    const double pieces = std::max(a.pieces, 1);
    return seen * a.n_head_kv * pieces *
           (bytes(a.type_k, a.dk) / attention_rate(a.type_k) + bytes(a.type_v, a.dv) / attention_rate(a.type_v)) * 1e-3;
}

// A small kernel reads and writes so many bytes, with so many blocks.
double small_us(double bytes, double blocks) {
    return bytes / std::min(plain_read, block_read * std::max(blocks, 1.0));
}

template <class A> const A& as(const void* args) { return *(const A*)args; }

double kernel_us(const char* name, const char* args_name, Size3 grid, const void* args) {
    const double blocks = (double)grid.x * grid.y * grid.z;
    const TypeRate* t = type_of(name);
    auto is = [&](const char* n) { return strcmp(args_name, n) == 0; };
    if (is("Matvec") && t) {
        const ::Matvec& a = as<::Matvec>(args);
        return matvec_us(*t, (double)a.n_out * grid.y, a.n_in, a.split, a.n_rows);
    }
    if (is("MatvecOne") && t) {
        const ::MatvecOne& a = as<::MatvecOne>(args);
        double us = 0;
        for (const ::MatvecPart* part : {&a.first, &a.second, &a.third}) {
            const TypeRate* own = part == &a.third ? type_of(name, true) : t;
            us += matvec_us(*own, (double)part->n_out * grid.y, a.n_in, part->split, 1);
        }
        return us;
    }
    if (is("MatvecExperts") && t) {
        const ::MatvecExperts& a = as<::MatvecExperts>(args);
        return matvec_us(*t, (double)a.n_out * grid.y, a.n_in, a.split, 1);
    }
    if (is("Gemm") && t) {
        const ::Gemm& a = as<::Gemm>(args);
        const bool small = strstr(name, "small");
        const double heads = std::max(1u, grid.z);
        return heads * gemm_us(*t, up(a.n_rows, small ? 32 : 64), up(a.n_out, small ? 64 : 128), a.n_in);
    }
    if (is("GemmExperts") && t) {
        const ::GemmExperts& a = as<::GemmExperts>(args);
        // Tiles of 32 pairs; half of an expert's last one is empty.
        const double used = std::min(a.n_pairs, a.n_expert), rows = a.n_pairs + 16 * used;
        const double read = used * a.n_out * row_bytes(*t, a.n_in) / (plain_read * 0.8);
        return std::max(2 * rows * up(a.n_out, 64) * a.n_in / gemm_rate(), read);
    }
    if (is("Attention")) return attention_us(name, as<::Attention>(args));
    if (is("Route")) return route_us * std::max(1.0, blocks / 104);
    if (is("Norm")) {
        const ::Norm& a = as<::Norm>(args);
        return small_us(3.0 * sizeof(float) * a.n_groups * a.group, blocks);
    }
    if (is("RopeStore")) {
        const ::RopeStore& a = as<::RopeStore>(args);
        return small_us(2.0 * sizeof(float) * grid.x * (a.q_cols + a.k_cols + a.v_cols), blocks);
    }
    if (is("Each")) return small_us(3.0 * sizeof(float) * as<::Each>(args).n, blocks);
    if (is("Gate")) return small_us(3.0 * sizeof(float) * as<::Gate>(args).n, blocks);
    if (is("LinearAttention")) {
        const ::LinearAttention& a = as<::LinearAttention>(args);
        return small_us(2.0 * sizeof(float) * a.n_head * a.head_k * a.head_v * std::max(1, a.states.n_runs), blocks);
    }
    // All others: a few floats a thread.
    return small_us(blocks * 128 * 3 * sizeof(float), blocks);
}

// GB/s of a board's link to the host and of the switch on it (8 to 10 to the host; nobody published the other), and us
// before the first byte.
constexpr double to_host = 9e3, within_board = 10e3, copy_start = 8;

int board(int die) { return dies[die].config.pci >> 1; }

}  // namespace

Cost cost_of_kernel(const Kernel& kernel, Size3 grid, const void* args, int die) {
    Cost c;
    c.kind = Cost::compute;
    c.name = kernel.name;
    c.die = die;
    c.work = kernel_us(kernel.name, kernel.args, grid, args);
    return c;
}

Cost cost_of_copy(int to, int from, uint64_t bytes) {
    Cost c;
    c.kind = Cost::copy;
    c.start = copy_start;
    const double n = (double)bytes;
    // A board's link upwards and downwards, and a die's own port in and out.
    auto up = [](int d) { return board(d) * 8; };
    auto down = [](int d) { return board(d) * 8 + 1; };
    auto out = [](int d) { return board(d) * 8 + 2 + (dies[d].config.pci & 1) * 2; };
    auto in = [](int d) { return board(d) * 8 + 3 + (dies[d].config.pci & 1) * 2; };
    if (to < 0 && from < 0) {
        c.kind = Cost::nothing;
    } else if (to == from) {
        c.name = "copy within a die";
        c.work = 2 * n / plain_read;
    } else if (from < 0) {
        c.name = "copy to a die";
        c.work = n / to_host;
        c.links[0] = down(to), c.links[1] = in(to);
    } else if (to < 0) {
        c.name = "copy to the host";
        c.work = n / to_host;
        c.links[0] = up(from), c.links[1] = out(from);
    } else if (board(to) == board(from)) {
        c.name = "copy within a board";
        c.work = n / within_board;
        c.links[0] = out(from), c.links[1] = in(to);
    } else {
        c.name = "copy between boards";
        c.work = n / to_host;
        c.links[0] = up(from), c.links[1] = down(to), c.links[2] = out(from), c.links[3] = in(to);
    }
    return c;
}

}  // namespace rig
