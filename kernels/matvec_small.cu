// The mat-vec kernels of the formats with blocks of 32 (matvec.h has the algorithm).
#include "matvec_blocks.h"

MATVECS(Q4_0)
MATVECS(Q4_1)
MATVECS(Q5_0)
MATVECS(Q5_1)
MATVECS(Q8_0)
MATVECS(IQ4_NL)
MATVECS(MXFP4)
