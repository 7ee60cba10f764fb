// Contexts, and who is current in which thread.
#include <algorithm>
#include <cstring>

#include "driver.h"

namespace rig {
namespace {

thread_local std::vector<Context*> stack;

struct Primary {
    Context* context = nullptr;
    int users = 0;
    unsigned flags = 0;
};
Primary primaries[max_dies];

Context* make_context(int die, bool primary) {
    Die& d = dies[die];
    if (d.config.overhead > d.room()) return nullptr;
    Context* c = new Context(die, primary);
    c->reserved = d.config.overhead;
    d.reserved += c->reserved;
    return c;
}

}  // namespace

Context* current() { return stack.empty() ? nullptr : stack.back(); }

Context* usable(const char* name, int& error) {
    Context* c = current();
    if (!c || !c->alive) {
        fault(wrong_use, "%s: %s", name,
              c ? "the current context is destroyed" : "no context is current in this thread");
        error = c ? context_is_destroyed : invalid_context;
        return nullptr;
    }
    error = c->sticky;
    return error ? nullptr : c;
}

void destroy_context(Context* context) {
    drain(context);
    Die& d = dies[context->die];
    std::vector<uintptr_t> left;
    size_t bytes = 0;
    for (const auto& a : d.allocations) {
        if (a.second.owner != context) continue;
        left.push_back(a.first);
        bytes += a.second.bytes;
    }
    std::string things;
    for (Object* o : objects) {
        if (!o->alive || o->context != context || o == context->null_stream) continue;
        if (strcmp(o->kind, "function") != 0) things += std::string(things.empty() ? "" : ", ") + o->kind;
        o->alive = false;
    }
    // Of one that died nothing more can be asked; its end takes all with it.
    if (!left.empty() && !context->sticky)
        fault(wrong_use, "the context of die %d is destroyed with %zu allocations (%zu bytes)", context->die,
              left.size(), bytes);
    if (!things.empty() && !context->sticky)
        fault(wrong_use, "the context of die %d is destroyed with: %s", context->die, things.c_str());
    for (uintptr_t a : left) release(context->die, a);
    d.reserved -= context->reserved;
    context->null_stream->alive = context->alive = false;
    context->peers.clear();
    for (Context* c : contexts) c->peers.erase(context);
}

}  // namespace rig

using namespace rig;

FACE cuDevicePrimaryCtxRetain(void** out, int device) {
    ENTER;
    if (!out) return invalid_value;
    if (device < 0 || device >= n_dies) return invalid_device;
    Primary& p = primaries[device];
    if (!p.context && !(p.context = make_context(device, true))) return out_of_memory;
    p.users++;
    return *out = p.context, success;
}

static int release_primary(int device, bool all) {
    if (device < 0 || device >= n_dies) return invalid_device;
    Primary& p = primaries[device];
    if (!p.context) {
        if (all) return success;
        fault(wrong_use, "the primary context of die %d is released, but nobody holds it", device);
        return invalid_context;
    }
    p.users = all ? 0 : p.users - 1;
    if (p.users > 0) return success;
    destroy_context(p.context);
    p.context = nullptr;
    return success;
}
FACE cuDevicePrimaryCtxRelease(int device) {
    ENTER_RELEASE;
    return call.release(release_primary(device, false));
}
FACE cuDevicePrimaryCtxRelease_v2(int device) {
    ENTER_RELEASE;
    return call.release(release_primary(device, false));
}
FACE cuDevicePrimaryCtxReset_v2(int device) {
    ENTER_RELEASE;
    return call.release(release_primary(device, true));
}

FACE cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) {
    ENTER;
    if (device < 0 || device >= n_dies) return invalid_device;
    return primaries[device].flags = flags, success;
}

FACE cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
    ENTER;
    if (device < 0 || device >= n_dies) return invalid_device;
    *flags = primaries[device].flags;
    *active = primaries[device].context != nullptr;
    return success;
}

