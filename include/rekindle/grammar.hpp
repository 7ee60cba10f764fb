/* rekindle for C++17: which tokens a text may go on with. See rekindle.hpp. */
#ifndef REKINDLE_GRAMMAR_HPP
#define REKINDLE_GRAMMAR_HPP

#include <cstdint>
#include <string_view>
#include <vector>

#include "vocab.hpp"

namespace rekindle {

/// Things that a grammar may have besides its text.
struct grammar_options {
    /// The rule to begin with; empty: the usual one.
    std::string_view start = {};
    /// With any of these the grammar waits until one of them was written.
    std::vector<std::string_view> trigger_texts = {};
    std::vector<std::int32_t> trigger_tokens = {};
    /// The grammar describes the text from the trigger on, not only the text behind it.
    bool from_trigger = false;
};

/// Says which tokens a text may go on with. `kind` is REKINDLE_GRAMMAR_….
class grammar : public detail::handle<rekindle_grammar, rekindle_grammar_destroy> {
  public:
    /// Takes a grammar over.
    explicit grammar(rekindle_grammar *owned) noexcept : handle(owned) {}
    grammar(const vocab &v, std::int32_t kind, std::string_view text, const grammar_options &options = {})
        : handle(create(v, kind, text, options)) {}

    /// Another one that stands where this one does.
    grammar copy() const {
        rekindle_grammar *h = nullptr;
        check_status(rekindle_grammar_copy(get(), &h));
        return grammar(h);
    }
    void reset() { check_status(rekindle_grammar_reset(get())); }
    /// Bit `id % 32` of word `id / 32` is 1 if token `id` may come next.
    std::vector<std::uint32_t> mask() {
        return detail::array<std::uint32_t>([&](std::uint32_t *words, std::size_t n, std::size_t *needed) {
            return rekindle_grammar_mask(get(), words, n, needed);
        });
    }
    void accept(std::int32_t token) { check_status(rekindle_grammar_accept(get(), token)); }
    /// The tokens that must come next; often none.
    std::vector<std::int32_t> forced() {
        return detail::array<std::int32_t>([&](std::int32_t *tokens, std::size_t n, std::size_t *needed) {
            return rekindle_grammar_forced(get(), tokens, n, needed);
        });
    }
    bool is_complete() {
        std::uint32_t complete = 0;
        check_status(rekindle_grammar_is_complete(get(), &complete));
        return complete != 0;
    }
    rekindle_grammar_verdict check(std::string_view text) const {
        auto v = make<rekindle_grammar_verdict>();
        check_status(rekindle_grammar_check(get(), text.data(), text.size(), &v));
        return v;
    }

  private:
    static void check_status(rekindle_status status) { rekindle::check(status); }
    static rekindle_grammar *create(const vocab &v, std::int32_t kind, std::string_view text,
                                    const grammar_options &options) {
        std::vector<rekindle_text> texts;
        for (const auto &t : options.trigger_texts) texts.push_back({t.data(), t.size()});
        auto p = make<rekindle_grammar_params>();
        p.flags = options.from_trigger ? REKINDLE_GRAMMAR_FROM_TRIGGER : 0;
        p.start = options.start.empty() ? nullptr : options.start.data(), p.start_len = options.start.size();
        p.trigger_texts = texts.data(), p.n_trigger_texts = static_cast<std::uint32_t>(texts.size());
        p.trigger_tokens = options.trigger_tokens.data();
        p.n_trigger_tokens = static_cast<std::uint32_t>(options.trigger_tokens.size());
        rekindle_grammar *h = nullptr;
        check_status(rekindle_grammar_create(v.get(), kind, text.data(), text.size(), &p, &h));
        return h;
    }
};

} // namespace rekindle

#endif
