// Memory of the dies and page-locked memory of the host; copies and fills.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "driver.h"

namespace rig {

bool pinned(const void* p, size_t bytes) {
    auto it = host_ranges.upper_bound((uintptr_t)p);
    if (it == host_ranges.begin()) return false;
    --it;
    const size_t offset = (uintptr_t)p - it->first;
    return offset <= it->second.bytes && bytes <= it->second.bytes - offset;
}

namespace {

// The die that holds all of the range, or -1 with a fault told.
int device_range(const char* name, const char* what, Address p, size_t bytes) {
    const int die = die_of(p);
    if (die >= 0 && holds(die, p, bytes)) return die;
    const Allocation* a = die < 0 ? nullptr : allocation_at(die, p);
    if (a && p <= a->end())
        fault(wrong_use, "%s: %s of %zu bytes at offset %zu of an allocation of %zu bytes (die %d)", name, what, bytes,
              (size_t)(p - a->begin), a->bytes, die);
    else
        fault(wrong_use, "%s: %s of %zu bytes at %#llx, which is in no allocation", name, what, bytes, p);
    return -1;
}

bool host_range(const char* name, const char* what, const void* p) {
    if (p && die_of((uintptr_t)p) < 0) return true;
    fault(wrong_use, "%s: %s is %s", name, what, p ? "memory of a die, not of the host" : "a null pointer");
    return false;
}

// At the time of the copy: memory may have been freed since, and only what was written may be read.
int readable(const char* name, uintptr_t p, size_t bytes) {
    if (device_range(name, "source", p, bytes) < 0) return illegal_address;
    const size_t good = written(p, bytes);
    if (good == bytes || config.unwritten || !config.execute) return 0;
    const int die = die_of(p);
    const Allocation* a = allocation_at(die, p);
    fault(launch_failed,
          "%s: copies %zu bytes from offset %zu of the allocation of %zu bytes at %p (die %d); nobody wrote offset %zu",
          name, bytes, (size_t)(p - a->begin), a->bytes, (void*)a->begin, die, (size_t)(p - a->begin) + good);
    return launch_failed;
}
int writable(const char* name, uintptr_t p, size_t bytes) {
    return device_range(name, "destination", p, bytes) < 0 ? (int)illegal_address : 0;
}

// Whether a copy between the dies' contexts gets lost.
bool lost(int from, int to) {
    for (const Context* c : contexts) {
        for (const Context* peer : c->peers) {
            const bool these = (c->die == from && peer->die == to) || (c->die == to && peer->die == from);
            if (these && config.peer[c->die][peer->die] == Peer::lies) return true;
        }
    }
    return false;
}

// One copy, whichever ends it has: `to` and `from` are host memory where no die has them.
struct Copy {
    const char* name;
    uintptr_t to, from;
    size_t bytes;
    bool to_die, from_die;

    int run() const {
        if (to_die)
            if (const int e = writable(name, to, bytes)) return e;
        if (from_die)
            if (const int e = readable(name, from, bytes)) return e;
        // Of a model of real size only the times are wanted.
        if (!config.execute && to_die && bytes > (1u << 20)) return mark_written(to, bytes), 0;
        if (to_die && from_die) {
            const int a = die_of(from), b = die_of(to);
            if (a != b && lost(a, b)) mark_written(to, bytes);  // what was there stays, and nobody is told
            else copy_within(to, from, bytes);
        } else if (to_die) {
            copy_in(to, (const void*)from, bytes);
        } else if (from_die) {
            copy_out((void*)to, from, bytes);
        } else {
            memmove((void*)to, (const void*)from, bytes);
        }
        return 0;
    }

    Cost cost() const { return cost_of_copy(to_die ? die_of(to) : -1, from_die ? die_of(from) : -1, bytes); }

