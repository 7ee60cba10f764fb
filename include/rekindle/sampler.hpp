/* rekindle for C++17: a token chosen from a row of logits. See rekindle.hpp. */
#ifndef REKINDLE_SAMPLER_HPP
#define REKINDLE_SAMPLER_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base.hpp"

namespace rekindle {

class model;

namespace detail {

/// A step of the host's own, which samplers, their copies and generations share.
struct host_step {
    std::function<std::size_t(rekindle_candidate *, std::size_t)> f;
    carried c;

    static std::int32_t call(void *user_data, rekindle_candidate *candidates, std::size_t *n) {
        auto &step = *static_cast<host_step *>(user_data);
        return step.c.run([&] {
            *n = step.f(candidates, *n);
            return true;
        });
    }
};

} // namespace detail

/// Chooses tokens; greedy by default.
class sampler : public detail::handle<rekindle_sampler, rekindle_sampler_destroy> {
  public:
    explicit sampler(const rekindle_sampler_params &params = make<rekindle_sampler_params>())
        : handle(create(params)) {}

    /// With a step of the host's own, for REKINDLE_STEP_HOST: it gets the candidates and their number, may change
    /// logits and order, and gives how many of the first ones stay. What it throws comes out of the call that
    /// samples.
    using candidates_fn = std::function<std::size_t(rekindle_candidate *, std::size_t)>;
    sampler(rekindle_sampler_params params, candidates_fn step)
        : step_(std::make_shared<detail::host_step>(detail::host_step{std::move(step), {}})) {
        params.host_step = detail::host_step::call;
        params.host_data = step_.get();
        static_cast<handle &>(*this) = handle(create(params));
    }

    sampler(sampler &&) noexcept = default;
    sampler &operator=(sampler &&other) noexcept {
        handle::operator=(std::move(other));
        step_.swap(other.step_);
        return *this;
    }

    std::int32_t sample(const std::vector<float> &logits) {
        std::int32_t token = 0;
        sampled(rekindle_sampler_sample_logits(get(), logits.data(), logits.size(), &token));
        return token;
    }
    std::int32_t sample(const model &m, std::uint32_t row = 0);
    void accept(std::int32_t token) { check(rekindle_sampler_accept(get(), token)); }
    void reset() { check(rekindle_sampler_reset(get())); }

    /// A sampler in the same state; both go on alone.
    sampler copy() const {
        rekindle_sampler *h = nullptr;
        check(rekindle_sampler_copy(get(), &h));
        return sampler(h, step_);
    }

    /// The probabilities of the last sampling: those of the chosen token and of the most likely ones.
    struct logprobs {
        rekindle_logprob chosen;
        std::vector<rekindle_logprob> best;
    };
    logprobs last_logprobs(std::int32_t distribution = REKINDLE_LOGPROBS_MODEL) const {
        logprobs l{};
        std::size_t n = 0;
        check(rekindle_sampler_logprobs(get(), distribution, &l.chosen, nullptr, 0, &n));
        l.best.resize(n);
        if (n) check(rekindle_sampler_logprobs(get(), distribution, nullptr, l.best.data(), n, nullptr));
        return l;
    }

    /// The step that it shares, or nothing.
    const std::shared_ptr<detail::host_step> &step() const noexcept { return step_; }

  private:
    sampler(rekindle_sampler *h, std::shared_ptr<detail::host_step> step) : handle(h), step_(std::move(step)) {}
    void sampled(rekindle_status status) {
        if (step_) step_->c.rethrow();
        check(status);
    }
    static rekindle_sampler *create(const rekindle_sampler_params &params) {
        rekindle_sampler *h = nullptr;
        check(rekindle_sampler_create(&params, &h));
        return h;
    }

    std::shared_ptr<detail::host_step> step_;
};

} // namespace rekindle

#endif
