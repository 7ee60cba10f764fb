/* rekindle for C++17: the wishes for a plan. See rekindle.hpp. */
#ifndef REKINDLE_PLAN_PARAMS_HPP
#define REKINDLE_PLAN_PARAMS_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base.hpp"

namespace rekindle {

/// The rows that a batch leaves: logits, or rows of tokens (none) or of texts.
enum class pooling : std::int32_t {
    automatic = REKINDLE_POOLING_DEFAULT,
    file = REKINDLE_POOLING_FILE,
    none = REKINDLE_POOLING_NONE,
    mean = REKINDLE_POOLING_MEAN,
    cls = REKINDLE_POOLING_CLS,
    last = REKINDLE_POOLING_LAST,
    rank = REKINDLE_POOLING_RANK,
};

/// The aim of a plan.
enum class objective : std::int32_t {
    latency = REKINDLE_OBJECTIVE_LATENCY,
    throughput = REKINDLE_OBJECTIVE_THROUGHPUT,
    headroom = REKINDLE_OBJECTIVE_HEADROOM,
};

/// The source of a plan's bytes.
enum class estimator : std::int32_t {
    automatic = REKINDLE_ESTIMATOR_AUTO,
    measured = REKINDLE_ESTIMATOR_MEASURED,
    family = REKINDLE_ESTIMATOR_FAMILY,
};

/// Types of the KV cache.
enum class kv_type : std::int32_t {
    automatic = REKINDLE_KV_DEFAULT,
    f32 = REKINDLE_KV_F32,
    f16 = REKINDLE_KV_F16,
    q8_0 = REKINDLE_KV_Q8_0,
    q4_0 = REKINDLE_KV_Q4_0,
};

/// The CPU's way to the weights.
enum class weights : std::int32_t {
    automatic = REKINDLE_WEIGHTS_AUTO,
    mapped = REKINDLE_WEIGHTS_MAPPED,
    copied = REKINDLE_WEIGHTS_COPIED,
};

/// The questions that `ask` answers.
enum class question : std::int32_t {
    largest_context = REKINDLE_ASK_LARGEST_CONTEXT,
    largest_batch = REKINDLE_ASK_LARGEST_BATCH,
    fewest_devices = REKINDLE_ASK_FEWEST_DEVICES,
    best_kv_type = REKINDLE_ASK_BEST_KV_TYPE,
};

/// A limit on the use of one device. A field that is left out limits nothing.
struct device_limit {
    std::uint32_t device = 0;
    /// Bytes to leave free on it.
    std::uint64_t reserve_bytes = 0;
    /// Layers at most; 0: none at all.
    std::optional<std::uint32_t> max_layers = std::nullopt;
};

/// The wishes for a plan, as in rekindle_plan_params. The library decides whatever is not set.
struct plan_params {
    std::uint32_t n_ctx = 0;
    std::uint32_t n_seq_max = 0;
    std::uint32_t n_outputs_max = 0;
    std::uint32_t n_batch = 0;
    std::uint32_t n_ubatch = 0;
    kv_type type_k = kv_type::automatic;
    kv_type type_v = kv_type::automatic;
    rekindle::weights weights = rekindle::weights::automatic;
    rekindle::objective objective = rekindle::objective::latency;
    /// Bytes to leave free on each device.
    std::uint64_t reserve_bytes = 0;
    rekindle::estimator estimator = rekindle::estimator::automatic;
    std::vector<device_limit> limits = {};
    /// The family estimator's factor on compute buffers; 0: its own.
    double margin = 0;
    /// Checkpoints of recurrent states, of all sequences together; 0: none. Not set: the library's choice.
    std::optional<std::uint32_t> n_checkpoints = std::nullopt;
    /// Tokens that are guessed at most before the model checks them; 0: none.
    std::uint32_t n_draft = 0;
    /// The rows that a batch leaves.
    rekindle::pooling pooling = rekindle::pooling::automatic;
    /// REKINDLE_DRAFT_…: who guesses.
    std::uint32_t draft_source = REKINDLE_DRAFT_LAYER;
    /// Places of tensors by patterns of their names, as in rekindle_plan_params.
    std::string placements = {};
    /// Dies that compute each layer together, 2 to 4; 0: a layer is one device's; REKINDLE_GROUP_ANY: the planner
    /// chooses.
    std::uint32_t n_group = 0;
};

namespace detail {

/// Calls `f` with the parameters as C has them, valid during the call.
template <class F> rekindle_status with_params(const plan_params &params, F &&f) {
    std::vector<rekindle_device_limit> limits;
    for (const device_limit &limit : params.limits) {
        rekindle_device_limit l{};
        l.device = limit.device;
        l.flags = limit.max_layers == 0u ? REKINDLE_LIMIT_EXCLUDE : 0;
        l.max_layers = limit.max_layers.value_or(0);
        l.reserve_bytes = limit.reserve_bytes;
        limits.push_back(l);
    }
    auto p = make<rekindle_plan_params>();
    p.n_ctx = params.n_ctx;
    p.n_seq_max = params.n_seq_max;
    p.n_outputs_max = params.n_outputs_max;
    p.n_batch = params.n_batch;
    p.n_ubatch = params.n_ubatch;
    p.type_k = static_cast<std::int32_t>(params.type_k);
    p.type_v = static_cast<std::int32_t>(params.type_v);
    p.weights = static_cast<std::int32_t>(params.weights);
    p.objective = static_cast<std::int32_t>(params.objective);
    p.reserve_bytes = params.reserve_bytes;
    p.estimator = static_cast<std::int32_t>(params.estimator);
    p.n_limits = static_cast<std::uint32_t>(limits.size());
    p.limits = limits.data();
    p.margin = params.margin;
    p.n_checkpoints = params.n_checkpoints == 0u ? REKINDLE_CHECKPOINTS_NONE : params.n_checkpoints.value_or(0);
    p.n_draft = params.n_draft;
    p.pooling = static_cast<std::int32_t>(params.pooling);
    p.draft_source = params.draft_source;
    p.placements = params.placements.data();
    p.placements_len = params.placements.size();
    p.n_group = params.n_group;
    return f(&p);
}

} // namespace detail

} // namespace rekindle

#endif
