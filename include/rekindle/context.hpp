/* rekindle for C++17: devices, threads and a log. See rekindle.hpp. */
#ifndef REKINDLE_CONTEXT_HPP
#define REKINDLE_CONTEXT_HPP

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "base.hpp"

namespace rekindle {

/// Devices, threads and a log.
class context : public detail::handle<rekindle_context, rekindle_context_destroy> {
  public:
    /// Gets a level and a message.
    using log_fn = std::function<void(std::int32_t, const char *)>;

    /// `devices` is "auto", "cpu", described ones as "k80:4,cpu", or JSON (see rekindle_context_params); `n_threads` 0
    /// means one per core.
    explicit context(std::string_view devices = "", std::uint32_t n_threads = 0)
        : handle(create(devices, n_threads, {}, 0)) {}

    /// With a log: it gets messages up to `level` (REKINDLE_LOG_…; 0: warnings), from any thread that uses the
    /// context, one at a time, until the last file, plan and model of the context is gone. It is kept for the life of
    /// the process; what it throws is lost.
    context(std::string_view devices, std::uint32_t n_threads, log_fn log, std::int32_t level = 0)
        : handle(create(devices, n_threads, std::move(log), level)) {}

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
    static rekindle_context *create(std::string_view devices, std::uint32_t n_threads, log_fn log, std::int32_t level) {
        auto p = make<rekindle_context_params>();
        p.devices = devices.data();
        p.devices_len = devices.size();
        p.n_threads = n_threads;
        p.log_level = level;
        if (log) {
            p.log_user_data = kept(std::move(log));
            p.log = [](void *user_data, std::int32_t l, const char *message) {
                try {
                    (*static_cast<log_fn *>(user_data))(l, message);
                } catch (...) { // Nothing may be thrown through C.
                }
            };
        }
        rekindle_context *h = nullptr;
        check(rekindle_context_create(REKINDLE_ABI_VERSION, &p, &h));
        return h;
    }
    /// Nobody tells when the last object of a context is gone.
    static log_fn *kept(log_fn log) {
        static std::mutex lock;
        static auto &all = *new std::deque<log_fn>();
        const std::lock_guard<std::mutex> held(lock);
        all.push_back(std::move(log));
        return &all.back();
    }
};

} // namespace rekindle

#endif
