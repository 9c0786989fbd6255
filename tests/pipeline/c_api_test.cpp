// SPDX-License-Identifier: Apache-2.0
// The C interface: the same numbers as the C++ one, from a file and from memory, with every refusal and no memory taken
// by a product.
#include "kvant/kvant.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "../io/test_files.hpp"
#include "../linear/layers.hpp"
#include "kvant/io/packed_file.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/linear/linear.hpp"
#include "support/guarded_buffer.hpp"

namespace kvant {
namespace {

using io::test::TemporaryFolder;

class CApi : public ::testing::Test {
 protected:
  void SetUp() override {
    std::vector<io::PackedLayer> layers;
    std::vector<PackedWeight> packed;
    for (const char* text : kSchemes) {
      const QLinear q = quantized(random_matrix(70, 136, layers.size()).view(), text, {0.02f, 0});
      names_.push_back(std::string(text) + ".weight");
      layers.push_back(*io::PackedLayer::of(names_.back(), q.weight, q.inputs, {}));
      packed.push_back(*pack(q.weight));
      linear_.push_back(*Linear::from(q, {}));
    }
    path_ = (folder_ / "layers.kvant").string();
    auto writer = io::PackedWriter::create(path_, layers, {}, io::OutputMode::replace);
    ASSERT_TRUE(writer);
    for (std::size_t i = 0; i < packed.size(); ++i) ASSERT_TRUE(writer->write(i, packed[i]));
    ASSERT_TRUE(writer->commit());
    ASSERT_EQ(kvant_open(path_.c_str(), &file_, &error_), KVANT_OK) << error_.message;
  }
  void TearDown() override { kvant_close(file_); }

  /// A product of 3 rows, with scratch against a guard page.
  kvant_product product(const Matrix<float>& x, Matrix<float>& y, const test::GuardedBuffer<unsigned char>& scratch,
                        std::size_t bytes) {
    kvant_product p = kvant_product_default();
    p.rows = x.rows();
    p.x = x.data();
    p.x_stride = x.cols();
    p.y = y.data();
    p.y_stride = y.cols();
    p.scratch = scratch.data();
    p.scratch_size = bytes;
    return p;
  }

