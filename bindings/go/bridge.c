// Makes C callbacks of exported Go functions, which Go cannot do itself.

#include "rekindle.h"

int32_t rekindleGoPiece(void *user_data, int32_t token, char *piece, size_t len);
int32_t rekindleGoProgress(void *user_data, float done);

static int32_t on_piece(void *user_data, int32_t token, const char *piece, size_t len) {
    return rekindleGoPiece(user_data, token, (char *)piece, len);
}

rekindle_status go_generate(rekindle_model *m, rekindle_sampler *s, const rekindle_generate_params *p,
                            uintptr_t handle) {
    return rekindle_generate(m, s, p, on_piece, (void *)handle, NULL);
}

rekindle_status go_load(const rekindle_context *c, const rekindle_plan_t *p, rekindle_load_params *params,
                        uintptr_t handle, rekindle_model **m) {
    if (handle) {
        params->progress = rekindleGoProgress;
        params->progress_user_data = (void *)handle;
    }
    return rekindle_load(c, p, params, m);
}
