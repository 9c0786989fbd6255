// SPDX-License-Identifier: Apache-2.0
// Packed bytes that someone else holds: a layer reads them where they are, and a description that does not fit them is
// an error, never a read beyond.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "kvant/linear/linear.hpp"
#include "kvant/quant/encode.hpp"
#include "layers.hpp"

namespace kvant {
namespace {

class Borrowed : public ::testing::Test {
 protected:
  void pack_scheme(const char* text) {
    const QMatrix q = quantized(random_matrix(70, 136, 1).view(), text).weight;
    owned_ = *pack(q);
    bytes_ = owned_.bytes;
    lent_ = owned_;
    lent_.bytes = {};
  }
  [[nodiscard]] std::span<const unsigned char> bytes() const { return {bytes_.data(), bytes_.size()}; }

  PackedWeight owned_, lent_;
  AlignedBytes bytes_;
};

TEST_F(Borrowed, BytesAreReadWhereTheyAre) {
  for (const char* text : kSchemes) {
    pack_scheme(text);
    const auto layer = Linear::over(lent_, bytes());
    ASSERT_TRUE(layer) << text << ": " << describe(layer.error());
    EXPECT_EQ(layer->bytes().data(), bytes_.data());
    const Linear copy = *layer;
    EXPECT_EQ(copy.bytes().data(), bytes_.data());
    const Linear made = *Linear::from({unpack(owned_), {}});
    const Matrix<float> x = random_matrix(3, 136, 2);
    Matrix<float> a(3, 70), b(3, 70);
    ASSERT_TRUE(copy.multiply(x.view(), a.view()));
    ASSERT_TRUE(made.multiply(x.view(), b.view()));
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << text;
  }
}

TEST_F(Borrowed, ShapesAreCheckedBeforeAnythingIsRead) {
  const std::function<void(PackedWeight&)> kSlips[] = {
      [](PackedWeight& w) { w.shape.layout = static_cast<Layout>(200); },
      [](PackedWeight& w) { w.shape.layout = Layout::f32_p32; },
      [](PackedWeight& w) { w.shape.layout = Layout::w8_p64; },
      [](PackedWeight& w) { w.shape.n += 64; },
      [](PackedWeight& w) { w.shape.n = std::numeric_limits<std::uint64_t>::max(); },
      [](PackedWeight& w) { w.shape.n = std::uint64_t{1} << 40; },
      [](PackedWeight& w) { w.shape.k += 64; },
      [](PackedWeight& w) { w.shape.k = w.shape.inputs = std::uint64_t{1} << 39; },
      [](PackedWeight& w) { w.shape.inputs = w.shape.k + 1; },
      [](PackedWeight& w) { w.shape.inputs -= 1; },
      [](PackedWeight& w) { w.shape.group = 0; },
      [](PackedWeight& w) { w.shape.group = 4; },
      [](PackedWeight& w) { w.shape.panel_stride += 64; },
      [](PackedWeight& w) { w.shape.panel_stride = 0; },
      [](PackedWeight& w) { w.shape.scales_f32 = !w.shape.scales_f32; },
      [](PackedWeight& w) { w.shape.has_zeros = !w.shape.has_zeros; },
      [](PackedWeight& w) { w.shape.has_offsets = !w.shape.has_offsets; },
      [](PackedWeight& w) {
        w.outer_offsets.push_back({format_id<fp16>, 1, 1, {1}});
      },
      [](PackedWeight& w) { w.shape.code_step = 2; },
      [](PackedWeight& w) { w.shape.zero = 7; },
      [](PackedWeight& w) { w.shape.mantissa_bits = 3; },
      [](PackedWeight& w) { w.shape.level_unit = 2; },
      [](PackedWeight& w) { w.shape.levels[255] += 1; },
      [](PackedWeight& w) { w.columns.assign(w.shape.k, 136); },
      [](PackedWeight& w) { w.columns.assign(w.shape.k, kNoColumn); },
      [](PackedWeight& w) { w.columns.assign(w.shape.k - 1, 0); },
      [](PackedWeight& w) {
        w.outer_scales.push_back({format_id<fp32>, 1, 1, {1}});
      },
      [](PackedWeight& w) { w.scheme = *parse_scheme("int4-g64"); },
      [](PackedWeight& w) { w.scheme = *parse_scheme("nvfp4"); },
      [](PackedWeight& w) { w.scheme = {}; },
  };
  pack_scheme("int4-g32");
  ASSERT_TRUE(Linear::over(lent_, bytes()));
  for (std::size_t i = 0; i < std::size(kSlips); ++i) {
    PackedWeight wrong = lent_;
    kSlips[i](wrong);
    const auto layer = Linear::over(wrong, bytes());
    ASSERT_FALSE(layer) << i;
    EXPECT_EQ(layer.error().code, ErrorCode::bad_shape) << i;
  }
  EXPECT_EQ(Linear::over(lent_, bytes().first(bytes().size() - 1)).error().code, ErrorCode::bad_shape);
  EXPECT_EQ(Linear::over(lent_, {}).error().code, ErrorCode::bad_shape);
  EXPECT_EQ(Linear::over(lent_, bytes(), std::vector<float>(69)).error().code, ErrorCode::bad_shape);
  EXPECT_EQ(Linear::over(lent_, bytes(), {}, {{}, {.scale = 0}}).error().code, ErrorCode::usage);
  PackedWeight floats = pack_f32(random_matrix(70, 136, 1).view());
  floats.shape.has_zeros = true;
  EXPECT_EQ(Linear::over(floats, {floats.bytes.data(), floats.bytes.size()}).error().code, ErrorCode::bad_shape);
  AlignedBytes wider(bytes_.size() + 64);
  EXPECT_EQ(Linear::over(lent_, {wider.data() + 8, bytes_.size()}).error().code, ErrorCode::usage);
}

/// Any bytes will do: what they say is a number, and no kernel reads beyond them.
TEST_F(Borrowed, BytesMaySayAnything) {
  for (const char* text : kSchemes) {
    pack_scheme(text);
    for (std::size_t i = 0; i < bytes_.size(); ++i) bytes_.data()[i] = static_cast<unsigned char>(i * 37 + 11);
    const auto layer = Linear::over(lent_, bytes());
    ASSERT_TRUE(layer) << text;
    const Matrix<float> x = random_matrix(3, 136, 2);
    Matrix<float> y(3, 70);
    EXPECT_TRUE(layer->multiply(x.view(), y.view())) << text;
  }
}

TEST_F(Borrowed, RoomIsPackedIntoAsPlanned) {
  for (const char* text : kSchemes) {
    const QMatrix q = quantized(random_matrix(70, 136, 1).view(), text).weight;
    const auto shape = plan_packing(q);
    ASSERT_TRUE(shape) << text;
    AlignedBytes room(packed_bytes(*shape));
    std::memset(room.data(), 0xa5, room.size());
    pack_into(q, *shape, {room.data(), room.size()});
    const PackedWeight whole = *pack(q);
    ASSERT_EQ(room.size(), whole.bytes.size());
    EXPECT_EQ(std::memcmp(room.data(), whole.bytes.data(), room.size()), 0) << text;
  }
}

TEST(PackDeathTest, IntoRoomOfTheRightSizeAlone) {
  const QMatrix q = *quantize(random_matrix(70, 136, 1).view(), *parse_scheme("int4-g32"));
  AlignedBytes room(packed_bytes(*plan_packing(q)));
  EXPECT_DEATH(pack_into(q, *plan_packing(q), {room.data(), room.size() - 64}), "room for a packed matrix");
}

}  // namespace
}  // namespace kvant
