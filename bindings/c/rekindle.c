/* rekindle: the command-line tool, a host that knows nothing but rekindle.h.
 *
 *     rekindle COMMAND [MODEL] [options]
 *
 * Each command has a file of its own, which is included here. Below them are load.h (from a path to a loaded model),
 * terminal.h, parse.h with the tables of commands and options (table.h, options.h, help.h), and text.h. */

#define _DEFAULT_SOURCE
#define _POSIX_C_SOURCE 200809L

#include "bench.h"
#include "chat.h"
#include "devices.h"
#include "embed.h"
#include "info.h"
#include "perplexity.h"
#include "plan.h"
#include "run.h"

int main(int argc, char **argv) {
    static options o;
    const command *c = parse(&o, argc, argv);
    if (c->bit == HELP) {
        help(o.model);
        return 0;
    }
    if (c->bit == DEVICES) {
        devices(&o);
        return 0;
    }
    /* A bench opens the file once for each number of threads. */
    if (c->bit != BENCH) open_file(&o);
    switch (c->bit) {
    case PLAN: show_plan(&o); break;
    case RUN: run(&o); break;
    case CHAT: chat(&o); break;
    case EMBED: embed(&o); break;
    case PERPLEXITY: perplexity(&o); break;
    case BENCH: bench(&o); break;
    case TOKENIZE: tokenize(&o); break;
    default: info(&o);
    }
    destroy_all();
    free(o.argv);
    return 0;
}
