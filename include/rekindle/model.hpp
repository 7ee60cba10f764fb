/* rekindle for C++17: loaded models: batches, rows, sequences, saves. See rekindle.hpp. */
#ifndef REKINDLE_MODEL_HPP
#define REKINDLE_MODEL_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "plan.hpp"
#include "sampler.hpp"
#include "vocab.hpp"

namespace rekindle {

/// A row of floats that belongs to the model, valid until the next call that writes it.
struct row {
    const float *data;
    std::uint32_t size;
    const float *begin() const noexcept { return data; }
    const float *end() const noexcept { return data + size; }
    float operator[](std::size_t i) const noexcept { return data[i]; }
};

/// A loaded model.
class model : public detail::handle<rekindle_model, rekindle_model_destroy> {
  public:
    /// Gets the share done, 0 to 1; false cancels.
    using progress_fn = std::function<bool(float)>;
    /// Gets a token and the text that it completes; false stops.
    using piece_fn = std::function<bool(std::int32_t, std::string_view)>;

    /// `params` are all of rekindle_load's but the progress callback.
    model(const context &c, const plan &p, const progress_fn &progress = {},
          const rekindle_load_params &params = make<rekindle_load_params>())
        : handle(load(c, p, progress, params)) {}

    rekindle_model_info info() const {
        auto i = make<rekindle_model_info>();
        check(rekindle_model_get_info(get(), &i));
        return i;
    }
    /// The plan that it was loaded by: the one given, or the one that on_oom led to.
    plan loaded_plan() const {
        rekindle_plan_t *h = nullptr;
        check(rekindle_model_plan(get(), &h));
        return plan(h);
    }
    rekindle_memory memory(std::uint32_t device = 0) const {
        auto m = make<rekindle_memory>();
        check(rekindle_model_memory(get(), device, &m));
        return m;
    }
    rekindle_perf perf() const {
        auto p = make<rekindle_perf>();
        check(rekindle_model_get_perf(get(), &p));
        return p;
    }

    /// Sets the counters to zero, except for the time of the load.
    void reset_perf() { check(rekindle_model_reset_perf(get())); }

    void decode_batch(const rekindle_batch &batch) { check(rekindle_decode(get(), &batch)); }
    /// Tokens that continue sequence 0; the last one's logits are row 0.
    void decode(const std::vector<std::int32_t> &tokens) {
        auto b = make<rekindle_batch>();
        b.n_tokens = static_cast<std::uint32_t>(tokens.size());
        b.tokens = tokens.data();
        decode_batch(b);
    }
    /// Rows that the last batch left.
    std::uint32_t n_outputs() const {
        std::uint32_t n = 0;
        check(rekindle_n_outputs(get(), &n));
        return n;
    }
    row logits(std::uint32_t index = 0) const {
        row r{};
        check(rekindle_logits(get(), index, &r.data, &r.size));
        return r;
    }
    row embeddings(std::uint32_t index = 0) const {
        row r{};
        check(rekindle_embeddings(get(), index, &r.data, &r.size));
        return r;
    }
    /// The row of a sequence's text in the last batch, of models whose plan pools texts.
    std::vector<float> pooled(std::int32_t seq_id, bool normalize = false) const {
        std::vector<float> row(info().n_embd_out);
        std::size_t needed = 0;
        const std::uint32_t flags = normalize ? REKINDLE_POOLED_NORMALIZE : 0;
        check(rekindle_pooled(get(), seq_id, flags, row.data(), row.size(), &needed));
        row.resize(needed);
        return row;
    }

    void seq_remove(std::int32_t seq, std::int32_t p0 = -1, std::int32_t p1 = -1) {
        check(rekindle_seq_remove(get(), seq, p0, p1));
    }
    void seq_copy(std::int32_t src, std::int32_t dst, std::int32_t p0 = -1, std::int32_t p1 = -1) {
        check(rekindle_seq_copy(get(), src, dst, p0, p1));
    }
    void seq_keep(std::int32_t seq) { check(rekindle_seq_keep(get(), seq)); }
    /// A smaller model with the same vocabulary makes drafts for this one (plan it with REKINDLE_DRAFT_MODEL).
    void set_draft(const model &draft) { check(rekindle_model_set_draft(get(), draft.get())); }
    void end_draft() { check(rekindle_model_set_draft(get(), nullptr)); }
    /// Scales of the file's adapters for the tokens of an empty sequence.
    void seq_set_adapters(std::int32_t seq, const std::vector<float> &scales) {
        check(rekindle_seq_set_adapters(get(), seq, scales.data(), scales.size()));
    }
    void seq_shift(std::int32_t seq, std::int32_t p0, std::int32_t p1, std::int32_t delta) {
        check(rekindle_seq_shift(get(), seq, p0, p1, delta));
    }
    /// Cuts a sequence to the longest part of its first `length` positions from whose end it can go on, and gives the
    /// length of that.
    std::uint32_t seq_cut(std::int32_t seq, std::uint32_t length) {
        std::uint32_t reached = 0;
        check(rekindle_seq_cut(get(), seq, length, &reached));
        return reached;
    }
    /// Takes a checkpoint of a sequence at its end, to which `seq_cut` can go back.
    void seq_checkpoint(std::int32_t seq) { check(rekindle_seq_checkpoint(get(), seq)); }
    /// Leaves a sequence that the host has filled to generations.
    void seq_leave(std::int32_t seq) { check(rekindle_seq_leave(get(), seq)); }
    std::uint32_t seq_length(std::int32_t seq) const {
        std::uint32_t n = 0;
        check(rekindle_seq_length(get(), seq, &n));
        return n;
    }

