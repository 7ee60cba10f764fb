/* `rekindle run`: continues a text.
 *
 * The text comes from a generation, which is stepped until its end. Drafts are the matter of rekindle_generate, which
 * is called instead if they are asked for; it knows no grammars, stop texts and log-probabilities. */
#ifndef RUN_H
#define RUN_H

#include <time.h>

#include "load.h"
#include "text.h"

/* The prompt, which the caller frees: -p, else the file of -f, else standard input, if that is no terminal. A line's
 * end that a shell puts behind the text does not belong to it. */
static char *prompt_of(const options *o, size_t *len) {
    int given = o->prompt && strcmp(o->prompt, "-");
    if (given && o->path) fail("the prompt is given twice: as -p, and as -f ", o->path);
    if (!o->prompt && !o->path && is_terminal(stdin))
        fail("there is no prompt: -p TEXT, -f FILE, or a text on standard input", "");
    if (given) {
        *len = strlen(o->prompt);
        return memcpy(grown(NULL, *len + 1), o->prompt, *len + 1);
    }
    int taken = (o->schema && !strcmp(o->schema, "-")) || (o->grammar && !strcmp(o->grammar, "-"));
    if (taken && (!o->path || !strcmp(o->path, "-")))
        fail("standard input is the grammar, so the prompt is to be given as -p TEXT or -f FILE", "");
    char *text = whole_file(o->path ? o->path : "-", len);
    if (*len && text[*len - 1] == '\n') text[--*len] = 0;
    if (*len && text[*len - 1] == '\r') text[--*len] = 0;
    return text;
}

/* True if tokens are drawn, and the seed counts. */
static int is_random(const options *o) { return o->sampler.temperature > 0 || o->sampler.mirostat; }

/* Chooses a seed if none is given. */
static void choose_seed(options *o) {
    uint32_t seed = (uint32_t)time(NULL) * 2654435761u ^ (uint32_t)getpid();
    FILE *random = fopen("/dev/urandom", "rb");
    if (random && fread(&seed, sizeof seed, 1, random) != 1) seed ^= 1;
    if (random) (void)fclose(random);
    if (is_random(o) && !o->seeded) o->sampler.seed = seed;
}

static rekindle_sampler *make_sampler(options *o) {
    choose_seed(o);
    rekindle_sampler_params p = o->sampler;
    rekindle_sampler *sampler = NULL;
    rekindle_vocab *vocab = NULL;
    /* DRY and infill need it. */
    if (p.dry_multiplier != 0 || p.n_steps) check(rekindle_model_vocab(model, &vocab), "vocabulary");
    p.vocab = vocab;
    check(rekindle_sampler_create(&p, &sampler), "sampler");
    (void)rekindle_vocab_destroy(vocab);
    return sampler;
}

/* The kind of a grammar's file: that of the option, else that of its suffix. */
static int32_t grammar_kind(const options *o) {
    if (o->grammar_kind) return o->grammar_kind;
    const char *suffix = strrchr(o->grammar, '.');
    for (const choice *c = GRAMMARS; suffix && c->name; c++)
        if (!strcmp(suffix + 1, c->name)) return c->value;
    fail("--grammar-kind is needed, gbnf, lark, regex or json: the name does not tell it of ", o->grammar);
}

/* Compiles --json-schema or --grammar; NULL if there is none. */
static rekindle_grammar *make_grammar(const options *o, const rekindle_vocab *vocab) {
    if (!o->schema && !o->grammar) return NULL;
    if (o->schema && o->grammar) fail("--json-schema and --grammar cannot go together", "");
    const char *source = o->schema ? o->schema : o->grammar;
    int32_t kind = o->schema ? REKINDLE_GRAMMAR_JSON_SCHEMA : grammar_kind(o);
    char *read = NULL;
    size_t len = strlen(source);
    int is_text = o->schema && source[strspn(source, " \t\r\n")] == '{';
    if (!is_text) read = whole_file(source, &len);
    /* A regular expression does not end with the line's end that an editor puts there. */
    if (read && kind == REKINDLE_GRAMMAR_REGEX && len > 0 && read[len - 1] == '\n') len--;
    rekindle_grammar *grammar = NULL;
    rekindle_status status = rekindle_grammar_create(vocab, kind, read ? read : source, len, NULL, &grammar);
    check(status, is_text ? "--json-schema" : source);
    free(read);
    return grammar;
}

/* The text of a token as a JSON string. */
static void print_piece(const rekindle_vocab *vocab, int32_t token) {
    size_t needed = 0;
    check(rekindle_token_piece(vocab, token, REKINDLE_TEXT_PARSE_SPECIAL, NULL, 0, &needed), "piece");
    char *piece = grown(NULL, needed);
    check(rekindle_token_piece(vocab, token, REKINDLE_TEXT_PARSE_SPECIAL, piece, needed, NULL), "piece");
    json_string(stderr, piece, needed - 1);
    free(piece);
}

