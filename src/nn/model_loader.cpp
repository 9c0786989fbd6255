// SPDX-License-Identifier: Apache-2.0
#include "model_loader.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>
#include <variant>

#include "core/guard.hpp"
#include "io/storage.hpp"
#include "kvant/nn/heads.hpp"
#include "kvant/quant/rows.hpp"
#include "step_runner.hpp"

namespace kvant::nn {
namespace {

/// Stored tensors that are computed here instead: frequencies and masks that old checkpoints hold.
constexpr std::array<std::string_view, 6> kDerived{".rotary_emb.inv_freq",   ".attn.bias",
                                                   ".attn.masked_bias",      ".attention.bias",
                                                   ".attention.masked_bias", "embeddings.position_ids"};

/// Floats keep their stored type in reports, where kvant has it as a format.
FormatId float_format(DType dtype) noexcept {
  return dtype == DType::bf16 ? format_id<bf16> : dtype == DType::f16 ? format_id<fp16> : format_id<fp32>;
}

std::uint64_t stored_bits_of(const io::WeightInfo& weight) {
  if (weight.is_quantized()) {
    const io::MatrixShape codes = weight.code_shape();
    return kvant::stored_bits(weight.scheme->weight, codes.rows, codes.cols);
  }
  return std::uint64_t{weight.rows()} * weight.cols() * dtype_info(weight.dtype).bits;
}

/// The bucket of a key that is i - farthest positions behind the token. In float32, as the models were trained.
std::size_t distance_bucket(const Attend& attend, std::size_t i) {
  const auto& [table, all, farthest] = attend.distances;
  const bool is_behind = i > farthest;
  const std::size_t distance = is_behind ? i - farthest : farthest - i;
  if (is_behind && !attend.both_ways) return 0;  // never seen
  const std::size_t buckets = attend.both_ways ? all / 2 : all;
  const std::size_t first = is_behind ? buckets : 0;
  const std::size_t exact = buckets / 2;
  if (distance < exact) return first + distance;
  const float ratio = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                      std::log(static_cast<float>(farthest) / static_cast<float>(exact));
  const auto further = static_cast<std::size_t>(ratio * static_cast<float>(buckets - exact));
  return first + std::min(exact + further, buckets - 1);
}

/// The most heads and experts of any step.
void measure(const std::vector<Step>& steps, Model::Plan& plan) {
  for (const Step& step : steps) {
    if (const auto* source = std::get_if<AttendSource>(&step)) plan.heads = std::max(plan.heads, source->q.count);
    if (const auto* attend = std::get_if<Attend>(&step)) plan.heads = std::max(plan.heads, attend->q.count);
    if (const auto* experts = std::get_if<Experts>(&step)) {
      plan.experts = std::max(plan.experts, experts->experts);
      plan.chosen = std::max(plan.chosen, experts->routing.chosen);
    }
  }
}

/// Runs `body` for every id, one per task; the first error in their order.
template <class Body>
Status for_each_tensor(const Context& context, const std::vector<TensorId>& ids, const Body& body) {
  std::vector<Status> done(ids.size());
  context.for_each(ids.size(), [&](std::size_t i) { done[i] = guarded([&] { return body(ids[i]); }); });
  const auto failed = std::find_if(done.begin(), done.end(), [](const Status& s) { return !s; });
  return failed == done.end() ? Status{} : *failed;
}

}  // namespace

Result<Model> Model::load(const io::Weights& weights, const Context& context) {
  return guarded([&] { return ModelLoader(weights).load(context); });
}

Result<Model> ModelLoader::load(const Context& context) {
  if (Status s = read_config(); !s) return propagate(s);
  if (Status s = find_tensors(); !s) return propagate(s);
  if (Status s = refuse_unknown_tensors(); !s) return propagate(s);
  if (Status s = read(context); !s) return propagate(s);
  prepare();
  auto plan = std::make_shared<Model::Plan>();
  plan->buffers = plan_buffers(model_.config_);
  for (const std::vector<Step>* steps : lists_of(model_.config_)) measure(*steps, *plan);
  plan->is_bidirectional = is_bidirectional(model_.config_);
  model_.plan_ = std::move(plan);
  return std::move(model_);
}

Status ModelLoader::read_config() {
  if (!weights_.info().not_computed.empty())
    return fail(ErrorCode::unsupported,
                "is to be run with " + weights_.info().not_computed + ", which the forward pass does not compute",
                where());
  const auto& json = weights_.config();
  if (!json)
    return fail(ErrorCode::bad_config, "holds weights without a config.json; a forward pass needs the model's folder",
                where());
  model_.codebooks_ = weights_.info().codebooks;
  auto config = read_model_config(*json, {(weights_.info().path / "config.json").string(), {}, {}}, &weights_);
  if (!config) return propagate(config);
  model_.config_ = std::move(*config);
  return {};
}

std::string ModelLoader::stored_name(const std::string& name) const {
  const std::string_view base = model_.config_.family->base;
  return is_bare_ && name.starts_with(base) ? name.substr(base.size()) : name;
}

const io::WeightInfo* ModelLoader::find(const TensorUse& use) const {
  const std::string name = stored_name(use.name);
  const io::WeightInfo* found = weights_.find(name);
  if (found != nullptr || use.role != Role::norm) return found;
  const std::string stem = name.substr(0, name.rfind('.') + 1);
  return weights_.find(stem + (name.ends_with(".bias") ? "beta" : "gamma"));
}

Status ModelLoader::find_tensors() {
  const auto& tensors = model_.config_.tensors;
  const std::string& first = tensors.front().name;
  is_bare_ = weights_.find(first) == nullptr;
  is_bare_ = is_bare_ && weights_.find(stored_name(first)) != nullptr;
  found_.resize(tensors.size());
  is_part_.resize(tensors.size());
  model_.tensors_.resize(tensors.size());
  for (TensorId id = 0; id < tensors.size(); ++id)
    if (Status s = find_tensor(id); !s) return s;
  for (TensorId id = 0; id < tensors.size(); ++id)
    if (tensors[id].bias != kNoTensor) is_part_[tensors[id].bias] = true;
  const auto copy = find_tied_head(weights_);
  if (!copy) return propagate(copy);
  if (*copy) known_.insert(**copy);
  return {};
}

Status ModelLoader::check_shape(const TensorUse& use, const io::WeightInfo& weight) const {
  std::vector<std::uint64_t> expected = use.shape;
  if (use.transposed) std::reverse(expected.begin(), expected.end());
  if (use.members != 0) expected.insert(expected.begin(), use.members);
  if (weight.shape == expected) return {};
  return fail(ErrorCode::bad_shape,
              "found " + io::shape_text(weight.shape) + ", expected " + io::shape_text(expected) + " by config.json",
              where(weight.name));
}

Status ModelLoader::find_tensor(TensorId id) {
  const TensorUse& use = model_.config_.tensors[id];
  const io::WeightInfo* weight = find(use);
  if (weight == nullptr)
    return fail(ErrorCode::missing_tensor, "is not in the checkpoint, but config.json asks for it",
                where(stored_name(use.name)));
  const std::string& name = weight->name;
  if (Status s = check_shape(use, *weight); !s) return s;
  if (weight->is_quantized() && weight->transposed != use.transposed)
    return fail(ErrorCode::unsupported, "is quantized along its rows, which the forward pass does not multiply by",
                where(name));
  if (use.is_matrix() && use.bias == kNoTensor && name.ends_with(".weight")) {
    const std::string bias = name.substr(0, name.size() - 6) + "bias";
    const io::WeightInfo* stored = weights_.find(bias);
    if (stored != nullptr && stored->shape.size() == 1)
      return fail(ErrorCode::bad_config, "is stored, but config.json says that there is no such bias", where(bias));
  }
  found_[id] = weight;
  if (known_.insert(name).second) {
    model_.stored_bits_ += stored_bits_of(*weight);
    if (use.is_matrix()) list_layer(use, *weight);
  }
  return {};
}

void ModelLoader::list_layer(const TensorUse& use, const io::WeightInfo& weight) {
  const LayerScheme stored = weight.is_quantized() ? *weight.scheme : LayerScheme{{float_format(weight.dtype)}, {}};
  const std::size_t members = std::max<std::size_t>(1, use.members);
  model_.layers_.push_back({weight.name, stored, members * use.shape[0], use.shape[1]});
}

/// A tensor without a place means another family, or more layers than config.json admits.
Status ModelLoader::refuse_unknown_tensors() const {
  const ModelConfig& config = model_.config_;
  const auto is_known = [&](const std::string& name) {
    return known_.contains(name) ||
           std::ranges::any_of(kDerived, [&](std::string_view suffix) { return name.ends_with(suffix); }) ||
           std::ranges::any_of(config.left_out,
                               [&](const std::string& part) { return name.starts_with(stored_name(part)); });
  };
  for (const io::WeightInfo& weight : weights_.list())
    if (!is_known(weight.name))
      return fail(ErrorCode::unsupported,
                  "is no part of a " + std::string(config.family->model_type) + " model of " +
                      std::to_string(config.blocks.size()) + " layers; the forward pass would ignore it",
                  where(weight.name));
  return {};
}

Status ModelLoader::read(const Context& context) {
  std::vector<TensorId> alone;
  std::map<const io::WeightInfo*, std::vector<TensorId>> stacks;
  for (TensorId id = 0; id < found_.size(); ++id)
    (found_[id]->members() != 0 ? stacks[found_[id]] : alone).push_back(id);
  const Status done = for_each_tensor(context, alone, [&](TensorId id) -> Status {
    if (model_.config_.tensors[id].is_matrix()) return read_matrix(id, context);
    return is_part_[id] ? Status{} : read_vector(id, model_.tensors_[id].values);
  });
  if (!done) return done;
  // Stacks of codes are read once for all their members, and no two of them are in memory at a time.
  for (const auto& [weight, ids] : stacks) {
    const auto codes = weights_.read_quantized(*weight);
    if (!codes) return propagate(codes);
    const Status taken = for_each_tensor(context, ids, [&](TensorId id) -> Status {
      const TensorUse& use = model_.config_.tensors[id];
      const auto rows = static_cast<std::size_t>(use.shape[0]);
      auto own = rows_of(*codes, static_cast<std::size_t>(use.member) * rows, rows);
      if (!own) return fail(own.error().code, own.error().message, where(found_[id]->name));
      return set_codes(id, std::move(*own), context);
    });
    if (!taken) return taken;
  }
  return {};
}

Status ModelLoader::read_bias(TensorId id, std::vector<float>& out) const {
  const TensorId bias = model_.config_.tensors[id].bias;
  return bias != kNoTensor ? read_vector(bias, out) : Status{};
}

Status ModelLoader::set_codes(TensorId id, QMatrix codes, const Context& context) {
  std::vector<float> bias;
  if (Status s = read_bias(id, bias); !s) return s;
  auto linear = Linear::from({std::move(codes), std::move(bias), weights_.layer_inputs(*found_[id])}, context);
  if (!linear) return propagate(linear);
  model_.tensors_[id].linear = std::move(*linear);
  return {};
}

Status ModelLoader::read_matrix(TensorId id, const Context& context) {
  const TensorUse& use = model_.config_.tensors[id];
  const io::WeightInfo& weight = *found_[id];
  if (weight.is_quantized()) {
    auto codes = weights_.read_quantized(weight);
    return codes ? set_codes(id, std::move(*codes), context) : propagate(codes);
  }
  std::vector<float> bias;
  if (Status s = read_bias(id, bias); !s) return s;
  auto values = use.members != 0 ? weights_.read_rows(weight, use.member, 1) : weights_.read_float(weight);
  if (!values) return propagate(values);
  const auto rows = static_cast<std::size_t>(use.shape[0]);
  const auto cols = static_cast<std::size_t>(use.shape[1]);
  MatrixView<const float> matrix = values->view();
  if (use.members != 0) matrix = {values->data(), use.transposed ? cols : rows, use.transposed ? rows : cols};
  if (use.transposed) {
    Matrix<float> turned = transpose(matrix);
    *values = std::move(turned);
    matrix = values->view();
  }
  const FormatId kept = weight.dtype == DType::bf16 ? format_id<bf16> : format_id<fp32>;
  model_.tensors_[id].linear = Linear::from_float(matrix, kept, std::move(bias), context);
  return {};
}

Status ModelLoader::read_vector(TensorId id, std::vector<float>& out) const {
  const TensorUse& use = model_.config_.tensors[id];
  const io::WeightInfo& weight = *found_[id];
  const bool is_part = use.members != 0 && !weight.is_quantized();
  const auto values = is_part ? weights_.read_rows(weight, use.member, 1) : weights_.read_float(weight);
  if (!values) return propagate(values);
  const std::size_t size = use.members != 0 ? values->cols() : values->size();
  const float* const first = values->data() + (use.members != 0 && !is_part ? use.member * size : 0);
  out.assign(first, first + size);
  return {};
}

void ModelLoader::add_ones(const Norm& norm) {
  if (norm.plus_one && norm.weight != kNoTensor)
    for (float& w : model_.tensors_[norm.weight].values) w += 1.0f;
}

/// Biases by bucket [buckets, heads] become biases by distance [heads, 2 * farthest + 1].
void ModelLoader::spread(const Attend& attend) {
  const auto& [table, buckets, farthest] = attend.distances;
  if (table == kNoTensor || !spread_.insert(table).second) return;
  std::vector<float>& values = model_.tensors_[table].values;
  std::vector<float> spread;
  for (std::size_t head = 0; head < attend.q.count; ++head)
    for (std::size_t i = 0; i <= 2 * farthest; ++i)
      spread.push_back(values[distance_bucket(attend, i) * attend.q.count + head]);
  values = std::move(spread);
}

void ModelLoader::prepare() {
  for (const std::vector<Step>* steps : lists_of(model_.config_))
    for (const Step& step : *steps) {
      if (const auto* norm = std::get_if<Norm>(&step)) add_ones(*norm);
      if (const auto* attend = std::get_if<Attend>(&step)) spread(*attend);
    }
}

}  // namespace kvant::nn
