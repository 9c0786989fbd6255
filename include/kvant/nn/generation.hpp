// SPDX-License-Identifier: Apache-2.0
// Continuing several sequences at once: prompts wait, enter as others end, and every step runs all of them through the
// model together. What a sequence becomes does not depend on the others.
//
//   auto generation = kvant::nn::Generation::make(model, end_ids, 8);
//   for (const auto& ids : prompts) kvant::Result<std::size_t> number = generation->add(ids, 100, {});
//   while (!generation->is_done())
//     if (kvant::Status ok = generation->step(context, [&](const auto& event) { … }); !ok) …
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/nn/sampling.hpp"

namespace kvant::nn {

/// What a step did to one sequence: a token more, or its end.
struct GenerationEvent {
  enum class Kind : std::uint8_t { token, end_token, most_tokens, context };
  std::size_t sequence = 0;  ///< the number that add() gave
  Kind kind = Kind::token;   ///< others are ends: by an end token, by the number asked for, by the model's context
  std::int32_t id = 0;       ///< of a token
};

/// A batch of sequences that changes between steps. Not thread-safe.
class Generation {
 public:
  /// Up to `parallel` sequences run together. Contract: `model` outlives it. Errors: usage (parallel 0).
  [[nodiscard]] static Result<Generation> make(const Model& model, std::vector<std::int32_t> end_ids,
                                               std::size_t parallel);

  /// A prompt to be continued by up to `most` tokens; gives its number, from 0. Errors: usage (an empty prompt, ids out
  /// of range, as many as the model's context; sampling: as Sampler::make).
  [[nodiscard]] Result<std::size_t> add(std::vector<std::int32_t> prompt, std::size_t most,
                                        const SamplingConfig& sampling);

  [[nodiscard]] bool is_done() const noexcept { return waiting_.empty() && running_.empty(); }

  /// Lets waiting sequences enter, and continues every one by a token. Errors: nonfinite (what the model predicts for a
  /// sequence), out_of_memory.
  [[nodiscard]] Status step(const Context& context, const std::function<void(const GenerationEvent&)>& take);

 private:
  struct Sequence {
    std::size_t number = 0;
    std::vector<std::int32_t> pending;  ///< ids that the model has not seen
    std::size_t tokens = 0;             ///< drawn so far
    std::size_t most = 0;
    std::size_t capacity = 0;
    Sampler sampler;
    std::vector<KvCache> cache{};  ///< one, from its entry on
  };

  Generation(const Model& model, std::vector<std::int32_t> end_ids, std::size_t parallel)
      : model_(&model), end_ids_(std::move(end_ids)), parallel_(parallel) {}

  [[nodiscard]] Status enter();
  /// Whether the sequence goes on.
  [[nodiscard]] Result<bool> extend(Sequence& sequence, std::span<const float> logits,
                                    const std::function<void(const GenerationEvent&)>& take) const;

  const Model* model_;
  std::vector<std::int32_t> end_ids_;  ///< sorted
  std::size_t parallel_;
  std::size_t count_ = 0;
  std::deque<Sequence> waiting_;
  std::vector<Sequence> running_;
  std::vector<SequenceRows> batch_;
  Matrix<float> logits_;
  Workspace work_;
};

}  // namespace kvant::nn
