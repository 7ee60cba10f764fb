// Work and its order. With `defer` nothing asynchronous happens before a synchronisation asks for it: the latest moment
// that a card may choose. A host that reads or changes page-locked memory too early then gets wrong numbers every time.
#include <algorithm>
#include <thread>

#include "driver.h"

namespace rig {
namespace {

// Every stream that is alive, with work or not.
template <class F> void each_stream(F f) {
    for (Stream* s : streams)
        if (s->alive) f(s);
}

void perform(Op& op, Stream* stream) {
    Context* context = stream->context;
    if (op.record) {
        op.record->done = std::max(op.record->done, op.version);
        auto& times = op.record->times;
        times[op.version] = std::max(stream->time, op.given);
        if (times.size() > 256) times.erase(times.begin());
    } else if (op.wait) {
        drain_event(op.wait, op.version, op.from);
        const auto at = op.wait->times.find(op.version);
        if (at != op.wait->times.end()) stream->time = std::max(stream->time, at->second);
    } else if (!context->sticky) {  // after a fault nothing is done any more
        if (op.cost) stream->time = schedule(std::max(stream->time, op.given), op.cost(), gap);
        const int error = op.run();
        if (error && !context->sticky) context->sticky = error;
    }
}

// A recording's work. Each of its streams begins where `s`, in which it is replayed, stands, and `s` goes on when all
// are done; waits within it carry times as they do outside.
int replay(const std::vector<Op>& ops, const std::vector<Mark>& marks, Stream* s) {
    std::map<Stream*, double> times;
    std::vector<double> reached(marks.size() + 1, s->time);
    size_t next = 0;
    auto time_of = [&](Stream* home) -> double& { return times.emplace(home, s->time).first->second; };
    int error = 0;
    for (size_t i = 0; i <= ops.size() && !error; i++) {
        for (; next < marks.size() && marks[next].before <= i; next++) {
            const Op& m = marks[next].op;
            if (m.mark) reached[(size_t)m.mark] = time_of(m.home);
            else time_of(m.home) = std::max(time_of(m.home), reached[(size_t)m.after]);
        }
        if (i == ops.size()) break;
        double& time = time_of(ops[i].home);
        if (ops[i].cost) time = schedule(time, ops[i].cost(), gap_in_graph);
        error = ops[i].run();
    }
    for (const auto& t : times) s->time = std::max(s->time, t.second);
    return error;
}

uint64_t this_thread() { return (uint64_t)std::hash<std::thread::id>()(std::this_thread::get_id()); }

}  // namespace

Stream* stream_of(void* handle, Context* context) {
    if ((uintptr_t)handle <= 2) return context->null_stream;  // null, legacy, per thread
    return alive<Stream>(handle, "stream");
}

int submit(Stream* stream, Op op, const Call& call) {
    Context* context = stream->context;
    if (context->sticky) return context->sticky;
    if (op.cost || op.record) op.given = host_time += launch_call;
    if (call.error) {
        const int code = call.error;
        op.run = [code] { return code; };
    }
    if (stream->graph) {
        if (stream->graph->invalid) return capture_invalidated;
        stream->last = (int)stream->graph->ops.size() + 1;
        stream->covers[stream] = stream->last;
        op.home = stream;
        stream->graph->ops.push_back(std::move(op));
        return success;
    }
    int capturing = 0;
    if (stream->blocking) {
        // The null stream and the streams in order with it: what comes earlier on the other side is done first.
        each_stream([&](Stream* s) {
            if (s->context != context || s == stream || !s->blocking) return;
            if (stream != context->null_stream && s != context->null_stream) return;
            if (s->graph) s->graph->invalid = true, capturing = capture_implicit;
            else drain(s);
        });
        if (capturing) return capturing;
    }
    stream->queue.push_back(std::move(op));
    if (!config.defer) drain(stream);
    return success;
}

bool drain_one(Stream* stream) {
    if (stream->queue.empty()) return false;
    Op op = std::move(stream->queue.front());
    stream->queue.pop_front();
    perform(op, stream);
    return true;
}

int drain(Stream* stream) {
    while (drain_one(stream)) {}
    return stream->context->sticky;
}

void waited_for(double time) { host_time = std::max(host_time, time) + wake_up; }

int drain(Context* context) {
    std::vector<Stream*> mine;
    each_stream([&](Stream* s) {
        if (s->context == context) mine.push_back(s);
    });
    for (Stream* s : mine) drain(s);
    return context->sticky;
}

void drain_event(Event* event, uint64_t version, Stream* stream) {
    while (event->done < version && stream && drain_one(stream)) {}
}

int synchronous(Context* context) {
    int error = 0;
    if (forbidden(error)) return error;
    std::vector<Stream*> ordered;
    each_stream([&](Stream* s) {
        if (s->context == context && s->blocking) ordered.push_back(s);
    });
    for (Stream* s : ordered) {
        if (s->graph) return s->graph->invalid = true, capture_implicit;
        drain(s);
        host_time = std::max(host_time, s->time);
    }
    return context->sticky;
}

bool forbidden(int& error, Stream* stream) {
    Graph* hit = stream ? stream->graph : nullptr;
    if (!stream) {
        each_stream([&](Stream* s) {
            Graph* g = s->graph;
            if (g && (g->mode == 0 || (g->mode == 1 && g->thread == this_thread()))) hit = g;
        });
    }
    if (!hit) return false;
    hit->invalid = true;
    error = capture_unsupported;
    return true;
}

const char* waiting_on(uintptr_t begin, size_t bytes) {
    const char* name = nullptr;
    each_stream([&](Stream* s) {
        if (s->context->sticky) return;  // nothing of it will be done
        for (const Op& op : s->queue)
            for (const Range& r : op.touches)
                if (r.overlaps(begin, bytes)) name = op.name;
    });
    return name;
}

}  // namespace rig

