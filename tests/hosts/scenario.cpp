// The scenario of tests/hosts/scenario.c in C++. It prints the same bytes. usage: scenario MODEL

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "rekindle.hpp"

using rekindle::generation;
using rekindle::generation_params;
using rekindle::model;

namespace {

using ull = unsigned long long;

/// Prints an error with its particulars.
template <class F> void fails(const char *what, F &&call) {
    try {
        call();
    } catch (const rekindle::error &e) {
        const auto &d = e.detail();
        std::printf("%s: %s: %s [%s] device %d, needed %llu, available %llu\n", what, rekindle_status_name(e.status()),
                    e.what(), d.subject, static_cast<int>(d.device), static_cast<ull>(d.needed),
                    static_cast<ull>(d.available));
        return;
    }
    std::printf("unexpected: %s works\n", what);
}

rekindle::plan make_plan(const rekindle::context &c, const rekindle::file &f, std::uint32_t n_ctx, std::uint32_t seqs) {
    rekindle::plan_params p;
    p.n_ctx = n_ctx, p.n_seq_max = seqs;
    return rekindle::plan(c, f, p);
}

void plans(const rekindle::file &file) {
    const rekindle::context dies("k80:2", 2);
    const rekindle::plan plan = make_plan(dies, file, 512, 2);
    const auto s = plan.summary();
    std::printf("plan: fits %d, n_ctx %u, n_batch %u, %s, %s\n", s.fits != 0, s.n_ctx, s.n_batch, s.architecture,
                s.name);
    for (const auto &d : plan.devices())
        std::printf("device %u: layers %u, weights %llu, kv %llu, compute %llu\n", d.device, d.n_layers,
                    static_cast<ull>(d.weights), static_cast<ull>(d.kv), static_cast<ull>(d.compute));
    fails("load", [&] { model(dies, plan); });
}

/// The likeliest token of a row; prints the bits of its logit.
std::int32_t likeliest(const model &m, std::uint32_t index) {
    const auto row = m.logits(index);
    std::uint32_t most = 0, bits = 0;
    for (std::uint32_t i = 1; i < row.size; i++) most = row[i] > row[most] ? i : most;
    std::memcpy(&bits, &row.data[most], sizeof bits);
    std::printf("row %u: token %u, logit %08x\n", index, most, bits);
    return static_cast<std::int32_t>(most);
}

void lengths(const model &m, const char *what) {
    std::printf("%s: lengths", what);
    for (std::int32_t seq = 0; seq < 4; seq++) std::printf(" %u", m.seq_length(seq));
    std::printf(", free %u\n", m.n_free());
}

void decode(model &m, const std::vector<std::int32_t> &tokens, const std::vector<std::int32_t> &seqs) {
    auto b = rekindle::make<rekindle_batch>();
    b.n_tokens = static_cast<std::uint32_t>(tokens.size());
    b.tokens = tokens.data();
    b.seq_ids = seqs.data();
    m.decode_batch(b);
}

void sequences(model &m, const rekindle::vocab &v) {
    auto tokens = v.tokenize("In the beginning God");
    const auto second = v.tokenize("And God said");
    std::vector<std::int32_t> seqs(tokens.size(), 0);
    tokens.insert(tokens.end(), second.begin(), second.end());
    seqs.resize(tokens.size(), 1);
    decode(m, tokens, seqs);
    const auto first = likeliest(m, 0), other = likeliest(m, 1);
    decode(m, {first, other}, {0, 1});
    likeliest(m, 0), likeliest(m, 1);
    lengths(m, "decoded");
    m.seq_copy(0, 2);
    m.seq_cut(2, 3);
    m.seq_remove(1, 0, 2);
    m.seq_shift(1, 2, -1, -2);
    lengths(m, "changed");
    decode(m, {first}, {2});
    likeliest(m, 0);
}

void save(model &m) {
    auto bytes = m.seq_save(0);
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const auto b : bytes) hash = (hash ^ b) * 0x100000001b3u;
    std::printf("saved: %zu bytes, %016llx\n", bytes.size(), static_cast<ull>(hash));
    m.seq_load(3, bytes);
    lengths(m, "loaded");
    bytes.back() ^= 1;
    fails("damaged", [&] { m.seq_load(3, bytes); });
    m.seq_remove(-1);
}

