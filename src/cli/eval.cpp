// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

#include "console.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/pipeline/dataset.hpp"
#include "kvant/pipeline/evaluate.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "machine.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

constexpr std::uint64_t kMaxId = std::numeric_limits<std::int32_t>::max();

/// Over the quantized matrices or, in a model without any, over all.
double bits_per_weight(const nn::Model& model) {
  std::uint64_t bits[2] = {0, 0};
  std::uint64_t elements[2] = {0, 0};
  for (const nn::LayerInfo& layer : model.layers()) {
    const std::size_t quantized = layer.scheme.is_cast() ? 0 : 1;
    bits[quantized] += stored_bits(layer.scheme.weight, layer.rows, layer.cols);
    elements[quantized] += std::uint64_t{layer.rows} * layer.cols;
  }
  const std::size_t which = elements[1] > 0 ? 1 : 0;
  return elements[which] > 0 ? static_cast<double>(bits[which]) / static_cast<double>(elements[which]) : 0;
}

class Eval final : public Command {
 public:
  void define(Options& options) override {
    options.path({"MODEL", "", "a model's folder, float or quantized"}, model_, Need::required);
    options.path({"--text", "FILE|IDS.npy", "UTF-8 text, or token ids"}, text_, Need::required);
    options.whole({"--tokens", "N", "how many to read; 0: all"}, tokens_, 0, kMaxId);
    options.whole({"--context", "N", "ids per window"}, context_, 2, kMaxId, "min(max_position_embeddings, 2048)");
    options.custom({"--documents", "ID", "split at this token id instead, each document alone"}, Need::optional, "",
                   false, [this](std::string_view name, const std::string& text) { return set_document(name, text); });
  }

  Status run(Console& console) override {
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    const auto weights = io::Weights::open(model_);
    if (!weights) return propagate(weights);
    for (const std::string& warning : weights->info().warnings) console.warn(warning);
    const auto model = nn::Model::load(*weights, runtime->context());
    if (!model) return propagate(model);
    const auto data = pipeline::load_dataset(text_, model_, static_cast<std::size_t>(tokens_));
    if (!data) return propagate(data);
    const auto result = [&] {
      Reporter reporter(console, Unit::tokens);
      pipeline::EvaluateOptions options;
      options.context = static_cast<std::size_t>(context_);
      options.document_id = document_;
      return pipeline::evaluate(*model, *data, options, runtime->context(), reporter);
    }();
    if (!result) return propagate(result);
    if (console.json())
      console.print_json(to_json(*result, *model));
    else
      console.print(to_table(*result, *model));
    return {};
  }

 private:
  Status set_document(std::string_view name, const std::string& text) {
    const auto id = parse_whole(text);
    if (!id || *id > kMaxId) return fail(ErrorCode::usage, fmt::format("{}: '{}' is no token id", name, text));
    document_ = static_cast<std::int32_t>(*id);
    return {};
  }

  static io::Json to_json(const pipeline::Evaluation& e, const nn::Model& model) {
    io::Json json = document("eval");
    json.set("tokens", e.tokens).set("nll", e.nll).set("nll_stderr", e.nll_stderr).set("perplexity", e.perplexity);
    json.set("bits_per_byte", e.bits_per_byte ? io::Json(*e.bits_per_byte) : io::Json());
    json.set("bits_per_weight", bits_per_weight(model)).set("weight_bytes", model.weight_bytes());
    json.set("prompt_tokens_per_s", e.prompt_tokens_per_s).set("generate_tokens_per_s", e.generate_tokens_per_s);
    json.set("peak_rss_bytes", peak_rss_bytes());
    return json;
  }

  static std::string to_table(const pipeline::Evaluation& e, const nn::Model& model) {
    Table table("lr", {"measure", "value"});
    table.row({"tokens", std::to_string(e.tokens)});
    table.row({"nats per token", fmt::format("{:.5f} ± {:.5f}", e.nll, e.nll_stderr)});
    table.row({"perplexity", fmt::format("{:.4f}", e.perplexity)});
    if (e.bits_per_byte) table.row({"bits per byte", fmt::format("{:.4f}", *e.bits_per_byte)});
    table.row({"bits per weight", fmt::format("{:.3f}", bits_per_weight(model))});
    table.row({"weights", human_bytes(static_cast<double>(model.weight_bytes()))});
    table.row({"prompt tokens/s", fmt::format("{:.1f}", e.prompt_tokens_per_s)});
    table.row({"generated tokens/s", fmt::format("{:.1f}", e.generate_tokens_per_s)});
    table.row({"peak memory", human_bytes(static_cast<double>(peak_rss_bytes()))});
    return table.text();
  }

  std::filesystem::path model_;
  std::filesystem::path text_;
  std::uint64_t tokens_ = 0;
  std::uint64_t context_ = 0;
  std::optional<std::int32_t> document_;
};

}  // namespace

constinit const Verb kEval{
    "eval",
    "MODEL --text FILE|IDS.npy",
    "Measures how well a model predicts text, on its packed weights, and how fast it runs.",
    {"kvant eval models/tiny --text test.txt", "kvant eval tiny-int4 --text ids.npy --context 512 --json"},
    [] { return std::unique_ptr<Command>(std::make_unique<Eval>()); },
};

}  // namespace kvant::cli
