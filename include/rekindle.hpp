/* rekindle for C++17: owning handles, exceptions, strings and vectors. Header-only, over rekindle.h.
 *
 * Every object owns its handle, can be moved and cannot be copied. A call that fails throws rekindle::error. Objects
 * keep alive in the library what they need, so the order of destruction does not matter. Threads may do what rekindle.h
 * says; a second call that writes a model throws an error with REKINDLE_BUSY. An exception that is thrown in a callback
 * ends the call and comes out of it unchanged.
 */
#ifndef REKINDLE_HPP
#define REKINDLE_HPP

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rekindle.h"

namespace rekindle {

/// A status other than REKINDLE_OK, with the library's message and its particulars.
class error : public std::runtime_error {
  public:
    error(rekindle_status status, const char *message) : std::runtime_error(message), status_(status) {
        detail_.struct_size = sizeof detail_;
        if (rekindle_last_error_detail(&detail_) != REKINDLE_OK) detail_.status = status;
    }
    rekindle_status status() const noexcept { return status_; }
    const rekindle_error_detail &detail() const noexcept { return detail_; }

  private:
    rekindle_status status_;
    rekindle_error_detail detail_{};
};

inline void check(rekindle_status status) {
    if (status != REKINDLE_OK) throw error(status, rekindle_last_error());
}

/// A struct with its size set and everything else default.
template <class T> T make() {
    T value{};
    value.struct_size = sizeof value;
    return value;
}

namespace detail {

/// Owns a handle; `Destroy` ends it.
template <class H, rekindle_status (*Destroy)(H *)> class handle {
  public:
    handle() = default;
    explicit handle(H *h) noexcept : h_(h) {}
    handle(handle &&other) noexcept : h_(std::exchange(other.h_, nullptr)) {}
    handle &operator=(handle &&other) noexcept {
        std::swap(h_, other.h_);
        return *this;
    }
    handle(const handle &) = delete;
    handle &operator=(const handle &) = delete;
    ~handle() { static_cast<void>(Destroy(h_)); }

    /// The handle, for calls of rekindle.h; stays owned here.
    H *get() const noexcept { return h_; }
    explicit operator bool() const noexcept { return h_ != nullptr; }

  private:
    H *h_ = nullptr;
};

/// A text of unknown length: asks, then reads.
template <class F> std::string text(F &&call) {
    std::size_t needed = 0;
    check(call(nullptr, 0, &needed));
    std::string out(needed, '\0');
    check(call(out.data(), out.size(), &needed));
    out.resize(needed - 1);
    return out;
}

/// Carries an exception over C.
struct carried {
    std::exception_ptr thrown;

    template <class F> std::int32_t run(F &&f) noexcept {
        try {
            return f() ? 0 : 1;
        } catch (...) {
            thrown = std::current_exception();
            return 1;
        }
    }
    void rethrow() const {
        if (thrown) std::rethrow_exception(thrown);
    }
};

} // namespace detail

/// Devices, threads and a log.
class context : public detail::handle<rekindle_context, rekindle_context_destroy> {
  public:
    /// `devices` is "auto", "cpu", described ones as "k80:4,cpu", or JSON (see rekindle_context_params); `n_threads` 0
    /// means one per core.
    explicit context(std::string_view devices = "", std::uint32_t n_threads = 0) : handle(create(devices, n_threads)) {}

    rekindle_context_info info() const {
        auto i = make<rekindle_context_info>();
        check(rekindle_context_get_info(get(), &i));
        return i;
    }
    rekindle_device_info device(std::uint32_t index) const {
        auto d = make<rekindle_device_info>();
        check(rekindle_context_get_device(get(), index, &d));
        return d;
    }
    /// Dies first, the CPU last.
    std::vector<rekindle_device_info> devices() const {
        std::vector<rekindle_device_info> all(info().n_devices);
        for (std::uint32_t i = 0; i < all.size(); i++) all[i] = device(i);
        return all;
    }

