// SelectOutputs: the rows whose logits are asked for.
#include "device.h"

#define SELECT_THREADS 256

// outputs: of each row of y, its row of x.
struct SelectOutputs {
    const float* x;
    const int* outputs;
    float* y;
    int cols, unused;
};

// Grid (outputs, parts of cols).
KERNEL(select_outputs, SelectOutputs, SELECT_THREADS) {
    const long long r = blockIdx.x;
    const int c = (int)blockIdx.y * SELECT_THREADS + (int)threadIdx.x;
    if (c < a.cols) a.y[r * a.cols + c] = a.x[(long long)ldg(a.outputs + r) * a.cols + c];
}
