// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/safetensors.hpp"

#include <algorithm>
#include <atomic>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "core/guard.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/utf8.hpp"
#include "safetensors_header.hpp"

namespace kvant::io {

Result<SafetensorsFile> SafetensorsFile::over(std::span<const std::byte> bytes) {
  return guarded([&]() -> Result<SafetensorsFile> {
    Result<OpenedSafetensors> opened = open_safetensors(InputFile::over(bytes));
    if (!opened) return propagate(opened);
    return SafetensorsFile(std::move(opened->file), std::move(opened->header));
  });
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path, Access access) {
  return guarded([&]() -> Result<SafetensorsFile> {
    Result<OpenedSafetensors> opened = open_safetensors(path, access);
    if (!opened) return propagate(opened);
    return SafetensorsFile(std::move(opened->file), std::move(opened->header));
  });
}

Status SafetensorsFile::read(const TensorInfo& tensor, std::uint64_t byte_offset, std::span<std::byte> out) const {
  return guarded([&] { return read_tensor(file_, tensor, byte_offset, out); });
}

Status read_tensor(const InputFile& file, const TensorInfo& tensor, std::uint64_t byte_offset,
                   std::span<std::byte> out) {
  if (byte_offset > tensor.bytes || out.size() > tensor.bytes - byte_offset) {
    Where where = where_of(file.path());
    where.tensor = printable(tensor.name);
    return fail(ErrorCode::usage,
                "bytes " + std::to_string(byte_offset) + " and the " + std::to_string(out.size()) +
                    " after it were asked for, but the tensor has " + std::to_string(tensor.bytes),
                std::move(where));
  }
  return file.read_at(tensor.offset + byte_offset, out);
}

namespace {

struct Plan {
  std::vector<TensorInfo> tensors;  // in file order, offsets in the file
  std::string header;               // with its length in front
  std::uint64_t size = 0;           // of the file
};

Status check_spec(const TensorSpec& spec, const Where& where) {
  Where at = where;
  at.tensor = printable(spec.name);
  if (spec.name.size() > kMaxNameBytes)
    return fail(ErrorCode::limit,
                "a name of " + std::to_string(spec.name.size()) + " bytes, at most " + std::to_string(kMaxNameBytes) +
                    " are written",
                at);
  if (spec.name == "__metadata__" || spec.name.find('\0') != std::string::npos || find_invalid_utf8(spec.name))
    return fail(ErrorCode::usage, "a tensor cannot have this name in a safetensors file", at);
  if (spec.shape.size() > kMaxRank)
    return fail(ErrorCode::usage, "a tensor has at most " + std::to_string(kMaxRank) + " dimensions", at);
  return {};
}

constexpr std::size_t kCacheLine = 64;

/// Places the tensors: by falling element size, so that each is aligned to it, then by name; those of whole cache lines
/// first where these are to be aligned.
Result<std::uint64_t> place(std::vector<TensorInfo>& tensors, SafetensorsWriter::Alignment alignment,
                            const Where& where) {
  for (TensorInfo& t : tensors) {
    Where at = where;
    at.tensor = printable(t.name);
    const Result<std::uint64_t> bytes = tensor_bytes(t.dtype, t.shape);
    if (!bytes) return fail(bytes.error().code, bytes.error().message, at);
    t.bytes = *bytes;
  }
  const bool lines = alignment == SafetensorsWriter::Alignment::cache_lines;
  std::sort(tensors.begin(), tensors.end(), [lines](const TensorInfo& a, const TensorInfo& b) {
    const bool whole_a = lines && a.bytes % kCacheLine == 0;
    const bool whole_b = lines && b.bytes % kCacheLine == 0;
    const unsigned bits_a = dtype_info(a.dtype).bits;
    const unsigned bits_b = dtype_info(b.dtype).bits;
    return whole_a != whole_b ? whole_a : bits_a != bits_b ? bits_a > bits_b : a.name < b.name;
  });
  std::uint64_t end = 0;
  for (TensorInfo& t : tensors) {
    Where at = where;
    at.tensor = printable(t.name);
    t.offset = end;
    const auto next = checked_add(end, t.bytes);
    if (!next) return fail(ErrorCode::overflow, "the file would exceed 64 bits", at);
    end = *next;
  }
  return end;
}

std::string header_text(const std::vector<TensorInfo>& tensors, const Metadata& metadata,
                        SafetensorsWriter::Alignment alignment) {
  std::string text = "{";
  if (!metadata.empty()) {
    Json m = Json::object();
    for (const auto& [key, value] : metadata) m.set(key, value);
    text += "\"__metadata__\":" + to_text(m) + ",";
  }
  for (const TensorInfo& t : tensors) {
    Json shape = Json::array();
    for (const std::uint64_t n : t.shape) shape.push_back(n);
    Json offsets = Json::array();
    offsets.push_back(t.offset).push_back(t.offset + t.bytes);
    Json entry = Json::object();
    entry.set("dtype", dtype_info(t.dtype).name).set("shape", std::move(shape)).set("data_offsets", std::move(offsets));
    text += to_text(t.name) + ":" + to_text(entry) + ",";
  }
  if (text.back() == ',') text.pop_back();
  text += '}';
  constexpr std::size_t kLength = 8;  // bytes before the text that say how long it is
  const std::size_t step = alignment == SafetensorsWriter::Alignment::cache_lines ? kCacheLine : 8;
  text.resize(round_up<std::size_t>(text.size() + kLength, step) - kLength, ' ');
  return text;
}

Result<Plan> make_plan(std::vector<TensorSpec> specs, const Metadata& metadata, SafetensorsWriter::Alignment alignment,
                       const Where& where) {
  Plan plan;
  plan.tensors.reserve(specs.size());
  for (TensorSpec& s : specs) {
    if (Status ok = check_spec(s, where); !ok) return propagate(ok);
    plan.tensors.push_back({std::move(s.name), s.dtype, std::move(s.shape), 0, 0});
  }
  for (const auto& [key, value] : metadata)
    for (const std::string* text : {&key, &value})
      if (text->find('\0') != std::string::npos || find_invalid_utf8(*text))
        return fail(ErrorCode::usage, "metadata \"" + printable(key, 100) + "\" is not valid UTF-8, or holds a NUL",
                    where);
  const Result<std::uint64_t> data_bytes = place(plan.tensors, alignment, where);
  if (!data_bytes) return propagate(data_bytes);
  const std::string text = header_text(plan.tensors, metadata, alignment);
  if (text.size() > kSafetensorsMaxHeader)
    return fail(ErrorCode::limit,
                "the header would have " + std::to_string(text.size()) + " bytes, a safetensors file allows " +
                    std::to_string(kSafetensorsMaxHeader),
                where);
  for (std::size_t i = 0; i < 8; ++i) plan.header += static_cast<char>((text.size() >> (8 * i)) & 0xff);
  plan.header += text;
  const auto size = checked_add(plan.header.size(), *data_bytes);
  if (!size) return fail(ErrorCode::overflow, "the file would exceed 64 bits", where);
  plan.size = *size;
  for (TensorInfo& t : plan.tensors) t.offset += plan.header.size();
  return plan;
}

}  // namespace

struct SafetensorsWriter::Impl {
  Impl(AtomicFile f, Plan p)
      : file(std::move(f)), plan(std::move(p)), written(new std::atomic<std::uint64_t>[plan.tensors.size()]()) {}

