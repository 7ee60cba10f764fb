// How every call begins; the driver and its devices; names of errors.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "clock.h"
#include "control.h"
#include "driver.h"

namespace rig {

std::recursive_mutex lock;
Config config;
bool initialized = false;
std::set<Object*> objects, buried;
std::vector<Stream*> streams;
std::vector<Context*> contexts;
std::map<uintptr_t, HostRange> host_ranges;
uint64_t host_allocated = 0, host_registered = 0;

const Config& config_of_clock() { return config; }

Object::Object(const char* kind, Context* context) : kind(kind), context(context) { objects.insert(this); }

Stream::Stream(Context* c, bool blocking) : Object("stream", c), blocking(blocking) { streams.push_back(this); }
Context::Context(int die, bool primary)
    : Object("context"), die(die), primary(primary), null_stream(new Stream(this, true)) {
    contexts.push_back(this);
}

void begin_once() {
    static bool begun = false;
    if (begun) return;
    begun = true;
    const std::string wrong = parse(environment(), config);
    if (!wrong.empty()) fault(wrong_use, "REKINDLE_RIG: %s", wrong.c_str());
    make_dies(config);
}

size_t live_objects() {
    size_t n = host_ranges.size();
    for (const Object* o : objects) {
        if (!o->alive || strcmp(o->kind, "function") == 0) continue;
        if (o->context && o->context->null_stream == o) continue;
        n++;
    }
    return n;
}

void bury() {
    for (auto it = objects.begin(); it != objects.end();) {
        if ((*it)->alive) {
            ++it;
            continue;
        }
        buried.insert(*it);
        it = objects.erase(it);
    }
    auto dead = [](const Object* o) { return !o->alive; };
    streams.erase(std::remove_if(streams.begin(), streams.end(), dead), streams.end());
    contexts.erase(std::remove_if(contexts.begin(), contexts.end(), dead), contexts.end());
}

Call::Call(const char* name) : guard(lock), name(name) {
    begin_once();
    host_time += other_call;
    error = count_call(name, delayed);
    if (!error && !initialized && strcmp(name, "cuInit") != 0 && strcmp(name, "cuDriverGetVersion") != 0) {
        fault(wrong_use, "%s before cuInit", name);
        error = not_initialized;
    }
}

}  // namespace rig

using namespace rig;

FACE cuInit(unsigned flags) {
    ENTER;
    if (flags) return invalid_value;
    if (n_dies == 0) return no_device;
    initialized = true;
    return success;
}

FACE cuDriverGetVersion(int* version) {
    ENTER;
    if (!version) return invalid_value;
    *version = config.driver;
    return success;
}

FACE cuDeviceGetCount(int* n) {
    ENTER;
    if (!n) return invalid_value;
    *n = n_dies;
    return success;
}

FACE cuDeviceGet(int* device, int ordinal) {
    ENTER;
    if (!device) return invalid_value;
    if (ordinal < 0 || ordinal >= n_dies) return invalid_device;
    *device = ordinal;
    return success;
}

#define DIE(device) \
    if (device < 0 || device >= n_dies) return invalid_device; \
    const DieConfig& die = dies[device].config

FACE cuDeviceGetName(char* name, int bytes, int device) {
    ENTER;
    DIE(device);
    if (!name || bytes < 1) return invalid_value;
    snprintf(name, (size_t)bytes, "%s", die.name.c_str());
    return success;
}

FACE cuDeviceTotalMem_v2(size_t* bytes, int device) {
    ENTER;
    DIE(device);
    if (!bytes) return invalid_value;
    *bytes = die.memory;
    return success;
}

