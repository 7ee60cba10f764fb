// Every access of a kernel to memory comes by here: g++ -fsanitize=thread puts a call before each, and these are the
// functions it calls. Nothing of libtsan is linked. -fsanitize=alignment and =bounds do the same for vectors at crooked
// addresses and array indices.
#include "check.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "fibre.h"
#include "memory.h"
#include "report.h"

// The linker names the ends of the section that SHARED puts its variables in. Weak: there may be none.
extern "C" {
extern char __start_rig_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_rig_shared[] __attribute__((weak, visibility("hidden")));
}

namespace rig {
namespace {

uintptr_t die_begin = 0;
size_t die_span = 0;
int die_number = 0;
bool host_allowed = true;

// Of four bytes of shared memory: who wrote and who read them last. An epoch is the time between two barriers.
struct Word {
    uint32_t write_epoch, read_epoch;
    uint16_t writer, reader;  // warps; many_warps: several
    uint8_t initialised;      // which bytes were written in this block
    uint8_t written, read;    // which bytes by that warp in that epoch
};
constexpr uint16_t many_warps = 0xffff;
Word* words = nullptr;
uintptr_t shared_begin = 0;
size_t shared_span = 0, shared_used = 0;

const char* size_text(char (&buffer)[32], size_t n) {
    snprintf(buffer, sizeof buffer, "%zu byte%s", n, n == 1 ? "" : "s");
    return buffer;
}

// Constants and tables of the kernels: memory of this library that cannot be written.
bool read_only(uintptr_t a) {
    struct Search {
        uintptr_t address;
        bool found;
    } search = {a, false};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
            Search& s = *(Search*)data;
            bool here = false, constant = false;
            for (int i = 0; i < info->dlpi_phnum; i++) {
                const auto& h = info->dlpi_phdr[i];
                const uintptr_t begin = info->dlpi_addr + h.p_vaddr;
                const auto in = [&](uintptr_t x) { return x - begin < h.p_memsz; };
                // Constants with addresses in them lie where the loader writes once (PT_GNU_RELRO).
                if ((h.p_type == PT_LOAD && !(h.p_flags & PF_W) && in(s.address)) ||
                    (h.p_type == PT_GNU_RELRO && in(s.address)))
                    constant = true;
                if (h.p_type == PT_LOAD && in((uintptr_t)&read_only)) here = true;
            }
            s.found = here && constant;
            return here ? 1 : 0;
        },
        &search);
    return search.found;
}

__attribute__((noinline, cold)) void refuse(uintptr_t a, size_t n, bool write, const void* pc) {
    char size[32];
    const char* verb = write ? "writes" : "reads";
    size_text(size, n);
    const int die = die_of(a);
    if (die < 0)
        fault_at(pc, illegal_address, "%s %s of the host's memory, at %p", verb, size, (void*)a);
    if (dies[die].begin != die_begin)
        fault_at(pc, illegal_address, "runs on die %d but %s %s of die %d, at %p", die_number, verb, size, die,
                 (void*)a);
    const auto above = dies[die].allocations.upper_bound(a);
    const Allocation* lower = allocation_at(die, a);
    const Allocation* upper = above == dies[die].allocations.end() ? nullptr : &above->second;
    const size_t offset = lower ? a - lower->begin : 0,
                 past = lower && offset >= lower->bytes ? offset - lower->bytes : 0;
    if (upper && (!lower || (offset >= lower->bytes && upper->begin - a < past)))
        fault_at(pc, illegal_address, "%s %s at %p, %zu before the allocation of %zu bytes at %p (die %d)", verb, size,
                 (void*)a, upper->begin - a, upper->bytes, (void*)upper->begin, die);
    if (!lower) fault_at(pc, illegal_address, "%s %s at %p, where die %d has no allocation", verb, size, (void*)a, die);
    if (offset + n > lower->bytes)
        fault_at(pc, illegal_address, "%s %s at %p, offset %zu of the allocation of %zu bytes at %p (die %d)", verb,
                 size, (void*)a, offset, lower->bytes, (void*)lower->begin, die);
    const size_t good = written(a, n);
    fault_at(pc, launch_failed,
             "reads %s at %p, offset %zu of the allocation of %zu bytes at %p (die %d), which nobody wrote", size,
             (void*)a, offset + good, lower->bytes, (void*)lower->begin, die);
}

