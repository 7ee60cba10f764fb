#include "report.h"

#include <dlfcn.h>

#include <cstdarg>
#include <cstdio>

#include "fibre.h"

namespace rig {
namespace {

std::string first;
int count = 0;
Code latest = wrong_use;

char pending[1200];  // composed on a fibre's stack, told on a real one
const void* pending_pc = nullptr;

void keep(const std::string& text) {
    fprintf(stderr, "rig: %s\n", text.c_str());
    if (first.empty()) first = text;
    count++;
}

void compose(const char* format, va_list list) {
    int n = 0;
    if (running()) {
        const Place p = place();
        n = snprintf(pending, sizeof pending, "%s, block (%u, %u, %u), thread (%u, %u, %u): ", p.kernel, p.block.x,
                     p.block.y, p.block.z, p.thread.x, p.thread.y, p.thread.z);
    }
    vsnprintf(pending + n, sizeof pending - (size_t)n, format, list);
}

std::string run(const std::string& command) {
    std::string text;
    if (FILE* pipe = popen(command.c_str(), "r")) {
        char line[400];
        while (fgets(line, sizeof line, pipe)) text += line;
        pclose(pipe);
    }
    return text;
}

// The line of the source, if binutils are there to tell it.
std::string line_of(const void* pc) {
    Dl_info info;
    if (!pc || !dladdr(pc, &info)) return "";
    char command[600];
    snprintf(command, sizeof command, "addr2line -i -e '%s' %#zx 2>/dev/null", info.dli_fname,
             (size_t)((uintptr_t)pc - 1 - (uintptr_t)info.dli_fbase));
    std::string lines = run(command), text;
    for (size_t at = 0, end; (end = lines.find('\n', at)) != std::string::npos; at = end + 1) {
        std::string line = lines.substr(at, end - at);
        line = line.substr(0, line.find(" (disc"));
        if (line.find("host.h") != std::string::npos || line[0] == '?') continue;
        const size_t slash = line.rfind('/');
        text += (text.empty() ? " at " : " from ") + (slash == std::string::npos ? line : line.substr(slash + 1));
    }
    return text;
}

}  // namespace

void fault(Code code, const char* format, ...) {
    va_list list;
    va_start(list, format);
    compose(format, list);
    va_end(list);
    latest = code;
    pending_pc = nullptr;
    if (running()) abandon();
    tell();
}

void fault_at(const void* pc, Code code, const char* format, ...) {
    va_list list;
    va_start(list, format);
    compose(format, list);
    va_end(list);
    latest = code;
    pending_pc = pc;
    abandon();
}

void tell() {
    const std::string where = first.empty() ? line_of(pending_pc) : "";
    keep(pending + where);
    pending_pc = nullptr;
}

std::string report() { return first; }
int faults() { return count; }
Code reported() { return latest; }
void forget() {
    first.clear();
    count = 0;
}

}  // namespace rig
