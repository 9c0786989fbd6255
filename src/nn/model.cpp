// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/model.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <unordered_set>
#include <utility>

#include "core/guard.hpp"
#include "io/storage.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/nn/heads.hpp"

namespace kvant::nn {
namespace {

/// Tokens that go through the layers together: enough to use every weight often once it is loaded, few enough to keep
/// the intermediate results small.
constexpr std::size_t kChunk = 256;

/// Rows that one task handles.
constexpr std::size_t kTaskRows = 16;

/// `body(row)` for rows [0, count).
template <class Body>
void for_rows(std::size_t count, const Context& context, const Body& body) {
  context.for_each(ceil_div(count, kTaskRows), [&](std::size_t task) {
    for (std::size_t r = task * kTaskRows; r < std::min(count, (task + 1) * kTaskRows); ++r) body(r);
  });
}

tl::unexpected<Error> bad_shape(const char* name, MatrixView<const float> found, const std::string& rows,
                                std::size_t cols) {
  return fail(ErrorCode::bad_shape, std::string(name) + " are " +
                                        io::shape_text(std::array{found.rows(), found.cols()}) + ", expected [" + rows +
                                        ", " + std::to_string(cols) + "]");
}

/// Floats keep their stored type in reports, where kvant has it as a format.
FormatId float_format(DType dtype) noexcept {
  return dtype == DType::bf16 ? format_id<bf16> : dtype == DType::f16 ? format_id<fp16> : format_id<fp32>;
}

}  // namespace

/// Finds and checks all tensors by name and shape first, then reads them.
class ModelLoader {
 public:
  explicit ModelLoader(const io::Weights& weights) : weights_(weights), file_(weights.path_text()) {}

  Result<Model> load(const Context& context) {
    if (Status s = read_config(); !s) return propagate(s);
    if (Status s = plan(); !s) return propagate(s);
    if (Status s = refuse_unknown_tensors(); !s) return propagate(s);
    if (Status s = read(context); !s) return propagate(s);
    return std::move(model_);
  }

 private:
  /// One tensor's way into the model: a matrix, with or without a bias, or a vector.
  struct Slot {
    const io::WeightInfo* weight = nullptr;
    const io::WeightInfo* bias = nullptr;
    Linear* linear = nullptr;
    std::vector<float>* vector = nullptr;
  };

  [[nodiscard]] Where where(std::string tensor = {}) const { return {file_, std::move(tensor), {}}; }

  Status read_config() {
    if (!weights_.info().not_computed.empty())
      return fail(ErrorCode::unsupported,
                  "is to be run with " + weights_.info().not_computed + ", which the forward pass does not compute",
                  where());
    const auto& json = weights_.config();
    if (!json)
      return fail(ErrorCode::bad_config, "holds weights without a config.json; a forward pass needs the model's folder",
                  where());
    model_.codebooks_ = weights_.info().codebooks;
    auto config = read_model_config(*json, {(weights_.info().path / "config.json").string(), {}, {}});
    if (!config) return propagate(config);
    model_.config_ = *config;
    model_.frequencies_ = rope_frequencies(config->rope_theta, config->head_dim);
    return {};
  }

  Status plan() {
    const ModelConfig& c = model_.config_;
    const TensorNames& names = c.architecture->names;
    if (Status s = matrix(names.embedding, c.vocabulary, c.hidden, false, model_.embedding_); !s) return s;
    for (std::size_t i = 0; i < c.layers; ++i)
      if (Status s = plan_block(std::string(names.layer) + std::to_string(i) + ".", model_.blocks_.emplace_back()); !s)
        return s;
    if (Status s = vector(names.final_norm, c.hidden, model_.final_norm_); !s) return s;
    const auto copy = find_tied_head(weights_);
    if (!copy) return propagate(copy);
    if (*copy) known_.insert(**copy);
    if (c.tied) return {};
    return matrix(names.head, c.vocabulary, c.hidden, false, model_.head_.emplace());
  }

  Status plan_block(const std::string& prefix, Model::Block& block) {
    const ModelConfig& c = model_.config_;
    const TensorNames& names = c.architecture->names;
    struct Row {
      std::string_view name;
      std::size_t rows, cols;
      bool bias;
      Linear* target;
    };
    const std::array<Row, 7> matrices{{{names.q, c.q_width(), c.hidden, c.attention_bias, &block.q},
                                       {names.k, c.kv_width(), c.hidden, c.attention_bias, &block.k},
                                       {names.v, c.kv_width(), c.hidden, c.attention_bias, &block.v},
                                       {names.o, c.hidden, c.q_width(), c.attention_bias, &block.o},
                                       {names.gate, c.ffn, c.hidden, c.ffn_bias, &block.gate},
                                       {names.up, c.ffn, c.hidden, c.ffn_bias, &block.up},
                                       {names.down, c.hidden, c.ffn, c.ffn_bias, &block.down}}};
    for (const Row& m : matrices)
      if (Status s = matrix(prefix + std::string(m.name), m.rows, m.cols, m.bias, *m.target); !s) return s;
    if (Status s = vector(prefix + std::string(names.attention_norm), c.hidden, block.attention_norm); !s) return s;
    return vector(prefix + std::string(names.ffn_norm), c.hidden, block.ffn_norm);
  }

