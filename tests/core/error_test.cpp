// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/error.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace {

using kvant::ErrorCode;
using kvant::kErrorCodes;

TEST(ErrorCodes, StandInTheOrderOfTheEnum) {
  for (std::size_t i = 0; i < kErrorCodes.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(kErrorCodes[i].code), i) << kErrorCodes[i].name;
    EXPECT_EQ(&kvant::error_info(kErrorCodes[i].code), &kErrorCodes[i]);
  }
  EXPECT_EQ(kvant::error_info(ErrorCode::interrupted).name, "interrupted");
  EXPECT_EQ(kvant::error_info(ErrorCode::interrupted).code, kErrorCodes.back().code) << "the last one has a row";
}

TEST(ErrorCodes, HaveUniqueMachineReadableNamesAndAMeaning) {
  std::set<std::string> names;
  for (const kvant::ErrorInfo& e : kErrorCodes) {
    EXPECT_TRUE(names.insert(std::string(e.name)).second) << e.name;
    EXPECT_EQ(e.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"), std::string::npos) << e.name;
    EXPECT_FALSE(e.name.empty());
    EXPECT_FALSE(e.meaning.empty()) << e.name;
  }
}

TEST(ErrorCodes, ExitWithTheNumbersOfTheCommandLineContract) {
  const std::set<int> contract{2, 3, 4, 5, 6, 7, 8, 9, 130};
  for (const kvant::ErrorInfo& e : kErrorCodes) EXPECT_TRUE(contract.count(e.exit_code)) << e.name;
  // Those that other programs rely on.
  const std::map<std::string, int> fixed{{"usage", 2},
                                         {"bad_scheme", 2},
                                         {"rule_matches_nothing", 2},
                                         {"truncated", 3},
                                         {"overlap", 3},
                                         {"bad_utf8", 3},
                                         {"duplicate_key", 3},
                                         {"lfs_pointer", 3},
                                         {"html_page", 3},
                                         {"unknown_dtype", 4},
                                         {"pickle", 4},
                                         {"archive", 4},
                                         {"not_regular_file", 5},
                                         {"no_model", 5},
                                         {"io", 5},
                                         {"limit", 6},
                                         {"out_of_memory", 6},
                                         {"nonfinite", 7},
                                         {"scale_overflow", 7},
                                         {"singular", 7},
                                         {"threshold", 8},
                                         {"resume_mismatch", 9},
                                         {"interrupted", 130}};
  std::size_t found = 0;
  for (const kvant::ErrorInfo& e : kErrorCodes) {
    const auto row = fixed.find(std::string(e.name));
    if (row == fixed.end()) continue;
    ++found;
    EXPECT_EQ(e.exit_code, row->second) << e.name;
  }
  EXPECT_EQ(found, fixed.size());
}

TEST(Describe, NamesFileTensorAndOffsetWhereKnown) {
  EXPECT_EQ(kvant::describe({ErrorCode::io, "text", {}}), "text");
  EXPECT_EQ(kvant::describe({ErrorCode::io, "text", {"a.bin", "", std::nullopt}}), "a.bin: text");
  EXPECT_EQ(kvant::describe({ErrorCode::io, "text", {"a.bin", "w", 12}}), "a.bin: w: byte 12: text");
  EXPECT_EQ(kvant::describe({ErrorCode::io, "text", {"", "w", 0}}), "w: byte 0: text");
  EXPECT_EQ(kvant::describe({ErrorCode::io, "", {"", "", UINT64_MAX}}), "byte 18446744073709551615: ");
}

kvant::Result<int> refuse() { return kvant::fail(ErrorCode::limit, "too many", {"f", "t", 3}); }

kvant::Status pass_on() {
  auto r = refuse();
  if (!r) return kvant::propagate(r);
  return {};
}

kvant::Result<std::string> pass_on_from_const() {
  const kvant::Result<int> r = refuse();
  if (!r) return kvant::propagate(r);
  return std::string();
}

TEST(Result, CarriesAValueOrAnError) {
  const kvant::Result<int> value = 3;
  ASSERT_TRUE(value.has_value());
  EXPECT_EQ(*value, 3);
  const auto error = refuse();
  ASSERT_FALSE(error.has_value());
  EXPECT_EQ(error.error().code, ErrorCode::limit);
  EXPECT_EQ(kvant::describe(error.error()), "f: t: byte 3: too many");
}

TEST(Result, IsPassedOnWithItsError) {
  const kvant::Status status = pass_on();
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(kvant::describe(status.error()), "f: t: byte 3: too many");
  const auto text = pass_on_from_const();
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code, ErrorCode::limit);
}

}  // namespace
