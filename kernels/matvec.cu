// The mat-vec kernels of the formats with blocks of 256 (matvec.h has the algorithm). In one pass a warp takes four
// rows of 2048 values. Those are the numbers that the report (kernels/images/report.md) computes bounds with:
// bound: matvec_Q4_K_1 values=8192 bytes=4608
// bound: matvec_Q6_K_1 values=8192 bytes=6720
// bound: matvec_experts_Q4_K values=8192 bytes=4608
#include "matvec_blocks.h"

MATVECS(Q2_K)
MATVECS(Q3_K)
MATVECS(Q4_K)
MATVECS(Q5_K)
MATVECS(Q6_K)
MATVECS(IQ4_XS)