__attribute__((noinline, cold)) void refuse_shared(uintptr_t a, size_t n, const char* what, int other, const void* pc) {
    char size[32], who[48] = "";
    if (other == many_warps) snprintf(who, sizeof who, " by other warps");
    else if (other >= 0) snprintf(who, sizeof who, " by warp %d", other);
    fault_at(pc, launch_failed, "warp %u %s%s: %s of shared memory, at %#zx of the section", now_checked.warp, what,
             who, size_text(size, n), a - shared_begin);
}

// Not a die's memory, not a stack.
__attribute__((noinline, cold)) void elsewhere(uintptr_t a, size_t n, bool write, const void* pc) {
    if (!running()) return;
    if (host_allowed && die_of(a) < 0) return;
    if (!write && read_only(a)) return;
    refuse(a, n, write, pc);
}

void shared_read(uintptr_t a, size_t n, const void* pc) {
    for (const uintptr_t end = a + n; a < end;) {
        const unsigned shift = a & 3, k = (unsigned)(end - a < 4 - shift ? end - a : 4 - shift);
        const uint8_t mask = (uint8_t)(((1u << k) - 1) << shift);
        Word& w = words[(a - shared_begin) >> 2];
        const Now now = now_checked;
        if (w.write_epoch < now.block_epoch || (w.initialised & mask) != mask)
            refuse_shared(a, k, "reads what nobody wrote in this block", -1, pc);
        if (w.write_epoch == now.epoch && w.writer != now.warp && (w.written & mask))
            refuse_shared(a, k, "reads, with no barrier between, what was written", w.writer, pc);
        if (w.read_epoch != now.epoch) {
            w.read_epoch = now.epoch;
            w.reader = (uint16_t)now.warp;
            w.read = mask;
        } else {
            if (w.reader != now.warp) w.reader = many_warps;
            w.read |= mask;
        }
        a += k;
    }
}

void shared_write(uintptr_t a, size_t n, const void* pc, bool atomic) {
    for (const uintptr_t end = a + n; a < end;) {
        const unsigned shift = a & 3, k = (unsigned)(end - a < 4 - shift ? end - a : 4 - shift);
        const uint8_t mask = (uint8_t)(((1u << k) - 1) << shift);
        Word& w = words[(a - shared_begin) >> 2];
        const Now now = now_checked;
        if (w.write_epoch < now.block_epoch) {
            w.initialised = 0;
            shared_used += 4;
            if (shared_used > shared_limit)
                refuse_shared(a, k, "writes, beyond the 48 KiB that a block can have", -1, pc);
        }
        if (w.read_epoch == now.epoch && w.reader != now.warp && (w.read & mask) && !atomic)
            refuse_shared(a, k, "writes, with no barrier between, what was read", w.reader, pc);
        if (w.write_epoch == now.epoch && w.writer == now.warp) {
            w.written |= mask;
        } else {
            if (w.write_epoch == now.epoch && (w.written & mask) && !atomic)
                refuse_shared(a, k, "writes, with no barrier between, what was written", w.writer, pc);
            w.write_epoch = now.epoch;
            w.writer = (uint16_t)now.warp;
            w.written = mask;
        }
        w.initialised |= mask;
        a += k;
    }
}

// --- Memory of the die, between the threads of one launch ---

constexpr uint16_t by_atomic = 0xfffe;

