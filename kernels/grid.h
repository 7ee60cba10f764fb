// Groups of levels, as the IQ2 and IQ3 types store them: src/quant/grid.rs describes their blocks, src/quant/grids.rs
// the groups. A group of four levels is a word, one of eight two, the first level in the lowest byte; signs are bits.
//
// The tables lie in memory and are read by way of the read-only cache, which holds them all: the lanes of a warp ask
// for different entries, so constant memory would serve them one after the other.
#pragma once
#include "device.h"

#ifdef __CUDACC__
#define TABLE(type, name, n) static __device__ const type name[n]
template <class T> DEVICE T entry(const T* table, unsigned i) { return __ldg(table + i); }
#else
#define TABLE(type, name, n) static const type name[n]
template <class T> DEVICE T entry(const T* table, unsigned i) { return table[i]; }
#endif
#include "grids.h"

// Half `high` of a group of eight.
DEVICE unsigned half_of_eight(unsigned long long group, int high) { return (unsigned)(group >> 32 * high); }

// Where the lowest four of `signs` are set, the top bit of a byte.
DEVICE unsigned top_bits(unsigned signs) {
    const unsigned s = signs & 15, two = s << 7 | s << 14;
    return (two | two << 14) & 0x80808080;
}

// Four numbers of seven bits, as bytes.
DEVICE unsigned sevens_apart(unsigned w) {
    w = (w & 0x0fffc000) << 2 | (w & 0x00003fff);
    return (w & 0x3f803f80) << 1 | (w & 0x007f007f);
}
// Sets the top bit of each byte so that it has an even number of ones.
DEVICE unsigned even_signs(unsigned sevens) {
    unsigned odd = sevens ^ sevens >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return sevens | (odd & 0x01010101) << 7;
}