  TemporaryFolder folder_;
  std::string path_;
  std::vector<std::string> names_;
  std::vector<Linear> linear_;
  kvant_file* file_ = nullptr;
  kvant_error error_ = {};
};

TEST_F(CApi, GivesWhatLinearGives) {
  ASSERT_EQ(kvant_layer_count(file_), linear_.size());
  EXPECT_EQ(kvant_layer_name(file_, linear_.size()), nullptr);
  EXPECT_EQ(kvant_verify(file_, &error_), KVANT_OK);
  const Matrix<float> x = random_matrix(3, 136, 99);
  for (std::size_t i = 0; i < linear_.size(); ++i) {
    ASSERT_EQ(kvant_layer_name(file_, i), names_[i]);
    kvant_layer* layer = nullptr;
    ASSERT_EQ(kvant_layer_open(file_, names_[i].c_str(), &layer, &error_), KVANT_OK) << error_.message;
    EXPECT_EQ(kvant_layer_inputs(layer), 136u);
    EXPECT_EQ(kvant_layer_outputs(layer), 70u);
    EXPECT_EQ(kvant_layer_scheme(layer), to_text(linear_[i].scheme()));
    const std::size_t bytes = kvant_scratch_bytes(layer, 3);
    ASSERT_EQ(bytes % 64, 0u);
    const test::GuardedBuffer<unsigned char> scratch(bytes, test::Edge::end);
    for (const bool floats : {false, true}) {
      Matrix<float> expected(3, 70), y(3, 70);
      ASSERT_TRUE(
          linear_[i].multiply(x.view(), expected.view(), {}, {}, floats ? Arithmetic::floats : Arithmetic::as_scheme));
      kvant_product p = product(x, y, scratch, bytes);
      p.float_inputs = floats ? 1 : 0;
      ASSERT_EQ(kvant_multiply(layer, &p, &error_), KVANT_OK) << names_[i] << ": " << error_.message;
      EXPECT_EQ(std::memcmp(y.data(), expected.data(), 3 * 70 * sizeof(float)), 0) << names_[i];
      EXPECT_EQ(error_.status, KVANT_OK);
    }
    kvant_layer_close(layer);
  }
}

TEST_F(CApi, ReadsAFileInMemory) {
  const std::string bytes = io::read_text_file(path_, 1u << 28).value();
  const test::GuardedBuffer<unsigned char> memory(std::vector<unsigned char>(bytes.begin(), bytes.end()),
                                                  test::Edge::start);
  kvant_file* file = nullptr;
  ASSERT_EQ(kvant_open_buffer(memory.data(), bytes.size(), &file, &error_), KVANT_OK) << error_.message;
  EXPECT_EQ(kvant_verify(file, nullptr), KVANT_OK);
  kvant_layer* layer = nullptr;
  ASSERT_EQ(kvant_layer_open(file, names_[0].c_str(), &layer, nullptr), KVANT_OK);
  kvant_layer_close(layer);
  kvant_close(file);
  EXPECT_NE(kvant_open_buffer(memory.data() + 8, bytes.size() - 8, &file, &error_), KVANT_OK);
  EXPECT_EQ(std::string(error_.name), "usage");
  EXPECT_EQ(file, nullptr);
  EXPECT_NE(kvant_open_buffer(memory.data(), bytes.size() - 1, &file, &error_), KVANT_OK);
}

TEST_F(CApi, WritesHalfsAndAccumulates) {
  kvant_layer* layer = nullptr;
  ASSERT_EQ(kvant_layer_open(file_, names_[0].c_str(), &layer, &error_), KVANT_OK);
  const Matrix<float> x = random_matrix(1, 136, 5);
  Matrix<std::uint16_t> halfs(1, 136), y(1, 80, 0);
  Matrix<float> wide(1, 136), expected(1, 70, 1.0f);
  for (std::size_t c = 0; c < 136; ++c) {
    halfs(0, c) = fp16::encode(x(0, c));
    wide(0, c) = fp16::decode(halfs(0, c));
  }
  for (std::size_t c = 0; c < 80; ++c) y(0, c) = bf16::encode(1.0f);
  ASSERT_TRUE(linear_[0].multiply(wide.view(), expected.view(), {}, {.scale = 0.25f, .accumulate = true}));
  const std::size_t bytes = kvant_scratch_bytes(layer, 1);
  const test::GuardedBuffer<unsigned char> scratch(bytes, test::Edge::end);
  kvant_product p = kvant_product_default();
  p.rows = 1;
  p.x = halfs.data();
  p.x_stride = 136;
  p.x_type = KVANT_F16;
  p.y = y.data();
  p.y_stride = 80;
  p.y_type = KVANT_BF16;
  p.scale = 0.25f;
  p.accumulate = 1;
  p.scratch = scratch.data();
  p.scratch_size = bytes;
  ASSERT_EQ(kvant_multiply(layer, &p, &error_), KVANT_OK) << error_.message;
  for (std::size_t c = 0; c < 70; ++c) EXPECT_EQ(y(0, c), bf16::encode(expected(0, c)));
  EXPECT_EQ(y(0, 70), bf16::encode(1.0f)) << "between rows";
  kvant_layer_close(layer);
}

TEST_F(CApi, RunsOnTheCallersThreads) {
  kvant_layer* layer = nullptr;
  ASSERT_EQ(kvant_layer_open(file_, names_[1].c_str(), &layer, &error_), KVANT_OK);
  const Matrix<float> x = random_matrix(3, 136, 6);
  Matrix<float> expected(3, 70), y(3, 70);
  ASSERT_TRUE(linear_[1].multiply(x.view(), expected.view()));
  std::size_t runs = 0;
  const kvant_executor backwards{
      &runs, 4, [](void* self, std::size_t count, void (*task)(void*, std::size_t, unsigned), void* context) {
        ++*static_cast<std::size_t*>(self);
        for (std::size_t i = count; i-- > 0;) task(context, i, static_cast<unsigned>(i % 4));
      }};
  const std::size_t bytes = kvant_scratch_bytes(layer, 3);
  const test::GuardedBuffer<unsigned char> scratch(bytes, test::Edge::end);
  kvant_product p = product(x, y, scratch, bytes);
  p.executor = &backwards;
  ASSERT_EQ(kvant_multiply(layer, &p, nullptr), KVANT_OK);
  EXPECT_EQ(std::memcmp(y.data(), expected.data(), 3 * 70 * sizeof(float)), 0);
  EXPECT_GT(runs, 0u);
  kvant_layer_close(layer);
}

TEST_F(CApi, RefusesWithAReason) {
  kvant_file* file = nullptr;
  kvant_layer* layer = nullptr;
  EXPECT_NE(kvant_open((folder_ / "nothing").c_str(), &file, &error_), KVANT_OK);
  EXPECT_EQ(std::string(error_.name), "not_found");
  EXPECT_EQ(error_.status, error_info(ErrorCode::not_found).exit_code);
  EXPECT_NE(std::string(error_.message).find("nothing"), std::string::npos);
  EXPECT_NE(kvant_open(nullptr, &file, &error_), KVANT_OK);
  EXPECT_NE(kvant_open(path_.c_str(), nullptr, nullptr), KVANT_OK);
  EXPECT_NE(kvant_layer_open(file_, "no such layer", &layer, &error_), KVANT_OK);
  EXPECT_EQ(std::string(error_.name), "missing_tensor");
  EXPECT_EQ(layer, nullptr);
  kvant_close(nullptr);
  kvant_layer_close(nullptr);
  ASSERT_EQ(kvant_layer_open(file_, names_[0].c_str(), &layer, &error_), KVANT_OK);
  EXPECT_EQ(kvant_scratch_bytes(layer, std::numeric_limits<std::size_t>::max() / 2), SIZE_MAX);
  const Matrix<float> x = random_matrix(2, 136, 6);
  Matrix<float> y(2, 70, 7.0f);
  const std::size_t bytes = kvant_scratch_bytes(layer, 2);
  const test::GuardedBuffer<unsigned char> scratch(bytes, test::Edge::end);
  const kvant_product good = product(x, y, scratch, bytes);
  const auto refused = [&](auto change) {
    kvant_product p = good;
    change(p);
    EXPECT_NE(kvant_multiply(layer, &p, &error_), KVANT_OK);
    EXPECT_EQ(y(0, 0), 7.0f) << error_.message;
    return std::string(error_.name);
  };
  EXPECT_EQ(refused([](kvant_product& p) { p.size = 8; }), "usage");
  EXPECT_EQ(refused([](kvant_product& p) { p.x = nullptr; }), "usage");
  EXPECT_EQ(refused([](kvant_product& p) { p.y = nullptr; }), "usage");
  EXPECT_EQ(refused([](kvant_product& p) { p.x_type = static_cast<kvant_type>(3); }), "usage");
  EXPECT_EQ(refused([](kvant_product& p) { p.x_stride = 135; }), "bad_shape");
  EXPECT_EQ(refused([](kvant_product& p) { p.y_stride = 69; }), "bad_shape");
  EXPECT_EQ(refused([](kvant_product& p) { p.scratch_size -= 1; }), "usage");
  EXPECT_EQ(refused([](kvant_product& p) { p.scratch = nullptr; }), "usage");
  EXPECT_EQ(refused([](kvant_product& p) { p.scratch = static_cast<char*>(p.scratch) + 1; }), "usage");
  EXPECT_EQ(refused([](kvant_product& p) { p.rows = std::numeric_limits<std::size_t>::max() / 8; }), "usage");
  EXPECT_EQ(refused([](kvant_product& p) {
              static const kvant_executor nobody{nullptr, 1, nullptr};
              p.executor = &nobody;
            }),
            "usage");
  kvant_product none = good;
  none.rows = 0;
  none.x = none.y = nullptr;
  EXPECT_EQ(kvant_multiply(layer, &none, &error_), KVANT_OK);
  kvant_layer_close(layer);
}

TEST(CApiVersion, IsTheProjects) {
  EXPECT_EQ(std::string(kvant_version()).find_first_not_of("0123456789."), std::string::npos);
}

}  // namespace
}  // namespace kvant