  private:
    static rekindle_context *create(std::string_view devices, std::uint32_t n_threads) {
        auto p = make<rekindle_context_params>();
        p.devices = devices.data();
        p.devices_len = devices.size();
        p.n_threads = n_threads;
        rekindle_context *h = nullptr;
        check(rekindle_context_create(REKINDLE_ABI_VERSION, &p, &h));
        return h;
    }
};

/// A GGUF file's header.
class file : public detail::handle<rekindle_file, rekindle_file_close> {
  public:
    /// `overrides`: a JSON object of keys and values in place of the file's.
    file(const context &c, std::string_view path, std::string_view overrides = {}) : handle(open(c, path, overrides)) {}

    /// `other` with LoRAs and control vectors beside it, whose scales sequences and generations set.
    file(const context &c, const file &other, const std::vector<std::string_view> &adapters)
        : handle(adapt(c, other, adapters)) {}

    rekindle_file_info info() const {
        auto i = make<rekindle_file_info>();
        check(rekindle_file_get_info(get(), &i));
        return i;
    }
    /// A key's value as text; arrays with at most `max_elements` elements.
    std::string key(std::string_view name, std::uint32_t max_elements = 16) const {
        std::uint32_t index = 0;
        check(rekindle_file_find_key(get(), name.data(), name.size(), &index));
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_file_key_text(get(), index, max_elements, b, n, needed);
        });
    }
    rekindle_tensor_info tensor(std::uint32_t index) const {
        auto t = make<rekindle_tensor_info>();
        check(rekindle_file_get_tensor(get(), index, &t));
        return t;
    }

    rekindle_adapter_info adapter(std::uint32_t index) const {
        auto a = make<rekindle_adapter_info>();
        check(rekindle_file_get_adapter(get(), index, &a));
        return a;
    }

  private:
    static rekindle_file *adapt(const context &c, const file &other, const std::vector<std::string_view> &adapters) {
        std::vector<const char *> paths;
        std::vector<std::size_t> lens;
        for (const auto &a : adapters) {
            paths.push_back(a.data());
            lens.push_back(a.size());
        }
        rekindle_file *h = nullptr;
        check(rekindle_file_adapt(c.get(), other.get(), paths.data(), lens.data(), paths.size(), &h));
        return h;
    }
    static rekindle_file *open(const context &c, std::string_view path, std::string_view overrides) {
        rekindle_file *h = nullptr;
        check(rekindle_file_open_with(c.get(), path.data(), path.size(), overrides.data(), overrides.size(), &h));
        return h;
    }
};

/// The rows that a batch leaves: logits, or rows of tokens (none) or of texts.
enum class pooling : std::int32_t {
    automatic = REKINDLE_POOLING_DEFAULT,
    file = REKINDLE_POOLING_FILE,
    none = REKINDLE_POOLING_NONE,
    mean = REKINDLE_POOLING_MEAN,
    cls = REKINDLE_POOLING_CLS,
    last = REKINDLE_POOLING_LAST,
    rank = REKINDLE_POOLING_RANK,
};

/// The aim of a plan.
enum class objective : std::int32_t {
    latency = REKINDLE_OBJECTIVE_LATENCY,
    throughput = REKINDLE_OBJECTIVE_THROUGHPUT,
    headroom = REKINDLE_OBJECTIVE_HEADROOM,
};

/// The source of a plan's bytes.
enum class estimator : std::int32_t {
    automatic = REKINDLE_ESTIMATOR_AUTO,
    measured = REKINDLE_ESTIMATOR_MEASURED,
    family = REKINDLE_ESTIMATOR_FAMILY,
};

/// Types of the KV cache.
enum class kv_type : std::int32_t {
    automatic = REKINDLE_KV_DEFAULT,
    f32 = REKINDLE_KV_F32,
    f16 = REKINDLE_KV_F16,
    q8_0 = REKINDLE_KV_Q8_0,
    q4_0 = REKINDLE_KV_Q4_0,
};

/// The CPU's way to the weights.
enum class weights : std::int32_t {
    automatic = REKINDLE_WEIGHTS_AUTO,
    mapped = REKINDLE_WEIGHTS_MAPPED,
    copied = REKINDLE_WEIGHTS_COPIED,
};

/// The questions that `ask` answers.
enum class question : std::int32_t {
    largest_context = REKINDLE_ASK_LARGEST_CONTEXT,
    largest_batch = REKINDLE_ASK_LARGEST_BATCH,
    fewest_devices = REKINDLE_ASK_FEWEST_DEVICES,
    best_kv_type = REKINDLE_ASK_BEST_KV_TYPE,
};

