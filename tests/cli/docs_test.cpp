// SPDX-License-Identifier: Apache-2.0
// docs/cli.md: its commands run, and it leaves out no verb, option, exit code or error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "run_kvant.hpp"

namespace {

using namespace kvant::cli::test;
namespace fs = std::filesystem;

const fs::path kSource = KVANT_SOURCE_DIR;

std::string page() { return read_bytes(kSource / "docs/cli.md"); }

struct Command {
  std::string text;
  int exit = 0;
};

/// Lines `$ kvant …` of ```console blocks; `# exit N` at the end says what is expected.
std::vector<Command> commands() {
  std::vector<Command> found;
  std::ifstream in(kSource / "docs/cli.md");
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("```")) inside = line == "```console";
    if (!inside || !line.starts_with("$ kvant")) continue;
    Command command{line.substr(2)};
    const std::size_t at = command.text.find("  # exit ");
    if (at != std::string::npos) {
      command.exit = std::stoi(command.text.substr(at + 9));
      command.text.resize(at);
    }
    found.push_back(std::move(command));
  }
  return found;
}

TEST(Docs, CommandsRunAsWritten) {
  if (!fs::exists(kSource / "models/tiny/model.safetensors")) GTEST_SKIP() << "models/tiny is not there";
  const TemporaryFolder folder;
  fs::create_directory(folder / "bin");
  fs::create_symlink(KVANT_CLI_PATH, folder / "bin/kvant");
  fs::create_directory_symlink(kSource / "models", folder / "models");
  fs::create_directory_symlink(kSource / "docs", folder / "docs");
  const char* path = std::getenv("PATH");
  const std::string search = "PATH=" + (folder / "bin").string() + ":" + (path != nullptr ? path : "");
  const std::vector<Command> all = commands();
  EXPECT_GE(all.size(), 10u);
  for (const Command& command : all) {
    const Outcome run =
        Child({"-c", command.text}, {.environment = {search}, .folder = folder.path()}, "/bin/sh").wait();
    EXPECT_EQ(run.exit, command.exit) << command.text << "\n" << run.err;
  }
}

TEST(Docs, NameEveryVerbAndOption) {
  const std::string text = page();
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
  const std::string text = page();
  for (const kvant::ErrorInfo& e : kvant::kErrorCodes)
    EXPECT_NE(text.find("| `" + std::string(e.name) + "` | " + std::to_string(e.exit_code) + " |"), std::string::npos)
        << e.name;
}

}  // namespace
