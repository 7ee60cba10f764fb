/* rekindle for C++17: files, their keys and tensors, and adapters beside them. See rekindle.hpp. */
#ifndef REKINDLE_FILE_HPP
#define REKINDLE_FILE_HPP

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "context.hpp"

namespace rekindle {

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
        return key_text(find_key(name), max_elements);
    }
    std::uint32_t find_key(std::string_view name) const {
        std::uint32_t index = 0;
        check(rekindle_file_find_key(get(), name.data(), name.size(), &index));
        return index;
    }
    rekindle_key_info key_info(std::uint32_t index) const {
        auto k = make<rekindle_key_info>();
        check(rekindle_file_get_key(get(), index, &k));
        return k;
    }
    std::string key_text(std::uint32_t index, std::uint32_t max_elements = 16) const {
        return detail::text([&](char *b, std::size_t n, std::size_t *needed) {
            return rekindle_file_key_text(get(), index, max_elements, b, n, needed);
        });
    }
    std::int64_t key_integer(std::string_view name) const {
        std::int64_t value = 0;
        check(rekindle_file_key_integer(get(), find_key(name), &value));
        return value;
    }
    double key_number(std::string_view name) const {
        double value = 0;
        check(rekindle_file_key_number(get(), find_key(name), &value));
        return value;
    }
    rekindle_tensor_info tensor(std::uint32_t index) const {
        auto t = make<rekindle_tensor_info>();
        check(rekindle_file_get_tensor(get(), index, &t));
        return t;
    }
    /// In the file's order.
    std::vector<rekindle_tensor_info> tensors() const {
        std::vector<rekindle_tensor_info> all(static_cast<std::size_t>(info().n_tensors));
        for (std::uint32_t i = 0; i < all.size(); i++) all[i] = tensor(i);
        return all;
    }
    rekindle_adapter_info adapter(std::uint32_t index) const {
        auto a = make<rekindle_adapter_info>();
        check(rekindle_file_get_adapter(get(), index, &a));
        return a;
    }
    std::vector<rekindle_adapter_info> adapters() const {
        std::vector<rekindle_adapter_info> all;
        for (;;) {
            auto a = make<rekindle_adapter_info>();
            const rekindle_status status = rekindle_file_get_adapter(get(), static_cast<std::uint32_t>(all.size()), &a);
            if (status == REKINDLE_NOT_FOUND) return all;
            check(status);
            all.push_back(a);
        }
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

} // namespace rekindle

#endif