/// A limit on the use of one device. A field that is left out limits nothing.
struct device_limit {
    std::uint32_t device = 0;
    /// Bytes to leave free on it.
    std::uint64_t reserve_bytes = 0;
    /// Layers at most; 0: none at all.
    std::optional<std::uint32_t> max_layers = std::nullopt;
};

/// The wishes for a plan, as in rekindle_plan_params. The library decides whatever is not set.
struct plan_params {
    std::uint32_t n_ctx = 0;
    std::uint32_t n_seq_max = 0;
    std::uint32_t n_outputs_max = 0;
    std::uint32_t n_batch = 0;
    std::uint32_t n_ubatch = 0;
    kv_type type_k = kv_type::automatic;
    kv_type type_v = kv_type::automatic;
    rekindle::weights weights = rekindle::weights::automatic;
    rekindle::objective objective = rekindle::objective::latency;
    /// Bytes to leave free on each device.
    std::uint64_t reserve_bytes = 0;
    rekindle::estimator estimator = rekindle::estimator::automatic;
    std::vector<device_limit> limits = {};
    /// The family estimator's factor on compute buffers; 0: its own.
    double margin = 0;
    /// Checkpoints of recurrent states, of all sequences together; 0: none. Not set: the library's choice.
    std::optional<std::uint32_t> n_checkpoints = std::nullopt;
    /// Tokens that are guessed at most before the model checks them; 0: none.
    std::uint32_t n_draft = 0;
    /// The rows that a batch leaves.
    rekindle::pooling pooling = rekindle::pooling::automatic;
    /// REKINDLE_DRAFT_…: who guesses.
    std::uint32_t draft_source = REKINDLE_DRAFT_LAYER;
    /// Places of tensors by patterns of their names, as in rekindle_plan_params.
    std::string placements = {};
};

namespace detail {

/// Calls `f` with the parameters as C has them, valid during the call.
template <class F> rekindle_status with_params(const plan_params &params, F &&f) {
    std::vector<rekindle_device_limit> limits;
    for (const device_limit &limit : params.limits) {
        rekindle_device_limit l{};
        l.device = limit.device;
        l.flags = limit.max_layers == 0u ? REKINDLE_LIMIT_EXCLUDE : 0;
        l.max_layers = limit.max_layers.value_or(0);
        l.reserve_bytes = limit.reserve_bytes;
        limits.push_back(l);
    }
    auto p = make<rekindle_plan_params>();
    p.n_ctx = params.n_ctx;
    p.n_seq_max = params.n_seq_max;
    p.n_outputs_max = params.n_outputs_max;
    p.n_batch = params.n_batch;
    p.n_ubatch = params.n_ubatch;
    p.type_k = static_cast<std::int32_t>(params.type_k);
    p.type_v = static_cast<std::int32_t>(params.type_v);
    p.weights = static_cast<std::int32_t>(params.weights);
    p.objective = static_cast<std::int32_t>(params.objective);
    p.reserve_bytes = params.reserve_bytes;
    p.estimator = static_cast<std::int32_t>(params.estimator);
    p.n_limits = static_cast<std::uint32_t>(limits.size());
    p.limits = limits.data();
    p.margin = params.margin;
    p.n_checkpoints = params.n_checkpoints == 0u ? REKINDLE_CHECKPOINTS_NONE : params.n_checkpoints.value_or(0);
    p.n_draft = params.n_draft;
    p.pooling = static_cast<std::int32_t>(params.pooling);
    p.draft_source = params.draft_source;
    p.placements = params.placements.data();
    p.placements_len = params.placements.size();
    return f(&p);
}

} // namespace detail

/// The place of everything. A plan that does not fit is made, too: see `fits`.
class plan : public detail::handle<rekindle_plan_t, rekindle_plan_destroy> {
  public:
    plan(const context &c, const file &f, const plan_params &params = {}) : handle(create(c, f, params)) {}
    /// Takes a plan over.
    explicit plan(rekindle_plan_t *owned) noexcept : handle(owned) {}

