// SPDX-License-Identifier: Apache-2.0
// The C interface over PackedFile and Linear. Whatever could throw is caught here; a product makes nothing that could.
#include "kvant/kvant.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "core/guard.hpp"
#include "kvant/io/packed_file.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/linear/linear.hpp"

#ifndef KVANT_VERSION
#define KVANT_VERSION "unknown"
#endif

struct kvant_file {
  kvant::io::PackedFile packed;
};

struct kvant_layer {
  kvant::Linear linear;
  const kvant::kernels::Kernels* kernels;
  std::string scheme;
};

namespace {

using kvant::Error;
using kvant::ErrorCode;
using kvant::Result;
using kvant::Status;

template <std::size_t N>
void copy_text(std::string_view text, char (&out)[N]) noexcept {
  std::size_t n = std::min(text.size(), N - 1);
  while (n < text.size() && n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0u) == 0x80u) --n;  // whole characters
  std::memcpy(out, text.data(), n);
  out[n] = '\0';
}

kvant_status report(const Error& error, kvant_error* out) noexcept {
  const kvant::ErrorInfo& info = kvant::error_info(error.code);
  if (out != nullptr) {
    out->status = info.exit_code;
    copy_text(info.name, out->name);
    copy_text(error.message, out->message);  // where memory is short, without what comes next
    static_cast<void>(kvant::guarded([&]() -> Status {
      copy_text(kvant::describe(error), out->message);
      return {};
    }));
  }
  return info.exit_code;
}

kvant_status succeed(kvant_error* out) noexcept {
  if (out != nullptr) *out = {};
  return KVANT_OK;
}

kvant_status finish(const Status& status, kvant_error* error) noexcept {
  return status ? succeed(error) : report(status.error(), error);
}

Status refuse(const char* what) {
  return kvant::guarded([&]() -> Status { return kvant::fail(ErrorCode::usage, what); });
}

kvant_status open_file(Result<kvant::io::PackedFile> packed, kvant_file** file, kvant_error* error) noexcept {
  if (!packed) return report(packed.error(), error);
  *file = new (std::nothrow) kvant_file{std::move(*packed)};
  if (*file == nullptr) return report({ErrorCode::out_of_memory, "memory ran out", {}}, error);
  return succeed(error);
}

/// The caller's threads, or its own one.
class CallersExecutor final : public kvant::Executor {
 public:
  explicit CallersExecutor(const kvant_executor* executor) noexcept : executor_(executor) {}
  [[nodiscard]] unsigned concurrency() const noexcept override {
    return executor_ != nullptr ? std::max(executor_->concurrency, 1u) : 1u;
  }
  void run(std::size_t count, Task task, void* context) noexcept override {
    if (executor_ != nullptr) return executor_->run(executor_->self, count, task, context);
    for (std::size_t i = 0; i < count; ++i) task(context, i, 0);
  }

 private:
  const kvant_executor* executor_;
};

kvant::FormatId format_of(kvant_type type) noexcept {
  return type == KVANT_BF16 ? kvant::format_id<kvant::bf16> : kvant::format_id<kvant::fp16>;
}

kvant::InputRows inputs_of(const kvant_product& p, std::size_t columns) {
  if (p.x_type == KVANT_F32)
    return kvant::MatrixView<const float>(static_cast<const float*>(p.x), p.rows, columns, p.x_stride);
  const auto* x = static_cast<const std::uint16_t*>(p.x);
  return {kvant::MatrixView<const std::uint16_t>(x, p.rows, columns, p.x_stride), format_of(p.x_type)};
}

kvant::OutputRows outputs_of(const kvant_product& p, std::size_t columns) {
  if (p.y_type == KVANT_F32) return kvant::MatrixView<float>(static_cast<float*>(p.y), p.rows, columns, p.y_stride);
  auto* y = static_cast<std::uint16_t*>(p.y);
  return {kvant::MatrixView<std::uint16_t>(y, p.rows, columns, p.y_stride), format_of(p.y_type)};
}

bool is_type(kvant_type type) noexcept { return type == KVANT_F32 || type == KVANT_BF16 || type == KVANT_F16; }

