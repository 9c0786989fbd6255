// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kvant/io/utf8.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

using pipeline::PredictionComparison;
using pipeline::ShapeMismatch;
using pipeline::TensorComparison;
using pipeline::WeightComparison;

constexpr std::uint64_t kMaxId = std::numeric_limits<std::int32_t>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool is_exact(const TensorComparison& t) { return t.distortion.max_abs_error == 0 && t.nonfinite == 0; }

/// What --min-sqnr asks about: numbers that became NaN or Inf are beyond any error.
double sqnr_of(const TensorComparison& t) { return t.nonfinite == 0 ? t.distortion.sqnr_db : -kInfinity; }

std::string decibels(const TensorComparison& t) {
  if (is_exact(t)) return "exact";
  return t.nonfinite != 0 ? fmt::format("{} NaN, Inf", t.nonfinite) : fmt::format("{:.2f}", t.distortion.sqnr_db);
}

std::string scheme_text(const std::optional<LayerScheme>& scheme) { return scheme ? to_text(*scheme) : "float"; }

/// The first few of many names.
std::string some(const std::vector<std::string>& names) {
  constexpr std::size_t kFew = 5;
  const auto few = std::span(names).first(std::min(kFew, names.size()));
  return fmt::format("{}{}", fmt::join(few, ", "),
                     names.size() > kFew ? fmt::format(" and {} more", names.size() - kFew) : "");
}

io::Json names_json(const std::vector<std::string>& names) {
  io::Json json = io::Json::array();
  for (const std::string& name : names) json.push_back(name);
  return json;
}

io::Json shape_json(const std::vector<std::uint64_t>& shape) {
  io::Json json = io::Json::array();
  for (const std::uint64_t d : shape) json.push_back(d);
  return json;
}

