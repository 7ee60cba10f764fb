// How new elements of the KV cache become blocks (kv.cu has the form of cells), for the kernels that write cells.
#pragma once
#include "args.h"
#include "device.h"

// Writes 32 elements of Q8_0, one a lane: element `e` of a row of `cols`.
DEVICE void quantize_q8_0(unsigned char* row, int cols, int e, float x) {
    const float d = __fdiv_rn(warp_max_or_none(fabsf(x)), 127.0f);
    const float inverse = d == 0 ? 0.0f : __fdiv_rn(1.0f, d);
    const int q = min(max(__float2int_rn(__fmul_rn(x, inverse)), -127), 127);
    row[e] = (unsigned char)q;
    if (e % 32 == 0) *(unsigned short*)(row + cols + e / 32 * 2) = float_to_half(d);
}

// The same of Q4_0. The scale comes of the element of the largest magnitude, the first of them, which becomes -8.
DEVICE void quantize_q4_0(unsigned char* row, int cols, int e, float x) {
    const float most = warp_max_or_none(fabsf(x));
    const int first = __ffs((int)__ballot_sync(0xffffffffu, fabsf(x) == most)) - 1;
    const float extreme = shfl(x, max(first, 0));
    const unsigned short half = float_to_half(most == most ? extreme * -0.125f : most);
    const float d = half_to_float(half), inverse = d == 0 ? 0.0f : __fdiv_rn(1.0f, d);
    const int q = min(max(__float2int_rn(__fadd_rn(__fmul_rn(x, inverse), 8.0f)), 0), 15);
    const int other = shfl_xor(q, 4);
    if (e % 8 < 4) row[e / 8 * 4 + e % 4] = (unsigned char)(q | other << 4);
    if (e % 32 == 0) *(unsigned short*)(row + cols / 2 + e / 32 * 2) = half;
}