template <class F> inline void by_word(uintptr_t a, size_t n, F f) {
    for (const uintptr_t end = a + n; a < end;) {
        const unsigned shift = a & 3, k = (unsigned)(end - a < 4 - shift ? end - a : 4 - shift);
        f(records[(a - all_begin) >> 2], (uint8_t)(((1u << k) - 1) << shift), a);
        a += k;
    }
}

__attribute__((noinline, cold)) void refuse_race(uintptr_t a, const char* what, const Record& r, const void* pc) {
    const Allocation* m = allocation_at(die_number, a);
    char who[40] = "another block";
    if (r.epoch >= now_checked.block_epoch)
        snprintf(who, sizeof who,
                 r.epoch == now_checked.epoch && r.warp != now_checked.warp ? "warp %u, with no barrier between,"
                                                                            : "warp %u",
                 r.warp);
    fault_at(pc, launch_failed,
             "warp %u %s %s wrote in this launch: offset %zu of the allocation of %zu bytes at %p (die %d)",
             now_checked.warp, what, who, (size_t)(a - m->begin), m->bytes, (void*)m->begin, die_number);
}

inline bool written_in_launch(uintptr_t a) {
    return page_epochs[(a - all_begin) >> page_shift] >= now_checked.launch_epoch;
}

__attribute__((noinline)) void race_read(uintptr_t a, size_t n, const void* pc) {
    const Now now = now_checked;
    by_word(a, n, [&](const Record& r, uint8_t mask, uintptr_t at) {
        if (r.epoch < now.launch_epoch || !(r.bytes & mask)) return;
        if (r.epoch < now.block_epoch ? !now.acquired
                                      : r.epoch == now.epoch && r.warp != now.warp && r.warp != by_atomic)
            refuse_race(at, "reads what", r, pc);
    });
}

inline void race_write(uintptr_t a, size_t n, const void* pc) {
    const Now now = now_checked;
    for (size_t page = (a - all_begin) >> page_shift; page <= (a + n - 1 - all_begin) >> page_shift; page++)
        page_epochs[page] = now.epoch;
    by_word(a, n, [&](Record& r, uint8_t mask, uintptr_t at) {
        if (r.epoch == now.epoch && r.warp == now.warp) {
            r.bytes |= mask;
            return;
        }
        if (r.epoch >= now.launch_epoch && (r.bytes & mask) && r.warp != by_atomic &&
            (r.epoch < now.block_epoch || r.epoch == now.epoch))
            refuse_race(at, "writes what", r, pc);
        r = {now.epoch, (uint16_t)now.warp, mask};
    });
}

inline bool on_stack(uintptr_t a) { return a - stacks_begin < stacks_bytes; }

__attribute__((noinline)) void read_slowly(uintptr_t a, size_t n, const void* pc) {
    if (a - die_begin < die_span) {
        if (written(a, n) != n) refuse(a, n, false, pc);
        if (written_in_launch(a) || written_in_launch(a + n - 1)) race_read(a, n, pc);
    } else if (a - shared_begin < shared_span) {
        shared_read(a, n, pc);
    } else if (!on_stack(a)) {
        elsewhere(a, n, false, pc);
    }
}

__attribute__((noinline)) void write_slowly(uintptr_t a, size_t n, const void* pc) {
    if (a - die_begin < die_span) {
        if (written(a, n) != n) {
            if (!holds(die_number, a, n)) refuse(a, n, true, pc);
            mark_written(a, n);
        }
        race_write(a, n, pc);
    } else if (a - shared_begin < shared_span) {
        shared_write(a, n, pc, false);
    } else if (!on_stack(a)) {
        elsewhere(a, n, true, pc);
    }
}

