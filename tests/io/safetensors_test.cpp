// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/safetensors.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <ctime>
#include <random>
#include <thread>

#include "kvant/io/json.hpp"
#include "support/test_cases.hpp"
#include "test_files.hpp"

namespace kvant::io {
namespace {

using namespace std::string_literals;
using test::code_of;
using test::little_endian_u64;
using test::safetensors_bytes;
using test::TemporaryFolder;

Result<SafetensorsHeader> parse(std::string_view header, std::uint64_t data_bytes) {
  return parse_safetensors_header(std::as_bytes(std::span(header)), 8 + header.size() + data_bytes,
                                  {"x.safetensors", {}, {}});
}

Result<SafetensorsFile> open_bytes(const std::string& bytes) {
  const TemporaryFolder folder;
  return SafetensorsFile::open(folder.write("x.safetensors", bytes));
}

/// One tensor "t" with these fields, as JSON text.
std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return "{\"t\":{\"dtype\":" + std::string(dtype) + ",\"shape\":" + std::string(shape) +
         ",\"data_offsets\":" + std::string(offsets) + "}}";
}

struct Refusal {
  std::string header;
  std::uint64_t data_bytes;
  std::string code;
};

void expect_refusals(const std::vector<Refusal>& list) {
  for (const Refusal& r : list) {
    const Result<SafetensorsHeader> h = parse(r.header, r.data_bytes);
    EXPECT_EQ(code_of(h), r.code) << r.header.substr(0, 200);
    if (h) continue;
    EXPECT_EQ(h.error().where.file, "x.safetensors");
    EXPECT_TRUE(h.error().where.offset.has_value()) << describe(h.error());
  }
}

TEST(Safetensors, ReadsTensorsAndMetadata) {
  const std::string header =
      R"({"__metadata__":{"format":"pt","b":"2"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"data_offsets":[24,28],"shape":[2],"dtype":"BF16"}})";
  const Result<SafetensorsHeader> h = parse(header, 28);
  ASSERT_TRUE(h) << describe(h.error());
  ASSERT_EQ(h->tensors.size(), 2u);
  EXPECT_EQ(h->tensors[0].name, "w");
  EXPECT_EQ(h->tensors[0].dtype, DType::f32);
  EXPECT_EQ(h->tensors[0].shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(h->tensors[0].offset, 8 + header.size());
  EXPECT_EQ(h->tensors[0].bytes, 24u);
  EXPECT_EQ(h->tensors[1].offset, 8 + header.size() + 24);
  EXPECT_EQ(h->metadata, (Metadata{{"format", "pt"}, {"b", "2"}}));
}

TEST(Safetensors, KnowsEveryDType) {
  for (const DTypeInfo& d : kDTypes) {
    const Result<SafetensorsHeader> h =
        parse(one("\"" + std::string(d.name) + "\"", "[4]", "[0," + std::to_string(d.bits / 2) + "]"), d.bits / 2);
    ASSERT_TRUE(h) << d.name << ": " << describe(h.error());
    EXPECT_EQ(h->tensors[0].dtype, d.dtype);
  }
}

TEST(Safetensors, AcceptsWhiteSpaceAroundTheHeader) {
  for (const std::string& text : {"{}"s, "  {}"s, "{}   "s, " \t\r\n{ } \n "s}) EXPECT_TRUE(parse(text, 0)) << text;
}

TEST(Safetensors, AcceptsEmptyTensorsAndScalars) {
  const Result<SafetensorsHeader> h = parse(
      R"({"e":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("f":{"dtype":"I64","shape":[0],"data_offsets":[4,4]}})",
      4);
  ASSERT_TRUE(h) << describe(h.error());
  EXPECT_EQ(h->tensors.size(), 3u);
  EXPECT_EQ(h->tensors[0].name, "e");
  EXPECT_EQ(h->tensors[1].shape.size(), 0u);
  EXPECT_EQ(h->tensors[1].bytes, 4u);
}

TEST(Safetensors, SortsTensorsByTheirPlaceInTheFile) {
  const Result<SafetensorsHeader> h = parse(
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
      R"("c":{"dtype":"U8","shape":[0],"data_offsets":[3,3]}})",
      5);
  ASSERT_TRUE(h) << describe(h.error());
  EXPECT_EQ(h->tensors[0].name, "a");
  EXPECT_EQ(h->tensors[1].name, "c");
  EXPECT_EQ(h->tensors[2].name, "b");
}

// Rows 1 and 6: files too short for a header, and lengths that are none.
TEST(Safetensors, RefusesImpossibleHeaderLengths) {
  for (std::size_t n = 0; n < 8; ++n) EXPECT_EQ(code_of(open_bytes(std::string(n, '\0'))), "truncated") << n;
  const std::string rest = "{}" + std::string(20, ' ');
  const auto with_length = [&](std::uint64_t n) { return code_of(open_bytes(little_endian_u64(n) + rest)); };
  EXPECT_EQ(with_length(0), "bad_header");
  EXPECT_EQ(with_length(1), "bad_header");
  EXPECT_EQ(with_length(2), "trailing_data");
  EXPECT_EQ(with_length(rest.size()), "success");
  EXPECT_EQ(with_length(rest.size() + 1), "truncated");  // the file's size - 7
  EXPECT_EQ(with_length(std::uint64_t{1} << 63), "bad_header");
  EXPECT_EQ(with_length(UINT64_MAX), "bad_header");
  EXPECT_EQ(with_length(UINT64_MAX - 7), "bad_header");  // plus 8 wraps to 0
}

// Row 7.
TEST(Safetensors, RefusesAHeaderAboveTheLimitAndNamesIt) {
  const Result<SafetensorsFile> r = open_bytes(little_endian_u64(100'000'001) + "{}");
  ASSERT_EQ(code_of(r), "limit");
  EXPECT_NE(r.error().message.find("100000000"), std::string::npos);
}

// Row 8.
TEST(Safetensors, RefusesWhatIsNotOneJsonObject) {
  expect_refusals({{"\xef\xbb\xbf{}", 0, "bad_json"},
                   {"{} x", 0, "bad_json"},
                   {"{}{}", 0, "bad_json"},
                   {"{}\0"s, 0, "bad_json"},
                   {"", 0, "bad_json"},
                   {"[]", 0, "bad_header"},
                   {"5", 0, "bad_header"},
                   {"\"x\"", 0, "bad_header"},
                   {"null", 0, "bad_header"},
                   {"{\"t\":", 0, "bad_json"},
                   {"{\"t\":5}", 0, "bad_header"},
                   {"{\"t\":[]}", 0, "bad_header"},
                   {"{\"t\":{}}", 0, "bad_header"}});
}

// Row 9.
TEST(Safetensors, RefusesNamesThatAreNotUnicodeText) {
  const auto named = [](const std::string& name) {
    return "{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}";
  };
  expect_refusals({{named("\xff"), 1, "bad_utf8"},
                   {named("\xc0\xaf"), 1, "bad_utf8"},
                   {named("\xed\xa0\x80"), 1, "bad_utf8"},
                   {named("\\ud800"), 1, "bad_utf8"},
                   {named("a\\u0000b"), 1, "bad_utf8"},
                   {named("a\0b"s), 1, "bad_json"},
                   {named(std::string(kMaxNameBytes + 1, 'n')), 1, "limit"}});
  EXPECT_TRUE(parse(named(std::string(kMaxNameBytes, 'n')), 1));
  EXPECT_TRUE(parse(named("\xe2\x82\xac \\ud83d\\ude00 \\\" \\n"), 1));
}

// Row 10.
TEST(Safetensors, RefusesDuplicates) {
  const std::string entry = R"({"dtype":"U8","shape":[],"data_offsets":[0,1]})";
  expect_refusals({{"{\"t\":" + entry + ",\"t\":" + entry + "}", 1, "duplicate_key"},
                   {R"({"t":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}})", 1, "duplicate_key"},
                   {R"({"t":{"dtype":"U8","shape":[],"shape":[],"data_offsets":[0,1]}})", 1, "duplicate_key"},
                   {R"({"__metadata__":{},"__metadata__":{}})", 0, "duplicate_key"},
                   {R"({"__metadata__":{"a":"1","a":"1"}})", 0, "duplicate_key"}});
  const std::string text = "{\"a\":" + entry + ",\"\\u0061\":" + entry + "}";
  const Result<SafetensorsHeader> h = parse(text, 1);
  ASSERT_EQ(code_of(h), "duplicate_key");
  EXPECT_EQ(h.error().where.tensor, "a");
  EXPECT_EQ(h.error().where.offset, 8 + text.find("\"\\u0061"));
}

// Row 11.
TEST(Safetensors, RefusesMetadataThatIsNotText) {
  expect_refusals({{R"({"__metadata__":{"a":1}})", 0, "bad_metadata"},
                   {R"({"__metadata__":{"a":null}})", 0, "bad_metadata"},
                   {R"({"__metadata__":{"a":{"b":"c"}}})", 0, "bad_metadata"},
                   {R"({"__metadata__":{"a":["b"]}})", 0, "bad_metadata"},
                   {R"({"__metadata__":[]})", 0, "bad_metadata"},
                   {R"({"__metadata__":"x"})", 0, "bad_metadata"}});
  std::string many = "{\"__metadata__\":{";
  for (int i = 0; i < 1'000'000; ++i) many += "\"" + std::to_string(i) + "\":\"\",";
  many.back() = '}';
  EXPECT_EQ(code_of(parse(many + "}", 0)), "limit");
}

// Row 12.
TEST(Safetensors, RefusesDeepNestingWithoutStack) {
  const auto start = std::chrono::steady_clock::now();
  for (const std::string unit : {"[", "{\"a\":"}) {
    std::string text = "{\"t\":{\"shape\":";
    for (int i = 0; i < 100'000; ++i) text += unit;
    EXPECT_EQ(code_of(parse(text, 0)), "limit");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_EQ(code_of(parse(one("\"U8\"", "[[1]]", "[0,1]"), 1)), "bad_shape");
}

// Row 13.
TEST(Safetensors, RefusesShapesThatAreNotLists) {
  std::string many = "[1";
  for (int i = 1; i < 100'000; ++i) many += ",1";
  for (const std::string& shape : {"[-1]"s, "[1.5]"s, "[1e3]"s, "[\"4\"]"s, "[18446744073709551616]"s, "[null]"s,
                                   "[true]"s, "[{}]"s, "4"s, "{}"s, "\"4\""s, "null"s, many + "]"}) {
    const Result<SafetensorsHeader> h = parse(one("\"U8\"", shape, "[0,1]"), 1);
    EXPECT_EQ(code_of(h), "bad_shape") << shape.substr(0, 40);
    if (!h) {
      EXPECT_EQ(h.error().where.tensor, "t");
    }
  }
}

TEST(Safetensors, ErrorsPointAtTheValue) {
  const std::string text = one("\"U8\"", "[3,  -1]", "[0,1]");
  EXPECT_EQ(parse(text, 1).error().where.offset, 8 + text.find("-1"));
  const std::string dtype = one("\"F7\"", "[]", "[0,1]");
  EXPECT_EQ(parse(dtype, 1).error().where.offset, 8 + dtype.find("\"F7"));
}

// Row 14.
TEST(Safetensors, RefusesShapesWhoseProductWraps) {
  expect_refusals({{one("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, "overflow"},
                   {one("\"F32\"", "[4611686018427387905]", "[0,4]"), 4, "overflow"},
                   {one("\"U8\"", "[18446744073709551615]", "[0,18446744073709551615]"), 0, "overflow"},
                   {one("\"F32\"", "[1099511627776,1099511627776,0]", "[0,0]"), 0, "overflow"}});
}

// Row 15.
TEST(Safetensors, RefusesOffsetsThatDoNotTileTheFile) {
  const auto two = [](const char* a, const char* b) {
    return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  EXPECT_TRUE(parse(two("[0,4]", "[4,8]"), 8));
  EXPECT_TRUE(parse(two("[4,8]", "[0,4]"), 8));
  expect_refusals({{two("[0,4]", "[3,7]"), 7, "overlap"},
                   {two("[0,4]", "[0,4]"), 4, "overlap"},
                   {two("[0,4]", "[5,9]"), 9, "hole"},
                   {two("[1,5]", "[5,9]"), 9, "hole"},
                   {two("[0,4]", "[8,4]"), 8, "bad_offsets"},
                   {two("[0,4]", "[4,9]"), 9, "size_mismatch"},
                   {two("[0,4]", "[4]"), 8, "bad_offsets"},
                   {two("[0,4]", "[]"), 8, "bad_offsets"},
                   {two("[0,4]", "[4,8,8]"), 8, "bad_offsets"},
                   {two("[0,4]", "[4,8.0]"), 8, "bad_offsets"},
                   {two("[0,4]", "[-4,0]"), 8, "bad_offsets"},
                   {two("[0,4]", "[4,18446744073709551616]"), 8, "bad_offsets"},
                   {two("[0,4]", "8"), 8, "bad_offsets"},
                   {two("[0,4]", "[18446744073709551612,18446744073709551615]"), 8, "size_mismatch"},
                   {two("[0,4]", "[18446744073709551611,18446744073709551615]"), 8, "hole"},
                   {two("[0,4]", "[4,8]"), 7, "truncated"},
                   {two("[0,4]", "[4,8]"), 0, "truncated"},
                   {two("[0,4]", "[4,8]"), 9, "trailing_data"}});
  const Result<SafetensorsHeader> h = parse(two("[0,4]", "[3,7]"), 7);
  EXPECT_EQ(h.error().where.tensor, "b");
  const std::string text = two("[0,4]", "[4,8]");
  EXPECT_EQ(parse(text, 9).error().where.offset, 8 + text.size() + 8);  // where the tail begins
  EXPECT_EQ(parse(text, 7).error().where.offset, 8 + text.size() + 7);  // where the file ends
}

// Row 16.
TEST(Safetensors, RefusesUnknownAndMisalignedDTypes) {
  expect_refusals({{one("\"F7\"", "[1]", "[0,1]"), 1, "unknown_dtype"},
                   {one("\"f32\"", "[1]", "[0,4]"), 4, "unknown_dtype"},
                   {one("\"\"", "[1]", "[0,1]"), 1, "unknown_dtype"},
                   {one("5", "[1]", "[0,1]"), 1, "bad_header"},
                   {one("\"F4\"", "[3]", "[0,2]"), 2, "misaligned"},
                   {one("\"F6_E2M3\"", "[3]", "[0,3]"), 3, "misaligned"},
                   {one("\"F6_E3M2\"", "[2]", "[0,2]"), 2, "misaligned"}});
  EXPECT_TRUE(parse(one("\"F4\"", "[3,2]", "[0,3]"), 3));
  EXPECT_TRUE(parse(one("\"F6_E3M2\"", "[4]", "[0,3]"), 3));
  const Result<SafetensorsHeader> h = parse(one("\"F7\"", "[1]", "[0,1]"), 1);
  EXPECT_EQ(h.error().where.tensor, "t");
  EXPECT_EQ(error_info(h.error().code).exit_code, 4);
}

TEST(Safetensors, RefusesEntriesWithMissingOrUnknownKeys) {
  expect_refusals({{R"({"t":{"dtype":"U8","shape":[]}})", 0, "bad_header"},
                   {R"({"t":{"dtype":"U8","data_offsets":[0,0]}})", 0, "bad_header"},
                   {R"({"t":{"shape":[],"data_offsets":[0,0]}})", 0, "bad_header"},
                   {R"({"t":{"dtype":"U8","shape":[],"data_offsets":[0,1],"strides":[1]}})", 1, "bad_header"}});
}

// Row 18.
TEST(Safetensors, AMillionTensorsTakeLinearTime) {
  const std::size_t count = 1'000'000 / kvant::test::test_stride();
  std::string text = "{";
  for (std::size_t i = 0; i < count; ++i)
    text += "\"t" + std::to_string(i) + "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},";
  text.back() = '}';
  const std::clock_t start = std::clock();
  const Result<SafetensorsHeader> h = parse(text, 0);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  ASSERT_TRUE(h) << describe(h.error());
  EXPECT_EQ(h->tensors.size(), count);
  RecordProperty("seconds", std::to_string(seconds));
  EXPECT_LT(seconds, 60);  // optimized it takes 0.6 s; a quadratic check would take hours, whatever the build
}

// Row 4, 5 and 20.
TEST(Safetensors, OpenRefusesOtherFormatsAndCutFiles) {
  EXPECT_EQ(code_of(open_bytes("version https://git-lfs.github.com/spec/v1\n")), "lfs_pointer");
  EXPECT_EQ(code_of(open_bytes("\x80\x04\x95\x1a\0\0\0\0\0\0\0}"s)), "pickle");
  EXPECT_EQ(code_of(open_bytes("\x93NUMPY\x01\0\x76\0"s)), "unsupported");
  const std::string good = safetensors_bytes(one("\"U8\"", "[4]", "[0,4]"), "abcd");
  EXPECT_TRUE(open_bytes(good));
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_EQ(code_of(open_bytes(good.substr(0, n))), "truncated") << n;
}

TEST(Safetensors, ReadsPartsOfATensorAndNothingOutsideOfIt) {
  const TemporaryFolder folder;
  const auto path = folder.write("x.safetensors", safetensors_bytes(one("\"U8\"", "[4]", "[0,4]"), "abcd"));
  for (const Access access : {Access::pread, Access::mmap}) {
    const Result<SafetensorsFile> file = SafetensorsFile::open(path, access);
    ASSERT_TRUE(file);
    const auto read = [&](std::uint64_t offset, std::size_t n) {
      std::string out(n, '\0');
      const Status s = file->read(file->tensors()[0], offset, std::as_writable_bytes(std::span(out)));
      return s ? out : code_of(s);
    };
    EXPECT_EQ(read(0, 4), "abcd");
    EXPECT_EQ(read(1, 2), "bc");
    EXPECT_EQ(read(4, 0), "");
    EXPECT_EQ(read(1, 4), "usage");
    EXPECT_EQ(read(5, 0), "usage");
    EXPECT_EQ(read(UINT64_MAX, 2), "usage");
  }
}

// ---- writing ----

TEST(SafetensorsWriter, WritesTheStrictForm) {
  const TemporaryFolder folder;
  const auto path = folder / "out.safetensors";
  Result<SafetensorsWriter> writer = SafetensorsWriter::create(
      path, {{"z", DType::u8, {3}}, {"a\"\n", DType::u8, {1}}, {"m", DType::f32, {2, 1}}, {"e", DType::i64, {0}}},
      {{"k", "v\"\xc3\xa9"}}, OutputMode::refuse);
  ASSERT_TRUE(writer) << describe(writer.error());
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(writer->write("z", 1, std::as_bytes(std::span("YZ", 2))));  // any order, in parts
  EXPECT_TRUE(writer->write("m", 0, std::as_bytes(std::span("mmmmnnnn", 8))));
  EXPECT_TRUE(writer->write("z", 0, std::as_bytes(std::span("X", 1))));
  EXPECT_TRUE(writer->write("a\"\n", 0, std::as_bytes(std::span("A", 1))));
  ASSERT_TRUE(writer->commit());
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"out.safetensors"}));

  const std::string bytes = test::read_bytes(path);
  EXPECT_EQ(bytes.size(), writer->size());
  std::string header =
      "{\"__metadata__\":{\"k\":\"v\\\"\xc3\xa9\"},\"e\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[0,0]},"
      R"("m":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"a\"\n":{"dtype":"U8","shape":[1],"data_offsets":[8,9]},)"
      R"("z":{"dtype":"U8","shape":[3],"data_offsets":[9,12]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(bytes, safetensors_bytes(header, "mmmmnnnnAXYZ"));
  EXPECT_TRUE(SafetensorsFile::open(path));
}

TEST(SafetensorsWriter, WritesAFileWithoutTensors) {
  const TemporaryFolder folder;
  Result<SafetensorsWriter> writer = SafetensorsWriter::create(folder / "out", {}, {}, OutputMode::refuse);
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->commit());
  EXPECT_EQ(test::read_bytes(folder / "out"), safetensors_bytes("{}      ", ""));
}

TEST(SafetensorsWriter, AnIncompleteTensorIsNotCommitted) {
  const TemporaryFolder folder;
  {
    Result<SafetensorsWriter> writer =
        SafetensorsWriter::create(folder / "out", {{"t", DType::u8, {4}}}, {}, OutputMode::refuse);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write("t", 0, std::as_bytes(std::span("abc", 3))));
    const Status s = writer->commit();
    ASSERT_EQ(code_of(s), "usage");
    EXPECT_EQ(s.error().where.tensor, "t");
  }
  EXPECT_TRUE(folder.names().empty());
}

TEST(SafetensorsWriter, RefusesBytesOutsideOfATensorOrTwice) {
  const TemporaryFolder folder;
  Result<SafetensorsWriter> w =
      SafetensorsWriter::create(folder / "out", {{"t", DType::u8, {4}}, {"u", DType::u8, {4}}}, {}, OutputMode::refuse);
  ASSERT_TRUE(w);
  const auto four = std::as_bytes(std::span("abcd", 4));
  EXPECT_EQ(code_of(w->write("t", 1, four)), "usage");
  EXPECT_EQ(code_of(w->write("t", UINT64_MAX, four)), "usage");
  EXPECT_EQ(code_of(w->write("none", 0, four)), "usage");
  EXPECT_EQ(code_of(w->write("u", 0, four)), "success");
  EXPECT_EQ(code_of(w->write("u", 0, four)), "usage");
}

TEST(SafetensorsWriter, RefusesNamesAndShapesThatNoReaderTakes) {
  const TemporaryFolder folder;
  const auto create = [&](std::vector<TensorSpec> specs, const Metadata& m = {}) {
    return code_of(SafetensorsWriter::create(folder / "out", std::move(specs), m, OutputMode::refuse));
  };
  EXPECT_EQ(create({{"a", DType::u8, {1}}, {"a", DType::f32, {1}}}), "usage");
  EXPECT_EQ(create({{"__metadata__", DType::u8, {1}}}), "usage");
  EXPECT_EQ(create({{"\xff", DType::u8, {1}}}), "usage");
  EXPECT_EQ(create({{"a\0"s, DType::u8, {1}}}), "usage");
  EXPECT_EQ(create({{std::string(kMaxNameBytes + 1, 'a'), DType::u8, {1}}}), "limit");
  EXPECT_EQ(create({{"a", DType::u8, std::vector<std::uint64_t>(kMaxRank + 1, 1)}}), "usage");
  EXPECT_EQ(create({{"a", DType::f4, {3}}}), "misaligned");
  EXPECT_EQ(create({{"a", DType::u8, {UINT64_MAX, 2}}}), "overflow");
  EXPECT_EQ(create({{"a", DType::u8, {std::uint64_t{1} << 60}}, {"b", DType::u8, {std::uint64_t{1} << 60}}}), "io");
  EXPECT_EQ(create({}, {{"k", "\xff"}}), "usage");
  EXPECT_TRUE(folder.names().empty());
}

TEST(SafetensorsWriter, PartsMayComeFromSeveralThreads) {
  const TemporaryFolder folder;
  constexpr std::size_t kBytes = 64 * 1024;
  Result<SafetensorsWriter> w =
      SafetensorsWriter::create(folder / "out", {{"t", DType::u8, {4 * kBytes}}}, {}, OutputMode::refuse);
  ASSERT_TRUE(w);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&w, t] {
      const std::vector<std::byte> part(1024, static_cast<std::byte>(t + 1));
      for (std::size_t i = 0; i < kBytes; i += part.size()) EXPECT_TRUE(w->write("t", t * kBytes + i, part));
    });
  for (std::thread& t : threads) t.join();
  ASSERT_TRUE(w->commit());
  const std::string bytes = test::read_bytes(folder / "out");
  for (std::size_t t = 0; t < 4; ++t)
    EXPECT_EQ(bytes.substr(bytes.size() - (4 - t) * kBytes, kBytes), std::string(kBytes, static_cast<char>(t + 1)));
}

