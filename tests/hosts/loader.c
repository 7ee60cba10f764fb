/* A host without librekindle at link time. loader MODEL [LIBRARY] */

#include <stdio.h>
#include <string.h>

#include "rekindle_dl.h"

static int32_t print(void *user_data, int32_t token, const char *piece, size_t len) {
    (void)user_data;
    (void)token;
    fwrite(piece, 1, len, stdout);
    return 0;
}

int main(int argc, char **argv) {
    char why[256];
    const rekindle_api_table *rk = rekindle_dl_open(argc > 2 ? argv[2] : NULL, why, sizeof why);
    rekindle_context *context = NULL;
    rekindle_file *file = NULL;
    rekindle_plan_t *plan = NULL;
    rekindle_model *model = NULL;
    rekindle_generate_params p;
    int ok;
    if (!rk || argc < 2) {
        fprintf(stderr, "%s\n", rk ? "usage: loader MODEL [LIBRARY]" : why);
        return 3;
    }
    memset(&p, 0, sizeof p);
    p.struct_size = sizeof p;
    p.prompt = "And God said";
    p.prompt_len = strlen(p.prompt);
    p.max_tokens = 10;
    ok = rk->context_create(REKINDLE_ABI_VERSION, NULL, &context) == REKINDLE_OK
      && rk->file_open(context, argv[1], strlen(argv[1]), &file) == REKINDLE_OK
      && rk->plan(context, file, NULL, &plan) == REKINDLE_OK && rk->load(context, plan, NULL, &model) == REKINDLE_OK
      && rk->generate(model, NULL, &p, print, NULL, NULL) == REKINDLE_OK;
    if (!ok) fprintf(stderr, "%s\n", rk->last_error());
    (void)rk->model_destroy(model);
    (void)rk->plan_destroy(plan);
    (void)rk->file_close(file);
    (void)rk->context_destroy(context);
    return !ok;
}
