// SPDX-License-Identifier: Apache-2.0
#include "kvant/tensor/dtype.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>

namespace {

using kvant::kDTypes;

TEST(DTypes, StandInTheOrderOfTheEnum) {
  for (std::size_t i = 0; i < kDTypes.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(kDTypes[i].dtype), i) << kDTypes[i].name;
    EXPECT_EQ(&kvant::dtype_info(kDTypes[i].dtype), &kDTypes[i]);
  }
}

TEST(DTypes, AreThoseOfSafetensorsWithTheirWidths) {
  const std::map<std::string, unsigned> bits{
      {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
      {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
      {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
      {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}};
  EXPECT_EQ(kDTypes.size(), bits.size());
  for (const kvant::DTypeInfo& d : kDTypes) {
    const auto found = bits.find(std::string(d.name));
    ASSERT_NE(found, bits.end()) << d.name;
    EXPECT_EQ(d.bits, found->second) << d.name;
    EXPECT_EQ(d.is_float, d.name[0] == 'F' || d.name == "BF16") << d.name;
  }
}

TEST(DTypes, AreFoundByTheirExactNamesOnly) {
  for (const kvant::DTypeInfo& d : kDTypes) EXPECT_EQ(kvant::dtype_from_name(d.name), d.dtype);
  for (const char* name : {"", "f32", "F32 ", "F8", "FLOAT", "F8_E4M3FN"})
    EXPECT_FALSE(kvant::dtype_from_name(name).has_value()) << name;
}

}  // namespace
