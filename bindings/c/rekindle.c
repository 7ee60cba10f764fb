/* rekindle: the command-line tool, a host that knows nothing but rekindle.h.
 *
 *     rekindle plan|run|chat|bench|tokenize|info MODEL [options]
 */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "rekindle.h"

static const char USAGE[] =
    "usage: rekindle COMMAND MODEL [options]\n"
    "\n"
    "commands\n"
    "  plan      what goes where, and how many bytes each device will be asked for; loads nothing\n"
    "  run       continue a text\n"
    "  chat      a conversation by the file's chat template, one line a turn; Ctrl-C stops an answer, Ctrl-D ends\n"
    "  bench     tokens per second of prompts and of single tokens\n"
    "  tokenize  token ids and pieces of a text\n"
    "  info      keys and tensors of the file\n"
    "\n"
    "planning (0 or absent: decide for me)\n"
    "  --devices SPEC   auto, cpu, cuda:2, k80:4, …  --threads N   CPU threads\n"
    "  --ctx N          tokens in the KV cache       --seqs N      sequences\n"
    "  --batch N        tokens of a batch            --ubatch N    tokens of a pass through the layers\n"
    "  --outputs N      rows of logits               --kv TYPE     f32, f16, q8_0, q4_0\n"
    "  --copied         copy the weights, do not map --json        the plan as JSON\n"
    "  --objective O    latency, throughput, headroom\n"
    "  --estimator E    measured, family             --margin X    the family's factor on compute buffers (3.5)\n"
    "  --compare        measured and family side by side\n"
    "  --reserve MIB    to leave free everywhere\n"
    "  --limit D:MIB[:LAYERS]  to leave free on device D, and layers at most (-: none at all)\n"
    "  --checkpoints N  of recurrent states (4 per sequence)\n"
    "  --draft N        run: tokens that the model's prediction layer guesses at most (none)\n"
    "  --draft-text N   run: tokens that the text so far guesses at most\n"
    "  --override JSON  values of keys in place of the file's: {\"llama.rope.freq_base\": 500000.0}\n"
    "  --ask Q          context, batch, devices, kv: what these devices could do\n"
    "\n"
    "run, chat, tokenize\n"
    "  -p TEXT          the prompt                   -n N          tokens to generate (run: 128, bench: 64)\n"
    "  --temp X  --top-k N  --top-p X  --min-p X  --repeat-penalty X  --seed N    (default: greedy)\n"
    "  --typical X  --top-n-sigma X  --xtc X  --xtc-threshold X  --dynatemp-range X  --dynatemp-exp X  --min-keep N\n"
    "  --presence-penalty X  --frequency-penalty X  --repeat-last-n N  --adaptive-target X  --adaptive-decay X\n"
    "  --mirostat N  --mirostat-tau X  --mirostat-eta X\n"
    "  --dry X  --dry-base X  --dry-allowed-length N  --dry-last-n N\n"
    "  --steps LIST     penalties,dry,top-n-sigma,top-k,typical,top-p,min-p,xtc,temperature (the usual order), infill\n"
    "  --special        read special tokens in the prompt\n"
    "  --system TEXT    chat: the first message      --template FILE  chat: a Jinja template instead of the file's\n"
    "\n"
    "bench\n"
    "  --prompt N       tokens of the prompt (512)   --repeat N    repetitions, medians are printed (3)\n"
    "  --no-graphs      CUDA devices do not record and replay the launches of short steps\n";

typedef struct {
    const char *command, *model, *devices, *prompt, *system, *template_path, *override;
    rekindle_plan_params plan;
    rekindle_sampler_params sampler;
    unsigned threads, n, n_prompt, repeat, special;
    int json, compare, no_graphs;
    int32_t ask;
    rekindle_device_limit limits[32];
} options;

/* Prints the library's message and ends. */
static void check(rekindle_status status, const char *what) {
    if (status == REKINDLE_OK) return;
    fprintf(stderr, "rekindle: %s: %s (%s)\n", what, rekindle_last_error(), rekindle_status_name(status));
    exit(status == REKINDLE_CANCELLED ? 130 : 1);
}

static int32_t kv_type(const char *text) {
    if (text && !strcmp(text, "f32")) return REKINDLE_KV_F32;
    if (text && !strcmp(text, "f16")) return REKINDLE_KV_F16;
    if (text && !strcmp(text, "q8_0")) return REKINDLE_KV_Q8_0;
    if (text && !strcmp(text, "q4_0")) return REKINDLE_KV_Q4_0;
    fail("--kv takes f32, f16, q8_0 or q4_0", "");
    return 0;
}

