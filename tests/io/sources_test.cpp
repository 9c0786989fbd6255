// SPDX-License-Identifier: Apache-2.0
// The seam of files: a source of a program's own, the rows of formats, and weights where they are mapped.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../reference/weights.hpp"
#include "kvant/io/readers.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/tensor/stack.hpp"
#include "test_files.hpp"

namespace kvant::io {
namespace {

using test::code_of;
using test::TemporaryFolder;

/// A matrix of floats and one of codes, in memory.
class Toy final : public WeightSource {
 public:
  Toy() {
    info_.container = "toy";
    info_.files = {"toy"};
    codes_ = quantize(floats_.view(), *parse_scheme("int4-g32")).value();
    list_ = {{"a.weight", {4, 32}, DType::f32, std::nullopt, 512}, {"b.weight", {4, 32}, DType::u8, codes_.scheme, 72}};
  }
  [[nodiscard]] const SourceInfo& info() const noexcept override { return info_; }
  [[nodiscard]] const std::vector<WeightInfo>& list() const noexcept override { return list_; }
  [[nodiscard]] Result<QMatrix> read_quantized(const WeightInfo&) const override { return codes_; }
  [[nodiscard]] LayerInputs layer_inputs(const WeightInfo&) const override { return {}; }
  [[nodiscard]] Result<Matrix<float>> read_rows(const WeightInfo&, std::uint64_t first,
                                                std::uint64_t rows) const override {
    Matrix<float> out(rows, 32);
    for (std::size_t r = 0; r < rows; ++r) std::ranges::copy(floats_.row(first + r), out.row(r).begin());
    return out;
  }
  [[nodiscard]] Status read_bytes(const WeightInfo&, std::uint64_t first, std::span<std::byte> out) const override {
    std::memcpy(out.data(), reinterpret_cast<const char*>(floats_.data()) + first, out.size());
    return {};
  }
  [[nodiscard]] std::span<const std::byte> mapped(const WeightInfo&) const noexcept override { return {}; }