    /// The decisions, and the predicted speeds.
    rekindle_plan_summary summary() const {
        auto s = make<rekindle_plan_summary>();
        check(rekindle_plan_get_summary(get(), &s));
        return s;
    }
    bool fits() const { return summary().fits != 0; }
    rekindle_plan_device device(std::uint32_t index) const {
        auto d = make<rekindle_plan_device>();
        check(rekindle_plan_get_device(get(), index, &d));
        return d;
    }
    std::vector<rekindle_plan_device> devices() const {
        std::vector<rekindle_plan_device> all(summary().n_devices);
        for (std::uint32_t i = 0; i < all.size(); i++) all[i] = device(i);
        return all;
    }
    rekindle_plan_layer layer(std::uint32_t index) const {
        auto l = make<rekindle_plan_layer>();
        check(rekindle_plan_get_layer(get(), index, &l));
        return l;
    }
    /// In order, the output last; none where the estimator does not say.
    std::vector<rekindle_plan_layer> layers() const {
        std::vector<rekindle_plan_layer> all;
        for (;;) {
            auto l = make<rekindle_plan_layer>();
            const rekindle_status status = rekindle_plan_get_layer(get(), static_cast<std::uint32_t>(all.size()), &l);
            if (status == REKINDLE_NOT_FOUND) return all;
            check(status);
            all.push_back(l);
        }
    }
    /// Why it is as it is, in sentences.
    std::vector<std::string> reasons() const { return sentences(rekindle_plan_reason); }
    /// Other requests that would fit, in sentences. The first call plans them, which may take longer than the plan.
    std::vector<std::string> remedies() const { return sentences(rekindle_plan_remedy); }
    std::string text() const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_plan_text(get(), b, n, needed);
        });
    }
    /// A picture of it.
    std::string svg() const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_plan_svg(get(), b, n, needed);
        });
    }
    std::string json() const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_plan_json(get(), b, n, needed);
        });
    }
    /// Side by side with another plan of the file, as a table for people.
    std::string compare(const plan &other) const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_plan_compare(get(), other.get(), b, n, needed);
        });
    }

  private:
    using sentence_fn = rekindle_status (*)(const rekindle_plan_t *, std::uint32_t, char *, std::size_t, std::size_t *);

    std::vector<std::string> sentences(sentence_fn sentence) const {
        std::vector<std::string> all;
        for (std::uint32_t i = 0;; i++) {
            std::size_t length = 0;
            const rekindle_status status = sentence(get(), i, nullptr, 0, &length);
            if (status == REKINDLE_NOT_FOUND) return all;
            check(status);
            all.push_back(detail::text([&](char *b, std::size_t size, std::size_t *needed) {
                return sentence(get(), i, b, size, needed);
            }));
        }
    }
    static rekindle_plan_t *create(const context &c, const file &f, const plan_params &params) {
        rekindle_plan_t *h = nullptr;
        const rekindle_status status = detail::with_params(params, [&](const rekindle_plan_params *p) {
            return rekindle_plan(c.get(), f.get(), p, &h);
        });
        if (status != REKINDLE_NOT_FIT) check(status);
        return h;
    }
};

/// Answers a question about a file and the devices with a number of tokens or devices, or with the number of a
/// `kv_type`. It answers nothing if the file does not fit in any way.
inline std::optional<std::uint32_t> ask(const context &c, const file &f, question q, const plan_params &params = {}) {
    std::uint32_t answer = 0;
    const rekindle_status status = detail::with_params(params, [&](const rekindle_plan_params *p) {
        return rekindle_plan_ask(c.get(), f.get(), p, static_cast<std::int32_t>(q), &answer);
    });
    if (status == REKINDLE_NOT_FIT) return std::nullopt;
    check(status);
    return answer;
}

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
        std::size_t n = 0;
        check(rekindle_tokenize(get(), text.data(), text.size(), flags, nullptr, 0, &n));
        std::vector<std::int32_t> tokens(n);
        if (n > 0) check(rekindle_tokenize(get(), text.data(), text.size(), flags, tokens.data(), n, &n));
        return tokens;
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

  private:
    static rekindle_vocab *from(const file &f) {
        rekindle_vocab *h = nullptr;
        check(rekindle_vocab_create(f.get(), &h));
        return h;
    }
};

/// Chooses tokens; greedy by default.
class sampler : public detail::handle<rekindle_sampler, rekindle_sampler_destroy> {
  public:
    explicit sampler(const rekindle_sampler_params &params = make<rekindle_sampler_params>())
        : handle(create(params)) {}

