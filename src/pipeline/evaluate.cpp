// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/evaluate.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "kvant/nn/kv_cache.hpp"

namespace kvant::pipeline {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kDefaultContext = 2048;
constexpr std::size_t kGeneratePrompt = 8;

/// -log softmax(logits)[id] in nats.
double negative_log_likelihood(std::span<const float> logits, std::int32_t id) noexcept {
  const float peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += static_cast<double>(std::exp(x - peak));
  return std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(id)] - peak);
}

/// Windows of `context` ids, or documents that begin at `id`, none longer than the model's positions.
Result<std::vector<std::span<const std::int32_t>>> split(std::span<const std::int32_t> ids, std::size_t context,
                                                         std::optional<std::int32_t> document_id) {
  std::vector<std::span<const std::int32_t>> windows;
  for (std::size_t begin = 0; begin < ids.size();) {
    std::size_t end = std::min(ids.size(), begin + context);
    if (document_id) {
      const auto next = std::find(ids.begin() + static_cast<std::ptrdiff_t>(begin) + 1, ids.end(), *document_id);
      end = static_cast<std::size_t>(next - ids.begin());
      if (end - begin > context)
        return fail(ErrorCode::usage, "the document at id " + std::to_string(begin) + " has " +
                                          std::to_string(end - begin) + " ids, expected at most " +
                                          std::to_string(context));
    }
    windows.push_back(ids.subspan(begin, end - begin));
    begin = end;
  }
  return windows;
}

struct Score {
  double nll = 0;  // sum over the window
  std::size_t tokens = 0;
};

/// Standard error of the mean over windows: how far another stream of the same kind may be off.
double standard_error(std::span<const Score> scores) {
  std::vector<double> means;
  for (const Score& s : scores)
    if (s.tokens != 0) means.push_back(s.nll / static_cast<double>(s.tokens));
  if (means.size() < 2) return 0;
  const auto n = static_cast<double>(means.size());
  double mean = 0;
  for (const double m : means) mean += m / n;
  double variance = 0;
  for (const double m : means) variance += (m - mean) * (m - mean) / (n - 1);
  return std::sqrt(variance / n);
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
  const std::size_t limit = model.config().max_positions;
  const std::size_t size = options.context != 0 ? options.context : std::min(limit, kDefaultContext);
  if (size < 2 || size > limit)
    return fail(ErrorCode::usage, "a context of " + std::to_string(size) + ", expected 2 … " + std::to_string(limit));
  if (data.ids.size() < 2) return fail(ErrorCode::usage, "the data have fewer than two tokens, nothing can be scored");
  const auto windows = split(data.ids, size, options.document_id);
  if (!windows) return propagate(windows);
  auto cache = nn::KvCache::make(model.config(), size);
  if (!cache) return propagate(cache);
  Matrix<float> logits(size, model.config().vocabulary);
  std::vector<Score> scores(windows->size());
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
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) scores[w].nll += nll[i];
    scores[w].tokens = ids.size() - 1;
    done += ids.size();
    if (!progress.advance("window", done, data.ids.size())) return fail(ErrorCode::interrupted, "interrupted");
  }
  Evaluation result;
  for (const Score& s : scores) {
    result.nll += s.nll;
    result.tokens += s.tokens;
  }
  if (result.tokens == 0) return fail(ErrorCode::usage, "no window has two tokens, nothing can be scored");
  result.nll /= static_cast<double>(result.tokens);
  result.nll_stderr = standard_error(scores);
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
