// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "kvant/io/utf8.hpp"

namespace kvant::cli {

std::optional<std::uint64_t> parse_whole(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

namespace {

constexpr std::uint64_t kMostThreads = 1024;

tl::unexpected<Error> usage(std::string message) { return fail(ErrorCode::usage, std::move(message)); }

/// The longest name of "-o,--output", which errors use.
std::string_view long_name(std::string_view names) { return names.substr(names.rfind(',') + 1); }

Result<std::uint64_t> whole_between(std::string_view name, std::string_view text, std::uint64_t low,
                                    std::uint64_t high) {
  const auto value = parse_whole(text);
  if (value && *value >= low && *value <= high) return *value;
  return usage(fmt::format("{}: '{}' is no whole number from {} to {}", name, text, low, high));
}

std::optional<double> parse_real(std::string_view text) noexcept {
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

}  // namespace

struct Options::Impl {
  struct Row {
    std::string names, value, help, default_text;
    Need need;
    bool many;
    Set set;
    CLI::Option* option;

    [[nodiscard]] bool is_flag() const { return option->get_items_expected_max() == 0; }
  };

  CLI::App app;
  std::vector<Row> rows;

  /// Whether an option stands as often as it may.
  [[nodiscard]] static Status check_count(const Row& row) {
    const std::string_view name = long_name(row.names);
    if (row.option->count() == 0 && row.need == Need::required)
      return usage(fmt::format("{}{}{} is missing", name, row.value.empty() ? "" : " ", row.value));
    if (row.option->count() > 1 && !row.many) return usage(fmt::format("{} stands twice on the line", name));
    return {};
  }

  /// Hands values out in the order of the line: rules and skips take effect in it.
  [[nodiscard]] Status set_values(bool flags) {
    std::map<const CLI::Option*, std::size_t> next;
    for (const CLI::Option* option : app.parse_order()) {
      const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.option == option; });
      const std::string& word = option->results()[next[option]++];
      if (row->is_flag() != flags) continue;
      if (Status s = row->set(long_name(row->names), word); !s) return s;
    }
    return {};
  }
};

Options::Options() : impl_(std::make_unique<Impl>()) {
  impl_->app.set_help_flag();
  impl_->app.allow_extras();
}

Options::~Options() = default;

void Options::custom(Spelling spelling, Need need, std::string default_text, bool many, Set set) {
  // CLI11 splits the line into words and no more: one word per occurrence, all of them kept, none converted.
  CLI::Option* option = impl_->app.add_option(std::string(spelling.names));
  option->type_size(1)->expected(1)->allow_extra_args(false);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  impl_->rows.push_back({std::string(spelling.names), std::string(spelling.value), std::string(spelling.help),
                         std::move(default_text), need, many, std::move(set), option});
}

void Options::flag(Spelling spelling, bool& target) {
  CLI::Option* option = impl_->app.add_flag(std::string(spelling.names));
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->disable_flag_override();
  const Set set = [&target](std::string_view, const std::string&) -> Status {
    target = true;
    return {};
  };
  impl_->rows.push_back(
      {std::string(spelling.names), "", std::string(spelling.help), "", Need::optional, true, set, option});
}

void Options::path(Spelling spelling, std::filesystem::path& target, Need need) {
  custom(spelling, need, target.string(), false, [&target](std::string_view name, const std::string& text) -> Status {
    if (text == "-")
      return usage(
          fmt::format("{}: '-' is no file: kvant reads and writes by position, which pipes cannot; name a file", name));
    if (text.empty()) return usage(fmt::format("{}: the name is empty", name));
    target = text;
    return {};
  });
}

void Options::text(Spelling spelling, std::string& target, Need need) {
  custom(spelling, need, target, false, [&target](std::string_view, const std::string& text) -> Status {
    target = text;
    return {};
  });
}

void Options::whole(Spelling spelling, std::uint64_t& target, std::uint64_t low, std::uint64_t high,
                    std::string_view shown) {
  custom(spelling, Need::optional, shown.empty() ? std::to_string(target) : std::string(shown), false,
         [&target, low, high](std::string_view name, const std::string& text) -> Status {
           const auto value = whole_between(name, text, low, high);
           if (!value) return propagate(value);
           target = *value;
           return {};
         });
}

void Options::real(Spelling spelling, double& target, double low, double high, std::string_view shown) {
  custom(spelling, Need::optional, shown.empty() ? fmt::format("{}", target) : std::string(shown), false,
         [&target, low, high](std::string_view name, const std::string& text) -> Status {
           const auto value = parse_real(text);
           if (!value || !(*value >= low && *value <= high))
             return usage(fmt::format("{}: '{}' is no number from {} to {}", name, text, low, high));
           target = *value;
           return {};
         });
}

void Options::choice(Spelling spelling, std::string& target, std::vector<std::string_view> words, Need need) {
  custom(spelling, need, target, false,
         [&target, words = std::move(words)](std::string_view name, const std::string& text) -> Status {
           if (std::find(words.begin(), words.end(), text) == words.end())
             return usage(fmt::format("{}: '{}' is none of: {}", name, text, fmt::join(words, ", ")));
           target = text;
           return {};
         });
}

void Options::common(CommonOptions& target) {
  flag({"--json", "", "print the result as one JSON document"}, target.json);
  flag({"--quiet", "", "nothing on stderr but errors"}, target.quiet);
  custom({"--log-format", "text|json", "how progress, warnings and errors stand on stderr"}, Need::optional, "text",
         false, [&target](std::string_view name, const std::string& text) -> Status {
           if (text != "text" && text != "json")
             return usage(fmt::format("{}: '{}' is none of: text, json", name, text));
           target.log_format = text == "json" ? LogFormat::json : LogFormat::text;
           return {};
         });
  custom({"--threads", "N", "threads to work with; results are the same"}, Need::optional, "all available", false,
         [&target](std::string_view name, const std::string& text) -> Status {
           const auto value = whole_between(name, text, 1, kMostThreads);
           if (!value) return propagate(value);
           target.threads = static_cast<unsigned>(*value);
           return {};
         });
  custom({"--tier", "NAME", "kernels to work with (kvant list tiers)"}, Need::optional, "KVANT_TIER, or the best",
         false, [&target](std::string_view, const std::string& text) -> Status {
           target.tier = text;
           return {};
         });
  flag({"-h,--help", "", "print this page"}, target.help);
  flag({"--version", "", "print version, commit, compiler and tiers"}, target.version);
}

bool Options::takes_value(std::string_view name) const {
  const CLI::Option* option = impl_->app.get_option_no_throw(std::string(name));
  return option != nullptr && option->get_items_expected_max() > 0;
}

/// CLI11 reads `--name=` as if the value followed as the next word; here it is the empty text.
std::vector<std::string> Options::split_empty_values(const std::vector<std::string>& words) const {
  std::vector<std::string> out;
  for (auto word = words.begin(); word != words.end(); ++word) {
    if (*word == "--") {
      out.insert(out.end(), word, words.end());
      break;
    }
    const bool empty_value = word->ends_with('=') && takes_value(word->substr(0, word->size() - 1));
    out.push_back(empty_value ? word->substr(0, word->size() - 1) : *word);
    if (empty_value) out.emplace_back();
    if (takes_value(*word) && word + 1 != words.end()) out.push_back(*++word);
  }
  return out;
}

Status Options::parse(const std::vector<std::string>& words, const CommonOptions& common) {
  try {
    std::vector<std::string> reversed = split_empty_values(words);
    std::reverse(reversed.begin(), reversed.end());
    impl_->app.parse(reversed);
  } catch (const CLI::ParseError& e) {
    return usage(io::printable(e.what()));
  }
  if (Status s = impl_->set_values(true); !s) return s;
  if (common.help || common.version) return {};
  for (const std::string& word : impl_->app.remaining()) {
    if (word.size() > 1 && word.front() == '-' && word != "--")
      return usage(fmt::format("'{}' is no option of this verb", word));
    if (word != "--") return usage(fmt::format("'{}' is one argument too many", word));
  }
  for (const Impl::Row& row : impl_->rows)
    if (Status s = Impl::check_count(row); !s) return s;
  return impl_->set_values(false);
}

std::string Options::help() const {
  std::string text;
  for (const Impl::Row& row : impl_->rows) {
    std::string left;
    for (const char c : row.names) left += c == ',' ? std::string(", ") : std::string(1, c);
    if (!row.value.empty()) left += " " + row.value;
    text += fmt::format("  {:<28} {}", left, row.help);
    if (row.need == Need::required && row.names.front() == '-') text += " (required)";
    if (row.many && !row.is_flag()) text += " (repeatable)";
    if (row.need == Need::optional && !row.default_text.empty())
      text += fmt::format(" (default: {})", row.default_text);
    text += '\n';
  }
  return text;
}

std::string help_page() {
  std::string text =
      "kvant VERB [ARGS]: exported float weights in, smaller weights out\n"
      "\nVerbs:\n";
  for (const Verb* verb : verbs()) text += fmt::format("  {:<11} {}\n", verb->name, verb->summary);
  text +=
      "\nExamples:\n"
      "  kvant quantize model -o model-int4 --scheme int4-g128\n"
      "  kvant eval model-int4 --text test.txt\n"
      "\nOptions of every verb, anywhere on the line; '--' ends them:\n";
  CommonOptions common;
  Options options;
  options.common(common);
  return text + options.help() + "\n'kvant VERB -h' explains a verb.\n";
}

std::string help_page(const Verb& verb, const Options& options) {
  return fmt::format("kvant {} {}\n\n{}\n\nExamples:\n  {}\n  {}\n\nArguments and options:\n{}", verb.name,
                     verb.synopsis, verb.summary, verb.examples[0], verb.examples[1], options.help());
}

}  // namespace kvant::cli
