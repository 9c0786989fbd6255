// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/evaluate.hpp"
#include "core/guard.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <span>
#include <utility>
#include <vector>

#include "kvant/nn/kv_cache.hpp"
#include "windows.hpp"

namespace kvant::pipeline {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kGeneratePrompt = 8;

/// -log softmax(logits)[id] in nats.
double negative_log_likelihood(std::span<const float> logits, std::int32_t id) noexcept {
  const float peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += static_cast<double>(std::exp(x - peak));
  return std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(id)] - peak);
}

/// The sum over a window's positions that have an id after them; `seconds` takes what the model needed.
class WindowScorer {
 public:
  WindowScorer(const nn::Model& model, nn::KvCache cache, const Context& context)
      : model_(model),
        cache_(std::move(cache)),
        context_(context),
        states_(kPositions, model.config().hidden),
        logits_(logit_rows(model.config().vocabulary), model.config().vocabulary) {}

  Result<double> score(std::span<const std::int32_t> window, double& seconds) {
    cache_.clear();
    double sum = 0;
    for (std::size_t first = 0; first < window.size(); first += kPositions) {
      const auto ids = window.subspan(first, std::min(kPositions, window.size() - first));
      const MatrixView<float> states = states_.view().rows(0, ids.size());
      const auto start = Clock::now();
      if (const Status ok = model_.hidden_states(ids, cache_, states, context_); !ok) return propagate(ok);
      seconds += std::chrono::duration<double>(Clock::now() - start).count();
      for (std::size_t r = 0; r < ids.size(); r += logits_.rows()) {
        const auto part = states.rows(r, std::min(logits_.rows(), ids.size() - r));
        if (const Status ok = score_rows(part, window.subspan(first + r), seconds, sum); !ok) return propagate(ok);
      }
    }
    return sum;
  }

 private:
  /// `ids` are those of the rows and what follows.
  Status score_rows(MatrixView<const float> states, std::span<const std::int32_t> ids, double& seconds, double& sum) {
    const MatrixView<float> logits = logits_.view().rows(0, states.rows());
    const auto start = Clock::now();
    if (const Status ok = model_.logits_of(states, logits, context_); !ok) return ok;
    seconds += std::chrono::duration<double>(Clock::now() - start).count();
    std::vector<double> nll(std::min(states.rows(), ids.size() - 1));
    context_.for_each(nll.size(), [&](std::size_t i) { nll[i] = negative_log_likelihood(logits.row(i), ids[i + 1]); });
    for (const double x : nll) sum += x;
    return {};
  }

  const nn::Model& model_;
  nn::KvCache cache_;
  const Context& context_;
  Matrix<float> states_, logits_;
};

Result<double> measure_generation(const nn::Model& model, std::span<const std::int32_t> ids, std::size_t count,
                                  const Context& context) {
  const std::size_t prompt = std::min(kGeneratePrompt, ids.size());
  const std::size_t room = model.config().max_positions;
  const std::size_t steps = std::min(count, room > prompt ? room - prompt : 0);
  if (steps == 0) return 0.0;
  auto cache = nn::KvCache::make(model.config(), prompt + steps);
  if (!cache) return propagate(cache);
  Matrix<float> logits(1, model.config().vocabulary);
  if (const Status ok = model.forward(ids.first(prompt), *cache, logits.view(), context); !ok) return propagate(ok);
  const auto start = Clock::now();
  for (std::size_t i = 0; i < steps; ++i) {
    const auto row = logits.row(0);
    const auto next = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    if (const Status ok = model.forward({&next, 1}, *cache, logits.view(), context); !ok) return propagate(ok);
  }
  return static_cast<double>(steps) / std::chrono::duration<double>(Clock::now() - start).count();
}

Result<Evaluation> evaluate_windows(const nn::Model& model, const Dataset& data, const EvaluateOptions& options,
                                    const Context& context, Progress& progress) {
  if (const Status ok = nn::check_predicts_next(model.config()); !ok) return propagate(ok);
  const auto size = window_size(options.context, model.config().max_positions);
  if (!size) return propagate(size);
  const auto windows = split_windows(data.ids, *size, options.document_id);
  if (!windows) return propagate(windows);
  auto cache = nn::KvCache::make(model.config(), *size);
  if (!cache) return propagate(cache);
  WindowScorer scorer(model, std::move(*cache), context);
  std::vector<WindowSum> scores;
  double seconds = 0;
  std::size_t done = 0;
  for (const std::span<const std::int32_t> ids : *windows) {
    const auto sum = scorer.score(ids, seconds);
    if (!sum) return propagate(sum);
    if (const Status ok = check_window(*sum, "the model", scores.size() + 1, done, ids.size()); !ok)
      return propagate(ok);
    scores.push_back({*sum, ids.size() - 1});
    done += ids.size();
    if (!progress.advance("window", done, data.ids.size())) return fail(ErrorCode::interrupted, "interrupted");
  }
  const auto mean = mean_over(scores);
  if (!mean) return propagate(mean);
  Evaluation result;
  result.tokens = mean->positions;
  result.nll = mean->mean;
  result.nll_stderr = mean->standard_error;
  result.perplexity = std::exp(result.nll);
  if (data.bytes && *data.bytes != 0)
    result.bits_per_byte = result.nll * static_cast<double>(data.ids.size() - data.added) /
                           (std::numbers::ln2 * static_cast<double>(*data.bytes));
  result.prompt_tokens_per_s = static_cast<double>(done) / seconds;
  const auto speed = measure_generation(model, data.ids, options.generate_tokens, context);
  if (!speed) return propagate(speed);
  result.generate_tokens_per_s = *speed;
  return result;
}

}  // namespace

Result<Evaluation> evaluate(const nn::Model& model, const Dataset& data, const EvaluateOptions& options,
                            const Context& context, Progress& progress) {
  return guarded([&] { return evaluate_windows(model, data, options, context, progress); });
}

}  // namespace kvant::pipeline
