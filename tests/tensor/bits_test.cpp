// SPDX-License-Identifier: Apache-2.0
// Sub-byte packing against a bit-by-bit oracle.
#include "kvant/tensor/bits.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <vector>

#include "kvant/core/contract.hpp"

namespace {

using kvant::BitView;
using kvant::packed_bytes;

/// Bit b of code i is bit i * bits + b of the stream, whose bit k is bit k % 8 of byte k / 8.
std::vector<std::uint8_t> pack_by_bits(const std::vector<std::uint8_t>& codes, unsigned bits) {
  std::vector<bool> stream;
  for (const std::uint8_t code : codes)
    for (unsigned b = 0; b < bits; ++b) stream.push_back((code >> b & 1) != 0);
  while (stream.size() % 8 != 0) stream.push_back(false);
  std::vector<std::uint8_t> bytes(stream.size() / 8);
  for (std::size_t k = 0; k < stream.size(); ++k)
    if (stream[k]) bytes[k / 8] = static_cast<std::uint8_t>(bytes[k / 8] | 1u << k % 8);
  return bytes;
}

std::vector<std::uint8_t> random_codes(std::size_t count, unsigned bits, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<std::uint8_t> codes(count);
  for (std::uint8_t& c : codes) c = static_cast<std::uint8_t>(engine() & ((1u << bits) - 1u));
  return codes;
}

TEST(PackedBytes, IsTheCeilingOfTheBits) {
  for (unsigned bits = 1; bits <= 8; ++bits)
    for (std::size_t count = 0; count < 100; ++count)
      EXPECT_EQ(packed_bytes(count, bits), (count * bits + 7) / 8) << count << " x " << bits;
  // Counts whose bits exceed 64 bits do not wrap.
  EXPECT_EQ(packed_bytes(SIZE_MAX, 8), SIZE_MAX);
  EXPECT_EQ(packed_bytes(SIZE_MAX - 7, 4), SIZE_MAX / 2 - 3);
  static_assert(packed_bytes(9, 3) == 4);
}

TEST(PackBits, EqualsBitByBitPackingForEveryWidthAndCount) {
  for (unsigned bits = 1; bits <= 8; ++bits) {
    for (std::size_t count = 0; count <= 41; ++count) {
      const auto codes = random_codes(count, bits, static_cast<std::uint32_t>(count * 8 + bits));
      std::vector<std::uint8_t> bytes(packed_bytes(count, bits), 0xff);  // what was there before must go
      kvant::pack_bits(codes, bits, bytes);
      ASSERT_EQ(bytes, pack_by_bits(codes, bits)) << count << " x " << bits;
      std::vector<std::uint8_t> back(count, 0xaa);
      kvant::unpack_bits(bytes, bits, back);
      ASSERT_EQ(back, codes) << count << " x " << bits;
    }
  }
}

TEST(PackBits, PutsTheFirstCodeInTheLowestBits) {
  std::vector<std::uint8_t> bytes(2);
  kvant::pack_bits(std::vector<std::uint8_t>{1, 2, 3}, 4, bytes);
  EXPECT_EQ(bytes, (std::vector<std::uint8_t>{0x21, 0x03}));
  kvant::pack_bits(std::vector<std::uint8_t>{5, 6, 7}, 3, bytes);
  EXPECT_EQ(bytes, (std::vector<std::uint8_t>{0xf5, 0x01}));
}

TEST(PackBits, DropsBitsAboveTheWidth) {
  std::vector<std::uint8_t> bytes(1);
  kvant::pack_bits(std::vector<std::uint8_t>{0xff, 0x00, 0xff, 0x00}, 2, bytes);
  EXPECT_EQ(bytes[0], 0x33);
}

TEST(BitView, SetChangesOneCodeOnly) {
  for (unsigned bits = 1; bits <= 8; ++bits) {
    constexpr std::size_t kCount = 19;
    for (std::size_t i = 0; i < kCount; ++i) {
      auto codes = random_codes(kCount, bits, 99 + bits);
      std::vector<std::uint8_t> bytes = pack_by_bits(codes, bits);
      const BitView<std::uint8_t> view(bytes, bits, kCount);
      codes[i] = static_cast<std::uint8_t>(~codes[i] & ((1u << bits) - 1u));
      view.set(i, codes[i]);
      ASSERT_EQ(bytes, pack_by_bits(codes, bits)) << "code " << i << " of " << bits << " bits";
      ASSERT_EQ(view[i], codes[i]);
    }
  }
}

TEST(BitView, ReadsNoByteBeyondTheLastOne) {
  // Exactly sized heap storage: a read beyond it is for the address sanitizer to see, a wrong bit for us.
  for (unsigned bits = 1; bits <= 8; ++bits)
    for (std::size_t count = 1; count <= 17; ++count) {
      const auto codes = random_codes(count, bits, 7);
      const std::vector<std::uint8_t> bytes = pack_by_bits(codes, bits);
      const BitView<const std::uint8_t> view(bytes, bits, count);
      ASSERT_EQ(view.size(), count);
      ASSERT_EQ(view[count - 1], codes[count - 1]);
    }
}

void throwing_handler(const kvant::ContractViolation& v) { throw std::logic_error(v.text); }

TEST(BitView, RefusesOtherWidthsAndTooFewBytes) {
  const auto before = kvant::set_contract_handler(throwing_handler);
  std::vector<std::uint8_t> bytes(2);
  using View = BitView<std::uint8_t>;
  EXPECT_THROW(View(bytes, 0, 1), std::logic_error);
  EXPECT_THROW(View(bytes, 9, 1), std::logic_error);
  EXPECT_THROW(View(bytes, 4, 5), std::logic_error);
  EXPECT_NO_THROW(View(bytes, 4, 4));
  EXPECT_NO_THROW(View({}, 4, 0));
  kvant::set_contract_handler(before);
}

}  // namespace
