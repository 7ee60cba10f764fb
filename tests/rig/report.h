// Faults: what a card would punish and what a driver would not forgive, told in words. The first text is kept, every
// one goes to the error output.
#pragma once
#include <string>

namespace rig {

// The codes of the driver that a fault leads to.
enum Code { wrong_use = 1, illegal_address = 700, misaligned = 716, launch_failed = 719 };

// Within a kernel: tells and leaves the kernel for good. Outside: tells and returns.
__attribute__((format(printf, 2, 3))) void fault(Code code, const char* format, ...);
// Within a kernel only; pc is where the access stands in the code.
[[noreturn]] __attribute__((format(printf, 3, 4))) void fault_at(const void* pc, Code code, const char* format, ...);
// The rest of the telling that wants a real stack: after a kernel was left.
void tell();

std::string report();    // the first fault's text, or ""
int faults();            // how many
Code reported();         // the code of the latest
void forget();

}  // namespace rig