    // Whether its arguments make sense, and what to answer where they do not.
    bool sound() const {
        if (to_die ? device_range(name, "destination", to, bytes) < 0 : !host_range(name, "destination", (void*)to))
            return false;
        return from_die ? device_range(name, "source", from, bytes) >= 0 : host_range(name, "source", (void*)from);
    }
};

int copy_now(const Call& call, Copy copy) {
    CONTEXT;
    copy.name = call.name;
    if (copy.bytes == 0) return success;
    if (!copy.sound()) return invalid_value;
    if (const int error = synchronous(context)) return error;
    waited_for(schedule(host_time, copy.cost(), gap));
    return copy.run();
}

int copy_later(const Call& call, Copy copy, void* handle) {
    CONTEXT;
    Stream* s = stream_of(handle, context);
    copy.name = call.name;
    if (!s) return invalid_handle;
    if (copy.bytes == 0) return success;
    if (!copy.sound()) return invalid_value;
    Op op = {};
    op.name = call.name;
    op.run = [copy] { return copy.run(); };
    op.cost = [copy] { return copy.cost(); };
    op.touches = {{copy.to, copy.bytes}, {copy.from, copy.bytes}};
    // What the host sees before it has waited: not what it hopes for.
    const bool to_pinned = !copy.to_die && pinned((void*)copy.to, copy.bytes);
    const bool poison = config.defer && config.poison && to_pinned && !s->graph && !s->context->sticky && !call.error &&
                        !waiting_on(copy.to, copy.bytes);
    const int error = submit(s, std::move(op), call);
    if (error) return error;
    if (poison) memset((void*)copy.to, 0xff, copy.bytes);
    // From or to pageable memory a driver returns when the host's side is done.
    const bool pageable = (!copy.to_die && !to_pinned) || (!copy.from_die && !pinned((void*)copy.from, copy.bytes));
    if (!pageable || s->graph) return success;
    const int late = drain(s);
    waited_for(s->time);
    return late;
}

int fill_now(const Call& call, Address p, uint32_t value, size_t n, bool words) {
    CONTEXT;
    if (n == 0) return success;
    if (words && p % 4) return invalid_value;
    if (device_range(call.name, "destination", p, words ? n * 4 : n) < 0) return invalid_value;
    if (const int error = synchronous(context)) return error;
    words ? fill_words(p, value, n) : fill_bytes(p, (unsigned char)value, n);
    return success;
}

int fill_later(const Call& call, Address p, uint32_t value, size_t n, bool words, void* handle) {
    CONTEXT;
    Stream* s = stream_of(handle, context);
    const size_t bytes = words ? n * 4 : n;
    if (!s) return invalid_handle;
    if (n == 0) return success;
    if (words && p % 4) return invalid_value;
    if (device_range(call.name, "destination", p, bytes) < 0) return invalid_value;
    Op op = {};
    op.name = call.name;
    op.touches = {{(uintptr_t)p, bytes}};
    op.cost = [die = context->die, bytes] { return cost_of_copy(die, die, bytes / 2); };
    op.run = [=, name = call.name] {
        if (const int e = writable(name, p, bytes)) return e;
        if (!config.execute && bytes > (1u << 20)) return mark_written(p, bytes), 0;
        words ? fill_words(p, value, n) : fill_bytes(p, (unsigned char)value, n);
        return 0;
    };
    return submit(s, std::move(op), call);
}

}  // namespace
}  // namespace rig

using namespace rig;

FACE cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER;
    CONTEXT;
    if (!free || !total) return invalid_value;
    *free = dies[context->die].reported_free();
    *total = dies[context->die].config.memory;
    return success;
}

FACE cuMemAlloc_v2(Address* out, size_t bytes) {
    ENTER;
    CONTEXT;
    int error = 0;
    if (!out || bytes == 0) return invalid_value;
    if (forbidden(error)) return error;
    const uintptr_t p = allocate(context->die, bytes, context);
    if (!p) return out_of_memory;
    return *out = p, success;
}

FACE cuMemFree_v2(Address p) {
    ENTER_RELEASE;
    if (p == 0) return call.release(success);
    const int die = die_of(p);
    if (die < 0 || !dies[die].allocations.count(p)) {
        fault(wrong_use, "cuMemFree of %#llx, which is no allocation", p);
        return invalid_value;
    }
    int error = 0;
    if (forbidden(error)) return error;
    const Allocation a = dies[die].allocations[p];
    Context* owner = (Context*)a.owner;
    if (const char* name = waiting_on(a.begin, a.bytes)) {
        fault(wrong_use, "cuMemFree of %zu bytes on die %d that waiting work (%s) uses", a.bytes, die, name);
        drain(owner);
    }
    release(die, p);
    return call.release(owner ? owner->sticky : success);
}

