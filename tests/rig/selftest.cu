// Kernels that misbehave on purpose, each in the way that its `what` asks for, and some that do not.
#include "device.h"

struct Copy {
    const float* x;
    float* y;
    int n;
};
KERNEL(copy_floats, Copy, 256) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.n) a.y[i] = ldg(a.x + i);
}
KERNEL(add_one, Copy, 256) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.n) a.y[i] = a.y[i] + 1.0f;
}

struct Wild {
    float* x;
    int what;
};
KERNEL(wild, Wild, 64) {
    const unsigned char* bytes = (const unsigned char*)a.x;
    if (threadIdx.x != 33) return;
    if (a.what == 0) a.x[100] = 1;                                  // one past the end of 100 floats
    if (a.what == 1) a.x[0] = a.x[50];                              // unwritten
    if (a.what == 2) a.x[-1] = 1;
    if (a.what == 3) a.x[0] = ((const float4*)(bytes + 4))->z;      // crooked
    if (a.what == 4) a.x[0] = *(const unsigned*)(bytes + 2);
    if (a.what == 5) a.x[0] = ldg((const float2*)(bytes + 4)).x;
    if (a.what == 6) a.x[0] = *(const volatile float*)16;           // null and near it
    if (a.what == 7) {
        float local[4] = {0, 0, 0, 0};
        local[a.what & 3] = 1;
        a.x[0] = local[(a.what + a.what) & 7];                      // 6 of 4
    }
    if (a.what == 8) a.x[1000000] = 1;                              // in no allocation
    if (a.what == 9) atomicAdd((int*)a.x + 100, 1);
    if (a.what == 10) memcpy(a.x + 98, a.x, 12);
}

struct Shared {
    float* y;
    int what;
};
KERNEL(shared_wrong, Shared, 64) {
    SHARED(float, part[64]);
    SHARED(float, huge[13000]);
    SHARED(unsigned char, bytes[64]);
    const int i = threadIdx.x;
    if (a.what == 0) a.y[i] = part[i];                              // unwritten
    if (a.what == 1) { part[i] = i; a.y[i] = part[63 - i]; }        // no barrier
    if (a.what == 2) { part[0] = i; }                               // both warps write
    if (a.what == 3) {
        part[i] = i;
        __syncthreads();
        a.y[i] = part[63 - i];
        part[i] = 0;                                                // another warp may still read
    }
    if (a.what == 4) for (int k = i; k < 13000; k += 64) huge[k] = 0;
    if (a.what == 5) { // nothing wrong: bytes of one word by two warps, all barriers there
        bytes[(i & 31) * 2 + i / 32] = i;
        part[i] = i;
        __syncthreads();
        const float s = part[63 - i] + bytes[i];
        __syncthreads();
        part[i] = s;
        __syncwarp();
        a.y[i] = part[i ^ 1];
    }
    if (a.what == 6) {
        SHARED(int, count);
        if (i == 0) count = 0;
        __syncthreads();
        atomicAdd(&count, 1);
        atomicMax(&count, 3);
        __syncthreads();
        a.y[i] = count;
    }
    if (a.what == 8) {
        part[i] = i;
        __syncthreads();
        if (i >= 32) a.y[i] = part[63 - i];
        else part[i] = 0;                                           // while the other warp reads
    }
    if (a.what == 7) part[a.what * 10 + i] = 0;                     // index out of bounds
}

struct Meet {
    int* y;
    int what;
};
KERNEL(meet_wrong, Meet, 64) {
    const int i = threadIdx.x;
    if (a.what == 0 && i < 32) __syncthreads();
    if (a.what == 1 && i % 32 < 16) a.y[i] = shfl(i, 0);
    if (a.what == 2) { if (i % 2) __syncthreads(); else a.y[i] = shfl_xor(i, 1); }
    if (a.what == 3) {
        int x = shfl(i, 5) + shfl_xor(i, 3) + __popc(__ballot_sync(~0u, i & 1));
        a.y[i] = x;
    }
}

struct Spin {
    int* y;
    int n;
};
KERNEL(spin, Spin, 1024) {
    int x = threadIdx.x;
    for (int i = 0; i < a.n; i++) x = shfl_xor(x, 1 << (i & 3)) + 1;
    a.y[threadIdx.x] = x;
}
KERNEL(sum_many, Copy, 32) {
    float s = 0;
    for (int k = 0; k < a.n; k++) s += a.x[(k * 32 + threadIdx.x) & 0xffff];
    a.y[threadIdx.x] = s;
}

struct Race {
    int* y;
    int what;
};
KERNEL(race, Race, 64) {
    const int i = threadIdx.x, b = blockIdx.x;
    if (a.what == 0) a.y[0] = 1;                                    // both warps
    if (a.what == 1 && i == 0) a.y[b / 2] = 1;                      // two blocks
    if (a.what == 2) { a.y[i + b * 64] = i; if (b) a.y[i + b * 64] += a.y[i]; }
    if (a.what == 3) { a.y[i] = i; a.y[i] = ldg(a.y + i); }
    if (a.what == 4) {                                              // nothing wrong
        int* mine = a.y + b * 128;
        mine[i] = i;
        __syncthreads();
        mine[i + 64] = mine[63 - i];
        __syncthreads();
        mine[i] += mine[i + 64];
    }
    if (a.what == 5) {                                              // nor here: the last block to come adds up
        SHARED(int, last);
        if (i == 0) a.y[1 + b] = b;
        __syncthreads();
        if (i == 0) last = atomicAdd(a.y, 1) == (int)gridDim.x - 1;
        __syncthreads();
        if (last && i == 0) a.y[100] = a.y[1] + a.y[2] + a.y[3];
    }
    if (a.what == 6 && i == 0) a.y[b] = b < 2 ? a.y[b + 1] : 0;     // seen with reverse = 1
}

struct Turn {
    int* y;
};
KERNEL(order, Turn, 32) {
    if (threadIdx.x == 0) a.y[0] = blockIdx.x;  // the last block to run stays
}

// Words that host.h has to get right.
struct Words {
    unsigned* y;
};
KERNEL(words, Words, 32) {
    SHARED(unsigned, fill[32]);
    static_assert(alignof(float4) == 16 && alignof(uint2) == 8 && alignof(ushort4) == 8 && alignof(uchar4) == 4 &&
                      sizeof(float3) == 12,
                  "");
    fill[threadIdx.x] = 0;
    if (threadIdx.x) return;
    int n = 0;
    a.y[n++] = __byte_perm(0x33221100, 0x77665544, 0x7351);
    a.y[n++] = __funnelshift_r(0x89abcdef, 0x01234567, 8);
    a.y[n++] = __funnelshift_l(0x89abcdef, 0x01234567, 8);
    a.y[n++] = __float_as_uint(1.0f);
    a.y[n++] = float_to_half(65520.0f);
    a.y[n++] = float_to_half(0x1p-25f);
    a.y[n++] = float_to_half(0x1.8p-24f);
    a.y[n++] = __float_as_uint(half_to_float(1));
    a.y[n++] = (unsigned)max(-1, 2) + (unsigned)__clz(1) + __brev(1);
    a.y[n++] = __float_as_uint(fmaxf(__int_as_float(0x7fc00000), 2.0f));
}
