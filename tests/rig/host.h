// What kernels/device.h includes on the host: the words of CUDA C++, for one thread of a block that runs as a fibre
// (fibre.cpp). No system header is included here, so that a kernel may have any name that the C library also uses.
#pragma once

// --- Vectors, with CUDA's alignment ---

#define RIG_VECTORS(T, name, a2, a4)                                                                       \
    struct alignas(a2) name##2 { T x, y; };                                                                \
    struct name##3 { T x, y, z; };                                                                         \
    struct alignas(a4) name##4 { T x, y, z, w; };                                                          \
    static inline __attribute__((always_inline)) name##2 make_##name##2(T x, T y) { return {x, y}; }       \
    static inline __attribute__((always_inline)) name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
    static inline __attribute__((always_inline)) name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
RIG_VECTORS(signed char, char, 2, 4)
RIG_VECTORS(unsigned char, uchar, 2, 4)
RIG_VECTORS(short, short, 4, 8)
RIG_VECTORS(unsigned short, ushort, 4, 8)
RIG_VECTORS(int, int, 8, 16)
RIG_VECTORS(unsigned, uint, 8, 16)
RIG_VECTORS(float, float, 8, 16)
RIG_VECTORS(long long, longlong, 16, 16)
RIG_VECTORS(unsigned long long, ulonglong, 16, 16)
RIG_VECTORS(double, double, 16, 16)
#undef RIG_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
typedef decltype(sizeof(0)) size_t;

// --- What a fibre asks of the emulator ---

namespace rig {

// A kernel that was compiled in. The constructor enrols it under its name.
struct Kernel {
    const char *name, *file, *args;  // args: the name of its struct
    unsigned args_size, threads;
    void (*run)(const void* args);
    Kernel* next;
    Kernel(const char* name, const char* file, const char* args, unsigned args_size, unsigned threads,
           void (*run)(const void*));
};

// Constant for a thread while a kernel runs, so the compiler may ask once. Functions, not variables: a variable would
// be one more checked access at each use.
uint3 thread_idx() __attribute__((const));
uint3 block_idx() __attribute__((const));
uint3 block_dim() __attribute__((const));
uint3 grid_dim() __attribute__((const));
int lane_id() __attribute__((const));

void barrier();
void warp_barrier();
int shuffle(int value, int lane);
int shuffle_xor(int value, int mask);
unsigned ballot(int predicate);

int atomic_add(int* p, int x);
unsigned atomic_add(unsigned* p, unsigned x);
float atomic_add(float* p, float x);
int atomic_max(int* p, int x);
int atomic_min(int* p, int x);
int atomic_exchange(int* p, int x);
int atomic_compare(int* p, int expected, int x);

void copy(void* to, const void* from, size_t n);
void fill(void* to, int byte, size_t n);
void check_ldg(const void* p, size_t n);

}  // namespace rig

// --- Declaring ---

#define DEVICE static inline __attribute__((always_inline))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __constant__ static const
#define __launch_bounds__(...)
#define INFINITE __builtin_inff()

#define KERNEL(name, Args, threads) \
    static void name(const Args a); \
    static __attribute__((no_sanitize("thread"))) void rig_run_##name(const void* p) { name(*(const Args*)p); } \
    static rig::Kernel rig_kernel_##name(#name, __FILE__, #Args, sizeof(Args), threads, rig_run_##name); \
    static __attribute__((noinline)) void name(const Args a)

// One section for all shared memory, so that the checks know an address of it; what follows the # keeps it out of the
// file.
#if defined(__x86_64__)
#define RIG_SECTION "rig_shared,\"aw\",@nobits#"
#else
#define RIG_SECTION "rig_shared"
#endif
#define SHARED(type, name) static __attribute__((section(RIG_SECTION), used)) type name

#define threadIdx (rig::thread_idx())
#define blockIdx (rig::block_idx())
#define blockDim (rig::block_dim())
#define gridDim (rig::grid_dim())
#define warpSize 32

#define memcpy(to, from, n) rig::copy(to, from, n)
#define memset(to, byte, n) rig::fill(to, byte, n)

// --- Bits ---

