/* rekindle for C++17: what goes where. See rekindle.hpp. */
#ifndef REKINDLE_PLAN_HPP
#define REKINDLE_PLAN_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "file.hpp"
#include "plan_params.hpp"

namespace rekindle {

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
    /// The reasons for it, in sentences.
    std::vector<std::string> reasons() const {
        return detail::texts([&](std::uint32_t i, char *b, std::size_t n, std::size_t *needed) {
            return rekindle_plan_reason(get(), i, b, n, needed);
        });
    }
    /// Other requests that would fit, in sentences. The first call plans them, which may take longer than the plan.
    std::vector<std::string> remedies() const {
        return detail::texts([&](std::uint32_t i, char *b, std::size_t n, std::size_t *needed) {
            return rekindle_plan_remedy(get(), i, b, n, needed);
        });
    }
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

} // namespace rekindle

#endif
