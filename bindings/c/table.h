/* The commands and options of the tool, with a line of help for each. The help, the man page, the completions of shells
 * and the reader of the command line are all made from these two tables. */
#ifndef TABLE_H
#define TABLE_H

#include "options.h"

typedef struct {
    const char *name;
    int bit;
    /* Its value on the command line, and its meaning. */
    const char *takes, *help;
} command;

static const command COMMANDS[] = {
    {"plan", PLAN, "MODEL", "what goes where, and how many bytes each device will be asked for; loads nothing"},
    {"run", RUN, "MODEL", "continue a text: that of -p or -f, else standard input"},
    {"chat", CHAT, "MODEL", "a conversation by the file's chat template; Ctrl-C stops an answer, Ctrl-D ends"},
    {"embed", EMBED, "MODEL [TEXT...]", "a row of numbers for each text, or for each line of standard input"},
    {"perplexity", PERPLEXITY, "MODEL -f FILE", "how surprised a model is by a text"},
    {"bench", BENCH, "MODEL",
     "tokens per second of prompts and of generated tokens; all combinations of lists (1,2,3)"},
    {"tokenize", TOKENIZE, "MODEL -p TEXT", "token ids and pieces of a text"},
    {"info", INFO, "MODEL", "keys and tensors of the file"},
    {"devices", DEVICES, "", "what models can run on here, and what keeps a card from it"},
    {"help", HELP, "[COMMAND]", "the options of a command; also man, bash, zsh, fish: a page and completions"},
    {NULL, 0, NULL, NULL}};

#define AT(field) offsetof(options, field)
#define REAL(name, field, help) {name, "X", WRITES, read_real, AT(sampler.field), help}
#define WHOLE(name, field, help) {name, "N", WRITES, read_number, AT(sampler.field), help}

