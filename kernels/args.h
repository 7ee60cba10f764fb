// The arguments of kernels: their structs, and the numbers that both sides must agree on. Generated from
// src/cuda/args.rs; do not edit: `REKINDLE_BLESS=1 cargo test --lib args_h` writes it.
#pragma once

// GGUF's numbers of the types that a KV cache may have.
enum { TYPE_F32 = 0 };
enum { TYPE_F16 = 1 };
enum { TYPE_Q8_0 = 8 };
enum { TYPE_Q4_0 = 2 };
// Threads of a block of each form of attention; a warp of the split form takes a part of the context.
enum { ATTENTION_THREADS = 128 };
// Parts of a context at most: `attention_merge` has a lane for each.
enum { ATTENTION_PARTS = 32 };
enum { COLUMNS_THREADS = 128 };
enum { CONVOLVE_THREADS = 128 };
enum { EACH_THREADS = 256 };
enum { GEMM_THREADS = 128 };
// Rows of x and outputs of a tile.
enum { GEMM_ROWS = 64 };
enum { GEMM_OUTPUTS = 128 };
// Those of a small tile.
enum { GEMM_SMALL_ROWS = 32 };
enum { GEMM_SMALL_OUTPUTS = 64 };
// The functions of a gate or an activation (`Activation`, `Gate`).
enum { FUNCTION_IDENTITY = 0 };
enum { FUNCTION_SILU = 1 };
enum { FUNCTION_GELU = 2 };
enum { FUNCTION_GELU_ERF = 3 };
enum { FUNCTION_RELU = 4 };
enum { FUNCTION_RELU_SQUARED = 5 };
enum { FUNCTION_SIGMOID = 6 };
enum { FUNCTION_SOFTPLUS = 7 };
enum { FUNCTION_XIELU = 8 };
enum { FUNCTION_SILU_CLAMPED = 9 };
enum { FUNCTION_SILU_LIMITED = 10 };
enum { FUNCTION_SILU_OF_LIMITED = 11 };
enum { FUNCTION_CLAMP = 12 };
enum { FUNCTION_RECIPROCAL = 13 };
enum { KV_THREADS = 128 };
// Elements at most of a head of blocks that turns.
enum { KV_TURN_MOST = 2048 };
// Four lanes share a column of a state.
enum { LINEAR_ATTENTION_THREADS = 128 };
enum { LISTS_THREADS = 1024 };
enum { MATVEC_THREADS = 128 };
enum { NORM_THREADS = 512 };
enum { NORM_SMALL_THREADS = 128 };
// The kinds of norm (`NormKind`).
enum { NORM_RMS = 0 };
enum { NORM_LAYER = 1 };
enum { NORM_L2 = 2 };
enum { ROPE_THREADS = 128 };
enum { ROUTE_THREADS = 32 };
// Experts at most of `route`, and of `route_many`.
enum { ROUTE_FEW = 512 };
enum { ROUTE_MOST = 4096 };
// The ways in which logits become weights (`Gating`).
enum { GATING_SOFTMAX = 0 };
enum { GATING_SIGMOID = 1 };
enum { GATING_SOFTMAX_OF_CHOSEN = 2 };
// Four lanes share a column.
enum { SCAN_THREADS = 128 };
enum { SELECT_THREADS = 256 };
enum { SUM_THREADS = 256 };

// Neighbouring cells of a KV cache that hold neighbouring positions of one sequence. A run's spans stand in the
// order of positions.
struct Span {
    int cell;
    int pos;
    int len;
};

// Neighbouring tokens of a micro-batch that belong to one sequence and see the same spans, each up to its own
// position.
struct Run {
    int first;
    int n;
    int first_span;
    int n_spans;
};

// The states of a layer, and how a micro-batch's sequences go through them.
struct States {
    // Cell 0.
    float* at;
    // After which tokens the state is kept, and where.
    const int* cells;
    const Run* runs;
    // Runs count their spans from here.
    const Span* spans;
    // Floats from cell to cell.
    long long row;
    int n_runs;
    int unused;
};

