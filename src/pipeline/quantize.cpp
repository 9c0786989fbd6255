// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "known_tensors.hpp"
#include "kvant/io/utf8.hpp"
#include "kvant/nn/families.hpp"
#include "kvant/nn/heads.hpp"
#include "kvant/pipeline/run.hpp"
#include "kvant/tensor/stack.hpp"
#include "measure.hpp"
#include "rewrite.hpp"

namespace kvant::pipeline {
namespace {

/// Rows per band: a whole number of the scheme's row blocks and of 32 rows, at least one of each.
std::uint64_t band_rows(const Scheme& scheme, std::uint64_t rows, std::uint64_t cols, bool rowwise) {
  const std::uint64_t block = scheme.is_cast() ? 1 : scheme.granularity.block_rows(static_cast<std::size_t>(rows));
  // One number for the matrix alone is found beforehand: find_shared_amax().
  const bool whole = !rowwise || (scheme.spans_matrix() && !scheme.scales.has_matrix_number());
  if (whole || block >= rows) return std::max<std::uint64_t>(rows, 1);
  const std::uint64_t step = block % 32 == 0 ? block : block * 32;
  return std::max(kBandElements / std::max<std::uint64_t>(cols, 1) / step * step, step);
}

Status cast_tensor(Rewrite& run, const io::WeightInfo& tensor, const QuantizeJob& job, TensorReport& report) {
  const io::MatrixShape shape = io::matrix_shape(tensor.shape);
  const std::uint64_t step = band_rows(report.plan.scheme.weight, shape.rows, shape.cols, true);
  Caster caster(run.sink, tensor.name, report.plan.scheme.weight.format, job.nonfinite, run.context);
  for (std::uint64_t first = 0; first < shape.rows && shape.cols != 0; first += step) {
    auto band = run.weights.read_rows(tensor, first, std::min(step, shape.rows - first));
    if (!band) return propagate(band);
    const std::uint64_t bytes = band->size() * dtype_info(tensor.dtype).bits / 8;
    if (const Status written = caster.write(std::move(*band), first); !written) return written;
    if (const Status go = run.advance(tensor.name, bytes); !go) return go;
  }
  report.distortion = caster.distortion();
  report.nonfinite = caster.nonfinite();
  report.clamped = caster.overflowed();
  return {};
}

/// The largest finite magnitude of a tensor.
Result<float> largest_magnitude(Rewrite& run, const io::WeightInfo& tensor) {
  const io::MatrixShape shape = io::matrix_shape(tensor.shape);
  const std::uint64_t step = band_rows(Scheme{}, shape.rows, shape.cols, true);
  float most = 0.0f;
  for (std::uint64_t first = 0; first < shape.rows && shape.cols != 0; first += step) {
    const auto band = run.weights.read_rows(tensor, first, std::min(step, shape.rows - first));
    if (!band) return propagate(band);
    std::vector<float> row_most(band->rows());
    run.context.for_each(band->rows(), [&](std::size_t r) {
      for (const float x : band->row(r))
        if (is_finite(x)) row_most[r] = std::max(row_most[r], magnitude(x));
    });
    for (const float x : row_most) most = std::max(most, x);
    const Status go = run.advance(tensor.name, band->size() * dtype_info(tensor.dtype).bits / 8);
    if (!go) return propagate(go);
  }
  return most;
}

/// Whether one number for the whole matrix has to be known before its first row is quantized.
bool needs_amax(const TensorPlan& t) {
  return t.action == Action::quantize && t.scheme.weight.scales.has_matrix_number();
}

/// Finds what matrix-wide scales must cover before anything is quantized: rows then need no more than their band.
/// Matrices that engines join share one scale. By weight.
Result<std::map<std::string, float>> find_shared_amax(Rewrite& run, const Plan& plan) {
  std::map<std::string, float> sets, by_weight;
  std::map<std::string, std::string> set_of;
  for (const TensorPlan& t : plan.tensors) {
    if (!needs_amax(t)) continue;
    const auto most = largest_magnitude(run, *run.weights.find(t.name));
    if (!most) return tl::unexpected<Error>(located(most.error(), run.weights, t.name));
    const std::string joined = nn::joined_with(t.name);
    const std::string& set = set_of[t.name] = joined.empty() ? t.name : joined;
    sets[set] = std::max(sets[set], *most);
  }
  for (const auto& [weight, set] : set_of) by_weight[weight] = sets[set];
  return by_weight;
}

/// Bytes that find_shared_amax will read.
std::uint64_t bytes_read_twice(const io::Weights& weights, const Plan& plan) {
  std::uint64_t sum = 0;
  for (const TensorPlan& t : plan.tensors)
    if (needs_amax(t)) sum += weights.find(t.name)->stored_bytes;
  return sum;
}

/// What holds larger scales, where a scheme has a choice.
std::string clamping_advice(const Scheme& scheme) {
  Scheme wider = scheme;
  wider.scales.inner = format_id<fp32>;
  if (wider.offsets) wider.offsets->inner = format_id<fp32>;
  const std::string text = to_text(wider);
  const bool helps = !scheme.scales.outer && scheme.scales.inner != format_id<fp32> && parse_scheme(text).has_value();
  return helps ? "; " + text + " holds them" : "";
}

/// Rows that are quantized at once: of a stack one matrix, unless something is stored once for all of them.
std::uint64_t rows_at_once(const io::QuantizedWeight& weight, bool rowwise) {
  const Scheme& scheme = weight.scheme.weight;
  if (weight.members == 0) return band_rows(scheme, weight.rows, weight.cols, rowwise && !weight.transposed);
  const bool whole = scheme.spans_matrix() && !scheme.scales.has_matrix_number();
  return whole ? weight.rows : weight.rows / weight.members;
}

/// Rows of a weight as it will be stored. Those of a transpose are all over the tensor, which is read as a whole.
Result<Matrix<float>> read_band(const io::Weights& source, const io::WeightInfo& tensor,
                                const io::QuantizedWeight& weight, std::uint64_t first, std::uint64_t count) {
  const bool is_stack = weight.members != 0;
  if (!is_stack && !weight.transposed) return source.read_rows(tensor, first, std::min(count, weight.rows - first));
  const std::uint64_t rows = is_stack ? weight.rows / weight.members : weight.rows;  // of a matrix
  auto read = is_stack ? source.read_rows(tensor, first / rows, count / rows) : source.read_float(tensor);
  if (!read) return propagate(read);
  const Matrix<float>& values = *read;
  const auto out = static_cast<std::size_t>(count);
  const auto cols = static_cast<std::size_t>(weight.cols);
  if (!weight.transposed) return Matrix<float>(out, cols, {values.data(), values.data() + values.size()});
  const auto members = static_cast<std::size_t>(count / rows);
  const MatrixView<const float> lying(values.data(), members * cols, static_cast<std::size_t>(rows));
  return Matrix<float>(out, cols, transpose_each(lying, members));
}

Status quantize_tensor(Rewrite& run, const io::WeightInfo& tensor, const io::QuantizedWeight& weight, float shared_amax,
                       const QuantizeJob& job, TensorReport& report) {
  const Scheme& scheme = weight.scheme.weight;
  const FormatGrid grid(scheme.format, run.context.kernels());
  const std::uint64_t step = rows_at_once(weight, job.method.rowwise());
  DistortionMeter meter;
  std::uint64_t first = 0;
  do {
    const auto band = read_band(run.weights, tensor, weight, first, step);
    if (!band) return propagate(band);
    const auto nonfinite = count_nonfinite(*band, first, job.nonfinite);
    if (!nonfinite) return propagate(nonfinite);
    report.nonfinite += *nonfinite;
    auto layer = job.method({tensor.name, band->view(), job.nonfinite, shared_amax}, weight.scheme, run.context);
    if (!layer) return propagate(layer);
    if (const Status whole = check_has_no_parts(*layer); !whole) return whole;
    const QMatrix& q = layer->weight;
    report.clamped += q.clamped_scales;
    if (report.clamped != 0 && job.nonfinite != NonFinite::keep)
      return fail(ErrorCode::scale_overflow, std::to_string(report.clamped) + " scales exceed " +
                                                 std::string(format_info(scheme.scales.chosen_type()).name) +
                                                 clamping_advice(scheme));
    meter.add(
        measure(*band, run.context, [&](std::size_t r, std::span<float> out) { dequantize_row(q, grid, r, out); }));
    if (const Status written = run.sink.write_rows(weight, first, q); !written) return written;
    if (const Status go = run.advance(tensor.name, band->size() * dtype_info(tensor.dtype).bits / 8); !go) return go;
    first += step;
  } while (first < weight.rows);
  report.distortion = meter.result();
  return {};
}

/// What is said about weights beside those that were read.
std::optional<std::string> left_out(const io::SourceInfo& source) {
  const std::size_t count = source.other_weights.size();
  if (count == 0) return std::nullopt;
  return "not copied: " + io::printable(source.other_weights.front().native(), 200) +
         (count > 1 ? " and " + std::to_string(count - 1) + " more files of other weights" : ", other weights");
}

Status check_job(const QuantizeJob& job) {
  if (job.method.needs() == Needs::nothing) return {};
  return fail(ErrorCode::unsupported, "the method '" + std::string(job.method.name()) +
                                          "' has to know the layers' inputs, which nothing gathers yet");
}

/// A weight of the source as it will be stored.
io::OutputWeight output_of(const io::WeightInfo& info, const TensorPlan& plan) {
  io::OutputWeight out{info.name, info.dtype, info.shape, std::nullopt, info.file};
  if (plan.action == Action::cast) out.dtype = cast_dtype(plan.scheme.weight.format);
  if (plan.action == Action::quantize) out.quantized = quantized_form(info, plan.scheme, plan.transposed);
  return out;
}

io::OutputPlan output_plan(const io::Weights& weights, const Plan& plan, const LayerScheme& asked) {
  io::OutputPlan out;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const io::WeightInfo& info = weights.list()[i];
    const Action action = plan.tensors[i].action;
    if (action != Action::quantize && info.shape.size() == 2 && info.name.ends_with(".weight"))
      out.float_layers.push_back(info.name);
    if (action != Action::drop) out.weights.push_back(output_of(info, plan.tensors[i]));
  }
  // A tied head is a linear layer without a tensor of its own: engines would look for its codes.
  const auto& config = weights.config();
  const nn::Family* family = config ? nn::find_family(*config) : nullptr;
  const std::string head = family != nullptr ? std::string(family->head) + ".weight" : "";
  if (!head.empty() && weights.find(head) == nullptr) out.float_layers.push_back(head);
  if (asked.is_cast()) out.dtype = asked.weight.format;
  return out;
}

/// Fills shape and size of each tensor's report; gives bits per weight over the quantized ones.
double report_sizes(const io::Weights& weights, const Plan& plan, std::vector<TensorReport>& reports) {
  std::uint64_t bits = 0;
  std::uint64_t elements = 0;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    TensorReport report{plan.tensors[i], weights.list()[i].shape, 0, {}, 0, 0};
    if (report.plan.action == Action::quantize || report.plan.action == Action::cast) {
      io::MatrixShape shape = io::matrix_shape(report.shape);
      if (report.plan.action == Action::quantize) {
        const io::QuantizedWeight stored =
            quantized_form(weights.list()[i], report.plan.scheme, report.plan.transposed);
        shape = {stored.rows, stored.cols};
      }
      report.stored_bits = stored_bits(report.plan.scheme.weight, shape.rows, shape.cols);
      bits += report.stored_bits;
      elements += shape.rows * shape.cols;
    }
    reports.push_back(std::move(report));
  }
  return elements != 0 ? static_cast<double>(bits) / static_cast<double>(elements) : 0;
}

