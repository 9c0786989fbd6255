// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/compare.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "core/guard.hpp"
#include "io/convert.hpp"
#include "kvant/nn/kv_cache.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/tensor/stack.hpp"
#include "measure.hpp"
#include "windows.hpp"

namespace kvant::pipeline {
namespace {

tl::unexpected<Error> interrupted() { return fail(ErrorCode::interrupted, "interrupted"); }

// ---- weights -------------------------------------------------------------------------------------------------------

bool has_numbers(const io::WeightInfo& w) { return w.is_quantized() || io::converts_to_float(w.dtype); }

/// One weight of one checkpoint, as floats, in bands of rows.
class Rows {
 public:
  static Result<Rows> open(const io::Weights& weights, const io::WeightInfo& info) {
    Rows rows(weights, info);
    if (!info.is_quantized()) return rows;
    if (info.transposed && info.members() == 0) {
      auto values = weights.read_float(info);
      if (!values) return propagate(values);
      rows.values_ = std::move(*values);
      return rows;
    }
    auto codes = weights.read_quantized(info);
    if (!codes) return propagate(codes);
    rows.codes_ = std::move(*codes);
    return rows;
  }

  [[nodiscard]] Result<Matrix<float>> read(std::size_t first, std::size_t count, const Context& context) const {
    if (values_) {
      Matrix<float> out(count, values_->cols());
      for (std::size_t r = 0; r < count; ++r) std::ranges::copy(values_->row(first + r), out.row(r).begin());
      return out;
    }
    if (!codes_) return weights_->read_rows(*info_, first, count);
    if (info_->members() == 0) return dequantize_rows(*codes_, first, count, context);
    // A row of a stack is one matrix.
    const std::size_t rows = codes_->rows / info_->members();
    const Matrix<float> values = dequantize_rows(*codes_, first * rows, count * rows, context);
    std::vector<float> elements = info_->transposed ? transpose_each(values.view(), count)
                                                    : std::vector<float>(values.data(), values.data() + values.size());
    return Matrix<float>(count, info_->cols(), std::move(elements));
  }

 private:
  Rows(const io::Weights& weights, const io::WeightInfo& info) : weights_(&weights), info_(&info) {}
  const io::Weights* weights_;
  const io::WeightInfo* info_;
  std::optional<QMatrix> codes_;
  std::optional<Matrix<float>> values_;  ///< of a weight whose rows are no rows of its codes
};

/// Takes out the pairs that have no difference in numbers, the same ones among them; gives the number of the others.
std::uint64_t clear_nonfinite(std::span<float> x, std::span<float> y) {
  std::uint64_t different = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (is_finite(x[i]) && is_finite(y[i])) continue;
    if (!(x[i] == y[i] || (is_nan(x[i]) && is_nan(y[i])))) ++different;
    x[i] = y[i] = 0.0f;
  }
  return different;
}

Result<TensorComparison> compare_tensor(const io::Weights& a, const io::WeightInfo& info_a, const io::Weights& b,
                                        const io::WeightInfo& info_b, const Context& context) {
  TensorComparison result{info_a.name, info_a.shape, info_a.scheme, info_b.scheme, {}, 0};
  const auto rows_a = Rows::open(a, info_a);
  if (!rows_a) return propagate(rows_a);
  const auto rows_b = Rows::open(b, info_b);
  if (!rows_b) return propagate(rows_b);
  const std::size_t rows = info_a.rows();
  const std::size_t cols = info_a.cols();
  const std::size_t step = std::max<std::size_t>(1, kBandElements / std::max<std::size_t>(cols, 1));
  DistortionMeter meter;
  for (std::size_t first = 0; first < rows && cols != 0; first += step) {
    const std::size_t count = std::min(step, rows - first);
    auto x = rows_a->read(first, count, context);
    if (!x) return propagate(x);
    auto y = rows_b->read(first, count, context);
    if (!y) return propagate(y);
    std::vector<std::uint64_t> different(count);
    context.for_each(count, [&](std::size_t r) { different[r] = clear_nonfinite(x->row(r), y->row(r)); });
    for (const std::uint64_t n : different) result.nonfinite += n;
    meter.add(
        measure(*x, context, [&](std::size_t r, std::span<float> out) { std::ranges::copy(y->row(r), out.begin()); }));
  }
  result.distortion = meter.result();
  if (result.distortion.max_abs_error == 0) result.distortion.cosine = 1;  // not but for a rounding
  return result;
}

/// Walks both lists, which are sorted by name; what can be compared comes back as pairs.
std::vector<std::pair<const io::WeightInfo*, const io::WeightInfo*>> match(const io::Weights& a, const io::Weights& b,
                                                                           WeightComparison& result) {
  std::vector<std::pair<const io::WeightInfo*, const io::WeightInfo*>> pairs;
  for (const io::WeightInfo& w : a.list()) {
    const io::WeightInfo* other = b.find(w.name);
    if (other == nullptr)
      result.only_in_a.push_back(w.name);
    else if (w.shape != other->shape)
      result.shape_mismatch.push_back({w.name, w.shape, other->shape});
    else if (!has_numbers(w) || !has_numbers(*other))
      result.not_compared.push_back(w.name);
    else
      pairs.emplace_back(&w, other);
  }
  for (const io::WeightInfo& w : b.list())
    if (a.find(w.name) == nullptr) result.only_in_b.push_back(w.name);
  return pairs;
}

Result<WeightComparison> compare_all(const io::Weights& a, const io::Weights& b, const Context& context,
                                     Progress& progress) {
  WeightComparison result;
  const auto pairs = match(a, b, result);
  if (pairs.empty())
    return fail(ErrorCode::unsupported, "has no weight in common, by name and shape, with " + b.path_text(),
                {a.path_text(), {}, {}});
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  for (const auto& [x, y] : pairs) total += x->stored_bytes + y->stored_bytes;
  for (const auto& [x, y] : pairs) {
    auto compared = compare_tensor(a, *x, b, *y, context);
    if (!compared) return propagate(compared);
    result.tensors.push_back(std::move(*compared));
    done += x->stored_bytes + y->stored_bytes;
    if (!progress.advance(x->name, done, total)) return interrupted();
  }
  return result;
}

// ---- predictions ---------------------------------------------------------------------------------------------------

/// ln softmax(x)[i] = x[i] - peak - ln sum exp(x - peak), in double.
class LogSoftmax {
 public:
  explicit LogSoftmax(std::span<const float> x)
      : x_(x), top_(static_cast<std::size_t>(std::max_element(x.begin(), x.end()) - x.begin())) {
    double sum = 0;
    for (const float value : x) sum += std::exp(static_cast<double>(value) - peak());
    log_sum_ = std::log(sum);
  }
  [[nodiscard]] double operator[](std::size_t i) const { return static_cast<double>(x_[i]) - peak() - log_sum_; }
  /// The first of the most likely ids.
  [[nodiscard]] std::size_t top() const { return top_; }

