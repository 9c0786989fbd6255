// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/nn/generation.hpp"
#include "kvant/text/end_ids.hpp"
#include "kvant/text/tokenizer.hpp"
#include "text/utf8.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

/// The ids of a prompt and of what follows it, and the text of the latter as it comes. The two are decoded as one,
/// since a decoder may treat the first token in its own way, or join the last bytes of the prompt with what follows.
class Continuation {
 public:
  Continuation(const text::Tokenizer& tokenizer, std::vector<std::int32_t> prompt)
      : stream_(tokenizer), ids_(std::move(prompt)), prompt_tokens_(ids_.size()), prompt_(tokenizer.decode(ids_)) {
    for (const std::int32_t id : ids_) said_ += stream_.push(id).size();
  }

  [[nodiscard]] std::span<const std::int32_t> ids() const noexcept { return ids_; }
  [[nodiscard]] std::size_t tokens() const noexcept { return ids_.size() - prompt_tokens_; }
  /// What the text goes on with, as far as it is certain.
  [[nodiscard]] std::string push(std::int32_t id) {
    ids_.push_back(id);
    return new_part(stream_.push(id));
  }
  [[nodiscard]] std::string finish() { return new_part(stream_.finish()); }

 private:
  /// `part` without what the prompt says already: up to where the two differ.
  [[nodiscard]] std::string new_part(std::string part) {
    const std::size_t same = text::common_prefix(part, std::string_view(prompt_).substr(said_));
    said_ = same == part.size() ? said_ + same : prompt_.size();
    return part.erase(0, same);
  }

  text::DecodeStream stream_;
  std::vector<std::int32_t> ids_;
  std::size_t prompt_tokens_;
  std::string prompt_;
  std::size_t said_ = 0;  // bytes of the prompt that the stream has given
};

constexpr std::uint64_t kMostPromptBytes = std::uint64_t{64} << 20;

/// One prompt a line; a line that begins with a quote is a JSON string, which may hold line breaks.
Result<std::vector<std::string>> read_prompts(const std::filesystem::path& path) {
  const auto text = io::read_text_file(path, kMostPromptBytes);
  if (!text) return propagate(text);
  std::vector<std::string> prompts;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    std::string line = text->substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (line.starts_with('"')) {
      const auto json = io::parse_json(line);
      if (!json || json->as_string() == nullptr)
        return fail(ErrorCode::bad_json,
                    fmt::format("line {} begins with a quote, but is no JSON string", prompts.size() + 1),
                    {path.string(), {}, {}});
      line = *json->as_string();
    }
    prompts.push_back(std::move(line));
  }
  if (prompts.empty()) return fail(ErrorCode::usage, "holds no prompts", {path.string(), {}, {}});
  return prompts;
}

class Generate final : public Command {
 public:
  void define(Options& options) override {
    options.path({"MODEL", "", "a model's folder with its tokenizer, float or quantized"}, model_, Need::required);
    options.custom({"--prompt", "TEXT", "what to continue"}, Need::optional, "", false,
                   [this](std::string_view, const std::string& text) -> Status {
                     prompt_ = text;
                     return {};
                   });
    options.path({"--prompts", "FILE", "texts to continue instead, one a line"}, prompts_);
    options.whole({"--parallel", "N", "how many of them run together"}, parallel_, 1, 1024);
    options.whole({"-n,--tokens", "N", "how many tokens at most; the end of text comes first"}, tokens_, 1, 1'000'000);
    options.real({"--temperature", "T", "0: the most likely token; above: a draw"}, temperature_, 0, 100);
    options.real({"--top-p", "P", "draw among the most likely tokens that together have this probability"}, top_p_, 0,
                 1);
    options.whole({"--seed", "N", "of the draws"}, seed_, 0, std::numeric_limits<std::uint64_t>::max());
  }

  Status run(Console& console) override {
    if (prompt_.has_value() == !prompts_.empty())
      return fail(ErrorCode::usage, "expected one of --prompt TEXT and --prompts FILE");
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    std::vector<std::string> prompts;
    if (prompt_) {
      prompts.push_back(*prompt_);
    } else {
      auto read = read_prompts(prompts_);
      if (!read) return propagate(read);
      prompts = std::move(*read);
    }
    const auto weights = io::Weights::open(model_);
    if (!weights) return propagate(weights);
    const auto model = nn::Model::load(*weights, runtime->context());
    if (!model) return propagate(model);
    const auto tokenizer = text::Tokenizer::load(model_);
    if (!tokenizer) return propagate(tokenizer);
    const auto end_ids = text::end_ids(model_, *tokenizer);
    if (!end_ids) return propagate(end_ids);
    auto generation = nn::Generation::make(*model, *end_ids, static_cast<std::size_t>(parallel_));
    if (!generation) return propagate(generation);
    std::vector<Continuation> texts;
    texts.reserve(prompts.size());
    for (const std::string& prompt : prompts)
      if (Status s = add(prompt, *tokenizer, *generation, texts); !s) return s;
    return prompt_ ? continue_one(console, *generation, texts.front(), runtime->context())
                   : continue_all(console, *generation, texts, runtime->context());
  }

