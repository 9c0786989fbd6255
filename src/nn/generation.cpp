// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/generation.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "core/guard.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant::nn {

Result<Generation> Generation::make(const Model& model, std::vector<std::int32_t> end_ids, std::size_t parallel) {
  if (Status ok = check_predicts_next(model.config()); !ok) return propagate(ok);
  if (parallel == 0) return fail(ErrorCode::usage, "0 sequences at once; expected at least 1");
  return guarded([&]() -> Result<Generation> {
    std::ranges::sort(end_ids);
    return Generation(model, std::move(end_ids), parallel);
  });
}

Result<std::size_t> Generation::add(std::vector<std::int32_t> prompt, std::size_t most,
                                    const SamplingConfig& sampling) {
  return guarded([&]() -> Result<std::size_t> {
    const std::size_t room = model_->config().max_positions;
    if (prompt.empty()) return fail(ErrorCode::usage, "an empty prompt");
    if (prompt.size() >= room)
      return fail(ErrorCode::usage, "a prompt of " + std::to_string(prompt.size()) +
                                        " tokens, expected fewer than the model's context of " + std::to_string(room));
    for (const std::int32_t id : prompt)
      if (id < 0 || static_cast<std::size_t>(id) >= model_->config().vocabulary)
        return fail(ErrorCode::usage, "a prompt with the id " + std::to_string(id) + ", expected one from 0 to " +
                                          std::to_string(model_->config().vocabulary - 1));
    auto sampler = Sampler::make(sampling);
    if (!sampler) return propagate(sampler);
    const std::size_t capacity = prompt.size() + std::min(most, room - prompt.size());
    waiting_.push_back({count_, std::move(prompt), 0, most, capacity, std::move(*sampler)});
    return count_++;
  });
}

Status Generation::enter() {
  while (!waiting_.empty() && running_.size() < parallel_) {
    auto cache = KvCache::make(model_->config(), waiting_.front().capacity);
    if (!cache) return propagate(cache);
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    running_.back().cache.push_back(std::move(*cache));
  }
  return {};
}

Result<bool> Generation::extend(Sequence& sequence, std::span<const float> logits,
                                const std::function<void(const GenerationEvent&)>& take) const {
  using Kind = GenerationEvent::Kind;
  const auto end = [&](Kind kind) {
    take({sequence.number, kind, 0});
    return false;
  };
  if (!std::ranges::all_of(logits, [](float x) { return is_finite(x); }))
    return fail(ErrorCode::nonfinite, "token " + std::to_string(sequence.cache.front().length()) +
                                          ": the model predicts NaN or Inf; weights or activations exceed what its "
                                          "formats hold");
  const auto id = sequence.sampler.next(logits);
  if (!id) return propagate(id);
  if (std::ranges::binary_search(end_ids_, *id)) return end(Kind::end_token);
  take({sequence.number, Kind::token, *id});
  sequence.pending.assign(1, *id);
  if (++sequence.tokens == sequence.most) return end(Kind::most_tokens);
  if (sequence.cache.front().length() + 1 == model_->config().max_positions) return end(Kind::context);
  return true;
}

Status Generation::step(const Context& context, const std::function<void(const GenerationEvent&)>& take) {
  return guarded([&]() -> Status {
    // Nothing was to be drawn of these.
    for (const Sequence& s : waiting_)
      if (s.most == 0) take({s.number, GenerationEvent::Kind::most_tokens, 0});
    std::erase_if(waiting_, [](const Sequence& s) { return s.most == 0; });
    if (Status ok = enter(); !ok) return ok;
    if (running_.empty()) return {};
    batch_.clear();
    for (Sequence& s : running_) batch_.push_back({s.pending, &s.cache.front()});
    if (logits_.rows() < running_.size()) logits_ = Matrix<float>(running_.size(), model_->config().vocabulary);
    const MatrixView<float> logits = logits_.view().rows(0, running_.size());
    if (Status ok = model_->forward(batch_, logits, work_, context); !ok) return ok;
    std::vector<Sequence> kept;
    kept.reserve(running_.size());
    for (std::size_t i = 0; i < running_.size(); ++i) {
      const auto goes_on = extend(running_[i], logits.row(i), take);
      if (!goes_on) return propagate(goes_on);
      if (*goes_on) kept.push_back(std::move(running_[i]));
    }
    running_ = std::move(kept);
    return {};
  });
}

}  // namespace kvant::nn
