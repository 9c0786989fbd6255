// SPDX-License-Identifier: Apache-2.0
// stdout holds the result and nothing else; everything else goes to stderr, in the form that was asked for.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <chrono>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "checkpoints.hpp"
#include "kernels/ops.hpp"
#include "kvant/core/error.hpp"
#include "kvant/numeric/formats.hpp"
#include "run_kvant.hpp"

namespace {

using namespace kvant::cli::test;
using Keys = std::vector<std::string>;

/// A folder with a small checkpoint in it.
class Streams : public ::testing::Test {
 protected:
  void SetUp() override { write_checkpoint(folder_ / "m.safetensors", usual_tensors()); }

  [[nodiscard]] std::vector<std::string> quantize(std::vector<std::string> more) const {
    std::vector<std::string> words{"quantize",    folder_ / "m.safetensors", "-o", folder_ / "q", "--scheme",
                                   "int8-channel"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  /// One of each way that a result comes to stdout: at once, in parts, after a file was written.
  [[nodiscard]] std::vector<std::vector<std::string>> lines_with_a_result() const {
    return {{"--help"},
            {"--version"},
            {"eval", "--help"},
            {"list", "errors"},
            {"inspect", folder_ / "m.safetensors", "--json"},
            {"generate", KVANT_SOURCE_DIR "/models/tiny", "--prompt", "river", "-n", "20"},
            quantize({"--force", "--json"})};
  }

  TemporaryFolder folder_;
};

TEST_F(Streams, ProgressIsALineNowAndThenOffTerminals) {
  const auto start = std::chrono::steady_clock::now();
  const Outcome run = run_kvant(quantize({}));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(run.exit, 0);
  EXPECT_LE(static_cast<double>(count_lines(run.err)), seconds < 1 ? 0 : 3) << run.err;
  EXPECT_EQ(run.err.find('\r'), std::string::npos);
}

TEST_F(Streams, QuietSaysNothingOnStderr) {
  const Outcome run = run_kvant(quantize({"--quiet"}));
  EXPECT_EQ(run.exit, 0);
  EXPECT_EQ(run.err, "");
  EXPECT_NE(run.out.find("bits per weight"), std::string::npos) << run.out;
}

TEST_F(Streams, JsonLogIsAnObjectPerLine) {
  const Outcome run =
      run_kvant(quantize({"--log-format", "json", "--rule", ".*=int8-channel", "--rule", ".*up.*=bf16"}));
  EXPECT_EQ(run.exit, 0) << run.err;
  std::istringstream lines(run.err);
  std::set<std::string> events;
  for (std::string line; std::getline(lines, line);) events.insert(text_at(json_of(line), "event"));
  EXPECT_EQ(events, (std::set<std::string>{"progress", "warning"}));
  const Outcome error = run_kvant({"--log-format=json", "inspect", folder_ / "absent"});
  EXPECT_EQ(error.exit, 5);
  EXPECT_EQ(count_lines(error.err), 1u);
  EXPECT_EQ(text_at(json_of(error.err), "code"), "not_found");
}

TEST_F(Streams, ATerminalShowsABarThatGoesAway) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(terminal, 0);
  ASSERT_EQ(::grantpt(terminal), 0);
  ASSERT_EQ(::unlockpt(terminal), 0);
  const int keep_open = ::open(::ptsname(terminal), O_RDWR | O_NOCTTY);
  const Outcome run = run_kvant(quantize({}), {.err = ::ptsname(terminal)});
  EXPECT_EQ(run.exit, 0);
  std::array<char, 4096> buffer{};
  const ssize_t n = ::read(terminal, buffer.data(), buffer.size());
  ::close(keep_open);
  ::close(terminal);
  ASSERT_GT(n, 0);
  const std::string_view seen(buffer.data(), static_cast<std::size_t>(n));
  EXPECT_NE(seen.find("100% of "), std::string_view::npos) << seen;
  EXPECT_NE(seen.find("peak "), std::string_view::npos) << seen;
  EXPECT_TRUE(seen.ends_with("\r\x1b[K")) << seen;
}

TEST_F(Streams, AFullStdoutIsAnError) {
  for (const std::vector<std::string>& words : lines_with_a_result()) {
    const Outcome run = run_kvant(words, {.out = "/dev/full"});
    EXPECT_EQ(run.exit, 5) << words[0];
    EXPECT_EQ(run.err, "kvant: cannot write the result to stdout: No space left on device\n") << words[0];
  }
  EXPECT_EQ(folder_.names(), (std::vector<std::string>{"m.safetensors", "q"}));
}

TEST_F(Streams, AReaderThatLeavesEndsARunInSilence) {
  ASSERT_EQ(run_kvant(quantize({})).exit, 0);
  const std::string expected = read_bytes(folder_ / "q");
  for (const std::vector<std::string>& words : lines_with_a_result()) {
    const Outcome run = run_kvant(words, {.nobody_reads = true});
    EXPECT_EQ(run.exit, 141) << words[0];
    EXPECT_EQ(run.err, "") << words[0];
  }
  EXPECT_EQ(folder_.names(), (std::vector<std::string>{"m.safetensors", "q"}));
  EXPECT_TRUE(read_bytes(folder_ / "q") == expected);
}

TEST_F(Streams, AnErrorIsToldWhoeverReads) {
  const Outcome run = run_kvant({"inspect", folder_ / "absent", "--json"}, {.nobody_reads = true});
  EXPECT_EQ(run.exit, 5);
  EXPECT_EQ(count_lines(run.err), 1u) << run.err;
}

TEST_F(Streams, ClosedStreamsNeverMeetAnOutput) {
  ASSERT_EQ(run_kvant(quantize({})).exit, 0);
  const std::string expected = read_bytes(folder_ / "q");
  std::vector<std::string> words{"-c", "exec \"$0\" \"$@\" <&- 2>&-", KVANT_CLI_PATH};
  for (const std::string& word : quantize({"--force"})) words.push_back(word);
  EXPECT_EQ(Child(words, {}, "/bin/sh").wait().exit, 0);
  EXPECT_TRUE(read_bytes(folder_ / "q") == expected);
  words[1] += " >&-";
  EXPECT_EQ(Child(words, {}, "/bin/sh").wait().exit, 5);
  EXPECT_TRUE(read_bytes(folder_ / "q") == expected);
}

TEST_F(Streams, DecimalsAreIndependentOfTheLocale) {
  const Outcome run = run_kvant(quantize({"--json"}), {.environment = {"LC_ALL=de_DE.UTF-8"}});
  EXPECT_GT(number_at(json_of(run.out), "bits_per_weight"), 8.0);
}

TEST_F(Streams, InspectHasTheKeysOfItsSchema) {
  const kvant::io::Json json = json_of(run_kvant({"inspect", folder_ / "m.safetensors", "--json"}).out);
  EXPECT_EQ(keys_of(json), (Keys{"schema", "container", "bytes", "parameters", "bits_per_weight", "convention",
                                 "metadata", "tensors"}));
  EXPECT_EQ(text_at(json, "schema"), "kvant.inspect/1");
  EXPECT_EQ(text_at(json, "container"), "safetensors");
  EXPECT_EQ(number_at(json, "bytes"), static_cast<double>(std::filesystem::file_size(folder_ / "m.safetensors")));
  EXPECT_EQ(number_at(json, "parameters"), 48 * 96 + 32 * 64 + 64);
  EXPECT_EQ(text_at(*json.find("metadata"), "made"), "by a test");
  const auto tensors = json.find("tensors")->items();
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(keys_of(tensors[0]), (Keys{"name", "dtype", "shape", "bytes"}));
  EXPECT_EQ(text_at(tensors[0], "dtype"), "F32");
}

TEST_F(Streams, QuantizeHasTheKeysOfItsSchema) {
  const kvant::io::Json json = json_of(run_kvant(quantize({"--json"})).out);
  EXPECT_EQ(keys_of(json),
            (Keys{"schema", "bytes_in", "bytes_out", "bits_per_weight", "seconds", "peak_rss_bytes", "tensors"}));
  EXPECT_EQ(number_at(json, "bytes_out"), static_cast<double>(std::filesystem::file_size(folder_ / "q")));
  EXPECT_GT(number_at(json, "peak_rss_bytes"), 1e6);
  const auto tensors = json.find("tensors")->items();
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(keys_of(tensors[0]),
            (Keys{"name", "action", "scheme", "method", "rule", "kept", "sqnr_db", "relative_error", "nonfinite"}));
  EXPECT_EQ(text_at(tensors[0], "action"), "quantize");
  EXPECT_EQ(text_at(tensors[0], "scheme"), "int8-channel");
  EXPECT_EQ(text_at(tensors[0], "method"), "rtn");
  EXPECT_EQ(text_at(tensors[0], "rule"), "default");
  EXPECT_GT(number_at(tensors[0], "sqnr_db"), 35.0);
  EXPECT_EQ(text_at(tensors[2], "action"), "copy");
  EXPECT_TRUE(tensors[2].find("sqnr_db")->is_null());
}

TEST_F(Streams, DequantizeHasTheKeysOfItsSchema) {
  ASSERT_EQ(run_kvant(quantize({})).exit, 0);
  const kvant::io::Json json = json_of(run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f", "--json"}).out);
  EXPECT_EQ(keys_of(json), (Keys{"schema", "bytes_out", "tensors"}));
  EXPECT_EQ(number_at(json, "bytes_out"), static_cast<double>(std::filesystem::file_size(folder_ / "f")));
  EXPECT_EQ(json.find("tensors")->items().size(), 2u);
}

TEST_F(Streams, DoctorHasTheKeysOfItsSchema) {
  const kvant::io::Json json = json_of(run_kvant({"doctor", "--json"}).out);
  EXPECT_EQ(keys_of(json), (Keys{"schema", "cpu", "features", "tiers_built", "tiers_runnable", "tier_active", "why",
                                 "cache", "threads", "huge_pages", "limits"}));
  EXPECT_GE(number_at(json, "threads"), 1);
}

TEST_F(Streams, DoctorTellsWhichTierRunsAndWhy) {
  const kvant::io::Json named = json_of(run_kvant({"doctor", "--json", "--tier", "generic"}).out);
  EXPECT_EQ(text_at(named, "tier_active"), "generic");
  const kvant::io::Json env = json_of(run_kvant({"doctor", "--json"}, {.environment = {"KVANT_TIER=generic"}}).out);
  EXPECT_EQ(text_at(env, "tier_active"), "generic");
  EXPECT_NE(text_at(env, "why").find("KVANT_TIER"), std::string::npos);
  const Outcome wrong = run_kvant({"doctor", "--json"}, {.environment = {"KVANT_TIER=abacus"}});
  EXPECT_EQ(wrong.exit, 0);
  EXPECT_TRUE(json_of(wrong.out).find("tier_active")->is_null());
  expect_error({"doctor", "--tier", "abacus"}, 4, "unsupported");
  expect_error(quantize({}), 4, "unsupported", {.environment = {"KVANT_TIER=abacus"}});
}

TEST(List, HasAnArrayUnderTheNameOfWhatItLists) {
  for (const char* what :
       {"formats", "schemes", "methods", "observers", "ops", "tiers", "files", "architectures", "errors"}) {
    const Outcome run = run_kvant({"list", what, "--json"});
    EXPECT_EQ(run.exit, 0) << what;
    const kvant::io::Json json = json_of(run.out);
    EXPECT_EQ(keys_of(json), (Keys{"schema", what}));
    EXPECT_EQ(text_at(json, "schema"), "kvant.list/1");
    EXPECT_FALSE(json.find(what)->items().empty()) << what;
    EXPECT_EQ(count_lines(run_kvant({"list", what}).out), json.find(what)->items().size() + 1) << what;
  }
}

TEST(List, NamesEveryErrorWithItsExitCode) {
  const kvant::io::Json json = json_of(run_kvant({"list", "errors", "--json"}).out);
  const auto rows = json.find("errors")->items();
  ASSERT_EQ(rows.size(), kvant::kErrorCodes.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(text_at(rows[i], "name"), kvant::kErrorCodes[i].name);
    EXPECT_EQ(number_at(rows[i], "exit"), kvant::kErrorCodes[i].exit_code);
  }
}

TEST(List, NamesEveryFormat) {
  const kvant::io::Json json = json_of(run_kvant({"list", "formats", "--json"}).out);
  const auto rows = json.find("formats")->items();
  ASSERT_EQ(rows.size(), kvant::kFormats.size());
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(text_at(rows[i], "name"), kvant::kFormats[i].name);
}

TEST(List, NamesEveryKernelWithWhatItReads) {
  const kvant::io::Json json = json_of(run_kvant({"list", "ops", "--json"}).out);
  const auto rows = json.find("ops")->items();
  ASSERT_EQ(rows.size(), kvant::kernels::kOps.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(keys_of(rows[i]), (Keys{"name", "weights", "activations"}));
    const std::string name = text_at(rows[i], "name");
    EXPECT_EQ(name, kvant::kernels::kOps[i].name);
    if (!name.starts_with("gemm_")) continue;
    EXPECT_EQ("gemm_" + text_at(rows[i], "weights") + "_" + text_at(rows[i], "activations"), name);
  }
}

}  // namespace