// For accesses that lie at a multiple of their size, so within one page: the compiler saw to it, or the alignment check
// did.
template <unsigned n> inline void read_one(void* p, const void* pc) {
    const uintptr_t a = (uintptr_t)p;
    if (__builtin_expect(a - die_begin < die_span, 1)) {
        const size_t offset = a - all_begin;
        const Page page = pages[offset >> page_shift];
        if (__builtin_expect(page == full && page_epochs[offset >> page_shift] < now_checked.launch_epoch, 1)) return;
        constexpr unsigned mask = n >= 8 ? 0xffu : (1u << n) - 1;
        if (n <= 8 && (page == part || page == edge) && a % n == 0 &&
            (written_bits[offset >> 3] >> (offset & 7) & mask) == mask && !written_in_launch(a))
            return;
    } else if (on_stack(a)) {
        return;
    }
    read_slowly(a, n, pc);
}

template <unsigned n> inline void write_one(void* p, const void* pc) {
    const uintptr_t a = (uintptr_t)p;
    if (__builtin_expect(a - die_begin < die_span, 1)) {
        const size_t offset = a - all_begin;
        const Page page = pages[offset >> page_shift];
        if (a % n == 0 && page >= fresh) {
            if (page != full) mark_in_page(offset, n);
            return race_write(a, n, pc);
        }
    } else if (on_stack(a)) {
        return;
    }
    write_slowly(a, n, pc);
}

}  // namespace

void check_for(int die, bool host_memory) {
    die_number = die;
    die_begin = die < n_dies ? dies[die].begin : 0;
    die_span = die < n_dies ? dies[die].span : 0;
    host_allowed = host_memory;
    if (words || !__start_rig_shared) return;
    shared_begin = (uintptr_t)__start_rig_shared;
    shared_span = (size_t)(__stop_rig_shared - __start_rig_shared);
    words = (Word*)mmap(nullptr, (shared_span / 4 + 1) * sizeof(Word), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (words == MAP_FAILED) abort();
}

void check_block() {
    shared_used = 0;
    now_checked.acquired = false;
}

void check_restart() {
    now_checked.epoch = 1;
    forget_records();
    if (words) madvise(words, (shared_span / 4 + 1) * sizeof(Word), MADV_DONTNEED);
}

void check_read(const void* p, size_t n, const void* pc) { read_slowly((uintptr_t)p, n, pc); }
void check_read_only(const void* p, size_t n, const void* pc) {
    const uintptr_t a = (uintptr_t)p;
    if (a - die_begin >= die_span || (!written_in_launch(a) && !written_in_launch(a + n - 1))) return;
    by_word(a, n, [&](const Record& r, uint8_t mask, uintptr_t at) {
        if (r.epoch >= now_checked.launch_epoch && (r.bytes & mask)) refuse_race(at, "reads by ldg what", r, pc);
    });
}
void check_write(const void* p, size_t n, const void* pc) { write_slowly((uintptr_t)p, n, pc); }
void check_atomic(const void* p, const void* pc) {
    const uintptr_t a = (uintptr_t)p;
    if (a % 4) fault_at(pc, misaligned, "an atomic operation at %p, which is no multiple of 4", p);
    if (a - shared_begin >= shared_span) {
        if (a - die_begin >= die_span) return read_slowly(a, 4, pc);
        if (written(a, 4) != 4) refuse(a, 4, false, pc);
        page_epochs[(a - all_begin) >> page_shift] = now_checked.epoch;
        records[(a - all_begin) >> 2] = {now_checked.epoch, by_atomic, 15};
        now_checked.acquired = true;
        return;
    }
    const Word& w = words[(a - shared_begin) >> 2];
    if (w.write_epoch < now_checked.block_epoch || w.initialised != 15)
        refuse_shared(a, 4, "changes what nobody wrote in this block", -1, pc);
    shared_write(a, 4, pc, true);
}

}  // namespace rig

// --- What g++ calls ---

using rig::read_one;
using rig::write_one;
#define HOOK extern "C" __attribute__((visibility("hidden"))) void
#define HERE __builtin_return_address(0)