static const choice OBJECTIVES[] = {{"latency", REKINDLE_OBJECTIVE_LATENCY},
                                    {"throughput", REKINDLE_OBJECTIVE_THROUGHPUT},
                                    {"headroom", REKINDLE_OBJECTIVE_HEADROOM},
                                    {NULL, 0}};
static const choice ESTIMATORS[] = {{"measured", REKINDLE_ESTIMATOR_MEASURED},
                                    {"family", REKINDLE_ESTIMATOR_FAMILY},
                                    {NULL, 0}};
static const choice QUESTIONS[] = {{"context", REKINDLE_ASK_LARGEST_CONTEXT},
                                   {"batch", REKINDLE_ASK_LARGEST_BATCH},
                                   {"devices", REKINDLE_ASK_FEWEST_DEVICES},
                                   {"kv", REKINDLE_ASK_BEST_KV_TYPE},
                                   {NULL, 0}};

/* DEVICE:MIB, DEVICE:MIB:LAYERS or DEVICE:MIB:- */
static void add_limit(options *o, const char *text) {
    unsigned device = 0, mib = 0;
    int used = 0;
    if (o->plan.n_limits == sizeof o->limits / sizeof *o->limits) fail("too many times ", "--limit");
    if (!text || sscanf(text, "%u:%u%n", &device, &mib, &used) != 2)
        fail("--limit takes DEVICE:MIB[:LAYERS], not ", text ? text : "nothing");
    rekindle_device_limit *l = &o->limits[o->plan.n_limits++];
    l->device = device;
    l->reserve_bytes = (uint64_t)mib << 20;
    if (!strcmp(text + used, ":-")) l->flags = REKINDLE_LIMIT_EXCLUDE;
    else if (text[used] == ':') l->max_layers = number("--limit", text + used + 1);
    else if (text[used]) fail("--limit takes DEVICE:MIB[:LAYERS], not ", text);
}

static options parse(int argc, char **argv) {
    options o;
    memset(&o, 0, sizeof o);
    o.plan.struct_size = sizeof o.plan;
    o.sampler.struct_size = sizeof o.sampler;
    o.devices = "";
    o.repeat = 3;
    if (argc < 3) {
        fputs(USAGE, argc == 2 && strstr(argv[1], "help") ? stdout : stderr);
        exit(argc == 2 && strstr(argv[1], "help") ? 0 : 2);
    }
    o.command = argv[1];
    o.model = argv[2];
    for (int i = 3; i < argc; i++) {
        const char *a = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "--json")) { o.json = 1; continue; }
        if (!strcmp(a, "--compare")) { o.compare = 1; continue; }
        if (!strcmp(a, "--copied")) { o.plan.weights = REKINDLE_WEIGHTS_COPIED; continue; }
        if (!strcmp(a, "--no-graphs")) { o.no_graphs = 1; continue; }
        if (!strcmp(a, "--special")) { o.special = 1; continue; }
        i++;
        if (!strcmp(a, "--devices")) o.devices = next ? next : "";
        else if (!strcmp(a, "--threads")) o.threads = number(a, next);
        else if (!strcmp(a, "--ctx")) o.plan.n_ctx = number(a, next);
        else if (!strcmp(a, "--seqs")) o.plan.n_seq_max = number(a, next);
        else if (!strcmp(a, "--batch")) o.plan.n_batch = number(a, next);
        else if (!strcmp(a, "--ubatch")) o.plan.n_ubatch = number(a, next);
        else if (!strcmp(a, "--outputs")) o.plan.n_outputs_max = number(a, next);
        else if (!strcmp(a, "--kv")) o.plan.type_k = o.plan.type_v = kv_type(next);
        else if (!strcmp(a, "--objective")) o.plan.objective = choose(a, next, OBJECTIVES);
        else if (!strcmp(a, "--estimator")) o.plan.estimator = choose(a, next, ESTIMATORS);
        else if (!strcmp(a, "--ask")) o.ask = choose(a, next, QUESTIONS);
        else if (!strcmp(a, "--checkpoints")) {
            o.plan.n_checkpoints = number(a, next);
            if (!o.plan.n_checkpoints) o.plan.n_checkpoints = REKINDLE_CHECKPOINTS_NONE;
        } else if (!strcmp(a, "--draft") || !strcmp(a, "--draft-text")) {
            o.plan.n_draft = number(a, next);
            o.plan.draft_source = a[7] ? REKINDLE_DRAFT_TEXT : REKINDLE_DRAFT_LAYER;
        }
        else if (!strcmp(a, "--margin")) o.plan.margin = (double)real(a, next);
        else if (!strcmp(a, "--reserve")) o.plan.reserve_bytes = (uint64_t)number(a, next) << 20;
        else if (!strcmp(a, "--limit")) add_limit(&o, next);
        else if (!strcmp(a, "-p")) o.prompt = next;
        else if (!strcmp(a, "--system")) o.system = next;
        else if (!strcmp(a, "--template")) o.template_path = next;
        else if (!strcmp(a, "--override")) o.override = next;
        else if (!strcmp(a, "-n")) o.n = number(a, next);
        else if (sampling(&o.sampler, a, next)) continue;
        else if (!strcmp(a, "--steps")) add_steps(&o.sampler, i < argc ? argv[i] : NULL);
        else if (!strcmp(a, "--seed")) o.sampler.seed = number(a, next);
        else if (!strcmp(a, "--prompt")) o.n_prompt = number(a, next);
        else if (!strcmp(a, "--repeat")) o.repeat = number(a, next);
        else fail("unknown option ", a);
    }
    return o;
}