using namespace rig;

// --- Streams ---

static int create_stream(void** out, unsigned flags) {
    CONTEXT;
    if (!out || flags > 1) return invalid_value;
    *out = new Stream(context, flags == 0);
    return success;
}
FACE cuStreamCreate(void** out, unsigned flags) {
    ENTER;
    return create_stream(out, flags);
}
FACE cuStreamCreateWithPriority(void** out, unsigned flags, int) {
    ENTER;
    return create_stream(out, flags);
}

FACE cuStreamDestroy_v2(void* handle) {
    ENTER_RELEASE;
    Stream* s = alive<Stream>(handle, "stream");
    if (!s) return invalid_handle;
    if (s->graph) s->graph->invalid = true, s->graph->alive = s->graph->alive && !(s->origin && s->context->sticky);
    const int error = drain(s);
    s->alive = false;
    return call.release(error);
}

// The synchronising calls wait even where a test wants them to fail: so does a driver that tells an error of the work.
FACE cuStreamSynchronize(void* handle) {
    ENTER_RELEASE;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    int error = 0;
    if (!s) return invalid_handle;
    if (forbidden(error, s)) return error;
    if (s == s->context->null_stream && (error = synchronous(s->context))) return error;
    error = drain(s);
    waited_for(s->time);
    return call.release(error);
}

// A host that asks again and again sees the work go on.
FACE cuStreamQuery(void* handle) {
    ENTER;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    int error = 0;
    if (!s) return invalid_handle;
    if (forbidden(error, s)) return error;
    const bool waiting = drain_one(s);
    if (!waiting) host_time = std::max(host_time, s->time);
    return s->context->sticky ? s->context->sticky : waiting ? not_ready : success;
}

FACE cuStreamWaitEvent(void* handle, void* event, unsigned) {
    ENTER;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    Event* e = alive<Event>(event, "event");
    if (!s || !e) return invalid_handle;
    if (e->captured && e->captured->alive) {  // brings the stream into that capture
        if (s->graph && s->graph != e->captured) return s->graph->invalid = true, capture_unsupported;
        if (!s->graph) {
            if (!s->queue.empty()) drain(s);
            s->graph = e->captured;
            s->last = 0;
            s->covers.clear();
            s->graph->streams.push_back(s);
        }
        for (const auto& c : e->covers) s->covers[c.first] = std::max(s->covers[c.first], c.second);
        Op op = {};
        op.name = call.name;
        op.home = s;
        op.after = e->mark;
        s->graph->marks.push_back({s->graph->ops.size(), std::move(op)});
        return success;
    }
    if (s->graph) return s->graph->invalid = true, capture_unsupported;
    if (e->recorded == 0) return s->context->sticky;
    Op op = {};
    op.name = "cuStreamWaitEvent";
    op.wait = e;
    op.version = e->recorded;
    op.from = e->stream;
    return submit(s, std::move(op), call);
}