    /// Tokens that the KV cache still has room for, of all sequences together.
    std::uint32_t n_free() const {
        std::uint32_t n = 0;
        check(rekindle_n_free(get(), &n));
        return n;
    }

    /// A sequence as bytes, which any plan of the same model can load.
    std::vector<std::uint8_t> seq_save(std::int32_t seq) {
        return detail::array<std::uint8_t>([&](std::uint8_t *b, std::size_t n, std::size_t *needed) {
            return rekindle_seq_save(get(), seq, b, n, needed);
        });
    }
    void seq_load(std::int32_t seq, const std::vector<std::uint8_t> &bytes) {
        check(rekindle_seq_load(get(), seq, bytes.data(), bytes.size()));
    }
    /// The same with a file.
    void seq_save_file(std::int32_t seq, std::string_view path, const progress_fn &progress = {}) {
        with_progress(progress, [&](rekindle_progress_fn f, void *user_data) {
            return rekindle_seq_save_file(get(), seq, path.data(), path.size(), f, user_data);
        });
    }
    void seq_load_file(std::int32_t seq, std::string_view path, const progress_fn &progress = {}) {
        with_progress(progress, [&](rekindle_progress_fn f, void *user_data) {
            return rekindle_seq_load_file(get(), seq, path.data(), path.size(), f, user_data);
        });
    }

    /// Ends the call that runs on this model; from any thread.
    void cancel() const { check(rekindle_cancel(get())); }

    rekindle_generate_result generate(sampler &s, std::string_view prompt, std::uint32_t max_tokens,
                                      const piece_fn &on_piece, std::uint32_t flags = 0, std::int32_t seq_id = 0) {
        auto p = make<rekindle_generate_params>();
        p.seq_id = seq_id;
        p.prompt = prompt.data();
        p.prompt_len = prompt.size();
        p.max_tokens = max_tokens;
        p.flags = flags;
        return generate(s, p, on_piece);
    }
    /// With all parameters: to go on behind max_tokens, give the last token as prompt_tokens.
    rekindle_generate_result generate(sampler &s, const rekindle_generate_params &params, const piece_fn &on_piece) {
        auto r = make<rekindle_generate_result>();
        struct state {
            const piece_fn &f;
            detail::carried c;
        } data{on_piece, {}};
        const rekindle_status status = rekindle_generate(
            get(), s.get(), &params,
            [](void *user_data, std::int32_t token, const char *piece, std::size_t len) -> std::int32_t {
                auto &d = *static_cast<state *>(user_data);
                return d.c.run([&] { return !d.f || d.f(token, std::string_view(piece, len)); });
            },
            &data, &r);
        data.c.rethrow();
        if (s.step()) s.step()->c.rethrow();
        check(status);
        return r;
    }

  private:
    template <class F> static void with_progress(const progress_fn &progress, F &&call) {
        struct state {
            const progress_fn &f;
            detail::carried c;
        } data{progress, {}};
        const rekindle_progress_fn on_progress = [](void *user_data, float done) -> std::int32_t {
            auto &d = *static_cast<state *>(user_data);
            return d.c.run([&] { return d.f(done); });
        };
        const rekindle_status status = call(progress ? on_progress : nullptr, &data);
        data.c.rethrow();
        check(status);
    }
    static rekindle_model *load(const context &c, const plan &p, const progress_fn &progress,
                                rekindle_load_params params) {
        rekindle_model *h = nullptr;
        with_progress(progress, [&](rekindle_progress_fn f, void *user_data) {
            params.progress = f;
            params.progress_user_data = user_data;
            return rekindle_load(c.get(), p.get(), &params, &h);
        });
        return h;
    }
};

inline vocab::vocab(const model &m) : handle([&] {
    rekindle_vocab *h = nullptr;
    check(rekindle_model_vocab(m.get(), &h));
    return h;
}()) {}

inline std::int32_t sampler::sample(const model &m, std::uint32_t row) {
    std::int32_t token = 0;
    sampled(rekindle_sampler_sample(get(), m.get(), row, &token));
    return token;
}

} // namespace rekindle

#endif
