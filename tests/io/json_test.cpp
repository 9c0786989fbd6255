// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/json.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <clocale>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "test_files.hpp"

namespace kvant::io {
namespace {

using test::code_of;

struct Refusal {
  std::string text;
  std::string code;
  std::uint64_t offset;
};

void expect_refusal(const Refusal& r) {
  const Result<Json> json = parse_json(r.text, {}, {"file.json", {}, 100});
  ASSERT_EQ(code_of(json), r.code) << r.text;
  EXPECT_EQ(json.error().where.offset, 100 + r.offset) << r.text << ": " << describe(json.error());
  EXPECT_EQ(json.error().where.file, "file.json");
}

TEST(Json, ReadsEveryKindOfValue) {
  const Result<Json> r = parse_json(
      " {\"n\":null,\"t\":true,\"f\":false,\"i\":-5,\"u\":18446744073709551615,\"d\":0.5,\"s\":"
      "\"a\\u00e9\\ud83d\\ude00\","
      "\"a\":[1,[2]],\"o\":{}} \n");
  ASSERT_TRUE(r) << describe(r.error());
  EXPECT_TRUE(r->find("n")->is_null());
  EXPECT_EQ(r->find("t")->as_bool(), true);
  EXPECT_EQ(r->find("f")->as_bool(), false);
  EXPECT_EQ(r->find("i")->as_int64(), -5);
  EXPECT_EQ(r->find("i")->as_uint64(), std::nullopt);
  EXPECT_EQ(r->find("u")->as_uint64(), UINT64_MAX);
  EXPECT_EQ(r->find("u")->as_int64(), std::nullopt);
  EXPECT_EQ(r->find("d")->as_double(), 0.5);
  EXPECT_EQ(r->find("d")->as_int64(), std::nullopt);
  EXPECT_EQ(*r->find("s")->as_string(), "a\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(r->find("a")->items()[1].items()[0].as_uint64(), 2u);
  EXPECT_TRUE(r->find("o")->is_object());
  EXPECT_EQ(r->find("missing"), nullptr);
  EXPECT_EQ(r->find("a")->find("x"), nullptr);
}

TEST(Json, KeepsTheOrderOfKeys) {
  const Result<Json> r = parse_json(R"({"z":1,"a":2,"m":3})");
  ASSERT_TRUE(r);
  std::string keys;
  for (const auto& [key, value] : r->members()) keys += key;
  EXPECT_EQ(keys, "zam");
}

TEST(Json, RefusesMalformedTextWithItsPosition) {
  for (const Refusal& r : {
           Refusal{"", "bad_json", 0},
           Refusal{"   ", "bad_json", 3},
           Refusal{"{", "bad_json", 1},
           Refusal{"[1,]", "bad_json", 3},
           Refusal{"{\"a\":1,}", "bad_json", 7},
           Refusal{"{\"a\" 1}", "bad_json", 5},
           Refusal{"{} x", "bad_json", 3},
           Refusal{"{}{}", "bad_json", 2},
           Refusal{"[01]", "bad_json", 2},
           Refusal{"[1.]", "bad_json", 3},
           Refusal{"[nan]", "bad_json", 2},
           Refusal{"[-NaN]", "bad_json", 2},
           Refusal{"[+Infinity]", "bad_json", 1},
           Refusal{"[1e400.]", "bad_json", 5},
           Refusal{"[01e400]", "bad_json", 6},
           Refusal{"[1.e400]", "bad_json", 3},
           Refusal{"[.5e400]", "bad_json", 1},
           Refusal{"[Infinity1]", "bad_json", 1},
           Refusal{"'a'", "bad_json", 0},
           Refusal{"\"a\nb\"", "bad_json", 2},
           Refusal{"/* c */ 1", "bad_json", 0},
       })
    expect_refusal(r);
}

TEST(Json, RefusesWhatOtherParsersLetThrough) {
  for (const Refusal& r : {
           Refusal{"\xef\xbb\xbf{}", "bad_json", 0},                           // byte order mark
           Refusal{std::string("{}\0\0", 4), "bad_json", 2},                   // trailing NULs
           Refusal{std::string("{}\0garbage", 10), "bad_json", 2},             // and what hides behind them
           Refusal{"[\"ab\\u0000c\"]", "bad_utf8", 1},                         // NUL in a string
           Refusal{"{\"a\":1,\"b\\u0000\":2}", "bad_utf8", 7},                 // NUL in a key
           Refusal{"{\"k\":1,\"l\":2,\"k\":3}", "duplicate_key", 13},          // the second one
           Refusal{"{\"a\":{\"x\\\"\":1,\"x\\\"\":2}}", "duplicate_key", 14},  // escaped quotes in the key
           Refusal{"{\"a\\u0062\":1,\"ab\":2}", "duplicate_key", 13},          // equal once unescaped
       })
    expect_refusal(r);
}

TEST(Json, KeepsNumbersAsTextThatNoTypeHolds) {
  const std::string thirty = "1000000000000000019884624838656";  // model_max_length of Llama 2
  const std::string digits(400, '9');
  for (const std::string& number :
       {thirty, "-" + thirty, std::string("18446744073709551616"), std::string("-9223372036854775809"), digits,
        std::string("NaN"), std::string("Infinity"), std::string("-Infinity"), std::string("1e400"),
        std::string("-1.5E+999"), digits + ".5"}) {
    const std::string text = R"({"a":[1,)" + number + R"(],"NaN":"Infinity, NaN \" 1e999","z":2.5})";
    const Result<Json> json = parse_json(text);
    ASSERT_TRUE(json) << number << ": " << describe(json.error());
    const Json& kept = json->find("a")->items()[1];
    ASSERT_NE(kept.number_text(), nullptr) << number;
    EXPECT_EQ(*kept.number_text(), number);
    EXPECT_EQ(kept.as_int64(), std::nullopt);
    EXPECT_EQ(kept.as_uint64(), std::nullopt);
    EXPECT_EQ(kept.as_string(), nullptr);
    EXPECT_FALSE(kept.is_null());
    EXPECT_EQ(to_text(*json), text);
  }
  EXPECT_EQ(parse_json(thirty)->as_double(), 1000000000000000019884624838656.0);
  for (const char* number : {"NaN", "Infinity", "1e400"}) EXPECT_EQ(parse_json(number)->as_double(), std::nullopt);
}

TEST(Json, TakesForZeroWhatIsBelowADouble) {
  for (const std::string& number : {std::string("1e-400"), "0." + std::string(400, '0') + "1", std::string("-1E-999")})
    EXPECT_EQ(parse_json(number)->as_double(), 0.0) << number;
  EXPECT_EQ(parse_json("4.9e-324")->as_double(), 4.9e-324);
}

TEST(Json, RefusesTextThatIsNotUnicode) {
  for (const Refusal& r : {
           Refusal{"[\"\xff\"]", "bad_utf8", 2},
           Refusal{"[\"\xc0\x80\"]", "bad_utf8", 2},
           Refusal{"[\"abc\xed\xa0\x80\"]", "bad_utf8", 5},
           Refusal{"[\"\xe2\x82\"]", "bad_utf8", 2},
       })
    expect_refusal(r);
  for (const char* text : {R"(["\ud800"])", R"(["\ud800x"])", R"(["\ud800\ud800"])", R"(["\udc00"])"})
    EXPECT_EQ(code_of(parse_json(text)), "bad_utf8") << text;
}

TEST(Json, RefusesDeepNestingFastAndFlat) {
  const auto start = std::chrono::steady_clock::now();
  for (const std::string unit : {"[", "{\"a\":", "[{\"\\\"[\":"}) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += unit;
    EXPECT_EQ(code_of(parse_json(text)), "limit");
    EXPECT_EQ(code_of(parse_json(text, {.max_depth = 0})), "limit");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_TRUE(parse_json("[[[[[[[[\"[[[[\"]]]]]]]]"));
  const Result<Json> nine = parse_json("[[[[[[[[[]]]]]]]]]");
  ASSERT_EQ(code_of(nine), "limit");
  EXPECT_EQ(nine.error().where.offset, 8u);
}

TEST(Json, KeepsToItsLimits) {
  EXPECT_TRUE(parse_json("[1,2,3]", {.max_items = 4}));
  const Result<Json> r = parse_json("[1,2,3]", {.max_items = 3});
  ASSERT_EQ(code_of(r), "limit");
  EXPECT_EQ(r.error().where.offset, 5u);
  EXPECT_TRUE(parse_json("[1]", {.max_bytes = 3}));
  EXPECT_EQ(code_of(parse_json("[1] ", {.max_bytes = 3})), "limit");
}

TEST(Json, FindsKeysAmongManyWithoutScanning) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i)
    text += "\"key" + std::to_string(i * 7919 % 200'000) + "\":" + std::to_string(i) + ",";
  text.back() = '}';
  const Result<Json> r = parse_json(text);
  ASSERT_TRUE(r) << describe(r.error());
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 200'000; ++i) ASSERT_NE(r->find("key" + std::to_string(i)), nullptr);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Json, NumbersDoNotFollowTheLocale) {
  const char* set = nullptr;
  for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"})
    if (set == nullptr) set = std::setlocale(LC_NUMERIC, name);
  const Result<Json> r = parse_json("[1.5,2.5e-3]");
  const std::string text = r ? to_text(*r) : describe(r.error());
  std::setlocale(LC_NUMERIC, "C");
  EXPECT_EQ(text, "[1.5,0.0025]");
}

