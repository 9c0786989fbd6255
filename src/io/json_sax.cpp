// SPDX-License-Identifier: Apache-2.0
#include "json_sax.hpp"

#include <algorithm>
#include <cctype>

#include "kvant/io/utf8.hpp"

namespace kvant::io {
namespace {

tl::unexpected<Error> fail_at(ErrorCode code, std::string message, const Where& where, std::size_t position) {
  Where at = where;
  at.offset = where.offset.value_or(0) + position;
  return fail(code, std::move(message), std::move(at));
}

/// The position of the bracket that exceeds `max_depth`, if there is one.
std::optional<std::size_t> find_too_deep(std::string_view text, unsigned max_depth) {
  unsigned depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max_depth) return i;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return std::nullopt;
}

bool is_word(char c) noexcept {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '-' || c == '.';
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

bool is_integer_text(std::string_view text) noexcept { return text.find_first_of(".eE") == std::string_view::npos; }

}  // namespace kvant::io
