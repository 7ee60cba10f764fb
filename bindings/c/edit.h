/* A line editor for a terminal: history, the usual keys, UTF-8, and pasted blocks, whose line ends stay in the line.
 *
 * The line is drawn on one row, which scrolls sideways if it is longer. An end of a line in it is drawn as ⏎. */
#ifndef EDIT_H
#define EDIT_H

#include <sys/ioctl.h>
#include <termios.h>

#include "text.h"

enum { MOST_HISTORY = 500 };

static struct {
    char *text;
    size_t len, room, at;
} edited;
static char *history[MOST_HISTORY];
static size_t n_history;
static struct termios cooked;
static int is_raw;

static void leave_raw(void) {
    if (!is_raw) return;
    (void)!write(STDERR_FILENO, "\033[?2004l", 8);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &cooked);
    is_raw = 0;
}

/* Keys one by one, without echo and signals; the terminal marks what is pasted. */
static int enter_raw(void) {
    static int registered;
    if (tcgetattr(STDIN_FILENO, &cooked)) return 0;
    if (!registered++) (void)atexit(leave_raw);
    struct termios raw = cooked;
    raw.c_iflag &= ~(tcflag_t)(ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG | IEXTEN);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw)) return 0;
    is_raw = 1;
    (void)!write(STDERR_FILENO, "\033[?2004h", 8);
    return 1;
}

/* The next key as a byte; -1 at the end. */
static int key(void) {
    unsigned char c = 0;
    ssize_t n = 0;
    do n = read(STDIN_FILENO, &c, 1);
    while (n < 0 && errno == EINTR);
    return n == 1 ? c : -1;
}

static void insert(const char *text, size_t len) {
    if (edited.len + len + 1 > edited.room) edited.text = grown(edited.text, edited.room = (edited.len + len) * 2 + 64);
    memmove(edited.text + edited.at + len, edited.text + edited.at, edited.len - edited.at);
    memcpy(edited.text + edited.at, text, len);
    edited.len += len;
    edited.at += len;
}

static void drop(size_t from, size_t to) {
    memmove(edited.text + from, edited.text + to, edited.len - to);
    edited.len -= to - from;
    edited.at = from;
}

/* Bytes of the character at `at`; a byte that begins none stands alone. */
static size_t step_at(size_t at) {
    size_t n = character((const unsigned char *)edited.text + at, edited.len - at);
    return n ? n : 1;
}

static size_t before(size_t at) {
    if (at) at--;
    while (at && (edited.text[at] & 0xc0) == 0x80) at--;
    return at;
}

static size_t behind(size_t at) { return at < edited.len ? at + step_at(at) : at; }

static int is_space(size_t at) { return edited.text[at] == ' ' || edited.text[at] == '\n'; }

static size_t word_before(size_t at) {
    while (at && is_space(at - 1)) at--;
    while (at && !is_space(at - 1)) at--;
    return at;
}

static size_t word_behind(size_t at) {
    while (at < edited.len && is_space(at)) at++;
    while (at < edited.len && !is_space(at)) at++;
    return at;
}

