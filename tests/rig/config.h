// What the rig is told: text from REKINDLE_RIG (the text itself, or the path of a file that holds it) or from
// rig_config.
//
// Settings are `key = value`, with ; or a line's end between them; # begins a comment. Sizes may end in KiB, MiB, GiB.
//
//   dies = 4              how many (0 to 16; default 1); set this first
//   driver = 11040        what cuDriverGetVersion answers; also bounds the PTX version that modules may have
//   defer = 1             1 (default): asynchronous work waits until a synchronisation asks for it; 0: it is done at
//                         once
//   poison = 1            1 (default): pinned memory that a deferred copy will write to reads as 0xff bytes until then
//   unwritten = 0         1: copies may read device memory that nobody wrote
//   host_limit = 0        page-locked host memory that there is; 0: no limit
//   races = 1             1 (default): blocks and warps of one launch may not read or write what others of it write,
//                         nor ldg read it
//   execute = 1           0: launches and copies to and between dies of more than 1 MiB are timed (clock.h), not done,
//                         and memory that nobody wrote may be read: for models of real size
//   small_cache = 0       1: the clock has the rates of a small instruction cache
//   reverse = 0           1: blocks run from the last to the first, for kernels that lean on the order
//   without = NAME        no module has the kernel of that name
//   peer = yes            yes, no or lies (reported, enabled, but what is copied does not arrive), between all dies;
//   peer.0.1 = lies       or from die 0 (whose context enables it) to die 1
// and for every die, or with `die.2.` before it for die 2 alone:
//   name = Tesla K80
//   memory = 11441MiB     total
//   hidden = 0            of the memory that is reported as free, what is not there
//   overhead = 70MiB      what a context takes
//   module = 0            what a loaded module takes
//   cc = 3.7              compute capability
//   sms = 13              multiprocessors
//   clock = 823500        kHz
//   memory_clock = 2505000  kHz
//   bus = 384             bits
//   ecc = 1
//   pci = 4               bus number; default: 4, 5, 8, 9, 12, ... (two dies to a board)
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace rig {

enum class Peer { no, yes, lies };

struct DieConfig {
    std::string name = "Tesla K80";
    uint64_t memory = 11441ull << 20, hidden = 0, overhead = 70ull << 20, module = 0;
    int major = 3, minor = 7, sms = 13, clock = 823500, memory_clock = 2505000, bus = 384, ecc = 1, pci = 0;
};

constexpr int max_dies = 16;

struct Config {
    std::vector<DieConfig> dies;
    Peer peer[max_dies][max_dies];
    int driver = 11040;
    bool defer = true, poison = true, unwritten = false, reverse = false, races = true, execute = true,
         small_cache = false;
    uint64_t host_limit = 0;
    std::string without;
    Config();
};

// Empty, or what is wrong with the text.
std::string parse(const std::string& text, Config& config);

// The text of REKINDLE_RIG.
std::string environment();

}  // namespace rig
