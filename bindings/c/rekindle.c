/* rekindle: the command-line tool, a host that knows nothing but rekindle.h.
 *
 *     rekindle COMMAND MODEL [options]
 *
 * Each command has a file of its own, which is included here; below them are options.h (what was asked for), load.h
 * (from a path to a loaded model) and text.h. */

#define _POSIX_C_SOURCE 200809L

#include "bench.h"
#include "chat.h"
#include "embed.h"
#include "perplexity.h"
#include "plan.h"
#include "run.h"
#include "usage.h"

static void tokenize(const options *o) {
    rekindle_vocab *vocab = NULL;
    check(rekindle_vocab_create(file, &vocab), "vocabulary");
    const char *text = o->prompt ? o->prompt : "";
    uint32_t flags = REKINDLE_TEXT_SPECIAL | (o->special ? REKINDLE_TEXT_PARSE_SPECIAL : 0);
    size_t n = 0;
    int32_t *tokens = tokens_of(vocab, text, strlen(text), flags, &n);
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

static const choice COMMANDS[] = {{"plan", PLAN},   {"run", RUN},     {"chat", CHAT},
                                  {"embed", EMBED}, {"bench", BENCH}, {"perplexity", PERPLEXITY},
                                  {"info", INFO},   {"tokenize", TOKENIZE}, {NULL, 0}};

int main(int argc, char **argv) {
    int help = argc == 2 && !strcmp(argv[1], "help");
    for (int i = 1; i < argc && i < 3; i++) help |= !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
    if (help || argc < 3) {
        fputs(USAGE, help ? stdout : stderr);
        fputs(MORE_USAGE, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    static options o;
    int32_t command = choose("COMMAND", argv[1], COMMANDS);
    o.command = argv[1];
    o.model = argv[2];
    parse(&o, command, argc, argv);
    /* A bench opens the file once for each number of threads. */
    if (command != BENCH) open_file(&o);
    switch (command) {
    case PLAN: show_plan(&o); break;
    case RUN: run(&o); break;
    case CHAT: chat(&o); break;
    case EMBED: embed(&o); break;
    case PERPLEXITY: perplexity(&o); break;
    case BENCH: bench(&o); break;
    case TOKENIZE: tokenize(&o); break;
    default: info();
    }
    destroy_all();
    return 0;
}
