// What tests find by dlsym in the library that the program under test has open:
//
//   int rig_config(text)                 configures anew (config.h), while nothing is alive; 0, or -1 for bad text, -2
//                                        while something is
//   uint64 rig_calls()                   calls of the driver since the last reset
//   const char* rig_call_name(k)         of the k-th of them, from 1
//   void rig_fail_at(k, code, delayed)   the k-th call fails with that code; delayed: if it is a launch or an
//                                        asynchronous copy or fill, the call succeeds and the work fails, which the
//                                        next synchronisation tells. k = 0: no failure any more
//   void rig_fail_function(name, k, code)  the k-th call from now on of that function fails; k = 0: every one; code =
//                                          0: none any more
//   uint64 rig_failed()                  how many calls have failed so
//   uint64 rig_bytes(die), rig_peak_bytes(die)   asked for by cuMemAlloc
//   uint64 rig_host_bytes(), rig_registered_bytes()
//   uint64 rig_live_objects()            contexts, streams, events, modules, graphs and executable ones, page-locked
//                                        ranges
//   const char* rig_live_kinds()         what they are
//   const char* rig_report()             the first fault's text, or "" (valid until the next call of it in the same
//                                        thread)
//   int rig_faults()                     how many there were
//   uint64 rig_launches()                kernels run
//   void rig_reset()                     forgets calls, failures, faults and peaks
//   double rig_time()                    us of the host by the clock (clock.h), since the rig began
//   double rig_busy(die), rig_overlap(a, b)   us in which a die's multiprocessors had work, or those of both, since the
//                                        last reset
//   const char* rig_profile()            since then: each kernel, how often, and its us; likewise valid until the next
//   int rig_kernel_count(); const char* rig_kernel_name(i)
//   const char* rig_kernel_args(name)    the name of its struct, or null where there is no such kernel
//   int64 rig_kernel_args_size(name), rig_kernel_threads(name)   the bytes of that; threads of a block at most; -1: no
//                                        such kernel
#include "control.h"

#include <cstdio>
#include <cstring>

#include "driver.h"
#include "fibre.h"
#include "host.h"
#undef memcpy
#undef memset

#define CONTROL(type) extern "C" __attribute__((visibility("default"))) type

namespace rig {
namespace {

std::vector<const char*> calls;
struct {
    uint64_t k = 0;
    int code = 0;
    bool delayed = false;
} fail_at;
struct FailFunction {
    std::string name;
    uint64_t k, seen;
    int code;
};
std::vector<FailFunction> fail_functions;
uint64_t failed = 0;

// With or without the version at the end.
bool same(const std::string& asked, const char* name) {
    return asked == name ||
           (strncmp(asked.c_str(), name, asked.size()) == 0 && strncmp(name + asked.size(), "_v", 2) == 0);
}

}  // namespace

int count_call(const char* name, bool& delayed) {
    calls.push_back(name);
    int code = 0;
    if (fail_at.k && calls.size() == fail_at.k) {
        code = fail_at.code;
        delayed = fail_at.delayed;
    }
    for (FailFunction& f : fail_functions) {
        if (!same(f.name, name)) continue;
        f.seen++;
        if (f.k == 0 || f.seen == f.k) code = f.code;
    }
    failed += code != 0;
    return code;
}

}  // namespace rig

using namespace rig;
#define LOCKED std::lock_guard<std::recursive_mutex> guard(lock); begin_once()

CONTROL(int) rig_config(const char* text) {
    LOCKED;
    if (live_objects()) return -2;
    Config c;
    const std::string wrong = parse(text, c);
    if (!wrong.empty()) {
        fprintf(stderr, "rig: %s\n", wrong.c_str());
        return -1;
    }
    config = c;
    make_dies(config);
    return 0;
}
CONTROL(uint64_t) rig_calls() {
    LOCKED;
    return calls.size();
}
CONTROL(const char*) rig_call_name(uint64_t k) {
    LOCKED;
    return k >= 1 && k <= calls.size() ? calls[k - 1] : "";
}
CONTROL(void) rig_fail_at(uint64_t k, int code, int delayed) {
    LOCKED;
    fail_at.k = k;
    fail_at.code = code;
    fail_at.delayed = delayed != 0;
}
CONTROL(void) rig_fail_function(const char* name, uint64_t k, int code) {
    LOCKED;
    for (size_t i = 0; i < fail_functions.size();) {
        if (fail_functions[i].name == name) fail_functions.erase(fail_functions.begin() + (long)i);
        else i++;
    }
    if (code) fail_functions.push_back({name, k, 0, code});
}
CONTROL(uint64_t) rig_failed() {
    LOCKED;
    return failed;
}
CONTROL(uint64_t) rig_bytes(int die) {
    LOCKED;
    return die >= 0 && die < n_dies ? dies[die].used : 0;
}
CONTROL(uint64_t) rig_peak_bytes(int die) {
    LOCKED;
    return die >= 0 && die < n_dies ? dies[die].peak : 0;
}
CONTROL(uint64_t) rig_host_bytes() {
    LOCKED;
    return host_allocated;
}
CONTROL(uint64_t) rig_registered_bytes() {
    LOCKED;
    return host_registered;
}
CONTROL(uint64_t) rig_live_objects() {
    LOCKED;
    return live_objects();
}
CONTROL(const char*) rig_live_kinds() {
    LOCKED;
    static thread_local std::string text;
    text.clear();
    for (const Object* o : objects)
        if (o->alive && strcmp(o->kind, "function") != 0 && !(o->context && o->context->null_stream == o))
            text += std::string(o->kind) + " ";
    return text.c_str();
}
CONTROL(const char*) rig_report() {
    LOCKED;
    static thread_local std::string text;
    text = report();
    return text.c_str();
}
CONTROL(int) rig_faults() {
    LOCKED;
    return faults();
}
CONTROL(uint64_t) rig_launches() {
    LOCKED;
    return launches();
}
CONTROL(double) rig_time() {
    LOCKED;
    return host_time;
}
CONTROL(double) rig_busy(int die) {
    LOCKED;
    return die >= 0 && die < n_dies ? busy(die) : 0;
}
CONTROL(double) rig_overlap(int a, int b) {
    LOCKED;
    return a >= 0 && a < n_dies && b >= 0 && b < n_dies ? overlap(a, b) : 0;
}
CONTROL(const char*) rig_profile() {
    LOCKED;
    static thread_local std::string text;
    text = profile();
    return text.c_str();
}
CONTROL(void) rig_reset() {
    LOCKED;
    reset_clock();
    calls.clear();
    fail_at.k = 0;
    fail_functions.clear();
    failed = 0;
    forget();
    bury();
    for (int i = 0; i < n_dies; i++) dies[i].peak = dies[i].used;
}
CONTROL(int) rig_kernel_count() {
    int n = 0;
    for (const Kernel* k = first_kernel(); k; k = k->next) n++;
    return n;
}
CONTROL(const char*) rig_kernel_name(int i) {
    for (const Kernel* k = first_kernel(); k; k = k->next)
        if (i-- == 0) return k->name;
    return nullptr;
}
CONTROL(const char*) rig_kernel_args(const char* name) {
    const Kernel* k = kernel(name);
    return k ? k->args : nullptr;
}
CONTROL(int64_t) rig_kernel_threads(const char* name) {
    const Kernel* k = kernel(name);
    return k ? (int64_t)k->threads : -1;
}
CONTROL(int64_t) rig_kernel_args_size(const char* name) {
    const Kernel* k = kernel(name);
    return k ? (int64_t)k->args_size : -1;
}
