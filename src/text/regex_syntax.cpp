// SPDX-License-Identifier: Apache-2.0
#include "regex_syntax.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "kvant/io/utf8.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

/// Members of \s, written for the inside of a class: White_Space, without U+180E which PCRE2 would add.
constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})";

constexpr std::array<std::string_view, 36> kCategories{
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cs", "Co"};

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) noexcept { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

class Translator {
 public:
  explicit Translator(std::string_view source) : source_(source) {}

  Result<std::string> run() {
    while (pos_ < source_.size())
      if (auto ok = step(); !ok) return propagate(ok);
    return std::move(out_);
  }

 private:
  bool has(std::string_view text) const noexcept { return source_.substr(pos_).starts_with(text); }
  char peek(std::size_t ahead = 0) const noexcept {
    return pos_ + ahead < source_.size() ? source_[pos_ + ahead] : '\0';
  }
  bool caseless() const noexcept { return !groups_.empty() && groups_.back(); }

  void pass(std::size_t count) {
    out_.append(source_.substr(pos_, count));
    pos_ += count;
  }

  tl::unexpected<Error> refuse(std::string_view construct) const {
    return fail(ErrorCode::unsupported, "the construct \"" + io::printable(construct, 40) + "\" at position " +
                                            std::to_string(pos_) + " of the regular expression \"" +
                                            io::printable(source_, 120) + "\" is not supported");
  }

  Status step() {
    if (std::string_view(R"(\[{*+?|^$.)").find(peek()) != std::string_view::npos) letter_ = '\0';
    switch (peek()) {
      case '\\':
        return escape(false);
      case '[':
        return character_class();
      case '(':
        return open_group();
      case ')':
        if (!groups_.empty()) groups_.pop_back();  // an unmatched one is PCRE2's to report
        pass(1);
        return {};
      case '{':
        return interval();
      case '*':
      case '+':
      case '?':
      case '|':
      case '^':
      case '$':
      case '.':
        pass(1);
        return {};
      default:
        return literal();
    }
  }

  /// One character that stands for itself. Without case, Oniguruma also matches pairs of letters, even across the
  /// borders of groups, with the characters that fold to them (ss and U+00DF, st and U+FB06); PCRE2 does not.
  Status literal() {
    const std::size_t length = char_length(peek());
    const char before = std::exchange(letter_, lower(peek()));
    if (caseless()) {
      if (length > 1) return refuse("a caseless non-ASCII character");
      constexpr std::array<std::string_view, 5> kFolded{"ss", "st", "ff", "fi", "fl"};
      const std::array pair{before, letter_};
      if (std::find(kFolded.begin(), kFolded.end(), std::string_view(pair.data(), 2)) != kFolded.end())
        return refuse("caseless " + std::string(pair.data(), 2));
    }
    pass(length);
    return {};
  }

  Status open_group() {
    constexpr std::array<std::string_view, 7> kOpeners{"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    for (const auto opener : kOpeners) {
      if (!has(opener)) continue;
      groups_.push_back(caseless() || opener == "(?i:");
      pass(opener.size());
      return {};
    }
    if (has("(?") || has("(*")) return refuse(source_.substr(pos_, 3));
    groups_.push_back(caseless());
    pass(1);
    return {};
  }

  /// {n}, {n,}, {n,m}. A following + is possessive in PCRE2 and a repeat in Ruby; a ? differs for {n}.
  Status interval() {
    std::size_t end = pos_ + 1;
    const auto digits = [&] {
      const std::size_t first = end;
      while (end < source_.size() && is_digit(source_[end])) ++end;
      return end > first;
    };
    bool ok = digits();
    if (ok && end < source_.size() && source_[end] == ',') {
      ++end;
      digits();
    }
    ok = ok && end < source_.size() && source_[end] == '}';
    if (!ok) return refuse("{");
    if (end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '?'))
      return refuse(source_.substr(pos_, end + 2 - pos_));
    pass(end + 1 - pos_);
    return {};
  }

  /// What follows a backslash, inside or outside a class.
  Status escape(bool in_class) {
    const char c = peek(1);
    if (c != '\0' && std::string_view("tnrfae").find(c) != std::string_view::npos) {
      pass(2);
      return {};
    }
    switch (c) {
      case 'v':
        return emit(R"(\x0b)", 2);
      case 'x':
      case 'u':
        return code_point();
      case 's':
        return emit_set(in_class ? std::string(kSpace) : "[" + std::string(kSpace) + "]", 2);
      case 'S':
        return in_class ? Status(refuse(R"([\S])")) : emit_set("[^" + std::string(kSpace) + "]", 2);
      case 'd':
        return emit_set(R"(\p{Nd})", 2);
      case 'D':
        return emit_set(R"(\P{Nd})", 2);
      case 'p':
      case 'P':
        return property();
      default:
        break;
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7F || is_letter(c) || is_digit(c)) return refuse(source_.substr(pos_, 2));
    pass(2);
    return {};
  }

  Status emit(std::string_view text, std::size_t consumed) {
    out_.append(text);
    pos_ += consumed;
    return {};
  }

  /// A set of characters: case folding of sets differs between the engines.
  Status emit_set(std::string_view text, std::size_t consumed) {
    if (caseless()) return refuse("a caseless character property");
    return emit(text, consumed);
  }

  /// \p{Lu}, \P{N}: general categories by their short names.
  Status property() {
    const std::size_t close = source_.find('}', pos_);
    if (peek(2) != '{' || close == std::string_view::npos) return refuse(source_.substr(pos_, 3));
    const std::string_view whole = source_.substr(pos_, close + 1 - pos_);
    const std::string_view name = whole.substr(3, whole.size() - 4);
    if (std::find(kCategories.begin(), kCategories.end(), name) == kCategories.end()) return refuse(whole);
    return emit_set(whole, whole.size());
  }

  /// \xHH (one byte to Oniguruma, hence ASCII only), \x{H...}, \uHHHH.
  Status code_point() {
    const bool braces = peek(1) == 'x' && peek(2) == '{';
    const std::size_t first = pos_ + (braces ? 3 : 2);
    const std::size_t most = braces ? 6 : peek(1) == 'x' ? 2 : 4;
    std::size_t end = first;
    while (end < source_.size() && end - first < most && is_hex(source_[end])) ++end;
    const std::string_view digits = source_.substr(first, end - first);
    bool ok = braces ? end > first && end < source_.size() && source_[end] == '}' : digits.size() == most;
    if (ok && !braces && most == 2) ok = digits[0] < '8';
    if (!ok || caseless()) return refuse(source_.substr(pos_, end + 1 - pos_));
    return emit("\\x{" + std::string(digits) + "}", end + (braces ? 1 : 0) - pos_);
  }

  /// [...] without set operations, nested or POSIX classes. A hyphen beside a set means different things.
  Status character_class() {
    pass(has("[^") ? 2 : 1);
    if (peek() == ']') return refuse("[]");
    bool after_set = false;
    while (pos_ < source_.size() && peek() != ']') {
      if (peek() == '[' || has("&&")) return refuse(source_.substr(pos_, 2));
      const bool hyphen = peek() == '-' && peek(1) != ']' && source_[pos_ - 1] != '[' && !has_before("[^");
      if (hyphen && (after_set || starts_set(1))) return refuse("a hyphen beside a character set");
      after_set = starts_set(0);
      if (auto ok = peek() == '\\' ? escape(true) : class_literal(); !ok) return ok;
    }
    pass(1);  // the bracket, or nothing: PCRE2 reports a class that does not end
    return {};
  }

  Status class_literal() {
    const std::size_t length = char_length(peek());
    if (caseless() && length > 1) return refuse("a caseless non-ASCII character");
    pass(length);
    return {};
  }

  bool has_before(std::string_view text) const noexcept { return source_.substr(0, pos_).ends_with(text); }
  bool starts_set(std::size_t ahead) const noexcept {
    return peek(ahead) == '\\' && std::string_view("sSdDpP").find(peek(ahead + 1)) != std::string_view::npos;
  }

  std::string_view source_;
  std::size_t pos_ = 0;
  std::string out_;
  char letter_ = '\0';        // in lower case, where nothing but group borders follows it
  std::vector<bool> groups_;  // of the open groups: is case ignored inside?
};

}  // namespace

Result<std::string> to_pcre2(std::string_view oniguruma) { return Translator(oniguruma).run(); }

}  // namespace kvant::text
