// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/run.hpp"
#include "core/guard.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "cast.hpp"
#include "kvant/io/stored_weight.hpp"
#include "kvant/io/utf8.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/nn/architectures.hpp"
#include "kvant/nn/heads.hpp"
#include "measure.hpp"
#include "output.hpp"
#include "output_config.hpp"

namespace kvant::pipeline {
namespace {

constexpr std::size_t kCopyBytes = std::size_t{8} << 20;

tl::unexpected<Error> interrupted() { return fail(ErrorCode::interrupted, "interrupted; no output was written"); }

/// Adds the file and the tensor to an error that came from code which knows neither.
Error located(Error error, const io::Checkpoint& checkpoint, const std::string& tensor) {
  if (error.where.file.empty()) error.where.file = checkpoint.path().string();
  if (error.where.tensor.empty()) error.where.tensor = tensor;
  return error;
}

/// Rows per band: a whole number of the scheme's row blocks and of 32 rows, at least one of each.
std::uint64_t band_rows(const Scheme& scheme, std::uint64_t rows, std::uint64_t cols, bool rowwise) {
  const std::uint64_t block = scheme.is_cast() ? 1 : scheme.granularity.block_rows(static_cast<std::size_t>(rows));
  // One number for the matrix alone is found beforehand: find_shared_amax().
  const bool whole = !rowwise || (scheme.spans_matrix() && !scheme.scales.has_matrix_number());
  if (whole || block >= rows) return std::max<std::uint64_t>(rows, 1);
  const std::uint64_t step = block % 32 == 0 ? block : block * 32;
  return std::max(kBandElements / std::max<std::uint64_t>(cols, 1) / step * step, step);
}

DType cast_dtype(FormatId format) {
  return format == format_id<fp16> ? DType::f16 : format == format_id<bf16> ? DType::bf16 : DType::f32;
}

/// What a run carries from tensor to tensor.
struct Run {
  const io::Weights& weights;
  const Context& context;
  Progress& progress;
  io::Convention convention = io::Convention::kvant;
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::map<std::string, float> shared_amax{};  ///< by tensor: what its matrix-wide scale must cover

  [[nodiscard]] Status advance(const std::string& name, std::uint64_t bytes) {
    done += bytes;
    if (!progress.advance(name, done, total)) return interrupted();
    return {};
  }
};

Status copy_tensor(Run& run, io::SafetensorsWriter& writer, const io::CheckpointTensor& tensor) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(kCopyBytes, tensor.bytes)));
  for (std::uint64_t at = 0; at < tensor.bytes;) {
    const auto chunk =
        std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), tensor.bytes - at)));
    if (const Status read = run.weights.checkpoint().read_bytes(tensor, at, chunk); !read) return read;
    if (const Status written = writer.write(tensor.name, at, chunk); !written) return written;
    at += chunk.size();
    if (const Status go = run.advance(tensor.name, chunk.size()); !go) return go;
  }
  return {};
}

/// NaN and Inf in a band, by policy: refused, or how many there are.
Result<std::uint64_t> count_nonfinite(const Matrix<float>& band, std::uint64_t first_row, NonFinite policy) {
  const Status finite = detail::check_finite(band.view(), first_row);
  if (finite) return std::uint64_t{0};
  if (policy == NonFinite::error) return propagate(finite);
  return static_cast<std::uint64_t>(
      std::count_if(band.data(), band.data() + band.size(), [](float v) { return !is_finite(v); }));
}

/// Bands of a tensor on their way into a float format. NaN and Inf become 0 under NonFinite::zero.
class Caster {
 public:
  Caster(io::SafetensorsWriter& writer, std::string tensor, FormatId format, NonFinite policy, const Context& context)
      : writer_(writer), tensor_(std::move(tensor)), format_(format), policy_(policy), context_(context) {}