    std::int32_t sample(const std::vector<float> &logits) {
        std::int32_t token = 0;
        check(rekindle_sampler_sample_logits(get(), logits.data(), logits.size(), &token));
        return token;
    }
    std::int32_t sample(const model &m, std::uint32_t row = 0);
    void accept(std::int32_t token) { check(rekindle_sampler_accept(get(), token)); }
    void reset() { check(rekindle_sampler_reset(get())); }

    /// A sampler in the same state; both go on alone.
    sampler copy() const {
        rekindle_sampler *h = nullptr;
        check(rekindle_sampler_copy(get(), &h));
        return sampler(h);
    }

    /// The probabilities of the last sampling: those of the chosen token and of the most likely ones.
    struct logprobs {
        rekindle_logprob chosen;
        std::vector<rekindle_logprob> best;
    };
    logprobs last_logprobs(std::int32_t distribution = REKINDLE_LOGPROBS_MODEL) const {
        logprobs l{};
        std::size_t n = 0;
        check(rekindle_sampler_logprobs(get(), distribution, &l.chosen, nullptr, 0, &n));
        l.best.resize(n);
        if (n) check(rekindle_sampler_logprobs(get(), distribution, nullptr, l.best.data(), n, nullptr));
        return l;
    }

  private:
    explicit sampler(rekindle_sampler *h) : handle(h) {}
    static rekindle_sampler *create(const rekindle_sampler_params &params) {
        rekindle_sampler *h = nullptr;
        check(rekindle_sampler_create(&params, &h));
        return h;
    }
};

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
        std::size_t n = 0;
        check_status(rekindle_grammar_mask(get(), nullptr, 0, &n));
        std::vector<std::uint32_t> words(n);
        check_status(rekindle_grammar_mask(get(), words.data(), n, &n));
        return words;
    }
    void accept(std::int32_t token) { check_status(rekindle_grammar_accept(get(), token)); }
    /// The tokens that must come next; often none.
    std::vector<std::int32_t> forced() {
        std::size_t n = 0;
        check_status(rekindle_grammar_forced(get(), nullptr, 0, &n));
        std::vector<std::int32_t> tokens(n);
        if (n > 0) check_status(rekindle_grammar_forced(get(), tokens.data(), n, &n));
        return tokens;
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
    explicit grammar(rekindle_grammar *h) : handle(h) {}
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

    void decode_batch(const rekindle_batch &batch) { check(rekindle_decode(get(), &batch)); }
    /// Tokens that continue sequence 0; the last one's logits are row 0.
    void decode(const std::vector<std::int32_t> &tokens) {
        auto b = make<rekindle_batch>();
        b.n_tokens = static_cast<std::uint32_t>(tokens.size());
        b.tokens = tokens.data();
        decode_batch(b);
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
        auto r = make<rekindle_generate_result>();
        struct state {
            const piece_fn &f;
            detail::carried c;
        } data{on_piece, {}};
        const rekindle_status status = rekindle_generate(
            get(), s.get(), &p,
            [](void *user_data, std::int32_t token, const char *piece, std::size_t len) -> std::int32_t {
                auto &d = *static_cast<state *>(user_data);
                return d.c.run([&] { return !d.f || d.f(token, std::string_view(piece, len)); });
            },
            &data, &r);
        data.c.rethrow();
        check(status);
        return r;
    }

  private:
    static rekindle_model *load(const context &c, const plan &p, const progress_fn &progress,
                                rekindle_load_params params) {
        struct state {
            const progress_fn &f;
            detail::carried c;
        } data{progress, {}};
        params.progress = [](void *user_data, float done) -> std::int32_t {
            auto &d = *static_cast<state *>(user_data);
            return d.c.run([&] { return !d.f || d.f(done); });
        };
        params.progress_user_data = &data;
        rekindle_model *h = nullptr;
        const rekindle_status status = rekindle_load(c.get(), p.get(), &params, &h);
        data.c.rethrow();
        check(status);
        return h;
    }
};

