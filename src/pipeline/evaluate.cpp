// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/evaluate.hpp"
#include "core/guard.hpp"

#include <algorithm>
#include <array>
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

using Window = std::span<const std::int32_t>;

/// Sums over windows' positions that have an id after them; `seconds` takes what the model needed.
class WindowScorer {
 public:
  /// Windows have up to `size` ids, and positions as in a context of so many.
  WindowScorer(const nn::Model& model, std::size_t size, const Context& context)
      : model_(model),
        size_(size),
        context_(context),
        states_(kPositions, model.config().hidden),
        logits_(logit_rows(model.config().vocabulary), model.config().vocabulary) {}

  /// How many of the windows go through the model together: one, or as many as fit into its rows.
  static std::size_t group(std::span<const Window> windows) {
    std::size_t count = 0;
    std::size_t rows = 0;
    while (count < windows.size() && rows + windows[count].size() <= kPositions) rows += windows[count++].size();
    return std::max<std::size_t>(1, count);
  }

  /// One sum for each window of a group.
  Result<std::vector<double>> score(std::span<const Window> windows, double& seconds) {
    std::vector<double> sums(windows.size());
    if (const Status ok = make_caches(windows.size()); !ok) return propagate(ok);
    for (std::size_t first = 0; first < windows[0].size(); first += kPositions) {
      std::vector<nn::SequenceRows> batch;
      rows_.clear();
      for (std::size_t w = 0; w < windows.size(); ++w) {
        const Window ids = windows[w].subspan(first, std::min(kPositions, windows[w].size() - first));
        batch.push_back({ids, &caches_[w]});
        for (std::size_t i = 0; i < ids.size(); ++i) {
          const std::size_t next = first + i + 1;
          rows_.push_back({w, next < windows[w].size() ? windows[w][next] : kNone});
        }
      }
      if (const Status ok = score_batch(batch, seconds, sums); !ok) return propagate(ok);
    }
    return sums;
  }

 private:
  /// A position: whose, and which id comes after it.
  struct Row {
    std::size_t window;
    std::int32_t next;
  };
  static constexpr std::int32_t kNone = -1;

  /// Empty ones. Windows beside others are short.
  Status make_caches(std::size_t count) {
    while (caches_.size() < count) {
      auto cache = nn::KvCache::make(model_.config(), caches_.empty() ? size_ : std::min(size_, kPositions), 0, size_);
      if (!cache) return propagate(cache);
      caches_.push_back(std::move(*cache));
    }
    for (nn::KvCache& cache : caches_) cache.clear();
    return {};
  }

  Status score_batch(std::span<const nn::SequenceRows> batch, double& seconds, std::vector<double>& sums) {
    const MatrixView<float> states = states_.view().rows(0, rows_.size());
    auto start = Clock::now();
    if (const Status ok = model_.hidden_states(batch, states, work_, context_); !ok) return ok;
    seconds += std::chrono::duration<double>(Clock::now() - start).count();
    for (std::size_t first = 0; first < rows_.size(); first += logits_.rows()) {
      const std::size_t count = std::min(logits_.rows(), rows_.size() - first);
      const MatrixView<float> logits = logits_.view().rows(0, count);
      start = Clock::now();
      if (const Status ok = model_.logits_of(states.rows(first, count), logits, work_, context_); !ok) return ok;
      seconds += std::chrono::duration<double>(Clock::now() - start).count();
      std::vector<double> nll(count);
      context_.for_each(count, [&](std::size_t i) {
        const std::int32_t next = rows_[first + i].next;
        if (next != kNone) nll[i] = negative_log_likelihood(logits.row(i), next);
      });
      for (std::size_t i = 0; i < count; ++i) sums[rows_[first + i].window] += nll[i];
    }
    return {};
  }

  const nn::Model& model_;
  const std::size_t size_;
  const Context& context_;
  std::vector<nn::KvCache> caches_;
  nn::Workspace work_;
  Matrix<float> states_, logits_;
  std::vector<Row> rows_;
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
  nn::Workspace work;
  const auto extend = [&](std::span<const std::int32_t> more) {
    return model.forward(std::array{nn::SequenceRows{more, &*cache}}, logits.view(), work, context);
  };
  if (const Status ok = work.reserve(model, prompt, prompt + steps); !ok) return propagate(ok);
  if (const Status ok = extend(ids.first(prompt)); !ok) return propagate(ok);
  const auto start = Clock::now();
  for (std::size_t i = 0; i < steps; ++i) {
    const auto row = logits.row(0);
    const auto next = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    if (const Status ok = extend({&next, 1}); !ok) return propagate(ok);
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
  WindowScorer scorer(model, *size, context);
  std::vector<WindowSum> scores;
  double seconds = 0;
  std::size_t done = 0;
  for (std::size_t first = 0; first < windows->size();) {
    const auto rest = std::span<const Window>(*windows).subspan(first);
    const auto group = rest.first(WindowScorer::group(rest));
    const auto sums = scorer.score(group, seconds);
    if (!sums) return propagate(sums);
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (const Status ok = check_window((*sums)[i], "the model", scores.size() + 1, done, group[i].size()); !ok)
        return propagate(ok);
      scores.push_back({(*sums)[i], group[i].size() - 1});
      done += group[i].size();
    }
    first += group.size();
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