  Status matrix(std::string_view stem, std::size_t rows, std::size_t cols, bool has_bias, Linear& target) {
    const std::string name = std::string(stem) + ".weight";
    const std::string bias_name = std::string(stem) + ".bias";
    auto weight = find(name, {rows, cols});
    if (!weight) return propagate(weight);
    Slot slot{*weight, nullptr, &target, nullptr};
    if (has_bias) {
      auto bias = find(bias_name, {rows});
      if (!bias) return propagate(bias);
      slot.bias = *bias;
    } else if (weights_.find(bias_name) != nullptr) {
      return fail(ErrorCode::bad_config, "is stored, but config.json says that there is no such bias",
                  where(bias_name));
    }
    const LayerScheme stored =
        (*weight)->is_quantized() ? *(*weight)->scheme : LayerScheme{{float_format((*weight)->dtype)}, {}};
    model_.layers_.push_back({name, stored, rows, cols});
    slots_.push_back(slot);
    return {};
  }

  Status vector(std::string_view stem, std::size_t size, std::vector<float>& target) {
    auto weight = find(std::string(stem) + ".weight", {size});
    if (!weight) return propagate(weight);
    slots_.push_back({*weight, nullptr, nullptr, &target});
    return {};
  }

  Result<const io::WeightInfo*> find(const std::string& name, std::initializer_list<std::uint64_t> shape) {
    const io::WeightInfo* weight = weights_.find(name);
    if (weight == nullptr)
      return fail(ErrorCode::missing_tensor, "is not in the checkpoint, but config.json asks for it", where(name));
    if (!std::equal(shape.begin(), shape.end(), weight->shape.begin(), weight->shape.end()))
      return fail(ErrorCode::bad_shape,
                  "found " + io::shape_text(weight->shape) + ", expected " +
                      io::shape_text({shape.begin(), shape.size()}) + " by config.json",
                  where(name));
    if (weight->transposed)
      return fail(ErrorCode::unsupported, "is quantized along its rows, which the forward pass does not multiply by",
                  where(name));
    known_.insert(name);
    model_.stored_bits_ += stored_bits_of(*weight);
    return weight;
  }

  static std::uint64_t stored_bits_of(const io::WeightInfo& weight) {
    if (weight.is_quantized()) return kvant::stored_bits(weight.scheme->weight, weight.rows(), weight.cols());
    return std::uint64_t{weight.rows()} * weight.cols() * dtype_info(weight.dtype).bits;
  }

  /// A tensor without a place means another architecture, or more layers than config.json admits.
  Status refuse_unknown_tensors() const {
    const Architecture& row = *model_.config_.architecture;
    for (const io::WeightInfo& weight : weights_.list())
      if (!known_.contains(weight.name) && !weight.name.ends_with(row.names.derived))
        return fail(ErrorCode::unsupported,
                    "is no part of a " + std::string(row.model_type) + " model of " +
                        std::to_string(model_.config_.layers) + " layers; the forward pass would ignore it",
                    where(weight.name));
    return {};
  }

  Status read(const Context& context) {
    std::vector<Status> done(slots_.size());
    context.for_each(slots_.size(),
                     [&](std::size_t i) { done[i] = guarded([&] { return read_slot(slots_[i], context); }); });
    const auto failed = std::find_if(done.begin(), done.end(), [](const Status& s) { return !s; });
    return failed == done.end() ? Status{} : *failed;
  }

  Status read_slot(const Slot& slot, const Context& context) const {
    if (slot.vector != nullptr) return read_vector(*slot.weight, *slot.vector);
    std::vector<float> bias;
    if (slot.bias != nullptr)
      if (Status s = read_vector(*slot.bias, bias); !s) return s;
    if (slot.weight->is_quantized()) {
      auto codes = weights_.read_quantized(*slot.weight);
      if (!codes) return propagate(codes);
      auto linear = Linear::from({std::move(*codes), std::move(bias), weights_.layer_inputs(*slot.weight)}, context);
      if (!linear) return propagate(linear);
      *slot.linear = std::move(*linear);
      return {};
    }
    const auto values = weights_.read_float(*slot.weight);
    if (!values) return propagate(values);
    const FormatId kept = slot.weight->dtype == DType::bf16 ? format_id<bf16> : format_id<fp32>;
    *slot.linear = Linear::from_float(values->view(), kept, std::move(bias), context);
    return {};
  }

