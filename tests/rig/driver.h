// What stands behind the driver's face: its objects, the queues of work, and how each call begins.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "clock.h"
#include "config.h"
#include "memory.h"
#include "report.h"

#define FACE extern "C" __attribute__((visibility("default"))) int

namespace rig {

using Address = unsigned long long;  // CUdeviceptr

enum Result {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    not_initialized = 3,
    no_device = 100,
    invalid_device = 101,
    invalid_image = 200,
    invalid_context = 201,
    no_binary = 209,
    peer_unsupported = 217,
    unsupported_ptx = 222,
    invalid_handle = 400,
    not_found = 500,
    not_ready = 600,
    peer_already_enabled = 704,
    peer_not_enabled = 705,
    context_is_destroyed = 709,
    host_already_registered = 712,
    host_not_registered = 713,
    not_supported = 801,
    capture_unsupported = 900,
    capture_invalidated = 901,
    capture_unmatched = 903,
    capture_unjoined = 904,
    capture_implicit = 906,
};

// --- Objects. One that was destroyed keeps its place in memory, so that its use is found. ---

struct Context;
struct Stream;
struct Graph;

struct Object {
    const char* kind;
    bool alive = true;
    Context* context = nullptr;
    explicit Object(const char* kind, Context* context = nullptr);
    virtual ~Object() = default;
};

struct Range {
    uintptr_t begin;
    size_t bytes;
    bool overlaps(uintptr_t p, size_t n) const { return begin < p + n && p < begin + bytes; }
};

struct Event : Object {
    bool timing;
    uint64_t recorded = 0, done = 0;  // how often; a wait is for one of them
    Stream* stream = nullptr;         // of the latest record
    std::map<uint64_t, double> times;  // by the clock, of the latest records
    Graph* captured = nullptr;
    std::map<Stream*, int> covers;    // of a capture: what comes before this record
    int mark = 0;                     // likewise: the number of the record
    Event(Context* c, bool timing) : Object("event", c), timing(timing) {}
};

// A piece of work. Waits and records have an event; the rest has `run`.
struct Op {
    const char* name;
    std::function<int()> run;
    Event *record = nullptr, *wait = nullptr;
    uint64_t version = 0;
    Stream* from = nullptr;      // of a wait: where the event was recorded
    std::function<Cost()> cost;  // asked just before it runs
    double given = 0;            // the host's time then
    Stream* home = nullptr;      // of captured work
    int mark = 0, after = 0;     // of captured work: a record of an event, or the record that it waits for
    std::vector<Range> touches;  // memory of dies and pinned memory that has to stay until it has run
};

struct Stream : Object {
    bool blocking;  // kept in order with the null stream
    std::deque<Op> queue;
    Graph* graph = nullptr;  // while capturing
    bool origin = false;     // the capture began here
    double time = 0;         // by the clock: when all that ran so far is done
    int last = 0;            // the number of its latest captured piece of work
    std::map<Stream*, int> covers;
    Stream(Context* c, bool blocking);
};

// A record of an event or a wait for one, within a recording; ahead of the piece of work with that number.
struct Mark {
    size_t before;
    Op op;
};

struct Graph : Object {
    std::vector<Op> ops;
    std::vector<Mark> marks;
    std::vector<Stream*> streams;
    int mode = 0;
    bool invalid = false;
    uint64_t thread = 0;
    explicit Graph(const char* kind) : Object(kind) {}  // capture, graph, executable graph
};

struct Module : Object {
    std::string names;  // the image's, kernels' among them; empty: any will do
    std::map<std::string, struct Function*> functions;
    explicit Module(Context* c) : Object("module", c) {}
};

struct Function : Object {
    Module* module;
    const struct Kernel* kernel;
    Function(Module* m, const Kernel* k) : Object("function", m->context), module(m), kernel(k) {}
};

struct Context : Object {
    int die;
    bool primary;
    int sticky = 0;  // after a fault every call answers this
    uint64_t reserved = 0;
    Stream* null_stream;
    std::set<Context*> peers;  // whose memory this one may reach
    Context(int die, bool primary);
};

struct HostRange {
    size_t bytes;
    bool registered;
    void* map;
};

// --- The state ---

extern std::recursive_mutex lock;
extern Config config;
extern bool initialized;
extern std::set<Object*> objects;                    // alive, and dead since the last bury()
extern std::set<Object*> buried;                     // dead before; kept, so that no handle comes again
extern std::vector<Stream*> streams;                 // those of them that are looked through often
extern std::vector<Context*> contexts;
extern std::map<uintptr_t, HostRange> host_ranges;   // page-locked memory
extern uint64_t host_allocated, host_registered;

void begin_once();                  // reads the configuration
size_t live_objects();
void bury();                        // puts dead objects where nobody looks through them
template <class T> T* alive(void* handle, const char* kind) {
    Object* o = static_cast<Object*>(handle);
    if ((!objects.count(o) && !buried.count(o)) || strcmp(o->kind, kind) != 0) {
        fault(wrong_use, "%p is no %s", handle, kind);
        return nullptr;
    }
    if (!o->alive) {
        fault(wrong_use, "use of a destroyed %s", kind);
        return nullptr;
    }
    return static_cast<T*>(o);
}

// --- A call of the face: takes the lock, is counted and named, and fails where a test asked for it ---

struct Call {
    std::lock_guard<std::recursive_mutex> guard;
    const char* name;
    int error = 0;         // asked for by a test
    bool delayed = false;  // and only when the work is done
    explicit Call(const char* name);
    // For calls that give something back: it is done even where the call has to fail.
    int release(int result) const { return error ? error : result; }
};
#define ENTER                   \
    rig::Call call(__func__);   \
    if (call.error) return call.error
#define ENTER_LATE              \
    rig::Call call(__func__);   \
    if (call.error && !call.delayed) return call.error
#define ENTER_RELEASE rig::Call call(__func__)

// --- Contexts ---

Context* current();
// The current context, ready for use; else null, and the error to answer.
Context* usable(const char* name, int& error);
#define CONTEXT                                             \
    int context_error = 0;                                  \
    rig::Context* context = rig::usable(__func__, context_error); \
    if (!context) return context_error

// --- Work (queue.cpp) ---

// The stream of a handle, null handles too. Null, with a fault told, where there is none.
Stream* stream_of(void* handle, Context* context);
// Now or later, as the configuration says. `call` may ask for it to fail.
int submit(Stream* stream, Op op, const Call& call);
// Runs what a stream has waiting, or all streams of a context. The answer is the context's error.
int drain(Stream* stream);
int drain(Context* context);
bool drain_one(Stream* stream);
void drain_event(Event* event, uint64_t version, Stream* stream);
// Brings the host's clock to work that it has waited for.
void waited_for(double time);
// What comes first before a synchronous copy: the null stream, and those in order with it.
int synchronous(Context* context);
// True, with the error to answer, where a capture forbids such a call.
bool forbidden(int& error, Stream* stream = nullptr);
// The name of waiting work that uses the memory, or null.
const char* waiting_on(uintptr_t begin, size_t bytes);

void destroy_context(Context* context);

// --- Page-locked memory ---

bool pinned(const void* p, size_t bytes);

// --- Module images ---

uint64_t launches();  // kernels run
int check_image(const char* image, const DieConfig& die, int driver, std::string& names);

}  // namespace rig
