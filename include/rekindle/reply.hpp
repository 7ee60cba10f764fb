/* rekindle for C++17: replies read back: reasoning, content and calls of tools. See rekindle.hpp. */
#ifndef REKINDLE_REPLY_HPP
#define REKINDLE_REPLY_HPP

#include <cstdint>
#include <string>
#include <string_view>

#include "grammar.hpp"

namespace rekindle {

/// The things that a reply's prompt was rendered with. Views, which must live until the call returns; an empty one is
/// absent.
struct reply_options {
    /// JSON: an array of tools, an object of further variables.
    std::string_view tools = {}, variables = {};
    /// The name of one of the file's templates, or a Jinja template instead of them.
    std::string_view template_name = {}, template_text = {};
    /// auto, none, required, or a function's JSON.
    std::string_view tool_choice = {};
    /// The prompt, whose end tells if the reply begins within reasoning.
    std::string_view prompt = {};
    /// Makes the ids of calls; 0: others each time.
    std::uint64_t seed = 0;
};

/// One thing that a reply says.
struct reply_event {
    /// REKINDLE_REPLY_…
    std::int32_t kind = REKINDLE_REPLY_NONE;
    /// The number of the call, and its id at its beginning.
    std::uint32_t index = 0;
    std::string id;
    /// At a call's end: its arguments are not whole.
    bool broken = false;
    /// A piece of reasoning, content or arguments, or the name of the tool that a call begins with.
    std::string text;
};

/// Tells reasoning, content and calls of tools apart in what a model writes.
class reply : public detail::handle<rekindle_reply, rekindle_reply_destroy> {
  public:
    explicit reply(const vocab &v, const reply_options &options = {}) : handle(create(v, options)) {}

    /// Reads a piece of text that shows control tokens.
    void push(std::string_view text) { check(rekindle_reply_push(get(), text.data(), text.size())); }
    void push(std::int32_t token) { check(rekindle_reply_push_token(get(), token)); }
    /// Nothing follows.
    void finish() { check(rekindle_reply_finish(get())); }

    /// Takes the next event into `event`; false if there is none now.
    bool next(reply_event &event) {
        auto e = make<rekindle_reply_event>();
        check(rekindle_reply_next(get(), &e));
        event.kind = e.kind;
        event.index = e.index;
        event.broken = e.broken != 0;
        event.id.assign(e.id ? e.id : "", e.id_len);
        event.text.assign(e.text ? e.text : "", e.text_len);
        return e.kind != REKINDLE_REPLY_NONE;
    }
    /// All that was read so far, as a message in OpenAI's form.
    std::string json() const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_reply_json(get(), b, n, needed);
        });
    }
    /// The name of the format that the template told.
    std::string format() const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_reply_format(get(), b, n, needed);
        });
    }
    /// The grammar that holds the model to calls as it writes them; with `one` to one call at most.
    rekindle::grammar grammar(bool one = false) const {
        rekindle_grammar *h = nullptr;
        check(rekindle_reply_grammar(get(), one ? REKINDLE_REPLY_ONE_CALL : 0, &h));
        return rekindle::grammar(h);
    }

  private:
    static rekindle_reply *create(const vocab &v, const reply_options &o) {
        using detail::pointer;
        auto p = make<rekindle_reply_params>();
        p.tools = pointer(o.tools), p.tools_len = o.tools.size();
        p.variables = pointer(o.variables), p.variables_len = o.variables.size();
        p.template_name = pointer(o.template_name), p.template_name_len = o.template_name.size();
        p.template_text = pointer(o.template_text), p.template_text_len = o.template_text.size();
        p.tool_choice = pointer(o.tool_choice), p.tool_choice_len = o.tool_choice.size();
        p.prompt = pointer(o.prompt), p.prompt_len = o.prompt.size();
        p.seed = o.seed;
        rekindle_reply *h = nullptr;
        check(rekindle_reply_create(v.get(), &p, &h));
        return h;
    }
};

} // namespace rekindle

#endif