FACE cuStreamGetCtx(void* handle, void** out) {
    ENTER;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    if (!s) return invalid_handle;
    return *out = s->context, success;
}

FACE cuStreamGetFlags(void* handle, unsigned* out) {
    ENTER;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    if (!s) return invalid_handle;
    return *out = !s->blocking, success;
}

FACE cuLaunchHostFunc(void* handle, void (*f)(void*), void* data) {
    ENTER_LATE;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    if (!s) return invalid_handle;
    if (!f) return invalid_value;
    Op op = {};
    op.name = "cuLaunchHostFunc";
    op.run = [=] { return f(data), 0; };
    return submit(s, std::move(op), call);
}

// --- Events ---

FACE cuEventCreate(void** out, unsigned flags) {
    ENTER;
    CONTEXT;
    if (!out) return invalid_value;
    *out = new Event(context, !(flags & 2));
    return success;
}

FACE cuEventDestroy_v2(void* handle) {
    ENTER_RELEASE;
    Event* e = alive<Event>(handle, "event");
    if (!e) return invalid_handle;
    e->alive = false;
    return call.release(e->context->sticky);
}

FACE cuEventRecord(void* event, void* handle) {
    ENTER;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    Event* e = alive<Event>(event, "event");
    if (!s || !e) return invalid_handle;
    if (e->context != s->context) {
        fault(wrong_use, "cuEventRecord: the event and the stream are of different contexts");
        return invalid_handle;
    }
    if (s->graph) {
        e->captured = s->graph;
        e->covers = s->covers;
        Op op = {};
        op.name = call.name;
        op.home = s;
        op.mark = e->mark = (int)s->graph->marks.size() + 1;
        s->graph->marks.push_back({s->graph->ops.size(), std::move(op)});
        return success;
    }
    e->captured = nullptr;
    Op op = {};
    op.name = "cuEventRecord";
    op.record = e;
    op.version = ++e->recorded;
    e->stream = s;
    return submit(s, std::move(op), call);
}
FACE cuEventRecordWithFlags(void* event, void* handle, unsigned) { return cuEventRecord(event, handle); }

FACE cuEventSynchronize(void* event) {
    ENTER_RELEASE;
    CONTEXT;
    Event* e = alive<Event>(event, "event");
    if (!e) return invalid_handle;
    if (e->captured && e->captured->alive) return e->captured->invalid = true, capture_unsupported;
    drain_event(e, e->recorded, e->stream);
    waited_for(e->recorded ? e->times[e->recorded] : 0);
    return call.release(e->context->sticky);
}

FACE cuEventQuery(void* event) {
    ENTER;
    CONTEXT;
    Event* e = alive<Event>(event, "event");
    if (!e) return invalid_handle;
    if (e->captured && e->captured->alive) return e->captured->invalid = true, capture_unsupported;
    const bool waiting = e->done < e->recorded;
    if (waiting) drain_one(e->stream);
    else if (e->recorded) host_time = std::max(host_time, e->times[e->recorded]);
    return e->context->sticky ? e->context->sticky : waiting ? not_ready : success;
}

FACE cuEventElapsedTime(float* out, void* first, void* second) {
    ENTER;
    CONTEXT;
    Event *a = alive<Event>(first, "event"), *b = alive<Event>(second, "event");
    if (!a || !b || !out) return a && b ? invalid_value : invalid_handle;
    if (!a->timing || !b->timing || !a->recorded || !b->recorded) return invalid_handle;
    if (a->done < a->recorded || b->done < b->recorded) return not_ready;
    *out = (float)((b->times[b->recorded] - a->times[a->recorded]) * 1e-3);
    return context->sticky;
}

