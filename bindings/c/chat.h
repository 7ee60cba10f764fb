/* `rekindle chat`: a conversation, line by line. */
#ifndef CHAT_H
#define CHAT_H

#include "run.h"

static rekindle_vocab *chat_vocab;
/* The tokens that the KV cache holds, as far as this program knows. */
static int32_t *cached;
static size_t n_cached, max_cached;
static rekindle_chat_message *messages;
static size_t n_messages;
static char *answer;
static size_t answer_len;
static atomic_int answering, stopped;

/* The message takes over `text`. */
static void add_message(const char *role, char *text, size_t len) {
    messages = grown(messages, (n_messages + 1) * sizeof *messages);
    rekindle_chat_message m = {.role = role, .role_len = strlen(role), .content = text, .content_len = len};
    messages[n_messages++] = m;
}

static void drop_message(void) { free((char *)(uintptr_t)messages[--n_messages].content); }

static char *copied(const char *text, size_t len) {
    char *copy = grown(NULL, len + 1);
    memcpy(copy, text, len);
    copy[len] = 0;
    return copy;
}

/* Ctrl-C stops the answer, not the program. */
static void *chat_watch(void *set) {
    int signal = 0;
    while (sigwait(set, &signal) == 0) {
        if (atomic_load(&answering)) {
            atomic_store(&stopped, 1);
            (void)rekindle_cancel(model);
        } else {
            fputs("\n(Ctrl-D ends)\n> ", stderr);
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
    rekindle_generate_params p = {.struct_size = sizeof p, .prompt_tokens = tokens + same, .n_prompt_tokens = n - same};
    p.max_tokens = o->n;
    rekindle_generate_result r = {.struct_size = sizeof r};
    answer_len = 0;
    atomic_store(&stopped, 0);
    atomic_store(&answering, 1);
    rekindle_status status = rekindle_generate(model, sampler, &p, on_answer, NULL, &r);
    atomic_store(&answering, 0);
    free(tokens);
    uint32_t length = 0;
    check(rekindle_seq_length(model, 0, &length), "chat");
    if (length < n_cached) n_cached = length;
    if (status == REKINDLE_OK && r.stop == REKINDLE_STOP_CONTEXT_FULL)
        fputs("\n(the context is full; --ctx makes it larger)", stderr);
    return status;
}

static void chat(const options *o) {
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
    if (o->system) add_message("system", copied(o->system, strlen(o->system)), strlen(o->system));
    int people = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t room = 0;
    for (;;) {
        if (people) fputs("> ", stderr);
        ssize_t got = getline(&line, &room, stdin);
        if (got < 0) break;
        while (got > 0 && (line[got - 1] == '\n' || line[got - 1] == '\r')) got--;
        if (got == 0) continue;
        add_message("user", copied(line, (size_t)got), (size_t)got);
        status = turn(o, &params, sampler);
        putchar('\n');
        fflush(stdout);
        if (status == REKINDLE_CONTEXT_FULL) fprintf(stderr, "rekindle: %s\n", rekindle_last_error());
        else if (status != REKINDLE_CANCELLED) check(status, "generate");
        /* A question without an answer would break the order of turns. */
        if (answer_len) add_message("assistant", copied(answer, answer_len), answer_len);
        else drop_message();
    }
    if (people) fputs("\n", stderr);
    rekindle_perf perf = {.struct_size = sizeof perf};
    check(rekindle_model_get_perf(model, &perf), "perf");
    fprintf(stderr, "prompts %llu tokens, %.1f per second; generated %llu tokens, %.1f per second\n",
            (unsigned long long)perf.n_prompt_tokens, rate(perf.n_prompt_tokens, perf.prompt_us),
            (unsigned long long)perf.n_decode_tokens, rate(perf.n_decode_tokens, perf.decode_us));
    while (n_messages) drop_message();
    free(messages), free(cached), free(answer), free(line), free(template_text);
    (void)rekindle_sampler_destroy(sampler);
    (void)rekindle_vocab_destroy(chat_vocab);
}

#endif
