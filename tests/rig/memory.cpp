// Each die has a range of addresses, four times as long as its memory, so that a freed address is not given out again
// soon and its use is found. Whether a byte was written is known by page where whole pages are written, by bit
// elsewhere.
#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace rig {

Die dies[max_dies];
int n_dies = 0;
uintptr_t all_begin = 0;
size_t all_span = 0;
Page* pages = nullptr;
uint8_t* written_bits = nullptr;
uint32_t* page_epochs = nullptr;
Record* records = nullptr;

namespace {

uint16_t* counts = nullptr;  // how many bytes of a page are written

void* reserve(size_t bytes, int protection) {
    void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("rig: address space");
        abort();
    }
    return p;
}

size_t up(size_t x, size_t to) { return (x + to - 1) / to * to; }

void clear_shadow(uintptr_t begin, uintptr_t end) {
    const size_t first = (begin - all_begin) >> page_shift, n = (end - begin) >> page_shift;
    memset(pages + first, no_page, n);
    memset(counts + first, 0, n * sizeof *counts);
    memset(page_epochs + first, 0, n * sizeof *page_epochs);
    madvise(records + (begin - all_begin) / 4, (end - begin) / 4 * sizeof *records, MADV_DONTNEED);
    // The bits of a page are 512 bytes: only whole pages of bits can be given back.
    uint8_t *from = written_bits + (begin - all_begin) / 8, *to = written_bits + (end - all_begin) / 8;
    uint8_t *low = (uint8_t*)up((uintptr_t)from, page_bytes), *high = (uint8_t*)((uintptr_t)to & ~(page_bytes - 1));
    if (low < high) {
        memset(from, 0, low - from);
        madvise(low, high - low, MADV_DONTNEED);
        memset(high, 0, to - high);
    } else {
        memset(from, 0, to - from);
    }
}

// Calls f(address, bytes) for each page's share of a range.
template <class F> void by_page(uintptr_t address, size_t bytes, F f) {
    while (bytes) {
        const size_t n = std::min(bytes, page_bytes - (address & (page_bytes - 1)));
        if (!f(address, n)) return;
        address += n;
        bytes -= n;
    }
}

bool all_zero(const unsigned char* p, size_t n) { return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0); }

// Whether the page is whole, fresh and gets nothing but zeros: then it need not be touched.
bool stays_away(uintptr_t to, const void* from, size_t n) {
    Page& page = pages[(to - all_begin) >> page_shift];
    if (n != page_bytes || page != fresh || !all_zero((const unsigned char*)from, n)) return false;
    page = full;
    return true;
}

}  // namespace

void make_dies(const Config& config) {
    if (all_span) {
        munmap((void*)all_begin, all_span);
        munmap(pages, all_span >> page_shift);
        munmap(counts, (all_span >> page_shift) * sizeof *counts);
        munmap(written_bits, all_span / 8);
        munmap(page_epochs, (all_span >> page_shift) * sizeof *page_epochs);
        munmap(records, all_span / 4 * sizeof *records);
    }
    n_dies = (int)config.dies.size();
    all_span = 0;
    for (int i = 0; i < n_dies; i++) {
        dies[i] = Die();
        dies[i].config = config.dies[i];
        // Small allocations take two pages and a gap, however few bytes they are.
        dies[i].span = up(config.dies[i].memory * 4 + (256u << 20), 1u << 20);
        all_span += dies[i].span;
    }
    if (!all_span) return;
    all_begin = (uintptr_t)reserve(all_span, PROT_NONE);
    uintptr_t at = all_begin;
    for (int i = 0; i < n_dies; at += dies[i++].span) dies[i].begin = at;
    pages = (Page*)reserve(all_span >> page_shift, PROT_READ | PROT_WRITE);
    counts = (uint16_t*)reserve((all_span >> page_shift) * sizeof *counts, PROT_READ | PROT_WRITE);
    written_bits = (uint8_t*)reserve(all_span / 8, PROT_READ | PROT_WRITE);
    page_epochs = (uint32_t*)reserve((all_span >> page_shift) * sizeof *page_epochs, PROT_READ | PROT_WRITE);
    records = (Record*)reserve(all_span / 4 * sizeof *records, PROT_READ | PROT_WRITE);
}

uintptr_t allocate(int die, size_t bytes, const void* owner) {
    Die& d = dies[die];
    if (bytes == 0 || bytes > d.room()) return 0;
    const size_t whole = up(bytes + 512, page_bytes) + page_bytes;  // a page between neighbours
    uintptr_t at = std::max(d.next, d.begin);
    for (int lap = 0;; lap++) {
        if (at + whole > d.begin + d.span || at < d.begin) {
            if (lap > 100000000) return 0;
            at = d.begin;
        }
        auto after = d.allocations.lower_bound(at);
        if (after != d.allocations.begin()) {
            const Allocation& before = std::prev(after)->second;
            if (before.end() + page_bytes > at) {
                at = up(before.end() + page_bytes, page_bytes);
                continue;
            }
        }
        if (after != d.allocations.end() && after->first < at + whole) {
            at = up(after->second.end() + page_bytes, page_bytes);
            continue;
        }
        break;
    }
    d.next = at + whole;
    const uintptr_t begin = at + 512, low = at, high = up(begin + bytes, page_bytes);
    if (mprotect((void*)low, high - low, PROT_READ | PROT_WRITE) != 0) return 0;
    const size_t first = (low - all_begin) >> page_shift, last = (high - 1 - all_begin) >> page_shift;
    memset(pages + first, fresh, last - first + 1);
    pages[first] = edge;
    if ((begin + bytes) % page_bytes) pages[last] = edge;
    d.allocations[begin] = {begin, bytes, owner};
    d.used += bytes;
    d.peak = std::max(d.peak, d.used);
    return begin;
}

