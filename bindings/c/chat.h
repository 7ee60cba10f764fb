/* `rekindle chat`: a conversation, a line a turn. On a terminal lines are edited, and a pasted block is one turn. */
#ifndef CHAT_H
#define CHAT_H

#include <sys/stat.h>

#include "conversation.h"
#include "edit.h"

static rekindle_vocab *chat_vocab;
/* The tokens that the KV cache holds, as far as this program knows. */
static int32_t *cached;
static size_t n_cached, max_cached;
static char *answer;
static size_t answer_len;
static atomic_int answering, stopped;

/* Ctrl-C stops the answer, not the program. */
static void *chat_watch(void *set) {
    int signal = 0;
    while (sigwait(set, &signal) == 0) {
        if (atomic_load(&answering)) {
            atomic_store(&stopped, 1);
            (void)rekindle_cancel(model);
        } else {
            fputs("\n(Ctrl-D ends)\n", stderr);
        }
    }
    return NULL;
}

static int32_t on_answer(void *user_data, int32_t token, const char *piece, size_t len) {
    (void)user_data;
    if (token >= 0) {
        if (n_cached == max_cached) cached = grown(cached, (max_cached = max_cached * 2 + 64) * sizeof *cached);
        cached[n_cached++] = token;
    }
    answer = grown(answer, answer_len + len + 1);
    memcpy(answer + answer_len, piece, len);
    answer_len += len;
    fwrite(piece, 1, len, stdout);
    fflush(stdout);
    return atomic_load(&stopped);
}

static char *rendered(const rekindle_chat_params *params, size_t *len) {
    size_t needed = 0;
    check(rekindle_chat_render(chat_vocab, messages, n_messages, params, NULL, 0, &needed), "chat");
    char *prompt = grown(NULL, needed);
    check(rekindle_chat_render(chat_vocab, messages, n_messages, params, prompt, needed, NULL), "chat");
    *len = needed - 1;
    return prompt;
}

/* Reads what comes before the last batch of a prompt, and shows how far it is. */
static rekindle_status read_ahead(const int32_t *tokens, size_t *from, size_t n) {
    size_t batch = model_info().n_batch, first = *from;
    rekindle_status status = REKINDLE_OK;
    while (status == REKINDLE_OK && n - *from > batch && !atomic_load(&stopped)) {
        show_progress("reading the prompt", (double)(*from - first) / (double)(n - first));
        rekindle_batch b = {.struct_size = sizeof b, .n_tokens = (uint32_t)batch, .tokens = tokens + *from};
        status = rekindle_decode(model, &b);
        if (status == REKINDLE_OK) *from += batch;
    }
    if (*from > first) erase_progress();
    return status;
}

/* Decodes what the cache does not have yet, then answers. */
static rekindle_status turn(const options *o, const rekindle_chat_params *params, rekindle_sampler *sampler) {
    size_t len = 0, n = 0, same = 0;
    char *prompt = rendered(params, &len);
    int32_t *tokens = tokens_of(chat_vocab, prompt, len, REKINDLE_TEXT_PARSE_SPECIAL, &n);
    free(prompt);
    if (!n) fail("the template gives an empty prompt", "");
    /* The last token is decoded again, for its logits. */
    while (same < n_cached && same + 1 < n && cached[same] == tokens[same]) same++;
    /* Layers with a window, and those that keep a state, may have to go on further back. */
    uint32_t reached = 0;
    check(rekindle_seq_cut(model, 0, (uint32_t)same, &reached), "chat");
    same = reached;
    if (n > max_cached) cached = grown(cached, (max_cached = n) * sizeof *cached);
    memcpy(cached, tokens, n * sizeof *tokens);
    n_cached = n;
    rekindle_generate_result r = {.struct_size = sizeof r};
    answer_len = 0;
    atomic_store(&stopped, 0);
    atomic_store(&answering, 1);
    rekindle_status status = read_ahead(tokens, &same, n);
    rekindle_generate_params p = {.struct_size = sizeof p, .prompt_tokens = tokens + same, .n_prompt_tokens = n - same};
    p.max_tokens = o->n;
    if (status == REKINDLE_OK) status = rekindle_generate(model, sampler, &p, on_answer, NULL, &r);
    atomic_store(&answering, 0);
    free(tokens);
    uint32_t length = 0;
    check(rekindle_seq_length(model, 0, &length), "chat");
    if (length < n_cached) n_cached = length;
    if (status == REKINDLE_OK && r.stop == REKINDLE_STOP_CONTEXT_FULL)
        fputs("\n(the context is full; --ctx makes it larger)", stderr);
    return status;
}

/* The file of the lines that were typed, in the user's folder of state; NULL if there is no such folder. */
static const char *history_path(void) {
    static char path[4096];
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state == '/') snprintf(path, sizeof path, "%s/rekindle", state);
    else if (home && *home == '/') snprintf(path, sizeof path, "%s/.local/state/rekindle", home);
    else return NULL;
    for (char *slash = path + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        (void)mkdir(path, 0700);
    }
    (void)mkdir(path, 0700);
    size_t n = strlen(path);
    return snprintf(path + n, sizeof path - n, "/history") < (int)(sizeof path - n) ? path : NULL;
}

/* Line ends inside a line are written as JSON has them. */
static void read_history(const char *path) {
    FILE *from = path ? fopen(path, "rb") : NULL;
    char *line = NULL;
    size_t room = 0, len = 0;
    while (from && getline(&line, &room, from) > 0) {
        char *text = json_member(line, "line", &len);
        if (text) text[len] = 0, remember(text);
    }
    if (from) (void)fclose(from);
    free(line);
}