 private:
  [[nodiscard]] double peak() const { return static_cast<double>(x_[top_]); }
  std::span<const float> x_;
  std::size_t top_;
  double log_sum_ = 0;
};

struct PositionScore {
  double kl = 0, nll_a = 0, nll_b = 0;
  bool same_top = false;
};

PositionScore score(std::span<const float> logits_a, std::span<const float> logits_b, std::int32_t next) {
  const LogSoftmax a(logits_a);
  const LogSoftmax b(logits_b);
  double kl = 0;
  for (std::size_t i = 0; i < logits_a.size(); ++i) kl += std::exp(a[i]) * (a[i] - b[i]);
  if (kl < 0) kl = 0;  // no divergence is; rounding can make it look so
  const auto id = static_cast<std::size_t>(next);
  return {kl, -a[id], -b[id], a.top() == b.top()};
}

/// One of two models, with what it needs between windows.
struct Side {
  static Result<Side> make(const nn::Model& model, std::size_t positions) {
    if (const Status ok = nn::check_predicts_next(model.config()); !ok) return propagate(ok);
    auto cache = nn::KvCache::make(model.config(), positions);
    if (!cache) return propagate(cache);
    const std::size_t vocabulary = model.config().vocabulary;
    return Side{&model, std::move(*cache), Matrix<float>(kPositions, model.config().hidden),
                Matrix<float>(logit_rows(vocabulary), vocabulary)};
  }
  Status run(std::span<const std::int32_t> ids, const Context& context) {
    return model->hidden_states(std::array{nn::SequenceRows{ids, &cache}}, states.view().rows(0, ids.size()), work,
                                context);
  }
  Status compute_logits(std::size_t first, std::size_t count, const Context& context) {
    return model->logits_of(states.view().rows(first, count), logits.view().rows(0, count), work, context);
  }

  const nn::Model* model;
  nn::KvCache cache;
  Matrix<float> states, logits;
  nn::Workspace work{};
};

/// Two models on the same ids.
class Pair {
 public:
  static Result<Pair> make(const nn::Model& a, const nn::Model& b, std::size_t positions, const Context& context) {
    auto side_a = Side::make(a, positions);
    if (!side_a) return propagate(side_a);
    auto side_b = Side::make(b, positions);
    if (!side_b) return propagate(side_b);
    return Pair(std::move(*side_a), std::move(*side_b), context);
  }

