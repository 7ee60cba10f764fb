// The C++ header on the shipped model and on a header-only file: what it returns, what it throws.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <type_traits>

#include "rekindle.hpp"

static int checks = 0;

#define CHECK(x)                                                                                    \
    do {                                                                                            \
        checks++;                                                                                   \
        if (!(x)) {                                                                                 \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                            \
            std::exit(1);                                                                           \
        }                                                                                           \
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

using namespace rekindle;

static bool same_text(const std::vector<std::string> &parts, const std::string &whole) {
    const auto there = [&](const std::string &s) { return whole.find(s) != std::string::npos; };
    return std::all_of(parts.begin(), parts.end(), there);
}

/// Plans for two described dies, of any file whose architecture is known.
static void plans_for_dies(const char *path) {
    context c("k80:2", 2);
    file f(c, path);
    const auto devices = c.devices();
    CHECK(devices.size() == 3 && devices[2].kind == REKINDLE_DEVICE_CPU && !devices[2].takes_layers);
    CHECK(devices[0].kind == REKINDLE_DEVICE_CUDA && devices[0].described && devices[0].takes_layers);
    CHECK(devices[0].compute_major == 3 && devices[0].board == devices[1].board);
    CHECK(devices[0].driver_bytes > 0 && devices[0].flops > 0 && devices[0].host_bandwidth > 0);

    plan_params params;
    params.n_ctx = 512;
    plan p(c, f, params);
    const auto s = p.summary();
    CHECK(p.fits() && s.n_devices == 3 && s.n_ctx == 512 && s.n_ctx_source == REKINDLE_SOURCE_CALLER);
    CHECK(s.type_k == REKINDLE_KV_F16 && s.objective == REKINDLE_OBJECTIVE_LATENCY);
    CHECK(std::strcmp(s.estimator, "measured") == 0);
    CHECK(s.predicted_decode > 0 && s.predicted_decode_full > 0 && s.predicted_prompt > 0 && s.predicted_pipelined > 0);
    CHECK(s.tightest_device >= 0 && s.tightest_bytes > 0 && s.n_cpu_layers == 0);
    const auto places = p.devices();
    CHECK(places.size() == 3 && places[0].n_layers + places[1].n_layers == s.n_layer && places[2].n_layers == 0);
    const auto layers = p.layers();
    CHECK(layers.size() == s.n_layer + 1 && layers.back().layer == s.n_layer);
    CHECK(layers[0].weights > 0 && layers[0].reason[0]);
    CHECK(layers[0].experts_device == layers[0].device);
    CHECK(p.layer(0).kv == layers[0].kv && status_of([&] { p.layer(s.n_layer + 1); }) == REKINDLE_NOT_FOUND);
    // Remedies are planned when they are asked for, here or by the text.
    CHECK(s.n_remedies == 0 && p.summary().n_remedies == 0);
    CHECK(p.reasons().size() == s.n_reasons && s.n_reasons > 0 && same_text(p.reasons(), p.text()));
    const auto remedies = p.remedies();
    CHECK(remedies.size() == p.summary().n_remedies && same_text(remedies, p.text()));
    CHECK(status_of([&] { model m(c, p); }, "Tesla K80") == REKINDLE_DEVICE);

    params.objective = objective::throughput;
    params.n_seq_max = 2;
    params.type_k = params.type_v = kv_type::q8_0;
    params.limits = {{0, 1u << 20, 1}, {2}};
    plan limited(c, f, params);
    CHECK(limited.fits() && limited.device(0).n_layers <= 1);
    CHECK(limited.summary().objective == REKINDLE_OBJECTIVE_THROUGHPUT);
    CHECK(limited.summary().type_v == REKINDLE_KV_Q8_0 && limited.summary().n_seq_max == 2);
    params.limits = {{0, 0, 0}};
    CHECK(plan(c, f, params).device(0).n_layers == 0 && plan(c, f, params).device(1).n_layers == s.n_layer);
    params.limits = {{0}, {0}};
    CHECK(status_of([&] { plan twice(c, f, params); }, "limits") == REKINDLE_INVALID_ARGUMENT);
    params.limits = {{0, 0, 0}, {1, 0, 0}};
    CHECK(status_of([&] { plan nowhere(c, f, params); }, "limits") == REKINDLE_INVALID_ARGUMENT);

    plan_params formulas;
    formulas.n_ctx = 512;
    formulas.estimator = estimator::family;
    formulas.margin = 2;
    plan family(c, f, formulas);
    formulas.margin = 4;
    CHECK(std::strcmp(family.summary().estimator, "family") == 0 && family.summary().predicted_decode <= 0);
    CHECK(family.device(0).compute < plan(c, f, formulas).device(0).compute);
    const auto table = p.compare(family);
    CHECK(table.find("measured") != std::string::npos && table.find("family") != std::string::npos);
    formulas.margin = 0.5;
    CHECK(status_of([&] { plan small(c, f, formulas); }, "margin") == REKINDLE_INVALID_ARGUMENT);

    // One that does not fit can be read, and is compared like any other.
    plan_params much;
    much.n_ctx = 1u << 30;
    plan none(c, f, much);
    CHECK(!none.fits() && !none.remedies().empty() && none.text().find("DOES NOT FIT") != std::string::npos);
    CHECK(none.devices().size() == 3 && !none.reasons().empty());
    CHECK(none.compare(p).find("DOES NOT FIT") != std::string::npos);

    const auto context_tokens = ask(c, f, question::largest_context);
    CHECK(context_tokens && *context_tokens >= 512 && *context_tokens <= s.n_ctx_train);
    params = {};
    params.n_ctx = 512;
    CHECK(ask(c, f, question::fewest_devices, params).value_or(0) == 1);
    CHECK(ask(c, f, question::largest_batch, params).value_or(0) == 512);
    CHECK(ask(c, f, question::best_kv_type, params) == static_cast<std::uint32_t>(kv_type::f16));
    CHECK(!ask(c, f, question::fewest_devices, much));
    CHECK(status_of([&] { ask(c, f, static_cast<question>(99)); }, "question") == REKINDLE_INVALID_ARGUMENT);

    plan moved = std::move(p);
    CHECK(status_of([&] { p.summary(); }) == REKINDLE_BAD_HANDLE);
    CHECK(status_of([&] { p.layers(); }) == REKINDLE_BAD_HANDLE);
    CHECK(status_of([&] { moved.compare(p); }) == REKINDLE_BAD_HANDLE && moved.fits());
}

/// A generation that keeps to a grammar. Where that leaves no choice, nothing is sampled; with probabilities it is.
static void kept_to_a_grammar(model &m, const vocab &v) {
    const grammar g(v, REKINDLE_GRAMMAR_REGEX, "the generation of the heaven: (day|night)");
    auto sp = make<rekindle_sampler_params>();
    sp.n_logprobs = 2;
    const sampler tells(sp);
    std::string texts[2];
    std::uint32_t steps[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        generation_params wish;
        wish.prompt = "And God said";
        wish.grammar = &g;
        wish.with = i ? &tells : nullptr;
        wish.max_tokens = 40;
        generation one(m, wish);
        do steps[i]++;
        while (step(m, {&one}).n_going > 0);
        CHECK((one.info().n_forced > 0) == (i == 0) && one.info().stop == REKINDLE_STOP_EOG);
        for (generation_event e; one.next(e);) {
            texts[i] += e.text;
            if (i && e.token >= 0) CHECK(one.last_logprobs().chosen.token == e.token);
        }
        CHECK(g.check(texts[i]).verdict == REKINDLE_VERDICT_COMPLETE);
    }
    CHECK(texts[0] == texts[1] && steps[0] < steps[1]);
}

/// A row for each text of a batch.
static void rows_of_texts(const context &c, const file &f) {
    plan_params params;
    params.n_ctx = 64;
    params.n_seq_max = 2;
    params.pooling = pooling::mean;
    model m(c, plan(c, f, params));
    const vocab v(m);
    std::vector<std::int32_t> tokens, seqs;
    const char *texts[] = {"And God said", "In the beginning"};
    for (std::int32_t seq = 0; seq < 2; seq++) {
        for (const auto token : v.tokenize(texts[seq])) tokens.push_back(token), seqs.push_back(seq);
    }
    auto b = make<rekindle_batch>();
    b.n_tokens = static_cast<std::uint32_t>(tokens.size());
    b.tokens = tokens.data();
    b.seq_ids = seqs.data();
    m.decode_batch(b);
    const auto length = [](const std::vector<float> &row) {
        float sum = 0;
        for (const float x : row) sum += x * x;
        return std::sqrt(sum);
    };
    const auto first = m.pooled(0), second = m.pooled(1), unit = m.pooled(0, true);
    CHECK(first.size() == m.info().n_embd_out && second.size() == first.size() && first != second);
    CHECK(std::fabs(length(unit) - 1) < 1e-5f && std::fabs(unit[3] * length(first) - first[3]) < 1e-4f);
    CHECK(status_of([&] { static_cast<void>(m.pooled(2)); }, "seq_id") == REKINDLE_INVALID_ARGUMENT);
    CHECK(status_of([&] { static_cast<void>(m.logits()); }, "pooling") == REKINDLE_UNSUPPORTED);
}

/// A control vector and a second model, on the shipped one.
static void adapted_and_drafted(const context &c, const file &f, const std::string &adapter) {
    const file with(c, f, {adapter});
    CHECK(with.adapter(0).kind == REKINDLE_ADAPTER_CONTROL_VECTOR && with.adapter(0).n_bytes > 0);
    CHECK(status_of([&] { static_cast<void>(f.adapter(0)); }) == REKINDLE_NOT_FOUND);
    plan_params params;
    params.n_ctx = 64, params.n_seq_max = 2, params.n_draft = 3, params.draft_source = REKINDLE_DRAFT_MODEL;
    model m(c, plan(c, with, params));
    const std::vector<std::int32_t> tokens = {5, 9, 23};
    const auto logits = [&](const std::vector<float> &scales) {
        m.seq_remove(0);
        m.seq_set_adapters(0, scales);
        m.decode(tokens);
        const auto row = m.logits(0);
        return std::vector<float>(row.begin(), row.end());
    };
    const auto plain = logits({}), steered = logits({3});
    CHECK(plain != steered && logits({0}) == plain);
    CHECK(status_of([&] { m.seq_set_adapters(0, {3}); }, "seq_id") == REKINDLE_INVALID_ARGUMENT);
    generation_params g;
    g.tokens = tokens, g.max_tokens = 4, g.adapter_scales = {3, 1};
    CHECK(status_of([&] { generation too_many(m, g); }, "adapter_scales") == REKINDLE_INVALID_ARGUMENT);
    m.seq_remove(0);
    CHECK(status_of([&] { m.set_draft(m); }, "draft") == REKINDLE_INVALID_ARGUMENT);
    plan_params second;
    second.n_ctx = 64;
    m.set_draft(model(c, plan(c, f, second)));
    m.end_draft();
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) plans_for_dies(argv[i]);

    context c("cpu", 2);
    CHECK(c.info().n_threads == 2 && c.info().n_devices >= 1 && c.device(0).kind == REKINDLE_DEVICE_CPU);
    CHECK(status_of([] { context bad("gpu:everything"); }, "devices") == REKINDLE_INVALID_ARGUMENT);
    CHECK(status_of([&] { file missing(c, "/no/such/model.gguf"); }, "/no/such/model.gguf") == REKINDLE_IO);

    file f(c, argv[1]);
    CHECK(std::strcmp(f.info().architecture, "llama") == 0 && f.key("general.architecture") == "llama");
    CHECK(status_of([&] { f.key("no.such.key"); }, "no.such.key") == REKINDLE_NOT_FOUND);

    plan_params params;
    params.n_ctx = 64;
    params.n_seq_max = 2;
    plan p(c, f, params);
    CHECK(p.fits() && p.summary().n_ctx == 64 && p.json().find("\"fits\": true") != std::string::npos);
    params.reserve_bytes = UINT64_MAX / 2;
    plan none(c, f, params);
    CHECK(!none.fits() && none.device(0).shortfall > 0);
    CHECK(status_of([&] { model m(c, none); }) == REKINDLE_NOT_FIT);
    CHECK(status_of([&] { model m(c, p, [](float) { return false; }); }) == REKINDLE_CANCELLED);
    auto load_params = make<rekindle_load_params>();
    load_params.on_oom = 7;
    CHECK(status_of([&] { model m(c, p, {}, load_params); }, "on_oom is 7") == REKINDLE_INVALID_ARGUMENT);

    float last = -1;
    model m(c, p, [&](float done) {
        CHECK(done >= last);
        last = done;
        return true;
    });
    CHECK(last == 1.0f);
    CHECK(m.loaded_plan().json() == p.json());
    const auto planned = p.device(0);
    const auto real = m.memory();
    CHECK(real.kv == planned.kv && real.compute == planned.compute);
    CHECK(real.mapped == planned.mapped && real.weights == planned.weights);

    vocab v(m);
    const auto tokens = v.tokenize("And God said");
    CHECK(tokens.size() > 2 && tokens[0] == v.info().bos && v.detokenize(tokens) == "And God said");
    CHECK(v.tokenize("", 0).empty());

    m.decode(tokens);
    const row logits = m.logits();
    CHECK(logits.size == m.info().n_vocab && m.embeddings().size == m.info().n_embd);
    sampler greedy;
    const auto highest = std::max_element(logits.begin(), logits.end());
    const auto best = static_cast<std::int32_t>(std::distance(logits.begin(), highest));
    CHECK(greedy.sample(m) == best && greedy.sample(std::vector<float>(logits.begin(), logits.end())) == best);
    auto sp = make<rekindle_sampler_params>();
    sp.n_logprobs = 3;
    sampler tells(sp);
    CHECK(tells.sample(m) == best);
    const auto copy = tells.copy();
    const auto l = copy.last_logprobs();
    CHECK(l.chosen.token == best && l.best.size() == 3 && l.best[0].token == best && l.chosen.logprob < 0);
    CHECK(copy.last_logprobs(REKINDLE_LOGPROBS_DRAWN).best.size() == 1);
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
    // Two that are stepped together; the second goes on from what the first has read.
    m.seq_remove(-1);
    generation_params wish;
    wish.prompt = "And God said";
    wish.max_tokens = 5;
    generation one(m, wish), two(m, wish);
    std::string texts[2];
    std::int32_t ends[2] = {0, 0};
    while (step(m, {&one, &two}).n_going > 0) {}
    for (int i = 0; i < 2; i++) {
        generation_event e;
        while ((i ? two : one).next(e)) texts[i] += e.text, ends[i] = e.stop;
    }
    CHECK(texts[0] == texts[1] && !texts[0].empty() && ends[0] == REKINDLE_STOP_LIMIT && ends[1] == ends[0]);
    wish.stop_texts = {texts[0].substr(1, 2)};
    generation stopped(m, wish);
    while (step(m, {&stopped}).n_going > 0) {}
    std::string before;
    for (generation_event e; stopped.next(e); ends[0] = e.stop) before += e.text;
    CHECK(before == texts[0].substr(0, 1) && ends[0] == REKINDLE_STOP_TEXT && stopped.info().n_reused > 0);
    chat_options options;
    options.template_text = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"
                            "{% if add_generation_prompt %}go{% endif %}";
    CHECK(chat(vocab(m), {{"user", "Hi"}, {"assistant", ""}}, options) == "user=Hi;assistant=;go");
    CHECK(status_of([&] { static_cast<void>(chat(vocab(m), {{"user", "Hi"}})); }) == REKINDLE_NOT_FOUND);
    grammar g(vocab(m), REKINDLE_GRAMMAR_GBNF, "root ::= \"Amen\" | \"Selah\"");
    CHECK(g.check("Sela").verdict == REKINDLE_VERDICT_PREFIX && g.check("Selfish").at == 3);
    CHECK(g.mask().size() == (m.info().n_vocab + 31) / 32 && g.forced().empty() && !g.is_complete());
    // The first token that is allowed, until the text is complete.
    grammar written = g.copy();
    while (!written.is_complete()) {
        const auto mask = written.mask();
        std::int32_t token = 0;
        while (!(mask[token / 32] >> token % 32 & 1)) token++;
        written.accept(token);
    }
    CHECK(!g.is_complete());
    CHECK(status_of([&] { g.accept(-1); }) == REKINDLE_INVALID_ARGUMENT);
    grammar_options lazy;
    lazy.start = "end", lazy.trigger_texts = {"And"};
    grammar waits(vocab(m), REKINDLE_GRAMMAR_LARK, "end: \"!\"", lazy);
    CHECK(waits.is_complete() && waits.check("!").verdict == REKINDLE_VERDICT_COMPLETE);
    CHECK(v.info().fim_prefix == -1 && v.info().fim_separator == -1 && v.info().n_tokens == 2048);
    const vocab fills(file(c, argv[1], R"({"tokenizer.ggml.fim_pre_token_id": 31, "tokenizer.ggml.fim_suf_token_id": 32,
        "tokenizer.ggml.fim_mid_token_id": 33, "tokenizer.ggml.fim_pad_token_id": 34,
        "tokenizer.ggml.fim_rep_token_id": 35, "tokenizer.ggml.fim_sep_token_id": 36})"));
    const auto fim = fills.info();
    CHECK(fim.fim_prefix == 31 && fim.fim_suffix == 32 && fim.fim_middle == 33 && fim.fim_pad == 34);
    CHECK(fim.fim_repository == 35 && fim.fim_separator == 36);
    CHECK(status_of([&] { plan_params places; places.placements = "blk=GPU"; plan(c, f, places); }, "placements") ==
          REKINDLE_INVALID_ARGUMENT);
    kept_to_a_grammar(m, v);
    rows_of_texts(c, f);
    const std::string models = argv[1];
    adapted_and_drafted(c, f, models.substr(0, models.rfind("models/")) + "tests/fixtures/adapters/bible-steer.gguf");
    model moved = std::move(m);
    CHECK(!m && moved && moved.info().n_ctx == 64);
    CHECK(status_of([&] { m.decode(tokens); }) == REKINDLE_BAD_HANDLE);
    std::printf("C++: %d checks passed\n", checks);
}