// A causal convolution over the tokens of each sequence (convolve.cu).
struct Convolve {
    // `[n_tokens, cols]`
    const float* x;
    // `[cols, n_taps]`, the newest token last.
    const float* weight;
    // `[cols]`, or null.
    const float* bias;
    // `[n_tokens, cols]`
    float* y;
    // `[n_taps - 1, cols]`, the oldest first.
    States states;
    int cols;
    int n_taps;
    int silu;
    int unused;
};

// Linear attention with a decay (linear_attention.cu).
struct LinearAttention {
    // `[n_tokens, n_head_k * head_k]`
    const float* q;
    const float* k;
    // `[n_tokens, n_head * head_v]`
    const float* v;
    // `[n_tokens, n_head]`, or `[n_tokens, n_head * head_k]` where rows have decays of their own.
    const float* steps;
    // `[n_tokens, n_head]`
    const float* betas;
    // `[n_head]`: the logarithms of the decays are `a` times the steps.
    const float* a;
    // `[n_head]`, or null.
    const float* skip;
    // `[n_tokens, n_head * head_v]`
    float* y;
    // `[n_head, head_k, head_v]`
    States states;
    int n_head;
    int n_head_k;
    int head_k;
    int head_v;
    // Pieces of a head's columns.
    int pieces;
    // Head i has keys i % n_head_k; else neighbours share them.
    int turns;
    // The delta rule; else that of sums.
    int delta;
    float scale_q;
    float scale_k;
    int unused;
};

// The selective scan of Mamba (scan.cu).
struct Scan {
    // `[n_tokens, cols]`
    const float* v;
    const float* steps;
    // `[n_tokens, n_state]`
    const float* b;
    const float* c;
    // `[cols, n_state]`
    const float* a;
    // `[n_tokens, cols]`
    float* y;
    // `[n_state, cols]`
    States states;
    int cols;
    int n_state;
};

// Attention in each of its forms (attention.cu, attention_prefill.cu), and the merging of parts.
struct Attention {
    // Queries `[n_tokens, n_head * dk]`.
    const float* q;
    // The cache's sides: cell 0.
    const unsigned char* keys;
    const unsigned char* values;
    // `[n_tokens, n_head * dv]`
    float* out;
    // The parts' results, for merging: `dv` floats for each (token, head, part), then a maximum and a sum for
    // each.
    float* partial;
    // `[n_head]`, or null.
    const float* sinks;
    // Of each token.
    const int* positions;
    const Run* runs;
    // Runs count their spans from here.
    const Span* spans;
    // Bytes from cell to cell.
    int k_row;
    int v_row;
    // Elements from head to head.
    int k_head;
    int v_head;
    // TYPE_...; the tiled form looks at them.
    int type_k;
    int type_v;
    int n_tokens;
    int n_runs;
    int n_head;
    int n_head_kv;
    // Elements of a key and of a value.
    int dk;
    int dv;
    // Parts that the context is cut into.
    int n_parts;
    // Of the split form: pieces of the query heads that share a KV head, one a warp.
    int pieces;
    // Of the split form: lanes that hold a key; 8, 16 or 32, and 8 lanes are no fewer than dk and dv.
    int lanes;
    // Positions that a token sees.
    int window;
    float scale;
    // 0: none.
    float softcap;
    // A token sees back to the last multiple of the window only.
    int chunked;
    // The spread of slopes by which scores fall with distance; 0: none. Only attention_prefill_alibi looks at it.
    float alibi;
};

// Elements first .. first + n of each head of `head` elements.
struct Columns {
    const float* x;
    float* y;
    int head;
    int first;
    int n;
    int unused;
};

// n_x elements of each head of x, then n_b of b: of the same head, or of the row where b has one part for all
// heads.
struct Concat {
    const float* x;
    const float* b;
    float* y;
    int n_head;
    int n_x;
    int n_b;
    // Parts of a row of b: 1 or n_head.
    int parts;
};

// x times `by` and a scale, plus a bias; where there is a route, those of each part's expert.
struct Scale {
    const float* x;
    // Or null.
    const float* scale;
    // Or null.
    const float* bias;
    // Or null.
    const float* route;
    float* y;
    int cols;
    // Experts of a row, 0 without a route.
    int n_used;
    float by;
    // Each column has a scale of its own.
    int of_columns;
};

