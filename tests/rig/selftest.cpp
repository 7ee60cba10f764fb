// Proves that the rig finds what it should: make -C tests/rig check.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "rig.h"

typedef unsigned long long Ptr;
typedef void* H;
extern "C" {
int cuInit(unsigned);
int cuDriverGetVersion(int*);
int cuDeviceGetCount(int*);
int cuDeviceGetName(char*, int, int);
int cuDeviceTotalMem_v2(size_t*, int);
int cuDeviceGetAttribute(int*, int, int);
int cuDeviceCanAccessPeer(int*, int, int);
int cuDevicePrimaryCtxRetain(H*, int);
int cuDevicePrimaryCtxRelease_v2(int);
int cuCtxCreate_v2(H*, unsigned, int);
int cuCtxDestroy_v2(H);
int cuCtxSetCurrent(H);
int cuCtxSynchronize();
int cuCtxEnablePeerAccess(H, unsigned);
int cuMemGetInfo_v2(size_t*, size_t*);
int cuMemAlloc_v2(Ptr*, size_t);
int cuMemFree_v2(Ptr);
int cuMemAllocHost_v2(H*, size_t);
int cuMemFreeHost(H);
int cuMemHostRegister_v2(H, size_t, unsigned);
int cuMemHostUnregister(H);
int cuMemcpyHtoD_v2(Ptr, const void*, size_t);
int cuMemcpyDtoH_v2(void*, Ptr, size_t);
int cuMemcpyHtoDAsync_v2(Ptr, const void*, size_t, H);
int cuMemcpyDtoHAsync_v2(void*, Ptr, size_t, H);
int cuMemcpyDtoDAsync_v2(Ptr, Ptr, size_t, H);
int cuMemcpyPeerAsync(Ptr, H, Ptr, H, size_t, H);
int cuMemsetD8_v2(Ptr, unsigned char, size_t);
int cuMemsetD32Async(Ptr, unsigned, size_t, H);
int cuStreamCreate(H*, unsigned);
int cuStreamDestroy_v2(H);
int cuStreamSynchronize(H);
int cuStreamQuery(H);
int cuStreamWaitEvent(H, H, unsigned);
int cuEventCreate(H*, unsigned);
int cuEventRecord(H, H);
int cuEventSynchronize(H);
int cuEventQuery(H);
int cuEventElapsedTime(float*, H, H);
int cuEventDestroy_v2(H);
int cuModuleLoadData(H*, const void*);
int cuModuleUnload(H);
int cuModuleGetFunction(H*, H, const char*);
int cuLaunchKernel(H, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, H, void**, void**);
int cuStreamBeginCapture_v2(H, int);
int cuStreamEndCapture(H, H*);
int cuGraphInstantiateWithFlags(H*, H, unsigned long long);
int cuGraphLaunch(H, H);
int cuGraphDestroy(H);
int cuGraphExecDestroy(H);
int cuGetProcAddress(const char*, void**, int, uint64_t);
int rig_config(const char*);
uint64_t rig_calls();
const char* rig_call_name(uint64_t);
void rig_fail_at(uint64_t, int, int);
void rig_fail_function(const char*, uint64_t, int);
uint64_t rig_bytes(int);
uint64_t rig_peak_bytes(int);
uint64_t rig_host_bytes();
uint64_t rig_live_objects();
const char* rig_report();
int rig_faults();
void rig_reset();
int64_t rig_kernel_args_size(const char*);
int64_t rig_kernel_threads(const char*);
const char* rig_kernel_args(const char*);
}

