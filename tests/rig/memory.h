// The dies' memory: allocations, how much of it, and which bytes have been written.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>

#include "config.h"

namespace rig {

struct Allocation {
    uintptr_t begin;
    size_t bytes;
    const void* owner;  // the context it was made in
    uintptr_t end() const { return begin + bytes; }
};

struct Die {
    DieConfig config;
    uintptr_t begin = 0;  // of its addresses
    size_t span = 0;
    uintptr_t next = 0;   // where to look for room first
    uint64_t used = 0, peak = 0;      // bytes asked for
    uint64_t reserved = 0;            // contexts and modules
    std::map<uintptr_t, Allocation> allocations;
    uint64_t room() const {           // what can really be had
        const uint64_t gone = used + reserved + config.hidden;
        return gone > config.memory ? 0 : config.memory - gone;
    }
    uint64_t reported_free() const {
        const uint64_t gone = used + reserved;
        return gone > config.memory ? 0 : config.memory - gone;
    }
};

extern Die dies[max_dies];
extern int n_dies;

// Makes the dies. All earlier allocations are gone.
void make_dies(const Config& config);

// Null where there is no room. Addresses are multiples of 512 and, on purpose, of no more.
uintptr_t allocate(int die, size_t bytes, const void* owner);
void release(int die, uintptr_t address);

// The die whose addresses these are, or -1.
int die_of(uintptr_t address);
// The allocation that holds the address, or the last one below it, or null.
const Allocation* allocation_at(int die, uintptr_t address);
// True where all of it lies in one live allocation.
bool holds(int die, uintptr_t address, size_t bytes);

// How much from address on has been written, without a gap, up to `bytes`.
size_t written(uintptr_t address, size_t bytes);
void mark_written(uintptr_t address, size_t bytes);

// Copies and fills that keep the marks, and leave pages of zeros out of the machine's memory. All within live
// allocations.
void copy_in(uintptr_t to, const void* from, size_t bytes);
void copy_out(void* to, uintptr_t from, size_t bytes);
void copy_within(uintptr_t to, uintptr_t from, size_t bytes);
void fill_bytes(uintptr_t to, unsigned char byte, size_t bytes);
void fill_words(uintptr_t to, uint32_t word, size_t n);

// --- What the checks of kernels look at (check.cpp) ---

// One byte for each page of 4 KiB. Every page but the first and the last of an allocation starts as `fresh`.
enum Page : uint8_t {
    no_page,  // in no allocation
    edge,     // partly in one: its bits say which bytes have been written
    fresh,    // nothing written yet; reads as zeros and takes no memory
    part,     // some written: its bits say which
    full,     // all written
};
constexpr int page_shift = 12;
constexpr size_t page_bytes = 1u << page_shift;

extern uintptr_t all_begin;   // of all dies
extern size_t all_span;
extern Page* pages;           // of all dies
extern uint8_t* written_bits; // a bit per byte
extern uint32_t* page_epochs; // the latest epoch in which a kernel wrote there

// Which kernel's thread wrote four bytes last.
struct Record {
    uint32_t epoch;
    uint16_t warp;
    uint8_t bytes;  // which of them
};
extern Record* records;
void forget_records();

// Marks bytes of an edge, fresh or part page. They may not cross a page.
void mark_in_page(size_t offset, unsigned bytes);

}  // namespace rig
