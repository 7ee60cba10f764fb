// Products of many rows (gemm.h has the algorithm).
#include "gemm.h"
#include "decode_grid.h"

GEMM(F32)
GEMM(F16)
GEMM(BF16)
GEMM(Q8_0)
GEMM(Q4_0)
GEMM(Q4_1)
GEMM(Q5_0)
GEMM(Q5_1)
GEMM(Q2_K)
GEMM(Q3_K)
GEMM(Q4_K)
GEMM(Q5_K)
GEMM(Q6_K)
GEMM(IQ4_NL)
GEMM(IQ4_XS)
GEMM(MXFP4)
GEMM(IQ2_XS)
GEMM(IQ2_S)
GEMM(IQ3_XXS)
GEMM(IQ3_S)