static int checks = 0, bad = 0;
#define IS(got, want)                                                                                            \
    do {                                                                                                         \
        const long long g = (long long)(got), w = (long long)(want);                                             \
        checks++;                                                                                                \
        if (g != w) bad++, printf("selftest.cpp:%d: %s is %lld, not %lld\n", __LINE__, #got, g, w);              \
    } while (0)
#define OK(call) IS(call, 0)
#define TELLS(part) \
    do { \
        const std::string text = rig_report(); \
        checks++; \
        if (text.find(part) == std::string::npos) \
            bad++, printf("selftest.cpp:%d: no '%s' in '%s'\n", __LINE__, part, text.c_str()); \
        rig_reset(); \
    } while (0)
#define QUIET                                                                                                    \
    do {                                                                                                         \
        checks++;                                                                                                \
        if (*rig_report()) bad++, printf("selftest.cpp:%d: a fault: %s\n", __LINE__, rig_report());             \
        rig_reset();                                                                                             \
    } while (0)

static const char ptx[] =
    "//\n.version 7.4\n.target sm_37\n.entry copy_floats .entry add_one .entry wild .entry shared_wrong "
    ".entry meet_wrong .entry spin .entry sum_many .entry order .entry race .entry words";

static std::string cubin(int sm) {
    std::string s(64, '\0');
    memcpy(&s[0], "\x7f" "ELF\2\1", 6);
    s[18] = (char)190;
    s[48] = (char)sm;
    return s;
}

// Launches with a buffer of arguments and its size.
static int start(H f, unsigned grid, unsigned block, H stream, void* args, size_t bytes) {
    void* extra[] = {(void*)1, args, (void*)2, &bytes, nullptr};
    return cuLaunchKernel(f, grid, 1, 1, block, 1, 1, 0, stream, nullptr, extra);
}

// A context of its own on a die, with a module and a stream: what most tests want.
struct Seat {
    H context = nullptr, module = nullptr, stream = nullptr;
    explicit Seat(int die = 0) {
        OK(cuCtxCreate_v2(&context, 0, die));
        OK(cuModuleLoadData(&module, ptx));
        OK(cuStreamCreate(&stream, 1));
    }
    ~Seat() {
        cuCtxSetCurrent(context);
        cuStreamDestroy_v2(stream);
        cuModuleUnload(module);
        OK(cuCtxDestroy_v2(context));
    }
    template <class Args> int launch(const char* name, unsigned grid, unsigned block, Args args) {
        H f = nullptr;
        OK(cuModuleGetFunction(&f, module, name));
        return start(f, grid, block, stream, &args, sizeof args);
    }
    // The error of a kernel that is run to its end.
    template <class Args> int run(const char* name, unsigned grid, unsigned block, Args args) {
        const int error = launch(name, grid, block, args);
        return error ? error : cuStreamSynchronize(stream);
    }
};

struct Copy {
    Ptr x, y;
    int n;
};
struct What {
    Ptr x;
    int what;
};

static Ptr floats(size_t n, float value) {
    Ptr p = 0;
    std::vector<float> v(n, value);
    OK(cuMemAlloc_v2(&p, n * 4));
    OK(cuMemcpyHtoD_v2(p, v.data(), n * 4));
    return p;
}

static void devices() {
    int n = 0, v = 0;
    size_t bytes = 0, total = 0;
    char name[32];
    IS(cuDeviceGetCount(&n), 3);
    rig_reset();
    OK(cuInit(0));
    OK(cuDeviceGetCount(&n));
    IS(n, 2);
    OK(cuDriverGetVersion(&v));
    IS(v, 11040);
    OK(cuDeviceGetName(name, sizeof name, 1));
    IS(strcmp(name, "Tesla K80"), 0);
    OK(cuDeviceTotalMem_v2(&total, 1));
    IS(total, 64 << 20);
    OK(cuDeviceGetAttribute(&v, 75, 0));
    IS(v, 3);
    OK(cuDeviceGetAttribute(&v, 115, 0));
    IS(v, 0);
    OK(cuDeviceGetAttribute(&v, 33, 1));
    IS(v, 5);
    void* f = nullptr;
    OK(cuGetProcAddress("cuMemAlloc", &f, 11040, 0));
    IS(f == (void*)cuMemAlloc_v2, 1);
    H c;
    IS(cuDevicePrimaryCtxRetain(&c, 5), 101);
    Ptr p;
    IS(cuMemAlloc_v2(&p, 8), 201);
    TELLS("no context is current");
    (void)bytes;
}

static void account() {
    size_t free = 0, total = 0;
    Ptr a = 0, b = 0, c = 0;
    H context;
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuMemGetInfo_v2(&free, &total));
    IS(total, 64 << 20);
    IS(free, 60 << 20);
    OK(cuMemAlloc_v2(&a, 1));
    OK(cuMemAlloc_v2(&b, 1000003));
    IS(rig_bytes(0), 1000004);
    IS(a % 512, 0);
    OK(cuMemGetInfo_v2(&free, &total));
    IS(free, (60 << 20) - 1000004);
    IS(cuMemAlloc_v2(&c, free), 2);  // 8 MiB are reported but not there
    OK(cuMemAlloc_v2(&c, free - (8 << 20)));
    IS(cuMemAlloc_v2(&c, 1), 2);
    OK(cuMemFree_v2(c));
    OK(cuMemFree_v2(b));
    IS(rig_bytes(0), 1);
    IS(rig_peak_bytes(0), 52 << 20);
    QUIET;
    IS(cuMemFree_v2(b), 1);
    TELLS("no allocation");
    IS(rig_live_objects(), 1);
    OK(cuDevicePrimaryCtxRelease_v2(0));
    TELLS("1 allocations (1 bytes)");
    IS(rig_live_objects(), 0);
    IS(rig_bytes(0), 0);
    OK(cuCtxSetCurrent(nullptr));
}

