// SPDX-License-Identifier: Apache-2.0
// MXFP4 as gpt-oss is published: X_blocks holds pairs of FP4 numbers, X_scales a power of two for each 32 of them. Both
// lie [experts, out, in], while the float form of X, which models are written for, is [experts, in, out]. Source:
// transformers integrations/mxfp4.py.
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "kvant/core/checked.hpp"
#include "storage.hpp"

namespace kvant::io {
namespace {

constexpr std::string_view kBlocks = "_blocks";
constexpr std::string_view kScales = "_scales";
constexpr std::uint64_t kBlockBytes = 16;

Result<StoredWeight> find_weight(const Checkpoint& checkpoint, const CheckpointTensor& blocks) {
  StoredWeight w;
  w.name = blocks.name.substr(0, blocks.name.size() - kBlocks.size());
  w.scheme = {*parse_scheme("mxfp4"), {}};
  w.scale_suffix = kScales;
  w.transposed = true;
  const auto bad = [&](const std::string& tensor, std::string what) {
    return fail(ErrorCode::bad_metadata, std::move(what), {checkpoint.path().string(), tensor, {}});
  };
  if (blocks.dtype != DType::u8 || blocks.shape.size() != 4 || blocks.shape[3] != kBlockBytes)
    return bad(blocks.name, "is " + std::string(dtype_info(blocks.dtype).name) + " " + shape_text(blocks.shape) +
                                ", expected U8 [experts, out, in / 32, 16]");
  if (blocks.bytes == 0) return bad(blocks.name, "has no elements");
  if (checkpoint.find(w.name) != nullptr) return bad(w.name, "is stored twice, as floats and as blocks");
  // None of these is more than the bytes of the tensor, or twice that.
  w.members = blocks.shape[0];
  w.rows = blocks.shape[0] * blocks.shape[1];
  w.cols = blocks.shape[2] * kBlockBytes * 2;
  w.codes = {std::string(kBlocks), DType::u8, blocks.shape[2] * kBlockBytes};
  const std::string scales = w.name + std::string(kScales);
  if (const Status ok =
          check_stored(checkpoint, scales, DType::u8, {{blocks.shape[0], blocks.shape[1], blocks.shape[2]}});
      !ok)
    return propagate(ok);
  w.tensors = {blocks.name, scales};
  return w;
}

/// Other codes and scales would be taken for numbers.
Status check_left_over(const Checkpoint& checkpoint, const StoredWeights& found) {
  std::unordered_set<std::string_view> used;
  for (const StoredWeight& w : found.weights) used.insert(w.tensors.begin(), w.tensors.end());
  for (const CheckpointTensor& t : checkpoint.tensors())
    if ((t.name.ends_with(kScales) || holds_codes(t)) && !used.contains(t.name))
      return fail(ErrorCode::bad_metadata, "belongs to a quantized weight, but the configuration gives it no meaning",
                  {checkpoint.path().string(), t.name, {}});
  return {};
}

}  // namespace

Result<StoredWeights> read_gpt_oss_mxfp4(const Checkpoint& checkpoint, const Json& config, const Where& where) {
  // Which layers stay float the tensors say; `dequantize` asks a loader for floats.
  constexpr std::array<std::string_view, 3> kKeys{"quant_method", "modules_to_not_convert", "dequantize"};
  if (const Status ok = check_keys(config, kKeys, "", where); !ok) return propagate(ok);
  StoredWeights result;
  result.convention = read_convention(config);
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    if (!t.name.ends_with(kBlocks)) continue;
    auto weight = find_weight(checkpoint, t);
    if (!weight) return propagate(weight);
    result.weights.push_back(std::move(*weight));
  }
  if (const Status ok = check_left_over(checkpoint, result); !ok) return propagate(ok);
  return result;
}

}  // namespace kvant::io