/* Text of unknown length: asks for the size, then for the text. */
typedef rekindle_status (*plan_text_fn)(const rekindle_plan_t *, char *, size_t, size_t *);

static void print_plan(const rekindle_plan_t *plan, plan_text_fn text) {
    size_t needed = 0;
    check(text(plan, NULL, 0, &needed), "plan");
    char *buffer = malloc(needed);
    if (!buffer) fail("out of memory", "");
    check(text(plan, buffer, needed, NULL), "plan");
    fputs(buffer, stdout);
    free(buffer);
}

static void log_line(void *user_data, int32_t level, const char *message) {
    (void)user_data;
    (void)level;
    fprintf(stderr, "rekindle: %s\n", message);
}

static rekindle_context *context;
static rekindle_file *file;
static rekindle_plan_t *plan;
static rekindle_model *model;

static void open_file(const options *o) {
    rekindle_context_params p = {.struct_size = sizeof p, .n_threads = o->threads, .log = log_line};
    p.devices = o->devices;
    p.devices_len = strlen(o->devices);
    check(rekindle_context_create(REKINDLE_ABI_VERSION, &p, &context), "context");
    const char *override = o->override ? o->override : "";
    check(rekindle_file_open_with(context, o->model, strlen(o->model), override, strlen(override), &file), "open");
}

/* Ctrl-C ends the running call; a second one ends the program. */
static void *watch(void *set) {
    int signal = 0;
    while (sigwait(set, &signal) == 0) {
        static int hit;
        if (hit++) _exit(130);
        (void)rekindle_cancel(model);
    }
    return NULL;
}

static void watch_interrupts(void) {
    static sigset_t set;
    pthread_t thread;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) == 0 && pthread_create(&thread, NULL, watch, &set) == 0)
        pthread_detach(thread);
}

static int32_t progress(void *user_data, float done) {
    (void)user_data;
    const char *end = done < 1 ? "" : "\r           \r";
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\rloading %3.0f %%%s", 100.0 * (double)done, end);
    return 0;
}

/* Answers the question of --ask. */
static void ask(const options *o, const rekindle_plan_params *params) {
    static const char *const kv[] = {"", "f32", "f16", "q8_0", "q4_0"};
    uint32_t answer = 0;
    check(rekindle_plan_ask(context, file, params, o->ask, &answer), "plan");
    if (o->ask == REKINDLE_ASK_BEST_KV_TYPE) printf("%s\n", kv[answer]);
    else printf("%u\n", answer);
}

/* Measured and family side by side. */
static void compare(const rekindle_plan_params *params) {
    rekindle_plan_t *plans[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        rekindle_plan_params p = *params;
        p.estimator = i == 0 ? REKINDLE_ESTIMATOR_AUTO : REKINDLE_ESTIMATOR_FAMILY;
        rekindle_status status = rekindle_plan(context, file, &p, &plans[i]);
        if (status != REKINDLE_NOT_FIT) check(status, "plan");
    }
    size_t needed = 0;
    check(rekindle_plan_compare(plans[0], plans[1], NULL, 0, &needed), "plan");
    char *buffer = malloc(needed);
    if (!buffer) fail("out of memory", "");
    check(rekindle_plan_compare(plans[0], plans[1], buffer, needed, NULL), "plan");
    fputs(buffer, stdout);
    free(buffer);
    for (int i = 0; i < 2; i++) (void)rekindle_plan_destroy(plans[i]);
}

