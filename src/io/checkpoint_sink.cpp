// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_sink.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "checkpoint_files.hpp"
#include "core/guard.hpp"
#include "kvant/io/readers.hpp"
#include "output_config.hpp"

namespace kvant::io {
namespace {

/// `00012`, as exporters number shards.
std::string five_digits(std::size_t n) {
  const std::string digits = std::to_string(n);
  return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
}

std::string numbered(std::string_view stem, std::size_t index, std::size_t count) {
  return std::string(stem) + "-" + five_digits(index + 1) + "-of-" + five_digits(count) + ".safetensors";
}

}  // namespace

Result<std::unique_ptr<WeightSink>> detail::make_checkpoint_sink(const WeightSource& source, OutputPlan plan) {
  return std::unique_ptr<WeightSink>(std::make_unique<CheckpointSink>(source, std::move(plan)));
}

CheckpointSink::CheckpointSink(const WeightSource& source, OutputPlan plan)
    : source_(source.info()), plan_(std::move(plan)) {
  for (const OutputWeight& w : plan_.weights) {
    const auto beyond = w.quantized ? beyond_compressed_tensors(*w.quantized) : std::nullopt;
    if (!beyond) continue;
    convention_ = Convention::kvant;
    why_ = w.name + ": " + *beyond;
    return;
  }
}

std::vector<std::string> CheckpointSink::warnings() const {
  const bool refused = std::any_of(plan_.weights.begin(), plan_.weights.end(), [](const OutputWeight& w) {
    return w.quantized && w.quantized->scheme.activation && w.quantized->scheme.weight.symmetry == Symmetry::asymmetric;
  });
  if (convention_ != Convention::compressed_tensors || !refused) return {};
  return {"vLLM refuses weights with zero points (-asym) where activations are quantized, too"};
}

std::vector<TensorSpec> CheckpointSink::tensors_of(const OutputWeight& weight) const {
  if (weight.quantized) return stored_tensors(*weight.quantized, convention_);
  return {{weight.name, weight.dtype, weight.shape}};
}

std::uint64_t CheckpointSink::planned_bytes() const {
  std::uint64_t sum = 0;
  for (const OutputWeight& w : plan_.weights)
    for (const TensorSpec& spec : tensors_of(w)) sum += io::tensor_bytes(spec.dtype, spec.shape).value_or(0);
  return sum;
}

std::optional<Json> CheckpointSink::quantization() const {
  std::vector<QuantizedWeight> quantized;
  for (const OutputWeight& w : plan_.weights)
    if (w.quantized) quantized.push_back(*w.quantized);
  if (quantized.empty()) return std::nullopt;
  return quantization_config(quantized, plan_.float_layers, convention_);
}

/// Two codebooks of one name would be one when they are read.
Status CheckpointSink::check_codebooks() const {
  std::map<std::string_view, FormatId> by_name;
  for (const OutputWeight& w : plan_.weights) {
    if (!w.quantized || is_listed(w.quantized->scheme.weight.format)) continue;
    const FormatId format = w.quantized->scheme.weight.format;
    if (by_name.try_emplace(format.custom->name, format).first->second != format)
      return fail(ErrorCode::usage, "two codebooks have one name, under which both would be stored", {{}, w.name, {}});
  }
  return {};
}

Status CheckpointSink::open(const std::filesystem::path& path, OutputMode mode) {
  return guarded([&] { return open_output(path, mode); });
}

Status CheckpointSink::open_output(const std::filesystem::path& path, OutputMode mode) {
  if (const Status ok = check_codebooks(); !ok) return ok;
  const std::optional<Json> configuration = quantization();
  auto config = output_config(source_, configuration, plan_.dtype);
  if (!config) return propagate(config);
  config_ = std::move(*config);
  metadata_ = output_metadata(source_, configuration);
  path_ = path;
  mode_ = mode;
  const std::array inputs{source_.path};
  const std::vector<std::filesystem::path> files = contents();
  const OutputKind kind = source_.is_folder ? OutputKind::folder : OutputKind::file;
  if (const Status ok = check_output(inputs, path, kind, mode, files); !ok) return ok;
  if (!source_.is_folder) return {};
  auto folder = AtomicFolder::create(path, mode, files);
  if (!folder) return propagate(folder);
  folder_.emplace(std::move(*folder));
  return {};
}

Status CheckpointSink::write_rows(const QuantizedWeight& weight, std::uint64_t first_row, const QMatrix& band) {
  expects(writer_.has_value(), "a file that was begun");
  return guarded([&] { return write_band(*writer_, weight, convention_, first_row, band); });
}

Status CheckpointSink::write_bytes(std::string_view weight, std::uint64_t first, std::span<const std::byte> data) {
  expects(writer_.has_value(), "a file that was begun");
  return guarded([&] { return writer_->write(weight, first, data); });
}

std::string CheckpointSink::shard_name(std::size_t index) const {
  const std::size_t count = source_.files.size();
  if (convention_ == Convention::kvant) return numbered("kvant", index, count);
  const std::string& name = source_.files[index];
  if (!name.starts_with("kvant-")) return name;
  return count == 1 ? std::string(kSingleName) : numbered("model", index, count);
}

std::string_view CheckpointSink::index_name() const {
  if (convention_ == Convention::kvant) return kOwnIndexName;
  return source_.files.size() > 1 || shard_name(0) != kSingleName ? kIndexName : "";
}

std::vector<std::filesystem::path> CheckpointSink::contents() const {
  std::vector<std::filesystem::path> files = source_.side_files;
  for (std::size_t i = 0; i < source_.files.size(); ++i) files.emplace_back(shard_name(i));
  if (config_) files.emplace_back("config.json");
  if (!index_name().empty()) files.emplace_back(index_name());
  return files;
}

Status CheckpointSink::begin_file(std::size_t index) {
  return guarded([&] { return begin(index); });
}

Status CheckpointSink::begin(std::size_t index) {
  const std::string name = shard_name(index);
  std::vector<TensorSpec> tensors;
  for (const OutputWeight& w : plan_.weights)
    if (w.file == index)
      for (TensorSpec& spec : tensors_of(w)) tensors.push_back(std::move(spec));
  for (const TensorSpec& spec : tensors) {
    const auto bytes = io::tensor_bytes(spec.dtype, spec.shape);
    if (!bytes) return propagate(bytes);
    tensor_bytes_ += *bytes;
    weight_map_[spec.name] = name;
  }
  auto writer = SafetensorsWriter::create(folder_ ? folder_->path() / name : path_, std::move(tensors), metadata_,
                                          folder_ ? OutputMode::refuse : mode_);
  if (!writer) return propagate(writer);
  writer_.emplace(std::move(*writer));
  return {};
}

Status CheckpointSink::finish_file() {
  expects(writer_.has_value(), "a file that was begun");
  bytes_ += writer_->size();
  if (!folder_) return {};  // a single file is the output: it appears at commit()
  const Status done = writer_->commit();
  writer_.reset();
  return done;
}

Status CheckpointSink::write_text(std::string_view name, std::string_view text) {
  bytes_ += text.size();
  return write_file(folder_->path() / name, std::as_bytes(std::span(text)), OutputMode::refuse);
}

Status CheckpointSink::write_index() {
  Json map = Json::object();
  for (const auto& [tensor, shard] : weight_map_) map.set(tensor, shard);
  Json index = Json::object();
  index.set("metadata", Json::object().set("total_size", tensor_bytes_));
  index.set("weight_map", std::move(map));
  return write_text(index_name(), to_text(index, JsonStyle::indented));
}

Status CheckpointSink::copy_side_files() {
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (const std::filesystem::path& name : source_.side_files) {
    if (config_ && name == "config.json") continue;
    auto in = InputFile::open(source_.path / name);
    if (!in) return propagate(in);
    std::filesystem::create_directories((folder_->path() / name).parent_path());
    auto out = AtomicFile::create(folder_->path() / name, OutputMode::refuse);
    if (!out) return propagate(out);
    for (std::uint64_t at = 0; at < in->size();) {
      const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), in->size() - at));
      const auto chunk = std::span(buffer).first(n);
      if (const Status read = in->read_at(at, chunk); !read) return read;
      if (const Status written = out->write(chunk); !written) return written;
      at += n;
    }
    bytes_ += in->size();
    if (const Status done = out->commit(); !done) return done;
  }
  return {};
}

Result<std::uint64_t> CheckpointSink::commit() {
  return guarded([&] { return commit_output(); });
}

Result<std::uint64_t> CheckpointSink::commit_output() {
  if (!folder_) {
    if (const Status done = writer_->commit(); !done) return propagate(done);
    return bytes_;
  }
  if (const Status copied = copy_side_files(); !copied) return propagate(copied);
  if (config_)
    if (const Status written = write_text("config.json", *config_); !written) return propagate(written);
  if (!index_name().empty())
    if (const Status written = write_index(); !written) return propagate(written);
  if (const Status done = folder_->commit(); !done) return propagate(done);
  return bytes_;
}

}  // namespace kvant::io