HOOK __tsan_init() {}
HOOK __tsan_func_entry(void*) {}
HOOK __tsan_func_exit() {}
HOOK __tsan_vptr_update(void**, void*) {}
HOOK __tsan_vptr_read(void**) {}
HOOK __tsan_read1(void* p) { read_one<1>(p, HERE); }
HOOK __tsan_read2(void* p) { read_one<2>(p, HERE); }
HOOK __tsan_read4(void* p) { read_one<4>(p, HERE); }
HOOK __tsan_read8(void* p) { read_one<8>(p, HERE); }
HOOK __tsan_read16(void* p) { read_one<16>(p, HERE); }
HOOK __tsan_write1(void* p) { write_one<1>(p, HERE); }
HOOK __tsan_write2(void* p) { write_one<2>(p, HERE); }
HOOK __tsan_write4(void* p) { write_one<4>(p, HERE); }
HOOK __tsan_write8(void* p) { write_one<8>(p, HERE); }
HOOK __tsan_write16(void* p) { write_one<16>(p, HERE); }
// Here g++ knows that the type asks for less alignment than its size: no fault, a card reads it in parts.
HOOK __tsan_unaligned_read2(void* p) { rig::check_read(p, 2, HERE); }
HOOK __tsan_unaligned_read4(void* p) { rig::check_read(p, 4, HERE); }
HOOK __tsan_unaligned_read8(void* p) { rig::check_read(p, 8, HERE); }
HOOK __tsan_unaligned_read16(void* p) { rig::check_read(p, 16, HERE); }
HOOK __tsan_unaligned_write2(void* p) { rig::check_write(p, 2, HERE); }
HOOK __tsan_unaligned_write4(void* p) { rig::check_write(p, 4, HERE); }
HOOK __tsan_unaligned_write8(void* p) { rig::check_write(p, 8, HERE); }
HOOK __tsan_unaligned_write16(void* p) { rig::check_write(p, 16, HERE); }
HOOK __tsan_read_range(void* p, unsigned long n) { rig::check_read(p, n, HERE); }
HOOK __tsan_write_range(void* p, unsigned long n) { rig::check_write(p, n, HERE); }
HOOK __tsan_volatile_read1(void* p) { read_one<1>(p, HERE); }
HOOK __tsan_volatile_read2(void* p) { read_one<2>(p, HERE); }
HOOK __tsan_volatile_read4(void* p) { read_one<4>(p, HERE); }
HOOK __tsan_volatile_read8(void* p) { read_one<8>(p, HERE); }
HOOK __tsan_volatile_write1(void* p) { write_one<1>(p, HERE); }
HOOK __tsan_volatile_write2(void* p) { write_one<2>(p, HERE); }
HOOK __tsan_volatile_write4(void* p) { write_one<4>(p, HERE); }
HOOK __tsan_volatile_write8(void* p) { write_one<8>(p, HERE); }

namespace {
// How g++ describes a place and a type to these two.
struct Source {
    const char* file;
    uint32_t line, column;
};
struct Type {
    uint16_t kind, info;
    char name[1];
};
struct Mismatch {
    Source source;
    const Type* type;
    uint8_t log_alignment, kind;
};
struct Bounds {
    Source source;
    const Type *array, *index;
};
}  // namespace

HOOK __ubsan_handle_type_mismatch_v1(Mismatch* m, uintptr_t p) {
    if (!rig::running()) return;
    rig::fault_at(HERE, rig::misaligned, "%s, which must lie at multiples of %u, at %#zx (%s:%u)", m->type->name,
                  1u << m->log_alignment, p, m->source.file, m->source.line);
}
HOOK __ubsan_handle_out_of_bounds(Bounds* b, uintptr_t index) {
    if (!rig::running()) return;
    rig::fault_at(HERE, rig::launch_failed, "index %lld of %s (%s:%u)", (long long)(int64_t)index, b->array->name,
                  b->source.file, b->source.line);
}
