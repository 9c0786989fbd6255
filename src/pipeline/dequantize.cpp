// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "kvant/nn/heads.hpp"
#include "kvant/pipeline/run.hpp"
#include "measure.hpp"
#include "rewrite.hpp"

namespace kvant::pipeline {
namespace {

Status dequantize_weight(Rewrite& run, const io::WeightInfo& weight, const DequantizeJob& job, TensorReport& report) {
  const auto q = run.weights.read_quantized(weight);
  if (!q) return propagate(q);
  Caster caster(run.sink, weight.name, job.dtype, job.nonfinite, run.context);
  const std::size_t members = std::max<std::size_t>(1, weight.members());
  const std::size_t most = std::max<std::size_t>(1, kBandElements / std::max<std::size_t>(q->cols, 1));
  // Matrices that lie transposed are turned one by one.
  const std::size_t step = weight.transposed ? std::max<std::size_t>(1, q->rows / members) : most;
  for (std::size_t first = 0; first < q->rows && q->cols != 0; first += step) {
    Matrix<float> band = dequantize_rows(*q, first, std::min(step, q->rows - first), run.context);
    if (weight.transposed) band = transpose(std::as_const(band).view());
    const std::size_t written_rows = weight.transposed ? first / step * band.rows() : first;
    if (const Status written = caster.write(std::move(band), written_rows); !written) return written;
  }
  report.nonfinite = caster.nonfinite();
  report.clamped = caster.overflowed();
  return run.advance(weight.name, weight.stored_bytes);
}

Result<DequantizeReport> dequantize_opened(const DequantizeJob& job, const io::Weights& weights, const Context& context,
                                           Progress& progress) {
  const bool any = std::any_of(weights.list().begin(), weights.list().end(),
                               [](const io::WeightInfo& w) { return w.scheme.has_value(); });
  if (!any)
    return fail(ErrorCode::unsupported, "holds no quantized weights, expected a quantized checkpoint",
                {weights.path_text(), {}, {}});
  const auto dropped = nn::find_tied_head(weights);
  if (!dropped) return propagate(dropped);
  io::OutputPlan plan;
  plan.dtype = job.dtype;
  for (const io::WeightInfo& w : weights.list())
    if (w.name != *dropped)
      plan.weights.push_back({w.name, w.scheme ? cast_dtype(job.dtype) : w.dtype, w.shape, std::nullopt, w.file});
  auto sink = weights.make_sink(std::move(plan));
  if (!sink) return propagate(sink);
  if (const Status opened = (*sink)->open(job.output, job.mode); !opened) return propagate(opened);
  Rewrite run{weights, **sink, context, progress, weights.info().weight_bytes};
  DequantizeReport report;
  std::vector<TensorReport> tensors;
  for (std::size_t f = 0; f < weights.info().files.size(); ++f) {
    if (const Status begun = run.sink.begin_file(f); !begun) return propagate(begun);
    for (const io::WeightInfo& w : weights.list()) {
      if (w.file != f || w.name == *dropped) continue;
      Status done;
      if (w.scheme) {
        TensorReport& tensor = tensors.emplace_back();
        tensor.plan = {w.name, Action::cast, {{job.dtype}, {}}, ""};
        done = dequantize_weight(run, w, job, tensor);
        report.tensors.push_back(w.name);
      } else {
        done = copy_weight(run, w);
      }
      if (!done) return tl::unexpected<Error>(located(done.error(), weights, w.name));
    }
    if (const Status finished = run.sink.finish_file(); !finished) return propagate(finished);
  }
  const auto bytes = run.sink.commit();
  if (!bytes) return propagate(bytes);
  report.bytes_out = *bytes;
  warn_of_nonfinite(tensors, job.nonfinite, report.warnings);
  return report;
}

}  // namespace

Result<DequantizeReport> dequantize_checkpoint(const DequantizeJob& job, const Context& context, Progress& progress) {
  return with_weights<DequantizeReport>(
      job.input, [&](const io::Weights& weights) { return dequantize_opened(job, weights, context, progress); });
}

}  // namespace kvant::pipeline
