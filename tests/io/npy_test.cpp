// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/npy.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "test_files.hpp"

namespace kvant::io {
namespace {

using namespace std::string_literals;
using test::code_of;
using test::TemporaryFolder;

std::string npy(const std::string& header, const std::string& data, int major = 1) {
  std::string out = "\x93NUMPY" + std::string(1, static_cast<char>(major)) + '\0';
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) out += static_cast<char>((header.size() >> (8 * i)) & 0xff);
  return out + header + data;
}

std::string dict(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }   \n";
}

Result<NpyArray> read(const std::string& bytes) {
  const TemporaryFolder folder;
  return read_npy(folder.write("a.npy", bytes));
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  std::string out;
  for (const T v : values) out.append(reinterpret_cast<const char*>(&v), sizeof v);
  return out;
}

TEST(Npy, ReadsEveryTypeOfNumber) {
  struct Case {
    std::string descr;
    DType dtype;
    std::string data;
  };
  for (const Case& c :
       {Case{"<f2", DType::f16, raw<std::uint16_t>({0x3c00, 0x4000})}, Case{"<f4", DType::f32, raw<float>({1, 2})},
        Case{"<f8", DType::f64, raw<double>({1, 2})}, Case{"|i1", DType::i8, raw<std::int8_t>({1, 2})},
        Case{"<i2", DType::i16, raw<std::int16_t>({1, 2})}, Case{"<i4", DType::i32, raw<std::int32_t>({1, 2})},
        Case{"<i8", DType::i64, raw<std::int64_t>({1, 2})}, Case{"|u1", DType::u8, raw<std::uint8_t>({1, 2})},
        Case{"<u2", DType::u16, raw<std::uint16_t>({1, 2})}, Case{"<u4", DType::u32, raw<std::uint32_t>({1, 2})},
        Case{"<u8", DType::u64, raw<std::uint64_t>({1, 2})}}) {
    const Result<NpyArray> a = read(npy(dict(c.descr, "(2,)"), c.data));
    ASSERT_TRUE(a) << c.descr << describe(a.error());
    EXPECT_EQ(a->dtype, c.dtype);
    EXPECT_EQ(a->size(), 2u);
    EXPECT_EQ(a->to_floats().value(), (std::vector<float>{1, 2}));
    if (c.descr[1] == 'f')
      EXPECT_EQ(code_of(a->to_ids()), "unsupported");
    else
      EXPECT_EQ(a->to_ids().value(), (std::vector<std::int64_t>{1, 2}));
  }
}

TEST(Npy, KeepsSignsAndRefusesIdsThatDoNotFit) {
  EXPECT_EQ(read(npy(dict("|i1", "(1,)"), "\xff"))->to_ids().value(), std::vector<std::int64_t>{-1});
  EXPECT_EQ(read(npy(dict("|u1", "(1,)"), "\xff"))->to_ids().value(), std::vector<std::int64_t>{255});
  EXPECT_EQ(code_of(read(npy(dict("<u8", "(1,)"), std::string(8, '\xff')))->to_ids()), "overflow");
  EXPECT_EQ(read(npy(dict("<i8", "(1,)"), raw<std::int64_t>({INT64_MIN})))->to_ids().value(),
            std::vector<std::int64_t>{INT64_MIN});
}

TEST(Npy, ReadsEveryVersionAndShape) {
  for (const int major : {1, 2, 3}) {
    const Result<NpyArray> a = read(npy(dict("<f4", "(2, 3)"), std::string(24, 'x'), major));
    ASSERT_TRUE(a) << describe(a.error());
    EXPECT_EQ(a->shape, (std::vector<std::uint64_t>{2, 3}));
  }
  EXPECT_EQ(read(npy(dict("<f4", "()"), "xxxx"))->shape.size(), 0u);
  EXPECT_EQ(read(npy(dict("<f4", "(0, 3)"), ""))->size(), 0u);
  EXPECT_TRUE(read(npy(dict("<f4", "(1,)", "True"), "xxxx")));
  EXPECT_TRUE(read(npy("{\"shape\":(1,),\"fortran_order\":False,\"descr\":\"<f4\"}", "xxxx")));
}