io::Json tensors_json(const WeightComparison& weights) {
  io::Json rows = io::Json::array();
  for (const TensorComparison& t : weights.tensors) {
    io::Json row = io::Json::object();
    row.set("name", t.name).set("sqnr_db", t.distortion.sqnr_db);
    row.set("max_abs_error", t.distortion.max_abs_error).set("cosine", t.distortion.cosine);
    row.set("relative_error", t.distortion.relative_error).set("nonfinite", t.nonfinite);
    row.set("scheme_a", t.scheme_a ? io::Json(to_text(*t.scheme_a)) : io::Json());
    row.set("scheme_b", t.scheme_b ? io::Json(to_text(*t.scheme_b)) : io::Json());
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string to_table(const WeightComparison& weights) {
  Table table("llllrrrr", {"tensor", "shape", "A", "B", "SQNR dB", "relative error", "max error", "cosine"});
  for (const TensorComparison& t : weights.tensors)
    table.row({io::printable(t.name), human_shape(t.shape), scheme_text(t.scheme_a), scheme_text(t.scheme_b),
               decibels(t), fmt::format("{:.3e}", t.distortion.relative_error),
               fmt::format("{:.3e}", t.distortion.max_abs_error), fmt::format("{:.6f}", t.distortion.cosine)});
  std::string text = table.text();
  if (!weights.not_compared.empty()) text += "\nnot compared, no real numbers: " + some(weights.not_compared) + "\n";
  return text;
}

std::string to_table(const PredictionComparison& p) {
  Table table("lr", {"prediction", "value"});
  table.row({"tokens", std::to_string(p.tokens)});
  table.row({"KL(A || B), nats per token", fmt::format("{:.6f} ± {:.6f}", p.kl_mean, p.kl_stderr)});
  table.row({"KL of 99 % of them at most", fmt::format("{:.6f}", p.kl_p99)});
  table.row({"same most likely token", fmt::format("{:.2f} %", 100 * p.top1_agreement)});
  table.row({"nats per token, A", fmt::format("{:.5f}", p.nll_a)});
  table.row({"nats per token, B", fmt::format("{:.5f}", p.nll_b)});
  return table.text();
}

class Compare final : public Command {
 public:
  void define(Options& options) override {
    options.path({"A", "", "the reference: a safetensors file or a model's folder, float or quantized"}, paths_[0],
                 Need::required);
    options.path({"B", "", "what is measured against it"}, paths_[1], Need::required);
    options.path({"--text", "FILE|IDS.npy", "compare predictions, too: on UTF-8 text, or on token ids"}, text_);
    options.whole({"--tokens", "N", "how many to read; 0: all"}, tokens_, 0, kMaxId);
    options.whole({"--context", "N", "ids per window"}, context_, 2, kMaxId, "min(max_position_embeddings, 2048)");
    options.real({"--max-kl", "X", "exit 8 where the mean KL divergence is above X nats per token"}, max_kl_, 0,
                 kInfinity, "none");
    options.real({"--min-sqnr", "X", "exit 8 where a weight's SQNR is below X dB"}, min_sqnr_, -kInfinity, kInfinity,
                 "none");
  }

  Status run(Console& console) override {
    if (text_.empty() && (tokens_ != 0 || context_ != 0 || has_max_kl()))
      return fail(ErrorCode::usage, "--tokens, --context and --max-kl are about predictions; they need --text");
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    const auto a = open(paths_[0], console);
    if (!a) return propagate(a);
    const auto b = open(paths_[1], console);
    if (!b) return propagate(b);
    const Context& context = runtime->context();
    // What predictions need is read first: what is missing there shows before any work.
    auto models = text_.empty() ? Result<std::optional<Models>>() : load(*a, *b, context);
    if (!models) return propagate(models);
    const auto weights = [&] {
      Reporter reporter(console);
      return pipeline::compare_weights(*a, *b, context, reporter);
    }();
    if (!weights) return propagate(weights);
    warn(*weights, console);
    std::optional<PredictionComparison> predictions;
    if (*models) {
      Reporter reporter(console, Unit::tokens);
      const Models& m = **models;
      auto compared =
          pipeline::compare_predictions(m.a, m.b, m.data, static_cast<std::size_t>(context_), context, reporter);
      if (!compared) return propagate(compared);
      predictions = *compared;
    }
    const Status verdict = check(*weights, predictions);
    if (console.json())
      console.print_json(to_json(*weights, predictions, verdict.has_value()));
    else
      console.print(to_table(*weights) + (predictions ? "\n" + to_table(*predictions) : ""));
    return verdict;
  }

 private:
  struct Models {
    nn::Model a, b;
    pipeline::Dataset data;
  };

  [[nodiscard]] bool has_max_kl() const { return max_kl_ != kInfinity; }
  [[nodiscard]] bool has_min_sqnr() const { return min_sqnr_ != -kInfinity; }

  static Result<io::Weights> open(const std::filesystem::path& path, Console& console) {
    auto weights = io::Weights::open(path);
    if (weights)
      for (const std::string& warning : weights->info().warnings) console.warn(warning);
    return weights;
  }

  [[nodiscard]] Result<std::optional<Models>> load(const io::Weights& a, const io::Weights& b,
                                                   const Context& context) const {
    auto model_a = nn::Model::load(a, context);
    if (!model_a) return propagate(model_a);
    auto model_b = nn::Model::load(b, context);
    if (!model_b) return propagate(model_b);
    auto data = pipeline::load_dataset(text_, paths_[0], static_cast<std::size_t>(tokens_));
    if (!data) return propagate(data);
    return std::optional<Models>(Models{std::move(*model_a), std::move(*model_b), std::move(*data)});
  }

  void warn(const WeightComparison& weights, Console& console) const {
    const auto warn_of = [&](const std::vector<std::string>& names, const std::filesystem::path& path) {
      if (!names.empty()) console.warn(fmt::format("only in {}: {}", path.string(), some(names)));
    };
    warn_of(weights.only_in_a, paths_[0]);
    warn_of(weights.only_in_b, paths_[1]);
    std::vector<std::string> shapes;
    for (const ShapeMismatch& m : weights.shape_mismatch)
      shapes.push_back(fmt::format("{} ({} and {})", m.name, human_shape(m.shape_a), human_shape(m.shape_b)));
    if (!shapes.empty()) console.warn("of different shapes, not compared: " + some(shapes));
  }

  /// `threshold`, naming what exceeded it, and the worst where there are several.
  [[nodiscard]] Status check(const WeightComparison& weights,
                             const std::optional<PredictionComparison>& predictions) const {
    Error error{ErrorCode::threshold, "", {paths_[1].string(), {}, {}}};
    if (predictions && has_max_kl() && !(predictions->kl_mean <= max_kl_))
      error.message = fmt::format("KL divergence of {:.6g} nats per token, expected at most {} (--max-kl)",
                                  predictions->kl_mean, max_kl_);
    const TensorComparison* worst = nullptr;
    std::size_t below = 0;
    for (const TensorComparison& t : weights.tensors) {
      if (!has_min_sqnr() || sqnr_of(t) >= min_sqnr_) continue;
      ++below;
      if (worst == nullptr || sqnr_of(t) < sqnr_of(*worst)) worst = &t;
    }
    if (worst != nullptr) {
      if (error.message.empty()) error.where.tensor = worst->name;
      error.message += fmt::format("{}{} of {} weights below an SQNR of {} dB (--min-sqnr), {} is the worst with {} dB",
                                   error.message.empty() ? "" : "; ", below, weights.tensors.size(), min_sqnr_,
                                   worst->name, decibels(*worst));
    }
    if (error.message.empty()) return {};
    return tl::unexpected<Error>(std::move(error));
  }

  [[nodiscard]] io::Json to_json(const WeightComparison& weights,
                                 const std::optional<PredictionComparison>& predictions, bool passed) const {
    io::Json mismatches = io::Json::array();
    for (const ShapeMismatch& m : weights.shape_mismatch)
      mismatches.push_back(io::Json::object()
                               .set("name", m.name)
                               .set("shape_a", shape_json(m.shape_a))
                               .set("shape_b", shape_json(m.shape_b)));
    io::Json json = document("compare");
    json.set("tensors", tensors_json(weights));
    json.set("only_in_a", names_json(weights.only_in_a)).set("only_in_b", names_json(weights.only_in_b));
    json.set("shape_mismatch", std::move(mismatches)).set("not_compared", names_json(weights.not_compared));
    const auto known = [&](auto PredictionComparison::*member) {
      return predictions ? io::Json((*predictions).*member) : io::Json();
    };
    json.set("tokens", known(&PredictionComparison::tokens)).set("kl_mean", known(&PredictionComparison::kl_mean));
    json.set("kl_stderr", known(&PredictionComparison::kl_stderr)).set("kl_p99", known(&PredictionComparison::kl_p99));
    json.set("top1_agreement", known(&PredictionComparison::top1_agreement));
    json.set("nll_a", known(&PredictionComparison::nll_a)).set("nll_b", known(&PredictionComparison::nll_b));
    json.set("passed", has_max_kl() || has_min_sqnr() ? io::Json(passed) : io::Json());
    return json;
  }

  std::filesystem::path paths_[2];
  std::filesystem::path text_;
  std::uint64_t tokens_ = 0;
  std::uint64_t context_ = 0;
  double max_kl_ = kInfinity;
  double min_sqnr_ = -kInfinity;
};

}  // namespace

constinit const Verb kCompare{
    "compare",
    "A B [--text FILE|IDS.npy] [--max-kl X] [--min-sqnr X]",
    "Measures how far B is from A: weight by weight and, on a text, in what they predict.",
    {"kvant compare models/tiny tiny-int4", "kvant compare models/tiny tiny-int4 --text test.txt --max-kl 0.05 --json"},
    [] { return std::unique_ptr<Command>(std::make_unique<Compare>()); },
};

}  // namespace kvant::cli
