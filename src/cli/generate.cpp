// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/nn/sampling.hpp"
#include "kvant/numeric/rounding.hpp"
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
    const auto end_ids = text::end_ids(model_, *tokenizer);
    if (!end_ids) return propagate(end_ids);
    auto ids = tokenizer->encode(prompt_);
    if (!ids) return propagate(ids);
    if (ids->empty()) return fail(ErrorCode::usage, "--prompt is empty and the tokenizer adds nothing to it");

    Continuation continuation(*tokenizer, std::move(*ids));
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
    if (Status s = extend(console, *model, *end_ids, *sampler, continuation, runtime->context(), say); !s) return s;
    say(continuation.finish());
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!console.json()) {
      console.print("\n");
      return {};
    }
    io::Json json = document("generate");
    json.set("text", text).set("tokens", continuation.tokens());
    json.set("tokens_per_s", seconds > 0 ? static_cast<double>(continuation.tokens()) / seconds : 0.0);
    console.print_json(json);
    return {};
  }

 private:
  [[nodiscard]] Status extend(Console& console, const nn::Model& model, const std::vector<std::int32_t>& end_ids,
                              nn::Sampler& sampler, Continuation& continuation, const Context& context,
                              const std::function<void(const std::string&)>& say) const {
    if (Status ok = nn::check_predicts_next(model.config()); !ok) return ok;
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
      if (!std::ranges::all_of(logits.row(0), [](float x) { return is_finite(x); }))
        return fail(ErrorCode::nonfinite,
                    fmt::format("token {}: the model predicts NaN or Inf; weights or activations exceed what its "
                                "formats hold",
                                n));
      const auto id = sampler.next(logits.row(0));
      if (!id) return propagate(id);
      if (std::binary_search(end_ids.begin(), end_ids.end(), *id)) break;
      say(continuation.push(*id));
      if (console.write_error() != 0) return {};  // nobody reads on
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
