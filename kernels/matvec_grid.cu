// The mat-vec kernels of the formats with groups of levels (matvec.h has the algorithm).
#include "blocks_grid.h"
#include "matvec_blocks.h"

// IQ2_S wants some more registers than the compiler gives it otherwise, so more shared memory is left unused.
template <int NR> struct Shape<IQ2_S, NR> {
    enum { SLICE = NR == 1 ? 2048 : NR == 2 ? 1024 : 512 };
    enum { UNUSED = NR == 1 || NR == 4 ? 300 : 0 };
    enum { QUADS = NR * SLICE / 4 / 8 * 9 + UNUSED, SUMS = NR * SLICE / 16 };
    enum { QUADS_AHEAD = QUADS };
};

MATVECS(IQ2_XS)
MATVECS(IQ2_S)
MATVECS(IQ3_XXS)
MATVECS(IQ3_S)