 private:
  Status add(const std::string& prompt, const text::Tokenizer& tokenizer, nn::Generation& generation,
             std::vector<Continuation>& texts) const {
    auto ids = tokenizer.encode(prompt);
    if (!ids) return propagate(ids);
    const std::string which = prompt_ ? "--prompt" : fmt::format("prompt {}", texts.size() + 1);
    if (ids->empty())
      return fail(ErrorCode::usage, fmt::format("{} is empty and the tokenizer adds nothing to it", which));
    const auto number = generation.add(*ids, static_cast<std::size_t>(tokens_),
                                       {static_cast<float>(temperature_), static_cast<float>(top_p_), seed_});
    if (!number) {
      Error error = number.error();
      error.message = which + ": " + error.message;
      return tl::unexpected<Error>(std::move(error));
    }
    texts.emplace_back(tokenizer, std::move(*ids));
    return {};
  }

  /// Says the text as it comes.
  static Status continue_one(Console& console, nn::Generation& generation, Continuation& continuation,
                             const Context& context) {
    const auto start = std::chrono::steady_clock::now();
    std::string text;
    const auto say = [&](const std::string& part) {
      if (console.json()) {
        text += part;
      } else if (!part.empty()) {
        console.print(part);
        console.flush();
      }
    };
    const auto take = [&](const nn::GenerationEvent& event) {
      if (event.kind == nn::GenerationEvent::Kind::token) say(continuation.push(event.id));
      if (event.kind == nn::GenerationEvent::Kind::context)
        console.warn(fmt::format("stopped at the model's context of {} tokens", continuation.ids().size()));
    };
    while (!generation.is_done() && console.write_error() == 0)  // else nobody reads on
      if (Status s = generation.step(context, take); !s) return s;
    say(continuation.finish());
    if (!console.json()) {
      console.print("\n");
      return {};
    }
    io::Json json = document("generate");
    json.set("text", text).set("tokens", continuation.tokens());
    json.set("tokens_per_s", per_second(continuation.tokens(), start));
    console.print_json(json);
    return {};
  }

  /// One JSON object a line, in the order of the prompts, or all of them in one document.
  static Status continue_all(Console& console, nn::Generation& generation, std::vector<Continuation>& continuations,
                             const Context& context) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::string> texts(continuations.size());
    std::vector<bool> ended(continuations.size());
    std::size_t said = 0;
    std::size_t tokens = 0;
    io::Json rows = io::Json::array();
    const auto take = [&](const nn::GenerationEvent& event) {
      Continuation& c = continuations[event.sequence];
      if (event.kind == nn::GenerationEvent::Kind::token) {
        texts[event.sequence] += c.push(event.id);
        return;
      }
      texts[event.sequence] += c.finish();
      ended[event.sequence] = true;
      tokens += c.tokens();
    };
    while (!generation.is_done() && console.write_error() == 0) {
      if (Status s = generation.step(context, take); !s) return s;
      for (; said < texts.size() && ended[said]; ++said) {
        io::Json row = io::Json::object();
        row.set("text", texts[said]).set("tokens", continuations[said].tokens());
        if (console.json()) {
          rows.push_back(std::move(row));
        } else {
          console.print(io::to_text(row) + "\n");
          console.flush();
        }
      }
    }
    if (console.json())
      console.print_json(document("generate")
                             .set("prompts", std::move(rows))
                             .set("tokens", tokens)
                             .set("tokens_per_s", per_second(tokens, start)));
    return {};
  }

  static double per_second(std::size_t tokens, std::chrono::steady_clock::time_point start) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  }

  std::filesystem::path model_;
  std::optional<std::string> prompt_;
  std::filesystem::path prompts_;
  std::uint64_t parallel_ = 8;
  std::uint64_t tokens_ = 128;
  double temperature_ = 0;
  double top_p_ = 1;
  std::uint64_t seed_ = 0;
};

}  // namespace

constinit const Verb kGenerate{
    "generate",
    "MODEL --prompt TEXT|--prompts FILE",
    "Continues a text, or several at once.",
    {"kvant generate models/tiny --prompt 'river (noun):' -n 40",
     "kvant generate tiny-int4 --prompt 'river (noun):' --temperature 0.8 --top-p 0.9 --seed 7"},
    [] { return std::unique_ptr<Command>(std::make_unique<Generate>()); },
};

}  // namespace kvant::cli
