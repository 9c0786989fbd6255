// SPDX-License-Identifier: Apache-2.0
// Options, help and version: the line as a contract.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "checkpoints.hpp"
#include "run_kvant.hpp"

namespace {

using namespace kvant::cli::test;

const std::vector<std::string> kVerbs{"inspect", "quantize", "dequantize", "compare", "eval", "generate",
                                      "cast",    "decode",   "gemm",       "bench",   "list", "doctor"};

TEST(Help, ListsEveryVerb) {
  const Outcome run = run_kvant({"-h"});
  EXPECT_EQ(run.exit, 0);
  EXPECT_EQ(run.err, "");
  for (const std::string& verb : kVerbs) EXPECT_NE(run.out.find("\n  " + verb + " "), std::string::npos) << verb;
}

TEST(Help, OfAVerbShowsSynopsisTwoExamplesAndDefaults) {
  for (const std::string& verb : kVerbs) {
    const Outcome run = run_kvant({verb, "--help"});
    EXPECT_EQ(run.exit, 0) << verb;
    EXPECT_TRUE(run.out.starts_with("kvant " + verb)) << run.out;
    const std::size_t examples = run.out.find("\nExamples:\n");
    ASSERT_NE(examples, std::string::npos) << run.out;
    const std::string two = run.out.substr(examples, run.out.find("\n\n", examples) - examples);
    EXPECT_EQ(count_lines(two), 3u) << two;
    EXPECT_NE(two.find("kvant " + verb), std::string::npos) << two;
    for (const char* option : {"--json", "--quiet", "--log-format", "--threads", "--tier"})
      EXPECT_NE(run.out.find(option), std::string::npos) << verb << option;
    EXPECT_NE(run.out.find("(default: "), std::string::npos) << verb;
  }
}

TEST(Help, WorksOnAnyLine) {
  EXPECT_EQ(run_kvant({"-h", "quantize"}).out, run_kvant({"quantize", "-h"}).out);
  EXPECT_EQ(run_kvant({"quantize", "-h", "--no-such-option"}).exit, 0);
}

TEST(Help, StandsBeforeTheErrorOfAnEmptyLine) {
  const Outcome run = run_kvant({});
  EXPECT_EQ(run.exit, 2);
  EXPECT_EQ(run.out, run_kvant({"-h"}).out);
  EXPECT_EQ(run.err, "kvant: no verb given; 'kvant -h' lists them\n");
}

TEST(Version, NamesCommitCompilerAndTiers) {
  const Outcome run = run_kvant({"--version"});
  EXPECT_EQ(run.exit, 0);
  EXPECT_EQ(count_lines(run.out), 4u);
  for (const char* line : {"kvant ", "\ncommit ", "\ncompiler ", "\ntiers generic"})
    EXPECT_NE(run.out.find(line), std::string::npos) << run.out;
  const kvant::io::Json json = json_of(run_kvant({"--version", "--json"}).out);
  EXPECT_EQ(text_at(json, "schema"), "kvant.version/1");
}

TEST(Usage, RefusesWhatItDoesNotKnow) {
  expect_error({}, 2, "usage");
  expect_error({"quantise"}, 2, "usage");
  expect_error({"doctor", "--frobnicate"}, 2, "usage");
  expect_error({"doctor", "-x"}, 2, "usage");
  expect_error({"doctor", "more"}, 2, "usage");
  expect_error({"list", "animals"}, 2, "usage");
}

TEST(Usage, RefusesOptionsThatAreNotBuilt) {
  for (const char* option : {"--calibrate", "--recipe", "--resume", "--max-memory", "--seed"})
    expect_error({"quantize", "a", "-o", "b", "--scheme", "int8-channel", option, "1"}, 2, "usage");
  expect_error({"eval", "a", "--text", "b", "--kv", "int8"}, 2, "usage");
}

TEST(Usage, RefusesWhatIsMissingTwiceOrOutOfRange) {
  expect_error({"inspect"}, 2, "usage");
  expect_error({"quantize", "a", "-o", "b"}, 2, "usage");
  expect_error({"quantize", "a", "--scheme", "int8-channel"}, 2, "usage");
  expect_error({"quantize", "a", "-o", "b", "-o", "c", "--scheme", "int8-channel"}, 2, "usage");
  expect_error({"quantize", "a", "-o"}, 2, "usage");
  expect_error({"quantize", "a", "-o", "b", "--scheme", "int8-channel", "--effort", "4"}, 2, "usage");
  expect_error({"quantize", "a", "-o", "b", "--scheme", "int8-channel", "--effort", "1x"}, 2, "usage");
  expect_error({"quantize", "a", "-o", "b", "--scheme", "int8-channel", "--method", "magic"}, 2, "usage");
  expect_error({"quantize", "a", "-o", "b", "--scheme", "int8-channel", "--nonfinite", "maybe"}, 2, "usage");
  expect_error({"doctor", "--threads", "0"}, 2, "usage");
  expect_error({"doctor", "--threads", "-1"}, 2, "usage");
  expect_error({"doctor", "--threads", "18446744073709551617"}, 2, "usage");
  expect_error({"doctor", "--threads="}, 2, "usage");
  expect_error({"doctor", "--json=maybe"}, 2, "usage");
  expect_error({"doctor", "--log-format", "xml"}, 2, "usage");
  expect_error({"generate", "m", "--prompt", "x", "--top-p", "2"}, 2, "usage");
  expect_error({"generate", "m", "--prompt", "x", "--temperature", "nan"}, 2, "usage");
}

TEST(Usage, RefusesSchemesThatDoNotParse) {
  for (const char* scheme : {"int4", "int9-channel", "", "int4-g0", "bf16-g128", "int4-g128-", "int4-g128/int9-token",
                             "int4-g128/nf4-token", "int4-g128/int8-channel", "int4-g128/fp8_e4m3fn"})
    expect_error({"quantize", "a", "-o", "b", "--scheme", scheme}, 2, "bad_scheme");
}

TEST(Usage, RefusesADashAsAFile) {
  const auto json = expect_error({"inspect", "-"}, 2, "usage");
  EXPECT_NE(text_at(json, "message").find("name a file"), std::string::npos);
  expect_error({"quantize", "a", "-o", "-", "--scheme", "int8-channel"}, 2, "usage");
  expect_error({"eval", "a", "--text", "-"}, 2, "usage");
  expect_error({"inspect", ""}, 2, "usage");
}

TEST(Options, StandAnywhereOnTheLine) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "m.safetensors", usual_tensors());
  const std::string model = folder / "m.safetensors";
  const std::vector<std::vector<std::string>> lines{
      {"quantize", model, "-o", "o", "--scheme", "int8-channel", "--dry-run", "--json"},
      {"--json", "-o", "o", "quantize", "--scheme=int8-channel", "--dry-run", model},
      {"--scheme", "int8-channel", "--dry-run", "-oo", "--json", "quantize", "--", model},
      {"--json", "--dry-run", "--output=o", "--scheme", "int8-channel", "--", "quantize", model},
  };
  for (const auto& line : lines) {
    const Outcome run = run_kvant(line);
    ASSERT_EQ(run.exit, 0) << run.err;
    const kvant::io::Json json = json_of(run.out);
    EXPECT_EQ(text_at(json, "schema"), "kvant.quantize/1");
    EXPECT_EQ(json.find("tensors")->items().size(), 3u);
  }
}