/* A line of standard error on the last token: what the model thought of it and of the likeliest ones. */
static void print_logprobs(const options *o, const rekindle_generation *g, const rekindle_vocab *vocab) {
    static rekindle_logprob best[1000];
    rekindle_logprob chosen = {0};
    size_t n = 0;
    check(rekindle_generation_logprobs(g, REKINDLE_LOGPROBS_MODEL, &chosen, best, 1000, &n), "logprobs");
    for (size_t i = 0; i <= n; i++) {
        const rekindle_logprob *p = i ? &best[i - 1] : &chosen;
        if (o->json) {
            fprintf(stderr, "%s{\"token\": %d, \"piece\": ", i > 1 ? ", " : "", (int)p->token);
            print_piece(vocab, p->token);
            fputs(", \"logprob\": ", stderr);
            json_number(stderr, p->logprob);
            fputs(", \"probability\": ", stderr);
            json_number(stderr, expf(p->logprob));
            fputs(i ? "}" : ", \"best\": [", stderr);
        } else {
            if (i) fputs(i > 1 ? ", " : "  best: ", stderr);
            else fprintf(stderr, "%8d  ", (int)p->token);
            print_piece(vocab, p->token);
            fprintf(stderr, " %.4f", (double)expf(p->logprob));
        }
    }
    fputs(o->json ? "]}\n" : "\n", stderr);
}

/* The new text, if all of it is printed at the end. */
static char *gathered;
static size_t n_gathered;

/* New text of the model. */
static void take_text(const options *o, const char *text, size_t len) {
    if (o->json) {
        gathered = grown(gathered, n_gathered + len + 1);
        if (len) memcpy(gathered + n_gathered, text, len);
        n_gathered += len;
    } else {
        fwrite(text, 1, len, stdout);
        fflush(stdout);
    }
}

static void echo(const options *o, const char *prompt, size_t len) {
    if (!o->quiet && !o->json) fwrite(prompt, 1, len, stdout);
    fflush(stdout);
}

/* Steps a generation to its end and prints what comes. A long prompt, which takes several steps, shows progress. */
static void step_to_end(const options *o, rekindle_generation *g, const rekindle_vocab *vocab, const char *prompt,
                        size_t len) {
    rekindle_event event = {.struct_size = sizeof event};
    rekindle_generation_info info = {.struct_size = sizeof info};
    int echoed = 0;
    while (event.kind != REKINDLE_EVENT_END) {
        if (atomic_load(&interrupted)) check(rekindle_generation_cancel(g), "cancel");
        rekindle_status status = rekindle_step(model, &g, 1, NULL);
        if (status != REKINDLE_CANCELLED) check(status, "step");
        if (!echoed) {
            check(rekindle_generation_get_info(g, &info), "generate");
            if (info.n_read + info.n_reused < info.n_prompt && status == REKINDLE_OK) {
                show_progress("reading the prompt", (double)(info.n_read + info.n_reused) / (double)info.n_prompt);
            } else {
                erase_progress();
                echo(o, prompt, len);
                echoed = 1;
            }
        }
        do {
            /* The text of a generation's own error comes with its end, and before the message. */
            status = rekindle_generation_next(g, &event);
            if (event.text_len) take_text(o, event.text, event.text_len);
            check(status, "generate");
            if (event.kind == REKINDLE_EVENT_TOKEN && o->sampler.n_logprobs) print_logprobs(o, g, vocab);
        } while (event.kind == REKINDLE_EVENT_TOKEN);
    }
}

static rekindle_generate_result run_steps(const options *o, const char *prompt, size_t len,
                                          const rekindle_sampler *sampler, const rekindle_vocab *vocab,
                                          const rekindle_grammar *grammar) {
    size_t lengths[sizeof o->stops / sizeof *o->stops];
    for (uint32_t i = 0; i < o->n_stops; i++) lengths[i] = strlen(o->stops[i]);
    rekindle_generation_params p = {.struct_size = sizeof p, .prompt = prompt, .prompt_len = len};
    p.sampler = sampler;
    p.grammar = grammar;
    p.stop_texts = o->stops;
    p.stop_text_lens = lengths;
    p.n_stop_texts = o->n_stops;
    p.max_tokens = o->n ? o->n : 128;
    p.flags = o->special ? REKINDLE_GENERATION_PARSE_SPECIAL : 0;
    p.adapter_scales = o->scales;
    p.n_adapter_scales = o->n_adapters;
    rekindle_generation *g = NULL;
    check(rekindle_generation_create(model, &p, &g), "generate");
    step_to_end(o, g, vocab, prompt, len);
    rekindle_generation_info info = {.struct_size = sizeof info};
    check(rekindle_generation_get_info(g, &info), "generate");
    (void)rekindle_generation_destroy(g);
    return (rekindle_generate_result){.n_prompt = info.n_prompt, .n_generated = info.n_generated, .stop = info.stop};
}

