/* rekindle for C++17: texts that a model writes step by step, beside each other. See rekindle.hpp. */
#ifndef REKINDLE_GENERATION_HPP
#define REKINDLE_GENERATION_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar.hpp"
#include "model.hpp"

namespace rekindle {

/// The wishes of a generation.
struct generation_params {
    /// The prompt: a text, or tokens.
    std::string_view prompt = {};
    std::vector<std::int32_t> tokens = {};
    /// Copied; none: the most likely token each time.
    const sampler *with = nullptr;
    std::vector<std::string_view> stop_texts = {};
    std::uint32_t max_tokens = 0;
    /// REKINDLE_GENERATION_… added up.
    std::uint32_t flags = 0;
    /// Scales of the file's adapters.
    std::vector<float> adapter_scales = {};
    /// The texts that it may write; copied as it stands. It is of the model's vocabulary. None: all.
    const rekindle::grammar *grammar = nullptr;
};

/// One thing that a generation has to tell.
struct generation_event {
    /// -1 at the end.
    std::int32_t token = -1;
    std::string text;
    /// REKINDLE_STOP_… at the end, else 0.
    std::int32_t stop = 0;
};

/// A text that a model writes step by step, beside others (`step`).
class generation : public detail::handle<rekindle_generation, rekindle_generation_destroy> {
  public:
    generation(model &m, const generation_params &params)
        : handle(create(m, params)), step_(params.with ? params.with->step() : nullptr) {}

    generation(generation &&) noexcept = default;
    generation &operator=(generation &&other) noexcept {
        handle::operator=(std::move(other));
        step_.swap(other.step_);
        return *this;
    }

    /// Takes the next event into `event`; false if there is none now. An error of this generation alone is thrown once,
    /// in place of the end.
    bool next(generation_event &event) {
        auto e = make<rekindle_event>();
        check(rekindle_generation_next(get(), &e));
        if (e.kind == REKINDLE_EVENT_NONE) return false;
        event.token = e.token;
        event.text.assign(e.text ? e.text : "", e.text_len);
        event.stop = e.stop;
        return true;
    }
    rekindle_generation_info info() const {
        auto i = make<rekindle_generation_info>();
        check(rekindle_generation_get_info(get(), &i));
        return i;
    }
    /// The probabilities of the last token that `next` gave, if its sampler keeps some.
    sampler::logprobs last_logprobs(std::int32_t distribution = REKINDLE_LOGPROBS_MODEL) const {
        sampler::logprobs l{};
        std::size_t n = 0;
        check(rekindle_generation_logprobs(get(), distribution, &l.chosen, nullptr, 0, &n));
        l.best.resize(n);
        if (n) check(rekindle_generation_logprobs(get(), distribution, nullptr, l.best.data(), n, nullptr));
        return l;
    }
    /// Ends it at the next step; from any thread.
    void cancel() const { check(rekindle_generation_cancel(get())); }
    /// The step that it shares with its sampler, or nothing.
    const std::shared_ptr<detail::host_step> &step() const noexcept { return step_; }

  private:
    static rekindle_generation *create(model &m, const generation_params &params) {
        auto p = make<rekindle_generation_params>();
        std::vector<const char *> texts;
        std::vector<std::size_t> lens;
        for (const auto &t : params.stop_texts) {
            texts.push_back(t.data());
            lens.push_back(t.size());
        }
        p.flags = params.flags;
        p.prompt = params.prompt.data();
        p.prompt_len = params.prompt.size();
        p.prompt_tokens = params.tokens.data();
        p.n_prompt_tokens = params.tokens.size();
        p.sampler = params.with ? params.with->get() : nullptr;
        p.stop_texts = texts.data();
        p.stop_text_lens = lens.data();
        p.n_stop_texts = static_cast<std::uint32_t>(texts.size());
        p.max_tokens = params.max_tokens;
        p.adapter_scales = params.adapter_scales.data();
        p.n_adapter_scales = params.adapter_scales.size();
        p.grammar = params.grammar ? params.grammar->get() : nullptr;
        rekindle_generation *h = nullptr;
        check(rekindle_generation_create(m.get(), &p, &h));
        return h;
    }

    std::shared_ptr<detail::host_step> step_;
};

/// Computes one micro-batch for generations of a model.
inline rekindle_step_result step(model &m, const std::vector<generation *> &generations) {
    std::vector<rekindle_generation *> handles;
    for (const auto *g : generations) handles.push_back(g->get());
    auto r = make<rekindle_step_result>();
    const rekindle_status status = rekindle_step(m.get(), handles.data(), handles.size(), &r);
    for (const auto *g : generations)
        if (g->step()) g->step()->c.rethrow();
    check(status);
    return r;
}

} // namespace rekindle

#endif
