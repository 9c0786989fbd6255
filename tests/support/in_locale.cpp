// SPDX-License-Identifier: Apache-2.0
// Part of every test program: KVANT_TEST_LOCALE=de_DE.UTF-8 runs its tests as in a host that has chosen a locale.
#include <gtest/gtest.h>

#include <locale>

#include "foreign_locale.hpp"

namespace {

class InLocale final : public ::testing::Environment {
 public:
  void SetUp() override {
    if (kvant::test::locale_name() != nullptr) std::locale::global(std::locale(kvant::test::locale_name()));
  }
};

[[maybe_unused]] const ::testing::Environment* const in_locale = ::testing::AddGlobalTestEnvironment(new InLocale);

}  // namespace
