// For C++ tests that look at kernels without the driver's face: link with libcuda.so.1. One thread at a time.
#pragma once
#include <cstddef>

#include "fibre.h"

#define RIG_PUBLIC __attribute__((visibility("default")))

namespace rig {

// Runs a kernel over a grid. False, with a text in rig_report(), where a thread did what a card punishes, there is no
// such kernel, or it takes another number of bytes. Host memory may be used here, unchecked; of memory from
// device_memory every access is checked. REKINDLE_RIG counts here too: with reverse = 1 in it the blocks run from the
// last to the first.
RIG_PUBLIC bool launch(const char* name, Size3 grid, Size3 block, const void* args, size_t bytes);

template <class Args> bool launch(const char* name, Size3 grid, Size3 block, const Args& args) {
    return launch(name, grid, block, static_cast<const void*>(&args), sizeof args);
}

// Memory of the first die. Nobody has written it yet: put something there with to_device, or let a kernel do it.
RIG_PUBLIC void* device_memory(size_t bytes);
RIG_PUBLIC void free_device(void* p);
RIG_PUBLIC void to_device(void* to, const void* from, size_t bytes);
RIG_PUBLIC void from_device(void* to, const void* from, size_t bytes);

}  // namespace rig