static void wrong_use() {
    Seat s;
    Ptr p = floats(100, 1);
    float x[100];
    IS(cuMemcpyDtoH_v2(x, p + 4, 400), 1);
    TELLS("400 bytes at offset 4 of an allocation of 400 bytes");
    IS(cuMemcpyDtoH_v2(nullptr, p, 400), 1);
    TELLS("null pointer");
    Ptr q;
    OK(cuMemAlloc_v2(&q, 400));
    OK(cuMemcpyHtoD_v2(q, x, 8));
    IS(cuMemcpyDtoH_v2(x, q, 400), 719);
    TELLS("nobody wrote offset 8");
    OK(cuMemFree_v2(q));
    IS(cuMemcpyHtoD_v2(q, x, 8), 1);
    TELLS("in no allocation");
    H stream, event;
    OK(cuStreamCreate(&stream, 1));
    OK(cuStreamDestroy_v2(stream));
    IS(cuStreamSynchronize(stream), 400);
    TELLS("destroyed stream");
    OK(cuEventCreate(&event, 2));
    OK(cuEventDestroy_v2(event));
    IS(cuEventRecord(event, s.stream), 400);
    TELLS("destroyed event");
    H f, module;
    IS(cuModuleGetFunction(&f, s.module, "nothing"), 500);
    IS(s.launch("copy_floats", 1, 48, Copy{p, p, 1}), 1);
    TELLS("multiple of 32");
    IS(s.launch("copy_floats", 1, 512, Copy{p, p, 1}), 1);
    TELLS("at most 256");
    IS(cuModuleLoadData(&module, cubin(35).data()), 0);  // same major, lower minor
    OK(cuModuleUnload(module));
    IS(cuModuleLoadData(&module, cubin(60).data()), 209);
    IS(cuModuleLoadData(&module, ".version 7.8\n.target sm_37"), 222);
    IS(cuModuleLoadData(&module, ".version 7.0\n.target sm_52"), 209);
    IS(cuModuleLoadData(&module, "nonsense"), 200);
    OK(cuModuleGetFunction(&f, s.module, "copy_floats"));
    {
        Seat other(1);
        Copy args = {p, p, 1};
        IS(start(f, 1, 32, other.stream, &args, sizeof args), 400);
        TELLS("dies 0, 1 and 1");
        IS(other.run("copy_floats", 1, 32, args), 700);
        TELLS("runs on die 1 but reads 4 bytes of die 0");
    }
    OK(cuCtxSetCurrent(s.context));
    OK(s.launch("copy_floats", 1, 32, Copy{p, p, 1}));
    OK(cuMemFree_v2(p));
    TELLS("waiting work (copy_floats) uses");
    // Arguments of another size than the kernel's, or of none.
    Copy args = {p, p, 0};
    IS(start(f, 1, 32, s.stream, &args, sizeof args - 8), 1);
    TELLS("copy_floats: 16 bytes of arguments, it takes 24 (Copy)");
    IS(start(f, 1, 32, s.stream, &args, sizeof args + 8), 1);
    TELLS("32 bytes of arguments, it takes 24");
    IS(start(f, 1, 32, s.stream, nullptr, sizeof args), 1);
    TELLS("0 bytes of arguments, it takes 24");
    void* params[] = {&args};
    IS(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s.stream, params, nullptr), 1);
    TELLS("arguments without their size");
}

