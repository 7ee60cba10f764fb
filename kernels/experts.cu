// Sorts the pairs of a row and one of its experts by expert, for gemm_experts_TYPE (args.h describes the lists), so
// that an expert's weights are read once for many rows. The pairs of one expert stay in the order of rows, and are cut
// into tiles.
//
// It is a counting sort by one block, stable and without atomics, so that no order depends on timing. For 256 experts
// at a time:
//   1. Each warp has a share of neighbouring pairs, and counts its pairs of each expert, 32 at a time. Lanes with the
//      same expert find each other by shuffles; the first of them adds their number.
//   2. A thread per expert adds up the warps' counts. Running sums over the experts say where each expert's pairs and
//      its tiles begin; each count then becomes the place of that warp's first pair of that expert.
//   3. The warps go over their shares once more and write each pair to its place.
#include "args.h"
#include "device.h"

// Pairs of a tile.
#define TILE GEMM_SMALL_ROWS
// Experts whose pairs are counted at a time.
#define AT_ONCE 256

// The expert of a pair, counted from `base`; -1 for one that is not of this round, or where there is no pair.
DEVICE int expert_of(const ExpertLists& a, int pair, int n_pairs, int base) {
    if (pair >= n_pairs) return -1;
    const int e = (int)ldg(a.route + (long long)(pair / a.n_used) * 2 * a.n_used + pair % a.n_used);
    // Route gives no number out of range.
    const int in_range = e < 0 ? 0 : e < a.n_expert ? e : a.n_expert - 1;
    return in_range >= base && in_range < base + AT_ONCE ? in_range - base : -1;
}

// Counts the lanes that have this lane's value, and those of them that come before it.
DEVICE void alike(int value, int lane, int& all, int& before) {
    all = before = 0;
#pragma unroll
    for (int i = 0; i < 32; i++) {
        const int same = shfl(value, i) == value;
        all += same;
        before += same && i < lane;
    }
}

KERNEL(expert_lists, ExpertLists, LISTS_THREADS) {
    // For each warp and expert: its number of pairs, then the place of the next of them.
    SHARED(int, counts[LISTS_THREADS / 32][AT_ONCE]);
    // Running sums over the experts, of pairs and of tiles. Each step reads one half and writes the other.
    SHARED(int, pair_sums[2][AT_ONCE]);
    SHARED(int, tile_sums[2][AT_ONCE]);
    const int t = (int)threadIdx.x, lane = t % 32, warp = t / 32, n_warps = LISTS_THREADS / 32;
    const int n_pairs = a.n_rows * a.n_used;
    // Each warp has neighbouring pairs, a multiple of 32 of them.
    const int share = (n_pairs + LISTS_THREADS - 1) / LISTS_THREADS * 32;
    int* starts = a.lists + 1;
    int* pairs = starts + a.n_expert + 1;
    int* tiles = pairs + n_pairs;
    int pairs_before = 0, tiles_before = 0;
    for (int base = 0; base < a.n_expert; base += AT_ONCE) {
        // 1. Counts.
        for (int i = t; i < n_warps * AT_ONCE; i += LISTS_THREADS) counts[i / AT_ONCE][i % AT_ONCE] = 0;
        __syncthreads();
        for (int i = 0; i < share; i += 32) {
            const int e = expert_of(a, warp * share + i + lane, n_pairs, base);
            int all, before;
            alike(e, lane, all, before);
            if (e >= 0 && before == 0) counts[warp][e] += all;
            __syncwarp();
        }
        __syncthreads();
        // 2. Places. `mine` is the number of pairs of this thread's expert.
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
        // 3. The pairs go there.
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