  Status read_vector(const io::WeightInfo& weight, std::vector<float>& out) const {
    const auto values = weights_.read_float(weight);
    if (!values) return propagate(values);
    out.assign(values->data(), values->data() + values->size());
    return {};
  }

  const io::Weights& weights_;
  const std::string file_;
  Model model_;
  std::vector<Slot> slots_;
  std::unordered_set<std::string> known_;
};

Result<Model> Model::load(const io::Weights& weights, const Context& context) {
  return guarded([&] { return ModelLoader(weights).load(context); });
}

/// Intermediate results of up to kChunk tokens. Views of the first `rows` rows are what a chunk works on.
struct Model::Workspace {
  Workspace(const ModelConfig& c, std::size_t most, std::size_t positions)
      : x(most, c.hidden),
        normed(most, c.hidden),
        q(most, c.q_width()),
        k(most, c.kv_width()),
        v(most, c.kv_width()),
        attended(most, c.q_width()),
        gate(most, c.ffn),
        up(most, c.ffn),
        cosines(most, c.head_dim / 2),
        sines(most, c.head_dim / 2),
        scores(c.heads * ceil_div(most, kTaskRows), round_up(positions, kCacheLanes)) {}

  [[nodiscard]] MatrixView<float> use(Matrix<float>& m) const { return m.view().rows(0, rows); }

  /// Room for the inputs of every layer.
  Status reserve(const std::deque<Block>& blocks, std::size_t most) {
    for (const Block& b : blocks) {
      for (const Linear* reader : {&b.q, &b.k, &b.v, &b.gate, &b.up})
        if (Status s = reader->reserve(normed_rows, most); !s) return s;
      if (Status s = b.o.reserve(attended_rows, most); !s) return s;
      if (Status s = b.down.reserve(gate_rows, most); !s) return s;
    }
    return {};
  }

  std::size_t rows = 0;  ///< of the chunk at hand
  Matrix<float> x, normed, q, k, v, attended, gate, up, cosines, sines;
  Matrix<float> scores;                               ///< one row per task of attention
  Activations normed_rows, attended_rows, gate_rows;  ///< what layers make of their inputs
};

Status Model::check_call(std::span<const std::int32_t> ids, const KvCache& cache) const {
  if (ids.empty()) return fail(ErrorCode::usage, "no token ids; expected at least one");
  if (!cache.fits(config_)) return fail(ErrorCode::usage, "the cache was made for a model of another shape");
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= config_.vocabulary)
      return fail(ErrorCode::usage, "token " + std::to_string(i) + " is " + std::to_string(ids[i]) +
                                        ", expected an id from 0 to " + std::to_string(config_.vocabulary - 1));
  if (ids.size() > cache.capacity() - cache.length())
    return fail(ErrorCode::limit, std::to_string(cache.length()) + " + " + std::to_string(ids.size()) +
                                      " tokens, but the cache has room for " + std::to_string(cache.capacity()));
  return {};
}

template <class Take>
Status Model::run_chunks(std::span<const std::int32_t> ids, KvCache& cache, const Context& context,
                         const Take& take) const {
  Workspace work(config_, std::min(ids.size(), kChunk), cache.length() + ids.size());
  if (Status s = work.reserve(blocks_, std::min(ids.size(), kChunk)); !s) return s;
  for (std::size_t first = 0; first < ids.size(); first += kChunk) {
    work.rows = std::min(kChunk, ids.size() - first);
    if (Status s = run_blocks(ids.subspan(first, work.rows), cache.length() + first, cache, work, context); !s)
      return s;
    if (Status s = take(first, work); !s) return s;
  }
  cache.advance(ids.size());
  return {};
}

Status Model::forward(std::span<const std::int32_t> ids, KvCache& cache, MatrixView<float> logits,
                      const Context& context) const {
  return guarded([&]() -> Status {
    if (Status s = check_call(ids, cache); !s) return s;
    if (logits.cols() != config_.vocabulary || (logits.rows() != 1 && logits.rows() != ids.size()))
      return bad_shape("logits", logits, "1 or " + std::to_string(ids.size()), config_.vocabulary);
    const bool last_only = logits.rows() != ids.size();
    return run_chunks(ids, cache, context, [&](std::size_t first, Workspace& work) -> Status {
      if (last_only && first + work.rows != ids.size()) return {};
      const std::size_t wanted = last_only ? 1 : work.rows;
      const auto normed = work.normed.view().rows(0, wanted);
      normalize(work.use(work.x).rows(work.rows - wanted, wanted), final_norm_, normed, context);
      return head().multiply(normed, logits.rows(last_only ? 0 : first, wanted), context);
    });
  });
}

