// SPDX-License-Identifier: Apache-2.0
// The node tests that ONNX ships, as Debian packages them (libonnx-testdata, ONNX 1.12): Cast between floats under the
// profile `onnx`, QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear. Skipped where the package is missing.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "kvant/numeric/profile.hpp"
#include "kvant/quant/encode.hpp"

namespace {

/// A TensorProto whose numbers are in raw_data, which all of these files are.
struct Tensor {
  std::vector<std::uint64_t> dims;
  int type = 0;  // 1 float, 2 uint8, 10 float16, 11 double, 16 bfloat16
  std::string raw;

  [[nodiscard]] std::size_t size() const {
    std::size_t n = 1;
    for (const std::uint64_t d : dims) n *= static_cast<std::size_t>(d);
    return n;
  }
  template <class T>
  [[nodiscard]] T at(std::size_t i) const {
    T x;
    std::memcpy(&x, raw.data() + i * sizeof x, sizeof x);
    return x;
  }
};

/// Protobuf, as far as it goes here: varints and length-delimited fields.
Tensor parse(const std::string& bytes) {
  Tensor t;
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.at(at++));
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.size()) {
    const std::uint64_t key = varint();
    const std::uint64_t field = key >> 3;
    if ((key & 7) == 0) {
      const std::uint64_t value = varint();
      if (field == 1) t.dims.push_back(value);
      if (field == 2) t.type = static_cast<int>(value);
      continue;
    }
    EXPECT_EQ(key & 7, 2u);
    const auto length = static_cast<std::size_t>(varint());
    if (field == 9) t.raw = bytes.substr(at, length);
    at += length;
  }
  return t;
}

const std::filesystem::path kNodes = "/usr/share/libonnx-testdata/data/node";

class OnnxVectors : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kNodes)) GTEST_SKIP() << "libonnx-testdata is not installed";
  }
  static Tensor load(const std::string& test, const char* name) {
    std::ifstream file(kNodes / ("test_" + test) / "test_data_set_0" / (std::string(name) + ".pb"), std::ios::binary);
    EXPECT_TRUE(file) << test << " " << name;
    return parse({std::istreambuf_iterator<char>(file), {}});
  }

  static void check_cast(const std::string& test, kvant::FormatId format, const kvant::CastRule& rule) {
    const Tensor in = load(test, "input_0");
    const Tensor out = load(test, "output_0");
    ASSERT_GT(in.size(), 1u);
    for (std::size_t i = 0; i < in.size(); ++i) {
      const float x = in.type == 11 ? static_cast<float>(in.at<double>(i)) : in.at<float>(i);
      EXPECT_EQ(kvant::cast(format, x, rule), out.at<std::uint16_t>(i)) << test << " " << x;
    }
  }
  static void check_decode(const std::string& test, kvant::FormatId format) {
    const Tensor in = load(test, "input_0");
    const Tensor out = load(test, "output_0");
    for (std::size_t i = 0; i < in.size(); ++i) {
      const float got = kvant::decode(format, in.at<std::uint16_t>(i), kvant::Profile::onnx);
      const float expected = out.type == 11 ? static_cast<float>(out.at<double>(i)) : out.at<float>(i);
      EXPECT_TRUE(got == expected || (kvant::is_nan(got) && kvant::is_nan(expected))) << test << " " << i;
    }
  }
};

constexpr kvant::CastRule kOnnx{kvant::Profile::onnx, kvant::Overflow::ieee, std::nullopt};

TEST_F(OnnxVectors, CastToFloat16) {
  check_cast("cast_FLOAT_to_FLOAT16", kvant::format_id<kvant::fp16>, kOnnx);
  check_cast("cast_DOUBLE_to_FLOAT16", kvant::format_id<kvant::fp16>, kOnnx);
}

TEST_F(OnnxVectors, CastToBfloat16WhichOnnx112MadeByCuttingBitsOff) {
  kvant::CastRule cut = kOnnx;
  cut.rounding = kvant::Rounding::toward_zero;
  check_cast("cast_FLOAT_to_BFLOAT16", kvant::format_id<kvant::bf16>, cut);
}

TEST_F(OnnxVectors, CastFrom16Bits) {
  check_decode("cast_FLOAT16_to_FLOAT", kvant::format_id<kvant::fp16>);
  check_decode("cast_FLOAT16_to_DOUBLE", kvant::format_id<kvant::fp16>);
  check_decode("cast_BFLOAT16_to_FLOAT", kvant::format_id<kvant::bf16>);
}

const kvant::Grid& uint8_grid() {
  static const kvant::Grid grid(*kvant::parse_scheme("uint8-channel-asym-scale:fp32"));
  return grid;
}

/// The index of the scale of element i, where scales go along axis 1.
std::size_t channel_of(const Tensor& x, const Tensor& scale, std::size_t i) {
  if (scale.size() == 1) return 0;
  std::size_t inner = 1;
  for (std::size_t d = 2; d < x.dims.size(); ++d) inner *= static_cast<std::size_t>(x.dims[d]);
  return i / inner % scale.size();
}

TEST_F(OnnxVectors, QuantizeLinear) {
  for (const char* test : {"quantizelinear", "quantizelinear_axis"}) {
    const Tensor x = load(test, "input_0");
    const Tensor scale = load(test, "input_1");
    const Tensor zero = load(test, "input_2");
    const Tensor y = load(test, "output_0");
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t c = channel_of(x, scale, i);
      const float value = x.at<float>(i);
      std::uint8_t code = 0;
      uint8_grid().encode({&value, 1}, {scale.at<float>(c), zero.at<std::uint8_t>(c)}, {&code, 1});
      EXPECT_EQ(code, y.at<std::uint8_t>(i)) << test << " " << i;
    }
  }
}

TEST_F(OnnxVectors, DequantizeLinear) {
  for (const char* test : {"dequantizelinear", "dequantizelinear_axis"}) {
    const Tensor x = load(test, "input_0");
    const Tensor scale = load(test, "input_1");
    const Tensor zero = load(test, "input_2");
    const Tensor y = load(test, "output_0");
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t c = channel_of(x, scale, i);
      EXPECT_EQ(uint8_grid().decode(x.at<std::uint8_t>(i), {scale.at<float>(c), zero.at<std::uint8_t>(c)}),
                y.at<float>(i))
          << test << " " << i;
    }
  }
}

TEST_F(OnnxVectors, DynamicQuantizeLinearIsThePlainAsymmetricScheme) {
  for (const char* test :
       {"dynamicquantizelinear", "dynamicquantizelinear_max_adjusted", "dynamicquantizelinear_min_adjusted"}) {
    const Tensor x = load(test, "input_0");
    std::vector<float> values(x.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = x.at<float>(i);
    const auto q = kvant::quantize({values.data(), 1, values.size()}, uint8_grid().scheme());
    ASSERT_TRUE(q);
    EXPECT_FLOAT_EQ(q->scales[0].values[0], load(test, "output_1").at<float>(0)) << test;
    EXPECT_EQ(q->zero_points[0], load(test, "output_2").at<std::uint8_t>(0)) << test;
    const Tensor y = load(test, "output_0");
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(q->codes[i], y.at<std::uint8_t>(i)) << test << " " << i;
  }
}

}  // namespace
