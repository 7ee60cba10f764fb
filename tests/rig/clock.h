// The rig's clock: what each piece of work would take on a K80, and a virtual time for each stream and for the host.
//
// A piece of work begins when its stream has done what came before, when the host has given it, and when what it needs
// is free: the die's multiprocessors, or the links that a copy crosses. Waits for events carry times from stream to
// stream, and a synchronising call brings the host to the stream's time. So dies overlap, or wait for each other, as
// they would on cards. rates.cpp says how long kernels and copies take. All times are in microseconds.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config.h"

namespace rig {

struct Kernel;
struct Size3;

// The costs of a piece of work.
struct Cost {
    enum Kind { nothing, compute, copy } kind = nothing;
    const char* name = "";
    int die = -1;       // whose multiprocessors it takes
    double start = 0;   // before it begins: a copy's links are free meanwhile
    double work = 0;    // then
    int links[4] = {-1, -1, -1, -1};  // that a copy crosses
};

// Costs of the host's calls, and of the time between two pieces of work of a stream.
constexpr double launch_call = 5, graph_call = 20, other_call = 1, wake_up = 10;
constexpr double gap = 5, gap_in_graph = 4;

// Kernels by their names and arguments. Memory of the die may be read, so it is to be asked when the kernel would run.
Cost cost_of_kernel(const Kernel& kernel, Size3 grid, const void* args, int die);
// `to` and `from` are dies, or -1 for the host.
Cost cost_of_copy(int to, int from, uint64_t bytes);

// Puts work behind `after` (its stream's time, or when the host gave it); its end.
double schedule(double after, const Cost& cost, double between);

extern double host_time;
const Config& config_of_clock();
double busy(int die);                // us in which its multiprocessors had work
double overlap(int a, int b);        // us in which those of both dies had
std::string profile();               // lines: name, times, us; the longest first
void reset_clock();

}  // namespace rig