FACE cuMemGetAddressRange_v2(Address* base, size_t* bytes, Address p) {
    ENTER;
    CONTEXT;
    const int die = die_of(p);
    if (die < 0 || !holds(die, p, 1)) return not_found;
    const Allocation* a = allocation_at(die, p);
    if (base) *base = a->begin;
    if (bytes) *bytes = a->bytes;
    return success;
}

// --- Page-locked memory ---

static int allocate_host(void** out, size_t bytes) {
    CONTEXT;
    int error = 0;
    if (!out || bytes == 0) return invalid_value;
    if (forbidden(error)) return error;
    if (config.host_limit && host_allocated + host_registered + bytes > config.host_limit) return out_of_memory;
    // With a page without access behind it, so that an overrun is seen.
    const size_t whole = (bytes + page_bytes - 1) / page_bytes * page_bytes;
    void* p =
        mmap(nullptr, whole + page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return out_of_memory;
    mprotect((char*)p + whole, page_bytes, PROT_NONE);
    host_ranges[(uintptr_t)p] = {bytes, false, p};
    host_allocated += bytes;
    return *out = p, success;
}
FACE cuMemAllocHost_v2(void** out, size_t bytes) {
    ENTER;
    return allocate_host(out, bytes);
}
FACE cuMemHostAlloc(void** out, size_t bytes, unsigned flags) {
    ENTER;
    if (flags > 7) return invalid_value;
    return allocate_host(out, bytes);
}

// Page-locked memory that waiting work uses has to stay.
static void unused_or_fault(const char* name, uintptr_t p, size_t bytes) {
    if (const char* work = waiting_on(p, bytes)) {
        fault(wrong_use, "%s of %zu bytes that waiting work (%s) uses", name, bytes, work);
        for (Context* c : contexts)
            if (c->alive) drain(c);
    }
}

FACE cuMemFreeHost(void* p) {
    ENTER_RELEASE;
    auto it = host_ranges.find((uintptr_t)p);
    if (it == host_ranges.end() || it->second.registered) {
        fault(wrong_use, "cuMemFreeHost of %p, which is no allocation of cuMemAllocHost", p);
        return invalid_value;
    }
    const HostRange r = it->second;
    unused_or_fault("cuMemFreeHost", (uintptr_t)p, r.bytes);
    munmap(p, (r.bytes + page_bytes - 1) / page_bytes * page_bytes + page_bytes);
    host_allocated -= r.bytes;
    host_ranges.erase((uintptr_t)p);
    return call.release(success);
}

FACE cuMemHostRegister_v2(void* p, size_t bytes, unsigned flags) {
    ENTER;
    CONTEXT;
    if (!p || bytes == 0 || flags > 15) return invalid_value;
    if (die_of((uintptr_t)p) >= 0) return invalid_value;
    for (const auto& r : host_ranges)
        if (r.first < (uintptr_t)p + bytes && (uintptr_t)p < r.first + r.second.bytes) return host_already_registered;
    if (config.host_limit && host_allocated + host_registered + bytes > config.host_limit) return out_of_memory;
    host_ranges[(uintptr_t)p] = {bytes, true, nullptr};
    host_registered += bytes;
    return success;
}

FACE cuMemHostUnregister(void* p) {
    ENTER_RELEASE;
    auto it = host_ranges.find((uintptr_t)p);
    if (it == host_ranges.end() || !it->second.registered) {
        fault(wrong_use, "cuMemHostUnregister of %p, which is not registered", p);
        return host_not_registered;
    }
    const size_t bytes = it->second.bytes;
    unused_or_fault("cuMemHostUnregister", (uintptr_t)p, bytes);
    host_registered -= bytes;
    host_ranges.erase((uintptr_t)p);
    return call.release(success);
}

FACE cuMemHostGetDevicePointer_v2(Address*, void*, unsigned) {
    ENTER;
    return not_supported;  // kernels of this project keep to their die's memory
}
FACE cuMemHostGetFlags(unsigned* out, void* p) {
    ENTER;
    if (!host_ranges.count((uintptr_t)p)) return invalid_value;
    return *out = 0, success;
}

// --- Copies ---

FACE cuMemcpyHtoD_v2(Address to, const void* from, size_t n) {
    ENTER;
    return copy_now(call, {"", (uintptr_t)to, (uintptr_t)from, n, true, false});
}
FACE cuMemcpyDtoH_v2(void* to, Address from, size_t n) {
    ENTER;
    return copy_now(call, {"", (uintptr_t)to, (uintptr_t)from, n, false, true});
}
FACE cuMemcpyDtoD_v2(Address to, Address from, size_t n) {
    ENTER;
    return copy_now(call, {"", (uintptr_t)to, (uintptr_t)from, n, true, true});
}
FACE cuMemcpy(Address to, Address from, size_t n) {
    ENTER;
    return copy_now(call, {"", (uintptr_t)to, (uintptr_t)from, n, die_of(to) >= 0, die_of(from) >= 0});
}
FACE cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t n, void* stream) {
    ENTER_LATE;
    return copy_later(call, {"", (uintptr_t)to, (uintptr_t)from, n, true, false}, stream);
}
FACE cuMemcpyDtoHAsync_v2(void* to, Address from, size_t n, void* stream) {
    ENTER_LATE;
    return copy_later(call, {"", (uintptr_t)to, (uintptr_t)from, n, false, true}, stream);
}
FACE cuMemcpyDtoDAsync_v2(Address to, Address from, size_t n, void* stream) {
    ENTER_LATE;
    return copy_later(call, {"", (uintptr_t)to, (uintptr_t)from, n, true, true}, stream);
}
FACE cuMemcpyAsync(Address to, Address from, size_t n, void* stream) {
    ENTER_LATE;
    return copy_later(call, {"", (uintptr_t)to, (uintptr_t)from, n, die_of(to) >= 0, die_of(from) >= 0}, stream);
}

