// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/sniff.hpp"

#include <gtest/gtest.h>

#include "test_files.hpp"

namespace kvant::io {
namespace {

using namespace std::string_literals;
using test::code_of;
using test::TemporaryFolder;

Result<std::string_view> sniff_bytes(const std::string& bytes) {
  const TemporaryFolder folder;
  const Result<InputFile> file = InputFile::open(folder.write("model.safetensors", bytes));
  EXPECT_TRUE(file);
  const auto format = sniff(*file);
  if (!format) return propagate(format);
  return (*format)->name;
}

TEST(Sniff, KnowsItsOwnFormats) {
  EXPECT_EQ(sniff_bytes(test::safetensors_bytes("{}", "")).value(), "safetensors");
  EXPECT_EQ(sniff_bytes(test::safetensors_bytes(" \n{}", "")).value(), "safetensors");
  EXPECT_EQ(sniff_bytes("\x93NUMPY\x01\0v\0{'descr'"s).value(), "npy");
}

TEST(Sniff, TellsWhereShortFilesEnd) {
  for (std::size_t n = 0; n < 8; ++n) {
    const Result<std::string_view> r = sniff_bytes(std::string(n, '\x01'));
    ASSERT_EQ(code_of(r), "truncated") << n;
    EXPECT_EQ(r.error().where.offset, n);
  }
}

TEST(Sniff, HintsAtWhatWasSavedByMistake) {
  EXPECT_EQ(code_of(sniff_bytes("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")),
            "lfs_pointer");
  EXPECT_EQ(code_of(sniff_bytes("<!DOCTYPE html>\n<html><body>404</body></html>")), "html_page");
  EXPECT_EQ(code_of(sniff_bytes("\xef\xbb\xbf\r\n <HTML lang=\"en\">")), "html_page");
  EXPECT_EQ(code_of(sniff_bytes("<?xml version=\"1.0\"?><Error>NoSuchKey</Error>")), "html_page");
}

TEST(Sniff, RefusesOtherFormatsByName) {
  EXPECT_EQ(code_of(sniff_bytes("\x80\x02}q\x01(X\x05\0\0\0ab"s)), "pickle");
  EXPECT_EQ(code_of(sniff_bytes("\x80\x04\x95\x1a\0\0\0\0\0\0\0}"s)), "pickle");
  EXPECT_EQ(code_of(sniff_bytes("PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0archive/data.pkl\x80\x02"s)), "pickle");
  EXPECT_EQ(code_of(sniff_bytes("PK\x03\x04\x14\0\0\0\0\0\0\0arr_0.npy"s)), "archive");
  EXPECT_EQ(code_of(sniff_bytes("PK\x05\x06"s + std::string(18, '\0'))), "archive");
  EXPECT_EQ(code_of(sniff_bytes("\x1f\x8b\x08\0\0\0\0\0\0\x03"s)), "archive");
  EXPECT_EQ(code_of(sniff_bytes("\x28\xb5\x2f\xfd\0\0\0\0"s)), "archive");
  EXPECT_EQ(code_of(sniff_bytes(std::string(257, 'x') + "ustar\0"s + "00")), "archive");
  EXPECT_EQ(code_of(sniff_bytes("GGUF\x03\0\0\0"s + std::string(16, '\0'))), "unsupported");
  EXPECT_EQ(code_of(sniff_bytes("FUGG\0\0\0\x03"s)), "unsupported");
  EXPECT_EQ(code_of(sniff_bytes("\x89HDF\r\n\x1a\n\0\0"s)), "unsupported");
  EXPECT_EQ(code_of(sniff_bytes("\x08\x08\x12\x07pytorch"s)), "unsupported");
}

TEST(Sniff, ALengthThatLooksLikeAPickleIsStillALength) {
  const std::string header = "{}" + std::string(0x0280 - 2, ' ');  // 640 bytes: 80 02 00 ...
  EXPECT_EQ(sniff_bytes(test::safetensors_bytes(header, "")).value(), "safetensors");
}

TEST(Sniff, SaysThatTextIsNoSafetensorsFile) {
  const Result<std::string_view> r = sniff_bytes("Once upon a time there was a model.");
  ASSERT_EQ(code_of(r), "bad_header");
  EXPECT_NE(r.error().message.find("no safetensors file"), std::string::npos);
}

}  // namespace
}  // namespace kvant::io