template <class To, class From> DEVICE To rig_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "bits of another size");
    To to;
    __builtin_memcpy(&to, &x, sizeof to);
    return to;
}
DEVICE float __int_as_float(int x) { return rig_bits<float>(x); }
DEVICE int __float_as_int(float x) { return rig_bits<int>(x); }
DEVICE float __uint_as_float(unsigned x) { return rig_bits<float>(x); }
DEVICE unsigned __float_as_uint(float x) { return rig_bits<unsigned>(x); }

DEVICE int __popc(unsigned x) { return __builtin_popcount(x); }
DEVICE int __ffs(int x) { return __builtin_ffs(x); }
DEVICE int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
DEVICE unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (x >> i & 1u) << (31 - i);
    return r;
}
// Four bytes of the eight of y:x, a selector of three bits in each of s's four lowest nibbles.
DEVICE unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
    const unsigned long long both = (unsigned long long)y << 32 | x;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) r |= (unsigned)(both >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
    return r;
}
DEVICE unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) {
    return (unsigned)(((unsigned long long)hi << 32 | lo) << (s & 31) >> 32);
}
DEVICE unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s) {
    return (unsigned)(((unsigned long long)hi << 32 | lo) >> (s & 31));
}
DEVICE int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
DEVICE unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
DEVICE int __mul24(int x, int y) { return (x << 8 >> 8) * (y << 8 >> 8); }
DEVICE unsigned __umul24(unsigned x, unsigned y) { return (x & 0xffffff) * (y & 0xffffff); }

// --- Half precision ---

DEVICE float half_to_float(unsigned short h) {
    const unsigned sign = (unsigned)(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest >= 0x0400) return __uint_as_float(sign | ((rest << 13) + (112u << 23)));
    const float small = (float)(int)rest * 0x1p-24f;  // exact: a subnormal half has at most ten bits
    return __uint_as_float(sign | __float_as_uint(small));
}
// To the nearest, ties to even.
DEVICE unsigned short float_to_half(float x) {
    const unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (unsigned short)0x7fff;  // what a card makes of any NaN
    if (rest >= 0x477ff000) return (unsigned short)(sign | 0x7c00);
    if (rest < 0x38800000) {
        // Adding a half puts the bit of weight 2^-24 at the end of the mantissa, where the addition rounds as it
        // should.
        const unsigned sum = __float_as_uint(__uint_as_float(rest) + 0.5f);
        return (unsigned short)(sign | (sum - 0x3f000000));
    }
    const unsigned rounded = rest + 0xfff + (rest >> 13 & 1);
    return (unsigned short)(sign | (rounded - (112u << 23)) >> 13);
}

// --- Mathematics ---

extern "C" {
float expf(float) noexcept;
float exp2f(float) noexcept;
float expm1f(float) noexcept;
float logf(float) noexcept;
float log2f(float) noexcept;
float log10f(float) noexcept;
float log1pf(float) noexcept;
float powf(float, float) noexcept;
float tanhf(float) noexcept;
float sinf(float) noexcept;
float cosf(float) noexcept;
void sincosf(float, float*, float*) noexcept;
float erff(float) noexcept;
float erfcf(float) noexcept;
float sqrtf(float) noexcept;
float cbrtf(float) noexcept;
float fmaf(float, float, float) noexcept;
float fabsf(float) noexcept;
float floorf(float) noexcept;
float ceilf(float) noexcept;
float truncf(float) noexcept;
float rintf(float) noexcept;
float nearbyintf(float) noexcept;
float roundf(float) noexcept;
float fmodf(float, float) noexcept;
float copysignf(float, float) noexcept;
float ldexpf(float, int) noexcept;
int abs(int) noexcept;
int printf(const char*, ...);
}

// A card's answer where one side is NaN is the other side.
DEVICE float fminf(float x, float y) { return x != x ? y : y < x ? y : x; }
DEVICE float fmaxf(float x, float y) { return x != x ? y : y > x ? y : x; }

#define RIG_MIN_MAX(R, A, B)                                        \
    DEVICE R min(A x, B y) { return (R)x < (R)y ? (R)x : (R)y; }    \
    DEVICE R max(A x, B y) { return (R)x < (R)y ? (R)y : (R)x; }