/* Plans; shows the plan if asked to, or if it does not fit. */
static void make_plan(const options *o, int show) {
    rekindle_plan_params params = o->plan;
    params.limits = o->limits;
    if (show && o->ask) { ask(o, &params); return; }
    if (show && o->compare) { compare(&params); return; }
    rekindle_status status = rekindle_plan(context, file, &params, &plan);
    if (plan && (show || status == REKINDLE_NOT_FIT))
        print_plan(plan, o->json ? rekindle_plan_json : rekindle_plan_text);
    check(status, "plan");
}

static void load(const options *o, int show) {
    make_plan(o, show);
    rekindle_load_params p = {.struct_size = sizeof p, .progress = progress, .on_oom = REKINDLE_ON_OOM_REPLAN};
    p.no_cuda_graphs = (uint32_t)o->no_graphs;
    check(rekindle_load(context, plan, &p, &model), "load");
}

static int32_t on_piece(void *user_data, int32_t token, const char *piece, size_t len) {
    (void)user_data;
    (void)token;
    fwrite(piece, 1, len, stdout);
    fflush(stdout);
    return 0;
}

static double rate(uint64_t tokens, uint64_t us) { return us ? (double)tokens * 1e6 / (double)us : 0; }

static rekindle_sampler *make_sampler(const options *o) {
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

static void run(const options *o) {
    watch_interrupts();
    load(o, 1);
    const char *prompt = o->prompt ? o->prompt : "In the beginning";
    rekindle_sampler *sampler = make_sampler(o);
    rekindle_generate_params p = {.struct_size = sizeof p, .prompt = prompt, .prompt_len = strlen(prompt)};
    p.max_tokens = o->n ? o->n : 128;
    p.flags = o->special ? REKINDLE_GENERATE_PARSE_SPECIAL : 0;
    rekindle_generate_result r = {.struct_size = sizeof r};
    printf("\n%s", prompt);
    rekindle_status status = rekindle_generate(model, sampler, &p, on_piece, NULL, &r);
    printf("\n\n");
    check(status, "generate");
    rekindle_perf perf = {.struct_size = sizeof perf};
    check(rekindle_model_get_perf(model, &perf), "perf");
    static const char *const WHY[] = {"", "end of generation", "-n", "callback", "context full"};
    printf("prompt %u tokens, %.1f per second; generated %u tokens, %.1f per second; ended by: %s\n", r.n_prompt,
           rate(perf.n_prompt_tokens, perf.prompt_us), r.n_generated, rate(perf.n_decode_tokens, perf.decode_us),
           r.stop >= 0 && r.stop <= 4 ? WHY[r.stop] : "?");
    if (perf.n_drafted)
        printf("drafts: %llu of %llu guesses were right; %llu tokens without a draft, since drafts lost time\n",
               (unsigned long long)perf.n_draft_agreed, (unsigned long long)perf.n_drafted,
               (unsigned long long)perf.n_draft_off);
    (void)rekindle_sampler_destroy(sampler);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds for `n` tokens of sequence 0 in batches of `step`, from an empty cache. */
static double timed(const int32_t *tokens, unsigned n, unsigned step) {
    check(rekindle_seq_remove(model, -1, -1, -1), "bench");
    double start = seconds();
    for (unsigned i = 0; i < n; i += step) {
        rekindle_batch b = {.struct_size = sizeof b, .n_tokens = n - i < step ? n - i : step, .tokens = tokens + i};
        check(rekindle_decode(model, &b), "bench");
    }
    return seconds() - start;
}

static void bench(options *o) {
    unsigned n_prompt = o->n_prompt ? o->n_prompt : 512, n = o->n ? o->n : 64;
    if (!o->plan.n_ctx) o->plan.n_ctx = n_prompt > n ? n_prompt : n;
    watch_interrupts();
    load(o, 0);
    rekindle_model_info info = {.struct_size = sizeof info};
    check(rekindle_model_get_info(model, &info), "model");
    unsigned longest = n_prompt > n ? n_prompt : n, repeat = o->repeat ? o->repeat : 1;
    int32_t *tokens = malloc(longest * sizeof *tokens);
    double *prompt = malloc(repeat * sizeof *prompt), *single = malloc(repeat * sizeof *single);
    if (!tokens || !prompt || !single) fail("out of memory", "");
    for (unsigned i = 0; i < longest; i++) tokens[i] = (int32_t)(((uint64_t)i * 7919 + 1) % info.n_vocab);
    /* The first prompt warms the caches. */
    (void)timed(tokens, n_prompt, info.n_batch);
    for (unsigned r = 0; r < repeat; r++) {
        prompt[r] = timed(tokens, n_prompt, info.n_batch);
        single[r] = timed(tokens, n, 1);
    }
    qsort(prompt, repeat, sizeof *prompt, by_size);
    qsort(single, repeat, sizeof *single, by_size);
    printf("%s: prompt of %u tokens %.2f per second, single tokens %.2f per second (medians of %u)\n", info.name,
           n_prompt, n_prompt / prompt[repeat / 2], n / single[repeat / 2], repeat);
    free(tokens);
    free(prompt);
    free(single);
}

static void tokenize(const options *o) {
    rekindle_vocab *vocab = NULL;
    check(rekindle_vocab_create(file, &vocab), "vocabulary");
    const char *text = o->prompt ? o->prompt : "";
    uint32_t flags = REKINDLE_TEXT_SPECIAL | (o->special ? REKINDLE_TEXT_PARSE_SPECIAL : 0);
    size_t n = 0;
    check(rekindle_tokenize(vocab, text, strlen(text), flags, NULL, 0, &n), "tokenize");
    int32_t *tokens = malloc((n + 1) * sizeof *tokens);
    if (!tokens) fail("out of memory", "");
    check(rekindle_tokenize(vocab, text, strlen(text), flags, tokens, n + 1, &n), "tokenize");
    for (size_t i = 0; i < n; i++) {
        char piece[512] = "";
        size_t needed = 0;
        rekindle_status status =
            rekindle_token_piece(vocab, tokens[i], REKINDLE_TEXT_PARSE_SPECIAL, piece, sizeof piece, &needed);
        if (status != REKINDLE_BUFFER_TOO_SMALL) check(status, "piece");
        printf("%8d  '%s'\n", (int)tokens[i], piece);
    }
    free(tokens);
    (void)rekindle_vocab_destroy(vocab);
}

static void info(void) {
    rekindle_file_info f = {.struct_size = sizeof f};
    check(rekindle_file_get_info(file, &f), "info");
    printf("%s (%s), GGUF version %u, %llu bytes in %u files, %llu parameters\n", f.name, f.architecture,
           (unsigned)f.version, (unsigned long long)f.n_bytes, (unsigned)f.n_files, (unsigned long long)f.n_params);
    for (uint32_t i = 0; i < f.n_keys; i++) {
        rekindle_key_info k = {.struct_size = sizeof k};
        char value[256] = "";
        check(rekindle_file_get_key(file, i, &k), "key");
        rekindle_status status = rekindle_file_key_text(file, i, 4, value, sizeof value, NULL);
        if (status != REKINDLE_BUFFER_TOO_SMALL) check(status, "key");
        printf("  %-44s %s\n", k.name, status == REKINDLE_OK ? value : "(long)");
    }
    for (uint32_t i = 0; i < f.n_tensors; i++) {
        rekindle_tensor_info t = {.struct_size = sizeof t};
        check(rekindle_file_get_tensor(file, i, &t), "tensor");
        printf("  %-44s %-6s [%llu", t.name, t.type_name, (unsigned long long)t.ne[0]);
        for (uint32_t d = 1; d < t.n_dims && d < 4; d++) printf(", %llu", (unsigned long long)t.ne[d]);
        printf("], %llu bytes\n", (unsigned long long)t.n_bytes);
    }
}

#include "chat.h"

int main(int argc, char **argv) {
    options o = parse(argc, argv);
    open_file(&o);
    if (!strcmp(o.command, "plan")) make_plan(&o, 1);
    else if (!strcmp(o.command, "run")) run(&o);
    else if (!strcmp(o.command, "chat")) chat(&o);
    else if (!strcmp(o.command, "bench")) bench(&o);
    else if (!strcmp(o.command, "tokenize")) tokenize(&o);
    else if (!strcmp(o.command, "info")) info();
    else fail("unknown command ", o.command);
    (void)rekindle_model_destroy(model);
    (void)rekindle_plan_destroy(plan);
    (void)rekindle_file_close(file);
    (void)rekindle_context_destroy(context);
    return 0;
}
