// SPDX-License-Identifier: Apache-2.0
// JSON events from untrusted text: what nlohmann's parser leaves open is checked here, and every error gets a position.
//
// nlohmann 3.11 lets through a byte order mark, everything after a NUL, and \u0000 in strings; its events carry no
// position, and it hands out the text of numbers with the locale's decimal point in it. So check_json_text() looks at
// the bytes first, the parser reads through a counting iterator, handlers derive from JsonEvents, and numbers that are
// no 64-bit integers are read again from the text.
#pragma once

// Debug builds would end where strtod() stops before the end of a number: in locales whose decimal point has two bytes
// (ps_AF, fa_IR), or when another thread sets one meanwhile.
#define JSON_ASSERT(condition) static_cast<void>(condition)

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"

namespace kvant::io {

/// Size, byte order mark, NUL, UTF-8 and nesting, in one linear look at the text.
[[nodiscard]] Status check_json_text(std::string_view text, const JsonLimits& limits, const Where& where);

/// Reads the text for the parser and counts what it has taken.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* taken) noexcept : at_(at), taken_(taken) {}
  reference operator*() const noexcept { return *at_; }
  CountingIterator& operator++() noexcept {
    ++at_;
    ++*taken_;
    return *this;
  }
  CountingIterator operator++(int) noexcept {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) noexcept { return a.at_ == b.at_; }
  friend bool operator!=(const CountingIterator& a, const CountingIterator& b) noexcept { return a.at_ != b.at_; }

 private:
  const char* at_;
  std::size_t* taken_;
};

/// What handlers of events share: the position, and the first error.
class JsonEvents {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  JsonEvents(std::string_view text, const Where& where) : text_(text), where_(where) {}

  bool binary(binary_t&) { return refuse(ErrorCode::bad_json, "binary data", 0); }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception& e);

  [[nodiscard]] std::size_t* taken() noexcept { return &taken_; }
  [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }

 protected:
  /// Keeps the error, positioned in the text; returns false, which ends the parse.
  bool refuse(ErrorCode code, std::string message, std::size_t position, std::string tensor = {});

  /// Where the string that ends just before `end` begins.
  [[nodiscard]] std::size_t string_begin(std::size_t end) const noexcept;
  /// Where the string that was just read ends and begins.
  [[nodiscard]] std::size_t string_end() const noexcept { return taken_; }
  [[nodiscard]] std::size_t string_begin() const noexcept { return string_begin(taken_); }
  /// Where the number, literal or bracket that was just read begins.
  [[nodiscard]] std::size_t value_begin() const noexcept;
  /// The number that was just read, as the text has it.
  [[nodiscard]] std::string_view number_text() const noexcept;

  /// A string or key with a NUL in it, which only \u0000 can bring.
  bool has_no_nul(const std::string& text);

 private:
  std::string_view text_;
  Where where_;
  std::size_t taken_ = 0;
  std::optional<Error> error_;
};

/// The double nearest to a number's text, in every locale; 0 where it is below the range, nothing beyond it and for
/// NaN.
[[nodiscard]] std::optional<double> nearest_double(std::string_view number) noexcept;

/// A copy of `text` in which every number that the parser refuses (NaN, Infinity, -Infinity, a real beyond a double) is
/// one that it takes, of the same length; nothing where there is none. number_text() still tells what stood there.
[[nodiscard]] std::optional<std::string> mask_unusual_numbers(std::string_view text);

/// Sends the events of a checked text to `events`; its error, if there is one.
template <class Events>
[[nodiscard]] Status parse_events(std::string_view text, Events& events) {
  const CountingIterator first(text.data(), events.taken());
  const CountingIterator last(text.data() + text.size(), events.taken());
  const bool ok = nlohmann::json::sax_parse(first, last, &events);
  if (events.error()) return tl::unexpected<Error>(*events.error());
  if (!ok) return fail(ErrorCode::bad_json, "malformed JSON");
  return {};
}

}  // namespace kvant::io