FACE cuDeviceGetAttribute(int* value, int attribute, int device) {
    ENTER;
    DIE(device);
    if (!value) return invalid_value;
    const std::map<int, int> values = {
        {1, 1024},
        {2, 1024},
        {3, 1024},
        {4, 64},
        {5, 0x7fffffff},
        {6, 65535},
        {7, 65535}, // threads, block, grid
        {8, 49152},
        {9, 65536},
        {10, 32},
        {11, 0x7fffffff},
        {12, 65536}, // shared, constant, warp, pitch, registers
        {13, die.clock},
        {14, 512},
        {15, 1},
        {16, die.sms},
        {17, 0},
        {18, 0},
        {19, 1},
        {20, 0},
        {31, 1},
        {32, die.ecc},
        {33, die.pci},
        {34, 0},
        {35, 0},
        {36, die.memory_clock},
        {37, die.bus},
        {38, 1572864},
        {39, 2048},
        {40, 2},
        {41, 1},
        {50, 0},
        {75, die.major},
        {76, die.minor},
        {78, 1},
        {79, 1},
        {80, 1},
        {81, 114688},
        {82, 131072},
        {83, 1},
        {84, die.name == "Tesla K80"},
        {85, die.pci / 4},
        {86, 0},
        {87, 24},
        {88, 0},
        {89, 0},
        {90, 0},
        {91, 1},
        {95, 0},
        {96, 0},
        {97, 49152},
        {99, 1},
        {100, 0},
        {101, 0},
        {102, 0},
        {106, 16},
        {111, 0},
        {112, 0},
        {113, 0},
        {114, 0},
        {115, 0}, // 115: memory pools
    };
    const auto it = values.find(attribute);
    if (it == values.end()) {
        if (attribute < 1 || attribute > 130) return invalid_value;
        *value = 0;
        return success;
    }
    *value = it->second;
    return success;
}

static int uuid(unsigned char* out, int device) {
    DIE(device);
    if (!out) return invalid_value;
    memcpy(out, "rekindle rig die", 16);
    out[15] = (unsigned char)device;
    out[14] = (unsigned char)die.pci;
    return success;
}
FACE cuDeviceGetUuid(unsigned char* out, int device) {
    ENTER;
    return uuid(out, device);
}
FACE cuDeviceGetUuid_v2(unsigned char* out, int device) {
    ENTER;
    return uuid(out, device);
}

FACE cuDeviceGetPCIBusId(char* text, int bytes, int device) {
    ENTER;
    DIE(device);
    if (!text || bytes < 13) return invalid_value;
    snprintf(text, (size_t)bytes, "0000:%02x:00.0", die.pci);
    return success;
}

FACE cuDeviceGetByPCIBusId(int* device, const char* text) {
    ENTER;
    for (int i = 0; i < n_dies; i++) {
        char mine[16];
        snprintf(mine, sizeof mine, "0000:%02x:00.0", dies[i].config.pci);
        if (text && device && strcmp(text, mine) == 0) return *device = i, success;
    }
    return invalid_value;
}

FACE cuDeviceComputeCapability(int* major, int* minor, int device) {
    ENTER;
    DIE(device);
    *major = die.major;
    *minor = die.minor;
    return success;
}

FACE cuDeviceCanAccessPeer(int* can, int device, int peer) {
    ENTER;
    if (!can) return invalid_value;
    if (device < 0 || device >= n_dies || peer < 0 || peer >= n_dies) return invalid_device;
    *can = device != peer && config.peer[device][peer] != Peer::no;
    return success;
}

FACE cuDeviceGetP2PAttribute(int* value, int attribute, int device, int peer) {
    ENTER;
    if (!value) return invalid_value;
    if (device < 0 || device >= n_dies || peer < 0 || peer >= n_dies || device == peer) return invalid_device;
    *value = attribute == 2 && config.peer[device][peer] != Peer::no;
    return success;
}

// --- Errors. These two cannot fail, so they are not counted. ---

static const struct {
    int code;
    const char *name, *text;
} errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {217, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", "peer access is not supported between these two devices"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {704, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled"},
    {705, "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", "peer access has not been enabled"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {711, "CUDA_ERROR_TOO_MANY_PEERS", "peer mapping resources exhausted"},
    {712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "part or all of the requested memory range is already mapped"},
    {713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "pointer does not correspond to a registered memory region"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "the capture was not initiated in this stream"},
    {904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

FACE cuGetErrorName(int code, const char** out) {
    for (const auto& e : errors)
        if (e.code == code) return *out = e.name, success;
    return *out = nullptr, invalid_value;
}

FACE cuGetErrorString(int code, const char** out) {
    for (const auto& e : errors)
        if (e.code == code) return *out = e.text, success;
    return *out = nullptr, invalid_value;
}

FACE cuGetProcAddress(const char* symbol, void** out, int, uint64_t) {
    Dl_info self;
    if (!symbol || !out || !dladdr((void*)&errors, &self)) return invalid_value;
    void* library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *out = dlsym(library, (std::string(symbol) + "_v2").c_str());
    if (!*out) *out = dlsym(library, symbol);
    if (library) dlclose(library);
    return *out ? success : not_found;
}