/* Columns that the character takes: none for accents, two for letters of East Asia and pictures. */
static size_t columns_at(size_t at) {
    const unsigned char *c = (const unsigned char *)edited.text + at;
    static const unsigned char KEPT[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    size_t n = character(c, edited.len - at);
    uint32_t code = n ? c[0] & KEPT[n] : 0xfffd;
    for (size_t i = 1; i < n; i++) code = code << 6 | (c[i] & 0x3f);
    static const uint32_t RANGES[][3] = {
        {0x300, 0x36f, 0}, {0x200b, 0x200f, 0}, {0xfe00, 0xfe0f, 0}, {0x1100, 0x115f, 2}, {0x2e80, 0xa4cf, 2},
        {0xac00, 0xd7a3, 2}, {0xf900, 0xfaff, 2}, {0xfe30, 0xfe6f, 2}, {0xff00, 0xff60, 2}, {0xffe0, 0xffe6, 2},
        {0x1f300, 0x1faff, 2}, {0x20000, 0x3fffd, 2}};
    for (size_t i = 0; i < sizeof RANGES / sizeof *RANGES; i++)
        if (code >= RANGES[i][0] && code <= RANGES[i][1]) return RANGES[i][2];
    return 1;
}

static size_t width(size_t from, size_t to) {
    size_t n = 0;
    for (; from < to; from += step_at(from)) n += columns_at(from);
    return n;
}

/* Draws the part of the line around the cursor. */
static void draw(const char *prompt) {
    struct winsize size = {0};
    size_t wide = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 8 ? size.ws_col : 80;
    size_t room = wide - strlen(prompt) - 1, from = 0, columns = 0;
    while (width(from, edited.at) > room) from += step_at(from);
    fprintf(stderr, "\r\033[K%s", prompt);
    for (size_t i = from, n = 0; i < edited.len && columns + columns_at(i) <= room; i += n) {
        n = step_at(i);
        columns += columns_at(i);
        unsigned char c = (unsigned char)edited.text[i];
        if (c == '\n') fputs("⏎", stderr);
        else if (c < 0x20 || c == 0x7f) putc('?', stderr);
        else fwrite(edited.text + i, 1, n, stderr);
    }
    fprintf(stderr, "\r\033[%zuC", strlen(prompt) + width(from, edited.at));
    fflush(stderr);
}

static void replace(const char *text) {
    edited.len = edited.at = 0;
    insert(text, strlen(text));
}

/* Up and down: -1 and 1. What was typed waits behind the newest line. */
static void walk(int by, size_t *now, char **typed) {
    if ((by < 0 && *now == 0) || (by > 0 && *now == n_history)) return;
    if (*now == n_history) {
        insert("", 0);
        edited.text[edited.len] = 0;
        free(*typed);
        *typed = strdup(edited.text);
    }
    *now += by < 0 ? (size_t)-1 : 1;
    replace(*now == n_history ? (*typed ? *typed : "") : history[*now]);
}

/* Text between the terminal's marks of a pasted block. */
static void paste(void) {
    static const char END[] = "\033[201~";
    size_t matched = 0;
    for (int c = key(); c >= 0; c = key()) {
        if (c == END[matched]) {
            if (!END[++matched]) return;
            continue;
        }
        insert(END, matched);
        matched = c == END[0];
        if (!matched) insert(c == '\r' ? "\n" : (char[]){(char)c, 0}, 1);
    }
}

/* Reads the rest of an escape: arrows and their like. */
static void escape(size_t *now, char **typed) {
    int c = key(), number = 0, last = 0;
    if (c == 'b') edited.at = word_before(edited.at);
    if (c == 'f') edited.at = word_behind(edited.at);
    if (c != '[' && c != 'O') return;
    for (c = key(); (c >= '0' && c <= '9') || c == ';'; c = key()) {
        if (c == ';') last = number, number = 0;
        else if (number < 1000) number = number * 10 + (c - '0');
    }
    int control = last && number == 5;
    if (c == 'A') walk(-1, now, typed);
    else if (c == 'B') walk(1, now, typed);
    else if (c == 'C') edited.at = control ? word_behind(edited.at) : behind(edited.at);
    else if (c == 'D') edited.at = control ? word_before(edited.at) : before(edited.at);
    else if (c == 'H' || (c == '~' && (number == 1 || number == 7))) edited.at = 0;
    else if (c == 'F' || (c == '~' && (number == 4 || number == 8))) edited.at = edited.len;
    else if (c == '~' && number == 3 && edited.at < edited.len) drop(edited.at, edited.at + step_at(edited.at));
    else if (c == '~' && number == 200) paste();
}

/* Adds a line to the history, if it is another one than the last. */
static void remember(const char *line) {
    if (!*line || (n_history && !strcmp(history[n_history - 1], line))) return;
    if (n_history == MOST_HISTORY) {
        free(history[0]);
        memmove(history, history + 1, --n_history * sizeof *history);
    }
    if ((history[n_history] = strdup(line))) n_history++;
}

/* A line, or NULL at the end (Ctrl-D in an empty line). It is valid until the next call. */
static const char *edit_line(const char *prompt, size_t *len) {
    if (!enter_raw()) return NULL;
    size_t now = n_history;
    char *typed = NULL;
    int done = 0, ended = 0;
    replace("");
    while (!done && !ended) {
        draw(prompt);
        int c = key();
        switch (c) {
        case '\r': done = 1; break;
        case -1: ended = 1; break;
        case 4:
            if (!edited.len) ended = 1;
            else if (edited.at < edited.len) drop(edited.at, edited.at + step_at(edited.at));
            break;
        case 3:
            fputs(edited.len ? "^C\n" : "^C (Ctrl-D ends)\n", stderr);
            replace("");
            break;
        case 1: edited.at = 0; break;
        case 5: edited.at = edited.len; break;
        case 2: edited.at = before(edited.at); break;
        case 6: edited.at = behind(edited.at); break;
        case 8: case 127: drop(before(edited.at), edited.at); break;
        case 11: drop(edited.at, edited.len); break;
        case 21: drop(0, edited.at); break;
        case 23: drop(word_before(edited.at), edited.at); break;
        case 12: fputs("\033[H\033[2J", stderr); break;
        case 14: walk(1, &now, &typed); break;
        case 16: walk(-1, &now, &typed); break;
        case 27: escape(&now, &typed); break;
        default:
            if (c >= 0x20 || c == '\n' || c == '\t') insert((char[]){(char)c, 0}, 1);
        }
    }
    free(typed);
    insert("", 0);
    edited.text[edited.len] = 0;
    /* The whole line stays on the screen. */
    fprintf(stderr, "\r\033[K%s%s\n", prompt, edited.text);
    leave_raw();
    remember(edited.text);
    *len = edited.len;
    return ended ? NULL : edited.text;
}

#endif