// n elements of x, b and y.
struct Each {
    const float* x;
    const float* b;
    float* y;
    long long n;
    // Of the cap.
    float limit;
    int unused;
};

// A function of n elements of x, times those of b if it is a gate. The last four numbers are what the function has
// of them.
struct Gate {
    const float* x;
    const float* b;
    float* y;
    // Elements of y.
    long long n;
    // Elements of b for each of x.
    int wide;
    // FUNCTION_...
    int function;
    float alpha;
    float limit;
    float beta;
    float eps;
};

// The pairs of a row and one of its experts, sorted by expert (experts.cu).
struct ExpertLists {
    // `[n_rows, 2 n_used]`: numbers of experts, then weights.
    const float* route;
    // Ints: the number of tiles; where each expert's pairs begin `[n_expert + 1]`; the pairs by expert `[n_rows
    // n_used]`; the tiles, `[n_tiles, 2]`: expert and first pair.
    int* lists;
    int n_rows;
    int n_used;
    int n_expert;
    int unused;
};

// Many rows times a matrix, or times a matrix for each head: head h takes columns h n_in .. of x and h n_out .. of
// y.
struct Gemm {
    const unsigned char* w;
    const float* x;
    // Or null.
    const float* bias;
    float* y;
    // From one head's matrix to the next.
    long long head_bytes;
    int row_bytes;
    int n_in;
    int n_out;
    int n_rows;
    // Floats from row to row.
    int x_stride;
    int y_stride;
};

// Many pairs of a row and an expert: pair p reads row p / per_row of x and writes row p of y, both without gaps.
struct GemmExperts {
    // Of expert 0, at the first output that is wanted.
    const unsigned char* w;
    const float* x;
    // Likewise, or null.
    const float* bias;
    float* y;
    // As `expert_lists` leaves them.
    const int* lists;
    long long expert_bytes;
    int row_bytes;
    int n_in;
    int n_out;
    int n_pairs;
    int n_expert;
    // Floats from one expert's bias to the next.
    int bias_stride;
    int per_row;
    int unused;
};

// Rows of new keys or values, to their cells.
struct Store {
    // `[n_tokens, cols]`
    const float* x;
    // Cell 0, of `row` bytes.
    unsigned char* side;
    // Of each token.
    const int* cells;
    int row;
    int cols;
};

// Copies of cells.
struct CopyCells {
    // Cell 0, of `row` bytes, an even number.
    unsigned char* side;
    // From, to. No cell is the first of one pair and the second of another.
    const int* pairs;
    long long row;
};

// The rotation of cached keys to other positions.
struct Turn {
    // Cell 0, of `row` bytes.
    unsigned char* side;
    const int* cells;
    // `[n_rot]`: cosine and sine of each pair of elements, side by side.
    const float* angles;
    long long row;
    // Elements of a head; the first that turns; and how many do.
    int head_dim;
    int first;
    int n_rot;
    // Pairs are (i, i + n_rot / 2), not neighbours.
    int neox;
};

// One of the matrices that a launch multiplies a row by.
struct MatvecPart {
    const unsigned char* w;
    float* y;
    // Or null.
    const float* bias;
    long long row_bytes;
    int n_out;
    // The number of its first block in the grid; beyond the grid where there is no such part.
    int first_block;
    // Warps that share their rows: 1, 2 or 4.
    int split;
    int unused;
};

// A row times up to three matrices with as many columns, or times a matrix for each head (the grid's y). Gated:
// the result is a function of the first product times the second, at the first part's y.
struct MatvecOne {
    MatvecPart first;
    MatvecPart second;
    MatvecPart third;
    const float* x;
    // From one head's matrix to the next.
    long long head_bytes;
    int n_in;
    // Floats from head to head.
    int x_head;
    int y_head;
    // FUNCTION_... of a gate.
    int function;
};

