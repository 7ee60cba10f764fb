/* Values on the command line: numbers, lists, choices. One that cannot be read ends the program with status 2. */
#ifndef VALUES_H
#define VALUES_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of a bench, all of which are tried. */
typedef struct {
    uint32_t n, values[64];
} list;

static _Noreturn void fail(const char *message, const char *detail) {
    fprintf(stderr, "rekindle: %s%s\n", message, detail);
    exit(2);
}

/* Complains of the value of an option. */
static _Noreturn void refuse(const char *option, const char *expected, const char *value) {
    fprintf(stderr, "rekindle: %s takes %s, not '%s'\n", option, expected, value);
    exit(2);
}

/* Reads the value of an option to where it belongs. */
typedef void (*reader)(void *to, const char *option, char *value);

static uint32_t number(const char *option, const char *text) {
    char *end = NULL;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n > UINT32_MAX) refuse(option, "a whole number", text);
    return (uint32_t)n;
}

static void read_number(void *to, const char *option, char *value) { *(uint32_t *)to = number(option, value); }

/* Bytes as plans print them, 2.97GiB or '79.9 MiB'; a number alone is in MiB. */
static uint64_t bytes_of(const char *option, const char *text, const char **end) {
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    char *unit = NULL;
    double x = strtod(text, &unit);
    if (*text < '0' || *text > '9' || x > 1e15) refuse(option, "bytes, as 512MiB or 1.5GiB", text);
    while (*unit == ' ') unit++;
    double scale = 1048576;
    for (int i = 0; i < 5; i++) {
        size_t n = strlen(UNITS[i]);
        if (strncmp(unit, UNITS[i], n)) continue;
        scale = pow(1024, i);
        unit += n;
        break;
    }
    *end = unit;
    return (uint64_t)(x * scale);
}

static void read_bytes(void *to, const char *option, char *value) {
    const char *end = NULL;
    *(uint64_t *)to = bytes_of(option, value, &end);
    if (*end) refuse(option, "bytes, as 512MiB or 1.5GiB", value);
}

static void read_real(void *to, const char *option, char *value) {
    char *end = NULL;
    float x = strtof(value, &end);
    if (!*value || *end || !isfinite(x)) refuse(option, "a number", value);
    *(float *)to = x;
}

static void read_double(void *to, const char *option, char *value) {
    float x = 0;
    read_real(&x, option, value);
    *(double *)to = (double)x;
}

static void read_text(void *to, const char *option, char *value) {
    (void)option;
    *(const char **)to = value;
}

/* Numbers with commas between them, behind those that were given before. */
static void read_list(void *to, const char *option, char *value) {
    list *l = to;
    for (char *part = value, *next; part; part = next) {
        if ((next = strchr(part, ','))) *next++ = 0;
        if (l->n == sizeof l->values / sizeof *l->values) fail("too many numbers for ", option);
        l->values[l->n++] = number(option, part);
    }
}

static void read_pair(void *to, const char *option, char *value) {
    uint32_t before = ((list *)to)->n;
    read_list(to, option, value);
    if (((list *)to)->n != before + 2) refuse(option, "two numbers with a comma between them", value);
}

typedef struct {
    const char *name;
    int32_t value;
} choice;

static int32_t choose(const char *option, const char *text, const choice *choices) {
    for (const choice *c = choices; c->name; c++)
        if (!strcmp(text, c->name)) return c->value;
    fprintf(stderr, "rekindle: %s takes", option);
    for (const choice *c = choices; c->name; c++) fprintf(stderr, "%s %s", c == choices ? "" : ",", c->name);
    fprintf(stderr, ", not '%s'\n", text);
    exit(2);
}

static const char *name_of(const choice *choices, int32_t value) {
    while (choices->name && choices->value != value) choices++;
    return choices->name ? choices->name : "?";
}

#endif
