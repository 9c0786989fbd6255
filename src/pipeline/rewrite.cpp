// SPDX-License-Identifier: Apache-2.0
#include "rewrite.hpp"

#include <algorithm>

#include "kvant/io/utf8.hpp"
#include "measure.hpp"

namespace kvant::pipeline {

Error located(Error error, const io::Weights& weights, const std::string& weight) {
  if (error.where.file.empty()) error.where.file = weights.path_text();
  if (error.where.tensor.empty()) error.where.tensor = weight;
  return error;
}

DType cast_dtype(FormatId format) noexcept {
  return format == format_id<fp16> ? DType::f16 : format == format_id<bf16> ? DType::bf16 : DType::f32;
}

Status copy_weight(Rewrite& run, const io::WeightInfo& weight) {
  constexpr std::uint64_t kBytes = std::uint64_t{8} << 20;
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(kBytes, weight.stored_bytes)));
  for (std::uint64_t at = 0; at < weight.stored_bytes;) {
    const auto chunk = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), weight.stored_bytes - at)));
    if (const Status read = run.weights.read_bytes(weight, at, chunk); !read) return read;
    if (const Status written = run.sink.write_bytes(weight.name, at, chunk); !written) return written;
    at += chunk.size();
    if (const Status go = run.advance(weight.name, chunk.size()); !go) return go;
  }
  return {};
}

Result<std::uint64_t> count_nonfinite(const Matrix<float>& band, std::uint64_t first_row, NonFinite policy) {
  const Status finite = detail::check_finite(band.view(), first_row);
  if (finite) return std::uint64_t{0};
  if (policy == NonFinite::error) return propagate(finite);
  return static_cast<std::uint64_t>(
      std::count_if(band.data(), band.data() + band.size(), [](float v) { return !is_finite(v); }));
}

Status Caster::write(Matrix<float> band, std::uint64_t first_row) {
  const auto count = count_nonfinite(band, first_row, policy_);
  if (!count) return propagate(count);
  nonfinite_ += *count;
  if (policy_ == NonFinite::zero && *count != 0)
    std::replace_if(
        band.data(), band.data() + band.size(), [](float v) { return !is_finite(v); }, 0.0f);
  const CastMatrix stored(band.view(), format_, context_);
  std::vector<std::uint64_t> overflowed(band.rows());
  meter_.add(measure(band, context_, [&](std::size_t r, std::span<float> out) {
    stored.decode_row(r, out);
    const std::span<const float> row = band.row(r);
    for (std::size_t c = 0; c < out.size(); ++c) overflowed[r] += is_finite(row[c]) && !is_finite(out[c]) ? 1u : 0u;
  }));
  for (const std::uint64_t n : overflowed) overflowed_ += n;
  if (overflowed_ != 0 && policy_ != NonFinite::keep)
    return fail(ErrorCode::scale_overflow,
                std::to_string(overflowed_) + " values exceed " + std::string(format_info(format_).name) +
                    (format_ == format_id<fp16> ? "; bf16 and fp32 hold them" : "; fp32 holds them"));
  return sink_.write_bytes(weight_, first_row * band.cols() * (format_info(format_).bits / 8), stored.bytes());
}

void warn_of_nonfinite(const std::vector<TensorReport>& tensors, NonFinite policy, std::vector<std::string>& warnings) {
  struct Sum {
    std::uint64_t values = 0, tensors = 0;
    std::string first;
    void add(std::uint64_t n, const std::string& name) {
      if (n != 0 && tensors++ == 0) first = name;
      values += n;
    }
    [[nodiscard]] std::string in() const {
      return " in " + std::to_string(tensors) + (tensors == 1 ? " tensor (" : " tensors (the first: ") +
             io::printable(first, 200) + ")";
    }
  } nonfinite, scales, values;
  for (const TensorReport& t : tensors) {
    nonfinite.add(t.nonfinite, t.plan.name);
    (t.plan.action == Action::cast ? values : scales).add(t.clamped, t.plan.name);
  }
  if (nonfinite.tensors != 0)
    warnings.push_back(std::to_string(nonfinite.values) + " NaN or Inf" + nonfinite.in() +
                       (policy == NonFinite::zero ? " became 0" : " were kept where the format can"));
  if (scales.tensors != 0)
    warnings.push_back(std::to_string(scales.values) + " scales" + scales.in() + " were clamped");
  if (values.tensors != 0) warnings.push_back(std::to_string(values.values) + " values" + values.in() + " became Inf");
}

}  // namespace kvant::pipeline
