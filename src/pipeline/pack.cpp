// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/pack.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/guard.hpp"
#include "kvant/io/packed_file.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/linear/pack.hpp"
#include "kvant/tensor/matrix.hpp"
#include "orientation.hpp"

namespace kvant::pipeline {
namespace {

bool is_layer(const io::WeightInfo& weight) noexcept {
  return weight.is_quantized() || (weight.shape.size() == 2 && dtype_info(weight.dtype).is_float);
}

/// Layers and other tensors of a checkpoint; weights are read twice, first for what decides the sizes of the file.
class Packer {
 public:
  Packer(const io::Weights& weights, const Context& context, Progress& progress)
      : weights_(weights), context_(context), progress_(progress), orientations_(weights) {
    for (const io::WeightInfo& weight : weights.list()) {
      (is_layer(weight) ? layers_ : others_).push_back(&weight);
      total_ += weight.stored_bytes * (weight.is_quantized() ? 2 : 1);
    }
  }

  Result<PackReport> run(const PackJob& job) {
    std::vector<io::PackedLayer> described;
    for (const io::WeightInfo* weight : layers_) {
      if (weight->members() != 0)
        return fail(ErrorCode::unsupported, "is a stack of quantized matrices, which packed files do not hold",
                    {weights_.path_text(), weight->name, {}});
      auto layer = describe(*weight);
      if (!layer) return propagate(layer);
      described.push_back(std::move(*layer));
    }
    std::vector<io::TensorSpec> tensors;
    for (const io::WeightInfo* weight : others_)
      tensors.push_back({weight->name, is_float(*weight) ? DType::f32 : weight->dtype, weight->shape});
    auto writer = io::PackedWriter::create(job.output, described, std::move(tensors), job.mode);
    if (!writer) return propagate(writer);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const auto packed = pack_layer(*layers_[i], described[i].weight.shape);
      if (!packed) return propagate(packed);
      if (const Status ok = writer->write(i, *packed); !ok) return propagate(ok);
      if (const Status go = advance(*layers_[i]); !go) return propagate(go);
    }
    for (const io::WeightInfo* weight : others_)
      if (const Status ok = copy(*weight, *writer); !ok) return propagate(ok);
    if (const Status ok = writer->commit(); !ok) return propagate(ok);
    return PackReport{layers_.size(), others_.size(), writer->size()};
  }

 private:
  static bool is_float(const io::WeightInfo& weight) noexcept { return dtype_info(weight.dtype).is_float; }

  Status advance(const io::WeightInfo& weight) {
    done_ += weight.stored_bytes;
    if (!progress_.advance(weight.name, done_, total_)) return fail(ErrorCode::interrupted, "interrupted");
    return {};
  }

  /// Float weights that are stored [in, out] are packed as [out, in], as quantized ones are.
  [[nodiscard]] bool is_turned(const io::WeightInfo& weight) const {
    return orientations_.of(weight) == Orientation::in_out;
  }

  Result<io::PackedLayer> describe(const io::WeightInfo& weight) {
    if (!weight.is_quantized()) {
      const FormatId format = weight.dtype == DType::bf16 ? format_id<bf16> : format_id<fp32>;
      const bool turned = is_turned(weight);
      return io::PackedLayer::of_floats(weight.name, format, turned ? weight.cols() : weight.rows(),
                                        turned ? weight.rows() : weight.cols());
    }
    const auto q = weights_.read_quantized(weight);
    if (!q) return propagate(q);
    auto layer = io::PackedLayer::of(weight.name, *q, weights_.layer_inputs(weight), context_);
    if (!layer) return layer;
    if (const Status go = advance(weight); !go) return propagate(go);
    return layer;
  }

  Result<PackedWeight> pack_layer(const io::WeightInfo& weight, const PackedShape& shape) const {
    if (weight.is_quantized()) {
      const auto q = weights_.read_quantized(weight);
      if (!q) return propagate(q);
      return pack_as(*q, shape, context_);
    }
    auto w = weights_.read_float(weight);
    if (!w) return propagate(w);
    if (is_turned(weight)) *w = transpose(w->view());
    return shape.layout == Layout::bf16_p32 ? pack_bf16(w->view(), context_) : pack_f32(w->view(), context_);
  }

  Status copy(const io::WeightInfo& weight, io::PackedWriter& writer) {
    if (is_float(weight)) {
      const auto values = weights_.read_float(weight);
      if (!values) return propagate(values);
      if (const Status ok = writer.write(weight.name, std::as_bytes(std::span(values->data(), values->size()))); !ok)
        return ok;
    } else {
      std::vector<std::byte> bytes(static_cast<std::size_t>(weight.stored_bytes));
      if (const Status ok = weights_.read_bytes(weight, 0, bytes); !ok) return ok;
      if (const Status ok = writer.write(weight.name, bytes); !ok) return ok;
    }
    return advance(weight);
  }

  const io::Weights& weights_;
  const Context& context_;
  Progress& progress_;
  Orientations orientations_;
  std::vector<const io::WeightInfo*> layers_, others_;
  std::uint64_t done_ = 0, total_ = 0;
};

}  // namespace

Result<PackReport> pack_checkpoint(const PackJob& job, const Context& context, Progress& progress) {
  return guarded([&]() -> Result<PackReport> {
    const std::array inputs{job.input};
    if (const Status ok = io::check_output(inputs, job.output, io::OutputKind::file, job.mode); !ok)
      return propagate(ok);
    const auto weights = io::Weights::open(job.input);
    if (!weights) return propagate(weights);
    for (const std::string& warning : weights->info().warnings) progress.warn(warning);
    return Packer(*weights, context, progress).run(job);
  });
}

}  // namespace kvant::pipeline