TEST(SafetensorsWriter, WhateverIsWrittenReadsBack) {
  std::mt19937_64 random(3);
  const TemporaryFolder folder;
  for (int round = 0; round < 200; ++round) {
    std::vector<TensorSpec> specs;
    Metadata metadata;
    for (std::uint64_t n = random() % 6; n > 0; --n) {
      TensorSpec s{"", kDTypes[random() % kDTypes.size()].dtype, {}};
      for (std::uint64_t k = random() % 20; k > 0; --k) s.name += static_cast<char>(random() % 127 + 1);
      s.name += std::to_string(n);
      for (std::uint64_t k = random() % 4; k > 0; --k) s.shape.push_back(random() % 5);
      s.shape.push_back(random() % 3 * 4);  // whole bytes for every dtype
      specs.push_back(std::move(s));
    }
    for (std::uint64_t n = random() % 3; n > 0; --n) metadata[std::to_string(random())] = std::string(n, '"');
    Result<SafetensorsWriter> w = SafetensorsWriter::create(folder / "out", specs, metadata, OutputMode::replace);
    ASSERT_TRUE(w) << describe(w.error());
    std::map<std::string, std::string> data;
    for (const TensorSpec& s : specs) {
      std::string& d = data[s.name];
      d.resize(*tensor_bytes(s.dtype, s.shape));
      for (char& c : d) c = static_cast<char>(random());
      ASSERT_TRUE(w->write(s.name, 0, std::as_bytes(std::span(d))));
    }
    ASSERT_TRUE(w->commit());
    const Result<SafetensorsFile> file = SafetensorsFile::open(folder / "out");
    ASSERT_TRUE(file) << describe(file.error());
    ASSERT_EQ(file->tensors().size(), specs.size());
    EXPECT_EQ(file->metadata(), metadata);
    for (const TensorInfo& t : file->tensors()) {
      EXPECT_EQ(t.offset % (dtype_info(t.dtype).bits >= 8 ? dtype_info(t.dtype).bits / 8 : 1), 0u);
      std::string d(t.bytes, '\0');
      ASSERT_TRUE(file->read(t, 0, std::as_writable_bytes(std::span(d))));
      EXPECT_EQ(d, data.at(t.name));
    }
  }
}

// ---- real files ----

TEST(SafetensorsFiles, RealFilesOpenAndTileTheirFiles) {
  if (test::test_data().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  for (const char* name :
       {"lm/stories260K-hf/model.safetensors", "encoder/retsim.safetensors", "vision/mnist-burn.safetensors"}) {
    const Result<SafetensorsFile> file = SafetensorsFile::open(test::test_data() / name);
    ASSERT_TRUE(file) << describe(file.error());
    EXPECT_GT(file->tensors().size(), 4u) << name;
    std::uint64_t end = file->tensors().front().offset;
    for (const TensorInfo& t : file->tensors()) {
      EXPECT_EQ(t.offset, end) << name << " " << t.name;
      end += t.bytes;
    }
    EXPECT_EQ(end, file->file().size());
  }
}

}  // namespace
}  // namespace kvant::io
