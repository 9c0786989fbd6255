// SPDX-License-Identifier: Apache-2.0
// Sub-byte views: codes of 1 to 8 bits side by side in bytes, the first one in the lowest bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kvant/core/contract.hpp"

namespace kvant {

/// Bytes that `count` codes of `bits` bits fill, the last byte padded with zero bits.
[[nodiscard]] constexpr std::size_t packed_bytes(std::size_t count, unsigned bits) noexcept {
  return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

/// A view of `count` codes of `bits` bits in a dense bit stream, least significant bit first.
template <class Byte>
class BitView {
 public:
  constexpr BitView(std::span<Byte> bytes, unsigned bits, std::size_t count)
      : bytes_(bytes), bits_(bits), count_(count) {
    expects(bits >= 1 && bits <= 8, "codes have 1 to 8 bits");
    expects(bytes.size() >= packed_bytes(count, bits), "the bytes hold all codes");
  }

  [[nodiscard]] constexpr std::size_t size() const noexcept { return count_; }

  [[nodiscard]] constexpr std::uint8_t operator[](std::size_t i) const {
    const std::size_t bit = i * bits_;
    unsigned word = bytes_[bit / 8];
    if (bit % 8 + bits_ > 8) word |= static_cast<unsigned>(bytes_[bit / 8 + 1]) << 8;
    return static_cast<std::uint8_t>((word >> bit % 8) & ((1u << bits_) - 1u));
  }

  constexpr void set(std::size_t i, std::uint8_t code) const {
    const std::size_t bit = i * bits_;
    const unsigned mask = ((1u << bits_) - 1u) << bit % 8;
    const unsigned value = static_cast<unsigned>(code) << bit % 8;
    bytes_[bit / 8] = static_cast<std::uint8_t>((bytes_[bit / 8] & ~mask) | (value & mask));
    if (bit % 8 + bits_ > 8)
      bytes_[bit / 8 + 1] = static_cast<std::uint8_t>((bytes_[bit / 8 + 1] & ~(mask >> 8)) | ((value & mask) >> 8));
  }

 private:
  std::span<Byte> bytes_;
  unsigned bits_;
  std::size_t count_;
};

/// One code per byte -> dense bits. `out` is overwritten, its padding bits are zero.
inline void pack_bits(std::span<const std::uint8_t> codes, unsigned bits, std::span<std::uint8_t> out) {
  for (std::uint8_t& byte : out) byte = 0;
  const BitView<std::uint8_t> view(out, bits, codes.size());
  for (std::size_t i = 0; i < codes.size(); ++i) view.set(i, codes[i]);
}

/// Dense bits -> one code per byte.
inline void unpack_bits(std::span<const std::uint8_t> bytes, unsigned bits, std::span<std::uint8_t> codes) {
  const BitView<const std::uint8_t> view(bytes, bits, codes.size());
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = view[i];
}

}  // namespace kvant
