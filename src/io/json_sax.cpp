// SPDX-License-Identifier: Apache-2.0
#include "json_sax.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "kvant/io/utf8.hpp"

namespace kvant::io {
namespace {

tl::unexpected<Error> fail_at(ErrorCode code, std::string message, const Where& where, std::size_t position) {
  Where at = where;
  at.offset = where.offset.value_or(0) + position;
  return fail(code, std::move(message), std::move(at));
}

/// Calls body(position) for every character outside of strings, until it returns false.
template <class Body>
void for_each_outside_strings(std::string_view text, Body body) {
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_string) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        in_string = false;
    } else if (text[i] == '"') {
      in_string = true;
    } else if (!body(i)) {
      return;
    }
  }
}

/// The position of the bracket that exceeds `max_depth`, if there is one.
std::optional<std::size_t> find_too_deep(std::string_view text, unsigned max_depth) {
  unsigned depth = 0;
  std::optional<std::size_t> found;
  for_each_outside_strings(text, [&](std::size_t i) {
    const char c = text[i];
    if ((c == '}' || c == ']') && depth > 0) --depth;
    if ((c == '{' || c == '[') && ++depth > max_depth) found = i;
    return !found;
  });
  return found;
}

/// Of numbers, literals and NaN; the same in every locale.
bool is_word(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-' || c == '.';
}

std::string_view word_at(std::string_view text, std::size_t begin) noexcept {
  std::size_t end = begin;
  while (end < text.size() && is_word(text[end])) ++end;
  return text.substr(begin, end - begin);
}

/// Whether a number that from_chars() takes for out of range is too small, not too large.
bool is_below_range(std::string_view number) noexcept {
  const std::size_t exponent = number.find_first_of("eE");
  if (exponent != std::string_view::npos) return number.substr(exponent).find('-') != std::string_view::npos;
  return number.starts_with("0.") || number.starts_with("-0.");
}

/// What JSON's grammar has for a number.
bool is_number(std::string_view word) noexcept {
  const auto take = [&](std::string_view any) {
    const bool found = !word.empty() && any.find(word.front()) != std::string_view::npos;
    if (found) word.remove_prefix(1);
    return found;
  };
  const auto take_digits = [&] {
    bool any = false;
    while (take("0123456789")) any = true;
    return any;
  };
  take("-");
  if (!take("0") && !take_digits()) return false;
  if (take(".") && !take_digits()) return false;
  if (!take("eE")) return word.empty();
  take("+-");
  return take_digits() && word.empty();
}

/// Whether the parser would refuse a word that is a number here.
bool is_unusual_number(std::string_view word) noexcept {
  if (word == "NaN" || word == "Infinity" || word == "-Infinity") return true;
  double value = 0;
  return std::from_chars(word.data(), word.data() + word.size(), value).ec == std::errc::result_out_of_range &&
         is_number(word) && !is_below_range(word);
}

}  // namespace

Status check_json_text(std::string_view text, const JsonLimits& limits, const Where& where) {
  if (text.size() > limits.max_bytes)
    return fail(ErrorCode::limit,
                "JSON of " + std::to_string(text.size()) + " bytes, at most " + std::to_string(limits.max_bytes) +
                    " are read here",
                where);
  if (text.starts_with("\xef\xbb\xbf"))
    return fail_at(ErrorCode::bad_json, "a byte order mark before the JSON; remove it", where, 0);
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    return fail_at(ErrorCode::bad_json, "a NUL byte in JSON", where, nul);
  if (const auto bad = find_invalid_utf8(text)) return fail_at(ErrorCode::bad_utf8, "not valid UTF-8", where, *bad);
  if (const auto deep = find_too_deep(text, limits.max_depth))
    return fail_at(ErrorCode::limit,
                   "JSON nested deeper than the " + std::to_string(limits.max_depth) + " levels that are read here",
                   where, *deep);
  return {};
}

bool JsonEvents::parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) {
  // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...; last read: '...'"
  std::string_view what = e.what();
  const bool surrogate = what.find("surrogate") != std::string_view::npos;
  if (const auto end = what.find("] "); what.starts_with('[') && end != std::string_view::npos)
    what.remove_prefix(end + 2);
  what = what.substr(0, what.find("; last read"));
  return refuse(surrogate ? ErrorCode::bad_utf8 : ErrorCode::bad_json, "malformed JSON: " + printable(what, 200),
                std::min(position > 0 ? position - 1 : 0, text_.size()));
}

bool JsonEvents::refuse(ErrorCode code, std::string message, std::size_t position, std::string tensor) {
  Where at = where_;
  if (!tensor.empty()) at.tensor = printable(tensor);
  error_ = fail_at(code, std::move(message), at, position).value();
  return false;
}

std::size_t JsonEvents::string_begin(std::size_t end) const noexcept {
  std::size_t i = end - 1;  // the closing quote
  while (i > 0) {
    --i;
    if (text_[i] != '"') continue;
    std::size_t backslashes = 0;
    while (backslashes < i && text_[i - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) break;
  }
  return i;
}

std::size_t JsonEvents::value_begin() const noexcept {
  std::size_t i = taken_ - 1;
  // The lexer sees that a number is over by the character after it.
  if (!is_word(text_[i]) && i > 0 && is_word(text_[i - 1])) --i;
  while (i > 0 && is_word(text_[i]) && is_word(text_[i - 1])) --i;
  return i;
}

bool JsonEvents::has_no_nul(const std::string& text) {
  if (text.find('\0') == std::string::npos) return true;
  return refuse(ErrorCode::bad_utf8, "a string holds U+0000", string_begin());
}

std::optional<double> nearest_double(std::string_view number) noexcept {
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error == std::errc::result_out_of_range && is_below_range(number)) return 0.0;
  return error == std::errc{} && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string_view JsonEvents::number_text() const noexcept { return word_at(text_, value_begin()); }

std::optional<std::string> mask_unusual_numbers(std::string_view text) {
  std::optional<std::string> masked;
  bool in_word = false;
  for_each_outside_strings(text, [&](std::size_t i) {
    const bool begins = is_word(text[i]) && !in_word;
    in_word = is_word(text[i]);
    if (!begins) return true;
    const std::string_view word = word_at(text, i);
    if (!is_unusual_number(word)) return true;
    if (!masked) masked.emplace(text);
    std::fill_n(masked->begin() + static_cast<std::ptrdiff_t>(i), word.size(), '0');
    const std::size_t sign = word.front() == '-' ? 1 : 0;
    if (sign != 0) (*masked)[i] = '-';
    (*masked)[i + sign + 1] = '.';
    return true;
  });
  return masked;
}

}  // namespace kvant::io