static void write_history(const char *path) {
    FILE *to = path && n_history ? fopen(path, "wb") : NULL;
    if (to) (void)fchmod(fileno(to), 0600);
    for (size_t i = 0; i < n_history; i++) {
        if (to) fputs("{\"line\": ", to), json_string(to, history[i], strlen(history[i])), fputs("}\n", to);
        free(history[i]);
    }
    if (to) (void)fclose(to);
    n_history = 0;
}

/* The next line; NULL at the end. */
static const char *next_line(int people, size_t *len) {
    static char *line;
    static size_t room;
    if (people) return edit_line("> ", len);
    ssize_t got = getline(&line, &room, stdin);
    while (got > 0 && (line[got - 1] == '\n' || line[got - 1] == '\r')) line[--got] = 0;
    *len = got < 0 ? 0 : (size_t)got;
    if (got < 0) free(line), line = NULL, room = 0;
    return line;
}

static void chat_help(void) {
    fputs("/reset         forget the conversation, but for the system message\n"
          "/save FILE     write the conversation, a line of JSON for each message\n"
          "/load FILE     go on with one that was written\n"
          "/system TEXT   the system message; without a text there is none\n"
          "/plan          what lies where, and how many bytes\n"
          "/quit          end, as Ctrl-D\n"
          "//TEXT         a message that begins with a /\n"
          "Ctrl-C stops an answer. A pasted block is one message; Ctrl-J begins a new line in one.\n", stderr);
}

/* A line that begins with a slash. Non-zero: the end was asked for. */
static int obey(const options *o, const char *line) {
    size_t n = strcspn(line, " ");
    const char *rest = line + n + strspn(line + n, " ");
#define IS(name) (n == strlen(name) && !strncmp(line, name, n))
    if (IS("/quit") || IS("/exit")) return 1;
    if (IS("/help")) chat_help();
    else if (IS("/reset")) while (n_messages > (size_t)has_system()) drop_message();
    else if (IS("/system")) set_system(rest);
    else if (IS("/plan")) print_plan(o, stderr);
    else if ((IS("/save") || IS("/load")) && !*rest) fprintf(stderr, "%.*s needs the name of a file\n", (int)n, line);
    else if (IS("/save")) save_conversation(rest);
    else if (IS("/load")) load_conversation(rest);
    else fprintf(stderr, "%.*s is not known; /help lists what is\n", (int)n, line);
#undef IS
    return 0;
}

/* A question, and its answer. */
static void converse(const options *o, const rekindle_chat_params *params, rekindle_sampler *sampler, const char *line,
                     size_t len) {
    add_message("user", line, len);
    rekindle_status status = turn(o, params, sampler);
    putchar('\n');
    fflush(stdout);
    if (status == REKINDLE_CONTEXT_FULL) fprintf(stderr, "rekindle: %s\n", rekindle_last_error());
    else if (status != REKINDLE_CANCELLED) check(status, "generate");
    /* A question without an answer would break the order of turns. */
    if (answer_len) add_message("assistant", answer, answer_len);
    else drop_message();
}

static void chat(options *o) {
    check(rekindle_vocab_create(file, &chat_vocab), "vocabulary");
    rekindle_chat_params params = {.struct_size = sizeof params, .flags = REKINDLE_CHAT_GENERATION_PROMPT};
    char *template_text = NULL;
    if (o->template_path)
        params.template_text = template_text = whole_file(o->template_path, &params.template_text_len);
    size_t needed = 0;
    rekindle_status status = REKINDLE_OK;
    if (!o->template_path) status = rekindle_chat_template(chat_vocab, NULL, 0, NULL, 0, &needed);
    if (status == REKINDLE_NOT_FOUND)
        fail("this model's file has no chat template, so it was not made to chat; --template FILE gives one, "
             "`rekindle run` continues a text", "");
    check(status, "chat");
    on_interrupt(chat_watch);
    load(o, 0);
    use_adapters(o);
    rekindle_sampler *sampler = make_sampler(o);
    set_system(o->system ? o->system : "");
    int people = is_terminal(stdin);
    const char *path = people ? history_path() : NULL;
    read_history(path);
    if (people) {
        fprintf(stderr, "%s; /help lists commands", o->model);
        if (is_random(o)) fprintf(stderr, "; --seed %llu", (unsigned long long)o->sampler.seed);
        fputs("\n", stderr);
    }
    if (o->prompt) converse(o, &params, sampler, o->prompt, strlen(o->prompt));
    size_t len = 0;
    for (const char *line; (line = next_line(people, &len));) {
        if (line[0] == '/' && line[1] != '/') {
            if (obey(o, line)) break;
        } else if (len) {
            size_t skip = line[0] == '/';
            converse(o, &params, sampler, line + skip, len - skip);
        }
    }
    rekindle_perf perf = {.struct_size = sizeof perf};
    check(rekindle_model_get_perf(model, &perf), "perf");
    fprintf(stderr, "prompts %llu tokens, %.1f per second; generated %llu tokens, %.1f per second\n",
            (unsigned long long)perf.n_prompt_tokens, rate(perf.n_prompt_tokens, perf.prompt_us),
            (unsigned long long)perf.n_decode_tokens, rate(perf.n_decode_tokens, perf.decode_us));
    write_history(path);
    while (n_messages) drop_message();
    free(messages), free(cached), free(answer), free(template_text), free(edited.text);
    (void)rekindle_sampler_destroy(sampler);
    (void)rekindle_vocab_destroy(chat_vocab);
}

#endif