// --- Capture ---

FACE cuStreamBeginCapture_v2(void* handle, int mode) {
    ENTER;
    CONTEXT;
    if ((uintptr_t)handle <= 2) return capture_unsupported;
    Stream* s = stream_of(handle, context);
    if (!s) return invalid_handle;
    if (s->graph) return capture_unsupported;
    drain(s);
    Graph* g = new Graph("capture");
    g->mode = mode;
    g->thread = this_thread();
    g->streams.push_back(s);
    s->graph = g;
    s->origin = true;
    s->last = 0;
    s->covers.clear();
    return success;
}

FACE cuStreamIsCapturing(void* handle, int* out) {
    ENTER;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    if (!s) return invalid_handle;
    return *out = !s->graph ? 0 : s->graph->invalid ? 2 : 1, success;
}

FACE cuStreamEndCapture(void* handle, void** out) {
    ENTER_RELEASE;
    CONTEXT;
    Stream* s = stream_of(handle, context);
    if (!s) return invalid_handle;
    if (!s->graph) return invalid_value;
    if (!s->origin) return s->graph->invalid = true, capture_unmatched;
    Graph* g = s->graph;
    bool unjoined = false;
    for (Stream* other : g->streams) {
        unjoined = unjoined || s->covers[other] < other->last;
        other->graph = nullptr;
        other->origin = false;
    }
    if (out) *out = nullptr;
    g->alive = false;
    if (g->invalid) return call.release(capture_invalidated);
    if (unjoined) return call.release(capture_unjoined);
    if (call.error) return call.error;
    Graph* graph = new Graph("graph");
    graph->ops = std::move(g->ops);
    graph->marks = std::move(g->marks);
    return *out = graph, success;
}

FACE cuGraphDestroy(void* handle) {
    ENTER_RELEASE;
    Graph* g = alive<Graph>(handle, "graph");
    if (!g) return invalid_value;
    g->alive = false;
    g->ops.clear();
    return call.release(success);
}

static int instantiate(void** out, void* handle) {
    CONTEXT;
    Graph* g = alive<Graph>(handle, "graph");
    if (!g || !out) return invalid_value;
    Graph* executable = new Graph("executable graph");
    executable->ops = g->ops;
    executable->marks = g->marks;
    return *out = executable, success;
}
FACE cuGraphInstantiate(void** out, void* graph, void*, char*, size_t) {
    ENTER;
    return instantiate(out, graph);
}
FACE cuGraphInstantiate_v2(void** out, void* graph, void*, char*, size_t) {
    ENTER;
    return instantiate(out, graph);
}
FACE cuGraphInstantiateWithFlags(void** out, void* graph, unsigned long long) {
    ENTER;
    return instantiate(out, graph);
}

FACE cuGraphUpload(void* handle, void*) {
    ENTER;
    return alive<Graph>(handle, "executable graph") ? success : invalid_value;
}

FACE cuGraphLaunch(void* handle, void* stream) {
    ENTER_LATE;
    CONTEXT;
    Stream* s = stream_of(stream, context);
    Graph* g = alive<Graph>(handle, "executable graph");
    if (!s || !g) return s ? invalid_value : invalid_handle;
    Op all = {};
    all.name = "cuGraphLaunch";
    for (const Op& op : g->ops) all.touches.insert(all.touches.end(), op.touches.begin(), op.touches.end());
    all.run = [s, ops = g->ops, marks = g->marks] { return replay(ops, marks, s); };
    host_time += graph_call - launch_call;
    all.cost = [] { return Cost(); };
    return submit(s, std::move(all), call);
}

FACE cuGraphExecDestroy(void* handle) {
    ENTER_RELEASE;
    Graph* g = alive<Graph>(handle, "executable graph");
    if (!g) return invalid_value;
    g->alive = false;
    g->ops.clear();
    return call.release(success);
}

FACE cuGraphGetNodes(void* handle, void**, size_t* n) {
    ENTER;
    Graph* g = alive<Graph>(handle, "graph");
    if (!g || !n) return invalid_value;
    return *n = g->ops.size(), success;
}