/* Without a reader an option has no value and sets an int. Without help it is another name of the one before it. */
static const struct {
    const char *name, *value;
    int commands;
    reader read;
    size_t at;
    const char *help;
} OPTIONS[] = {
    {"--json", NULL, ~CHAT & ~HELP, NULL, AT(json), "results as JSON"},
    {"-p", "TEXT", WRITES | TOKENIZE, read_text, AT(prompt),
     "the prompt (- for standard input); chat: the first question"},
    {"-f", "FILE", RUN | EMBED | PERPLEXITY | TOKENIZE, read_text, AT(path),
     "the text, or texts, one a line (- for standard input)"},
    {"-n", "N", WRITES, read_number, AT(n), "tokens to generate (run: 128)"},
    {"-q", NULL, RUN, NULL, AT(quiet), "print the new text and nothing else"},
    {"--special", NULL, WRITES | TOKENIZE | EMBED, NULL, AT(special), "read special tokens in the prompt"},
    {"--system", "TEXT", CHAT, read_text, AT(system), "the first message"},
    {"--template", "FILE", CHAT, read_text, AT(template_path), "a Jinja template instead of the file's"},
    {"--json-schema", "S", RUN, read_text, AT(schema),
     "write JSON that fits a schema: a file, -, or the schema itself: {…}"},
    {"--grammar", "FILE", RUN, read_text, AT(grammar), "write a text of a grammar; its kind is the file's suffix, or"},
    {"--grammar-kind", "K", RUN, read_grammar, AT(grammar_kind), "gbnf, lark, regex, json"},
    {"--stop", "TEXT", RUN, read_stop, 0, "end before this text; may be given again"},
    {"--logprobs", "N", RUN, read_number, AT(sampler.n_logprobs),
     "each token's probability and the N likeliest, a line each on standard error"},
    {"--temp", "X", WRITES, read_real, AT(sampler.temperature),
     "temperature; 0, the default, takes the likeliest token"},
    {"--seed", "N", WRITES, read_seed, 0, "of random choices; without it another one each time, which is shown"},
    WHOLE("--top-k", top_k, "only the N likeliest tokens"),
    REAL("--top-p", top_p, "only the likeliest tokens that together have this probability"),
    REAL("--min-p", min_p, "only tokens at least X times as likely as the likeliest"),
    REAL("--typical", typical_p, "only tokens of typical surprise"),
    REAL("--top-n-sigma", top_n_sigma, "only tokens within X standard deviations of the best logit"),
    REAL("--xtc", xtc_probability, "the chance to leave out the likeliest tokens, of those above"),
    REAL("--xtc-threshold", xtc_threshold, "this probability"),
    REAL("--dynatemp-range", dynatemp_range, "a temperature that follows the entropy, this much around --temp"),
    REAL("--dynatemp-exp", dynatemp_exponent, "and its exponent"),
    WHOLE("--min-keep", min_keep, "tokens that cuts leave at least"),
    REAL("--repeat-penalty", repeat_penalty, "divide logits of tokens that were there"),
    REAL("--presence-penalty", presence_penalty, "subtract from logits of tokens that were there"),
    REAL("--frequency-penalty", frequency_penalty, "the same for each time"),
    WHOLE("--repeat-last-n", penalty_last_n, "tokens that penalties look back at"),
    REAL("--dry", dry_multiplier, "penalty of repeated sequences"),
    REAL("--dry-base", dry_base, "its growth with their length"),
    WHOLE("--dry-allowed-length", dry_allowed_length, "tokens that may be repeated"),
    WHOLE("--dry-last-n", dry_last_n, "tokens that it looks back at"),
    REAL("--adaptive-target", adaptive_target, "the probability that adaptive-p aims at"),
    REAL("--adaptive-decay", adaptive_decay, "its memory"),
    WHOLE("--mirostat", mirostat, "1 or 2: hold the surprise of tokens"),
    REAL("--mirostat-tau", mirostat_tau, "at this value"),
    REAL("--mirostat-eta", mirostat_eta, "with this rate"),
    {"--steps", "LIST", WRITES, read_steps, 0,
     "penalties,dry,top-n-sigma,top-k,typical,top-p,min-p,xtc,temperature,infill, in order"},
    {"--ask", "Q", PLAN, read_question, AT(ask), "context, batch, devices, kv: what these devices could do"},
    {"--compare", NULL, PLAN, NULL, AT(compare), "measured and family side by side"},
    {"--svg", "FILE", PLAN, read_text, AT(svg), "draw the plan, too"},
    {"--pooling", "P", EMBED, read_pooling, AT(plan.pooling),
     "mean, cls, last, rank (scores), none (rows of tokens); default: the file's"},
    {"--no-normalise", NULL, EMBED, NULL, AT(as_they_are),
     "leave rows as they are, do not divide them by their length"},
    {"--format", "F", EMBED, read_rows, AT(format),
     "json (an object a line), array ([[…], …]), raw (numbers, a row a line)"},
    {"--similarity", NULL, EMBED, NULL, AT(similarity), "also the cosine of each text with each other"},
    {"--stride", "N", PERPLEXITY, read_number, AT(stride),
     "windows begin N tokens apart, and their last N tokens are counted"},
    {"--chunks", "N", PERPLEXITY, read_number, AT(chunks), "windows at most"},
    {"-p", "LIST", BENCH, read_list, AT(prompts), "tokens of a prompt (512)"},
    {"-n", "LIST", BENCH, read_list, AT(generated), "tokens to generate (128); 0: leave out"},
    {"-pg", "P,N", BENCH, read_pair, AT(both), "a prompt and tokens behind it; may be given again"},
    {"-d", "LIST", BENCH, read_list, AT(depths), "tokens that are there before (0)"},
    {"--sequences", "LIST", BENCH, read_list, AT(sequences), "how many do this at once (1); rates are of all together"},
    {"--batch", "LIST", BENCH, read_list, AT(batches), "tokens of a batch"},
    {"-b", "LIST", BENCH, read_list, AT(batches), NULL},
    {"--ubatch", "LIST", BENCH, read_list, AT(ubatches), "tokens of a pass through the layers"},
    {"-ub", "LIST", BENCH, read_list, AT(ubatches), NULL},
    {"--threads", "LIST", BENCH, read_list, AT(thread_counts), "CPU threads"},
    {"-t", "LIST", BENCH, read_list, AT(thread_counts), NULL},
    {"-ctk", "LIST", BENCH, read_kinds, AT(keys), "types of keys"},
    {"-ctv", "LIST", BENCH, read_kinds, AT(values), "types of values"},
    {"-r", "N", BENCH, read_number, AT(repetitions), "repetitions (5)"},
    {"-o", "FORMAT", BENCH, read_lines, AT(format), "md (default), csv, json, jsonl"},
    {"--no-warmup", NULL, BENCH, NULL, AT(no_warmup), "measure the first run, too"},
    {"--no-graphs", NULL, BENCH, NULL, AT(no_graphs),
     "CUDA devices do not record and replay the launches of short steps"},
    {"--root", "DIR", DEVICES, read_text, AT(root), "look for cards in the system below this folder, not in this one"},
    {"--devices", "SPEC", LOADS | INFO | TOKENIZE | DEVICES, read_text, AT(devices),
     "auto (default), cpu, cuda:2, k80:4,cpu, …"},
    {"--threads", "N", (LOADS | INFO | TOKENIZE | DEVICES) & ~BENCH, read_number, AT(threads),
     "CPU threads (one per core)"},
    {"--ctx", "N", LOADS, read_number, AT(plan.n_ctx),
     "tokens in the KV cache (what the model was trained for, or what fits)"},
    {"--kv", "TYPE", LOADS, read_kv, 0, "f32, f16 (default), q8_0, q4_0"},
    {"--seqs", "N", LOADS & ~BENCH, read_number, AT(plan.n_seq_max), "sequences"},
    {"--batch", "N", LOADS & ~BENCH, read_number, AT(plan.n_batch), "tokens of a batch"},
    {"--ubatch", "N", LOADS & ~BENCH, read_number, AT(plan.n_ubatch), "tokens of a pass through the layers"},
    {"--outputs", "N", LOADS, read_number, AT(plan.n_outputs_max), "rows of logits"},
    {"--copied", NULL, LOADS, NULL, AT(copied), "copy the weights, do not map them"},
    {"--objective", "O", LOADS, read_objective, AT(plan.objective), "latency, throughput, headroom"},
    {"--estimator", "E", LOADS, read_estimator, AT(plan.estimator), "measured, family"},
    {"--margin", "X", LOADS, read_double, AT(plan.margin), "the family's factor on compute buffers (3.5)"},
    {"--reserve", "BYTES", LOADS, read_bytes, AT(plan.reserve_bytes),
     "to leave free everywhere, as 1.5GiB; without a unit in MiB"},
    {"--limit", "D:BYTES", LOADS, read_limit, 0, "to leave free on device D; :LAYERS at most behind it (:- none)"},
    {"--checkpoints", "N", LOADS, read_checkpoints, 0, "of recurrent states (4 per sequence)"},
    {"--draft", "N", PLAN | WRITES, read_draft, 0, "tokens that the model's prediction layer guesses at most (none)"},
    {"--draft-text", "N", PLAN | WRITES, read_draft, 0, "tokens that the text so far guesses at most"},
    {"--draft-model", "FILE", WRITES, read_draft_model, 0,
     "a smaller model with the same vocabulary, which guesses --draft (8) tokens"},
    {"--place", "P=D,...", LOADS, read_placements, 0,
     "tensors' places: blk\\.[0-3]\\.ffn_.*_exps=CPU,blk\\.7\\.=CUDA1"},
    {"--override", "JSON", LOADS | INFO | TOKENIZE, read_text, AT(override), "values of keys in place of the file's"},
    {"--lora", "FILE[=S]", LOADS | INFO, read_adapter, 0,
     "an adapter beside the model, and its scale (1); may be given again"},
    {"--control-vector", "FILE[=S]", LOADS | INFO, read_adapter, 0, "the same for a direction of a layer's results"},
};
enum { N_OPTIONS = sizeof OPTIONS / sizeof *OPTIONS };

#endif