  /// The scored positions of a window, in order, at the end of `scores`.
  Status run(std::span<const std::int32_t> window, std::vector<PositionScore>& scores) {
    a_.cache.clear();
    b_.cache.clear();
    for (std::size_t first = 0; first + 1 < window.size(); first += kPositions) {
      const auto ids = window.subspan(first, std::min(kPositions, window.size() - first));
      if (const Status ok = a_.run(ids, *context_); !ok) return ok;
      if (const Status ok = b_.run(ids, *context_); !ok) return ok;
      const std::size_t scored = std::min(ids.size(), window.size() - 1 - first);
      for (std::size_t r = 0; r < scored; r += a_.logits.rows()) {
        const std::size_t count = std::min(a_.logits.rows(), scored - r);
        if (const Status ok = a_.compute_logits(r, count, *context_); !ok) return ok;
        if (const Status ok = b_.compute_logits(r, count, *context_); !ok) return ok;
        const std::size_t begin = scores.size();
        scores.resize(begin + count);
        context_->for_each(count, [&](std::size_t i) {
          scores[begin + i] = score(a_.logits.row(i), b_.logits.row(i), window[first + r + i + 1]);
        });
      }
    }
    return {};
  }

 private:
  Pair(Side a, Side b, const Context& context) : a_(std::move(a)), b_(std::move(b)), context_(&context) {}

  Side a_, b_;
  const Context* context_;
};

/// The least divergence that a share of the positions does not exceed. Contract: none is NaN.
double quantile(std::span<const PositionScore> scores, double share) {
  std::vector<double> values;
  values.reserve(scores.size());
  for (const PositionScore& s : scores) values.push_back(s.kl);
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

Result<PredictionComparison> compare_windows(const nn::Model& a, const nn::Model& b, const Dataset& data,
                                             std::size_t window, const Context& context, Progress& progress) {
  if (a.config().vocabulary != b.config().vocabulary)
    return fail(ErrorCode::unsupported, "the models have vocabularies of " + std::to_string(a.config().vocabulary) +
                                            " and " + std::to_string(b.config().vocabulary) +
                                            " tokens, expected the same");
  const auto size = window_size(window, std::min(a.config().max_positions, b.config().max_positions));
  if (!size) return propagate(size);
  const auto windows = split_windows(data.ids, *size);
  if (!windows) return propagate(windows);
  auto pair = Pair::make(a, b, std::min(*size, data.ids.size()), context);
  if (!pair) return propagate(pair);
  std::vector<WindowSum> sums;
  std::vector<PositionScore> scores;
  std::size_t done = 0;
  for (const std::span<const std::int32_t> ids : *windows) {
    const std::size_t begin = scores.size();
    if (const Status ok = pair->run(ids, scores); !ok) return propagate(ok);
    WindowSum& sum = sums.emplace_back(WindowSum{0, scores.size() - begin});
    double nll_a = 0;
    double nll_b = 0;
    for (const PositionScore& s : std::span(scores).subspan(begin)) {
      sum.sum += s.kl;
      nll_a += s.nll_a;
      nll_b += s.nll_b;
    }
    if (const Status ok = check_window(nll_a, "A", sums.size(), done, ids.size()); !ok) return propagate(ok);
    if (const Status ok = check_window(nll_b, "B", sums.size(), done, ids.size()); !ok) return propagate(ok);
    done += ids.size();
    if (!progress.advance("window", done, data.ids.size())) return interrupted();
  }
  const auto kl = mean_over(sums);
  if (!kl) return propagate(kl);
  PredictionComparison result{kl->positions, kl->mean, kl->standard_error, kl->mean, 0, 0, 0};
  result.kl_p99 = quantile(scores, 0.99);
  for (const PositionScore& s : scores) {
    result.top1_agreement += s.same_top ? 1 : 0;
    result.nll_a += s.nll_a;
    result.nll_b += s.nll_b;
  }
  for (double* mean : {&result.top1_agreement, &result.nll_a, &result.nll_b})
    *mean /= static_cast<double>(result.tokens);
  return result;
}

}  // namespace

Result<WeightComparison> compare_weights(const io::Weights& a, const io::Weights& b, const Context& context,
                                         Progress& progress) {
  return guarded([&] { return compare_all(a, b, context, progress); });
}

Result<PredictionComparison> compare_predictions(const nn::Model& a, const nn::Model& b, const Dataset& data,
                                                 std::size_t window, const Context& context, Progress& progress) {
  return guarded([&] { return compare_windows(a, b, data, window, context, progress); });
}

}  // namespace kvant::pipeline