  Status write(Matrix<float> band, std::uint64_t first_row) {
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
                      (format_ == format_id<fp16> ? "; bf16 and fp32 hold them" : "; fp32 holds them") +
                      ", --nonfinite keep makes them Inf");
    return writer_.write(tensor_, first_row * band.cols() * (format_info(format_).bits / 8), stored.bytes());
  }

  [[nodiscard]] std::uint64_t nonfinite() const noexcept { return nonfinite_; }
  /// Finite values that became Inf.
  [[nodiscard]] std::uint64_t overflowed() const noexcept { return overflowed_; }
  [[nodiscard]] Distortion distortion() const { return meter_.result(); }

 private:
  io::SafetensorsWriter& writer_;
  std::string tensor_;
  FormatId format_;
  NonFinite policy_;
  const Context& context_;
  DistortionMeter meter_;
  std::uint64_t nonfinite_ = 0;
  std::uint64_t overflowed_ = 0;
};

Status cast_tensor(Run& run, io::SafetensorsWriter& writer, const io::CheckpointTensor& tensor, const QuantizeJob& job,
                   TensorReport& report) {
  const io::MatrixShape shape = io::matrix_shape(tensor.shape);
  const std::uint64_t step = band_rows(report.plan.scheme.weight, shape.rows, shape.cols, true);
  Caster caster(writer, tensor.name, report.plan.scheme.weight.format, job.nonfinite, run.context);
  for (std::uint64_t first = 0; first < shape.rows && shape.cols != 0; first += step) {
    auto band = run.weights.checkpoint().read_rows(tensor, first, std::min(step, shape.rows - first));
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
Result<float> largest_magnitude(Run& run, const io::CheckpointTensor& tensor) {
  const io::MatrixShape shape = io::matrix_shape(tensor.shape);
  const std::uint64_t step = band_rows(Scheme{}, shape.rows, shape.cols, true);
  float most = 0.0f;
  for (std::uint64_t first = 0; first < shape.rows && shape.cols != 0; first += step) {
    const auto band = run.weights.checkpoint().read_rows(tensor, first, std::min(step, shape.rows - first));
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

/// Finds what matrix-wide scales must cover before anything is quantized: rows then need no more than their band.
/// Matrices that engines join share one scale.
Status find_shared_amax(Run& run, const Plan& plan) {
  const io::Checkpoint& source = run.weights.checkpoint();
  std::map<std::string, float> sets;
  std::map<std::string, std::string> set_of;
  for (const TensorPlan& t : plan.tensors) {
    if (t.action != Action::quantize || !t.scheme.weight.scales.has_matrix_number()) continue;
    const auto most = largest_magnitude(run, *source.find(t.name));
    if (!most) return tl::unexpected<Error>(located(most.error(), source, t.name));
    const std::string joined = nn::joined_with(t.name);
    const std::string& set = set_of[t.name] = joined.empty() ? t.name : joined;
    sets[set] = std::max(sets[set], *most);
  }
  for (const auto& [tensor, set] : set_of) run.shared_amax[tensor] = sets[set];
  return {};
}

/// Bytes that find_shared_amax will read.
std::uint64_t bytes_read_twice(const io::Checkpoint& source, const Plan& plan) {
  std::uint64_t sum = 0;
  for (const TensorPlan& t : plan.tensors)
    if (t.action == Action::quantize && t.scheme.weight.scales.has_matrix_number()) sum += source.find(t.name)->bytes;
  return sum;
}

/// A weight that is to be quantized, as it will be stored.
io::QuantizedWeight stored_as(const std::string& name, std::span<const std::uint64_t> shape, const TensorPlan& plan) {
  if (plan.transposed) return {name, plan.scheme, shape[1], shape[0], true};
  return {name, plan.scheme, shape[0], shape[1], false};
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

/// What --nonfinite accepted.
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

/// Rows of a weight as it will be stored. Those of a transpose are all over the tensor, which is read as a whole.
Result<Matrix<float>> read_band(const io::Checkpoint& source, const io::CheckpointTensor& tensor,
                                const io::QuantizedWeight& weight, std::uint64_t first, std::uint64_t count) {
  if (!weight.transposed) return source.read_rows(tensor, first, std::min(count, weight.rows - first));
  const auto whole = source.read_matrix(tensor);
  if (!whole) return propagate(whole);
  return transpose(whole->view());
}

Status quantize_tensor(Run& run, io::SafetensorsWriter& writer, const io::CheckpointTensor& tensor,
                       const QuantizeJob& job, TensorReport& report) {
  const Scheme& scheme = report.plan.scheme.weight;
  const io::QuantizedWeight weight = stored_as(tensor.name, tensor.shape, report.plan);
  const Grid grid(scheme, run.context.kernels());
  const std::uint64_t step = band_rows(scheme, weight.rows, weight.cols, job.method.rowwise() && !weight.transposed);
  DistortionMeter meter;
  std::uint64_t first = 0;
  do {
    const auto band = read_band(run.weights.checkpoint(), tensor, weight, first, step);
    if (!band) return propagate(band);
    const auto nonfinite = count_nonfinite(*band, first, job.nonfinite);
    if (!nonfinite) return propagate(nonfinite);
    report.nonfinite += *nonfinite;
    const LayerInput input{tensor.name, band->view(), job.nonfinite, run.shared_amax[tensor.name]};
    auto layer = job.method(input, report.plan.scheme, run.context);
    if (!layer) return propagate(layer);
    if (const Status whole = check_has_no_parts(*layer); !whole) return whole;
    const QMatrix& q = layer->weight;
    report.clamped += q.clamped_scales;
    if (report.clamped != 0 && job.nonfinite != NonFinite::keep)
      return fail(ErrorCode::scale_overflow, std::to_string(report.clamped) + " scales exceed " +
                                                 std::string(format_info(scheme.scales.chosen_type()).name) +
                                                 clamping_advice(scheme) + "; --nonfinite keep clamps them");
    meter.add(
        measure(*band, run.context, [&](std::size_t r, std::span<float> out) { dequantize_row(q, grid, r, out); }));
    if (const Status written = io::write_band(writer, weight, run.convention, first, q); !written) return written;
    if (const Status go = run.advance(tensor.name, band->size() * dtype_info(tensor.dtype).bits / 8); !go) return go;
    first += step;
  } while (first < weight.rows);
  report.distortion = meter.result();
  return {};
}

/// The tensors that take the place of one of the source's.
std::vector<io::TensorSpec> specs_of(const io::CheckpointTensor& tensor, const TensorPlan& plan,
                                     io::Convention convention) {
  if (plan.action == Action::drop) return {};
  if (plan.action == Action::copy) return {{tensor.name, tensor.dtype, tensor.shape}};
  if (plan.action == Action::cast) return {{tensor.name, cast_dtype(plan.scheme.weight.format), tensor.shape}};
  return io::stored_tensors(stored_as(tensor.name, tensor.shape, plan), convention);
}

/// What is said about weights beside those that were read.
std::optional<std::string> left_out(const io::Checkpoint& source) {
  const std::size_t count = source.other_weights().size();
  if (count == 0) return std::nullopt;
  return "not copied: " + io::printable(source.other_weights().front().native(), 200) +
         (count > 1 ? " and " + std::to_string(count - 1) + " more files of other weights" : ", other weights");
}

/// Tensors of each shard, in the order of the file's list.
std::vector<std::vector<std::size_t>> by_shard(const io::Checkpoint& checkpoint) {
  std::vector<std::vector<std::size_t>> shards(checkpoint.shards().size());
  for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) shards[checkpoint.tensors()[i].shard].push_back(i);
  return shards;
}

Status check_job(const QuantizeJob& job) {
  if (job.method.needs() == Needs::nothing) return {};
  return fail(ErrorCode::unsupported, "the method '" + std::string(job.method.name()) +
                                          "' has to know the layers' inputs, which nothing gathers yet");
}

/// The quantized weights of a plan, the float linear layers beside them, and the convention that can express all.
struct Storage {
  std::vector<io::QuantizedWeight> weights;
  std::vector<std::string> ignored;
  io::Convention convention = io::Convention::compressed_tensors;
  std::string why;
};

Storage plan_storage(const io::Weights& weights, const Plan& plan) {
  Storage storage;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const io::WeightInfo& info = weights.list()[i];
    const TensorPlan& tensor = plan.tensors[i];
    if (tensor.action != Action::quantize) {
      if (info.shape.size() == 2 && info.name.ends_with(".weight")) storage.ignored.push_back(info.name);
      continue;
    }
    storage.weights.push_back(stored_as(info.name, info.shape, tensor));
    const auto beyond = io::beyond_compressed_tensors(storage.weights.back());
    if (beyond && storage.why.empty()) storage.why = info.name + ": " + *beyond;
  }
  // A tied head is a linear layer without a tensor of its own: engines would look for its codes.
  const auto& config = weights.checkpoint().config();
  const nn::Architecture* architecture = config ? nn::find_architecture(*config) : nullptr;
  const std::string head = architecture != nullptr ? std::string(architecture->names.head) + ".weight" : "";
  if (!head.empty() && weights.find(head) == nullptr) storage.ignored.push_back(head);
  if (!storage.why.empty()) storage.convention = io::Convention::kvant;
  return storage;
}

/// Fills shape and size of each tensor's report; gives bits per weight over the quantized ones.
double report_sizes(const io::Weights& weights, const Plan& plan, std::vector<TensorReport>& reports) {
  std::uint64_t bits = 0;
  std::uint64_t elements = 0;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    TensorReport report{plan.tensors[i], weights.list()[i].shape, 0, {}, 0, 0};
    if (plan.tensors[i].action == Action::quantize || plan.tensors[i].action == Action::cast) {
      io::MatrixShape shape = io::matrix_shape(report.shape);
      if (plan.tensors[i].transposed) std::swap(shape.rows, shape.cols);
      report.stored_bits = stored_bits(report.plan.scheme.weight, shape.rows, shape.cols);
      bits += report.stored_bits;
      elements += shape.rows * shape.cols;
    }
    reports.push_back(std::move(report));
  }
  return elements != 0 ? static_cast<double>(bits) / static_cast<double>(elements) : 0;
}

Status write_shards(Run& run, OutputCheckpoint& out, const Plan& plan, const QuantizeJob& job,
                    std::vector<TensorReport>& reports) {
  const io::Checkpoint& source = run.weights.checkpoint();
  const auto shards = by_shard(source);
  for (std::size_t s = 0; s < shards.size(); ++s) {
    std::vector<io::TensorSpec> specs;
    for (const std::size_t i : shards[s])
      for (io::TensorSpec& spec : specs_of(source.tensors()[i], reports[i].plan, run.convention))
        specs.push_back(std::move(spec));
    if (const Status begun = out.begin_shard(s, std::move(specs)); !begun) return begun;
    if (s == 0)  // once the output's place is taken, which a second run learns by
      if (const Status found = find_shared_amax(run, plan); !found) return found;
    for (const std::size_t i : shards[s]) {
      const io::CheckpointTensor& tensor = source.tensors()[i];
      TensorReport& report = reports[i];
      Status done;
      switch (report.plan.action) {
        case Action::copy:
          done = copy_tensor(run, out.writer(), tensor);
          break;
        case Action::drop:
          done = run.advance(tensor.name, tensor.bytes);
          break;
        case Action::cast:
          done = cast_tensor(run, out.writer(), tensor, job, report);
          break;
        case Action::quantize:
          done = quantize_tensor(run, out.writer(), tensor, job, report);
          break;
      }
      if (!done) return tl::unexpected<Error>(located(done.error(), source, tensor.name));
    }
    if (const Status finished = out.finish_shard(); !finished) return finished;
  }
  return {};
}

Result<QuantizeReport> quantize_opened(const QuantizeJob& job, const io::Weights& weights, const Context& context,
                                       Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  const io::Checkpoint& source = weights.checkpoint();
  auto plan = make_plan(weights, job.plan);
  if (!plan) return propagate(plan);
  const Storage storage = plan_storage(weights, *plan);
  QuantizeReport report;
  report.bytes_in = source.file_bytes();
  report.convention = storage.convention == io::Convention::kvant ? "kvant" : "compressed-tensors";
  report.why = storage.why;
  report.warnings = source.warnings();
  if (const auto left = left_out(source)) report.warnings.push_back(*left);
  if (!plan->split.empty()) {
    const std::string said = plan->split + ": engines join such matrices of a layer, and refuse different schemes";
    if (job.join == Join::error) return fail(ErrorCode::bad_recipe, said, {source.path().string(), {}, {}});
    report.warnings.push_back(said + " (--join error makes this an error)");
  }
  if (storage.convention == io::Convention::compressed_tensors &&
      std::any_of(storage.weights.begin(), storage.weights.end(), [](const io::QuantizedWeight& w) {
        return w.scheme.activation && w.scheme.weight.symmetry == Symmetry::asymmetric;
      }))
    report.warnings.push_back("vLLM refuses weights with zero points (-asym) where activations are quantized, too");
  report.warnings.insert(report.warnings.end(), plan->warnings.begin(), plan->warnings.end());
  report.bits_per_weight = report_sizes(weights, *plan, report.tensors);
  if (job.dry_run) {
    for (std::size_t i = 0; i < plan->tensors.size(); ++i)
      for (const io::TensorSpec& spec : specs_of(source.tensors()[i], plan->tensors[i], storage.convention))
        report.bytes_out += io::tensor_bytes(spec.dtype, spec.shape).value_or(0);
    return report;
  }
  std::optional<io::Json> quantization;
  if (!storage.weights.empty())
    quantization = io::quantization_config(storage.weights, storage.ignored, storage.convention);
  std::optional<FormatId> dtype;
  if (job.plan.scheme.is_cast()) dtype = job.plan.scheme.weight.format;
  auto config = output_config(source, quantization, dtype);
  if (!config) return propagate(config);
  auto out = OutputCheckpoint::create(source, job.output, job.mode,
                                      {std::move(*config), output_metadata(source, quantization), storage.convention});
  if (!out) return propagate(out);
  Run run{weights, context, progress, storage.convention, 0, source.tensor_bytes() + bytes_read_twice(source, *plan)};
  if (const Status done = write_shards(run, *out, *plan, job, report.tensors); !done) return propagate(done);
  const auto bytes = out->commit();
  if (!bytes) return propagate(bytes);
  report.bytes_out = *bytes;
  warn_of_nonfinite(report.tensors, job.nonfinite, report.warnings);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

Status dequantize_weight(Run& run, io::SafetensorsWriter& writer, const DequantizeJob& job, TensorReport& report) {
  const io::WeightInfo& weight = *run.weights.find(report.plan.name);
  const auto q = run.weights.read_quantized(weight);
  if (!q) return propagate(q);
  const std::size_t step = std::max<std::size_t>(1, kBandElements / std::max<std::size_t>(q->cols, 1));
  Caster caster(writer, weight.name, job.dtype, job.nonfinite, run.context);
  if (weight.transposed) {
    const Matrix<float> values = dequantize(*q, run.context);
    if (const Status written = caster.write(transpose(values.view()), 0); !written) return written;
  } else {
    for (std::size_t first = 0; first < q->rows && q->cols != 0; first += step)
      if (const Status written =
              caster.write(dequantize_rows(*q, first, std::min(step, q->rows - first), run.context), first);
          !written)
        return written;
  }
  report.nonfinite = caster.nonfinite();
  report.clamped = caster.overflowed();
  return run.advance(weight.name, weight.stored_bytes);
}

Result<DequantizeReport> dequantize_opened(const DequantizeJob& job, const io::Weights& weights, const Context& context,
                                           Progress& progress) {
  const io::Checkpoint& source = weights.checkpoint();
  const bool any = std::any_of(weights.list().begin(), weights.list().end(),
                               [](const io::WeightInfo& w) { return w.scheme.has_value(); });
  if (!any)
    return fail(ErrorCode::unsupported, "holds no quantized weights, expected a quantized checkpoint",
                {source.path().string(), {}, {}});
  const auto dropped = nn::find_tied_head(weights);
  if (!dropped) return propagate(dropped);
  auto config = output_config(source, std::nullopt, job.dtype);
  if (!config) return propagate(config);
  auto out = OutputCheckpoint::create(source, job.output, job.mode,
                                      {std::move(*config), output_metadata(source, std::nullopt)});
  if (!out) return propagate(out);
  // A quantized weight goes to the shard of its scales, which exist in every convention.
  std::vector<std::vector<const io::WeightInfo*>> shards(source.shards().size());
  for (const io::WeightInfo& w : weights.list())
    if (w.name != *dropped) shards[source.find(w.scheme ? w.name + "_scale" : w.name)->shard].push_back(&w);
  Run run{weights, context, progress, weights.convention(), 0, source.tensor_bytes()};
  DequantizeReport report;
  std::vector<TensorReport> tensors;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    std::vector<io::TensorSpec> specs;
    for (const io::WeightInfo* w : shards[s])
      specs.push_back({w->name, w->scheme ? cast_dtype(job.dtype) : w->dtype, w->shape});
    if (const Status begun = out->begin_shard(s, std::move(specs)); !begun) return propagate(begun);
    for (const io::WeightInfo* w : shards[s]) {
      Status done;
      if (w->scheme) {
        TensorReport& tensor = tensors.emplace_back();
        tensor.plan = {w->name, Action::cast, {{job.dtype}, {}}, ""};
        done = dequantize_weight(run, out->writer(), job, tensor);
        report.tensors.push_back(w->name);
      } else {
        done = copy_tensor(run, out->writer(), *source.find(w->name));
      }
      if (!done) return tl::unexpected<Error>(located(done.error(), source, w->name));
    }
    if (const Status finished = out->finish_shard(); !finished) return propagate(finished);
  }
  const auto bytes = out->commit();
  if (!bytes) return propagate(bytes);
  report.bytes_out = *bytes;
  warn_of_nonfinite(tensors, job.nonfinite, report.warnings);
  return report;
}

/// Runs `body` on the opened weights; lack of memory anywhere below becomes a Result.
template <class Report, class Body>
Result<Report> with_weights(const std::filesystem::path& input, Body&& body) {
  return guarded([&]() -> Result<Report> {
    const auto weights = io::Weights::open(input);
    if (!weights) return propagate(weights);
    return body(*weights);
  });
}

}  // namespace

Result<QuantizeReport> quantize_checkpoint(const QuantizeJob& job, const Context& context, Progress& progress) {
  if (const Status ok = check_job(job); !ok) return propagate(ok);
  return with_weights<QuantizeReport>(
      job.input, [&](const io::Weights& weights) { return quantize_opened(job, weights, context, progress); });
}

Result<DequantizeReport> dequantize_checkpoint(const DequantizeJob& job, const Context& context, Progress& progress) {
  return with_weights<DequantizeReport>(
      job.input, [&](const io::Weights& weights) { return dequantize_opened(job, weights, context, progress); });
}

}  // namespace kvant::pipeline
