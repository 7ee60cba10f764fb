// The words that kernels are written with: CUDA C++ without any header of the toolkit, so that NVRTC needs none.
// Compiled for the host, tests/rig/host.h gives the same words, and the same files run on the virtual rig.
//
// A kernel takes one struct by value (args.h, which src/cuda/args.rs describes), called `a` in its body.
// src/cuda/kernels.rs has the table of all kernels, and src/cuda/<operation>.rs the launches. The rig needs these rules
// kept: shared memory is declared with SHARED, in the KERNEL itself (not in a template); all threads of a block reach
// every barrier, all lanes of a warp every shuffle; vectors are read at addresses that are multiples of their size.
#pragma once

#ifdef __CUDACC__

#define KERNEL(name, Args, threads) extern "C" __global__ void __launch_bounds__(threads) name(const Args a)
#define SHARED(type, name) __shared__ type name
#define DEVICE static __device__ __forceinline__
#define INFINITE __int_as_float(0x7f800000)

// Reads memory that no kernel writes meanwhile, by way of the read-only cache.
template <class T> DEVICE T ldg(const T* p) { return __ldg(p); }

DEVICE float shfl_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE int shfl_xor(int x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE float shfl(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE int shfl(int x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }

DEVICE float half_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
// Rounds to the nearest, ties to even.
DEVICE unsigned short float_to_half(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

#else
#include "host.h"
#endif

// The sum over a warp, in every lane.
DEVICE float warp_sum(float x) {
    for (int mask = 16; mask > 0; mask >>= 1) x += shfl_xor(x, mask);
    return x;
}
DEVICE float warp_max(float x) {
    for (int mask = 16; mask > 0; mask >>= 1) x = fmaxf(x, shfl_xor(x, mask));
    return x;
}
// The same, but NaN where one of them is.
DEVICE float warp_max_or_none(float x) {
    for (int mask = 16; mask > 0; mask >>= 1) {
        const float other = shfl_xor(x, mask);
        x = other > x || other != other ? other : x;
    }
    return x;
}
