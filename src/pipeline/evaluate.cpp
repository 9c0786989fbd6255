// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/evaluate.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>
#include <numbers>
#include <span>
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
  const auto size = window_size(options.context, model.config().max_positions);
  if (!size) return propagate(size);
  const auto windows = split_windows(data.ids, *size, options.document_id);
  if (!windows) return propagate(windows);
  auto cache = nn::KvCache::make(model.config(), *size);
  if (!cache) return propagate(cache);
  Matrix<float> logits(*size, model.config().vocabulary);
  std::vector<WindowSum> scores(windows->size());
  double seconds = 0;
  std::size_t done = 0;
  for (std::size_t w = 0; w < windows->size(); ++w) {
    const std::span<const std::int32_t> ids = (*windows)[w];
    const MatrixView<float> rows = logits.view().rows(0, ids.size());
    cache->clear();
    const auto start = Clock::now();
    if (const Status ok = model.forward(ids, *cache, rows, context); !ok) return propagate(ok);
    seconds += std::chrono::duration<double>(Clock::now() - start).count();
    std::vector<double> nll(ids.size());
    context.for_each(ids.size() - 1, [&](std::size_t i) { nll[i] = negative_log_likelihood(rows.row(i), ids[i + 1]); });
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) scores[w].sum += nll[i];
    scores[w].positions = ids.size() - 1;
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
  if (data.bytes)
    result.bits_per_byte =
        result.nll * static_cast<double>(data.ids.size()) / (std::numbers::ln2 * static_cast<double>(*data.bytes));
  result.prompt_tokens_per_s = static_cast<double>(done) / seconds;
  const auto speed = measure_generation(model, data.ids, options.generate_tokens, context);
  if (!speed) return propagate(speed);
  result.generate_tokens_per_s = *speed;
  return result;
}

}  // namespace

Result<Evaluation> evaluate(const nn::Model& model, const Dataset& data, const EvaluateOptions& options,
                            const Context& context, Progress& progress) try {
  return evaluate_windows(model, data, options, context, progress);
} catch (const std::bad_alloc&) {
  return fail(ErrorCode::out_of_memory, "memory ran out");
}

}  // namespace kvant::pipeline