// Up to eight rows times a matrix, or times a matrix for each head (the grid's y).
struct Matvec {
    const unsigned char* w;
    const float* x;
    float* y;
    // Or null.
    const float* bias;
    long long row_bytes;
    // From one head's matrix to the next.
    long long head_bytes;
    int n_in;
    int n_out;
    int n_rows;
    // Floats from row to row.
    int x_stride;
    int y_stride;
    // Floats from head to head.
    int x_head;
    int y_head;
    // Warps that share their rows: 1, 2 or 4.
    int split;
};

// Pairs of a row and an expert, each for itself.
struct MatvecExperts {
    // Of expert 0, at the first output that is wanted.
    const unsigned char* w;
    const float* x;
    float* y;
    // Likewise, or null.
    const float* bias;
    // `[n_rows, 2 n_used]`
    const float* route;
    long long row_bytes;
    long long expert_bytes;
    int n_in;
    int n_out;
    int n_expert;
    int n_used;
    // Floats from one expert's bias to the next.
    int bias_stride;
    // Floats from row to row of x.
    int x_row;
    // Floats from one used expert's part of x to the next; 0: they share it.
    int x_part;
    // Floats from row to row of y.
    int y_stride;
    // Warps that share their rows: 1, 2 or 4.
    int split;
    int unused;
};

// Groups of columns, each brought to one size. Groups follow each other without gaps.
struct Norm {
    const float* x;
    // Or null, and so is the bias.
    const float* weight;
    const float* bias;
    float* y;
    long long n_groups;
    // Columns of a group, and of a row.
    int group;
    int cols;
    float eps;
    // NORM_...
    int kind;
    // They have an element for each column of a row, not of a group.
    int weight_of_row;
    int bias_of_row;
    // Added to x before, or null; groups are rows then.
    const float* b;
    // The sum's place.
    float* sum;
};

// Pairs of elements of each head, turned by the angles of a table.
struct Rope {
    const float* x;
    // `[n_tokens, n_rot]`: cosine and sine of each pair, side by side.
    const float* table;
    const int* positions;
    float* y;
    int n_head;
    int head_dim;
    // Elements that turn, from `first` on.
    int n_rot;
    int first;
    // Pairs are (i, i + n_rot / 2), not neighbours.
    int halves;
    // Of the temperature; 0 without one.
    int length;
    float scale;
    // The elements that do not turn are written too.
    int copies;
    // Of the temperature: added to positions.
    int offset;
    int unused;
};

// Rope of queries and keys whose pairs all turn by one table, and the cells of the turned keys and of values.
struct RopeStore {
    const float* q;
    const float* k;
    const float* v;
    // `[n_tokens, n_rot]`: cosine and sine of each pair, side by side.
    const float* table;
    float* q_out;
    // The cache's sides: cell 0.
    unsigned char* keys;
    unsigned char* values;
    // Of each token.
    const int* cells;
    // Bytes from cell to cell.
    int k_row;
    int v_row;
    // TYPE_...
    int type_k;
    int type_v;
    // Columns of q, k and v.
    int q_cols;
    int k_cols;
    int v_cols;
    int head_dim;
    int n_rot;
    int first;
    // Pairs are (i, i + n_rot / 2), not neighbours.
    int halves;
    // Elements of q that do not turn are written too.
    int copies;
    // Blocks of a token that take queries, and keys; the others take values.
    int q_blocks;
    int k_blocks;
};

// The choice of each row's experts.
struct Route {
    // `[n_rows, n_expert]`
    const float* logits;
    // Added for choosing only, or null.
    const float* bias;
    // `[n_rows, 2 n_used]`: numbers of experts, then weights.
    float* y;
    int n_expert;
    int n_used;
    // GATING_...
    int gating;
    int normalise;
    int n_group;
    int n_group_used;
    float scale;
    int unused;
};

// The rows whose results are asked for.
struct SelectOutputs {
    const float* x;
    // Of each row of y, its row of x.
    const int* outputs;
    float* y;
    int cols;
    int unused;
};

// The sum of a row's parts, one of each of its experts, by their weights.
struct SumExperts {
    // `[n_rows, n_used cols]`
    const float* x;
    const float* route;
    // `[n_rows, cols]`
    float* y;
    int cols;
    int n_used;
    // Parts count by their weights.
    int weighted;
    int unused;
};