RIG_MIN_MAX(int, int, int)
RIG_MIN_MAX(unsigned, unsigned, unsigned)
RIG_MIN_MAX(unsigned, int, unsigned)
RIG_MIN_MAX(unsigned, unsigned, int)
RIG_MIN_MAX(long, long, long)
RIG_MIN_MAX(unsigned long, unsigned long, unsigned long)
RIG_MIN_MAX(long long, long long, long long)
RIG_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
#undef RIG_MIN_MAX
DEVICE float min(float x, float y) { return fminf(x, y); }
DEVICE float max(float x, float y) { return fmaxf(x, y); }

DEVICE bool isnan(float x) { return x != x; }
DEVICE bool isinf(float x) { return fabsf(x) == INFINITE; }
DEVICE bool isfinite(float x) { return fabsf(x) < INFINITE; }
DEVICE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
DEVICE float exp10f(float x) { return powf(10.0f, x); }
DEVICE float __expf(float x) { return expf(x); }
DEVICE float __logf(float x) { return logf(x); }
DEVICE float __log2f(float x) { return log2f(x); }
DEVICE float __powf(float x, float y) { return powf(x, y); }
DEVICE float __sinf(float x) { return sinf(x); }
DEVICE float __cosf(float x) { return cosf(x); }
DEVICE void __sincosf(float x, float* s, float* c) { sincosf(x, s, c); }
DEVICE float __fdividef(float x, float y) { return x / y; }
DEVICE float __fdiv_rn(float x, float y) { return x / y; }
DEVICE float __frcp_rn(float x) { return 1.0f / x; }
DEVICE float __fsqrt_rn(float x) { return sqrtf(x); }
DEVICE float __fadd_rn(float x, float y) { return x + y; }
DEVICE float __fsub_rn(float x, float y) { return x - y; }
DEVICE float __fmul_rn(float x, float y) { return x * y; }
DEVICE float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
DEVICE float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
DEVICE float __int2float_rn(int x) { return (float)x; }
DEVICE float __uint2float_rn(unsigned x) { return (float)x; }
// A card saturates where C++ leaves it open; NaN becomes zero.
DEVICE int rig_to_int(float x) {
    return x != x ? 0 : x >= 0x1p31f ? 0x7fffffff : x <= -0x1p31f ? -0x7fffffff - 1 : (int)x;
}
DEVICE int __float2int_rn(float x) { return rig_to_int(rintf(x)); }
DEVICE int __float2int_rz(float x) { return rig_to_int(truncf(x)); }
DEVICE int __float2int_rd(float x) { return rig_to_int(floorf(x)); }
DEVICE int __float2int_ru(float x) { return rig_to_int(ceilf(x)); }

// --- Memory, other threads ---

template <class T> DEVICE T __ldg(const T* p) {
    rig::check_ldg(p, sizeof(T));
    return *p;
}
template <class T> DEVICE T ldg(const T* p) { return __ldg(p); }

DEVICE void __syncthreads() { rig::barrier(); }
DEVICE void __syncwarp(unsigned = ~0u) { rig::warp_barrier(); }
DEVICE void __threadfence() {}
DEVICE void __threadfence_block() {}

DEVICE int shfl(int x, int lane) { return rig::shuffle(x, lane); }
DEVICE int shfl_xor(int x, int mask) { return rig::shuffle_xor(x, mask); }
DEVICE float shfl(float x, int lane) { return __int_as_float(rig::shuffle(__float_as_int(x), lane)); }
DEVICE float shfl_xor(float x, int mask) { return __int_as_float(rig::shuffle_xor(__float_as_int(x), mask)); }
DEVICE unsigned __ballot_sync(unsigned, int predicate) { return rig::ballot(predicate); }
DEVICE int __any_sync(unsigned, int predicate) { return rig::ballot(predicate) != 0; }
DEVICE int __all_sync(unsigned, int predicate) { return rig::ballot(predicate) == ~0u; }

DEVICE int atomicAdd(int* p, int x) { return rig::atomic_add(p, x); }
DEVICE unsigned atomicAdd(unsigned* p, unsigned x) { return rig::atomic_add(p, x); }
DEVICE float atomicAdd(float* p, float x) { return rig::atomic_add(p, x); }
DEVICE int atomicMax(int* p, int x) { return rig::atomic_max(p, x); }
DEVICE int atomicMin(int* p, int x) { return rig::atomic_min(p, x); }
DEVICE int atomicExch(int* p, int x) { return rig::atomic_exchange(p, x); }
DEVICE int atomicCAS(int* p, int expected, int x) { return rig::atomic_compare(p, expected, x); }
