// SPDX-License-Identifier: Apache-2.0
// The words that texts of schemes are made of.
#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "kvant/quant/granularity.hpp"

namespace kvant {

namespace detail {

inline bool take_number(std::string_view& text, std::size_t& out) noexcept {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (ec != std::errc{} || out == 0 || text.front() == '0') return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

inline std::optional<Granularity> parse_granularity(std::string_view text) noexcept {
  if (text == "tensor") return Granularity{PerTensor{}};
  if (text == "channel") return Granularity{PerChannel{}};
  if (text == "token") return Granularity{PerToken{}};
  if (text.size() < 2 || (text[0] != 'g' && text[0] != 'b')) return std::nullopt;
  const bool group = text[0] == 'g';
  text.remove_prefix(1);
  std::size_t first = 0;
  if (!take_number(text, first)) return std::nullopt;
  if (group) return text.empty() ? std::optional<Granularity>{PerGroup{first}} : std::nullopt;
  std::size_t second = 0;
  if (text.empty() || text[0] != 'x') return std::nullopt;
  text.remove_prefix(1);
  if (text.empty() || !take_number(text, second) || !text.empty()) return std::nullopt;
  return Granularity{PerBlock{first, second}};
}

inline std::string granularity_text(const Granularity& g) {
  switch (g.kind()) {
    case Granularity::Kind::none:
      break;
    case Granularity::Kind::tensor:
      return "tensor";
    case Granularity::Kind::channel:
      return "channel";
    case Granularity::Kind::token:
      return "token";
    case Granularity::Kind::group:
      return "g" + std::to_string(g.cols_parameter());
    case Granularity::Kind::block:
      return "b" + std::to_string(g.rows_parameter()) + "x" + std::to_string(g.cols_parameter());
  }
  return "";
}

/// Text from outside, as messages quote it: never all of a megabyte.
inline std::string quoted(std::string_view text) { return "'" + std::string(text.substr(0, 100)) + "'"; }

/// Splits off what stands before the first `separator`; the rest, without it, stays in `text`.
inline std::string_view take_until(std::string_view& text, char separator) noexcept {
  const std::size_t at = text.find(separator);
  const std::string_view head = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return head;
}

}  // namespace detail

}  // namespace kvant
