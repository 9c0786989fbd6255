// SPDX-License-Identifier: Apache-2.0
// The options and arguments of one verb: bound to variables, parsed from anywhere on the line, printed as help.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "command.hpp"
#include "kvant/core/error.hpp"

namespace kvant::cli {

enum class LogFormat : std::uint8_t { text, json };

/// What every verb takes.
struct CommonOptions {
  bool json = false;
  bool quiet = false;
  bool help = false;
  bool version = false;
  LogFormat log_format = LogFormat::text;
  unsigned threads = 0;  ///< 0: all that the process may use
  std::string tier;      ///< empty: KVANT_TIER, or the best
};

/// Whether the line must give an option.
enum class Need : std::uint8_t { optional, required };

/// How an option is spelled and explained. The defaults of the variables it is bound to are part of the explanation.
struct Spelling {
  std::string_view names;  ///< "-o,--output", or the bare name of an argument: "MODEL"
  std::string_view value;  ///< placeholder of the value, "" for flags and arguments
  std::string_view help;
};

/// Errors of parse() are `usage`, or what a binding says about a value.
class Options {
 public:
  using Set = std::function<Status(std::string_view names, const std::string& value)>;

  Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;
  ~Options();

  /// A path; `-` is refused, since kvant reads and writes files by position.
  void path(Spelling spelling, std::filesystem::path& target, Need need = Need::optional);
  void text(Spelling spelling, std::string& target, Need need = Need::optional);
  void flag(Spelling spelling, bool& target);
  /// A whole number from `low` to `high`, or any. `shown` replaces it where the help names the default.
  void whole(Spelling spelling, std::uint64_t& target, std::uint64_t low, std::uint64_t high,
             std::string_view shown = "");
  void real(Spelling spelling, double& target, double low, double high, std::string_view shown = "");
  /// One of a few words.
  void choice(Spelling spelling, std::string& target, std::vector<std::string_view> words, Need need = Need::optional);
  /// Anything else: `set` receives the text and says what is wrong with it. Where `many`, it may be given more than
  /// once; values arrive in the order of the line, also among several such options.
  void custom(Spelling spelling, Need need, std::string default_text, bool many, Set set);

  /// Options of every verb.
  void common(CommonOptions& target);

  /// Whether `name` (`-o` or `--output`) is an option that takes the next word as its value.
  [[nodiscard]] bool takes_value(std::string_view name) const;
  /// `words` without the program and the verb. -h and --version end the checks, so that they work on any line.
  [[nodiscard]] Status parse(const std::vector<std::string>& words, const CommonOptions& common);
  /// One line per option, with its default.
  [[nodiscard]] std::string help() const;

 private:
  [[nodiscard]] std::vector<std::string> split_empty_values(const std::vector<std::string>& words) const;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Decimal digits and nothing else, within 64 bits.
[[nodiscard]] std::optional<std::uint64_t> parse_whole(std::string_view text) noexcept;

/// The program, its verbs and common options, or one verb: synopsis, examples, options.
[[nodiscard]] std::string help_page();
[[nodiscard]] std::string help_page(const Verb& verb, const Options& options);

}  // namespace kvant::cli
