/* rekindle for C++17: the prompt for a conversation. See rekindle.hpp. */
#ifndef REKINDLE_CHAT_HPP
#define REKINDLE_CHAT_HPP

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vocab.hpp"

namespace rekindle {

/// One message of a conversation; an empty text is absent. Made of views, which must live until the call returns.
struct chat_message {
    std::string_view role, content;
    std::string_view name = {}, reasoning = {}, tool_call_id = {};
    /// JSON: an array of calls, an object of further fields.
    std::string_view tool_calls = {}, fields = {};
};

/// The things that a prompt is made with besides the messages. An empty text is absent.
struct chat_options {
    bool generation_prompt = true;
    /// JSON: an array of tools, an object of further variables.
    std::string_view tools = {}, variables = {};
    /// The name of one of the file's templates, or a Jinja template instead of them.
    std::string_view template_name = {}, template_text = {};
    /// Seconds since 1970 UTC; 0: now.
    std::int64_t now = 0;
};

/// The prompt for a conversation by the file's chat template; tokenise it with REKINDLE_TEXT_PARSE_SPECIAL alone.
inline std::string chat(const vocab &v, const std::vector<chat_message> &messages, const chat_options &options = {}) {
    using detail::pointer;
    std::vector<rekindle_chat_message> list;
    for (const auto &m : messages) {
        rekindle_chat_message c{};
        c.role = pointer(m.role), c.role_len = m.role.size();
        /* An assistant that only calls tools has no content; everybody else's may be empty. */
        c.content = m.content.empty() && !m.tool_calls.empty() ? nullptr : m.content.empty() ? "" : m.content.data();
        c.content_len = m.content.size();
        c.name = pointer(m.name), c.name_len = m.name.size();
        c.reasoning = pointer(m.reasoning), c.reasoning_len = m.reasoning.size();
        c.tool_call_id = pointer(m.tool_call_id), c.tool_call_id_len = m.tool_call_id.size();
        c.tool_calls = pointer(m.tool_calls), c.tool_calls_len = m.tool_calls.size();
        c.fields = pointer(m.fields), c.fields_len = m.fields.size();
        list.push_back(c);
    }
    auto p = make<rekindle_chat_params>();
    p.flags = options.generation_prompt ? REKINDLE_CHAT_GENERATION_PROMPT : 0;
    p.tools = pointer(options.tools), p.tools_len = options.tools.size();
    p.variables = pointer(options.variables), p.variables_len = options.variables.size();
    p.template_name = pointer(options.template_name), p.template_name_len = options.template_name.size();
    p.template_text = pointer(options.template_text), p.template_text_len = options.template_text.size();
    p.now = options.now;
    return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
        return rekindle_chat_render(v.get(), list.data(), list.size(), &p, b, n, needed);
    });
}

} // namespace rekindle

#endif
