// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/utf8.hpp"

#include <gtest/gtest.h>

#include <string>

namespace kvant::io {
namespace {

/// Whether code point text encodes is a scalar value, by the definition: encode every scalar value and compare.
std::string encode(unsigned c) {
  const auto byte = [](unsigned x) { return static_cast<char>(x); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xc0 | c >> 6), byte(0x80 | (c & 63))};
  if (c < 0x10000) return {byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
  return {byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
}

TEST(Utf8, AcceptsEveryScalarValue) {
  for (unsigned c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    ASSERT_EQ(find_invalid_utf8(encode(c)), std::nullopt) << c;
  }
}

TEST(Utf8, RefusesSurrogatesAndWhatLiesBeyond) {
  for (unsigned c = 0xd800; c < 0xe000; ++c) ASSERT_EQ(find_invalid_utf8(encode(c)), 0u) << c;
  for (unsigned c = 0x110000; c < 0x200000; c += 97) ASSERT_EQ(find_invalid_utf8(encode(c)), 0u) << c;
}

TEST(Utf8, RefusesOverlongForms) {
  for (const char* text :
       {"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf"})
    EXPECT_EQ(find_invalid_utf8(text), 0u);
}

TEST(Utf8, FindsThePositionWhereverItIs) {
  const std::string good = "abcdefg\xc3\xa9hijklmnopq\xe2\x82\xac...\xf0\x9f\x98\x80.........";
  ASSERT_EQ(find_invalid_utf8(good), std::nullopt);
  for (std::size_t cut = 0; cut <= 40; ++cut) {
    const std::string text = std::string(cut, 'x') + "\xff" + good;
    EXPECT_EQ(find_invalid_utf8(text), cut);
  }
  EXPECT_EQ(find_invalid_utf8(good.substr(0, 8)), 7u);  // a sequence that the end cuts
}

TEST(Utf8, PrintableTextIsOneValidLine) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const std::string text = printable(all + "\xc2\x85\xe2\x82\xac", 100'000);
  EXPECT_EQ(find_invalid_utf8(text), std::nullopt);
  for (const char c : text) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  EXPECT_EQ(printable("a\nb\xff\x1b[31m \xe2\x82\xac"), "a\\x0ab\\xff\\x1b[31m \xe2\x82\xac");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");  // a C1 control
}

TEST(Utf8, PrintableTextHasALimit) { EXPECT_EQ(printable(std::string(1000, 'a'), 10), "aaaaaaaaaa..."); }

}  // namespace
}  // namespace kvant::io
