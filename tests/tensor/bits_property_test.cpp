// SPDX-License-Identifier: Apache-2.0
// Packing round-trips for any codes of any width, with a shrinking search for a counterexample.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <vector>

#include "kvant/tensor/bits.hpp"

namespace {

TEST(BitsProperty, UnpackUndoesPack) {
  EXPECT_TRUE(rc::check("unpack(pack(codes)) == codes", [](const std::vector<std::uint8_t>& raw) {
    const auto bits = *rc::gen::inRange(1u, 9u);
    std::vector<std::uint8_t> codes(raw);
    for (std::uint8_t& c : codes) c = static_cast<std::uint8_t>(c & ((1u << bits) - 1u));
    std::vector<std::uint8_t> bytes(kvant::packed_bytes(codes.size(), bits));
    std::vector<std::uint8_t> back(codes.size());
    kvant::pack_bits(codes, bits, bytes);
    kvant::unpack_bits(bytes, bits, back);
    RC_ASSERT(back == codes);
  }));
}

}  // namespace
