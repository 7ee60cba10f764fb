/* `rekindle info` and `rekindle tokenize`: what a file says, and what its vocabulary makes of a text. */
#ifndef INFO_H
#define INFO_H

#include "load.h"
#include "run.h"

/* The text of a token, which the caller frees. */
static char *piece_of(const rekindle_vocab *vocab, int32_t token, size_t *len) {
    size_t needed = 0;
    check(rekindle_token_piece(vocab, token, REKINDLE_TEXT_PARSE_SPECIAL, NULL, 0, &needed), "piece");
    char *piece = grown(NULL, needed);
    check(rekindle_token_piece(vocab, token, REKINDLE_TEXT_PARSE_SPECIAL, piece, needed, NULL), "piece");
    *len = needed - 1;
    return piece;
}

static void tokenize(const options *o) {
    rekindle_vocab *vocab = NULL;
    check(rekindle_vocab_create(file, &vocab), "vocabulary");
    uint32_t flags = REKINDLE_TEXT_SPECIAL | (o->special ? REKINDLE_TEXT_PARSE_SPECIAL : 0);
    size_t n = 0, len = 0;
    char *text = prompt_of(o, &len);
    int32_t *tokens = tokens_of(vocab, text, len, flags, &n);
    if (o->json) fputs("{\"tokens\": [", stdout);
    for (size_t i = 0; i < n; i++) {
        char *piece = piece_of(vocab, tokens[i], &len);
        if (o->json) {
            printf("%s{\"id\": %d, \"piece\": ", i ? ", " : "", (int)tokens[i]);
            json_string(stdout, piece, len);
            putchar('}');
        } else {
            printf("%8d  '%s'\n", (int)tokens[i], piece);
        }
        free(piece);
    }
    if (o->json) puts("]}");
    free(tokens), free(text);
    (void)rekindle_vocab_destroy(vocab);
}

static void json_text(const char *name, const char *text) {
    printf("\"%s\": ", name);
    json_string(stdout, text, strlen(text));
}

/* A key and its value as text; a long array is cut, or left out in the table. */
static void print_key(const options *o, uint32_t i) {
    rekindle_key_info k = {.struct_size = sizeof k};
    check(rekindle_file_get_key(file, i, &k), "key");
    size_t needed = 0;
    check(rekindle_file_key_text(file, i, 4, NULL, 0, &needed), "key");
    char *value = grown(NULL, needed);
    check(rekindle_file_key_text(file, i, 4, value, needed, NULL), "key");
    if (o->json) {
        fputs(i ? ", " : "", stdout);
        json_string(stdout, k.name, strlen(k.name));
        fputs(": ", stdout);
        json_string(stdout, value, needed - 1);
    } else {
        printf("  %-44s %s\n", k.name, needed > 256 ? "(long)" : value);
    }
    free(value);
}

static void info(const options *o) {
    rekindle_file_info f = {.struct_size = sizeof f};
    check(rekindle_file_get_info(file, &f), "info");
    if (o->json) {
        putchar('{'), json_text("name", f.name), fputs(", ", stdout), json_text("architecture", f.architecture);
        printf(", \"version\": %u, \"n_bytes\": %llu, \"n_files\": %u, \"n_params\": %llu, \"keys\": {",
               (unsigned)f.version, (unsigned long long)f.n_bytes, (unsigned)f.n_files, (unsigned long long)f.n_params);
    } else {
        printf("%s (%s), GGUF version %u, %llu bytes in %u files, %llu parameters\n", f.name, f.architecture,
               (unsigned)f.version, (unsigned long long)f.n_bytes, (unsigned)f.n_files, (unsigned long long)f.n_params);
    }
    for (uint32_t i = 0; i < f.n_keys; i++) print_key(o, i);
    if (o->json) fputs("}, \"tensors\": [", stdout);
    for (uint32_t i = 0; i < f.n_tensors; i++) {
        rekindle_tensor_info t = {.struct_size = sizeof t};
        check(rekindle_file_get_tensor(file, i, &t), "tensor");
        if (o->json) {
            printf("%s{", i ? ", " : ""), json_text("name", t.name), fputs(", ", stdout);
            json_text("type", t.type_name), printf(", \"shape\": [%llu", (unsigned long long)t.ne[0]);
        } else {
            printf("  %-44s %-6s [%llu", t.name, t.type_name, (unsigned long long)t.ne[0]);
        }
        for (uint32_t d = 1; d < t.n_dims && d < 4; d++) printf(", %llu", (unsigned long long)t.ne[d]);
        printf(o->json ? "], \"n_bytes\": %llu}" : "], %llu bytes\n", (unsigned long long)t.n_bytes);
    }
    if (o->json) puts("]}");
}

#endif
