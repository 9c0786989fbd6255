// SPDX-License-Identifier: Apache-2.0
#include "unicode.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "kvant/core/contract.hpp"
#include "pattern.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

using Code = utf8proc_int32_t;

constexpr bool is_ascii(char c) noexcept { return static_cast<unsigned char>(c) < 0x80; }

/// STABLE keeps to the compositions that Unicode has fixed for ever.
utf8proc_option_t options_of(Form form) noexcept {
  int options = UTF8PROC_STABLE;
  options |= form == Form::nfc || form == Form::nfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == Form::nfkc || form == Form::nfkd) options |= UTF8PROC_COMPAT;
  return static_cast<utf8proc_option_t>(options);
}

utf8proc_category_t category_of(char32_t c) noexcept { return utf8proc_category(static_cast<Code>(c)); }

utf8proc_propval_t combining_class(Code code) noexcept { return utf8proc_get_property(code)->combining_class; }

/// Appends what one character decomposes to.
void decompose(char32_t c, utf8proc_option_t options, std::vector<Code>& codes) {
  std::array<Code, 32> parts{};  // U+FDFA, the longest, has 18
  int bound_class = 0;
  const auto count = utf8proc_decompose_char(static_cast<Code>(c), parts.data(), parts.size(), options, &bound_class);
  expects(count >= 0 && static_cast<std::size_t>(count) <= parts.size(), "a character decomposes to a few");
  codes.insert(codes.end(), parts.begin(), parts.begin() + count);
}

/// Sorts each run of marks by class, as utf8proc_decompose() would in quadratic time.
void order_marks(std::vector<Code>& codes) {
  const auto is_starter = [](Code code) { return combining_class(code) == 0; };
  for (auto begin = codes.begin(); begin != codes.end();) {
    begin = std::find_if_not(begin, codes.end(), is_starter);
    const auto end = std::find_if(begin, codes.end(), is_starter);
    std::stable_sort(begin, end, [](Code a, Code b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

/// Appends `codes`, decomposed and in order, composed where the form asks for it.
void append_form(std::vector<Code>& codes, utf8proc_option_t options, std::string& text) {
  constexpr Code kNoFinal = 0x11A7;  // joins nothing, but utf8proc 2.8 drops it behind a syllable without a final
  for (auto begin = codes.begin();; ++begin) {
    const auto end = std::find(begin, codes.end(), kNoFinal);
    const auto length = utf8proc_normalize_utf32(std::to_address(begin), end - begin, options);
    std::for_each(begin, begin + length, [&](Code code) { append_utf8(text, static_cast<char32_t>(code)); });
    if (end == codes.end()) return;
    append_utf8(text, kNoFinal);
    begin = end;
  }
}

/// The next stretch from `from` on that a form may change. ASCII is the same in every form and joins nothing before it,
/// so that stretches do not touch each other; a mark joins the character before it, which may be ASCII.
Range next_stretch(std::string_view text, std::size_t from) noexcept {
  const auto start = text.begin() + static_cast<std::ptrdiff_t>(from);
  const auto other = std::find_if_not(start, text.end(), is_ascii);
  const auto begin = other != start && other != text.end() ? other - 1 : other;
  const auto end = std::find_if(other, text.end(), is_ascii);
  return {static_cast<std::size_t>(begin - text.begin()), static_cast<std::size_t>(end - text.begin())};
}

}  // namespace

Result<std::string> to_form(Form form, std::string_view text) {
  const utf8proc_option_t options = options_of(form);
  std::string result;
  result.reserve(text.size());
  std::vector<Code> codes;
  for (std::size_t done = 0; done < text.size();) {
    const auto [begin, end] = next_stretch(text, done);
    result.append(text, done, begin - done);
    done = end;
    codes.clear();
    for (std::size_t pos = begin; pos < end; pos += char_length(text[pos])) {
      decompose(char_at(text, pos), options, codes);
      if (codes.size() > kMaxTextBytes / sizeof(Code) || result.size() > kMaxTextBytes)
        return fail(ErrorCode::limit,
                    "a normalization form takes more than " + std::to_string(kMaxTextBytes) + " bytes");
    }
    order_marks(codes);
    append_form(codes, options, result);
  }
  return result;
}

void append_lower_case(std::string& text, char32_t c) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the one whose lower case has two characters
  if (c == kCapitalIWithDot)
    text.append("i\xCC\x87");
  else
    append_utf8(text, static_cast<char32_t>(utf8proc_tolower(static_cast<Code>(c))));
}

bool is_mark(char32_t c) noexcept {
  const utf8proc_category_t category = category_of(c);
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

bool is_nonspacing_mark(char32_t c) noexcept { return category_of(c) == UTF8PROC_CATEGORY_MN; }

bool is_control(char32_t c) noexcept {
  const utf8proc_category_t category = category_of(c);
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}

std::size_t cluster_end(std::string_view text, std::size_t begin) noexcept {
  utf8proc_int32_t state = 0;
  std::size_t end = begin + char_length(text[begin]);
  for (std::size_t last = begin; end < text.size(); last = std::exchange(end, end + char_length(text[end]))) {
    const auto before = static_cast<Code>(char_at(text, last));
    if (utf8proc_grapheme_break_stateful(before, static_cast<Code>(char_at(text, end)), &state)) break;
  }
  return end;
}

}  // namespace kvant::text
