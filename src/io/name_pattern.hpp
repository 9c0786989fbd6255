// SPDX-License-Identifier: Apache-2.0
// A regular expression over tensor names: PCRE2, with bounded effort, since patterns come from users and from files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;

namespace kvant::io {

/// What of a name a pattern must match: all of it, or its beginning, as Python's re.match().
enum class Match : std::uint8_t { whole, beginning };

class NamePattern {
 public:
  /// `bad_pattern` with the position where it does not compile.
  [[nodiscard]] static Result<NamePattern> compile(const std::string& pattern, Match match = Match::whole);

  /// `bad_pattern` where matching takes too many steps.
  [[nodiscard]] Result<bool> matches(std::string_view name) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* p) const noexcept;
    void operator()(pcre2_real_match_data_8* p) const noexcept;
    void operator()(pcre2_real_match_context_8* p) const noexcept;
  };
  std::string source_;
  std::unique_ptr<pcre2_real_code_8, Free> code_;
  std::unique_ptr<pcre2_real_match_data_8, Free> data_;
  std::unique_ptr<pcre2_real_match_context_8, Free> context_;
};

}  // namespace kvant::io
