// Mat-vec kernels for queries, keys and values in one launch where values have another type (matvec.h has the
// algorithm): files of Q4_K_M and Q5_K_M have Q6_K for the values of half of their layers.
#include "matvec_blocks.h"

MATVEC_PAIR(Q4_K, Q6_K, matvec_Q4_K_Q6_K, 4, false)
MATVEC_PAIR(Q5_K, Q6_K, matvec_Q5_K_Q6_K, 4, false)
MATVEC_PAIR(Q4_K, Q6_K, matvec_ahead_Q4_K_Q6_K, 2, true)
MATVEC_PAIR(Q5_K, Q6_K, matvec_ahead_Q5_K_Q6_K, 2, true)
