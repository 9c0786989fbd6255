// SPDX-License-Identifier: Apache-2.0
// kvant VERB [ARGS]: finds the verb, parses its options, runs it, and turns its error into an exit code.

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "command.hpp"
#include "console.hpp"
#include "hints.hpp"
#include "kvant/io/utf8.hpp"
#include "options.hpp"
#include "signals.hpp"
#include "version.hpp"

namespace kvant::cli {
namespace {

/// A verb's object and its options, bound to each other.
struct Prepared {
  explicit Prepared(const Verb& v) : verb(&v), command(v.make()) {
    command->define(options);
    options.common(common);
  }
  const Verb* verb;
  std::unique_ptr<Command> command;
  CommonOptions common;
  Options options;
};

/// Options may stand before the verb, so finding it takes knowing which of them have values.
std::vector<std::string>::const_iterator find_verb_word(const std::vector<std::string>& words) {
  std::vector<std::unique_ptr<Prepared>> all;
  for (const Verb* verb : verbs()) all.push_back(std::make_unique<Prepared>(*verb));
  const auto takes_value = [&](const std::string& word) {
    return std::any_of(all.begin(), all.end(), [&](const auto& p) { return p->options.takes_value(word); });
  };
  for (auto word = words.begin(); word != words.end(); ++word) {
    if (*word == "--") return word + 1;
    if (word->size() < 2 || word->front() != '-') return word;
    if (takes_value(*word) && word + 1 != words.end()) ++word;
  }
  return words.end();
}

void print_version(Console& console) {
  std::vector<std::string_view> tiers;
  io::Json names = io::Json::array();
  for (const kernels::Tier& tier : kernels::tiers()) {
    tiers.push_back(tier.name);
    names.push_back(tier.name);
  }
  if (!console.json()) {
    console.print(fmt::format("kvant {}\ncommit {}\ncompiler {}\ntiers {}\n", version(), commit(), compiler(),
                              fmt::join(tiers, " ")));
    return;
  }
  io::Json json = document("version");
  json.set("version", version()).set("commit", commit()).set("compiler", compiler());
  json.set("tiers_built", std::move(names));
  console.print_json(json);
}

bool has_word(const std::vector<std::string>& words, std::string_view word) {
  const auto end = std::find(words.begin(), words.end(), "--");
  return std::find(words.begin(), end, word) != end;
}

/// What a line asks of error messages, where it could not be parsed.
CommonOptions guess_common(const std::vector<std::string>& words) {
  CommonOptions common;
  common.json = has_word(words, "--json");
  const auto format = std::find(words.begin(), words.end(), "--log-format");
  const bool json_log = has_word(words, "--log-format=json") ||
                        (format != words.end() && format + 1 != words.end() && *(format + 1) == "json");
  common.log_format = json_log ? LogFormat::json : LogFormat::text;
  return common;
}

/// Standard streams that the caller closed would hand their numbers to the next file that is opened, and progress would
/// go into an output. They are opened for reading, so that writing to them fails.
void reserve_standard_streams() {
  int fd = 0;
  while (fd >= 0 && fd <= STDERR_FILENO) fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) ::close(fd);
}

int refuse(Console& console, Error error, std::string_view verb = "") {
  if (const std::string_view hint = hint_for(error, verb); !hint.empty()) error.message += "; " + std::string(hint);
  console.error(error);
  static_cast<void>(console.finish());  // the exit code is taken already
  return error_info(error.code).exit_code;
}

/// Where whoever reads stdout has gone, as `head` does, nothing went wrong that needs words: the exit code is the one
/// that shells show for programs which SIGPIPE has ended.
int finish(Console& console) {
  const Status written = console.finish();
  if (written) return EXIT_SUCCESS;
  return console.write_error() == EPIPE ? 128 + SIGPIPE : refuse(console, written.error());
}

int without_verb(const std::vector<std::string>& words) {
  Console console(guess_common(words));
  if (has_word(words, "--version")) {
    print_version(console);
  } else if (has_word(words, "-h") || has_word(words, "--help")) {
    console.print(help_page());
  } else {
    if (words.empty()) console.print(help_page());
    console.flush();
    return refuse(console, {ErrorCode::usage, "no verb given; 'kvant -h' lists them", {}});
  }
  return finish(console);
}

Status run(Prepared& prepared, Console& console) {
  if (prepared.common.version) {
    print_version(console);
    return {};
  }
  if (prepared.common.help) {
    console.print(help_page(*prepared.verb, prepared.options));
    return {};
  }
  if (!prepared.common.tier.empty())
    if (const auto tier = kernels::find_tier(prepared.common.tier); !tier) return propagate(tier);
  install_signal_handlers(console);
  return prepared.command->run(console);
}

int run_line(std::vector<std::string> words) {
  const auto word = find_verb_word(words);
  if (word == words.end()) return without_verb(words);
  const Verb* verb = find_verb(*word);
  if (verb == nullptr) {
    Console console(guess_common(words));
    return refuse(console, {ErrorCode::usage, fmt::format("'{}' is no verb; 'kvant -h' lists them", *word), {}});
  }
  words.erase(word);
  Prepared prepared(*verb);
  if (Status s = prepared.options.parse(words, prepared.common); !s) {
    Console console(guess_common(words));
    Error error = s.error();
    if (error.code == ErrorCode::usage) error.message += fmt::format("; see 'kvant {} -h'", verb->name);
    return refuse(console, error);
  }
  Console console(prepared.common);
  if (Status s = run(prepared, console); !s) return refuse(console, s.error(), verb->name);
  return finish(console);
}

}  // namespace
}  // namespace kvant::cli

int main(int argc, char** argv) {
  using namespace kvant;
  cli::reserve_standard_streams();
  cli::ignore_write_signals();
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  Error error;
  try {
    return cli::run_line(words);
  } catch (const std::bad_alloc&) {
    error = {ErrorCode::out_of_memory, "memory ran out", {}};
  } catch (const std::exception& e) {
    error = {ErrorCode::io, e.what(), {}};
  }
  cli::Console console(cli::guess_common(words));
  return cli::refuse(console, error);
}