TEST(JsonText, WritesCompactAndIndented) {
  Json j = Json::object();
  j.set("a", 1).set("b", Json::array().push_back(true).push_back(nullptr)).set("c", Json::object()).set("d", "x");
  EXPECT_EQ(to_text(j), R"({"a":1,"b":[true,null],"c":{},"d":"x"})");
  EXPECT_EQ(to_text(j, JsonStyle::indented),
            "{\n  \"a\": 1,\n  \"b\": [\n    true,\n    null\n  ],\n  \"c\": {},\n  \"d\": \"x\"\n}\n");
}

TEST(JsonText, SettingAKeyAgainReplacesItsValue) {
  Json j;
  j.set("b", 1).set("a", 2).set("b", 3);
  EXPECT_EQ(to_text(j), R"({"b":3,"a":2})");
}

TEST(JsonText, EscapesWhatJsonAsksFor) {
  EXPECT_EQ(to_text(Json("\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9")),
            "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\xc3\xa9\"");
  EXPECT_EQ(to_text(Json("a\xff\xfe"
                         "b")),
            "\"a\xef\xbf\xbd\xef\xbf\xbd"
            "b\"");
}

TEST(JsonText, WritesNonFiniteNumbersAsNull) {
  EXPECT_EQ(to_text(Json(std::numeric_limits<double>::infinity())), "null");
  EXPECT_EQ(to_text(Json(-std::numeric_limits<double>::infinity())), "null");
  EXPECT_EQ(to_text(Json(std::nan(""))), "null");
}

