// What a micro-batch does with one KV cache: the tables that the host uploads before each.
#pragma once

// Neighbouring cells of the KV cache that hold neighbouring positions of one sequence. A run's spans stand in the order of positions.
struct Span {
    int cell, pos, len;
};

// Neighbouring tokens of a micro-batch that belong to one sequence and see the same spans, each up to its own position.
struct Run {
    int first, n, first_span, n_spans;
};
