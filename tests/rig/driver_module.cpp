// Modules, functions, launches. An image is looked at as a driver would, but what runs is what was compiled in.
#include <cctype>
#include <cstdio>
#include <cstring>

#include "check.h"
#include "driver.h"
#include "fibre.h"
#include "host.h"
#undef memcpy
#undef memset

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_DEFINED(p, n) 0
#endif

namespace rig {

static int refuse(int code, const char* why, int a = 0, int b = 0) {
    char text[200];
    snprintf(text, sizeof text, why, a, b);
    fprintf(stderr, "rig: module: %s\n",
            text); // an answer of the driver, not a fault: a library may have another image to try
    return code;
}

static int check_ptx(const char* text, const DieConfig& die, int driver, std::string& names) {
    int major = 0, minor = 0, sm = 0;
    const char* version = strstr(text, ".version");
    const char* target = strstr(text, ".target");
    if (!version || sscanf(version, ".version %d.%d", &major, &minor) != 2)
        return refuse(invalid_image, "PTX without .version");
    if (target) sscanf(target, ".target sm_%d", &sm);
    // Drivers of CUDA 10.0 to 10.2 understand PTX up to 6.3 to 6.5, 11.x up to 7.x, 12.x up to 8.x.
    const int release = driver % 1000 / 10, newest = driver < 11000 ? 63 + release : (driver / 1000 - 4) * 10 + release;
    if (major * 10 + minor > newest)
        return refuse(unsupported_ptx, "PTX %d.%d is too new for the driver", major, minor);
    if (sm > die.major * 10 + die.minor)
        return refuse(no_binary, "PTX for sm_%d, the die has %d", sm, die.major * 10 + die.minor);
    names = "\n";  // not empty, even where there is no entry
    for (const char* at = text; (at = strstr(at, ".entry"));) {
        at += 6;
        at += strspn(at, " \t\r\n");
        names += std::string(at, strcspn(at, " \t\r\n(")) + "\n";
    }
    return success;
}

// At least 64 bytes, an ELF header: machine 190 and, in the lowest byte of its flags, the architecture.
static int check_cubin(const char* image, const DieConfig& die, std::string& names) {
    uint16_t machine, section_bytes, sections;
    uint32_t flags;
    uint64_t section_table;
    memcpy(&machine, image + 18, 2);
    memcpy(&section_table, image + 40, 8);
    memcpy(&flags, image + 48, 4);
    memcpy(&section_bytes, image + 58, 2);
    memcpy(&sections, image + 60, 2);
    if (image[4] != 2 || machine != 190) return refuse(invalid_image, "an ELF file for machine %d", machine);
    const int sm = (int)(flags & 0xff), major = sm / 10, minor = sm % 10;
    if (major != die.major || minor > die.minor)
        return refuse(no_binary, "a cubin for sm_%d, the die has %d", sm, die.major * 10 + die.minor);
    // The section table may lie anywhere; the name tables are found by their own entries.
    for (unsigned i = 0; section_table && section_bytes >= 64 && i < sections; i++) {
        const char* s = image + section_table + (size_t)i * section_bytes;
        uint32_t type;
        uint64_t offset, bytes;
        memcpy(&type, s + 4, 4);
        memcpy(&offset, s + 24, 8);
        memcpy(&bytes, s + 32, 8);
        if (type == 3) names.append(image + offset, bytes);
    }
    return success;
}

int check_image(const char* image, const DieConfig& die, int driver, std::string& names) {
    if (memcmp(image, "\x7f" "ELF", 4) == 0) return check_cubin(image, die, names);
    if (strncmp(image, "//", 2) == 0 || strncmp(image, ".version", 8) == 0 || image[0] == '\n')
        return check_ptx(image, die, driver, names);
    return refuse(invalid_image, "neither a cubin nor PTX");
}

// As a whole word: a cubin has it in its tables of names.
static bool mentions(const std::string& names, const char* name) {
    if (names.empty()) return true;
    const auto part = [](char c) { return isalnum((unsigned char)c) || c == '_' || c == '$'; };
    const size_t n = strlen(name);
    for (size_t at = names.find(name); at != std::string::npos; at = names.find(name, at + 1))
        if ((at == 0 || !part(names[at - 1])) && (at + n >= names.size() || !part(names[at + n]))) return true;
    return false;
}

// Device memory that the arguments point into: it has to stay until the kernel has run.
static std::vector<Range> pointed_at(const std::vector<char>& args) {
    std::vector<Range> ranges;
    for (size_t i = 0; i + 8 <= args.size(); i += 4) {
        uint64_t word;
        memcpy(&word, args.data() + i, 8);
        const int die = die_of(word);
        if (die < 0 || !holds(die, word, 1)) continue;
        const Allocation* a = allocation_at(die, word);
        ranges.push_back({a->begin, a->bytes});
    }
    return ranges;
}

static uint64_t launched = 0;
uint64_t launches() { return launched; }

}  // namespace rig

using namespace rig;

static int load(void** out, const void* image) {
    CONTEXT;
    if (!out || !image) return invalid_value;
    Die& die = dies[context->die];
    std::string names;
    if (const int error = check_image((const char*)image, die.config, config.driver, names)) return error;
    if (die.config.module > die.room()) return out_of_memory;
    die.reserved += die.config.module;
    context->reserved += die.config.module;
    Module* m = new Module(context);
    m->names = std::move(names);
    return *out = m, success;
}
FACE cuModuleLoadData(void** out, const void* image) {
    ENTER;
    return load(out, image);
}
FACE cuModuleLoadDataEx(void** out, const void* image, unsigned, int*, void**) {
    ENTER;
    return load(out, image);
}