/// The wishes of a generation.
struct generation_params {
    /// The prompt: a text, or tokens.
    std::string_view prompt = {};
    std::vector<std::int32_t> tokens = {};
    /// Copied; none: the most likely token each time.
    const sampler *with = nullptr;
    std::vector<std::string_view> stop_texts = {};
    std::uint32_t max_tokens = 0;
    /// REKINDLE_GENERATION_… added up.
    std::uint32_t flags = 0;
    /// Scales of the file's adapters.
    std::vector<float> adapter_scales = {};
    /// The texts that it may write; copied as it stands. It is of the model's vocabulary. None: all.
    const rekindle::grammar *grammar = nullptr;
};

/// One thing that a generation has to tell.
struct generation_event {
    /// -1 at the end.
    std::int32_t token = -1;
    std::string text;
    /// REKINDLE_STOP_… at the end, else 0.
    std::int32_t stop = 0;
};

/// A text that a model writes step by step, beside others (`step`).
class generation : public detail::handle<rekindle_generation, rekindle_generation_destroy> {
  public:
    generation(model &m, const generation_params &params) : handle(create(m, params)) {}

    /// Takes the next event into `event`; false if there is none now. An error of this generation alone is thrown once,
    /// in place of the end.
    bool next(generation_event &event) {
        auto e = make<rekindle_event>();
        check(rekindle_generation_next(get(), &e));
        if (e.kind == REKINDLE_EVENT_NONE) return false;
        event.token = e.token;
        event.text.assign(e.text ? e.text : "", e.text_len);
        event.stop = e.stop;
        return true;
    }
    rekindle_generation_info info() const {
        auto i = make<rekindle_generation_info>();
        check(rekindle_generation_get_info(get(), &i));
        return i;
    }
    /// The probabilities of the last token that `next` gave, if its sampler keeps some.
    sampler::logprobs last_logprobs(std::int32_t distribution = REKINDLE_LOGPROBS_MODEL) const {
        sampler::logprobs l{};
        std::size_t n = 0;
        check(rekindle_generation_logprobs(get(), distribution, &l.chosen, nullptr, 0, &n));
        l.best.resize(n);
        if (n) check(rekindle_generation_logprobs(get(), distribution, nullptr, l.best.data(), n, nullptr));
        return l;
    }
    /// Ends it at the next step; from any thread.
    void cancel() const { check(rekindle_generation_cancel(get())); }

  private:
    static rekindle_generation *create(model &m, const generation_params &params) {
        auto p = make<rekindle_generation_params>();
        std::vector<const char *> texts;
        std::vector<std::size_t> lens;
        for (const auto &t : params.stop_texts) {
            texts.push_back(t.data());
            lens.push_back(t.size());
        }
        p.flags = params.flags;
        p.prompt = params.prompt.data();
        p.prompt_len = params.prompt.size();
        p.prompt_tokens = params.tokens.data();
        p.n_prompt_tokens = params.tokens.size();
        p.sampler = params.with ? params.with->get() : nullptr;
        p.stop_texts = texts.data();
        p.stop_text_lens = lens.data();
        p.n_stop_texts = static_cast<std::uint32_t>(texts.size());
        p.max_tokens = params.max_tokens;
        p.adapter_scales = params.adapter_scales.data();
        p.n_adapter_scales = params.adapter_scales.size();
        p.grammar = params.grammar ? params.grammar->get() : nullptr;
        rekindle_generation *h = nullptr;
        check(rekindle_generation_create(m.get(), &p, &h));
        return h;
    }
};

/// Computes one micro-batch for generations of a model.
inline rekindle_step_result step(model &m, const std::vector<generation *> &generations) {
    std::vector<rekindle_generation *> handles;
    for (const auto *g : generations) handles.push_back(g->get());
    auto r = make<rekindle_step_result>();
    check(rekindle_step(m.get(), handles.data(), handles.size(), &r));
    return r;
}

inline vocab::vocab(const model &m) : handle([&] {
    rekindle_vocab *h = nullptr;
    check(rekindle_model_vocab(m.get(), &h));
    return h;
}()) {}

inline std::int32_t sampler::sample(const model &m, std::uint32_t row) {
    std::int32_t token = 0;
    check(rekindle_sampler_sample(get(), m.get(), row, &token));
    return token;
}

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
    const auto pointer = [](std::string_view s) { return s.empty() ? nullptr : s.data(); };
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