void release(int die, uintptr_t address) {
    Die& d = dies[die];
    auto it = d.allocations.find(address);
    const uintptr_t low = address - 512, high = up(it->second.end(), page_bytes);
    clear_shadow(low, high);
    madvise((void*)low, high - low, MADV_DONTNEED);
    mprotect((void*)low, high - low, PROT_NONE);
    d.used -= it->second.bytes;
    d.allocations.erase(it);
}

int die_of(uintptr_t address) {
    if (address - all_begin >= all_span) return -1;
    int i = 0;
    while (address - dies[i].begin >= dies[i].span) i++;
    return i;
}

const Allocation* allocation_at(int die, uintptr_t address) {
    const auto& all = dies[die].allocations;
    auto it = all.upper_bound(address);
    return it == all.begin() ? nullptr : &std::prev(it)->second;
}

bool holds(int die, uintptr_t address, size_t bytes) {
    const Allocation* a = allocation_at(die, address);
    return a && bytes <= a->bytes && address - a->begin <= a->bytes - bytes;
}

void forget_records() {
    madvise(page_epochs, (all_span >> page_shift) * sizeof *page_epochs, MADV_DONTNEED);
    madvise(records, all_span / 4 * sizeof *records, MADV_DONTNEED);
}

void mark_in_page(size_t offset, unsigned bytes) {
    const size_t page = offset >> page_shift;
    unsigned added = 0;
    for (size_t i = offset; i < offset + bytes;) {
        const unsigned bit = i & 7;
        const unsigned n = std::min<size_t>(8 - bit, offset + bytes - i);
        const uint8_t mask = (uint8_t)((1u << n) - 1) << bit;
        added += (unsigned)__builtin_popcount(mask & ~written_bits[i >> 3]);
        written_bits[i >> 3] |= mask;
        i += n;
    }
    counts[page] = (uint16_t)(counts[page] + added);
    if (pages[page] != edge) pages[page] = counts[page] == page_bytes ? full : part;
}

void mark_written(uintptr_t address, size_t bytes) {
    by_page(address, bytes, [](uintptr_t a, size_t n) {
        Page& page = pages[(a - all_begin) >> page_shift];
        if (page == full) return true;
        if (n == page_bytes && page != edge) page = full;
        else mark_in_page(a - all_begin, (unsigned)n);
        return true;
    });
}

size_t written(uintptr_t address, size_t bytes) {
    size_t good = 0;
    by_page(address, bytes, [&](uintptr_t a, size_t n) {
        const size_t offset = a - all_begin;
        const Page page = pages[offset >> page_shift];
        if (page == full) return good += n, true;
        if (page == no_page || page == fresh) return false;
        for (size_t i = offset; i < offset + n; i++, good++)
            if (!(written_bits[i >> 3] >> (i & 7) & 1)) return false;
        return true;
    });
    return good;
}

void copy_in(uintptr_t to, const void* from, size_t bytes) {
    const char* source = (const char*)from;
    by_page(to, bytes, [&](uintptr_t a, size_t n) {
        if (!stays_away(a, source, n)) {
            memcpy((void*)a, source, n);
            mark_written(a, n);
        }
        source += n;
        return true;
    });
}

void copy_out(void* to, uintptr_t from, size_t bytes) { memcpy(to, (const void*)from, bytes); }

void copy_within(uintptr_t to, uintptr_t from, size_t bytes) {
    if (written(from, bytes) == bytes) {
        if (to + bytes <= from || from + bytes <= to) copy_in(to, (const void*)from, bytes);
        else memmove((void*)to, (const void*)from, bytes), mark_written(to, bytes);
        return;
    }
    memmove((void*)to, (const void*)from, bytes);
    for (size_t i = 0; i < bytes;) {  // what is unwritten there stays as it was here
        const size_t good = written(from + i, bytes - i);
        mark_written(to + i, good);
        i += good + 1;
    }
}

void fill_bytes(uintptr_t to, unsigned char byte, size_t bytes) {
    by_page(to, bytes, [&](uintptr_t a, size_t n) {
        Page& page = pages[(a - all_begin) >> page_shift];
        if (byte == 0 && n == page_bytes && page == fresh) return page = full, true;
        memset((void*)a, byte, n);
        mark_written(a, n);
        return true;
    });
}

void fill_words(uintptr_t to, uint32_t word, size_t n) {
    if (word == (word & 0xff) * 0x01010101u) return fill_bytes(to, (unsigned char)word, n * 4);
    std::fill_n((uint32_t*)to, n, word);
    mark_written(to, n * 4);
}

}  // namespace rig
