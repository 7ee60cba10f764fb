/* Texts in and out: files, tokens, JSON. */
#ifndef TEXT_H
#define TEXT_H

#include <errno.h>

#include "objects.h"

/* A whole file with a NUL behind it; - is standard input. */
static char *whole_file(const char *path, size_t *len) {
    int standard = !strcmp(path, "-");
    FILE *f = standard ? stdin : fopen(path, "rb");
    char *text = NULL;
    *len = 0;
    for (size_t n = 1; f && n > 0; *len += n) {
        text = grown(text, *len + 65537);
        n = fread(text + *len, 1, 65536, f);
    }
    if (!f || ferror(f)) {
        fprintf(stderr, "rekindle: cannot read %s: %s\n", path, strerror(errno));
        exit(2);
    }
    text[*len] = 0;
    if (!standard) (void)fclose(f);
    return text;
}

/* The tokens of a text, which the caller frees. */
static int32_t *tokens_of(const rekindle_vocab *vocab, const char *text, size_t len, uint32_t flags, size_t *n) {
    check(rekindle_tokenize(vocab, text, len, flags, NULL, 0, n), "tokenize");
    int32_t *tokens = grown(NULL, (*n + 1) * sizeof *tokens);
    check(rekindle_tokenize(vocab, text, len, flags, tokens, *n + 1, n), "tokenize");
    return tokens;
}

/* Bytes of the UTF-8 character that `text` begins with; 0 if it begins with none. */
static size_t character(const unsigned char *text, size_t len) {
    unsigned char first = *text;
    size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (n > len) return 0;
    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    /* Longer than needed, a half of a surrogate pair, or past U+10FFFF. */
    if (n > 2 && ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f))) return 0;
    if (n > 3 && ((first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f))) return 0;
    return n;
}

/* Writes a JSON string. Bytes that are no UTF-8 become U+FFFD. */
static void json_string(FILE *to, const char *text, size_t len) {
    const unsigned char *c = (const unsigned char *)text;
    putc('"', to);
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = character(c + i, len - i);
        if (n == 0) fputs("\\ufffd", to);
        else if (c[i] == '"' || c[i] == '\\') fprintf(to, "\\%c", c[i]);
        else if (c[i] == '\n') fputs("\\n", to);
        else if (c[i] < 0x20) fprintf(to, "\\u%04x", c[i]);
        else fwrite(c + i, 1, n, to);
    }
    putc('"', to);
}

/* Writes a JSON number, which says just this float; null if it is none. */
static void json_number(FILE *to, float x) {
    if (isfinite(x)) fprintf(to, "%.9g", (double)x);
    else fputs("null", to);
}

#endif
