// The parts of rekindle.hpp that the other hosts do not use. usage: whole MODEL

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "rekindle.hpp"

static int checks = 0;

static void expect(bool holds, const char *what, int line) {
    checks++;
    if (holds) return;
    std::printf("line %d: %s\n", line, what);
    std::exit(1);
}
#define EXPECT(condition) expect((condition), #condition, __LINE__)

/// The status that a call throws; 0 if it does not.
template <class F> rekindle_status status(F &&f) {
    try {
        f();
        return 0;
    } catch (const rekindle::error &e) {
        return e.status();
    }
}

static void keys(const rekindle::file &f) {
    EXPECT(f.key_integer("llama.block_count") == 6);
    EXPECT(f.key_number("llama.attention.layer_norm_rms_epsilon") < 0.001);
    EXPECT(f.key_info(f.find_key("tokenizer.ggml.tokens")).value_type == REKINDLE_VALUE_ARRAY);
    EXPECT(f.key("general.architecture") == "llama");
    EXPECT(status([&] { f.find_key("no.such.key"); }) == REKINDLE_NOT_FOUND);
    EXPECT(f.tensors().size() == f.info().n_tensors && f.tensors()[0].n_bytes > 0);
    EXPECT(f.adapters().empty());
    EXPECT(!rekindle::version().empty() && !rekindle::environment().empty());
}

static void texts(const rekindle::vocab &v) {
    const std::string text = "And “God” said";
    rekindle::stream s(v);
    std::string streamed;
    for (const auto token : v.tokenize(text, 0)) streamed += s.push(token);
    streamed += s.flush();
    EXPECT(streamed.find(text) != std::string::npos);
    EXPECT(v.token(2).is_eog && v.token(2).token_type == REKINDLE_TOKEN_CONTROL);
    EXPECT(v.chat_templates().empty());
    EXPECT(status([&] { static_cast<void>(v.chat_template()); }) == REKINDLE_NOT_FOUND);
    EXPECT(status([&] { static_cast<void>(v.token(-1)); }) == REKINDLE_INVALID_ARGUMENT);
}

static void host_steps(rekindle::model &m) {
    auto p = rekindle::make<rekindle_sampler_params>();
    const std::int32_t steps[] = {REKINDLE_STEP_TOP_K, REKINDLE_STEP_HOST};
    p.temperature = 1, p.top_k = 5, p.steps = steps, p.n_steps = 2;
    std::size_t seen = 0;
    rekindle::sampler s(p, [&](rekindle_candidate *c, std::size_t n) {
        seen = n;
        for (std::size_t i = 1; i < n; i++)
            if (c[i].token < c[0].token) std::swap(c[0], c[i]);
        return std::size_t{1};
    });
    m.seq_remove(-1);
    m.decode({5, 9, 23});
    const auto token = s.sample(m);
    EXPECT(seen == 5 && s.copy().sample(m) == token);

    // Both are whole after a change of places.
    rekindle::sampler other;
    other = std::move(s);
    EXPECT(other.sample(m) == token);
    s = std::move(other);
    EXPECT(s.sample(m) == token);

    // An exception of a step comes out of the call that samples, of a sampler and of a generation.
    const auto throwing = [&] {
        return rekindle::sampler(p, [](rekindle_candidate *, std::size_t) -> std::size_t {
            throw std::range_error("mine");
        });
    };
    const auto is_mine = [](auto &&call) {
        try {
            call();
            return false;
        } catch (const std::range_error &e) {
            return std::string(e.what()) == "mine";
        }
    };
    EXPECT(is_mine([&] { throwing().sample(m); }));
    const auto lent = [&] {
        const auto with = throwing();
        rekindle::generation_params g;
        g.prompt = "And God", g.with = &with;
        return rekindle::generation(m, g);
    };
    auto g = lent();
    EXPECT(is_mine([&] {
        while (rekindle::step(m, {&g}).n_going > 0) {
        }
    }));
}

static void saves(rekindle::model &m) {
    m.seq_remove(-1);
    m.decode({5, 9, 23});
    EXPECT(m.n_outputs() == 1 && m.n_free() == 61);
    const auto path = (std::filesystem::temp_directory_path() / "rekindle-whole.saved").string();
    float last = 0;
    m.seq_save_file(0, path, [&](float done) { last = done; return true; });
    EXPECT(last == 1.0f);
    m.seq_load_file(1, path);
    EXPECT(m.seq_length(1) == 3);
    EXPECT(status([&] { m.seq_save_file(0, path, [](float) { return false; }); }) == REKINDLE_CANCELLED);
    std::filesystem::remove(path);
    m.reset_perf();
    EXPECT(m.perf().n_prompt_tokens == 0);

    // On behind max_tokens.
    m.seq_remove(-1);
    rekindle::sampler greedy;
    std::vector<std::int32_t> whole, parts;
    const auto into = [](std::vector<std::int32_t> &to) {
        return [&to](std::int32_t token, std::string_view) { return to.push_back(token), true; };
    };
    m.generate(greedy, "And God said", 8, into(whole));
    m.seq_remove(-1);
    m.generate(greedy, "And God said", 4, into(parts));
    auto p = rekindle::make<rekindle_generate_params>();
    const std::int32_t next = parts.back();
    p.prompt_tokens = &next, p.n_prompt_tokens = 1, p.max_tokens = 4;
    m.generate(greedy, p, into(parts));
    EXPECT(whole == parts && whole.size() == 8);
}

static void replies(const rekindle::vocab &v) {
    rekindle::reply r(v);
    r.push("a text");
    r.push(2);
    r.finish();
    rekindle::reply_event e;
    std::string content;
    while (r.next(e) && e.kind != REKINDLE_REPLY_END) content += e.text;
    EXPECT(content == "a text" && e.kind == REKINDLE_REPLY_END && r.json().find("a text") != std::string::npos);
    EXPECT(!r.format().empty());
    EXPECT(status([&] { static_cast<void>(r.grammar()); }) == REKINDLE_INVALID_ARGUMENT);
}

int main(int argc, char **argv) try {
    if (argc < 2) return 2;
    int heard = 0;
    const rekindle::context c(
        "cpu", 2,
        [&](std::int32_t, const char *) {
            if (heard++ == 0) throw std::runtime_error("lost");
        },
        REKINDLE_LOG_DEBUG);
    const rekindle::file f(c, argv[1]);
    rekindle::plan_params params;
    params.n_ctx = 64, params.n_seq_max = 2;
    rekindle::model m(c, rekindle::plan(c, f, params));
    EXPECT(heard > 0);
    const rekindle::vocab v(m);
    keys(f);
    texts(v);
    host_steps(m);
    saves(m);
    replies(v);
    std::printf("%d checks passed\n", checks);
} catch (const rekindle::error &e) {
    std::printf("unexpected: %s\n", e.what());
    return 1;
}
