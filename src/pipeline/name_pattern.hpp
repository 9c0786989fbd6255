// SPDX-License-Identifier: Apache-2.0
// A regular expression over tensor names: PCRE2, anchored at both ends, with bounded effort, since patterns come from
// users and names from files.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;

namespace kvant::pipeline {

class NamePattern {
 public:
  /// `bad_pattern` with the position where it does not compile.
  [[nodiscard]] static Result<NamePattern> compile(const std::string& pattern);

  /// Whether the whole of `name` matches. `bad_pattern` where matching takes too many steps.
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

}  // namespace kvant::pipeline
