// SPDX-License-Identifier: Apache-2.0
#include "convert.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "kvant/core/contract.hpp"
#include "kvant/numeric/formats.hpp"

namespace kvant::io {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian, and bytes are copied as they are");

template <class Stored, class Decode>
void convert_each(std::span<const std::byte> in, std::span<float> out, Decode&& decode) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored x;
    std::memcpy(&x, in.data() + i * sizeof x, sizeof x);
    out[i] = decode(x);
  }
}

template <class Format>
constexpr std::array<float, 256> make_table() {
  std::array<float, 256> table{};
  for (unsigned i = 0; i < 256; ++i) table[i] = Format::decode(static_cast<std::uint8_t>(i));
  return table;
}

template <class Format>
constexpr std::array<float, 256> kTable = make_table<Format>();

}  // namespace

void convert_to_float(DType dtype, std::span<const std::byte> in, std::span<float> out) {
  expects(converts_to_float(dtype), "a dtype that converts to fp32");
  expects(in.size() == out.size() * (dtype_info(dtype).bits / 8), "as many bytes as elements take");
  switch (dtype) {
    case DType::f16:
      return convert_each<std::uint16_t>(in, out, &fp16::decode);
    case DType::bf16:
      return convert_each<std::uint16_t>(in, out, &bf16::decode);
    case DType::f8_e4m3:
      return convert_each<std::uint8_t>(in, out, [](std::uint8_t x) { return kTable<fp8_e4m3fn>[x]; });
    case DType::f8_e5m2:
      return convert_each<std::uint8_t>(in, out, [](std::uint8_t x) { return kTable<fp8_e5m2>[x]; });
    case DType::f64:
      return convert_each<double>(in, out, [](double x) { return static_cast<float>(x); });
    default:
      if (!out.empty()) std::memcpy(out.data(), in.data(), in.size());  // f32
  }
}

}  // namespace kvant::io
