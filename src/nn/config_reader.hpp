// SPDX-License-Identifier: Apache-2.0
// Values out of one config.json, checked: the first error is kept, and whatever is read after it is a harmless number,
// so that a family reads its keys in a row and somebody looks at the error once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"
#include "kvant/nn/steps.hpp"

namespace kvant::nn {

/// No model has as many layers, or heads, or experts; steps are written for every one of them.
inline constexpr std::size_t kMostParts = 4096;

class ConfigReader {
 public:
  /// Contract: both live as long as the reader.
  ConfigReader(const io::Json& json, const Where& where) : json_(json), where_(where) {}

  /// The value under a key; null counts as absent, as in transformers.
  [[nodiscard]] const io::Json* find(std::string_view key) const { return present(json_, key); }
  [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }

  /// An integer from 1 to 2^31 - 1; without `otherwise` it must be there.
  std::size_t size(std::string_view key, std::optional<std::size_t> otherwise = {});
  /// The same of what is counted one by one, as layers, heads and experts: up to kMostParts.
  std::size_t parts(std::string_view key, std::optional<std::size_t> otherwise = {});
  /// An integer from 0 on.
  std::size_t count(std::string_view key, std::size_t otherwise);
  /// A finite number.
  double number(std::string_view key, std::optional<double> otherwise = {}) { return number(json_, key, otherwise); }
  double number(const io::Json& object, std::string_view key, std::optional<double> otherwise = {});
  float real(std::string_view key, std::optional<double> otherwise = {}) {
    return static_cast<float>(number(key, otherwise));
  }
  /// A finite number >= 0.
  float epsilon(std::string_view key, std::optional<double> otherwise = {});
  bool flag(std::string_view key, bool otherwise = false);
  std::string text(std::string_view key, std::string_view otherwise);
  /// An array of numbers; empty where the key is absent.
  std::vector<double> numbers(const io::Json& object, std::string_view key);
  /// The same of integers >= 0.
  std::vector<std::size_t> sizes(std::string_view key);
  /// An array of strings; empty where the key is absent.
  std::vector<std::string> texts(std::string_view key);
  Activation activation(std::string_view key, std::string_view otherwise);

  /// A value is there that the forward pass does not compute; `expected` says what it does.
  void unsupported(std::string_view key, const std::string& expected);
  /// Contradicts the rest of the configuration, or is impossible.
  void bad(std::string_view key, const std::string& why);
  /// An error unless the flag is absent or `value`.
  void require_flag(std::string_view key, bool value);
  /// An error unless the text is absent or `value`.
  void require_text(std::string_view key, std::string_view value);

  [[nodiscard]] bool failed() const noexcept { return error_.has_value(); }
  [[nodiscard]] Error take_error() { return std::move(*error_); }
  [[nodiscard]] const io::Json& json() const noexcept { return json_; }
  [[nodiscard]] const Where& where() const noexcept { return where_; }
  void set_error(ErrorCode code, std::string message);

 private:
  static const io::Json* present(const io::Json& object, std::string_view key);

  const io::Json& json_;
  const Where& where_;
  std::optional<Error> error_;
};

/// The activation that config.json files call so.
[[nodiscard]] std::optional<Activation> activation_named(std::string_view name) noexcept;

[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace kvant::nn
