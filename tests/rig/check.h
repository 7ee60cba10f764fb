// The checks of what kernels do with memory.
#pragma once
#include <cstddef>
#include <cstdint>

namespace rig {

// Says whose memory the next kernel may use: that of one die, or (for tests without the driver's face) host memory too.
void check_for(int die, bool host_memory);

// Of the running kernel's block: at most 48 KiB of shared memory can be used.
constexpr size_t shared_limit = 48 << 10;

// Before a block runs, so that shared memory counts anew.
void check_block();
// Epochs begin anew at 1.
void check_restart();

// Reads and writes that are not a kernel's own text: atomics, memcpy. The last is where the call stands.
void check_read(const void* p, size_t n, const void* pc);
void check_write(const void* p, size_t n, const void* pc);
void check_atomic(const void* p, const void* pc);
// By way of the read-only cache, which does not see what the running kernel writes.
void check_read_only(const void* p, size_t n, const void* pc);

}  // namespace rig
