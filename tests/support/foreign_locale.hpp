// SPDX-License-Identifier: Apache-2.0
// A locale in which 1234.5 is written 1.234,5, as hosts may have set for their own sake.
#pragma once

#include <cstdlib>
#include <locale>
#include <string>

namespace kvant::test {

/// The locale that KVANT_TEST_LOCALE names, which the C library follows, too; nullptr where it names none.
inline const char* locale_name() { return std::getenv("KVANT_TEST_LOCALE"); }

class CommaPunctuation final : public std::numpunct<char> {
 protected:
  [[nodiscard]] char do_decimal_point() const override { return ','; }
  [[nodiscard]] char do_thousands_sep() const override { return '.'; }
  [[nodiscard]] std::string do_grouping() const override { return "\3"; }
};

/// While it lives, the process is in locale_name() or, without one, in a locale that streams alone follow.
class ForeignLocale {
 public:
  ForeignLocale()
      : before_(std::locale::global(locale_name() != nullptr
                                        ? std::locale(locale_name())
                                        : std::locale(std::locale::classic(), new CommaPunctuation))) {}
  ForeignLocale(const ForeignLocale&) = delete;
  ForeignLocale& operator=(const ForeignLocale&) = delete;
  ~ForeignLocale() { std::locale::global(before_); }

 private:
  std::locale before_;
};

}  // namespace kvant::test
