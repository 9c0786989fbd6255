// SPDX-License-Identifier: Apache-2.0
// Things that are chosen by name and set up by options: methods, observers. Each has a kName and a Config, whose
// `visit` names every field once; lists, command lines and recipes know no more of them.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include "kvant/core/error.hpp"

namespace kvant {

namespace detail {

/// Sets a field from its text: true or false, a number, or of an enum one of option_names(). Whether it is one.
template <class T>
[[nodiscard]] bool set_from_text(std::string_view text, T& field) {
  if constexpr (std::is_same_v<T, bool>) {
    field = text == "true";
    return field || text == "false";
  } else if constexpr (std::is_enum_v<T>) {
    const auto names = option_names(T{});
    for (std::size_t i = 0; i < names.size(); ++i)
      if (names[i] == text) return field = static_cast<T>(i), true;
    return false;
  } else {
    static_assert(std::is_arithmetic_v<T>);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), field);
    return error == std::errc{} && end == text.data() + text.size() && !text.empty();
  }
}
/// The same the other way.
template <class T>
[[nodiscard]] std::string text_of_option(const T& field) {
  if constexpr (std::is_same_v<T, bool>) {
    return field ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return std::string(option_names(field)[static_cast<std::size_t>(field)]);
  } else {
    std::array<char, 32> text{};
    const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), field);
    return {text.data(), end};
  }
}

}  // namespace detail

/// Sets fields of a Config from `option=value,option=value`, of which there may be none. `of` says whose options they
/// are. Errors: `usage` for an option that it does not have and for a value that is none of the option's.
template <class Config>
[[nodiscard]] Status set_options(Config& config, std::string_view text, std::string_view of) {
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    const std::size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1);
    bool known = false, valid = false;
    std::string names;
    Config::visit(config, [&](std::string_view option, auto& field, std::string_view) {
      names += (names.empty() ? "" : ", ") + std::string(option);
      if (option != name) return;
      known = true;
      auto changed = field;
      valid = detail::set_from_text(value, changed);
      if (valid) field = changed;
    });
    const std::string quoted = "'" + std::string(part.substr(0, 100)) + "'";
    if (!known) return fail(ErrorCode::usage, quoted + " is no option of " + std::string(of) + "; there are " + names);
    if (!valid) return fail(ErrorCode::usage, quoted + ": no value of that option of " + std::string(of));
  }
  return {};
}

/// The one of `T` that has a name, as an `Any`, made of its Config once `configure(config)` has had it. `what` is said
/// of such things in messages. Errors: `usage` for a name that none has, those of `configure`, and of `config.check()`
/// where there is one.
template <class Any, class... T, class Configure>
[[nodiscard]] Result<Any> make_by_name(std::string_view what, std::string_view name, Configure&& configure) {
  std::optional<Result<Any>> made;
  const auto attempt = [&]<class U>(std::type_identity<U>) {
    if (U::kName != name) return false;
    typename U::Config config;
    Status sound = configure(config);
    if constexpr (requires { config.check(); })
      if (sound) sound = config.check();
    if (sound)
      made.emplace(Any(U{config}));
    else
      made.emplace(propagate(sound));
    return true;
  };
  if ((attempt(std::type_identity<T>{}) || ...)) return *std::move(made);
  std::string names;
  ((names += (names.empty() ? "" : ", ") + std::string(T::kName)), ...);
  return fail(ErrorCode::usage,
              "'" + std::string(name.substr(0, 100)) + "' is no " + std::string(what) + "; there are " + names);
}

}  // namespace kvant
