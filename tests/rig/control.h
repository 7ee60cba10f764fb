// Counting calls, and failing those that a test asks for. The functions for tests are in control.cpp.
#pragma once

namespace rig {

// Counts a call; the error that a test wants of it, or 0.
int count_call(const char* name, bool& delayed);

}  // namespace rig