static void kernels() {
    const struct {
        const char* kernel;
        int what, code;
        const char* text;
    } cases[] = {
        {"wild", 0, 700, "thread (33, 0, 0): writes 4 bytes"},
        {"wild", 1, 719, "offset 200 of the allocation of 400 bytes"},
        {"wild", 2, 700, "4 before the allocation"},
        {"wild", 3, 716, "multiples of 16"},
        {"wild", 4, 716, "multiples of 4"},
        {"wild", 5, 716, "multiples of 8"},
        {"wild", 6, 700, "host's memory"},
        {"wild", 7, 719, "index 6 of"},
        {"wild", 8, 700, "writes 4 bytes at"},
        {"wild", 9, 700, "offset 400 of the allocation"},
        {"wild", 10, 700, "12 bytes"},
        {"shared_wrong", 0, 719, "nobody wrote in this block"},
        {"shared_wrong", 1, 719, "nobody wrote in this block"},
        {"shared_wrong", 2, 719, "no barrier between, what was written by warp"},
        {"shared_wrong", 3, 719, "reads, with no barrier between, what was written by warp"},
        {"shared_wrong", 4, 719, "48 KiB"},
        {"shared_wrong", 5, 0, ""},
        {"shared_wrong", 6, 0, ""},
        {"shared_wrong", 7, 719, " of 'float [64]'"},
        {"shared_wrong", 8, 719, "writes, with no barrier between, what was read by warp"},
        {"meet_wrong", 0, 719, "reached its end while other warps"},
        {"meet_wrong", 1, 719, "other lanes"},
        {"meet_wrong", 2, 719, "other lanes"},
        {"meet_wrong", 3, 0, ""},
    };
    for (const auto& c : cases) {
        Seat s;
        Ptr p;
        OK(cuMemAlloc_v2(&p, 400));
        OK(cuMemsetD8_v2(p, 0, 160));
        const int code = s.run(c.kernel, 1, 64, What{p, c.what});
        if (code != c.code) printf("%s %d: %d\n", c.kernel, c.what, code);
        IS(code, c.code);
        IS(cuCtxSynchronize(), c.code);  // it sticks
        IS(cuMemFree_v2(p), c.code);
        if (c.code) TELLS(c.text);
        else QUIET;
    }
    IS(rig_bytes(0), 0);
    Seat s;
    Ptr p;
    OK(cuMemAlloc_v2(&p, 256));
    OK(cuMemsetD8_v2(p, 0, 256));
    OK(s.run("words", 1, 32, p));
    unsigned w[16];
    OK(cuMemcpyDtoH_v2(w, p, 64));
    const unsigned want[] = {
        0x77335511, 0x6789abcd, 0x23456789, 0x3f800000, 0x7c00, 0, 2, 0x33800000, 2u + 31u + 0x80000000u, 0x40000000};
    for (size_t i = 0; i < sizeof want / 4; i++) IS(w[i], want[i]);
    OK(s.run("meet_wrong", 1, 64, What{p, 3}));
    int y[64];
    OK(cuMemcpyDtoH_v2(y, p, 256));
    for (int i = 0; i < 64; i++) IS(y[i], i / 32 * 32 + 5 + (i ^ 3) + 16);
    OK(cuMemFree_v2(p));
    IS(rig_kernel_args_size("order"), 8);
    IS(rig_kernel_threads("order"), 32);
    IS(strcmp(rig_kernel_args("order"), "Turn"), 0);
    IS(rig_kernel_args_size("nothing"), -1);
    QUIET;
}

static void races() {
    const struct {
        int what, code;
        const char* text;
    } cases[] = {{0, 719, "with no barrier between"},
                 {1, 719, "writes what another block wrote"},
                 {2, 719, "reads what another block wrote"},
                 {3, 719, "reads by ldg what warp 0 wrote"},
                 {4, 0, ""},
                 {5, 0, ""},
                 {6, 719, "reads what another block"}};
    for (const auto& c : cases) {
        if (c.what == 6) OK(rig_config("dies = 2; memory = 64MiB; overhead = 4MiB; hidden = 8MiB; reverse = 1"));
        Seat s;
        Ptr p;
        OK(cuMemAlloc_v2(&p, 4096 * 4));
        OK(cuMemsetD8_v2(p, 0, 4096 * 4));
        IS(s.run("race", 3, 64, What{p, c.what}), c.code);
        cuMemFree_v2(p);
        if (c.code) TELLS(c.text);
        else QUIET;
    }
    for (const char* reverse : {"0", "1"}) {
        OK(rig_config(
            ("dies = 2; memory = 64MiB; overhead = 4MiB; hidden = 8MiB; races = 0; reverse = " + std::string(reverse))
                .c_str()));
        Seat s;
        Ptr p;
        int last;
        OK(cuMemAlloc_v2(&p, 4));
        OK(s.run("order", 9, 32, p));
        OK(cuMemcpyDtoH_v2(&last, p, 4));
        IS(last, *reverse == '0' ? 8 : 0);
        OK(cuMemFree_v2(p));
        QUIET;
    }
    OK(rig_config("dies = 2; memory = 64MiB; overhead = 4MiB; hidden = 8MiB"));
}

