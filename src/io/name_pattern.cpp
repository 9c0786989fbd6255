// SPDX-License-Identifier: Apache-2.0
#include "name_pattern.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <new>

namespace kvant::io {
namespace {

constexpr std::uint32_t kMatchLimit = 100'000;  // steps per name; real patterns take dozens
constexpr std::size_t kMaxPattern = 16 * 1024;

}  // namespace

void NamePattern::Free::operator()(pcre2_real_code_8* p) const noexcept { pcre2_code_free_8(p); }
void NamePattern::Free::operator()(pcre2_real_match_data_8* p) const noexcept { pcre2_match_data_free_8(p); }
void NamePattern::Free::operator()(pcre2_real_match_context_8* p) const noexcept { pcre2_match_context_free_8(p); }

Result<NamePattern> NamePattern::compile(const std::string& pattern, Match match) {
  if (pattern.size() > kMaxPattern)
    return fail(ErrorCode::bad_pattern, "a pattern of " + std::to_string(pattern.size()) + " bytes, expected at most " +
                                            std::to_string(kMaxPattern));
  int code = 0;
  PCRE2_SIZE at = 0;
  NamePattern result;
  result.source_ = pattern;
  result.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_ANCHORED | PCRE2_UTF | (match == Match::whole ? PCRE2_ENDANCHORED : 0u), &code,
                                   &at, nullptr));
  if (result.code_ == nullptr) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(code, text.data(), text.size());
    return fail(ErrorCode::bad_pattern, "pattern '" + pattern + "', position " + std::to_string(at) + ": " +
                                            reinterpret_cast<const char*>(text.data()));
  }
  result.data_.reset(pcre2_match_data_create(1, nullptr));
  result.context_.reset(pcre2_match_context_create(nullptr));
  if (result.data_ == nullptr || result.context_ == nullptr) return fail(ErrorCode::out_of_memory, "memory ran out");
  pcre2_set_match_limit(result.context_.get(), kMatchLimit);
  return result;
}

Result<bool> NamePattern::matches(std::string_view name) const {
  const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0, data_.get(),
                                context_.get());
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  return fail(ErrorCode::bad_pattern, "pattern '" + source_ + "' takes too many steps on '" +
                                          std::string(name.substr(0, 80)) + "'; make it simpler");
}

}  // namespace kvant::io
