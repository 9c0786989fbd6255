// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/contract.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>
#include <string>

namespace {

using kvant::ContractViolation;
using kvant::expects;
using kvant::set_contract_handler;

std::string seen_file;
int seen_line = 0;

void throwing_handler(const ContractViolation& v) {
  seen_file = v.file;
  seen_line = v.line;
  throw std::logic_error(v.text);
}
void returning_handler(const ContractViolation&) {}

TEST(Contract, HoldsSilently) {
  const auto before = set_contract_handler(throwing_handler);
  EXPECT_NO_THROW(expects(true, "never said"));
  set_contract_handler(before);
}

TEST(Contract, TellsTheHandlerTextFileAndLineOfTheCaller) {
  const auto before = set_contract_handler(throwing_handler);
  int line = 0;
  try {
    line = __LINE__ + 1;
    expects(1 > 2, "one exceeds two");
    ADD_FAILURE() << "went on after a broken contract";
  } catch (const std::logic_error& e) {
    EXPECT_STREQ(e.what(), "one exceeds two");
  }
  set_contract_handler(before);
  EXPECT_EQ(seen_line, line);
  EXPECT_NE(seen_file.find("contract_test.cpp"), std::string::npos);
}

TEST(Contract, GivesTheHandlerBeforeBack) {
  const auto original = set_contract_handler(throwing_handler);
  EXPECT_EQ(set_contract_handler(returning_handler), &throwing_handler);
  EXPECT_EQ(set_contract_handler(nullptr), &returning_handler);
  EXPECT_EQ(set_contract_handler(original), original) << "null restores the default handler";
}

TEST(ContractDeathTest, AbortsWithTheTextByDefault) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(expects(false, "the text of the promise"), "contract_test.*the text of the promise");
}

TEST(ContractDeathTest, AbortsWhereTheHandlerReturns) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        set_contract_handler(returning_handler);
        expects(false, "unused");
      },
      "");
}

constexpr int twice(int x) {
  expects(x >= 0, "not negative");
  return 2 * x;
}
static_assert(twice(3) == 6, "contracts may stand in constant expressions");

}  // namespace
