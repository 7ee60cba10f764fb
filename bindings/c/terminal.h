/* Colours of a plan and progress, on a terminal. None of it is seen in a pipe. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <unistd.h>

#include "objects.h"
#include "parse.h"

static int is_terminal(FILE *f) { return isatty(fileno(f)); }

/* True if colours are welcome there: https://no-color.org */
static int has_colours(FILE *f) {
    const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return is_terminal(f) && !(no && *no) && !(terminal && !strcmp(terminal, "dumb"));
}

/* A line that the next one takes the place of: "loading 40 %". */
static void show_progress(const char *what, double done) {
    if (is_terminal(stderr)) fprintf(stderr, "\r\033[K%s %.0f %%", what, 100.0 * done);
}

static void erase_progress(void) {
    if (is_terminal(stderr)) fputs("\r\033[K", stderr);
}

/* Colours of the marks in a plan's bars. */
static const char *colour_of(const char *mark) {
    static const char *const COLOURS[][2] = {{"W", "44;97"}, {"M", "46;30"}, {"K", "43;30"}, {"S", "45;97"},
                                             {"C", "42;30"}, {"D", "41;97"}, {"·", "100;37"}};
    for (size_t i = 0; i < sizeof COLOURS / sizeof *COLOURS; i++)
        if (!strncmp(mark, COLOURS[i][0], strlen(COLOURS[i][0]))) return COLOURS[i][1];
    return NULL;
}

/* Prints a mark of a bar in its colour, and returns its bytes. */
static size_t print_mark(const char *mark, FILE *to) {
    const char *colour = colour_of(mark);
    size_t n = !strncmp(mark, "·", strlen("·")) ? strlen("·") : 1;
    if (colour) fprintf(to, "\033[%sm%.*s\033[0m", colour, (int)n, mark);
    else fwrite(mark, 1, n, to);
    return n;
}

/* A line of a plan: the verdict, a bar, or the bytes of a part, which begin with the mark of the part. */
static void print_coloured(const char *line, int first, FILE *to) {
    size_t digits = strspn(line, "0123456789"), spaces = digits ? strspn(line + digits, " ") : 0;
    const char *rest = line;
    if (first) {
        fprintf(to, "\033[1;%dm%s\033[0m\n", strncmp(line, "fits", 4) ? 31 : 32, line);
        return;
    }
    if (digits && line[digits + spaces] == '[' && strchr(line, ']')) {
        rest += fwrite(line, 1, digits + spaces + 1, to);
        while (*rest != ']') rest += print_mark(rest, to);
    } else if (colour_of(line) && line[strncmp(line, "·", strlen("·")) ? 1 : strlen("·")] == ' ') {
        rest += print_mark(line, to);
    }
    fprintf(to, "%s\n", rest);
}

/* An argument as a shell reads it. */
static void print_argument(const char *text, FILE *to) {
    static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
    if (*text && !text[strspn(text, PLAIN)]) {
        fprintf(to, " %s", text);
        return;
    }
    fputs(" '", to);
    for (; *text; text++) fputs(*text == '\'' ? "'\\''" : (char[]){*text, 0}, to);
    putc('\'', to);
}

/* True if the options of a remedy have this one, too. */
static int sets_again(const char *remedy, int k) {
    for (const char *at = remedy; (at = strstr(at, "--")); at += 2) {
        size_t len = strcspn(at, " :");
        if (!strncmp(at, OPTIONS[k].name, len) && !OPTIONS[k].name[len]) return 1;
    }
    return 0;
}

/* A remedy, "--ctx 64: …", as the whole command to copy, which is the one that was given but for these options. */
static void print_remedy(const options *o, const char *remedy, FILE *to) {
    const char *end = strstr(remedy, ": ");
    char wanted[1024];
    snprintf(wanted, sizeof wanted, "%.*s", (int)(end - remedy), remedy);
    fputs("  rekindle", to);
    for (int i = 1; i < o->argc; i++) {
        int option = o->argv[i][0] == '-' && o->argv[i][1] ? find_option(o->argv[i], 0) : -1;
        int pair = option >= 0 && takes_next(o->argv[i]);
        if (option >= 0 && sets_again(wanted, option)) {
            i += pair;
            continue;
        }
        print_argument(o->argv[i], to);
        if (pair && i + 1 < o->argc) print_argument(o->argv[++i], to);
    }
    fprintf(to, " %s  # %s\n", wanted, end + 2);
}

/* The text of a plan, line by line. */
static void print_plan_text(const options *o, char *text, FILE *to) {
    int colours = has_colours(to), first = 1;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, first = 0) {
        *end = 0;
        if (!strncmp(line, "  --", 4) && strstr(line, ": ")) print_remedy(o, line + 2, to);
        else if (colours) print_coloured(line, first, to);
        else fprintf(to, "%s\n", line);
    }
}

#endif
