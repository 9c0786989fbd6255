// SPDX-License-Identifier: Apache-2.0
// The one forward pass: runs lists of steps over rows of tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "buffer_plan.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/linear/activations.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/nn/workspace.hpp"

namespace kvant::nn {

/// Tokens that go through the layers together: enough to use every weight often once it is loaded, few enough to keep
/// the intermediate results small.
inline constexpr std::size_t kChunk = 256;

/// Rows that one task handles.
inline constexpr std::size_t kTaskRows = 16;

struct Model::Plan {
  BufferPlan buffers;
  std::size_t heads = 0;    ///< the most that one attention has
  std::size_t experts = 0;  ///< the most that one mixture has
  std::size_t chosen = 0;   ///< the most of them that a token goes through
  bool is_bidirectional = false;
};

/// A token on its way.
struct TokenRow {
  std::int32_t id = 0;
  std::int32_t type = 0;
  std::size_t position = 0;
  std::size_t end = 0;  ///< behind its sequence's last position
  KvCache* cache = nullptr;
};

struct Workspace::State {
  std::shared_ptr<const Model::Plan> plan;  ///< of the model that it was made for
  std::size_t rows = 0, positions = 0;
  std::vector<std::vector<float>> slots;      ///< of buffers
  std::vector<Matrix<float>> cosines, sines;  ///< of rotations, a row for each token
  Matrix<float> scores;                       ///< one row per task of attention
  Activations input;                          ///< what the layer at hand makes of its input
  std::vector<TokenRow> tokens;
  std::vector<std::int32_t> ids;
  std::vector<float> choice, sorted, best;    ///< of a token: scores to choose by, a group's in order, groups' scores
  std::vector<char> kept;                     ///< groups of the token at hand
  std::vector<float> gains;                   ///< weights of the experts of every token
  std::vector<std::uint32_t> chosen, picked;  ///< experts of every token; tokens of one expert
};

class StepRunner {
 public:
  StepRunner(const Model& model, Workspace::State& work, const Context& context, LayerTap* tap)
      : model_(model), work_(work), context_(context), tap_(tap) {}

  /// The next lists are about the workspace's tokens; angles of their positions are made here.
  void start_tokens();
  /// As many rows, of whatever buffers hold already.
  void set_rows(std::size_t rows) noexcept { rows_ = rows; }
  /// A buffer is this memory from now on; one at a time.
  void bind(BufferId buffer, MatrixView<float> memory);
  [[nodiscard]] MatrixView<float> view(BufferId buffer) const { return view(buffer, rows_); }

  /// Tensors are those that steps name, `shift` further.
  [[nodiscard]] Status run(const std::vector<Step>& steps, TensorId shift = 0);

 private:
  struct Bound {
    BufferId buffer;
    MatrixView<float> memory;
  };

  [[nodiscard]] MatrixView<float> view(BufferId buffer, std::size_t rows) const;
  [[nodiscard]] MatrixView<float> dense(const Slice& slice) const;
  [[nodiscard]] const std::vector<float>& values(TensorId tensor) const;
  /// `body(row)` for all rows.
  template <class Body>
  void for_rows(const Body& body) const;
  /// `body(heads of the row…)` for each head of each row; slices have as many heads.
  template <class Body>
  void for_heads(const Slice& x, const Body& body) const;
  template <class Body>
  void for_heads(const Slice& x, const Slice& y, const Body& body) const;

  Status step(const Embed& s);
  Status step(const Norm& s);
  Status step(const Multiply& s);
  Status step(const Rotate& s);
  Status step(const Attend& s);
  Status step(const StoreSource& s);
  Status step(const AttendSource& s);
  Status step(const Activate& s);
  Status step(const Gate& s);
  Status step(const Add& s);
  Status step(const Copy& s);
  Status step(const Scale& s);
  Status step(const Softcap& s);
  Status step(const Clamp& s);
  Status step(const Experts& s);

  /// Keys and values of all rows, into their places.
  void store(std::size_t cache, const Slice& k, const Slice& v) const;
  /// Every head of q of every row, by `rule(head, token)`.
  template <class Rule>
  void attend(const Slice& q, const Slice& out, std::size_t cache, const Rule& rule);
  [[nodiscard]] ScoreRule rule_of(const Attend& s, std::size_t head, const TokenRow& token) const;
  void keep_groups(const Routing& routing, std::span<float> choice);
  void choose(const Experts& s, std::size_t row);
  Status run_expert(const Experts& s, std::size_t expert);
  /// Whatever was made of the input of layers is of another buffer, or of its former contents.
  void forget_input() noexcept { has_input_ = false; }

  const Model& model_;
  Workspace::State& work_;
  const Context& context_;
  LayerTap* tap_;
  std::optional<Bound> bound_;
  std::size_t rows_ = 0;
  TensorId shift_ = 0;
  bool has_input_ = false;
  Slice input_;  ///< that work_.input was given
};

}  // namespace kvant::nn
