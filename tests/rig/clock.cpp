#include "clock.h"

#include <algorithm>
#include <map>

#include "memory.h"

namespace rig {
namespace {

struct Interval {
    double from, to;
};
// In order; those that touch are one.
std::vector<Interval> working[max_dies];
double compute_free[max_dies];
std::map<int, double> link_free;

struct Sum {
    uint64_t times = 0;
    double us = 0;
};
std::map<std::string, Sum> sums;

}  // namespace

double host_time = 0;

double schedule(double after, const Cost& cost, double between) {
    if (cost.kind == Cost::nothing) return after;
    Sum& sum = sums[cost.name];
    sum.times++;
    sum.us += cost.start + cost.work + (cost.kind == Cost::compute ? between : 0);
    if (cost.kind == Cost::compute) {
        const double from = std::max(after, compute_free[cost.die]), to = from + between + cost.work;
        compute_free[cost.die] = to;
        std::vector<Interval>& all = working[cost.die];
        if (!all.empty() && from <= all.back().to + 1e-6) all.back().to = to;
        else all.push_back({from, to});
        return to;
    }
    double from = after + cost.start;
    for (int link : cost.links)
        if (link >= 0) from = std::max(from, link_free[link]);
    for (int link : cost.links)
        if (link >= 0) link_free[link] = from + cost.work;
    return from + cost.work;
}

double busy(int die) {
    double all = 0;
    for (const Interval& i : working[die]) all += i.to - i.from;
    return all;
}

double overlap(int a, int b) {
    double all = 0;
    auto i = working[a].begin(), j = working[b].begin();
    while (i != working[a].end() && j != working[b].end()) {
        all += std::max(0.0, std::min(i->to, j->to) - std::max(i->from, j->from));
        if (i->to < j->to) ++i;
        else ++j;
    }
    return all;
}

std::string profile() {
    std::vector<std::pair<std::string, Sum>> rows(sums.begin(), sums.end());
    std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second.us > b.second.us; });
    std::string text;
    for (const auto& row : rows) {
        char line[200];
        snprintf(line, sizeof line, "%-28s %6llu x %10.1f us\n", row.first.c_str(),
                 (unsigned long long)row.second.times, row.second.us);
        text += line;
    }
    return text;
}

void reset_clock() {
    for (auto& all : working) all.clear();
    sums.clear();
}

}  // namespace rig
