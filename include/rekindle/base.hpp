/* rekindle for C++17: errors, handles, and texts of unknown length. See rekindle.hpp. */
#ifndef REKINDLE_BASE_HPP
#define REKINDLE_BASE_HPP

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../rekindle.h"

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

/// Throws what the last call on this thread failed with, if its status is not REKINDLE_OK.
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

/// An array of unknown length: asks, then reads.
template <class T, class F> std::vector<T> array(F &&call) {
    std::size_t n = 0;
    check(call(nullptr, 0, &n));
    std::vector<T> out(n);
    if (n > 0) check(call(out.data(), n, &n));
    out.resize(n);
    return out;
}

/// Texts by their numbers, until there is none.
template <class F> std::vector<std::string> texts(F &&call) {
    std::vector<std::string> all;
    for (std::uint32_t i = 0;; i++) {
        std::size_t length = 0;
        const rekindle_status status = call(i, nullptr, 0, &length);
        if (status == REKINDLE_NOT_FOUND) return all;
        check(status);
        all.push_back(text([&](char *b, std::size_t n, std::size_t *needed) { return call(i, b, n, needed); }));
    }
}

/// The bytes of a text, NULL for an empty one.
inline const char *pointer(std::string_view s) noexcept { return s.empty() ? nullptr : s.data(); }

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
    /// Throws what was caught, once.
    void rethrow() {
        if (thrown) std::rethrow_exception(std::exchange(thrown, nullptr));
    }
};

} // namespace detail

/// The library's version.
inline std::string version() { return rekindle_version(); }

/// The environment variables that the library reads, each as "NAME: what it does".
inline std::vector<std::string> environment() { return detail::texts(rekindle_environment); }

} // namespace rekindle

#endif