Status Model::hidden_states(std::span<const std::int32_t> ids, KvCache& cache, MatrixView<float> states,
                            const Context& context) const {
  return guarded([&]() -> Status {
    if (Status s = check_call(ids, cache); !s) return s;
    if (states.rows() != ids.size() || states.cols() != config_.hidden)
      return bad_shape("states", states, std::to_string(ids.size()), config_.hidden);
    return run_chunks(ids, cache, context, [&](std::size_t first, Workspace& work) -> Status {
      normalize(work.use(work.x), final_norm_, states.rows(first, work.rows), context);
      return {};
    });
  });
}

Status Model::logits_of(MatrixView<const float> states, MatrixView<float> logits, const Context& context) const {
  return guarded([&]() -> Status {
    if (states.cols() != config_.hidden)
      return bad_shape("states", states, std::to_string(states.rows()), config_.hidden);
    if (logits.rows() != states.rows() || logits.cols() != config_.vocabulary)
      return bad_shape("logits", logits, std::to_string(states.rows()), config_.vocabulary);
    return head().multiply(states, logits, context);
  });
}

Status Model::run_blocks(std::span<const std::int32_t> ids, std::size_t position, KvCache& cache, Workspace& work,
                         const Context& context) const {
  for_rows(work.rows, context,
           [&](std::size_t r) { rope_angles(position + r, frequencies_, work.cosines.row(r), work.sines.row(r)); });
  if (Status s = embedding_.gather(ids, work.use(work.x), context); !s) return s;
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    if (Status s = run_attention(layer, position, cache, work, context); !s) return s;
    if (Status s = run_ffn(blocks_[layer], work, context); !s) return s;
  }
  return {};
}

Status Model::run_attention(std::size_t layer, std::size_t position, KvCache& cache, Workspace& work,
                            const Context& context) const {
  const Block& block = blocks_[layer];
  const auto normed = work.use(work.normed);
  normalize(work.use(work.x), block.attention_norm, normed, context);
  work.normed_rows.assign(normed);
  if (Status s = block.q.multiply(work.normed_rows, work.use(work.q), context); !s) return s;
  if (Status s = block.k.multiply(work.normed_rows, work.use(work.k), context); !s) return s;
  if (Status s = block.v.multiply(work.normed_rows, work.use(work.v), context); !s) return s;
  for_rows(work.rows, context, [&](std::size_t r) {
    config_.architecture->positions(work.q.row(r), work.cosines.row(r), work.sines.row(r));
    config_.architecture->positions(work.k.row(r), work.cosines.row(r), work.sines.row(r));
    cache.store(layer, position + r, work.k.row(r), work.v.row(r));
  });
  const std::size_t d = config_.head_dim;
  const std::size_t tasks_per_head = ceil_div(work.rows, kTaskRows);
  context.for_each(config_.heads * tasks_per_head, [&](std::size_t task) {
    const std::size_t h = task / tasks_per_head;
    const std::size_t begin = task % tasks_per_head * kTaskRows;
    const CachedHead head = cache.head(layer, h / (config_.heads / config_.kv_heads));
    for (std::size_t r = begin; r < std::min(work.rows, begin + kTaskRows); ++r)
      attention(work.q.row(r).subspan(h * d, d), head, position + r + 1, work.scores.row(task),
                work.attended.row(r).subspan(h * d, d));
  });
  work.attended_rows.assign(work.use(work.attended));
  return block.o.multiply(work.attended_rows, work.use(work.x), context, {.accumulate = true});
}

Status Model::run_ffn(const Block& block, Workspace& work, const Context& context) const {
  const auto normed = work.use(work.normed);
  normalize(work.use(work.x), block.ffn_norm, normed, context);
  work.normed_rows.assign(normed);
  if (Status s = block.gate.multiply(work.normed_rows, work.use(work.gate), context); !s) return s;
  if (Status s = block.up.multiply(work.normed_rows, work.use(work.up), context); !s) return s;
  for_rows(work.rows, context,
           [&](std::size_t r) { config_.architecture->activation(work.gate.row(r), work.up.row(r)); });
  work.gate_rows.assign(work.use(work.gate));
  return block.down.multiply(work.gate_rows, work.use(work.x), context, {.accumulate = true});
}

void Model::normalize(MatrixView<const float> x, std::span<const float> weight, MatrixView<float> out,
                      const Context& context) const {
  for_rows(x.rows(), context,
           [&](std::size_t r) { config_.architecture->norm(x.row(r), weight, config_.norm_epsilon, out.row(r)); });
}

}  // namespace kvant::nn
