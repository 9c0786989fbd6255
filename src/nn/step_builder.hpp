// SPDX-License-Identifier: Apache-2.0
// What a family writes its steps with: buffers by name, tensors by name and shape, and one function a step. Steps go
// to the list that was begun last, and names of tensors follow that list's prefix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvant/io/weights.hpp"
#include "kvant/nn/steps.hpp"

namespace kvant::nn {

struct NormOptions {
  Norm::Kind kind = Norm::Kind::rms;
  float epsilon = 0;
  bool weight = true;
  bool bias = false;
  bool plus_one = false;
  bool per_head = false;
};

struct LinearOptions {
  bool bias = false;
  bool accumulate = false;
  float scale = 1;
  Role role = Role::linear;
  bool transposed = false;
};

class StepBuilder {
 public:
  explicit StepBuilder(ModelConfig& config, const io::Weights* weights = nullptr)
      : config_(config), weights_(weights), steps_(&config.stem) {}

  [[nodiscard]] ModelConfig& config() noexcept { return config_; }
  /// Whether there are more tensors or steps than any model has; no more are taken then.
  [[nodiscard]] bool is_full() const noexcept { return config_.tensors.size() > kMost || count_ > kMost; }

  /// Whether the checkpoint has a tensor, under this name or the bare model's; true where no checkpoint was given.
  [[nodiscard]] bool is_stored(std::string_view tensor) const;

  // ---- lists
  void stem() { begin(config_.stem, ""); }
  void block(std::string prefix) { begin(config_.blocks, std::move(prefix)); }
  void encoder_block(std::string prefix) { begin(config_.encoder, std::move(prefix)); }
  void tail() { begin(config_.tail, ""); }
  void head() { begin(config_.head, ""); }
  void pooler() { begin(config_.pooler, ""); }

  // ---- what steps name
  /// The buffer of that name, as one head; it grows to the widest that was asked for.
  Slice buffer(std::string_view name, std::size_t width);
  TensorId vector(std::string_view name, std::vector<std::uint64_t> shape, Role role);
  /// `stem`.weight, and `stem`.bias where there is one.
  TensorId matrix(std::string_view stem, std::size_t rows, std::size_t cols, const LinearOptions& options);
  TensorId tensor(TensorUse use);
  [[nodiscard]] std::string name(std::string_view stem) const { return prefix_ + std::string(stem); }
  std::size_t rope(const Rope& rope);
  std::size_t cache(const CacheShape& shape);

  // ---- steps
  void add(Step step) {
    if (++count_ <= kMost) steps_->push_back(std::move(step));
  }
  /// A table of `rows`, the embedding of tokens by default.
  TensorId embed(std::string_view stem, std::size_t rows, Slice out, float scale = 1);
  void norm(Slice in, Slice out, std::string_view stem, const NormOptions& options);
  void linear(Slice in, Slice out, std::string_view stem, const LinearOptions& options = {});
  void activate(Slice x, Activation function) { add(Activate{x, function}); }
  void gate(Slice x, Slice by) { add(Gate{x, by}); }
  void add_to(Slice x, Slice by, float scale = 1) { add(Add{x, by, scale}); }
  void copy(Slice in, Slice out) { add(Copy{in, out}); }
  void rotate(Slice heads, std::size_t rope, bool interleaved = false) { add(Rotate{heads, rope, interleaved}); }

  /// Everything that `body` writes becomes the steps of one expert; their number among ModelConfig::expert_steps.
  template <class Body>
  std::size_t nested(const Body& body) {
    std::vector<Step> steps;
    std::vector<Step>* const outer = std::exchange(steps_, &steps);
    body();
    steps_ = outer;
    config_.expert_steps.push_back(std::move(steps));
    return config_.expert_steps.size() - 1;
  }

 private:
  static constexpr std::size_t kMost = std::size_t{1} << 18;

  void begin(std::vector<Step>& steps, std::string prefix) {
    steps_ = &steps;
    prefix_ = std::move(prefix);
  }

  void begin(std::vector<Block>& blocks, std::string prefix);

  ModelConfig& config_;
  const io::Weights* weights_;
  std::vector<Step>* steps_;
  std::string prefix_;
  std::size_t count_ = 0;  ///< steps
  std::map<std::string, BufferId, std::less<>> buffers_;
};

}  // namespace kvant::nn
