/* rekindle for C++17: text becomes tokens and tokens become text. See rekindle.hpp. */
#ifndef REKINDLE_VOCAB_HPP
#define REKINDLE_VOCAB_HPP

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "file.hpp"

namespace rekindle {

class model;

/// A vocabulary with its tokeniser.
class vocab : public detail::handle<rekindle_vocab, rekindle_vocab_destroy> {
  public:
    explicit vocab(const file &f) : handle(from(f)) {}
    explicit vocab(const model &m);

    rekindle_vocab_info info() const {
        auto i = make<rekindle_vocab_info>();
        check(rekindle_vocab_get_info(get(), &i));
        return i;
    }
    std::vector<std::int32_t> tokenize(std::string_view text, std::uint32_t flags = REKINDLE_TEXT_SPECIAL) const {
        return detail::array<std::int32_t>([&](std::int32_t *tokens, std::size_t n, std::size_t *needed) {
            return rekindle_tokenize(get(), text.data(), text.size(), flags, tokens, n, needed);
        });
    }
    std::string detokenize(const std::vector<std::int32_t> &tokens, std::uint32_t flags = REKINDLE_TEXT_SPECIAL) const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_detokenize(get(), tokens.data(), tokens.size(), flags, b, n, needed);
        });
    }
    std::string piece(std::int32_t token, std::uint32_t flags = 0) const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_token_piece(get(), token, flags, b, n, needed);
        });
    }

    /// A token's use, its score, and if it ends a generation.
    rekindle_token_info token(std::int32_t id) const {
        auto t = make<rekindle_token_info>();
        check(rekindle_vocab_get_token(get(), id, &t));
        return t;
    }
    /// The text of the file's chat template of that name; none: the one without a name.
    std::string chat_template(std::string_view name = {}) const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_chat_template(get(), detail::pointer(name), name.size(), b, n, needed);
        });
    }
    /// The names of the file's chat templates, a default one first.
    std::vector<std::string> chat_templates() const {
        return detail::texts([&](std::uint32_t i, char *b, std::size_t n, std::size_t *needed) {
            return rekindle_chat_template_name(get(), i, b, n, needed);
        });
    }

  private:
    static rekindle_vocab *from(const file &f) {
        rekindle_vocab *h = nullptr;
        check(rekindle_vocab_create(f.get(), &h));
        return h;
    }
};

/// Makes text from tokens as they come: whole characters only. `flags` is REKINDLE_TEXT_PARSE_SPECIAL or 0.
class stream : public detail::handle<rekindle_stream, rekindle_stream_destroy> {
  public:
    explicit stream(const vocab &v, std::uint32_t flags = 0) : handle(create(v, flags)) {}

    /// Adds a token and gives the characters that are complete by now, often none.
    std::string push(std::int32_t token) {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_stream_push(get(), token, b, n, needed);
        });
    }
    /// Gives the rest and makes the stream empty.
    std::string flush() {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_stream_flush(get(), b, n, needed);
        });
    }

  private:
    static rekindle_stream *create(const vocab &v, std::uint32_t flags) {
        rekindle_stream *h = nullptr;
        check(rekindle_stream_create(v.get(), flags, &h));
        return h;
    }
};

} // namespace rekindle

#endif
