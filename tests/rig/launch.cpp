#include "check.h"
#include "driver.h"
#include "fibre.h"
#include "host.h"
#include "memory.h"
#include "report.h"
#include "rig.h"

namespace rig {

bool launch(const char* name, Size3 grid, Size3 block, const void* args, size_t bytes) {
    begin_once();
    const Kernel* k = kernel(name);
    if (!k) {
        fault(wrong_use, "there is no kernel %s", name);
        return false;
    }
    if (bytes != k->args_size) {
        fault(wrong_use, "%s: %zu bytes of arguments, it takes %u (%s)", name, bytes, k->args_size, k->args);
        return false;
    }
    check_for(0, true);
    return execute(*k, grid, block, args, Order{config.reverse, config.races});
}

void* device_memory(size_t bytes) {
    begin_once();
    return (void*)allocate(0, bytes, nullptr);
}
void free_device(void* p) { release(0, (uintptr_t)p); }
void to_device(void* to, const void* from, size_t bytes) {
    if (holds(0, (uintptr_t)to, bytes)) copy_in((uintptr_t)to, from, bytes);
    else fault(wrong_use, "to_device: %zu bytes at %p lie in no allocation", bytes, to);
}
void from_device(void* to, const void* from, size_t bytes) {
    if (holds(0, (uintptr_t)from, bytes)) copy_out(to, (uintptr_t)from, bytes);
    else fault(wrong_use, "from_device: %zu bytes at %p lie in no allocation", bytes, from);
}

}  // namespace rig