  Matrix<float> floats_ = reference::normal_matrix(4, 32, 1);
  QMatrix codes_;
  SourceInfo info_;
  std::vector<WeightInfo> list_;
};

TEST(Sources, OfAProgramsOwnAreWeights) {
  auto toy = std::make_unique<Toy>();
  const Matrix<float> floats = toy->floats_, decoded = dequantize(toy->codes_);
  const Weights weights(std::move(toy));
  ASSERT_NE(weights.find("b.weight"), nullptr);
  EXPECT_EQ(weights.find("c.weight"), nullptr);
  const auto a = weights.read_float(*weights.find("a.weight")), b = weights.read_float(*weights.find("b.weight"));
  ASSERT_TRUE(a && b);
  EXPECT_EQ(std::memcmp(a->data(), floats.data(), 512), 0);
  EXPECT_EQ(std::memcmp(b->data(), decoded.data(), 512), 0);
  // No row of kReaders is called so, so nothing is written in its form.
  EXPECT_EQ(code_of(weights.make_sink({})), "unsupported");
}

TEST(Sources, RowsSayWhatTheyAre) {
  for (const FileFormat& f : kReaders) {
    EXPECT_EQ(file_format(f.name), &f);
    EXPECT_FALSE(f.what.empty());
    EXPECT_TRUE(f.reads || f.writes);
    EXPECT_TRUE(f.make_sink == nullptr || f.writes) << f.name;
    EXPECT_TRUE(f.open == nullptr || f.reads) << f.name;
  }
  EXPECT_EQ(file_format("GGUF"), nullptr);
}

TEST(Sources, AreMappedWhereTheirFileIs) {
  const TemporaryFolder folder;
  const Matrix<float> w = reference::normal_matrix(3, 8, 2);
  auto writer = SafetensorsWriter::create(folder / "w.safetensors", {{"w", DType::f32, {3, 8}}, {"z", DType::u8, {0}}},
                                          {}, OutputMode::refuse);
  ASSERT_TRUE(writer && writer->write("w", 0, std::as_bytes(std::span(w.data(), w.size()))) && writer->commit());
  const auto mapped = Weights::open(folder / "w.safetensors", Access::mmap),
             read = Weights::open(folder / "w.safetensors");
  ASSERT_TRUE(mapped && read);
  EXPECT_EQ(mapped->info().container, "safetensors");
  const auto bytes = mapped->mapped(*mapped->find("w"));
  ASSERT_EQ(bytes.size(), 96u);
  EXPECT_EQ(std::memcmp(bytes.data(), w.data(), 96), 0);
  EXPECT_EQ(mapped->mapped(*mapped->find("w")).data(), bytes.data()) << "the file's own bytes";
  EXPECT_TRUE(mapped->mapped(*mapped->find("z")).empty());
  EXPECT_TRUE(read->mapped(*read->find("w")).empty());
}

TEST(Sources, FilesWithoutWeightsAreRefused) {
  const TemporaryFolder folder;
  folder.write("x.npy", std::string("\x93NUMPY\x01\0v\0{'descr'", 17));
  EXPECT_FALSE(Weights::open(folder / "x.npy"));
  EXPECT_EQ(code_of(Weights::open(folder / "nothing")), "not_found");
  EXPECT_EQ(code_of(Weights::open(folder / ".")), "no_model");
}

/// A file whose configuration names a codebook, in words that are to be one.
std::string with_codebook(const TemporaryFolder& folder, const std::string& text, const std::string& codebooks) {
  const std::string config = R"({"quant_method": "kvant", "version": 3, "tensors": {"x.weight": ")" + text +
                             R"("}, "codebooks": )" + codebooks + "}";
  const std::string path = (folder / "x.safetensors").string();
  auto writer = SafetensorsWriter::create(path,
                                          {{"x.weight_packed", DType::u8, {2, 4}},
                                           {"x.weight_scale", DType::f16, {2, 1}},
                                           {"x.weight_shape", DType::i64, {2}}},
                                          {{"quantization_config", config}}, OutputMode::replace);
  const std::array<std::uint8_t, 8> codes{0x10, 0x32, 0x54, 0x76, 0x01, 0x23, 0x45, 0x67};
  const std::array<std::uint16_t, 2> scales{0x3c00, 0x4000};
  const std::array<std::uint64_t, 2> shape{2, 8};
  EXPECT_TRUE(writer && writer->write("x.weight_packed", 0, std::as_bytes(std::span(codes))) &&
              writer->write("x.weight_scale", 0, std::as_bytes(std::span(scales))) &&
              writer->write("x.weight_shape", 0, std::as_bytes(std::span(shape))) && writer->commit());
  return path;
}

