// The C++ header on the shipped model: what it returns, what it throws.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <type_traits>

#include "rekindle.hpp"

static int checks = 0;

#define CHECK(x)                                                                                                              \
    do {                                                                                                                      \
        checks++;                                                                                                             \
        if (!(x)) {                                                                                                           \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                                      \
            std::exit(1);                                                                                                     \
        }                                                                                                                     \
    } while (0)

template <class F> static rekindle_status status_of(F &&f, const char *subject = nullptr) {
    try {
        f();
    } catch (const rekindle::error &e) {
        CHECK(e.what()[0] != '\0');
        CHECK(!subject || std::strstr(e.detail().subject, subject) || std::strstr(e.what(), subject));
        return e.status();
    }
    return REKINDLE_OK;
}

static_assert(!std::is_copy_constructible<rekindle::model>::value, "handles have one owner");
static_assert(std::is_nothrow_move_constructible<rekindle::model>::value, "handles can be moved");

int main(int, char **argv) {
    using namespace rekindle;
    context c("cpu", 2);
    CHECK(c.info().n_threads == 2 && c.info().n_devices >= 1 && c.device(0).kind == REKINDLE_DEVICE_CPU);
    CHECK(status_of([] { context bad("gpu:everything"); }, "devices") == REKINDLE_INVALID_ARGUMENT);
    CHECK(status_of([&] { file missing(c, "/no/such/model.gguf"); }, "/no/such/model.gguf") == REKINDLE_IO);

    file f(c, argv[1]);
    CHECK(std::strcmp(f.info().architecture, "llama") == 0 && f.key("general.architecture") == "llama");
    CHECK(status_of([&] { f.key("no.such.key"); }, "no.such.key") == REKINDLE_NOT_FOUND);

    auto params = make<rekindle_plan_params>();
    params.n_ctx = 64;
    params.n_seq_max = 2;
    plan p(c, f, params);
    CHECK(p.fits() && p.summary().n_ctx == 64 && p.json().find("\"fits\": true") != std::string::npos);
    params.reserve_bytes = UINT64_MAX / 2;
    plan none(c, f, params);
    CHECK(!none.fits() && none.device(0).shortfall > 0);
    CHECK(status_of([&] { model m(c, none); }) == REKINDLE_NOT_FIT);
    CHECK(status_of([&] { model m(c, p, [](float) { return false; }); }) == REKINDLE_CANCELLED);

    float last = -1;
    model m(c, p, [&](float done) {
        CHECK(done >= last);
        last = done;
        return true;
    });
    CHECK(last == 1.0f);
    const auto planned = p.device(0);
    const auto real = m.memory();
    CHECK(real.kv == planned.kv && real.compute == planned.compute && real.mapped == planned.mapped && real.weights == planned.weights);

    vocab v(m);
    const auto tokens = v.tokenize("And God said");
    CHECK(tokens.size() > 2 && tokens[0] == v.info().bos && v.detokenize(tokens) == "And God said");
    CHECK(v.tokenize("", 0).empty());

    m.decode(tokens);
    const row logits = m.logits();
    CHECK(logits.size == m.info().n_vocab && m.embeddings().size == m.info().n_embd);
    sampler greedy;
    const auto best = static_cast<std::int32_t>(std::distance(logits.begin(), std::max_element(logits.begin(), logits.end())));
    CHECK(greedy.sample(m) == best && greedy.sample(std::vector<float>(logits.begin(), logits.end())) == best);
    CHECK(status_of([&] { m.decode({-1}); }, "tokens") == REKINDLE_INVALID_ARGUMENT);
    CHECK(m.seq_length(0) == tokens.size());
    m.seq_copy(0, 1);
    m.seq_remove(0);
    CHECK(m.seq_length(0) == 0 && m.seq_length(1) == tokens.size());
    m.seq_remove(-1);

    std::string text;
    auto r = m.generate(greedy, "And God said", 10, [&](std::int32_t, std::string_view piece) {
        text += piece;
        return true;
    });
    CHECK(r.n_generated == 10 && r.stop == REKINDLE_STOP_LIMIT && !text.empty() && m.perf().n_decode_tokens == 9);
    m.seq_remove(-1);
    r = m.generate(greedy, "And God said", 10, [](std::int32_t, std::string_view) { return false; });
    CHECK(r.n_generated == 1 && r.stop == REKINDLE_STOP_CALLBACK);

    // A callback's own exception comes out; a call that writes the model from within is refused; the model goes on.
    m.seq_remove(-1);
    rekindle_status inside = REKINDLE_OK;
    try {
        m.generate(greedy, "And God said", 10, [&](std::int32_t, std::string_view) -> bool {
            inside = status_of([&] { m.seq_remove(0); });
            throw std::string("mine");
        });
        CHECK(false);
    } catch (const std::string &s) {
        CHECK(s == "mine" && inside == REKINDLE_BUSY);
    }
    m.seq_remove(-1);
    CHECK(status_of([&] {
              m.generate(greedy, "And God said", 10, [&](std::int32_t, std::string_view) {
                  m.cancel();
                  return true;
              });
          }) == REKINDLE_CANCELLED);
    chat_options options;
    options.template_text = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}{% if add_generation_prompt %}go{% endif %}";
    CHECK(chat(vocab(m), {{"user", "Hi"}, {"assistant", ""}}, options) == "user=Hi;assistant=;go");
    CHECK(status_of([&] { static_cast<void>(chat(vocab(m), {{"user", "Hi"}})); }) == REKINDLE_NOT_FOUND);
    model moved = std::move(m);
    CHECK(!m && moved && moved.info().n_ctx == 64);
    CHECK(status_of([&] { m.decode(tokens); }) == REKINDLE_BAD_HANDLE);
    std::printf("C++: %d checks passed\n", checks);
}