static void order() {
    Seat s;
    H second, done;
    float *a, *b;
    OK(cuStreamCreate(&second, 1));
    OK(cuEventCreate(&done, 0));
    OK(cuMemAllocHost_v2((H*)&a, 400));
    OK(cuMemAllocHost_v2((H*)&b, 400));
    IS(rig_host_bytes(), 800);
    Ptr x = floats(100, 0), y = floats(100, 0);
    for (int i = 0; i < 100; i++) a[i] = (float)i, b[i] = 7;
    // A copy in, a kernel, an event; the other stream waits for it and copies out.
    OK(cuMemcpyHtoDAsync_v2(x, a, 400, s.stream));
    OK(s.launch("copy_floats", 1, 128, Copy{x, y, 100}));
    OK(cuEventRecord(done, s.stream));
    OK(cuStreamWaitEvent(second, done, 0));
    OK(cuMemcpyDtoHAsync_v2(b, y, 400, second));
    IS(b[3] == b[3], 0);  // not there yet: NaN
    IS(cuEventQuery(done), 600);
    OK(cuStreamSynchronize(second));
    IS(b[99], 99);
    OK(cuEventQuery(done));
    // Overwritten too early: what arrives is the later content.
    OK(cuMemcpyHtoDAsync_v2(x, a, 400, s.stream));
    a[5] = 500;
    OK(cuStreamSynchronize(s.stream));
    OK(cuMemcpyDtoH_v2(b, x, 400));
    IS(b[5], 500);
    // Pageable memory was read when the call returned.
    float pageable[2] = {1, 2};
    OK(cuMemcpyHtoDAsync_v2(x, pageable, 8, s.stream));
    pageable[0] = 9;
    OK(cuMemcpyDtoH_v2(b, x, 8));
    IS(b[0], 1);
    // A query makes progress.
    OK(cuMemsetD32Async(x, 0x3f800000, 100, s.stream));
    IS(cuStreamQuery(s.stream), 600);
    OK(cuStreamQuery(s.stream));
    QUIET;
    OK(cuMemcpyHtoDAsync_v2(x, a, 400, s.stream));
    OK(cuMemFreeHost(a));
    TELLS("waiting work (cuMemcpyHtoDAsync_v2) uses");
    OK(cuMemHostRegister_v2(pageable, 8, 0));
    IS(cuMemHostRegister_v2(pageable, 4, 0), 712);
    OK(cuMemHostUnregister(pageable));
    OK(cuMemFreeHost(b));
    IS(rig_host_bytes(), 0);
    float ms = -1;
    H first;
    OK(cuEventCreate(&first, 0));
    OK(cuEventRecord(first, s.stream));
    OK(cuEventRecord(done, s.stream));
    OK(cuEventSynchronize(done));
    OK(cuEventElapsedTime(&ms, first, done));
    IS(ms >= 0, 1);
    OK(cuEventDestroy_v2(first));
    OK(cuEventDestroy_v2(done));
    OK(cuStreamDestroy_v2(second));
    OK(cuMemFree_v2(x));
    OK(cuMemFree_v2(y));
    QUIET;
}