TEST(Npy, RefusesMalformedHeaders) {
  for (const std::string& header :
       {""s, "{"s, "{}"s, "{'descr': '<f4'}"s, dict("<f4", "(1)") + "x", dict("<f4", "[1]"), dict("<f4", "(-1,)"),
        dict("<f4", "(1.5,)"), dict("<f4", "(1 2)"), dict("<f4", "(18446744073709551616,)"), dict("<f4", "1"),
        dict("<f4", "(1,)", "0"), "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"s,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}"s, "{'descr': '<f4"s, "{descr: '<f4'}"s})
    EXPECT_EQ(code_of(read(npy(header, "xxxx"))), "bad_npy") << header;
  std::string deep = "(";
  for (int i = 0; i < 65; ++i) deep += "1,";
  EXPECT_EQ(code_of(read(npy(dict("<f4", deep + ")"), "xxxx"))), "bad_npy");
  EXPECT_EQ(code_of(read("\x93NUMPX\x01\0\x10\0xxxx"s)), "bad_npy");
}

TEST(Npy, RefusesWhatItDoesNotRead) {
  for (const char* descr : {"<c8", ">f4", ">i8", "<U5", "|b1", "|V2", "<f16", "f4", "<m8[ns]", "", "=f4"})
    EXPECT_EQ(code_of(read(npy(dict(descr, "(1,)"), "xxxx"))), "unsupported") << descr;
  EXPECT_EQ(code_of(read(npy(dict("|O", "(1,)"), "xxxx"))), "pickle");
  EXPECT_EQ(code_of(read(npy(dict("<f4", "(2, 2)", "True"), std::string(16, 'x')))), "unsupported");
  EXPECT_EQ(code_of(read(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "xxxx"))),
            "unsupported");
  EXPECT_EQ(code_of(read(npy(dict("<f4", "(1,)"), "xxxx", 4))), "unsupported");
}

TEST(Npy, RefusesWrongSizesWithThePosition) {
  const std::string good = npy(dict("<f4", "(3,)"), std::string(12, 'x'));
  ASSERT_TRUE(read(good));
  for (std::size_t n = 0; n < good.size(); ++n) {
    const Result<NpyArray> a = read(good.substr(0, n));
    ASSERT_EQ(code_of(a), "truncated") << n;
    EXPECT_EQ(a.error().where.offset, n);
  }
  const Result<NpyArray> longer = read(good + "x");
  ASSERT_EQ(code_of(longer), "trailing_data");
  EXPECT_EQ(longer.error().where.offset, good.size());
  EXPECT_EQ(code_of(read(npy(dict("<f4", "(4294967296, 4294967296)"), "xxxx"))), "overflow");
  EXPECT_EQ(code_of(read("\x93NUMPY\x02\0\xff\xff\xff\xff"s)), "limit");
}

TEST(Npy, KeepsToItsLimit) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.npy", npy(dict("<f4", "(3,)"), std::string(12, 'x')));
  EXPECT_TRUE(read_npy(path, std::filesystem::file_size(path)));
  EXPECT_EQ(code_of(read_npy(path, std::filesystem::file_size(path) - 1)), "limit");
  EXPECT_EQ(code_of(read_npy(folder / "none")), "not_found");
  EXPECT_EQ(code_of(read_npy(folder.path())), "not_regular_file");
}

TEST(Npy, WritesWhatNumpyWrites) {
  const TemporaryFolder folder;
  const std::vector<float> data{1, -2, 0.5f, 4, 5, 6};
  const std::vector<std::uint64_t> shape{2, 3};
  ASSERT_TRUE(write_npy(folder / "a.npy", data, shape, OutputMode::refuse));
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  header.resize(128 - 10 - 1, ' ');
  EXPECT_EQ(test::read_bytes(folder / "a.npy"), npy(header + "\n", raw<float>({1, -2, 0.5f, 4, 5, 6})));
  EXPECT_EQ(code_of(write_npy(folder / "a.npy", data, shape, OutputMode::refuse)), "exists");
}

TEST(Npy, WhatIsWrittenReadsBack) {
  const TemporaryFolder folder;
  for (const std::vector<std::uint64_t>& shape :
       {std::vector<std::uint64_t>{}, {6}, {1}, {0}, {2, 3}, {1, 2, 3, 1}, {3, 0}}) {
    const std::uint64_t bytes = std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
    std::vector<float> data(bytes);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i) - 1.25f;
    ASSERT_TRUE(write_npy(folder / "a.npy", data, shape, OutputMode::replace));
    EXPECT_EQ((std::filesystem::file_size(folder / "a.npy") - 4 * data.size()) % 64, 0u);
    const Result<NpyArray> a = read_npy(folder / "a.npy");
    ASSERT_TRUE(a) << describe(a.error());
    EXPECT_EQ(a->shape, shape);
    EXPECT_EQ(a->to_floats().value(), data);
  }
}

TEST(Npy, RefusesToWriteAnotherNumberOfElements) {
  const TemporaryFolder folder;
  const std::vector<float> data(5);
  EXPECT_EQ(code_of(write_npy(folder / "a", data, std::vector<std::uint64_t>{2, 3}, OutputMode::refuse)), "usage");
  EXPECT_EQ(code_of(write_npy(folder / "a", data, std::vector<std::uint64_t>{UINT64_MAX, 3}, OutputMode::refuse)),
            "usage");
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace kvant::io