TEST(JsonText, NumbersReadBackToTheSameValue) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t bits = random();
    double d;
    std::memcpy(&d, &bits, sizeof d);
    if (!std::isfinite(d)) continue;
    const Result<Json> back = parse_json(to_text(Json(d)));
    ASSERT_TRUE(back) << to_text(Json(d));
    ASSERT_EQ(back->as_double(), d);
    ASSERT_EQ(parse_json(to_text(Json(bits)))->as_uint64(), bits);
    ASSERT_EQ(parse_json(to_text(Json(static_cast<std::int64_t>(bits))))->as_int64(), static_cast<std::int64_t>(bits));
  }
  EXPECT_EQ(to_text(Json(0.1)), "0.1");
  EXPECT_EQ(to_text(Json(1.0)), "1");
  EXPECT_TRUE(std::signbit(*parse_json(to_text(Json(-0.0)))->as_double()));
  EXPECT_EQ(to_text(Json(5e-324)), "5e-324");
}

/// A random tree whose text must parse back to the same text.
Json random_json(std::mt19937_64& random, int depth) {
  switch (random() % (depth > 0 ? 7 : 5)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<std::int64_t>(random());
    case 3:
      return std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 200) - 100);
    case 4: {
      std::string s;
      for (std::uint64_t n = random() % 20; n > 0; --n) s += static_cast<char>(random() % 127 + 1);
      return s;
    }
    case 5: {
      Json a = Json::array();
      for (std::uint64_t n = random() % 5; n > 0; --n) a.push_back(random_json(random, depth - 1));
      return a;
    }
    default: {
      Json o = Json::object();
      for (std::uint64_t n = random() % 5; n > 0; --n)
        o.set(std::to_string(random() % 100), random_json(random, depth - 1));
      return o;
    }
  }
}

TEST(JsonText, AnyTreeReadsBackToTheSameText) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 2'000; ++i) {
    const Json j = random_json(random, 5);
    const std::string text = to_text(j);
    const Result<Json> back = parse_json(text);
    ASSERT_TRUE(back) << describe(back.error()) << text;
    ASSERT_EQ(to_text(*back), text);
    const Result<Json> indented = parse_json(to_text(j, JsonStyle::indented));
    ASSERT_TRUE(indented);
    ASSERT_EQ(to_text(*indented), text);
  }
}

TEST(ReadJsonFile, NamesTheFile) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(read_json_file(folder.write("a.json", "{\"a\":1}"))->find("a")->as_int64(), 1);
  const Result<Json> r = read_json_file(folder.write("b.json", "{\"a\":"));
  ASSERT_EQ(code_of(r), "bad_json");
  EXPECT_NE(r.error().where.file.find("b.json"), std::string::npos);
  EXPECT_EQ(code_of(read_json_file(folder / "none")), "not_found");
}

}  // namespace
}  // namespace kvant::io
