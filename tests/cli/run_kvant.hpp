// SPDX-License-Identifier: Apache-2.0
// Runs the program as others do: arguments in, exit code, stdout and stderr out.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/utf8.hpp"

namespace kvant::cli::test {

using io::test::read_bytes;
using io::test::TemporaryFolder;

/// What a run left. `exit` is the exit code, or minus the number of the signal that ended it.
struct Outcome {
  int exit = 0;
  std::string out;
  std::string err;
  std::uint64_t peak_bytes = 0;  ///< of memory
};

struct Setting {
  std::vector<std::string> environment{};  ///< NAME=VALUE, on top of the test's own
  std::filesystem::path folder{};          ///< to run in; empty: the test's
  std::filesystem::path out{};             ///< where stdout goes instead of Outcome::out
  std::filesystem::path err{};
  bool nobody_reads = false;  ///< stdout is a pipe whose other end is closed
};

/// A program that runs. Its output goes to files, so that nobody has to read while it runs.
class Child {
 public:
  explicit Child(const std::vector<std::string>& words, Setting setting = {},
                 const std::string& program = KVANT_CLI_PATH)
      : out_(setting.out.empty() ? scratch_ / "out" : setting.out),
        err_(setting.err.empty() ? scratch_ / "err" : setting.err) {
    std::vector<std::string> texts{program};
    texts.insert(texts.end(), words.begin(), words.end());
    std::vector<char*> argv;
    for (std::string& text : texts) argv.push_back(text.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    if (setting.nobody_reads)
      break_stdout();
    else
      redirect(out_, STDOUT_FILENO);
    redirect(err_, STDERR_FILENO);
    ::unsetenv("KVANT_TIER");
    for (std::string& text : setting.environment) ::putenv(text.data());
    if (!setting.folder.empty() && ::chdir(setting.folder.c_str()) != 0) ::_exit(126);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }

  void signal(int number) const { ::kill(pid_, number); }

  /// Waits until it ends; what takes longer than two minutes is ended.
  Outcome wait() {
    int status = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    rusage usage{};
    while (::wait4(pid_, &status, WNOHANG, &usage) == 0) {
      if (std::chrono::steady_clock::now() > end) ::kill(pid_, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    pid_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), read_bytes(scratch_ / "out"),
            read_bytes(scratch_ / "err"), static_cast<std::uint64_t>(usage.ru_maxrss) * 1024};
  }

 private:
  static void redirect(const std::filesystem::path& path, int to) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY, 0600);
    if (fd < 0 || ::dup2(fd, to) < 0) ::_exit(125);
  }

  static void break_stdout() {
    int ends[2];
    if (::pipe(ends) != 0 || ::dup2(ends[1], STDOUT_FILENO) < 0) ::_exit(125);
    ::close(ends[0]);
    ::close(ends[1]);
  }

  TemporaryFolder scratch_;
  std::filesystem::path out_;
  std::filesystem::path err_;
  pid_t pid_ = -1;
};

/// Runs the program to its end.
inline Outcome run_kvant(const std::vector<std::string>& words, const Setting& setting = {}) {
  return Child(words, setting).wait();
}

inline std::size_t count_lines(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

inline io::Json json_of(const std::string& text) {
  auto json = io::parse_json(text);
  EXPECT_TRUE(json) << (json ? "" : describe(json.error())) << " in: " << text;
  return json ? *json : io::Json();
}

inline std::vector<std::string> keys_of(const io::Json& object) {
  std::vector<std::string> keys;
  for (const io::Json::Member& member : object.members()) keys.push_back(member.key);
  return keys;
}

inline std::string text_at(const io::Json& object, std::string_view key) {
  const io::Json* value = object.find(key);
  return value != nullptr && value->as_string() != nullptr ? *value->as_string() : "(no text)";
}

inline double number_at(const io::Json& object, std::string_view key) {
  const io::Json* value = object.find(key);
  EXPECT_TRUE(value != nullptr && value->is_number()) << key;
  return value != nullptr ? value->as_double().value_or(-1) : -1;
}

/// Runs a line that must fail, with and without --json, and checks what every failure has in common: the exit code, one
/// line of valid UTF-8 on stderr, nothing on stdout but the document under --json. Gives that document.
inline io::Json expect_error(std::vector<std::string> words, int exit, std::string_view code,
                             const Setting& setting = {}) {
  words.insert(words.begin(), "--quiet");
  const Outcome plain = run_kvant(words, setting);
  EXPECT_EQ(plain.exit, exit) << plain.err;
  EXPECT_EQ(plain.out, "");
  EXPECT_EQ(count_lines(plain.err), 1u) << plain.err;
  EXPECT_TRUE(plain.err.starts_with("kvant: ")) << plain.err;
  EXPECT_FALSE(io::find_invalid_utf8(plain.err)) << plain.err;
  words.insert(words.begin(), "--json");
  const Outcome machine = run_kvant(words, setting);
  EXPECT_EQ(machine.exit, exit) << machine.err;
  EXPECT_EQ(machine.err, plain.err);
  EXPECT_EQ(count_lines(machine.out), 1u) << machine.out;
  io::Json json = json_of(machine.out);
  EXPECT_EQ(keys_of(json), (std::vector<std::string>{"schema", "code", "exit", "file", "tensor", "offset", "message"}));
  EXPECT_EQ(text_at(json, "schema"), "kvant.error/1");
  EXPECT_EQ(text_at(json, "code"), code) << plain.err;
  EXPECT_EQ(number_at(json, "exit"), exit);
  return json;
}

}  // namespace kvant::cli::test
