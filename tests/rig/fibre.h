// Threads of a block as fibres, one block after the other, on the calling thread.
#pragma once
#include <cstddef>
#include <cstdint>

namespace rig {

struct Kernel;

struct Size3 {
    unsigned x = 1, y = 1, z = 1;
};

// The kernel of that name, or null.
const Kernel* kernel(const char* name);
const Kernel* first_kernel();

// Runs a whole grid. False where a thread did what a card punishes; report.h has the text. Not for two threads at once.
struct Order {
    bool reverse = false;  // the last block first
    bool races = true;     // look for blocks that read or write what others write
};
bool execute(const Kernel& kernel, Size3 grid, Size3 block, const void* args, Order order = Order());

// Leaves the running kernel for good, from within it.
[[noreturn]] void abandon();

// Where the running thread is, for a report.
struct Place {
    const char* kernel;
    Size3 block, thread;
};
Place place();
bool running();

// What the checks look at with each access.
struct Now {
    unsigned warp;         // of the running thread, within its block
    uint32_t epoch;        // grows with each barrier and each block, never falls
    uint32_t block_epoch;  // the epoch that the running block began with
    // That the launch began with; the highest there is where nobody looks for races between blocks.
    uint32_t launch_epoch;
    bool acquired;         // the block has done an atomic operation, so it may know what other blocks have done
};
extern Now now_checked;

// Where all stacks of all fibres lie.
extern uintptr_t stacks_begin;
constexpr size_t stack_bytes = 64 << 10, stacks_bytes = 1024 * stack_bytes;

}  // namespace rig