// That the contexts of a peer copy are those of the memory.
static bool contexts_fit(const char* name, Address to, void* to_context, Address from, void* from_context) {
    Context *a = alive<Context>(to_context, "context"), *b = alive<Context>(from_context, "context");
    if (!a || !b) return false;
    if (die_of(to) == a->die && die_of(from) == b->die) return true;
    fault(wrong_use, "%s: memory of dies %d and %d with contexts of dies %d and %d", name, die_of(to), die_of(from),
          a->die, b->die);
    return false;
}
FACE cuMemcpyPeer(Address to, void* to_context, Address from, void* from_context, size_t n) {
    ENTER;
    if (!contexts_fit(call.name, to, to_context, from, from_context)) return invalid_context;
    // Such a copy waits for all that came before in both contexts.
    for (void* c : {to_context, from_context})
        if (const int error = synchronous((Context*)c)) return error;
    return copy_now(call, {"", (uintptr_t)to, (uintptr_t)from, n, true, true});
}
FACE cuMemcpyPeerAsync(Address to, void* to_context, Address from, void* from_context, size_t n, void* stream) {
    ENTER_LATE;
    if (!contexts_fit(call.name, to, to_context, from, from_context)) return invalid_context;
    return copy_later(call, {"", (uintptr_t)to, (uintptr_t)from, n, true, true}, stream);
}

// --- Fills ---

FACE cuMemsetD8_v2(Address p, unsigned char value, size_t n) {
    ENTER;
    return fill_now(call, p, value, n, false);
}
FACE cuMemsetD32_v2(Address p, unsigned value, size_t n) {
    ENTER;
    return fill_now(call, p, value, n, true);
}
FACE cuMemsetD8Async(Address p, unsigned char value, size_t n, void* stream) {
    ENTER_LATE;
    return fill_later(call, p, value, n, false, stream);
}
FACE cuMemsetD32Async(Address p, unsigned value, size_t n, void* stream) {
    ENTER_LATE;
    return fill_later(call, p, value, n, true, stream);
}
