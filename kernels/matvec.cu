// Mat-vec kernels of the formats with blocks of 256.
#include "matvec_blocks.h"

MATVECS(Q2_K)
MATVECS(Q3_K)
MATVECS(Q4_K)
MATVECS(Q5_K)
MATVECS(Q6_K)
MATVECS(IQ4_XS)