Status write_weight(Rewrite& run, const io::WeightInfo& info, float shared_amax, const QuantizeJob& job,
                    TensorReport& report) {
  switch (report.plan.action) {
    case Action::copy:
      return copy_weight(run, info);
    case Action::drop:
      return run.advance(info.name, info.stored_bytes);
    case Action::cast:
      return cast_tensor(run, info, job, report);
    case Action::quantize:
      break;
  }
  return quantize_tensor(run, info, *output_of(info, report.plan).quantized, shared_amax, job, report);
}

Status write_files(Rewrite& run, const Plan& plan, const QuantizeJob& job, std::vector<TensorReport>& reports) {
  std::map<std::string, float> shared_amax;
  for (std::size_t f = 0; f < run.weights.info().files.size(); ++f) {
    if (const Status begun = run.sink.begin_file(f); !begun) return begun;
    if (f == 0) {  // once the output's place is taken, which a second run learns by
      auto found = find_shared_amax(run, plan);
      if (!found) return propagate(found);
      shared_amax = std::move(*found);
    }
    for (std::size_t i = 0; i < reports.size(); ++i) {
      const io::WeightInfo& info = run.weights.list()[i];
      if (info.file != f) continue;
      const auto amax = shared_amax.find(info.name);
      const Status done = write_weight(run, info, amax != shared_amax.end() ? amax->second : 0.0f, job, reports[i]);
      if (!done) return tl::unexpected<Error>(located(done.error(), run.weights, info.name));
    }
    if (const Status finished = run.sink.finish_file(); !finished) return finished;
  }
  return {};
}

