// Which pairs of a row and one of its experts each expert has, for gemm_experts_TYPE: the pairs sorted by expert, those of one expert
// in the order of rows, and tiles of at most TILE pairs of one expert. One block. No sum or order depends on timing.
#include "device.h"

#define LIST_THREADS 1024
// Pairs of a tile: rows of gemm_experts_TYPE's.
#define TILE 32
// Experts whose pairs are counted at a time.
#define AT_ONCE 256

// The route [n_rows, 2 * n_used]: numbers of experts, then weights. The lists are described in gemm.cu.
struct ExpertLists {
    const float* route;
    int* lists;
    int n_rows, n_used, n_expert, unused;
};

// The expert of a pair; none of this round's for one of another.
DEVICE int expert_of(const ExpertLists& a, int pair, int n_pairs, int base) {
    if (pair >= n_pairs) return -1;
    const int e = (int)ldg(a.route + (long long)(pair / a.n_used) * 2 * a.n_used + pair % a.n_used);
    // Route never gives another number.
    const int in_range = e < 0 ? 0 : e < a.n_expert ? e : a.n_expert - 1;
    return in_range >= base && in_range < base + AT_ONCE ? in_range - base : -1;
}

// How many lanes have the same value, and how many of them come before this one.
DEVICE void alike(int value, int lane, int& all, int& before) {
    all = before = 0;
#pragma unroll
    for (int i = 0; i < 32; i++) {
        const int same = shfl(value, i) == value;
        all += same;
        before += same && i < lane;
    }
}

KERNEL(expert_lists, ExpertLists, LIST_THREADS) {
    // Of each warp and expert: its pairs, then where the next of them goes.
    SHARED(int, counts[LIST_THREADS / 32][AT_ONCE]);
    // Running sums over the experts: of pairs and of tiles. Each is written from the other half.
    SHARED(int, pair_sums[2][AT_ONCE]);
    SHARED(int, tile_sums[2][AT_ONCE]);
    const int t = (int)threadIdx.x, lane = t % 32, warp = t / 32, n_warps = LIST_THREADS / 32;
    const int n_pairs = a.n_rows * a.n_used;
    // Each warp has neighbouring pairs, a multiple of 32 of them.
    const int share = (n_pairs + LIST_THREADS - 1) / LIST_THREADS * 32;
    int* starts = a.lists + 1;
    int* pairs = starts + a.n_expert + 1;
    int* tiles = pairs + n_pairs;
    int pairs_before = 0, tiles_before = 0;
    for (int base = 0; base < a.n_expert; base += AT_ONCE) {
        for (int i = t; i < n_warps * AT_ONCE; i += LIST_THREADS) counts[i / AT_ONCE][i % AT_ONCE] = 0;
        __syncthreads();
        for (int i = 0; i < share; i += 32) {
            const int e = expert_of(a, warp * share + i + lane, n_pairs, base);
            int all, before;
            alike(e, lane, all, before);
            if (e >= 0 && before == 0) counts[warp][e] += all;
            __syncwarp();
        }
        __syncthreads();
        int mine = 0;
        if (t < AT_ONCE) {
            for (int w = 0; w < n_warps; w++) mine += counts[w][t];
            pair_sums[0][t] = mine;
            tile_sums[0][t] = (mine + TILE - 1) / TILE;
        }
        __syncthreads();
        int half = 0;
        for (int step = 1; step < AT_ONCE; step *= 2) {
            if (t < AT_ONCE) {
                pair_sums[1 - half][t] = pair_sums[half][t] + (t >= step ? pair_sums[half][t - step] : 0);
                tile_sums[1 - half][t] = tile_sums[half][t] + (t >= step ? tile_sums[half][t - step] : 0);
            }
            half = 1 - half;
            __syncthreads();
        }
        if (t < AT_ONCE && base + t < a.n_expert) {
            const int n_tiles = (mine + TILE - 1) / TILE;
            const int start = pairs_before + pair_sums[half][t] - mine;
            const int tile = tiles_before + tile_sums[half][t] - n_tiles;
            starts[base + t] = start;
            for (int i = 0; i < n_tiles; i++) {
                tiles[2 * (tile + i)] = base + t;
                tiles[2 * (tile + i) + 1] = start + i * TILE;
            }
            int at = start;
            for (int w = 0; w < n_warps; w++) {
                const int n = counts[w][t];
                counts[w][t] = at;
                at += n;
            }
        }
        __syncthreads();
        for (int i = 0; i < share; i += 32) {
            const int pair = warp * share + i + lane, e = expert_of(a, pair, n_pairs, base);
            int all, before;
            alike(e, lane, all, before);
            if (e >= 0) pairs[counts[warp][e] + before] = pair;
            __syncwarp();
            if (e >= 0 && before == 0) counts[warp][e] += all;
            __syncwarp();
        }
        pairs_before += pair_sums[half][AT_ONCE - 1];
        tiles_before += tile_sums[half][AT_ONCE - 1];
        __syncthreads();
    }
    if (t == 0) {
        a.lists[0] = tiles_before;
        starts[a.n_expert] = pairs_before;
    }
}
