// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include <algorithm>
#include <span>
#include <string_view>

namespace kvant::pipeline {

Result<OutputCheckpoint> OutputCheckpoint::create(const io::Checkpoint& source, const std::filesystem::path& path,
                                                  io::OutputMode mode, std::optional<io::Json> config,
                                                  io::Metadata metadata) {
  OutputCheckpoint out(source);
  out.path_ = path;
  out.mode_ = mode;
  out.config_ = std::move(config);
  out.metadata_ = std::move(metadata);
  if (source.is_folder()) {
    auto folder = io::AtomicFolder::create(path, mode);
    if (!folder) return propagate(folder);
    out.folder_.emplace(std::move(*folder));
  }
  return out;
}

Status OutputCheckpoint::begin_shard(std::size_t index, std::vector<io::TensorSpec> tensors) {
  const std::string& name = source_->shards()[index].name;
  for (const io::TensorSpec& spec : tensors) {
    const auto bytes = io::tensor_bytes(spec.dtype, spec.shape);
    if (!bytes) return propagate(bytes);
    tensor_bytes_ += *bytes;
    weight_map_[spec.name] = name;
  }
  auto writer = io::SafetensorsWriter::create(folder_ ? folder_->path() / name : path_, std::move(tensors), metadata_,
                                              folder_ ? io::OutputMode::refuse : mode_);
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

Status OutputCheckpoint::write_json(const std::string& name, const io::Json& value) {
  const std::string text = io::to_text(value, io::JsonStyle::indented) + "\n";
  bytes_ += text.size();
  return io::write_file(folder_->path() / name, std::as_bytes(std::span(text)), io::OutputMode::refuse);
}

Status OutputCheckpoint::copy_side_files() {
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (const std::filesystem::path& path : source_->side_files()) {
    if (config_ && path.filename() == "config.json") continue;
    auto in = io::InputFile::open(path);
    if (!in) return propagate(in);
    auto out = io::AtomicFile::create(folder_->path() / path.filename(), io::OutputMode::refuse);
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
  if (config_)
    if (const Status written = write_json("config.json", *config_); !written) return propagate(written);
  if (source_->shards().size() > 1 || source_->shards()[0].name != "model.safetensors") {
    io::Json map = io::Json::object();
    for (const auto& [tensor, shard] : weight_map_) map.set(tensor, shard);
    io::Json index = io::Json::object();
    index.set("metadata", io::Json::object().set("total_size", tensor_bytes_));
    index.set("weight_map", std::move(map));
    if (const Status written = write_json("model.safetensors.index.json", index); !written) return propagate(written);
  }
  if (const Status done = folder_->commit(); !done) return propagate(done);
  return bytes_;
}

}  // namespace kvant::pipeline
