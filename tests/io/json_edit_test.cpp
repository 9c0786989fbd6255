// SPDX-License-Identifier: Apache-2.0
#include "io/json_edit.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "test_files.hpp"

namespace kvant::io {
namespace {

using test::code_of;

std::string edited(const std::string& text, const std::vector<JsonEdit>& edits) {
  const auto result = edit_json(text, edits);
  return result ? *result : describe(result.error());
}

const Json kObject = Json::object().set("a", 1).set("b", Json::array().push_back("x").push_back(Json::object()));

TEST(JsonEdit, LeavesEverythingElseByteForByte) {
  // As transformers and people write it: 8.0, 1e-05, a number beyond 64 bits, Infinity, escapes, odd spaces.
  const std::string before = R"({
    "factor": 8.0,  "eps": 1e-05,
    "huge": 1000000000000000019884624838656, "limit": [0.0, Infinity],
    "text" : "\u00e9 \/ {[,\"", "empty": {}, "list": [ ]
)";
  const std::string added = R"(,
    "q": {
        "a": 1,
        "b": [
            "x",
            {}
        ]
    })";
  EXPECT_EQ(edited(before + "}\n", {{"", "q", kObject}}), before.substr(0, before.size() - 1) + added + "\n}\n");
}

TEST(JsonEdit, ReplacesAValueInItsPlace) {
  EXPECT_EQ(edited("{\"q\": null,\n \"b\": 1.0}", {{"", "q", Json(7)}}), "{\"q\": 7,\n \"b\": 1.0}");
  EXPECT_EQ(edited("{\n\t\"q\": [1, {\"}\": \"]\"}],\n\t\"b\": 2\n}", {{"", "q", kObject}}),
            "{\n\t\"q\": {\n\t\t\"a\": 1,\n\t\t\"b\": [\n\t\t\t\"x\",\n\t\t\t{}\n\t\t]\n\t},\n\t\"b\": 2\n}");
  EXPECT_EQ(edited(R"({"a":1,"\u0071":2})", {{"", "q", Json("x")}}), R"({"a":1,"\u0071":"x"})");
}

TEST(JsonEdit, FollowsTheMannerOfTheText) {
  EXPECT_EQ(edited("{}", {{"", "q", kObject}}),
            "{\n  \"q\": {\n    \"a\": 1,\n    \"b\": [\n      \"x\",\n      {}\n    ]\n  }\n}");
  EXPECT_EQ(edited(" { } ", {{"", "q", Json(1)}}), " {\n  \"q\": 1\n} ");
  EXPECT_EQ(edited(R"({"a": 1})", {{"", "q", kObject}}), R"({"a": 1, "q":{"a":1,"b":["x",{}]}})");
  EXPECT_EQ(edited("{\r\n  \"a\": 1\r\n}", {{"", "q", Json::object().set("x", 1)}}),
            "{\r\n  \"a\": 1,\r\n  \"q\": {\r\n    \"x\": 1\r\n  }\r\n}");
}

TEST(JsonEdit, RemovesAMember) {
  EXPECT_EQ(edited(R"({"a": 1, "q": {"x": [1]}, "b": 2})", {{"", "q", std::nullopt}}), R"({"a": 1, "b": 2})");
  EXPECT_EQ(edited(R"({"q": 1, "b": 2})", {{"", "q", std::nullopt}}), R"({"b": 2})");
  EXPECT_EQ(edited("{\n  \"b\": 2,\n  \"q\": 1\n}\n", {{"", "q", std::nullopt}}), "{\n  \"b\": 2\n}\n");
  EXPECT_EQ(edited("{ \"q\": 1 }", {{"", "q", std::nullopt}}), "{}");
  EXPECT_EQ(edited(R"({"a":1})", {{"", "q", std::nullopt}}), R"({"a":1})");
}

TEST(JsonEdit, ReachesIntoAnObjectOfTheRoot) {
  EXPECT_EQ(edited(R"({"d": "f", "text_config": {"x": 8.0, "d": "f"}, "z": {"d": 1}})",
                   {{"text_config", "d", Json("g")}, {"", "d", Json("h")}}),
            R"({"d": "h", "text_config": {"x": 8.0, "d": "g"}, "z": {"d": 1}})");
}

TEST(JsonEdit, RefusesWhatIsNoObject) {
  for (const char* text : {"[]", "1", "\"{}\""})
    EXPECT_EQ(code_of(edit_json(text, std::vector<JsonEdit>{{"", "q", Json(1)}})), "bad_json") << text;
  EXPECT_EQ(code_of(edit_json(R"({"a":1})", std::vector<JsonEdit>{{"a", "q", Json(1)}})), "bad_json");
  EXPECT_EQ(code_of(edit_json("{", std::vector<JsonEdit>{{"", "q", Json(1)}})), "bad_json");
}

/// Random objects, written in two styles: an edit changes what it is asked to and no other value.
TEST(JsonEdit, AgreesWithTheTree) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 2'000; ++i) {
    Json object = Json::object();
    for (std::uint64_t n = random() % 6; n > 0; --n) {
      Json value = random() % 3 == 0 ? Json::array().push_back(static_cast<std::int64_t>(random())).push_back("]},\"\\")
                   : random() % 2 == 0 ? Json::object().set("k", "v").set("q", nullptr)
                                       : Json(static_cast<double>(random()));
      object.set(std::string(1, static_cast<char>('a' + random() % 20)), std::move(value));
    }
    const std::string key(1, static_cast<char>('a' + random() % 20));
    const bool set = random() % 2 == 0;
    Json expected = Json::object();
    for (const Json::Member& m : object.members())
      if (set || m.key != key) expected.set(m.key, m.value);
    if (set) expected.set(key, kObject);
    for (const JsonStyle style : {JsonStyle::compact, JsonStyle::indented}) {
      const std::string text = edited(to_text(object, style), {{"", key, set ? std::optional(kObject) : std::nullopt}});
      const auto back = parse_json(text);
      ASSERT_TRUE(back) << text;
      ASSERT_EQ(to_text(*back), to_text(expected));
      if (style == JsonStyle::indented && !expected.members().empty()) {
        ASSERT_EQ(text, to_text(expected, style));
      }
    }
  }
}

}  // namespace
}  // namespace kvant::io
