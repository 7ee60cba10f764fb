// Every thread of a block is a fibre with a stack of its own. A fibre runs until its warp or its block has to meet;
// then the next one in the ring of its warp (at a barrier: of its block) goes on. As all of them have to arrive, the
// next one in the ring can always run, or has gone astray: there is no search for a runnable fibre, no queue, and a
// shuffle costs one switch per lane.
#include "fibre.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "check.h"
#include "host.h"
#include "report.h"
#undef memcpy
#undef memset

#if !defined(__x86_64__) || defined(RIG_UCONTEXT)
#include <ucontext.h>
#define RIG_UCONTEXT 1
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(from, to) 0
#endif

namespace rig {
namespace {

constexpr unsigned lanes = 32, max_threads = 1024;

// What the lanes of a warp, or the warps of a block, meet for.
enum Meeting { shuffling, shuffling_xor, voting, warp_waiting, block_waiting, finishing };
const char* const meeting_names[] = {"shfl", "shfl_xor", "__ballot_sync", "__syncwarp", "__syncthreads", "its end"};

struct Fibre {
    void* sp;
    unsigned warp, lane;
    uint3 thread;
#ifdef RIG_UCONTEXT
    ucontext_t context;
#endif
};

struct Warp {
    Meeting meeting;
    unsigned arrived, side;
    unsigned current;  // the lane that goes on when the block turns to this warp
    int slot[2][lanes];  // two sides: a lane may be at the next meeting before others have read what this one brought
};

Fibre fibres[max_threads];
Warp warps[max_threads / lanes];
Fibre* now = nullptr;
Fibre outside;  // the stack of whoever launched

struct Launch {
    const Kernel* kernel;
    const void* args;
    uint3 grid, block, at;  // at: the running block
    unsigned n_warps, arrived;
    Meeting meeting;
    bool failed, running, reverse;
} launch_;

#ifdef RIG_UCONTEXT
void change(Fibre* from, Fibre* to) { swapcontext(&from->context, &to->context); }
#else
extern "C" void rig_switch(void** save, void* load) __attribute__((visibility("hidden")));
// By ret, not by a jump: the fibres run the same code, so the processor's guess of where a return leads stays right.
asm(R"(
    .text
    .globl rig_switch
    .hidden rig_switch
    .type rig_switch,@function
rig_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size rig_switch,.-rig_switch
)");
inline void change(Fibre* from, Fibre* to) { rig_switch(&from->sp, to->sp); }
#endif

inline void turn_to(Fibre* to) {
    Fibre* from = now;
    now = to;
    now_checked.warp = to->warp;
    change(from, to);
}

void astray(Meeting mine, Meeting theirs, const char* who) {
    fault(launch_failed, "a thread reached %s while %s %s", meeting_names[mine], who, meeting_names[theirs]);
}

// Brings a value to a meeting of the warp; returns what all lanes brought, once they have.
inline const int* meet(Meeting meeting, int value) {
    Warp& warp = warps[now->warp];
    if (warp.arrived == 0) warp.meeting = meeting;
    else if (warp.meeting != meeting) astray(meeting, warp.meeting, "other lanes of its warp reached");
    const int* slot = warp.slot[warp.side];
    warp.slot[warp.side][now->lane] = value;
    if (++warp.arrived == lanes) {
        warp.arrived = 0;
        warp.side ^= 1;
    } else {
        turn_to(&fibres[now->warp * lanes + (now->lane + 1) % lanes]);
    }
    return slot;
}

// A meeting of the block. True in the one thread that came last, before the others go on.
template <class Last> inline void meet_all(Meeting meeting, Last last) {
    const unsigned index = now->warp;
    Warp& warp = warps[index];
    if (warp.arrived == 0) warp.meeting = meeting;
    else if (warp.meeting != meeting) astray(meeting, warp.meeting, "other lanes of its warp reached");
    if (++warp.arrived < lanes) {
        turn_to(&fibres[index * lanes + (now->lane + 1) % lanes]);
        return;
    }
    warp.arrived = 0;
    warp.current = now->lane;
    if (launch_.arrived == 0) launch_.meeting = meeting;
    else if (launch_.meeting != meeting) astray(meeting, launch_.meeting, "other warps of its block reached");
    if (++launch_.arrived < launch_.n_warps) {
        const unsigned next = index + 1 == launch_.n_warps ? 0 : index + 1;
        turn_to(&fibres[next * lanes + warps[next].current]);
        return;
    }
    launch_.arrived = 0;
    now_checked.epoch++;
    last();
}

// The next block, or back to whoever launched.
void next_block() {
    now_checked.block_epoch = now_checked.epoch;
    check_block();
    unsigned* at[] = {&launch_.at.x, &launch_.at.y, &launch_.at.z};
    const unsigned size[] = {launch_.grid.x, launch_.grid.y, launch_.grid.z};
    for (int i = 0; i < 3; i++) {
        if (launch_.reverse ? (*at[i])-- > 0 : ++*at[i] < size[i]) return;
        *at[i] = launch_.reverse ? size[i] - 1 : 0;
    }
    turn_to(&outside);
}

void live() {
    for (;;) {
        launch_.kernel->run(launch_.args);
        meet_all(finishing, next_block);
    }
}

void prepare(unsigned first, unsigned n) {
    for (unsigned i = first; i < first + n; i++) {
        Fibre& f = fibres[i];
        f.warp = i / lanes;
        f.lane = i % lanes;
        char* low = (char*)stacks_begin + i * stack_bytes;
        // Staggered, so that the stacks of a warp do not all want the same lines of the cache.
        char* top = low + stack_bytes - (i % lanes) * 576;
#ifdef RIG_UCONTEXT
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = low;
        f.context.uc_stack.ss_size = (size_t)(top - low);
        makecontext(&f.context, live, 0);
#else
        void** sp = (void**)(((uintptr_t)top & ~(uintptr_t)15) - 16);
        *sp = (void*)live;
        for (int k = 0; k < 6; k++) *--sp = nullptr;
        f.sp = sp;
#endif
    }
    for (unsigned w = first / lanes; w < (first + n) / lanes; w++) {
        warps[w].arrived = warps[w].side = warps[w].current = 0;
    }
}

void begin() {
    if (stacks_begin) return;
    void* p = mmap(nullptr, stacks_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) abort();
    stacks_begin = (uintptr_t)p;
    for (unsigned i = 0; i < max_threads; i++) {
        char* low = (char*)p + i * stack_bytes;
        mprotect(low, 4096, PROT_NONE);  // an overflow is a signal, not another thread's data
        (void)VALGRIND_STACK_REGISTER(low, low + stack_bytes);
    }
    prepare(0, max_threads);
}

Kernel*& kernels() {
    static Kernel* head = nullptr;
    return head;
}

}  // namespace

Now now_checked = {0, 1, 1, 1, false};
uintptr_t stacks_begin = 0;

Kernel::Kernel(const char* name, const char* file, const char* args, unsigned args_size, unsigned threads,
               void (*run)(const void*))
    : name(name), file(file), args(args), args_size(args_size), threads(threads), run(run) {
    if (const Kernel* other = rig::kernel(name)) {
        fprintf(stderr, "rig: two kernels are called %s: in %s and in %s\n", name, other->file, file);
        abort();
    }
    next = kernels();
    kernels() = this;
}

const Kernel* first_kernel() { return kernels(); }

const Kernel* kernel(const char* name) {
    for (const Kernel* k = kernels(); k; k = k->next)
        if (strcmp(k->name, name) == 0) return k;
    return nullptr;
}

uint3 thread_idx() { return now->thread; }
uint3 block_idx() { return launch_.at; }
uint3 block_dim() { return launch_.block; }
uint3 grid_dim() { return launch_.grid; }
int lane_id() { return (int)now->lane; }

void barrier() {
    meet_all(block_waiting, [] {});
}
void warp_barrier() { meet(warp_waiting, 0); }
int shuffle(int value, int lane) { return meet(shuffling, value)[lane & 31]; }
int shuffle_xor(int value, int mask) {
    const int from = ((int)now->lane ^ mask) & 31;
    return meet(shuffling_xor, value)[from];
}
unsigned ballot(int predicate) {
    const int* all = meet(voting, predicate != 0);
    unsigned bits = 0;
    for (unsigned i = 0; i < lanes; i++) bits |= (unsigned)all[i] << i;
    return bits;
}

#define AT __builtin_return_address(0)
// No other thread runs meanwhile, so a plain change is an atomic one.
template <class T, class F> static T change_at(T* p, const void* pc, F f) {
    check_atomic(p, pc);
    const T old = *p;
    *p = f(old);
    return old;
}
int atomic_add(int* p, int x) { return change_at(p, AT, [=](int y) { return (int)((unsigned)y + (unsigned)x); }); }
unsigned atomic_add(unsigned* p, unsigned x) { return change_at(p, AT, [=](unsigned y) { return y + x; }); }
float atomic_add(float* p, float x) { return change_at(p, AT, [=](float y) { return y + x; }); }
int atomic_max(int* p, int x) { return change_at(p, AT, [=](int y) { return y < x ? x : y; }); }
int atomic_min(int* p, int x) { return change_at(p, AT, [=](int y) { return x < y ? x : y; }); }
int atomic_exchange(int* p, int x) { return change_at(p, AT, [=](int) { return x; }); }
int atomic_compare(int* p, int expected, int x) {
    return change_at(p, AT, [=](int y) { return y == expected ? x : y; });
}

void copy(void* to, const void* from, size_t n) {
    check_read(from, n, AT);
    check_write(to, n, AT);
    memcpy(to, from, n);
}
void check_ldg(const void* p, size_t n) { check_read_only(p, n, AT); }
void fill(void* to, int byte, size_t n) {
    check_write(to, n, AT);
    memset(to, byte, n);
}

Place place() {
    const uint3 b = launch_.at, t = now ? now->thread : uint3{0, 0, 0};
    return {launch_.kernel->name, {b.x, b.y, b.z}, {t.x, t.y, t.z}};
}
bool running() { return launch_.running; }

void abandon() {
    launch_.failed = true;
    turn_to(&outside);
    abort();
}

bool execute(const Kernel& kernel, Size3 grid, Size3 block, const void* args, Order order) {
    begin();
    const unsigned n = block.x * block.y * block.z;
    launch_.kernel = &kernel;
    launch_.reverse = order.reverse;
    launch_.at = order.reverse ? uint3{grid.x - 1, grid.y - 1, grid.z - 1} : uint3{0, 0, 0};
    if (n == 0 || n % lanes || n > max_threads || n > kernel.threads || !grid.x || !grid.y || !grid.z) {
        fault(launch_failed,
              "%s: blocks of %ux%ux%u threads, a grid of %ux%ux%u: threads must be a multiple of 32 and at most %u",
              kernel.name, block.x, block.y, block.z, grid.x, grid.y, grid.z, kernel.threads);
        return false;
    }
    launch_.args = args;
    launch_.grid = {grid.x, grid.y, grid.z};
    launch_.block = {block.x, block.y, block.z};
    launch_.n_warps = n / lanes;
    launch_.arrived = 0;
    launch_.failed = false;
    for (unsigned i = 0; i < n; i++)
        fibres[i].thread = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    if (now_checked.epoch > 0xf0000000) check_restart();
    now_checked.block_epoch = ++now_checked.epoch;
    now_checked.launch_epoch = order.races ? now_checked.epoch : ~0u;
    check_block();
    now = &outside;
    launch_.running = true;
    turn_to(&fibres[warps[0].current]);
    launch_.running = false;
    now = nullptr;
    if (launch_.failed) {
        prepare(0, n);
        tell();
    }
    return !launch_.failed;
}

}  // namespace rig
