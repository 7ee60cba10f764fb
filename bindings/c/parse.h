/* Reads the command line by the tables: options in any order, before and behind the command and its model. */
#ifndef PARSE_H
#define PARSE_H

#include "help.h"

/* The option that an argument names, for a command (0: for any); -1 if there is none. "--ctx=64" names --ctx. */
static int find_option(const char *argument, int bit) {
    const char *equals = strncmp(argument, "--", 2) ? NULL : strchr(argument, '=');
    size_t len = equals ? (size_t)(equals - argument) : strlen(argument);
    for (int k = 0; k < N_OPTIONS; k++) {
        if (strncmp(argument, OPTIONS[k].name, len) || OPTIONS[k].name[len]) continue;
        if (!bit || OPTIONS[k].commands & bit) return k;
    }
    return -1;
}

/* True if the argument is the name of an option whose value is the next argument. */
static int takes_next(const char *argument) {
    int k = find_option(argument, 0);
    return k >= 0 && OPTIONS[k].read && !(argument[1] == '-' && strchr(argument, '='));
}

/* The number of letters to add, drop or change between two names. */
static size_t distance(const char *a, const char *b) {
    size_t row[64], n = strlen(b);
    if (strlen(a) > 60 || n > 60) return 99;
    for (size_t i = 0; i <= n; i++) row[i] = i;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t before = row[0];
        row[0] = i;
        for (size_t k = 1; k <= n; k++) {
            size_t here = row[k], best = before + (a[i - 1] != b[k - 1]);
            if (row[k] + 1 < best) best = row[k] + 1;
            if (row[k - 1] + 1 < best) best = row[k - 1] + 1;
            row[k] = best;
            before = here;
        }
    }
    return row[n];
}

static _Noreturn void unknown_command(const char *name) {
    const char *near = NULL;
    for (const command *c = COMMANDS; c->name; c++)
        if (distance(name, c->name) <= 2 && (!near || distance(name, c->name) < distance(name, near))) near = c->name;
    fprintf(stderr, "rekindle: '%s' is no command%s%s%s; expected", name, near ? " (is " : "", near ? near : "",
            near ? " meant?)" : "");
    for (const command *c = COMMANDS; c->name; c++) fprintf(stderr, "%s %s", c == COMMANDS ? "" : ",", c->name);
    fputs("\n", stderr);
    exit(2);
}

static _Noreturn void unknown_option(const options *o, int bit, const char *name) {
    if (find_option(name, 0) >= 0) {
        fprintf(stderr, "rekindle: %.*s is no option of %s", (int)strcspn(name, "="), name, o->command);
    } else {
        const char *near = NULL;
        size_t least = strncmp(name, "--", 2) ? 0 : 3;
        for (int k = 0; k < N_OPTIONS; k++) {
            size_t far = OPTIONS[k].commands & bit ? distance(name, OPTIONS[k].name) : 99;
            if (far < least) least = far, near = OPTIONS[k].name;
        }
        fprintf(stderr, "rekindle: unknown option %s", name);
        if (near) fprintf(stderr, " (is %s meant?)", near);
    }
    fprintf(stderr, "; `rekindle %s --help` lists those that there are\n", o->command);
    exit(2);
}

/* Reads the option at argument `i` and returns the last argument that belongs to it. */
static int read_option(options *o, int bit, int argc, char **argv, int i) {
    int k = find_option(argv[i], bit);
    if (k < 0) unknown_option(o, bit, argv[i]);
    char *equals = argv[i][1] == '-' ? strchr(argv[i], '=') : NULL;
    void *to = (char *)o + OPTIONS[k].at;
    if (!OPTIONS[k].read) {
        if (equals) fail("no value is expected after ", OPTIONS[k].name);
        *(int *)to = 1;
        return i;
    }
    if (!equals && i + 1 == argc) fail("a value is expected after ", argv[i]);
    OPTIONS[k].read(to, OPTIONS[k].name, equals ? equals + 1 : argv[i + 1]);
    return equals ? i : i + 1;
}

/* Finds the command, the first argument that belongs to no option; --help and --version end the program here. */
static const command *find_command(int argc, char **argv, int *at) {
    const char *name = NULL;
    int help = 0;
    *at = 0;
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--version")) {
            printf("rekindle %s, ABI %u\n", rekindle_version(), (unsigned)rekindle_abi_version());
            exit(0);
        }
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) help = 1;
        else if (argv[i][0] == '-' && argv[i][1] && takes_next(argv[i])) i++;
        else if ((argv[i][0] != '-' || !argv[i][1]) && !name) name = argv[i], *at = i;
    }
    const command *c = COMMANDS;
    while (name && c->name && strcmp(name, c->name)) c++;
    if (name && !c->name) unknown_command(name);
    if (help) print_help(name ? c : NULL, stdout), exit(0);
    if (!name) print_help(NULL, stderr), exit(2);
    return c;
}

/* Reads the command line. The texts of `embed` are gathered at the front of argv. */
static const command *parse(options *o, int argc, char **argv) {
    int at = 0, only_texts = 0;
    const command *c = find_command(argc, argv, &at);
    o->command = c->name;
    o->plan.struct_size = sizeof o->plan;
    o->sampler.struct_size = sizeof o->sampler;
    o->plan.limits = o->limits;
    o->devices = "";
    o->format = c->bit == BENCH ? MARKDOWN : JSON;
    o->argc = argc;
    o->argv = malloc(((size_t)argc + 1) * sizeof *argv);
    if (!o->argv) fail("out of memory", "");
    memcpy(o->argv, argv, ((size_t)argc + 1) * sizeof *argv);
    o->texts = argv;
    for (int i = 1; i < argc; i++) {
        if (i == at) continue;
        if (!only_texts && !strcmp(argv[i], "--")) only_texts = 1;
        else if (!only_texts && argv[i][0] == '-' && argv[i][1]) i = read_option(o, c->bit, argc, argv, i);
        else if (*c->takes && !o->model) o->model = argv[i];
        else if (c->bit == EMBED) o->texts[o->n_texts++] = argv[i];
        else fail("one argument too many: ", argv[i]);
    }
    if (!o->model && c->bit != DEVICES && c->bit != HELP) {
        fprintf(stderr, "rekindle: %s needs the file of a model: rekindle %s %s\n", c->name, c->name, c->takes);
        exit(2);
    }
    if (o->draft_model) {
        if (!o->plan.n_draft) o->plan.n_draft = 8;
        o->plan.draft_source = REKINDLE_DRAFT_MODEL;
    }
    if (o->copied) o->plan.weights = REKINDLE_WEIGHTS_COPIED;
    if (o->sampler.n_steps) o->sampler.steps = o->steps;
    return c;
}

#endif
