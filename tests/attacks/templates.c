/* Chat templates that ask for much, each in a process of its own, on a short and on a long conversation.
 *
 *     templates CHAT
 *
 * Prints for each what became of it, how much memory it took beyond that of a plain template, and its time. Ends with 1
 * if one took more than 64 MiB and 8 times the conversation or 20 seconds, or if it ended by anything but a prompt or a
 * status of its own. */
#define _GNU_SOURCE
#include "rekindle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* C is the conversation's text, messages[0].content. */
static const char *const TEMPLATES[] = {
    "plain {{ messages[0].content[:10] }}",
    "{% set b=','*20000000 %}{{ b.split(',')|length }}",
    "{{ C.split('a')|length }}",
    "{{ C.split()|length }}",
    "{{ C.rsplit('a')|length }}",
    "{{ (C.replace('a', '\n')).splitlines()|length }}",
    "{{ C|replace('a', '\n')|lines|length }}",
    "{{ C|split('a')|length }}",
    "{{ C|list|length }}",
    "{{ C|list|sort|length }}",
    "{{ C|list|unique|list|length }}",
    "{{ C|reverse|length }}",
    "{{ C.replace('', C)|length }}",
    "{{ C.replace('a', 'b' * 1000)|length }}",
    "{{ C|replace('a', C)|length }}",
    "{{ C.join(C.split('a'))|length }}",
    "{{ C|join(C)|length }}",
    "{{ C.split('a')|join('x' * 1000)|length }}",
    "{{ '%1000000000d' % 5 }}",
    "{{ '{:>1000000000}'.format('x')|length }}",
    "{{ '%s%s%s%s'|format(C, C, C, C)|length }}",
    "{{ C.center(1000000000)|length }}",
    "{{ C|indent(1000000)|length }}",
    "{{ C|replace('a', '\n')|indent(1000)|length }}",
    "{{ C|tojson|length }}",
    "{{ C|list|tojson|length }}",
    "{{ [C, C, C, C, C, C, C, C]|tojson|length }}",
    "{{ C.upper()|title|lower|capitalize|length }}",
    "{{ C|urlencode|length }}",
    "{{ C|e|length }}",
    "{% set ns = namespace(x=C) %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[C]) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
    "{% macro m(n) %}{{ C }}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(30)|length }}",
    "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{{ m(m(m(m(m(m(m(m(m(m(m(m(C))))))))))))|length }}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{{ C }}{% endfor %}{% endfor %}",
    "{% for c in C %}{{ C[loop.index0:]|length }}{% endfor %}",
    "{{ range(100000)|map('string')|list|length }}",
    "{{ (C ~ C ~ C ~ C ~ C ~ C ~ C ~ C ~ C ~ C ~ C ~ C ~ C ~ C ~ C ~ C)|length }}",
    "{% set x %}{{ C }}{{ C }}{{ C }}{{ C }}{% endset %}{% set y %}{{ x }}{{ x }}{{ x }}{{ x }}{% endset %}{{ y|length }}",
    "{{ C * 1000000000 }}",
    "{{ (C[:17] * 1000000)|length }}",
    "{{ [0] * 1000000000 }}",
    "{{ dict(a=C, b=C)|items|list|length }}",
    "{{ C.strip(C)|length }}",
    "{{ C|trim(C)|length }}",
    "{{ C.count('a') }}{{ C.find('zz') }}",
    "{{ C|round }}",
    "{{ C[::-1]|length }}{{ C[-5:]|length }}",
    "{% for i in range(100000) %}{{ C[-3:-2] }}{% endfor %}",
    "{% set ns = namespace(x=[1, 2]) %}{% for i in range(90000) %}{% set ns.x = ns.x[:][:][:][:][:][:][:][:] %}{% endfor %}",
    "{{ ([[[[[[[[C[:9]|list]]]]]]]])|tojson(indent=64)|length }}",
};

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Renders in a child; its peak of memory in KiB, or -1 if it was killed. `code` is the call's status. */
static long render(const char *chat, const char *body, const char *conversation, int *code, double *time) {
  int ends[2];
  if (pipe(ends)) exit(2);
  double begun = seconds();
  pid_t pid = fork();
  if (pid < 0) exit(2);
  if (pid == 0) {
    static char text[4096], prompt[1 << 16];
    snprintf(text, sizeof text, "{%% set C = messages[0].content %%}%s", body);
    rekindle_context *context = NULL;
    rekindle_file *file = NULL;
    rekindle_vocab *vocab = NULL;
    rekindle_context_params cp = {.struct_size = sizeof cp, .devices = "cpu", .devices_len = 3};
    if (rekindle_context_create(REKINDLE_ABI_VERSION, &cp, &context) || rekindle_file_open(context, chat, strlen(chat), &file)
        || rekindle_vocab_create(file, &vocab))
      _exit(2);
    rekindle_chat_message message = {.role = "user", .role_len = 4, .content = conversation};
    message.content_len = strlen(conversation);
    rekindle_chat_params params = {.struct_size = sizeof params, .template_text = text};
    params.template_text_len = strlen(text);
    size_t needed = 0;
    int s = rekindle_chat_render(vocab, &message, 1, &params, prompt, sizeof prompt, &needed);
    if (write(ends[1], &s, sizeof s) != sizeof s) _exit(2);
    _exit(0);
  }
  close(ends[1]);
  int status = 0;
  struct rusage usage;
  wait4(pid, &status, 0, &usage);
  *time = seconds() - begun;
  *code = -1;
  int ok = WIFEXITED(status) && WEXITSTATUS(status) == 0 && read(ends[0], code, sizeof *code) == sizeof *code;
  close(ends[0]);
  return ok ? usage.ru_maxrss : -1;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const size_t long_len = 1 << 20;
  char *texts[2] = {strdup("a conversation 17"), malloc(long_len + 1)};
  for (size_t i = 0; i < long_len; i++) texts[1][i] = "a b\n"[i % 4];
  texts[1][long_len] = 0;
  int worst = 0;
  for (int t = 0; t < 2; t++) {
    int code = 0;
    double time = 0;
    long plain = render(argv[1], TEMPLATES[0], texts[t], &code, &time);
    if (plain < 0 || code != REKINDLE_OK) return 2;
    const long most = 64 * 1024 + 8 * (long)strlen(texts[t]) / 1024;
    for (size_t i = 1; i < sizeof TEMPLATES / sizeof *TEMPLATES; i++) {
      long peak = render(argv[1], TEMPLATES[i], texts[t], &code, &time);
      int bad = peak < 0 || peak - plain > most || code == REKINDLE_INTERNAL || time > 20;
      worst |= bad;
      printf("%s %7zu bytes: %-12s %6ld KiB %5.2f s  %s\n", bad ? "BAD" : "ok ", strlen(texts[t]),
             code < 0 ? "killed" : rekindle_status_name(code) + 9, peak < 0 ? -1 : peak - plain, time, TEMPLATES[i]);
    }
  }
  return worst;
}