FACE cuModuleUnload(void* handle) {
    ENTER_RELEASE;
    Module* m = alive<Module>(handle, "module");
    if (!m) return invalid_handle;
    drain(m->context);
    m->alive = false;
    for (auto& f : m->functions) f.second->alive = false;
    const uint64_t bytes = dies[m->context->die].config.module;
    dies[m->context->die].reserved -= bytes;
    m->context->reserved -= bytes;
    return call.release(m->context->sticky);
}

FACE cuModuleGetFunction(void** out, void* handle, const char* name) {
    ENTER;
    CONTEXT;
    Module* m = alive<Module>(handle, "module");
    if (!m) return invalid_handle;
    if (!out || !name) return invalid_value;
    const Kernel* k = kernel(name);
    if (!k || !mentions(m->names, name) || config.without == name) return not_found;
    Function*& f = m->functions[name];
    if (!f) f = new Function(m, k);
    return *out = f, success;
}

FACE cuModuleGetGlobal_v2(Address*, size_t*, void*, const char*) {
    ENTER;
    return not_found;
}

FACE cuFuncGetAttribute(int* out, int attribute, void* handle) {
    ENTER;
    Function* f = alive<Function>(handle, "function");
    if (!f) return invalid_handle;
    if (!out || attribute < 0 || attribute > 15) return invalid_value;
    const DieConfig& die = dies[f->context->die].config;
    switch (attribute) {
        case 0: *out = (int)f->kernel->threads; break;
        case 4: *out = 32; break;                            // registers
        case 5: case 6: *out = die.major * 10 + die.minor; break;  // PTX and binary version
        case 8: *out = 49152; break;                         // dynamic shared memory
        default: *out = 0;
    }
    return success;
}
FACE cuFuncSetAttribute(void* handle, int, int) {
    ENTER;
    return alive<Function>(handle, "function") ? success : invalid_handle;
}
FACE cuFuncSetCacheConfig(void* handle, int) {
    ENTER;
    return alive<Function>(handle, "function") ? success : invalid_handle;
}
FACE cuFuncGetModule(void** out, void* handle) {
    ENTER;
    Function* f = alive<Function>(handle, "function");
    if (!f) return invalid_handle;
    return *out = f->module, success;
}

// What fits on a multiprocessor of this architecture by threads and blocks alone.
FACE cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, void* handle, int block, size_t) {
    ENTER;
    Function* f = alive<Function>(handle, "function");
    if (!f) return invalid_handle;
    if (!out || block < 1 || block > 1024) return invalid_value;
    const int fit = 2048 / ((block + 31) / 32 * 32);
    return *out = fit < 16 ? fit : 16, success;
}

FACE cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                    unsigned shared, void* stream, void** params, void** extra) {
    ENTER_LATE;
    CONTEXT;
    Function* f = alive<Function>(handle, "function");
    Stream* s = stream_of(stream, context);
    if (!f || !s) return invalid_handle;
    const Kernel& k = *f->kernel;
    if (f->context != context || s->context != context) {
        fault(wrong_use, "%s: function, stream and current context are of dies %d, %d and %d", k.name, f->context->die,
              s->context->die, context->die);
        return invalid_handle;
    }
    const uint64_t threads = (uint64_t)bx * by * bz;
    if (!gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535 || bx > 1024 || by > 1024 || bz > 64 ||
        !threads || threads > k.threads || threads > 1024 || threads % 32) {
        fault(wrong_use,
              "%s: a grid of %ux%ux%u blocks of %ux%ux%u threads; it takes at most %u threads, a multiple of 32",
              k.name, gx, gy, gz, bx, by, bz, k.threads);
        return invalid_value;
    }
    if (shared) {
        fault(wrong_use, "%s: %u bytes of dynamic shared memory; kernels here declare theirs with SHARED", k.name,
              shared);
        return invalid_value;
    }
    if (params || !extra) {
        fault(wrong_use, "%s: arguments without their size; only `extra` has one", k.name);
        return invalid_value;
    }
    const void* buffer = nullptr;
    size_t bytes = 0;
    for (; extra[0]; extra += 2) {  // pairs of 1: buffer, 2: its size; 0 ends them
        if ((uintptr_t)extra[0] == 1) buffer = extra[1];
        if ((uintptr_t)extra[0] == 2) bytes = *(size_t*)extra[1];
    }
    if (!buffer || bytes != k.args_size) {
        fault(wrong_use, "%s: %zu bytes of arguments, it takes %u (%s)", k.name, buffer ? bytes : 0, k.args_size,
              k.args);
        return invalid_value;
    }
    std::vector<char> args(bytes);
    memcpy(args.data(), buffer, bytes);
    (void)VALGRIND_MAKE_MEM_DEFINED(args.data(), args.size());  // padding too: it is looked through for pointers
    Op op = {};
    op.name = k.name;
    op.touches = pointed_at(args);
    const auto shared_args = std::make_shared<std::vector<char>>(std::move(args));
    op.cost = [args = shared_args, die = context->die, kernel = &k, grid = Size3{gx, gy, gz}] {
        return cost_of_kernel(*kernel, grid, args->data(), die);
    };
    op.run = [args = shared_args, die = context->die, kernel = &k, grid = Size3{gx, gy, gz},
              block = Size3{bx, by, bz}] {
        launched++;
        if (!config.execute) return 0;
        check_for(die, false);
        return execute(*kernel, grid, block, args->data(), Order{config.reverse, config.races}) ? 0 : (int)reported();
    };
    return submit(s, std::move(op), call);
}