/// Writes all that a generation has told.
void tell(generation &g) {
    rekindle::generation_event e;
    while (g.next(e)) {
        if (e.stop == 0)
            std::printf("%d:%s|", e.token, e.text.c_str());
        else
            std::printf("%s stop %d\n", e.text.c_str(), e.stop);
    }
}

void generations(model &m) {
    auto sp = rekindle::make<rekindle_sampler_params>();
    sp.temperature = 0.9f, sp.top_k = 40, sp.seed = 7;
    const rekindle::sampler sampler(sp);
    std::vector<generation> all;
    for (const char *prompt : {"And God said", "In the beginning", "And God said unto"}) {
        generation_params p;
        p.prompt = prompt, p.max_tokens = 12;
        if (all.empty()) p.stop_texts = {"the LORD"};
        if (all.size() == 1) p.with = &sampler;
        all.emplace_back(m, p);
    }
    for (int steps = 0;; steps++) {
        if (steps == 4) all[2].cancel();
        if (rekindle::step(m, {&all[0], &all[1], &all[2]}).n_going == 0) break;
    }
    for (auto &g : all) tell(g);
}

void grammars(model &m, const rekindle::vocab &v) {
    rekindle::grammar grammar(v, REKINDLE_GRAMMAR_REGEX, " the (day|night) of [0-9]{2}");
    unsigned allowed = 0;
    for (const auto word : grammar.mask())
        for (int bit = 0; bit < 32; bit++) allowed += word >> bit & 1;
    std::printf("grammar: %u tokens may come first\n", allowed);
    generation_params p;
    p.prompt = "And God made", p.grammar = &grammar;
    generation g(m, p);
    while (rekindle::step(m, {&g}).n_going > 0) {
    }
    tell(g);
    for (const char *text : {" the day of 12", " the da", " the month"}) {
        const auto verdict = grammar.check(text);
        std::printf("check: %u at %llu\n", verdict.verdict, static_cast<ull>(verdict.at));
    }
    fails("grammar", [&] { rekindle::grammar(v, REKINDLE_GRAMMAR_REGEX, "(day"); });
}

void cancel(model &m) {
    int left = 3;
    rekindle::sampler greedy;
    fails("cancel", [&] {
        m.generate(greedy, "And God said", 0, [&](std::int32_t token, std::string_view piece) {
            std::printf("piece %d:%.*s\n", token, static_cast<int>(piece.size()), piece.data());
            if (--left == 0) m.cancel();
            return true;
        });
    });
    lengths(m, "cancelled");
}

void errors(const rekindle::context &c, model &m) {
    fails("decode", [&] { m.decode({5, 99999}); });
    fails("decode", [&] { m.decode(std::vector<std::int32_t>(128)); });
    fails("logits", [&] { m.logits(7); });
    fails("open", [&] { rekindle::file(c, "/no/such/model.gguf"); });
    auto sp = rekindle::make<rekindle_sampler_params>();
    sp.top_p = 2;
    fails("sampler", [&] { rekindle::sampler wrong(sp); });
    fails("length", [&] { m.seq_remove(9, 0, -1); });
}

} // namespace

int main(int argc, char **argv) try {
    if (argc != 2) return 2;
    const rekindle::context context("cpu", 2);
    const rekindle::file file(context, argv[1]);
    plans(file);
    model m(context, make_plan(context, file, 128, 4));
    const auto memory = m.memory(0);
    std::printf("memory: mapped %llu, kv %llu\n", static_cast<ull>(memory.mapped), static_cast<ull>(memory.kv));
    const rekindle::vocab vocab(m);
    sequences(m, vocab);
    save(m);
    generations(m);
    grammars(m, vocab);
    cancel(m);
    errors(context, m);
} catch (const rekindle::error &e) {
    std::printf("unexpected: %s\n", e.what());
    return 1;
}
