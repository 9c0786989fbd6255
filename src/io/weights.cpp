// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/weights.hpp"

#include <algorithm>
#include <string_view>

#include "core/guard.hpp"
#include "kvant/io/readers.hpp"
#include "kvant/io/sniff.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/tensor/stack.hpp"

namespace kvant::io {
namespace {

/// The format of a folder's weights: where no row knows it, the first one says what is missing.
const FileFormat& format_of_folder(const std::filesystem::path& path) {
  for (const FileFormat& format : kReaders)
    if (format.recognizes_folder != nullptr && format.recognizes_folder(path)) return format;
  return kReaders.front();
}

Result<const FileFormat*> format_of(const std::filesystem::path& path) {
  if (std::error_code error; std::filesystem::is_directory(path, error)) return &format_of_folder(path);
  const auto file = InputFile::open(path);
  if (!file) return propagate(file);
  const auto format = sniff(*file);
  if (!format) return propagate(format);
  // Of what holds no weights, the first row says so.
  return (*format)->open != nullptr ? *format : &kReaders.front();
}

Result<Weights> open_weights(const std::filesystem::path& path, Access access, bool as_stored) {
  return guarded([&]() -> Result<Weights> {
    const auto format = format_of(path);
    if (!format) return propagate(format);
    auto source = (*format)->open(path, access, as_stored);
    if (!source) return propagate(source);
    return Weights(std::move(*source));
  });
}

}  // namespace

Result<Weights> Weights::open(const std::filesystem::path& path, Access access) {
  return open_weights(path, access, false);
}

Result<Weights> Weights::open_as_stored(const std::filesystem::path& path, Access access) {
  return open_weights(path, access, true);
}

std::vector<std::uint64_t> QuantizedWeight::shape() const {
  std::vector<std::uint64_t> shape{members != 0 ? rows / members : rows, cols};
  if (transposed) std::swap(shape[0], shape[1]);
  if (members != 0) shape.insert(shape.begin(), members);
  return shape;
}

MatrixShape WeightInfo::code_shape() const noexcept {
  MatrixShape codes = shape.size() == 3 ? MatrixShape{shape[1], shape[2]} : matrix_shape(shape);
  if (transposed) std::swap(codes.rows, codes.cols);
  if (shape.size() == 3) codes.rows *= shape[0];
  return codes;
}

const WeightInfo* Weights::find(std::string_view name) const noexcept {
  const auto it = std::lower_bound(list().begin(), list().end(), name,
                                   [](const WeightInfo& w, std::string_view n) { return w.name < n; });
  return it != list().end() && it->name == name ? &*it : nullptr;
}

Result<Matrix<float>> Weights::read_float(const WeightInfo& weight) const {
  if (!weight.scheme) return read_rows(weight, 0, weight.rows());
  const auto q = read_quantized(weight);
  if (!q) return propagate(q);
  return guarded([&]() -> Result<Matrix<float>> {
    const std::size_t members = weight.members();
    Matrix<float> values = dequantize(*q);
    if (members == 0) return weight.transposed ? transpose(values.view()) : std::move(values);
    std::vector<float> elements = weight.transposed ? transpose_each(std::as_const(values).view(), members)
                                                    : std::vector<float>(values.data(), values.data() + values.size());
    return Matrix<float>(weight.rows(), weight.cols(), std::move(elements));
  });
}

Result<std::unique_ptr<WeightSink>> Weights::make_sink(OutputPlan plan) const {
  const FileFormat* format = file_format(info().container);
  if (format == nullptr || format->make_sink == nullptr)
    return fail(ErrorCode::unsupported, "is a format that kvant does not write: " + info().container,
                {path_text(), {}, {}});
  return guarded([&] { return format->make_sink(*source_, std::move(plan)); });
}

}  // namespace kvant::io
