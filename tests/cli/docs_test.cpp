// SPDX-License-Identifier: Apache-2.0
// The documentation against the program: every command on every page runs, or is named here with the reason why not;
// docs/cli.md leaves out no verb, option, exit code or error; docs/formats.md shows the bytes that are written.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoints.hpp"
#include "docs/page.hpp"
#include "kvant/core/error.hpp"
#include "kvant/io/npy.hpp"
#include "kvant/io/weights.hpp"
#include "run_kvant.hpp"
#include "support/sanitized.hpp"

namespace {

using namespace kvant::cli::test;
namespace fs = std::filesystem;
namespace io = kvant::io;

const fs::path kSource = KVANT_SOURCE_DIR;

// ---- commands ------------------------------------------------------------------------------------------------------

struct Command {
  std::string text;
  int exit = 0;
};

/// Lines `$ …` of ```console blocks, which are run; `# exit N` at the end says what is expected.
std::vector<Command> commands_to_run(const std::string& page) {
  std::vector<Command> found;
  for (const page::Block& block : page::blocks(page)) {
    if (block.language != "console") continue;
    for (const std::string& line : block.lines) {
      if (!line.starts_with("$ ")) continue;
      Command command{line.substr(2)};
      const std::size_t at = command.text.find("  # exit ");
      if (at != std::string::npos) {
        command.exit = std::stoi(command.text.substr(at + 9));
        command.text.resize(at);
      }
      found.push_back(std::move(command));
    }
  }
  return found;
}

/// The lines of ```sh blocks, which are not.
std::vector<std::string> other_commands(const std::string& page) {
  std::vector<std::string> found;
  for (const page::Block& block : page::blocks(page))
    if (block.language == "sh" || block.language == "bash" || block.language == "shell")
      for (const std::string& line : block.lines)
        if (!line.empty() && !line.starts_with("#")) found.push_back(line);
  return found;
}

/// Why a command of an sh block is not run here, by how it begins.
struct Exception {
  std::string_view begins;
  std::string_view why;
};
constexpr std::array kExceptions{
    Exception{"scripts/", "installs packages, builds, or is what runs this test"},
    Exception{"cmake --preset", "configures and builds, as this test's own build was"},
    Exception{"cmake --build --preset release", "as this test's own build was"},
    Exception{"ctest --preset", "runs this test"},
    Exception{"cmake --install", "tests/package runs it"},
    Exception{"export PKG_CONFIG_PATH", "tests/package sets it for the commands behind it"},
    Exception{"g++ ", "tests/package runs it"},
    Exception{"find build/coverage", "reads what a build with --coverage leaves"},
};

/// What the pages take for granted: models, pages, a text, inputs for the layers of models/tiny.
void fill_folder(const TemporaryFolder& folder) {
  fs::create_directory(folder / "bin");
  fs::create_symlink(KVANT_CLI_PATH, folder / "bin/kvant");
  fs::create_directory_symlink(kSource / "models", folder / "models");
  fs::create_directory_symlink(kSource / "docs", folder / "docs");
  folder.write("held_out.txt", read_bytes(kSource / "models/tiny/README.md").substr(0, 2000));
  std::vector<float> x(4 * 256);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.37f * static_cast<float>(i));
  const std::array<std::uint64_t, 2> shape{4, 256};
  ASSERT_TRUE(io::write_npy(folder / "x.npy", x, shape, io::OutputMode::refuse));
}

TEST(Docs, CommandsRunAsWritten) {
  KVANT_SKIP_UNDER_SANITIZERS();
  if (!fs::exists(kSource / "models/tiny/model.safetensors")) GTEST_SKIP() << "models/tiny is not there";
  const char* path = std::getenv("PATH");
  std::size_t count = 0;
  for (const std::string& page : page::all_pages()) {
    const TemporaryFolder folder;
    ASSERT_NO_FATAL_FAILURE(fill_folder(folder));
    const std::string search = "PATH=" + (folder / "bin").string() + ":" + (path != nullptr ? path : "");
    for (const Command& command : commands_to_run(page)) {
      ++count;
      const Outcome run =
          Child({"-c", command.text}, {.environment = {search}, .folder = folder.path()}, "/bin/sh").wait();
      EXPECT_EQ(run.exit, command.exit) << page << ": " << command.text << "\n" << run.err;
    }
  }
  EXPECT_GE(count, 40u);
}

TEST(Docs, SayWhyACommandIsNotRun) {
  std::string all;
  const std::string presets = page::text("CMakePresets.json");
  for (const std::string& page : page::all_pages())
    for (const std::string& command : other_commands(page)) {
      all += "\n" + command;
      const auto why = std::find_if(kExceptions.begin(), kExceptions.end(),
                                    [&](const Exception& e) { return command.starts_with(e.begins); });
      EXPECT_NE(why, kExceptions.end()) << page << ": " << command
                                        << ": neither run (in a console block) nor explained";
      std::istringstream words(command);
      for (std::string word, last; words >> word && word != "#"; last = word) {
        const bool is_there = word.starts_with("scripts/") ? fs::exists(kSource / word)
                              : last == "--preset" ? presets.find("\"name\": \"" + word + "\"") != std::string::npos
                                                   : true;
        EXPECT_TRUE(is_there) << page << ": " << command << ": " << word;
      }
    }
  for (const Exception& e : kExceptions)
    EXPECT_NE(all.find("\n" + std::string(e.begins)), std::string::npos) << e.begins << ": no page has it any more";
}

