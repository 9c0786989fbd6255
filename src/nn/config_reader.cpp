// SPDX-License-Identifier: Apache-2.0
#include "config_reader.hpp"

#include <array>
#include <cmath>
#include <utility>

namespace kvant::nn {
namespace {

using io::Json;

/// What config.json files call activations.
struct ActivationName {
  std::string_view name;
  Activation function;
};
constexpr std::array kActivations{
    ActivationName{"silu", Activation::silu},
    ActivationName{"swish", Activation::silu},
    ActivationName{"gelu", Activation::gelu},
    ActivationName{"gelu_python", Activation::gelu},
    ActivationName{"gelu_new", Activation::gelu_tanh},
    ActivationName{"gelu_fast", Activation::gelu_tanh},
    ActivationName{"gelu_pytorch_tanh", Activation::gelu_tanh},
    ActivationName{"gelu_tanh", Activation::gelu_tanh},
    ActivationName{"quick_gelu", Activation::quick_gelu},
    ActivationName{"relu", Activation::relu},
    ActivationName{"relu2", Activation::relu_squared},
    ActivationName{"tanh", Activation::tanh},
};

std::optional<std::size_t> as_size(const Json& value, std::uint64_t least) {
  const auto n = value.as_uint64();
  if (!n || *n < least || *n > INT32_MAX) return std::nullopt;
  return static_cast<std::size_t>(*n);
}

}  // namespace

std::optional<Activation> activation_named(std::string_view name) noexcept {
  for (const ActivationName& a : kActivations)
    if (a.name == name) return a.function;
  return std::nullopt;
}

std::string in_quotes(std::string_view text) {
  std::string result(1, '"');
  result += text;
  result += '"';
  return result;
}

const Json* ConfigReader::present(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

void ConfigReader::set_error(ErrorCode code, std::string message) {
  if (!error_) error_ = Error{code, std::move(message), where_};
}

void ConfigReader::bad(std::string_view key, const std::string& why) {
  const Json* value = find(key);
  const std::string found = value != nullptr ? ": " + io::to_text(*value).substr(0, 100) : "";
  set_error(ErrorCode::bad_config, in_quotes(key) + " " + why + found);
}

void ConfigReader::unsupported(std::string_view key, const std::string& expected) {
  const Json* value = find(key);
  const std::string found = value != nullptr ? io::to_text(*value).substr(0, 200) : "missing";
  set_error(ErrorCode::unsupported,
            in_quotes(key) + " is " + found + ", which the forward pass does not compute; expected " + expected);
}

std::size_t ConfigReader::size(std::string_view key, std::optional<std::size_t> otherwise) {
  const Json* value = find(key);
  if (value == nullptr && otherwise) return *otherwise;
  const auto n = value != nullptr ? as_size(*value, 1) : std::nullopt;
  if (n) return *n;
  bad(key, value != nullptr ? "is no integer from 1 to 2^31 - 1" : "is missing");
  return 1;
}

std::size_t ConfigReader::parts(std::string_view key, std::optional<std::size_t> otherwise) {
  const std::size_t n = size(key, otherwise);
  if (n <= kMostParts) return n;
  bad(key, "is above " + std::to_string(kMostParts));
  return 1;
}

std::size_t ConfigReader::count(std::string_view key, std::size_t otherwise) {
  const Json* value = find(key);
  if (value == nullptr) return otherwise;
  const auto n = as_size(*value, 0);
  if (!n) bad(key, "is no integer from 0 to 2^31 - 1");
  return n.value_or(otherwise);
}

double ConfigReader::number(const Json& object, std::string_view key, std::optional<double> otherwise) {
  const Json* value = present(object, key);
  if (value == nullptr && otherwise) return *otherwise;
  const auto n = value != nullptr ? value->as_double() : std::nullopt;
  if (n && std::isfinite(*n)) return *n;
  bad(key, value != nullptr ? "is no number" : "is missing");
  return 1;
}

float ConfigReader::epsilon(std::string_view key, std::optional<double> otherwise) {
  const float value = real(key, otherwise);
  if (!(value >= 0) || !std::isfinite(value)) bad(key, "is no finite number >= 0");
  return value;
}

bool ConfigReader::flag(std::string_view key, bool otherwise) {
  const Json* value = find(key);
  if (value == nullptr) return otherwise;
  const auto on = value->as_bool();
  if (!on) bad(key, "is neither true nor false");
  return on.value_or(otherwise);
}

std::string ConfigReader::text(std::string_view key, std::string_view otherwise) {
  const Json* value = find(key);
  if (value == nullptr) return std::string(otherwise);
  const std::string* text = value->as_string();
  if (text == nullptr) bad(key, "is no string");
  return text != nullptr ? *text : std::string(otherwise);
}

std::vector<double> ConfigReader::numbers(const Json& object, std::string_view key) {
  std::vector<double> result;
  const Json* value = present(object, key);
  if (value == nullptr) return result;
  for (const Json& item : value->items()) result.push_back(item.as_double().value_or(NAN));
  for (const double x : result)
    if (!std::isfinite(x)) bad(key, "holds something that is no number");
  if (!value->is_array()) bad(key, "is no array");
  return result;
}

std::vector<std::size_t> ConfigReader::sizes(std::string_view key) {
  std::vector<std::size_t> result;
  const Json* value = find(key);
  if (value == nullptr) return result;
  if (!value->is_array()) bad(key, "is no array");
  for (const Json& item : value->items()) {
    const auto n = as_size(item, 0);
    if (!n) bad(key, "holds something that is no integer from 0 to 2^31 - 1");
    result.push_back(n.value_or(0));
  }
  return result;
}

std::vector<std::string> ConfigReader::texts(std::string_view key) {
  std::vector<std::string> result;
  const Json* value = find(key);
  if (value == nullptr) return result;
  if (!value->is_array()) bad(key, "is no array");
  for (const Json& item : value->items()) {
    const std::string* text = item.as_string();
    if (text == nullptr) bad(key, "holds something that is no string");
    result.push_back(text != nullptr ? *text : "");
  }
  return result;
}

Activation ConfigReader::activation(std::string_view key, std::string_view otherwise) {
  const std::string name = text(key, otherwise);
  if (const auto function = activation_named(name)) return *function;
  std::string known;
  for (const ActivationName& a : kActivations) known += (known.empty() ? "" : ", ") + std::string(a.name);
  unsupported(key, "one of: " + known);
  return Activation::silu;
}

void ConfigReader::require_flag(std::string_view key, bool value) {
  if (flag(key, value) != value) unsupported(key, value ? "true" : "false");
}

void ConfigReader::require_text(std::string_view key, std::string_view value) {
  if (text(key, value) != value) unsupported(key, in_quotes(value));
}

}  // namespace kvant::nn