static void graphs() {
    Seat s;
    H graph = nullptr, executable = nullptr, second, fork, join;
    OK(cuStreamCreate(&second, 1));
    OK(cuEventCreate(&fork, 2));
    OK(cuEventCreate(&join, 2));
    Ptr x = floats(100, 3), y = floats(100, 0), z = floats(100, 0);
    float v[100];
    OK(cuStreamBeginCapture_v2(s.stream, 1));
    OK(s.launch("copy_floats", 1, 128, Copy{x, y, 100}));
    OK(cuEventRecord(fork, s.stream));
    OK(cuStreamWaitEvent(second, fork, 0));
    OK(cuMemcpyDtoDAsync_v2(z, y, 400, second));
    OK(cuEventRecord(join, second));
    OK(s.launch("add_one", 1, 128, Copy{0, y, 100}));
    OK(cuStreamWaitEvent(s.stream, join, 0));
    OK(cuStreamEndCapture(s.stream, &graph));
    OK(cuGraphInstantiateWithFlags(&executable, graph, 0));
    OK(cuGraphDestroy(graph));
    OK(cuMemcpyDtoH_v2(v, y, 400));
    IS(v[1], 0);  // captured, not run
    for (int i = 0; i < 2; i++) OK(cuGraphLaunch(executable, s.stream));
    OK(cuStreamSynchronize(s.stream));
    OK(cuMemcpyDtoH_v2(v, y, 400));
    IS(v[1], 4);
    OK(cuMemcpyDtoH_v2(v, z, 400));
    IS(v[1], 3);
    OK(cuGraphExecDestroy(executable));
    QUIET;
    // Work that never joins, and a synchronisation in the midst.
    OK(cuStreamBeginCapture_v2(s.stream, 1));
    OK(cuEventRecord(fork, s.stream));
    OK(cuStreamWaitEvent(second, fork, 0));
    OK(cuMemcpyDtoDAsync_v2(z, y, 400, second));
    IS(cuStreamEndCapture(s.stream, &graph), 904);
    OK(cuStreamBeginCapture_v2(s.stream, 1));
    IS(cuStreamSynchronize(s.stream), 900);
    IS(cuStreamEndCapture(s.stream, &graph), 901);
    OK(cuEventDestroy_v2(fork));
    OK(cuEventDestroy_v2(join));
    OK(cuStreamDestroy_v2(second));
    for (Ptr p : {x, y, z}) OK(cuMemFree_v2(p));
    QUIET;
}

static void peers() {
    for (const char* kind : {"yes", "no", "lies"}) {
        OK(rig_config(("dies = 2; memory = 64MiB; overhead = 4MiB; peer = " + std::string(kind)).c_str()));
        Seat a(0), b(1);
        int can = -1;
        OK(cuCtxSetCurrent(a.context));
        Ptr x = floats(100, 5);
        OK(cuDeviceCanAccessPeer(&can, 0, 1));
        IS(can, strcmp(kind, "no") != 0);
        IS(cuCtxEnablePeerAccess(b.context, 0), can ? 0 : 217);
        IS(cuCtxEnablePeerAccess(b.context, 0), can ? 704 : 217);
        OK(cuCtxSetCurrent(b.context));
        Ptr y = floats(100, 1);
        float v[100];
        OK(cuMemcpyPeerAsync(y, b.context, x, a.context, 400, b.stream));
        OK(cuStreamSynchronize(b.stream));
        OK(cuMemcpyDtoH_v2(v, y, 400));
        IS(v[9], strcmp(kind, "lies") ? 5 : 1);
        OK(cuMemFree_v2(x));
        OK(cuMemFree_v2(y));
        QUIET;
    }
    OK(rig_config("dies = 2; memory = 64MiB; overhead = 4MiB; hidden = 8MiB"));
}

static void failures() {
    Seat s;
    rig_reset();
    Ptr p, q;
    rig_fail_at(2, 2, 0);
    OK(cuMemAlloc_v2(&p, 400));
    IS(cuMemAlloc_v2(&q, 400), 2);
    OK(cuMemAlloc_v2(&q, 400));
    IS(strcmp(rig_call_name(2), "cuMemAlloc_v2"), 0);
    IS(rig_calls(), 3);
    rig_fail_function("cuMemFree", 1, 999);
    IS(cuMemFree_v2(q), 999);  // told, but done
    IS(rig_bytes(0), 400);
    rig_fail_function("cuMemAlloc", 0, 46);
    IS(cuMemAlloc_v2(&q, 400), 46);
    IS(cuMemAlloc_v2(&q, 400), 46);
    rig_fail_function("cuMemAlloc", 0, 0);
    OK(cuMemsetD8_v2(p, 0, 400));
    rig_fail_at(rig_calls() + 2, 719, 1);  // 1 is cuModuleGetFunction
    OK(s.launch("copy_floats", 1, 128, Copy{p, p, 100}));
    IS(cuStreamSynchronize(s.stream), 719);
    IS(cuMemAlloc_v2(&q, 400), 719);
    IS(cuMemFree_v2(p), 719);
    QUIET;
    for (int k = 1; k <= 6; k++) {  // an error anywhere leaves nothing behind
        rig_fail_at(rig_calls() + k, 999, 0);
        H c = nullptr, t = nullptr;
        if (cuCtxCreate_v2(&c, 0, 1) == 0) {
            if (cuMemAlloc_v2(&q, 10) == 0) cuMemFree_v2(q);
            if (cuStreamCreate(&t, 1) == 0) cuStreamDestroy_v2(t);
            cuCtxDestroy_v2(c);
        }
        OK(cuCtxSetCurrent(s.context));
    }
    rig_fail_at(0, 0, 0);
    IS(rig_live_objects(), 3);
    QUIET;
}

