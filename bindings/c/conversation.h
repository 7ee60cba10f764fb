/* The messages of a chat, and the file that keeps them: a line {"role": "user", "content": "…"} for each. */
#ifndef CONVERSATION_H
#define CONVERSATION_H

#include "run.h"

static rekindle_chat_message *messages;
static size_t n_messages;

static char *copied(const char *text, size_t len) {
    char *copy = grown(NULL, len + 1);
    memcpy(copy, text, len);
    copy[len] = 0;
    return copy;
}

static void add_message(const char *role, const char *text, size_t len) {
    messages = grown(messages, (n_messages + 1) * sizeof *messages);
    rekindle_chat_message m = {.role = role, .role_len = strlen(role), .content = copied(text, len)};
    m.content_len = len;
    messages[n_messages++] = m;
}

static void drop_message(void) { free((char *)(uintptr_t)messages[--n_messages].content); }

/* The first message says how the model is to behave; it stays when the others go. */
static int has_system(void) { return n_messages && !strcmp(messages[0].role, "system"); }

static void set_system(const char *text) {
    if (has_system()) {
        free((char *)(uintptr_t)messages[0].content);
        memmove(messages, messages + 1, --n_messages * sizeof *messages);
    }
    if (!*text) return;
    add_message("system", text, strlen(text));
    rekindle_chat_message m = messages[n_messages - 1];
    memmove(messages + 1, messages, (n_messages - 1) * sizeof *messages);
    messages[0] = m;
}

static void save_conversation(const char *path) {
    FILE *to = fopen(path, "wb");
    for (size_t i = 0; to && i < n_messages; i++) {
        fprintf(to, "{\"role\": \"%s\", \"content\": ", messages[i].role);
        json_string(to, messages[i].content, messages[i].content_len);
        fputs("}\n", to);
    }
    if (!to || fclose(to)) fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
    else fprintf(stderr, "%zu messages are in %s\n", n_messages, path);
}

static int hex(const char *text, uint32_t *code) {
    *code = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *at = text[i] ? strchr(digits, text[i] | 0x20) : NULL;
        if (!at) return 0;
        *code = *code << 4 | (uint32_t)(at - digits);
    }
    return 1;
}

static size_t put_utf8(char *to, uint32_t c) {
    if (c < 0x80) return to[0] = (char)c, 1;
    if (c < 0x800) return to[0] = (char)(0xc0 | c >> 6), to[1] = (char)(0x80 | (c & 0x3f)), 2;
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 0x3f)), to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f)), to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Reads the string behind `"name":` in place; what it means is never longer than what it was. NULL: there is none. */
static char *json_member(char *line, const char *name, size_t *len) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    char *at = strstr(line, quoted), *start = at, *to = at;
    if (!at) return NULL;
    at += strlen(quoted);
    while (*at == ' ') at++;
    if (*at++ != '"') return NULL;
    for (; *at && *at != '"'; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        static const char FROM[] = "\"\\/bfnrt", INTO[] = "\"\\/\b\f\n\r\t";
        uint32_t code = 0, low = 0;
        const char *plain = *++at ? strchr(FROM, *at) : NULL;
        if (plain) {
            *to++ = INTO[plain - FROM];
            continue;
        }
        if (*at != 'u' || !hex(at + 1, &code)) return NULL;
        at += 4;
        if (code >> 10 == 0x36 && at[1] == '\\' && at[2] == 'u' && hex(at + 3, &low) && low >> 10 == 0x37) {
            code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
            at += 6;
        }
        to += put_utf8(to, code >> 11 == 0x1b ? 0xfffd : code);
    }
    if (*at != '"') return NULL;
    *len = (size_t)(to - start);
    return start;
}

/* Reads a file of messages in place of those that are there; a bad line changes nothing. */
static void load_conversation(const char *path) {
    FILE *from = fopen(path, "rb");
    if (!from) {
        fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
        return;
    }
    size_t before = n_messages, room = 0, n_lines = 0;
    char *line = NULL, *bad = NULL;
    while (!bad && getline(&line, &room, from) > 0) {
        static const char *const ROLES[] = {"system", "user", "assistant", NULL};
        n_lines++;
        /* The role is looked at before the content is read in place. */
        char *copy = copied(line, strlen(line)), *text = NULL;
        size_t role_len = 0, len = 0, i = 0;
        char *role = json_member(copy, "role", &role_len);
        while (role && ROLES[i] && (strlen(ROLES[i]) != role_len || memcmp(ROLES[i], role, role_len))) i++;
        if (!role || !ROLES[i] || !(text = json_member(line, "content", &len))) bad = line;
        else add_message(ROLES[i], text, len);
        free(copy);
    }
    (void)fclose(from);
    free(line);
    if (bad || !n_lines) {
        while (n_messages > before) drop_message();
        static const char FORM[] = "{\"role\": \"user\", \"content\": \"…\"}";
        fprintf(stderr, "%s, line %zu: expected %s\n", path, n_lines ? n_lines : 1, FORM);
        return;
    }
    for (size_t i = 0; i < before; i++) free((char *)(uintptr_t)messages[i].content);
    n_messages -= before;
    memmove(messages, messages + before, n_messages * sizeof *messages);
    fprintf(stderr, "%zu messages\n", n_messages);
}

#endif
