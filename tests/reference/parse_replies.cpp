// Writes tests/fixtures/replies/*.json: what models may write with each chat template, and what llama.cpp's `common`
// makes of it. README.md beside this file says how it is built.
//
//     parse_replies TEMPLATES_FOLDER OUT_FOLDER NAME...
//
// The texts come from the template itself: it writes a conversation that ends with an assistant's message, and what
// stands behind the prompt is what a model would have written. Broken ones are made of them.

#include "chat.h"
#include "common.h"
#include "log.h"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

using json = common_json;

static const char * TOOLS = R"([
  {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city.", "parameters":
    {"type": "object", "properties": {"city": {"type": "string", "description": "The city."},
     "days": {"type": "integer", "description": "How many days."}}, "required": ["city"]}}},
  {"type": "function", "function": {"name": "note", "description": "Keeps notes.", "parameters":
    {"type": "object", "properties": {"text": {"type": "string", "description": "The text."},
     "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags."},
     "about": {"type": "object", "description": "More."},
     "loud": {"type": "boolean", "description": "Loud or not."}}, "required": ["text"]}}}
])";

struct wish {
    const char * name;
    const char * reasoning;
    const char * content;
    std::vector<std::pair<const char *, const char *>> calls;
};

static const std::vector<wish> WISHES = {
    { "answer", "", "The sky is blue.\n\nMostly {so}.", {} },
    { "thought and answer", "They ask about\nthe sky.", "The sky is blue.", {} },
    { "call", "", "", { { "get_weather", R"({"city": "Paris"})" } } },
    { "call with two arguments", "", "", { { "get_weather", R"({"city": "São Paulo", "days": 3})" } } },
    { "thought and call", "I need the weather.", "", { { "get_weather", R"({"city": "Paris"})" } } },
    { "content and call", "", "Let me look.", { { "get_weather", R"({"city": "Paris"})" } } },
    { "thought, content and call", "I need it.", "Let me look.", { { "get_weather", R"({"city": "Paris", "days": 1})" } } },
    { "two calls", "", "", { { "get_weather", R"({"city": "Paris"})" }, { "get_weather", R"({"city": "Rome", "days": 2})" } } },
    { "two tools", "Both.", "", { { "get_weather", R"({"city": "Paris"})" }, { "note", R"({"text": "rain"})" } } },
    { "rich arguments", "", "", { { "note",
        R"({"text": "line one\nline \"two\" {x} </b>", "tags": ["a", "b, c"], "about": {"n": [1, 2.5, null], "s": "t"}, "loud": true})" } } },
};

static common_chat_msg message(const char * role, const std::string & content) {
    common_chat_msg m;
    m.role    = role;
    m.content = content;
    return m;
}

static common_chat_templates_inputs inputs_for(bool with_tools) {
    common_chat_templates_inputs in;
    in.messages            = { message("user", "What is the weather like?") };
    in.parallel_tool_calls = true;
    in.reasoning_format    = COMMON_REASONING_FORMAT_DEEPSEEK;
    in.now                 = std::chrono::system_clock::from_time_t(1721997296);
    if (with_tools) {
        in.tools = common_chat_tools_parse_oaicompat(json::parse(TOOLS));
    }
    return in;
}

// What stands behind the prompt in a conversation. Where the prompt has opened the reasoning and the template leaves the
// past one out, a model would have closed it first.
static bool behind(const std::string & prompt, const std::string & all, std::string & text) {
    if (all.compare(0, prompt.size(), prompt) == 0) {
        text = all.substr(prompt.size());
        return true;
    }
    const size_t open = prompt.rfind("<think>");
    if (open == std::string::npos || all.compare(0, open, prompt, 0, open) != 0) {
        return false;
    }
    text = all.substr(open);
    if (text.compare(0, 7, "<think>") == 0) {
        text = text.substr(7);
    } else if (text.compare(0, 8, "</think>") != 0) {
        text = "\n</think>\n\n" + text;
    }
    return true;
}

// Calls in the form that models of some templates write, which do not write it themselves.
static std::string constructed(const std::string & name, const wish & w) {
    const bool lfm2 = name.find("LFM2") == 0, granite = name.find("ibm-granite-granite-3") == 0;
    const bool deepseek = name == "deepseek-ai-DeepSeek-R1-Distill-Llama-8B";
    if (w.calls.empty() || !(lfm2 || granite || deepseek)) {
        return "";
    }
    if (deepseek) {
        std::string out = std::string(w.reasoning) + "\n</think>\n\n" + w.content + "<｜tool▁calls▁begin｜>";
        for (const auto & call : w.calls) {
            out += std::string("<｜tool▁call▁begin｜>function<｜tool▁sep｜>") + call.first + "\n```json\n" + call.second +
                "\n```<｜tool▁call▁end｜>";
        }
        return out + "<｜tool▁calls▁end｜>";
    }
    std::string out = *w.reasoning ? std::string("<think>") + w.reasoning + "</think>" : "";
    out += std::string(w.content) + (lfm2 ? "<|tool_call_start|>[" : "<|tool_call|>[");
    for (size_t k = 0; k < w.calls.size(); k++) {
        out += k ? ", " : "";
        const json arguments = json::parse(w.calls[k].second);
        if (granite) {
            out += std::string("{\"name\": \"") + w.calls[k].first + "\", \"arguments\": " + w.calls[k].second + "}";
            continue;
        }
        out += std::string(w.calls[k].first) + "(";
        bool more = false;
        for (const auto & item : arguments.items()) {
            const std::string value = item.value().dump();
            out += (more ? ", " : "") + item.key() + "=" + (value == "true" ? "True" : value);
            more = true;
        }
        out += ")";
    }
    return out + (lfm2 ? "]<|tool_call_end|>" : "]");
}

static json parse(const common_chat_params & params, const std::string & text) {
    common_chat_parser_params how(params);
    how.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    if (!params.parser.empty()) {
        how.parser.load(params.parser);
    }
    json out = json::object();
    try {
        common_chat_msg m = common_chat_parse(text, false, how);
        out["reasoning"] = m.reasoning_content;
        out["content"]   = m.content;
        json calls       = json::array();
        for (const auto & c : m.tool_calls) {
            calls.push_back({ { "name", c.name }, { "arguments", c.arguments }, { "id", c.id } });
        }
        out["calls"] = calls;
    } catch (const std::exception &) {
        out["refused"] = true;
    }
    return out;
}

int main(int argc, char ** argv) {
    common_log_set_verbosity_thold(-1);
    const std::string folder = argv[1], target = argv[2];
    for (int i = 3; i < argc; i++) {
        const std::string  name = argv[i];
        std::ifstream      file(folder + "/" + name + ".jinja");
        std::ostringstream source;
        source << file.rdbuf();
        auto templates = common_chat_templates_init(nullptr, source.str(), "<s>", "</s>");
        json cases     = json::array();
        for (bool tools : { true, false }) {
            auto in     = inputs_for(tools);
            common_chat_params params;
            try {
                params = common_chat_templates_apply(templates.get(), in);
            } catch (const std::exception & e) {
                fprintf(stderr, "%s: %s\n", name.c_str(), e.what());
                continue;
            }
            const std::string prompt = params.prompt;
            auto add = [&](const std::string & what, const std::string & text, const wish * meant = nullptr) {
                json c     = json::object();
                c["name"]  = what;
                c["tools"] = tools;
                c["text"]  = text;
                c["want"]  = parse(params, text);
                // Where the reference refuses what its own template writes, the template's message tells what is right.
                if (c["want"].contains("refused") && meant) {
                    json calls = json::array();
                    for (const auto & call : meant->calls) {
                        calls.push_back({ { "name", call.first }, { "arguments", call.second } });
                    }
                    auto said  = [&](const char * what) { return text.find(what) == std::string::npos ? "" : what; };
                    c["meant"] = { { "reasoning", said(meant->reasoning) }, { "content", said(meant->content) }, { "calls", calls } };
                }
                cases.push_back(c);
            };
            auto written = [&](const wish & w) -> std::string {
                auto with                  = inputs_for(tools);
                with.add_generation_prompt = false;
                auto m                     = message("assistant", w.content);
                m.reasoning_content        = w.reasoning;
                for (size_t k = 0; k < w.calls.size(); k++) {
                    m.tool_calls.push_back({ w.calls[k].first, w.calls[k].second, "call0000" + std::to_string(k) });
                }
                with.messages.push_back(m);
                return common_chat_templates_apply(templates.get(), with).prompt;
            };
            // The end of the assistant's message.
            std::string end;
            try {
                auto all = written({ "", "", "ANSWER", {} });
                end      = all.substr(all.rfind("ANSWER") + 6);
            } catch (const std::exception &) {
            }
            for (const auto & w : WISHES) {
                if (!tools && !w.calls.empty()) {
                    continue;
                }
                std::string all;
                try {
                    all = written(w);
                } catch (const std::exception & e) {
                    fprintf(stderr, "%s, %s: %s\n", name.c_str(), w.name, e.what());
                    continue;
                }
                std::string text;
                if (!behind(prompt, all, text)) {
                    fprintf(stderr, "%s, %s: does not begin with the prompt\n", name.c_str(), w.name);
                    continue;
                }
                if (!end.empty() && text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0) {
                    text.resize(text.size() - end.size());
                }
                if (!w.calls.empty() && text.find(w.calls[0].first) == std::string::npos) {
                    text = constructed(name, w);
                    if (text.empty()) {
                        continue;
                    }
                }
                // A model's turn ends with one of these tokens, whatever the template writes behind it.
                for (const char * token : { "<|eom_id|>", "<|eot_id|>", "<|tool_response>", "<|im_end|>", "<SPECIAL_12>",
                                            "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "</s>", "<|end_of_text|>" }) {
                    text = text.substr(0, text.find(token));
                }
                add(w.name, text, &w);
                if (tools && w.calls.size() == 1 && std::string(w.name) == "call with two arguments" &&
                    text.find("get_weather") != std::string::npos && text.find("Paulo") != std::string::npos) {
                    add("cut in the arguments", text.substr(0, text.find("Paulo")));
                    add("cut in the name", text.substr(0, text.find("weather")));
                    std::string junk = text;
                    junk.insert(junk.find("get_"), "!? ");
                    add("junk before the name", junk);
                    add("text behind the call", text + "\nThat is all.");
                }
            }
        }
        if (cases.empty()) {
            continue;
        }
        std::ofstream out(target + "/" + name + ".json");
        const char * before = "[\n";
        for (const auto & c : cases) {
            out << before << c.dump();
            before = ",\n";
        }
        out << "\n]\n";
    }
    return 0;
}
