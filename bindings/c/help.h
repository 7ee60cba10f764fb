/* Help, the man page and the completions of shells, all made from the tables. */
#ifndef HELP_H
#define HELP_H

#include "table.h"

/* Options that most commands have are planning options; the others are a command's own. */
static int is_shared(int k) {
    int most = PLAN | PERPLEXITY;
    return (OPTIONS[k].commands & most) == most && OPTIONS[k].at != AT(json);
}

static void print_option(int k, FILE *to) {
    char left[64];
    int n = snprintf(left, sizeof left, "%s", OPTIONS[k].name);
    for (int i = k + 1; i < N_OPTIONS && !OPTIONS[i].help; i++)
        n += snprintf(left + n, sizeof left - (size_t)n, ", %s", OPTIONS[i].name);
    if (OPTIONS[k].value) snprintf(left + n, sizeof left - (size_t)n, " %s", OPTIONS[k].value);
    fprintf(to, "  %-25s  %s\n", left, OPTIONS[k].help);
}

static void print_options(const command *c, int shared, const char *title, FILE *to) {
    int any = 0;
    for (int k = 0; k < N_OPTIONS; k++) {
        if (!(OPTIONS[k].commands & c->bit) || !OPTIONS[k].help || is_shared(k) != shared) continue;
        if (!any++) fprintf(to, "\n%s\n", title);
        print_option(k, to);
    }
}

/* The help of a command, or of all. */
static void print_help(const command *c, FILE *to) {
    if (!c) {
        fputs("usage: rekindle COMMAND [MODEL] [options, in any order]\n\n", to);
        for (c = COMMANDS; c->name; c++) fprintf(to, "  %-11s %s\n", c->name, c->help);
        fputs("\n`rekindle COMMAND --help` lists a command's options, --version tells the version.\n\n"
              "  rekindle devices\n"
              "  rekindle plan model.gguf --ctx 8192\n"
              "  rekindle run model.gguf -p \"Once upon a time\" -n 100 --temp 0.8\n"
              "  rekindle chat model.gguf --devices cuda:2,cpu --kv q8_0\n", to);
        return;
    }
    fprintf(to, "usage: rekindle %s%s%s [options]\n\n%s\n", c->name, *c->takes ? " " : "", c->takes, c->help);
    print_options(c, 0, "options", to);
    print_options(c, 1, "planning (0 or absent: decided from the model and the memory)", to);
    if (c->bit != HELP) fputs("\n  --help, --version\n", to);
}

/* A text in the language of man pages. */
static void print_roff(const char *text) {
    for (const char *c = text; *c; c++) {
        if (*c == '\\') fputs("\\e", stdout);
        else if (*c == '-') fputs("\\-", stdout);
        else if (*c == '\'') fputs("\\(aq", stdout);
        else if (c == text && *c == '.') fputs("\\&.", stdout);
        else putchar(*c);
    }
}

static void print_man(void) {
    printf(".TH REKINDLE 1 \"\" \"rekindle %s\" \"User Commands\"\n.SH NAME\nrekindle \\- run GGUF language models "
           "on old GPUs and CPUs\n.SH SYNOPSIS\n.B rekindle\n.I COMMAND\n"
           "[\\fIMODEL\\fR] [\\fIoptions\\fR]\n.SH COMMANDS\n",
           rekindle_version());
    for (const command *c = COMMANDS; c->name; c++) {
        printf(".TP\n\\fB%s\\fR \\fI", c->name);
        print_roff(c->takes), fputs("\\fR\n", stdout), print_roff(c->help), putchar('\n');
    }
    fputs(".SH OPTIONS\nOptions go anywhere on the line, as \\fB\\-\\-ctx 64\\fR or \\fB\\-\\-ctx=64\\fR. Behind the "
          "help of each stand the commands that know it.\n", stdout);
    for (int k = 0; k < N_OPTIONS; k++) {
        fputs(".TP\n\\fB", stdout), print_roff(OPTIONS[k].name), fputs("\\fR", stdout);
        if (OPTIONS[k].value) fputs(" \\fI", stdout), print_roff(OPTIONS[k].value), fputs("\\fR", stdout);
        putchar('\n');
        print_roff(OPTIONS[k].help ? OPTIONS[k].help : "the same in short");
        fputs(" (", stdout);
        int n = 0;
        for (const command *c = COMMANDS; c->name; c++)
            if (OPTIONS[k].commands & c->bit) printf("%s%s", n++ ? ", " : "", c->name);
        fputs(")\n", stdout);
    }
    fputs(".SH EXIT STATUS\n0 if all went well, 1 for an error of the library (a model that does not fit, a bad file), "
          "2 for a command line that cannot be read, 130 after Ctrl\\-C.\n.SH ENVIRONMENT\n", stdout);
    char text[512];
    for (uint32_t i = 0; rekindle_environment(i, text, sizeof text, NULL) == REKINDLE_OK; i++) {
        fputs(".PP\n", stdout), print_roff(text), putchar('\n');
    }
    fputs(".PP\nNO_COLOR: a plan on a terminal has no colours.\n.SH FILES\n.PP\n$XDG_STATE_HOME/rekindle/history: the "
          "lines that were typed in chats.\n.SH SEE ALSO\n.BR rekindle (3)\n", stdout);
}