TEST(Sources, ReadCodebooksThatAreStored) {
  const TemporaryFolder folder;
  const std::string levels = "[-2, -1.5, -1, 0, 0.25, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]";
  const auto weights = Weights::open(with_codebook(folder, "custom:mine-channel", "{\"mine\": " + levels + "}"));
  ASSERT_TRUE(weights) << describe(weights.error());
  const auto x = weights->read_float(*weights->find("x.weight"));
  ASSERT_TRUE(x);
  EXPECT_EQ((*x)(0, 0), -2.0f);
  EXPECT_EQ((*x)(0, 7), 4.0f);
  EXPECT_EQ((*x)(1, 1), -4.0f);
  struct Bad {
    const char *text, *codebooks;
  };
  for (const Bad& bad :
       {Bad{"custom:other-channel", "{\"mine\": [0, 1]}"}, Bad{"custom:-channel", "{\"mine\": [0, 1]}"},
        Bad{"custom:mine", "{\"mine\": [0, 1]}"}, Bad{"custom:mine-channel-asym", "{\"mine\": [0, 1]}"},
        Bad{"custom:mine-channel", "{\"mine\": [1]}"}, Bad{"custom:mine-channel", "{\"mine\": [1, 0]}"},
        Bad{"custom:mine-channel", "{\"mine\": [0, 0.1]}"}, Bad{"custom:mine-channel", "{\"mine\": [0, \"1\"]}"},
        Bad{"custom:mine-channel", "{\"mine\": [0, 1e300]}"}, Bad{"custom:mine-channel", "{\"mine\": {}}"},
        Bad{"custom:mine-channel", "[]"}, Bad{"custom:Mine-channel", "{\"Mine\": [0, 1]}"}}) {
    const auto refused = Weights::open(with_codebook(folder, bad.text, bad.codebooks));
    EXPECT_EQ(code_of(refused), "bad_config") << bad.text << " " << bad.codebooks;
  }
  // Codes beyond the levels are none.
  const auto beyond =
      Weights::open(with_codebook(folder, "custom:mine-channel", "{\"mine\": [-1, 0, 1, 2, 3, 4, 5, 6, 7]}"));
  ASSERT_TRUE(beyond) << describe(beyond.error());
  EXPECT_TRUE(beyond->read_float(*beyond->find("x.weight"))) << "codes are 0 to 7";
  const std::string path = (folder / "x.safetensors").string();
  std::string bytes = read_text_file(path, 1u << 20).value();
  const std::size_t codes = bytes.find("\x10\x32\x54\x76");
  ASSERT_NE(codes, std::string::npos);
  bytes[codes + 1] = '\x9a';  // 10 and 9
  folder.write("x.safetensors", bytes);
  const auto wrong = Weights::open(path);
  ASSERT_TRUE(wrong);
  EXPECT_EQ(code_of(wrong->read_float(*wrong->find("x.weight"))), "bad_metadata");
}

/// A file of 4 x 2 codes whose configuration says more about them.
std::string with_stacks(const TemporaryFolder& folder, const std::string& more) {
  const std::string config =
      R"({"quant_method": "kvant", "version": 4, "tensors": {"x.weight": "int8-channel"}, )" + more + "}";
  const std::string path = (folder / "x.safetensors").string();
  auto writer = SafetensorsWriter::create(path,
                                          {{"x.weight_packed", DType::u8, {4, 2}},
                                           {"x.weight_scale", DType::f16, {4, 1}},
                                           {"x.weight_shape", DType::i64, {2}}},
                                          {{"quantization_config", config}}, OutputMode::replace);
  const std::array<std::uint8_t, 8> codes{1, 2, 3, 4, 5, 6, 7, 8};
  const std::array<std::uint16_t, 4> scales{0x3c00, 0x3c00, 0x3c00, 0x4000};
  const std::array<std::uint64_t, 2> shape{4, 2};
  EXPECT_TRUE(writer && writer->write("x.weight_packed", 0, std::as_bytes(std::span(codes))) &&
              writer->write("x.weight_scale", 0, std::as_bytes(std::span(scales))) &&
              writer->write("x.weight_shape", 0, std::as_bytes(std::span(shape))) && writer->commit());
  return path;
}