FACE cuCtxCreate_v2(void** out, unsigned, int device) {
    ENTER;
    if (!out) return invalid_value;
    if (device < 0 || device >= n_dies) return invalid_device;
    Context* c = make_context(device, false);
    if (!c) return out_of_memory;
    stack.push_back(c);
    return *out = c, success;
}

FACE cuCtxDestroy_v2(void* handle) {
    ENTER_RELEASE;
    Context* c = alive<Context>(handle, "context");
    if (!c) return invalid_context;
    if (c->primary) {
        fault(wrong_use, "cuCtxDestroy of a primary context");
        return invalid_context;
    }
    destroy_context(c);
    if (current() == c) stack.pop_back();
    return call.release(success);
}

FACE cuCtxSetCurrent(void* handle) {
    ENTER;
    Context* c = handle ? alive<Context>(handle, "context") : nullptr;
    if (handle && !c) return invalid_context;
    if (!stack.empty()) stack.pop_back();
    if (c) stack.push_back(c);
    return success;
}

FACE cuCtxGetCurrent(void** out) {
    ENTER;
    if (!out) return invalid_value;
    return *out = current(), success;
}

FACE cuCtxPushCurrent_v2(void* handle) {
    ENTER;
    Context* c = alive<Context>(handle, "context");
    if (!c) return invalid_context;
    return stack.push_back(c), success;
}

FACE cuCtxPopCurrent_v2(void** out) {
    ENTER;
    if (stack.empty()) {
        fault(wrong_use, "cuCtxPopCurrent: no context is current in this thread");
        return invalid_context;
    }
    if (out) *out = stack.back();
    return stack.pop_back(), success;
}

FACE cuCtxGetDevice(int* out) {
    ENTER;
    CONTEXT;
    return *out = context->die, success;
}

FACE cuCtxGetFlags(unsigned* out) {
    ENTER;
    CONTEXT;
    return *out = 0, success;
}
FACE cuCtxSetFlags(unsigned) {
    ENTER;
    CONTEXT;
    return success;
}

FACE cuCtxGetApiVersion(void*, unsigned* out) {
    ENTER;
    return *out = 3020, success;
}

FACE cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    ENTER;
    CONTEXT;
    if (least) *least = 0;
    if (greatest) *greatest = -1;
    return success;
}

FACE cuCtxGetLimit(size_t* out, int) {
    ENTER;
    CONTEXT;
    return *out = 1024, success;
}
FACE cuCtxSetLimit(int, size_t) {
    ENTER;
    CONTEXT;
    return success;
}
FACE cuCtxGetCacheConfig(int* out) {
    ENTER;
    CONTEXT;
    return *out = 0, success;
}
FACE cuCtxSetCacheConfig(int) {
    ENTER;
    CONTEXT;
    return success;
}

FACE cuCtxSynchronize() {
    ENTER_RELEASE;
    CONTEXT;
    int error = 0;
    if (forbidden(error)) return error;
    error = drain(context);
    for (const Stream* s : streams)
        if (s->context == context) host_time = std::max(host_time, s->time);
    return call.release(error);
}

FACE cuCtxEnablePeerAccess(void* handle, unsigned flags) {
    ENTER;
    CONTEXT;
    Context* peer = alive<Context>(handle, "context");
    if (!peer) return invalid_context;
    if (flags) return invalid_value;
    if (peer->die == context->die) return invalid_device;
    if (config.peer[context->die][peer->die] == Peer::no) return peer_unsupported;
    if (!context->peers.insert(peer).second) return peer_already_enabled;
    return success;
}

FACE cuCtxDisablePeerAccess(void* handle) {
    ENTER_RELEASE;
    CONTEXT;
    Context* peer = alive<Context>(handle, "context");
    if (!peer) return invalid_context;
    return call.release(context->peers.erase(peer) ? success : peer_not_enabled);
}
