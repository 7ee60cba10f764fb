// The walk of recurrent kernels over a micro-batch (convolve.cu, linear_attention.cu, scan.cu).
//
// A run of tokens goes on from the cell of a state and ends in another. If a sequence has several runs in a
// micro-batch, each goes on from the cell that the one before has written: they are a chain. There is a block for each
// run and part of a state. It ends at once if its run goes on from an earlier one; otherwise it takes the whole chain,
// and its threads keep the state in registers from the first token to the last. So a state is read once and is written
// only where the tables say that it is kept, no block waits for another, and both may be the same cell.
//
// Cells, runs and spans are found in the tables. Nothing of them is in the launch but the number of runs, so that it
// can be replayed. All lanes of a warp look for runs together.
#pragma once
#include "args.h"
#include "device.h"

// Stands for no cell.
#define NO_CELL -1

// A number of which the compiler knows nothing: what is made of it stays where it is. Addresses of states that are
// rarely kept would otherwise be computed once, and fill the registers.
DEVICE int settled(int x) {
#ifdef __CUDACC__
    asm volatile("" : "+r"(x));
#endif
    return x;
}

// The cell that a run goes on from, and the one that it ends in.
DEVICE int cell_before(const States& s, int run) {
    return ldg(&s.runs[run].n_spans) > 0 ? ldg(&s.spans[ldg(&s.runs[run].first_span)].cell) : NO_CELL;
}
DEVICE int cell_after(const States& s, int run) {
    return ldg(s.cells + ldg(&s.runs[run].first) + ldg(&s.runs[run].n) - 1);
}

// True if a run goes on from an earlier one.
DEVICE bool goes_on(const States& s, int run) {
    const int cell = cell_before(s, run);
    if (cell == NO_CELL) return false;
    int found = 0;
    for (int i = threadIdx.x % 32; i < run; i += 32) found |= cell_after(s, i) == cell;
    return __any_sync(0xffffffffu, found);
}

// The run that goes on from this one, or -1.
DEVICE int next_run(const States& s, int run) {
    const int cell = cell_after(s, run);
    for (int first = run + 1; first < s.n_runs; first += 32) {
        const int i = first + threadIdx.x % 32;
        const unsigned found = __ballot_sync(0xffffffffu, i < s.n_runs && cell_before(s, i) == cell);
        if (found) return first + __ffs((int)found) - 1;
    }
    return -1;
}