TEST(Sources, ReadStacksOfMatrices) {
  const TemporaryFolder folder;
  struct Good {
    const char* more;
    std::vector<std::uint64_t> shape;
    std::vector<float> values;
  };
  for (const Good& good :
       {Good{R"("stacks": {})", {4, 2}, {1, 2, 3, 4, 5, 6, 14, 16}},
        Good{R"("stacks": {"x.weight": 2})", {2, 2, 2}, {1, 2, 3, 4, 5, 6, 14, 16}},
        Good{R"("stacks": {"x.weight": 1})", {1, 4, 2}, {1, 2, 3, 4, 5, 6, 14, 16}},
        Good{R"("stacks": {"x.weight": 2}, "transposed": ["x.weight"])", {2, 2, 2}, {1, 3, 2, 4, 5, 14, 6, 16}},
        Good{R"("stacks": {"x.weight": 1}, "transposed": ["x.weight"])", {1, 2, 4}, {1, 3, 5, 14, 2, 4, 6, 16}}}) {
    const auto weights = Weights::open(with_stacks(folder, good.more));
    ASSERT_TRUE(weights) << describe(weights.error());
    const WeightInfo& w = *weights->find("x.weight");
    EXPECT_EQ(w.shape, good.shape) << good.more;
    EXPECT_EQ(w.code_shape().rows, 4u);
    EXPECT_EQ(w.code_shape().cols, 2u);
    const auto values = weights->read_float(w);
    ASSERT_TRUE(values);
    EXPECT_EQ(values->rows(), w.rows());
    EXPECT_EQ(std::vector<float>(values->data(), values->data() + values->size()), good.values) << good.more;
  }
  for (const char* bad :
       {R"("stacks": [])", R"("stacks": 2)", R"("stacks": {"y.weight": 2})", R"("stacks": {"x.weight": 0})",
        R"("stacks": {"x.weight": -1})", R"("stacks": {"x.weight": "2"})", R"("stacks": {"x.weight": 1e300})"})
    EXPECT_EQ(code_of(Weights::open(with_stacks(folder, bad))), "bad_config") << bad;
  for (const char* bad : {R"("stacks": {"x.weight": 3})", R"("stacks": {"x.weight": 18446744073709551615})"})
    EXPECT_EQ(code_of(Weights::open(with_stacks(folder, bad))), "bad_metadata") << bad;
}

TEST(Sources, WriteStacksMatrixByMatrix) {
  const TemporaryFolder folder;
  folder.write("in.safetensors",
               test::safetensors_bytes(R"({"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", ""));
  const auto in = Weights::open(folder / "in.safetensors");
  ASSERT_TRUE(in);
  const Matrix<float> floats = reference::normal_matrix(3 * 40, 256, 5);
  for (const char* text :
       {"int8-channel", "int4-g32-asym", "int3-g7", "int4-b8x32", "nf4-g64", "mxfp4", "q4_k", "is4"}) {
    for (const bool transposed : {false, true}) {
      const Scheme scheme = *parse_scheme(text);
      const QuantizedWeight weight{"experts", {scheme, {}}, 120, 256, transposed, 3};
      OutputPlan plan;
      plan.weights = {{weight.name, DType::f32, {}, weight, 0}};
      auto sink = in->make_sink(std::move(plan));
      ASSERT_TRUE(sink && (*sink)->open(folder / "out.safetensors", OutputMode::replace) && (*sink)->begin_file(0));
      EXPECT_EQ((*sink)->convention(), "kvant");
      for (std::size_t first : {0u, 40u, 80u})
        ASSERT_TRUE((*sink)->write_rows(weight, first, *quantize(floats.view().rows(first, 40), scheme))) << text;
      ASSERT_TRUE((*sink)->finish_file() && (*sink)->commit());
      const auto out = Weights::open(folder / "out.safetensors");
      ASSERT_TRUE(out) << describe(out.error());
      const WeightInfo& w = *out->find("experts");
      EXPECT_EQ(w.shape,
                (transposed ? std::vector<std::uint64_t>{3, 256, 40} : std::vector<std::uint64_t>{3, 40, 256}));
      const auto q = out->read_quantized(w);
      ASSERT_TRUE(q) << describe(q.error());
      const QMatrix expected = *quantize(floats.view(), scheme);
      EXPECT_EQ(q->codes, expected.codes) << text;
      const auto values = out->read_float(w);
      ASSERT_TRUE(values);
      const Matrix<float> decoded = dequantize(expected);
      const std::vector<float> turned = transpose_each(decoded.view(), 3);
      EXPECT_EQ(std::memcmp(values->data(), transposed ? turned.data() : decoded.data(), decoded.size() * 4), 0)
          << text;
    }
  }
}

}  // namespace
}  // namespace kvant::io