Status multiply(const kvant_layer& layer, const kvant_product& p) {
  const kvant::Linear& linear = layer.linear;
  if (p.size != sizeof(kvant_product)) return refuse("a product that was not made by kvant_product_default()");
  if (!is_type(p.x_type) || !is_type(p.y_type)) return refuse("a type that is none");
  if (p.rows != 0 && (p.x == nullptr || p.y == nullptr)) return refuse("rows without x or y");
  if (p.x_stride < linear.in_features() || p.y_stride < linear.out_features())
    return kvant::fail(ErrorCode::bad_shape, "rows that are closer than the layer's features");
  if (p.executor != nullptr && p.executor->run == nullptr) return refuse("an executor that runs nothing");
  if (std::bit_cast<std::uintptr_t>(p.scratch) % 64 != 0)
    return refuse("scratch that does not begin at a multiple of 64");
  kvant::Activations inputs;
  auto* const scratch = static_cast<std::byte*>(p.scratch);
  if (const Status room = linear.borrow(inputs, p.rows, {scratch, scratch != nullptr ? p.scratch_size : 0}); !room)
    return room;
  inputs.assign(inputs_of(p, linear.in_features()));
  CallersExecutor executor(p.executor);
  const kvant::Context context(*layer.kernels, executor);
  const auto arithmetic = p.float_inputs != 0 ? kvant::Arithmetic::floats : kvant::Arithmetic::as_scheme;
  return linear.multiply(inputs, outputs_of(p, linear.out_features()), context, {p.scale, p.accumulate != 0},
                         arithmetic);
}

}  // namespace

const char* kvant_version(void) { return KVANT_VERSION; }

kvant_status kvant_open(const char* path, kvant_file** file, kvant_error* error) {
  if (path == nullptr || file == nullptr) return finish(refuse("no path, or nowhere to put the file"), error);
  *file = nullptr;
  return open_file(kvant::guarded([&] { return kvant::io::PackedFile::open(path); }), file, error);
}

kvant_status kvant_open_buffer(const void* bytes, size_t size, kvant_file** file, kvant_error* error) {
  if (bytes == nullptr || file == nullptr) return finish(refuse("no bytes, or nowhere to put the file"), error);
  *file = nullptr;
  const std::span<const std::byte> memory(static_cast<const std::byte*>(bytes), size);
  return open_file(kvant::guarded([&] { return kvant::io::PackedFile::over(memory); }), file, error);
}

kvant_status kvant_verify(const kvant_file* file, kvant_error* error) {
  if (file == nullptr) return finish(refuse("no file"), error);
  return finish(kvant::guarded([&] { return file->packed.verify({}); }), error);
}

void kvant_close(kvant_file* file) { delete file; }

size_t kvant_layer_count(const kvant_file* file) { return file != nullptr ? file->packed.layers().size() : 0; }

const char* kvant_layer_name(const kvant_file* file, size_t index) {
  return index < kvant_layer_count(file) ? file->packed.layers()[index].name.c_str() : nullptr;
}

kvant_status kvant_layer_open(const kvant_file* file, const char* name, kvant_layer** layer, kvant_error* error) {
  if (file == nullptr || name == nullptr || layer == nullptr)
    return finish(refuse("no file, no name, or nowhere to put the layer"), error);
  *layer = nullptr;
  const Status opened = kvant::guarded([&]() -> Status {
    const kvant::io::PackedLayer* described = file->packed.find(name);
    if (described == nullptr) return kvant::fail(ErrorCode::missing_tensor, "no layer of that name", {{}, name, {}});
    const auto tier = kvant::kernels::active();
    if (!tier) return propagate(tier);
    kvant::SerialExecutor serial;
    auto linear = file->packed.layer(*described, kvant::Context(*tier->table, serial));
    if (!linear) return propagate(linear);
    std::string scheme = to_text(linear->scheme());
    *layer = new kvant_layer{std::move(*linear), tier->table, std::move(scheme)};
    return {};
  });
  return finish(opened, error);
}

void kvant_layer_close(kvant_layer* layer) { delete layer; }

size_t kvant_layer_inputs(const kvant_layer* layer) { return layer != nullptr ? layer->linear.in_features() : 0; }
size_t kvant_layer_outputs(const kvant_layer* layer) { return layer != nullptr ? layer->linear.out_features() : 0; }
const char* kvant_layer_scheme(const kvant_layer* layer) { return layer != nullptr ? layer->scheme.c_str() : ""; }

size_t kvant_scratch_bytes(const kvant_layer* layer, size_t rows) {
  return layer != nullptr ? layer->linear.scratch_bytes(rows) : 0;
}

kvant_product kvant_product_default(void) {
  kvant_product p = {};
  p.size = sizeof p;
  p.scale = 1.0f;
  return p;
}

kvant_status kvant_multiply(const kvant_layer* layer, const kvant_product* product, kvant_error* error) {
  if (layer == nullptr || product == nullptr) return finish(refuse("no layer, or no product"), error);
  return finish(kvant::guarded([&] { return multiply(*layer, *product); }), error);
}