TEST(Options, EndAtADoubleDash) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "--json", usual_tensors());
  const Outcome run = run_kvant({"inspect", "--", "--json"}, {.folder = folder.path()});
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_TRUE(run.out.starts_with("tensor ")) << run.out;
  EXPECT_EQ(run_kvant({"inspect", "--json", "--"}, {.folder = folder.path()}).exit, 2);
}

TEST(Options, TakeTheNextWordAsAValueWhateverItIs) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "m", {{"[ab]", {{4, 32}}}, {"a", {{4, 32}}}, {"{}", {{4, 32}}}});
  const Outcome run = run_kvant({"quantize", folder / "m", "-o", "o", "--scheme", "int8-channel", "--json", "--dry-run",
                                 "--skip", "[ab]", "--rule", "\\{\\}=int4-g32"});
  ASSERT_EQ(run.exit, 0) << run.err;
  const kvant::io::Json json = json_of(run.out);
  const auto tensors = json.find("tensors")->items();
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(text_at(tensors[0], "rule"), "(no text)");
  EXPECT_EQ(text_at(tensors[1], "rule"), "--skip [ab]");
  EXPECT_EQ(text_at(tensors[2], "rule"), "\\{\\}=int4-g32");
  const auto error = expect_error({"quantize", folder / "m", "-o", "o", "--scheme", "--json=", "--"}, 2, "bad_scheme");
  EXPECT_NE(text_at(error, "message").find("'--json='"), std::string::npos);
}

TEST(Errors, QuoteNoControlCharacters) {
  const auto json = expect_error({"list", "a\nb\x1b[31m\xff"}, 2, "usage");
  EXPECT_NE(text_at(json, "message").find("a\\x0ab\\x1b[31m\\xff"), std::string::npos);
}

}  // namespace
