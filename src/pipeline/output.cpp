// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "io/checkpoint_files.hpp"

namespace kvant::pipeline {
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

Result<OutputCheckpoint> OutputCheckpoint::create(const io::Checkpoint& source, const std::filesystem::path& path,
                                                  io::OutputMode mode, OutputForm form) {
  OutputCheckpoint out(source);
  out.path_ = path;
  out.mode_ = mode;
  out.form_ = std::move(form);
  const std::array inputs{source.path()};
  const std::vector<std::filesystem::path> contents = out.contents();
  if (const Status ok = io::check_output(
          inputs, path, source.is_folder() ? io::OutputKind::folder : io::OutputKind::file, mode, contents);
      !ok)
    return propagate(ok);
  if (source.is_folder()) {
    auto folder = io::AtomicFolder::create(path, mode, contents);
    if (!folder) return propagate(folder);
    out.folder_.emplace(std::move(*folder));
  }
  return out;
}

std::string OutputCheckpoint::shard_name(std::size_t index) const {
  const std::size_t count = source_->shards().size();
  if (form_.convention == io::Convention::kvant) return numbered("kvant", index, count);
  const std::string& name = source_->shards()[index].name;
  if (!name.starts_with("kvant-")) return name;
  return count == 1 ? std::string(io::kSingleName) : numbered("model", index, count);
}

std::string_view OutputCheckpoint::index_name() const {
  if (form_.convention == io::Convention::kvant) return io::kOwnIndexName;
  return source_->shards().size() > 1 || shard_name(0) != io::kSingleName ? io::kIndexName : "";
}

std::vector<std::filesystem::path> OutputCheckpoint::contents() const {
  std::vector<std::filesystem::path> files = source_->side_files();
  for (std::size_t i = 0; i < source_->shards().size(); ++i) files.emplace_back(shard_name(i));
  if (form_.config) files.emplace_back("config.json");
  if (!index_name().empty()) files.emplace_back(index_name());
  return files;
}

Status OutputCheckpoint::begin_shard(std::size_t index, std::vector<io::TensorSpec> tensors) {
  const std::string name = shard_name(index);
  for (const io::TensorSpec& spec : tensors) {
    const auto bytes = io::tensor_bytes(spec.dtype, spec.shape);
    if (!bytes) return propagate(bytes);
    tensor_bytes_ += *bytes;
    weight_map_[spec.name] = name;
  }
  auto writer = io::SafetensorsWriter::create(folder_ ? folder_->path() / name : path_, std::move(tensors),
                                              form_.metadata, folder_ ? io::OutputMode::refuse : mode_);
  if (!writer) return propagate(writer);
  writer_.emplace(std::move(*writer));
  return {};
}

Status OutputCheckpoint::finish_shard() {
  bytes_ += writer_->size();
  if (!folder_) return {};  // a single file is the output: it appears at commit()
  const Status done = writer_->commit();
  writer_.reset();
  return done;
}

Status OutputCheckpoint::write_text(std::string_view name, std::string_view text) {
  bytes_ += text.size();
  return io::write_file(folder_->path() / name, std::as_bytes(std::span(text)), io::OutputMode::refuse);
}

Status OutputCheckpoint::write_index() {
  io::Json map = io::Json::object();
  for (const auto& [tensor, shard] : weight_map_) map.set(tensor, shard);
  io::Json index = io::Json::object();
  index.set("metadata", io::Json::object().set("total_size", tensor_bytes_));
  index.set("weight_map", std::move(map));
  return write_text(index_name(), io::to_text(index, io::JsonStyle::indented));
}

Status OutputCheckpoint::copy_side_files() {
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (const std::filesystem::path& name : source_->side_files()) {
    if (form_.config && name == "config.json") continue;
    auto in = io::InputFile::open(source_->path() / name);
    if (!in) return propagate(in);
    std::filesystem::create_directories((folder_->path() / name).parent_path());
    auto out = io::AtomicFile::create(folder_->path() / name, io::OutputMode::refuse);
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

Result<std::uint64_t> OutputCheckpoint::commit() {
  if (!folder_) {
    if (const Status done = writer_->commit(); !done) return propagate(done);
    return bytes_;
  }
  if (const Status copied = copy_side_files(); !copied) return propagate(copied);
  if (form_.config)
    if (const Status written = write_text("config.json", *form_.config); !written) return propagate(written);
  if (!index_name().empty())
    if (const Status written = write_index(); !written) return propagate(written);
  if (const Status done = folder_->commit(); !done) return propagate(done);
  return bytes_;
}

}  // namespace kvant::pipeline