static void threads() {
    std::vector<std::thread> all;
    for (int die = 0; die < 2; die++)
        all.emplace_back([die] {
            Seat s(die);
            for (int i = 0; i < 200; i++) {
                Ptr x = floats(1000, (float)i), y = floats(1000, 0);
                OK(s.run("copy_floats", 4, 256, Copy{x, y, 1000}));
                float v[1000];
                OK(cuMemcpyDtoH_v2(v, y, 4000));
                IS(v[999], i);
                OK(cuMemFree_v2(x));
                OK(cuMemFree_v2(y));
            }
        });
    for (std::thread& t : all) t.join();
    QUIET;
}

static size_t resident() {
    size_t pages = 0, ignored = 0;
    if (FILE* f = fopen("/proc/self/statm", "r")) {
        if (fscanf(f, "%zu %zu", &ignored, &pages) != 2) pages = 0;
        fclose(f);
    }
    return pages * 4096;
}

// A die of 11 GiB full of zeros takes next to nothing.
static void sparse() {
    OK(rig_config("dies = 1"));
    Seat s;
    Ptr p, q;
    const size_t chunk = 64 << 20, n = 150;
    std::vector<char> zeros(chunk);
    const size_t before = resident();
    OK(cuMemAlloc_v2(&p, chunk * n));
    OK(cuMemAlloc_v2(&q, 4));
    for (size_t i = 0; i < n; i++) OK(cuMemcpyHtoD_v2(p + i * chunk, zeros.data(), chunk));
    OK(s.run("copy_floats", 1, 32, Copy{p + chunk * n - 4, q, 1}));
    IS(resident() - before < (64u << 20), 1);
    OK(cuMemFree_v2(p));
    OK(cuMemFree_v2(q));
    QUIET;
}

static double seconds() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

static void speed() {
    Seat s;
    Ptr x = floats(65536, 1), y = floats(1024, 0);
    double t = seconds();
    OK(s.run("spin", 1, 32, What{y, 300000}));
    printf("%.1f ns for a lane's shuffle\n", (seconds() - t) * 1e9 / (32 * 300000.0));
    t = seconds();
    OK(s.run("sum_many", 1, 32, Copy{x, y, 1000000}));
    printf("%.0f million checked accesses a second\n", 32.0 / (seconds() - t));
    t = seconds();
    for (int i = 0; i < 10000; i++) OK(s.run("copy_floats", 1, 32, Copy{x, y, 32}));
    printf("%.1f us for a launch of one warp, waited for\n", (seconds() - t) * 1e6 / 10000);
    OK(cuMemFree_v2(x));
    OK(cuMemFree_v2(y));
    QUIET;
}

// Without the driver's face, as tests of kernels use it.
static void plain() {
    struct {
        const float* x;
        float* y;
        int n;
    } args;
    std::vector<float> x(100, 2.0f), y(100);
    args = {x.data(), y.data(), 100};
    IS(rig::launch("copy_floats", {1, 1, 1}, {128, 1, 1}, args), 1);
    IS(y[99], 2);
    args.y = (float*)rig::device_memory(396);
    IS(rig::launch("copy_floats", {1, 1, 1}, {128, 1, 1}, args), 0);
    TELLS("offset 396");
    rig::free_device(args.y);
    IS(rig::launch("copy_floats", {1, 1, 1}, {128, 1, 1}, &args, 8), 0);
    TELLS("8 bytes of arguments, it takes 24");
}

int main() {
    setenv("REKINDLE_RIG", "dies = 2; memory = 64MiB; overhead = 4MiB; hidden = 8MiB", 1);
    devices();
    account();
    wrong_use();
    kernels();
    races();
    order();
    graphs();
    peers();
    failures();
    threads();
    if (!getenv("RIG_SHORT")) sparse(), speed();  // minutes under valgrind
    plain();
    printf("rig: %d checks, %d failed\n", checks, bad);
    return bad != 0;
}
