// SPDX-License-Identifier: Apache-2.0
// What quantizing and dequantizing a model have in common: weights pass from a source to a sink, band by band.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cast.hpp"
#include "core/guard.hpp"
#include "kvant/io/weight_sink.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/pipeline/run.hpp"

namespace kvant::pipeline {

[[nodiscard]] inline tl::unexpected<Error> interrupted_without_output() {
  return fail(ErrorCode::interrupted, "interrupted; no output was written");
}

/// Adds the file and the weight to an error that came from code which knows neither.
[[nodiscard]] Error located(Error error, const io::Weights& weights, const std::string& weight);

[[nodiscard]] DType cast_dtype(FormatId format) noexcept;

/// What passes from weight to weight.
struct Rewrite {
  const io::Weights& weights;
  io::WeightSink& sink;
  const Context& context;
  Progress& progress;
  std::uint64_t total = 0;  ///< bytes to be read
  std::uint64_t done = 0;

  [[nodiscard]] Status advance(const std::string& name, std::uint64_t bytes) {
    done += bytes;
    return progress.advance(name, done, total) ? Status{} : interrupted_without_output();
  }
};

[[nodiscard]] Status copy_weight(Rewrite& run, const io::WeightInfo& weight);

/// NaN and Inf in a band, by policy: refused, or how many there are.
[[nodiscard]] Result<std::uint64_t> count_nonfinite(const Matrix<float>& band, std::uint64_t first_row,
                                                    NonFinite policy);

/// Bands of a tensor on their way into a float format. NaN and Inf become 0 under NonFinite::zero.
class Caster {
 public:
  Caster(io::WeightSink& sink, std::string weight, FormatId format, NonFinite policy, const Context& context)
      : sink_(sink), weight_(std::move(weight)), format_(format), policy_(policy), context_(context) {}

  [[nodiscard]] Status write(Matrix<float> band, std::uint64_t first_row);

  [[nodiscard]] std::uint64_t nonfinite() const noexcept { return nonfinite_; }
  /// Finite values that became Inf.
  [[nodiscard]] std::uint64_t overflowed() const noexcept { return overflowed_; }
  [[nodiscard]] Distortion distortion() const { return meter_.result(); }

 private:
  io::WeightSink& sink_;
  std::string weight_;
  FormatId format_;
  NonFinite policy_;
  const Context& context_;
  DistortionMeter meter_;
  std::uint64_t nonfinite_ = 0;
  std::uint64_t overflowed_ = 0;
};

/// Adds what NonFinite::zero and keep let pass to warnings.
void warn_of_nonfinite(const std::vector<TensorReport>& tensors, NonFinite policy, std::vector<std::string>& warnings);

/// Runs `body` on the opened weights; lack of memory anywhere below becomes a Result.
template <class Report, class Body>
Result<Report> with_weights(const std::filesystem::path& input, Body&& body) {
  return guarded([&]() -> Result<Report> {
    const auto weights = io::Weights::open(input);
    if (!weights) return propagate(weights);
    return body(*weights);
  });
}

}  // namespace kvant::pipeline