Result<QuantizeReport> quantize_opened(const QuantizeJob& job, const io::Weights& weights, const Context& context,
                                       Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  auto plan = make_plan(weights, job.plan);
  if (!plan) return propagate(plan);
  auto made = weights.make_sink(output_plan(weights, *plan, job.plan.scheme));
  if (!made) return propagate(made);
  io::WeightSink& sink = **made;
  QuantizeReport report;
  report.bytes_in = weights.info().file_bytes;
  report.convention = sink.convention();
  report.why = sink.why();
  report.warnings = weights.info().warnings;
  if (const auto left = left_out(weights.info())) report.warnings.push_back(*left);
  if (!plan->split.empty()) {
    const std::string said = plan->split + ": engines join such matrices of a layer, and refuse different schemes";
    if (job.join == Join::error) return fail(ErrorCode::bad_recipe, said, {weights.path_text(), {}, {}});
    report.warnings.push_back(said + " (--join error makes this an error)");
  }
  for (std::string& warning : sink.warnings()) report.warnings.push_back(std::move(warning));
  report.warnings.insert(report.warnings.end(), plan->warnings.begin(), plan->warnings.end());
  report.bits_per_weight = report_sizes(weights, *plan, report.tensors);
  if (job.dry_run) {
    report.bytes_out = sink.planned_bytes();
    return report;
  }
  if (const Status opened = sink.open(job.output, job.mode); !opened) return propagate(opened);
  Rewrite run{weights, sink, context, progress, weights.info().weight_bytes + bytes_read_twice(weights, *plan)};
  if (const Status done = write_files(run, *plan, job, report.tensors); !done) return propagate(done);
  const auto bytes = sink.commit();
  if (!bytes) return propagate(bytes);
  report.bytes_out = *bytes;
  warn_of_nonfinite(report.tensors, job.nonfinite, report.warnings);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace

Result<QuantizeReport> quantize_checkpoint(const QuantizeJob& job, const Context& context, Progress& progress) {
  if (const Status ok = check_job(job); !ok) return propagate(ok);
  return with_weights<QuantizeReport>(
      job.input, [&](const io::Weights& weights) { return quantize_opened(job, weights, context, progress); });
}

}  // namespace kvant::pipeline
