// SPDX-License-Identifier: Apache-2.0
#include "step_runner.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "kvant/core/checked.hpp"
#include "kvant/nn/ops.hpp"

namespace kvant::nn {
namespace {

std::span<float> head_of(std::span<float> row, const Slice& s, std::size_t head) {
  return row.subspan(s.first + head * s.stride, s.width);
}

/// The number of the largest element; the first of equals. Contract: not empty.
std::size_t largest(std::span<const float> x) {
  return static_cast<std::size_t>(std::max_element(x.begin(), x.end()) - x.begin());
}

}  // namespace

void StepRunner::start_tokens() {
  rows_ = work_.tokens.size();
  forget_input();
  const auto& ropes = model_.config().ropes;
  for_rows([&](std::size_t r) {
    const TokenRow& token = work_.tokens[r];
    for (std::size_t i = 0; i < ropes.size(); ++i)
      rope_angles(token.position, token.cache->frequencies(i), ropes[i].magnitude, work_.cosines[i].row(r),
                  work_.sines[i].row(r));
  });
}

void StepRunner::bind(BufferId buffer, MatrixView<float> memory) {
  bound_ = {buffer, memory};
  forget_input();
}

MatrixView<float> StepRunner::view(BufferId buffer, std::size_t rows) const {
  if (bound_ && bound_->buffer == buffer) return bound_->memory.rows(0, rows);
  const std::size_t width = model_.config().buffers[buffer].width;
  return {work_.slots[work_.plan->buffers.slot_of[buffer]].data(), rows, width};
}

MatrixView<float> StepRunner::dense(const Slice& slice) const {
  const MatrixView<float> whole = view(slice.buffer);
  expects(slice.is_dense(), "columns side by side");
  return {whole.data() + slice.first, whole.rows(), slice.columns(), whole.stride()};
}

const std::vector<float>& StepRunner::values(TensorId tensor) const {
  static const std::vector<float> kNone;
  return tensor == kNoTensor ? kNone : model_.tensors_[tensor + shift_].values;
}

template <class Body>
void StepRunner::for_rows(const Body& body) const {
  context_.for_each(ceil_div(rows_, kTaskRows), [&](std::size_t task) {
    for (std::size_t r = task * kTaskRows; r < std::min(rows_, (task + 1) * kTaskRows); ++r) body(r);
  });
}

template <class Body>
void StepRunner::for_heads(const Slice& x, const Body& body) const {
  const MatrixView<float> whole = view(x.buffer);
  for_rows([&](std::size_t r) {
    if (x.is_dense())
      body(whole.row(r).subspan(x.first, x.columns()));
    else
      for (std::size_t h = 0; h < x.count; ++h) body(head_of(whole.row(r), x, h));
  });
}

template <class Body>
void StepRunner::for_heads(const Slice& x, const Slice& y, const Body& body) const {
  const MatrixView<float> a = view(x.buffer);
  const MatrixView<float> b = view(y.buffer);
  for_rows([&](std::size_t r) {
    if (x.is_dense() && y.is_dense() && x.columns() == y.columns())
      body(a.row(r).subspan(x.first, x.columns()), b.row(r).subspan(y.first, y.columns()));
    else
      for (std::size_t h = 0; h < x.count; ++h)
        body(head_of(a.row(r), x, h), head_of(b.row(r), y, y.count == 1 ? 0 : h));
  });
}

Status StepRunner::run(const std::vector<Step>& steps, TensorId shift) {
  const TensorId outer = std::exchange(shift_, shift);
  for (const Step& any : steps)
    if (Status ok = std::visit([&](const auto& s) { return step(s); }, any); !ok) return ok;
  shift_ = outer;
  return {};
}

Status StepRunner::step(const Embed& s) {
  forget_input();
  work_.ids.resize(rows_);
  for (std::size_t r = 0; r < rows_; ++r) {
    const TokenRow& token = work_.tokens[r];
    work_.ids[r] = s.key == Embed::Key::token  ? token.id
                   : s.key == Embed::Key::type ? token.type
                                               : static_cast<std::int32_t>(token.position + s.offset);
  }
  const MatrixView<float> out = view(s.out);
  if (Status ok = model_.tensors_[s.table].linear.gather(work_.ids, out, context_); !ok) return ok;
  if (s.scale != 1)
    for_rows([&](std::size_t r) {
      for (float& v : out.row(r)) v *= s.scale;
    });
  return {};
}

Status StepRunner::step(const Norm& s) {
  forget_input();
  const std::span<const float> weight = values(s.weight);
  const std::span<const float> bias = values(s.bias);
  const MatrixView<float> in = view(s.in.buffer);
  const MatrixView<float> out = view(s.out.buffer);
  const auto part = [&](std::span<const float> all, std::size_t head) {
    return all.empty() || !s.per_head ? all : all.subspan(head * s.in.width, s.in.width);
  };
  for_rows([&](std::size_t r) {
    for (std::size_t h = 0; h < s.in.count; ++h) {
      const auto x = head_of(in.row(r), s.in, h);
      const auto y = head_of(out.row(r), s.out, h);
      if (s.kind == Norm::Kind::rms)
        rms_norm(x, part(weight, h), s.epsilon, y);
      else
        layer_norm(x, part(weight, h), part(bias, h), s.epsilon, y);
    }
  });
  return {};
}

Status StepRunner::step(const Multiply& s) {
  const MatrixView<const float> in = dense(s.in);
  if (tap_ != nullptr) tap_->input(s.weight + shift_, in);
  if (!has_input_ || input_ != s.in) work_.input.assign(in);
  input_ = s.in;
  has_input_ = s.in.buffer != s.out.buffer;
  return model_.tensors_[s.weight + shift_].linear.multiply(work_.input, dense(s.out), context_,
                                                            {.scale = s.scale, .accumulate = s.accumulate});
}

Status StepRunner::step(const Rotate& s) {
  forget_input();
  const MatrixView<float> x = view(s.heads.buffer);
  for_rows([&](std::size_t r) {
    for (std::size_t h = 0; h < s.heads.count; ++h)
      rope(head_of(x.row(r), s.heads, h), work_.cosines[s.rope].row(r), work_.sines[s.rope].row(r), s.interleaved);
  });
  return {};
}

ScoreRule StepRunner::rule_of(const Attend& s, std::size_t head, const TokenRow& token) const {
  ScoreRule rule;
  rule.scale = s.scale;
  rule.softcap = s.softcap;
  rule.own = token.position;
  rule.end = s.both_ways ? token.end : token.position + 1;
  if (s.window != 0) {
    rule.first = std::max(token.position + 1, s.window) - s.window;
    rule.end = std::min(rule.end, token.position + s.window);
  }
  if (!s.slopes.empty()) rule.slope = s.slopes[head];
  if (s.sinks != kNoTensor) rule.sink = &values(s.sinks)[head];
  if (s.distances.table != kNoTensor) {
    rule.farthest = s.distances.farthest;
    rule.distances = &values(s.distances.table)[head * (2 * rule.farthest + 1) + rule.farthest];
  }
  return rule;
}

void StepRunner::store(std::size_t cache, const Slice& k, const Slice& v) const {
  const MatrixView<float> keys = view(k.buffer);
  const MatrixView<float> values = view(v.buffer);
  for_rows([&](std::size_t r) {
    work_.tokens[r].cache->store(cache, work_.tokens[r].position, {keys.row(r).data() + k.first, k.stride},
                                 {values.row(r).data() + v.first, v.stride});
  });
}

template <class Rule>
void StepRunner::attend(const Slice& q, const Slice& out, std::size_t cache, const Rule& rule) {
  const std::size_t shared = q.count / model_.config().caches[cache].heads;  // query heads to one of keys
  const MatrixView<float> queries = view(q.buffer);
  const MatrixView<float> results = view(out.buffer);
  const std::size_t tasks_per_head = ceil_div(rows_, kTaskRows);
  context_.for_each(q.count * tasks_per_head, [&](std::size_t task) {
    const std::size_t head = task / tasks_per_head;
    const std::size_t begin = task % tasks_per_head * kTaskRows;
    for (std::size_t r = begin; r < std::min(rows_, begin + kTaskRows); ++r) {
      const TokenRow& token = work_.tokens[r];
      attention(head_of(queries.row(r), q, head), token.cache->head(cache, head / shared), rule(head, token),
                work_.scores.row(task), head_of(results.row(r), out, head));
    }
  });
}

Status StepRunner::step(const Attend& s) {
  forget_input();
  store(s.cache, s.k, s.v);
  attend(s.q, s.out, s.cache, [&](std::size_t head, const TokenRow& token) { return rule_of(s, head, token); });
  return {};
}

Status StepRunner::step(const StoreSource& s) {
  store(s.cache, s.k, s.v);
  return {};
}

Status StepRunner::step(const AttendSource& s) {
  forget_input();
  attend(s.q, s.out, s.cache, [&](std::size_t, const TokenRow& token) {
    ScoreRule rule;
    rule.scale = s.scale;
    rule.end = token.cache->source_length();
    return rule;
  });
  return {};
}

Status StepRunner::step(const Activate& s) {
  forget_input();
  for_heads(s.x, [&](std::span<float> x) { activate(s.function, x); });
  return {};
}

Status StepRunner::step(const Gate& s) {
  forget_input();
  if (s.by.columns() == 1) {
    const MatrixView<float> by = view(s.by.buffer);
    const MatrixView<float> x = dense(s.x);
    for_rows([&](std::size_t r) {
      for (float& v : x.row(r)) v *= by.row(r)[s.by.first];
    });
    return {};
  }
  for_heads(s.x, s.by, [](std::span<float> x, std::span<const float> by) { multiply(x, by); });
  return {};
}

Status StepRunner::step(const Add& s) {
  forget_input();
  for_heads(s.x, s.by, [&](std::span<float> x, std::span<const float> by) { add(x, by, s.scale); });
  return {};
}

Status StepRunner::step(const Copy& s) {
  forget_input();
  for_heads(s.out, s.in, [](std::span<float> out, std::span<const float> in) { std::ranges::copy(in, out.begin()); });
  return {};
}

Status StepRunner::step(const Scale& s) {
  forget_input();
  for_heads(s.x, [&](std::span<float> x) {
    for (float& v : x) v = s.factor * v + s.offset;
  });
  return {};
}

Status StepRunner::step(const Softcap& s) {
  forget_input();
  for_heads(s.x, [&](std::span<float> x) { softcap(x, s.c); });
  return {};
}

Status StepRunner::step(const Clamp& s) {
  forget_input();
  for_heads(s.x, [&](std::span<float> x) {
    for (float& v : x) v = std::clamp(v, s.low, s.high);
  });
  return {};
}

// ---- experts --------------------------------------------------------------------------------------------------------

/// Scores of experts outside the best groups become -infinity.
void StepRunner::keep_groups(const Routing& routing, std::span<float> choice) {
  const std::size_t size = choice.size() / routing.groups;
  const std::span<float> best(work_.best.data(), routing.groups);
  const std::span<char> kept(work_.kept.data(), routing.groups);
  const auto first = work_.sorted.begin();
  for (std::size_t g = 0; g < routing.groups; ++g) {
    std::ranges::copy(choice.subspan(g * size, size), first);
    const auto end = first + static_cast<std::ptrdiff_t>(size);
    const auto enough = first + static_cast<std::ptrdiff_t>(std::min(size, routing.best_of_group));
    std::partial_sort(first, enough, end, std::greater<>());
    best[g] = std::accumulate(first, enough, 0.0f);
  }
  std::ranges::fill(kept, 0);
  for (std::size_t i = 0; i < routing.chosen_groups; ++i) {
    const std::size_t g = largest(best);
    kept[g] = 1;
    best[g] = -INFINITY;
  }
  for (std::size_t g = 0; g < routing.groups; ++g)
    if (kept[g] == 0) std::ranges::fill(choice.subspan(g * size, size), -INFINITY);
}

void StepRunner::choose(const Experts& s, std::size_t row) {
  const Routing& routing = s.routing;
  const std::span<float> scores = view(s.scores).row(row);
  if (routing.scores == Routing::Scores::sigmoid)
    activate(Activation::sigmoid, scores);
  else if (!routing.softmax_of_chosen)
    softmax(scores);
  const std::span<float> choice(work_.choice.data(), s.experts);
  std::ranges::copy(scores, choice.begin());
  if (routing.correction != kNoTensor) add(choice, values(routing.correction), 1);
  if (routing.groups > 1) keep_groups(routing, choice);
  const std::span<std::uint32_t> chosen(&work_.chosen[row * routing.chosen], routing.chosen);
  const std::span<float> gains(&work_.gains[row * routing.chosen], routing.chosen);
  for (std::size_t i = 0; i < routing.chosen; ++i) {
    // No expert twice, whatever the scores are: NaN among them, or -infinity for all that are left.
    const auto is_taken = [&](std::size_t e) { return std::ranges::count(chosen.first(i), e) != 0; };
    std::size_t best = 0;
    while (is_taken(best)) ++best;
    for (std::size_t e = best + 1; e < s.experts; ++e)
      if (choice[e] > choice[best] && !is_taken(e)) best = e;
    chosen[i] = static_cast<std::uint32_t>(best);
    gains[i] = scores[best];
  }
  if (routing.softmax_of_chosen) softmax(gains);
  float divisor = 1;
  if (routing.normalized) divisor = std::accumulate(gains.begin(), gains.end(), 1e-20f);
  for (float& gain : gains) gain = gain / divisor * routing.scale;
}

Status StepRunner::run_expert(const Experts& s, std::size_t expert) {
  const std::size_t k = s.routing.chosen;
  work_.picked.clear();
  for (std::size_t i = 0; i < rows_ * k; ++i)
    if (work_.chosen[i] == expert) work_.picked.push_back(static_cast<std::uint32_t>(i));
  if (work_.picked.empty()) return {};
  const std::size_t count = work_.picked.size();
  const MatrixView<float> in = view(s.in);
  const MatrixView<float> inner = view(s.expert_in, count);
  for (std::size_t i = 0; i < count; ++i) std::ranges::copy(in.row(work_.picked[i] / k), inner.row(i).begin());
  const std::size_t all = std::exchange(rows_, count);
  forget_input();
  const Status ok = run(model_.config().expert_steps[s.steps], static_cast<TensorId>(expert) * s.stride);
  rows_ = all;
  if (!ok) return ok;
  const MatrixView<float> outer = view(s.expert_out, count);
  const MatrixView<float> out = view(s.out);
  for (std::size_t i = 0; i < count; ++i) add(out.row(work_.picked[i] / k), outer.row(i), work_.gains[work_.picked[i]]);
  return {};
}

Status StepRunner::step(const Experts& s) {
  const MatrixView<float> out = view(s.out);
  for (std::size_t r = 0; r < rows_; ++r) {
    choose(s, r);
    std::ranges::fill(out.row(r), 0.0f);
  }
  for (std::size_t e = 0; e < s.experts; ++e)
    if (Status ok = run_expert(s, e); !ok) return ok;
  forget_input();
  return {};
}

}  // namespace kvant::nn
