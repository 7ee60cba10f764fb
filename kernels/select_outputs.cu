// SelectOutputs: copies the rows whose results are asked for side by side, so that what follows computes no others.
// Each thread copies one element.
#include "args.h"
#include "device.h"

// Grid (outputs, parts of cols).
KERNEL(select_outputs, SelectOutputs, SELECT_THREADS) {
    const long long r = blockIdx.x;
    const int c = (int)blockIdx.y * SELECT_THREADS + (int)threadIdx.x;
    if (c < a.cols) a.y[r * a.cols + c] = a.x[(long long)ldg(a.outputs + r) * a.cols + c];
}