  AtomicFile file;
  Plan plan;
  std::unordered_map<std::string_view, std::size_t> by_name;
  std::unique_ptr<std::atomic<std::uint64_t>[]> written;  // bytes of each tensor
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                                                    const Metadata& metadata, OutputMode mode, Alignment alignment) {
  return guarded([&]() -> Result<SafetensorsWriter> {
    Result<Plan> plan = make_plan(std::move(tensors), metadata, alignment, where_of(path));
    if (!plan) return propagate(plan);
    Result<AtomicFile> file = AtomicFile::create(path, mode);
    if (!file) return propagate(file);
    auto impl = std::make_unique<Impl>(std::move(*file), std::move(*plan));
    for (std::size_t i = 0; i < impl->plan.tensors.size(); ++i)
      if (!impl->by_name.emplace(impl->plan.tensors[i].name, i).second) {
        Where where = where_of(path);
        where.tensor = printable(impl->plan.tensors[i].name);
        return fail(ErrorCode::usage, "two tensors of this name", std::move(where));
      }
    if (Status s = impl->file.preallocate(impl->plan.size); !s) return propagate(s);
    if (Status s = impl->file.write(std::as_bytes(std::span(impl->plan.header))); !s) return propagate(s);
    return SafetensorsWriter(std::move(impl));
  });
}

Status SafetensorsWriter::write(std::string_view tensor, std::uint64_t byte_offset, std::span<const std::byte> data) {
  return guarded([&]() -> Status {
    Where where = where_of(impl_->file.path());
    where.tensor = printable(tensor);
    const auto found = impl_->by_name.find(tensor);
    if (found == impl_->by_name.end())
      return fail(ErrorCode::usage, "this tensor was not announced to the writer", std::move(where));
    const TensorInfo& t = impl_->plan.tensors[found->second];
    std::atomic<std::uint64_t>& written = impl_->written[found->second];
    if (byte_offset > t.bytes || data.size() > t.bytes - byte_offset ||
        written.fetch_add(data.size()) > t.bytes - data.size())
      return fail(ErrorCode::usage,
                  "writing " + std::to_string(data.size()) + " bytes at " + std::to_string(byte_offset) +
                      " leaves the tensor's " + std::to_string(t.bytes) + " bytes or writes some twice",
                  std::move(where));
    return impl_->file.write_at(t.offset + byte_offset, data);
  });
}

Status SafetensorsWriter::commit() {
  return guarded([&]() -> Status {
    for (std::size_t i = 0; i < impl_->plan.tensors.size(); ++i) {
      const TensorInfo& t = impl_->plan.tensors[i];
      if (impl_->written[i].load() == t.bytes) continue;
      Where where = where_of(impl_->file.path());
      where.tensor = printable(t.name);
      return fail(
          ErrorCode::usage,
          "only " + std::to_string(impl_->written[i].load()) + " of " + std::to_string(t.bytes) + " bytes were written",
          std::move(where));
    }
    return impl_->file.commit();
  });
}

std::uint64_t SafetensorsWriter::size() const noexcept { return impl_->plan.size; }

}  // namespace kvant::io