/* The options of a command, with spaces between them. */
static void print_names(const command *c) {
    for (int k = 0; k < N_OPTIONS; k++)
        if (OPTIONS[k].commands & c->bit) printf(" %s", OPTIONS[k].name);
    fputs(" --help --version", stdout);
}

static void print_bash(void) {
    fputs("# Completions of rekindle for bash.\n_rekindle() {\n    local words\n", stdout);
    fputs("    case ${COMP_WORDS[1]} in\n", stdout);
    for (const command *c = COMMANDS; c->name; c++) printf("    %s) words='", c->name), print_names(c), puts("' ;;");
    fputs("    *) words='", stdout);
    for (const command *c = COMMANDS; c->name; c++) printf("%s ", c->name);
    puts("--help --version' ;;\n    esac\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "    [[ ${COMP_WORDS[COMP_CWORD]} == -* || $COMP_CWORD == 1 ]] ||\n"
         "        COMPREPLY+=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "}\ncomplete -o filenames -F _rekindle rekindle");
}

/* A text between single quotes, of which there may be some in it. */
static void print_quoted(const char *text, const char *escapes) {
    for (putchar('\''); *text; text++) {
        if (*text == '\'') fputs("'\\''", stdout);
        else if (strchr(escapes, *text)) printf("\\%c", *text);
        else putchar(*text);
    }
    putchar('\'');
}

static void print_zsh(void) {
    puts("#compdef rekindle\n# Completions of rekindle for zsh.\nlocal -a commands\ncommands=(");
    for (const command *c = COMMANDS; c->name; c++) {
        printf("    %s:", c->name), print_quoted(c->help, ":"), puts("");
    }
    puts(")\nif (( CURRENT == 2 )); then\n    _describe command commands\n    return\nfi\ncase $words[2] in");
    for (const command *c = COMMANDS; c->name; c++) {
        printf("%s) _arguments", c->name);
        for (int k = 0; k < N_OPTIONS; k++) {
            if (!(OPTIONS[k].commands & c->bit) || !OPTIONS[k].help) continue;
            printf(" \\\n    '*'%s'['", OPTIONS[k].name), print_quoted(OPTIONS[k].help, "[]:"), fputs("']'", stdout);
            if (OPTIONS[k].value) printf("':%s:_files'", OPTIONS[k].read == read_text ? "file" : "value");
        }
        puts(" \\\n    '*:file:_files' ;;");
    }
    puts("esac");
}

static void print_fish(void) {
    puts("# Completions of rekindle for fish.");
    for (const command *c = COMMANDS; c->name; c++) {
        printf("complete -c rekindle -n __fish_use_subcommand -f -a %s -d ", c->name);
        print_quoted(c->help, "\\"), puts("");
        for (int k = 0; k < N_OPTIONS; k++) {
            const char *name = OPTIONS[k].name;
            if (!(OPTIONS[k].commands & c->bit) || !OPTIONS[k].help) continue;
            printf("complete -c rekindle -n '__fish_seen_subcommand_from %s' %s %s%s -d ", c->name,
                   name[1] == '-' ? "-l" : name[2] ? "-o" : "-s", name + (name[1] == '-' ? 2 : 1),
                   OPTIONS[k].value ? " -r" : "");
            print_quoted(OPTIONS[k].help, "\\"), puts("");
        }
    }
}

/* `rekindle help [WHAT]` */
static void help(const char *what) {
    const command *c = COMMANDS;
    while (what && c->name && strcmp(c->name, what)) c++;
    if (!what || c->name) print_help(what ? c : NULL, stdout);
    else if (!strcmp(what, "man")) print_man();
    else if (!strcmp(what, "bash")) print_bash();
    else if (!strcmp(what, "zsh")) print_zsh();
    else if (!strcmp(what, "fish")) print_fish();
    else fail("help is there for commands, and man, bash, zsh, fish; not for ", what);
}

#endif
