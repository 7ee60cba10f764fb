/* The smallest host: plan, load, decode a text. cc minimal.c $(pkg-config --cflags --libs rekindle) */

#include <stdio.h>
#include <string.h>

#include "rekindle.h"

static int32_t print(void *user_data, int32_t token, const char *piece, size_t len) {
    (void)user_data;
    (void)token;
    fwrite(piece, 1, len, stdout);
    return 0; /* go on */
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "models/bible-5M-Q8_0.gguf", *prompt = "And God said";
    rekindle_context *context = NULL;
    rekindle_file *file = NULL;
    rekindle_plan_t *plan = NULL;
    rekindle_model *model = NULL;
    rekindle_generate_params generate = {.struct_size = sizeof generate, .max_tokens = 40};
    generate.prompt = prompt;
    generate.prompt_len = strlen(prompt);
    int ok = rekindle_context_create(REKINDLE_ABI_VERSION, NULL, &context) == REKINDLE_OK
          && rekindle_file_open(context, path, strlen(path), &file) == REKINDLE_OK
          && rekindle_plan(context, file, NULL, &plan) == REKINDLE_OK
          && rekindle_load(context, plan, NULL, &model) == REKINDLE_OK
          && rekindle_generate(model, NULL, &generate, print, NULL, NULL) == REKINDLE_OK;
    if (!ok) fprintf(stderr, "%s\n", rekindle_last_error());
    rekindle_model_destroy(model);
    rekindle_plan_destroy(plan);
    rekindle_file_close(file);
    rekindle_context_destroy(context);
    return !ok;
}