static int32_t on_piece(void *user_data, int32_t token, const char *piece, size_t len) {
    (void)token;
    take_text(user_data, piece, len);
    return 0;
}

static rekindle_generate_result run_drafts(options *o, const char *prompt, size_t len, rekindle_sampler *sampler) {
    use_adapters(o);
    rekindle_generate_params p = {.struct_size = sizeof p, .prompt = prompt, .prompt_len = len};
    p.max_tokens = o->n ? o->n : 128;
    p.flags = o->special ? REKINDLE_GENERATE_PARSE_SPECIAL : 0;
    rekindle_generate_result r = {.struct_size = sizeof r};
    echo(o, prompt, len);
    rekindle_status status = rekindle_generate(model, sampler, &p, on_piece, o, &r);
    if (status != REKINDLE_OK) fputs("\n", stdout);
    check(status, "generate");
    return r;
}

static double rate(uint64_t tokens, uint64_t us) { return us ? (double)tokens * 1e6 / (double)us : 0; }

/* The reason for the end of a text: for people, and in JSON. */
static const char *const ENDS[][2] = {
    {"?", "unknown"}, {"end of generation", "end"}, {"-n", "length"}, {"callback", "callback"},
    {"context full", "context"}, {"--stop", "stop"}, {"Ctrl-C", "cancelled"}, {"an error", "error"}};

static const char *end_of(const rekindle_generate_result *r, int json) {
    return ENDS[r->stop >= 0 && r->stop <= 7 ? r->stop : 0][json];
}

static void print_statistics(const options *o, const rekindle_generate_result *r) {
    rekindle_perf perf = {.struct_size = sizeof perf};
    check(rekindle_model_get_perf(model, &perf), "perf");
    fprintf(stderr, "\nprompt %u tokens, %.1f per second; generated %u tokens, %.1f per second; ended by: %s\n",
            r->n_prompt, rate(perf.n_prompt_tokens, perf.prompt_us), r->n_generated,
            rate(perf.n_decode_tokens, perf.decode_us), end_of(r, 0));
    if (is_random(o)) fprintf(stderr, "--seed %llu writes this text again\n", (unsigned long long)o->sampler.seed);
    if (perf.n_drafted)
        fprintf(stderr,
                "drafts: %llu of %llu guesses were right; %llu tokens without a draft, since drafts lost time\n",
                (unsigned long long)perf.n_draft_agreed, (unsigned long long)perf.n_drafted,
                (unsigned long long)perf.n_draft_off);
}

static void print_result(const options *o, const char *prompt, size_t len, const rekindle_generate_result *r) {
    rekindle_perf perf = {.struct_size = sizeof perf};
    check(rekindle_model_get_perf(model, &perf), "perf");
    fputs("{\"prompt\": ", stdout);
    json_string(stdout, prompt, len);
    fputs(", \"text\": ", stdout);
    json_string(stdout, gathered ? gathered : "", n_gathered);
    printf(", \"stop\": \"%s\", \"n_prompt\": %u, \"n_generated\": %u, \"prompt_per_second\": %.1f, "
           "\"generated_per_second\": %.1f", end_of(r, 1), r->n_prompt, r->n_generated,
           rate(perf.n_prompt_tokens, perf.prompt_us), rate(perf.n_decode_tokens, perf.decode_us));
    if (is_random(o)) printf(", \"seed\": %llu", (unsigned long long)o->sampler.seed);
    puts("}");
}

static void run(options *o) {
    if (o->plan.n_draft && (o->schema || o->grammar || o->n_stops || o->sampler.n_logprobs))
        fail("drafts cannot go together with --json-schema, --grammar, --stop and --logprobs", "");
    size_t len = 0;
    char *prompt = prompt_of(o, &len);
    on_interrupt(watch);
    /* A grammar is compiled before the model is loaded, which takes longer. */
    rekindle_vocab *vocab = NULL;
    if (o->schema || o->grammar || o->sampler.n_logprobs) check(rekindle_vocab_create(file, &vocab), "vocabulary");
    rekindle_grammar *grammar = make_grammar(o, vocab);
    load(o, !o->quiet);
    if (!o->quiet) fputs("\n", stderr);
    rekindle_sampler *sampler = make_sampler(o);
    rekindle_generate_result r = o->plan.n_draft ? run_drafts(o, prompt, len, sampler)
                                                 : run_steps(o, prompt, len, sampler, vocab, grammar);
    if (o->json) print_result(o, prompt, len, &r);
    else putchar('\n');
    fflush(stdout);
    if (!o->quiet) print_statistics(o, &r);
    (void)rekindle_sampler_destroy(sampler);
    (void)rekindle_grammar_destroy(grammar);
    (void)rekindle_vocab_destroy(vocab);
    free(prompt), free(gathered);
    if (r.stop == REKINDLE_STOP_CANCELLED) exit(130);
}

#endif