TEST(Docs, ShowEveryVerbInACommand) {
  std::string all;
  for (const Command& command : commands_to_run("docs/cli.md")) all += command.text + "\n";
  for (const char* verb : {"inspect", "quantize", "dequantize", "compare", "eval", "generate", "cast", "decode", "gemm",
                           "bench", "list", "doctor"})
    EXPECT_NE(all.find("kvant " + std::string(verb) + " "), std::string::npos) << verb;
}

// ---- docs/cli.md ---------------------------------------------------------------------------------------------------

TEST(Docs, NameEveryVerbAndOption) {
  const std::string text = page::text("docs/cli.md");
  for (const char* verb : {"inspect", "quantize", "dequantize", "compare", "eval", "generate", "cast", "decode", "gemm",
                           "bench", "list", "doctor"}) {
    EXPECT_NE(text.find("### " + std::string(verb)), std::string::npos) << verb;
    const std::string help = run_kvant({verb, "-h"}).out;
    for (std::size_t at = help.find("\n  -"); at != std::string::npos; at = help.find("\n  -", at + 1)) {
      const std::size_t start = help.find('-', at);
      const std::string option = help.substr(start, help.find_first_of(" ,\n", start) - start);
      EXPECT_NE(text.find("`" + option), std::string::npos) << verb << " " << option;
    }
  }
}

TEST(Docs, NameEveryErrorWithItsExitCode) {
  const std::string text = page::text("docs/cli.md");
  for (const kvant::ErrorInfo& e : kvant::kErrorCodes)
    EXPECT_NE(text.find("| `" + std::string(e.name) + "` | " + std::to_string(e.exit_code) + " |"), std::string::npos)
        << e.name;
}

// ---- docs/formats.md -----------------------------------------------------------------------------------------------

/// The bytes of a stored tensor as the page writes them: `53 28`.
std::string hex_bytes(const io::Weights& stored, const std::string& name) {
  const io::WeightInfo* tensor = stored.find(name);
  if (tensor == nullptr) return "no " + name;
  std::vector<std::byte> bytes(tensor->stored_bytes);
  if (!stored.read_bytes(*tensor, 0, bytes)) return "unreadable";
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte b : bytes) {
    const auto value = std::to_integer<unsigned>(b);
    text += (text.empty() ? "" : " ");
    text += kDigits[value >> 4];
    text += kDigits[value & 15];
  }
  return text;
}

TEST(FormatsPage, ShowsTheBytesOfIntegerScaledRows) {
  const std::string page = "docs/formats.md";
  std::vector<float> row;
  for (const page::Block& block : page::blocks(page))
    if (block.language == "text")
      for (const std::string& line : block.lines) {
        std::istringstream numbers(line);
        for (float x = 0; numbers >> x;) row.push_back(x);
      }
  ASSERT_EQ(row.size(), 36u);
  const TemporaryFolder folder;
  const std::vector<io::TensorSpec> specs{{"x.weight", kvant::DType::f32, {1, row.size()}}};
  auto writer = io::SafetensorsWriter::create(folder / "x.safetensors", specs, {}, io::OutputMode::refuse);
  ASSERT_TRUE(writer && writer->write("x.weight", 0, std::as_bytes(std::span(row))) && writer->commit());
  for (const std::string scheme : {"is4", "is3", "is2"}) {
    const std::string out = (folder / scheme).string();
    ASSERT_EQ(run_kvant({"quantize", (folder / "x.safetensors").string(), "-o", out, "--scheme", scheme}).exit, 0);
    const auto stored = io::Weights::open_as_stored(out), weights = io::Weights::open(out);
    ASSERT_TRUE(stored && weights);
    const page::Row shown = page::table(page, "A row, byte by byte", "scheme").row(scheme);
    ASSERT_EQ(shown.size(), 4u);
    EXPECT_EQ(hex_bytes(*stored, "x.weight_super_scale"), shown[1]);
    EXPECT_EQ(hex_bytes(*stored, "x.weight_scale"), shown[2]);
    EXPECT_EQ(hex_bytes(*stored, "x.weight_packed"), shown[3]);
    if (scheme != "is4") continue;
    const auto values = weights->read_float(*weights->find("x.weight"));
    ASSERT_TRUE(values);
    const std::string text = page::text(page);
    for (const std::size_t i : {std::size_t{0}, std::size_t{3}, std::size_t{34}, std::size_t{35}}) {
      std::ostringstream value;
      value.precision(17);
      value << values->row(0)[i];
      EXPECT_NE(text.find(value.str()), std::string::npos) << i << ": " << value.str();
    }
  }
}

}  // namespace
