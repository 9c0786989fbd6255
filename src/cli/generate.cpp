// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/nn/sampling.hpp"
#include "kvant/text/tokenizer.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

/// The text that follows a prompt, as tokens come. What may still change (a character of which bytes are missing) is
/// held back.
class Continuation {
 public:
  Continuation(const text::Tokenizer& tokenizer, std::vector<std::int32_t> prompt)
      : tokenizer_(tokenizer), ids_(std::move(prompt)), prompt_tokens_(ids_.size()), prompt_(tokenizer.decode(ids_)) {}

  void push(std::int32_t id) { ids_.push_back(id); }
  [[nodiscard]] std::span<const std::int32_t> ids() const noexcept { return ids_; }
  [[nodiscard]] std::size_t tokens() const noexcept { return ids_.size() - prompt_tokens_; }
  /// All of it. Decoded together with the prompt, since a decoder may treat the first token in its own way.
  [[nodiscard]] std::string text() const {
    const std::string whole = tokenizer_.decode(ids_);
    const auto differs = std::mismatch(prompt_.begin(), prompt_.end(), whole.begin(), whole.end()).second;
    return whole.substr(static_cast<std::size_t>(differs - whole.begin()));
  }
  /// What was not handed out yet and is certain by now.
  [[nodiscard]] std::string take_certain() {
    constexpr std::string_view kReplacement = "\xef\xbf\xbd";
    std::string all = text();
    while (all.ends_with(kReplacement)) all.resize(all.size() - kReplacement.size());
    if (all.size() <= taken_) return "";
    return all.substr(std::exchange(taken_, all.size()));
  }
  [[nodiscard]] std::string take_rest() { return text().substr(std::min(taken_, text().size())); }

 private:
  const text::Tokenizer& tokenizer_;
  std::vector<std::int32_t> ids_;
  std::size_t prompt_tokens_;
  std::string prompt_;
  std::size_t taken_ = 0;
};

class Generate final : public Command {
 public:
  void define(Options& options) override {
    options.path({"MODEL", "", "a model's folder with tokenizer.json, float or quantized"}, model_, Need::required);
    options.text({"--prompt", "TEXT", "what to continue"}, prompt_, Need::required);
    options.whole({"-n,--tokens", "N", "how many tokens at most; the end of text comes first"}, tokens_, 1, 1'000'000);
    options.real({"--temperature", "T", "0: the most likely token; above: a draw"}, temperature_, 0, 100);
    options.real({"--top-p", "P", "draw among the most likely tokens that together have this probability"}, top_p_, 0,
                 1);
    options.whole({"--seed", "N", "of the draws"}, seed_, 0, std::numeric_limits<std::uint64_t>::max());
  }

  Status run(Console& console) override {
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    auto sampler = nn::Sampler::make({static_cast<float>(temperature_), static_cast<float>(top_p_), seed_});
    if (!sampler) return propagate(sampler);
    const auto weights = io::Weights::open(model_);
    if (!weights) return propagate(weights);
    const auto model = nn::Model::load(*weights, runtime->context());
    if (!model) return propagate(model);
    const auto tokenizer = text::Tokenizer::load(model_);
    if (!tokenizer) return propagate(tokenizer);
    auto ids = tokenizer->encode(prompt_);
    if (!ids) return propagate(ids);
    if (ids->empty()) return fail(ErrorCode::usage, "--prompt is empty and the tokenizer adds nothing to it");

    Continuation continuation(*tokenizer, std::move(*ids));
    const auto start = std::chrono::steady_clock::now();
    if (Status s = extend(console, *model, *tokenizer, *sampler, continuation, runtime->context()); !s) return s;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!console.json()) {
      console.print(continuation.take_rest() + "\n");
      return {};
    }
    io::Json json = document("generate");
    json.set("text", continuation.text()).set("tokens", continuation.tokens());
    json.set("tokens_per_s", seconds > 0 ? static_cast<double>(continuation.tokens()) / seconds : 0.0);
    console.print_json(json);
    return {};
  }

 private:
  [[nodiscard]] Status extend(Console& console, const nn::Model& model, const text::Tokenizer& tokenizer,
                              nn::Sampler& sampler, Continuation& continuation, const Context& context) const {
    const std::size_t given = continuation.ids().size();
    const std::size_t room = model.config().max_positions;
    if (given >= room)
      return fail(ErrorCode::usage,
                  fmt::format("--prompt has {} tokens, expected fewer than the model's context of {}", given, room));
    const std::size_t capacity = std::min(room, given + static_cast<std::size_t>(tokens_));
    auto cache = nn::KvCache::make(model.config(), capacity);
    if (!cache) return propagate(cache);
    Matrix<float> logits(1, model.config().vocabulary);
    for (std::size_t n = given; n < capacity; ++n) {
      // The whole prompt first, then the token drawn last.
      const Status done = model.forward(continuation.ids().subspan(cache->length()), *cache, logits.view(), context);
      if (!done) return done;
      const auto id = sampler.next(logits.row(0));
      if (!id) return propagate(id);
      if (tokenizer.eos_id() == *id) break;
      continuation.push(*id);
      if (console.json()) continue;
      console.print(continuation.take_certain());
      console.flush();
    }
    if (continuation.tokens() < tokens_ && continuation.ids().size() == room)
      console.warn(fmt::format("stopped at the model's context of {} tokens", room));
    return {};
  }

  std::filesystem::path model_;
  std::string prompt_;
  std::uint64_t tokens_ = 128;
  double temperature_ = 0;
  double top_p_ = 1;
  std::uint64_t seed_ = 0;
};

}  // namespace

constinit const Verb kGenerate{
    "generate",
    "MODEL --prompt TEXT",
    "Continues a text.",
    {"kvant generate models/tiny --prompt 'river (noun):' -n 40",
     "kvant generate tiny-int4 --prompt 'river (noun):' --temperature 0.8 --top-p 0.9 --seed 7"},
    [] { return std::unique_ptr<Command>(std::make_unique<Generate>()); },
};

}  // namespace kvant::cli
