// SPDX-License-Identifier: Apache-2.0
// Inputs that several layers read: no memory is taken by a product, forms are shared and never stale, 16-bit inputs and
// outputs, epilogues.
#include "kvant/linear/activations.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "../reference/executors.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/quant/encode.hpp"
#include "layers.hpp"

namespace {

std::atomic<std::size_t> allocations{0};

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  ++allocations;
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  return alignment <= alignof(std::max_align_t) ? std::malloc(size != 0 ? size : 1)
                                                : std::aligned_alloc(alignment, whole != 0 ? whole : alignment);
}
void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* p = allocate(size, alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

// Of the whole test program: they count what is asked for.
void* operator new(std::size_t n) { return allocate_or_throw(n, 1); }
void* operator new[](std::size_t n) { return allocate_or_throw(n, 1); }
void* operator new(std::size_t n, std::align_val_t a) { return allocate_or_throw(n, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return allocate_or_throw(n, static_cast<std::size_t>(a)); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return allocate(n, 1); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return allocate(n, 1); }
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }

namespace kvant {
namespace {

Linear layer_of(const char* scheme, std::size_t n, std::size_t k, std::uint64_t seed) {
  return *Linear::from(quantized(random_matrix(n, k, seed).view(), scheme, {.scale = 0.02f}));
}

bool same_bits(const Matrix<float>& a, const Matrix<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Activations, AreAllThatAProductTakesMemoryFor) {
  for (const char* text : kSchemes)
    for (const std::size_t k : {std::size_t{136}, std::size_t{256}}) {
      const Linear layer = layer_of(text, 70, k, 1);
      for (const std::size_t m : {std::size_t{1}, std::size_t{16}}) {
        const Matrix<float> x = random_matrix(m, k, 2);
        Matrix<float> y(m, 70);
        Activations rows;
        ASSERT_TRUE(layer.reserve(rows, 16));
        const std::size_t before = allocations;
        ASSERT_NE(before, 0u);
        rows.assign(x.view());
        const bool done = layer.multiply(rows, y.view()).has_value();
        EXPECT_EQ(allocations, before) << text << " m=" << m;
        EXPECT_TRUE(done);
      }
    }
}

// One Activations for layers of every scheme, in turns: each product as if the layer were alone.
TEST(Activations, ServeLayersOfAllSchemesInAnyOrder) {
  std::vector<Linear> layers;
  for (const char* text : kSchemes) layers.push_back(layer_of(text, 33, 136, layers.size()));
  Activations shared;
  for (const Linear& layer : layers) ASSERT_TRUE(layer.reserve(shared, 3));
  for (std::uint64_t turn = 0; turn < 3; ++turn) {
    const Matrix<float> x = random_matrix(3, 136, 100 + turn);
    shared.assign(x.view());
    for (std::size_t i = 0; i < 3 * layers.size(); ++i) {
      const std::size_t which = (i * (turn == 1 ? 17 : 1)) % layers.size();
      Matrix<float> alone(3, 33), among(3, 33);
      ASSERT_TRUE(layers[which].multiply(x.view(), alone.view()));
      ASSERT_TRUE(layers[which].multiply(shared, among.view()));
      ASSERT_TRUE(same_bits(alone, among)) << kSchemes[which];
    }
  }
}

// A call may take inputs as they are: then the layer is the one that does nothing to inputs.
TEST(Activations, AreTakenAsTheyAreWhereACallAsksForIt) {
  for (const char* scheme : {"int4-g32/int8-token", "int8-channel-asym/int8-token", "q4_k/int8-token",
                             "int4-g32/fp8_e4m3fn-token", "int4-g32-asym/int8-tensor-static"}) {
    const QLinear rounds = quantized(random_matrix(33, 96, 1).view(), scheme, {.scale = 0.02f});
    const Linear layer = *Linear::from(rounds), plain = *Linear::from({rounds.weight, {}});
    const Matrix<float> x = random_matrix(3, 96, 2);
    Matrix<float> a(3, 33), b(3, 33), rounded(3, 33);
    Activations shared;
    ASSERT_TRUE(layer.reserve(shared, 3));
    shared.assign(x.view());
    const std::size_t before = allocations;
    ASSERT_TRUE(layer.multiply(shared, rounded.view()));
    ASSERT_TRUE(layer.multiply(shared, a.view(), {}, {}, Arithmetic::floats));
    EXPECT_EQ(allocations, before) << scheme;
    ASSERT_TRUE(plain.multiply(x.view(), b.view()));
    EXPECT_TRUE(same_bits(a, b)) << scheme;
    EXPECT_FALSE(same_bits(a, rounded)) << scheme;
    EXPECT_FALSE(layer.runs_on_integers(Arithmetic::floats));
  }
}

// Layers that round the same rows otherwise, by parameters alone: no sum of the one is left for the other.
TEST(Activations, ServeLayersWithOtherStaticParameters) {
  const Matrix<float> w = random_matrix(33, 64, 1);
  const char* const scheme = "int4-g32-asym/int8-tensor-static";
  const Linear fine = *Linear::from(quantized(w.view(), scheme, {.scale = 0.02f}));
  const Linear coarse = *Linear::from(quantized(w.view(), scheme, {.scale = 0.5f}));
  const Matrix<float> x = random_matrix(2, 64, 2);
  Activations shared;
  ASSERT_TRUE(fine.reserve(shared, 2));
  shared.assign(x.view());
  for (const Linear* layer : {&fine, &coarse, &fine}) {
    Matrix<float> alone(2, 33), among(2, 33);
    ASSERT_TRUE(layer->multiply(x.view(), alone.view()));
    ASSERT_TRUE(layer->multiply(shared, among.view()));
    EXPECT_TRUE(same_bits(alone, among));
  }
}

TEST(Activations, HaveNoRoomOnceMovedFrom) {
  const Linear layer = layer_of("int4-g32-asym/int8-token", 5, 40, 1);
  const Matrix<float> x = random_matrix(1, 40, 2);
  Matrix<float> y(1, 5);
  Activations a;
  ASSERT_TRUE(layer.reserve(a, 1));
  Activations b = std::move(a);
  a.assign(x.view());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(layer.multiply(a, y.view()).error().code, ErrorCode::usage);
  ASSERT_TRUE(layer.reserve(a, 1));
  EXPECT_TRUE(layer.multiply(a, y.view()));
  b.assign(x.view());
  EXPECT_TRUE(layer.multiply(b, y.view()));
}

TEST(Activations, RefuseRowsThatNobodyMadeRoomFor) {
  for (const char* text : kSchemes) {
    const Linear layer = layer_of(text, 5, 40, 1);
    const Matrix<float> x = random_matrix(3, 40, 2);
    Matrix<float> y(3, 5);
    Activations rows;
    rows.assign(x.view());
    EXPECT_EQ(layer.multiply(rows, y.view()).error().code, ErrorCode::usage) << text;
    ASSERT_TRUE(layer.reserve(rows, 2));
    rows.assign(x.view());
    EXPECT_EQ(layer.multiply(rows, y.view()).error().code, ErrorCode::usage) << text;
    ASSERT_TRUE(layer.reserve(rows, 3));
    EXPECT_TRUE(layer.multiply(rows, y.view())) << text;
  }
  const Linear layer = layer_of("int4-g32-asym/int8-token", 5, 40, 1);
  Activations rows;
  for (const std::size_t many : {SIZE_MAX, SIZE_MAX / 64, std::size_t{1} << 56})
    EXPECT_EQ(layer.reserve(rows, many).error().code, ErrorCode::out_of_memory) << many;
}

TEST(Activations, TakeSixteenBitInputs) {
  for (const FormatId format : {format_id<bf16>, format_id<fp16>})
    for (const char* text : {"int4-g32", "int4-g32-asym", "int8-channel/int8-token", "int4-g12", "mxfp4/mxfp4"}) {
      const Linear layer = layer_of(text, 33, 136, 1);
      Matrix<std::uint16_t> half(3, 136);
      Matrix<float> wide = random_matrix(3, 136, 2);
      for (std::size_t i = 0; i < wide.size(); ++i) {
        half.data()[i] = static_cast<std::uint16_t>(format_info(format).encode(wide.data()[i]));
        wide.data()[i] = format_info(format).decode(half.data()[i]);
      }
      Matrix<float> expected(3, 33), y(3, 33);
      ASSERT_TRUE(layer.multiply(wide.view(), expected.view()));
      ASSERT_TRUE(layer.multiply(InputRows(half.view(), format), y.view()));
      EXPECT_TRUE(same_bits(y, expected)) << text;
    }
}

TEST(Linear, TakesSixteenBitWeightsAsTheyAre) {
  for (const FormatId format : {format_id<bf16>, format_id<fp16>}) {
    Matrix<std::uint16_t> half(33, 40);
    Matrix<float> wide = random_matrix(33, 40, 2);
    for (std::size_t i = 0; i < wide.size(); ++i) {
      half.data()[i] = static_cast<std::uint16_t>(format_info(format).encode(wide.data()[i]));
      wide.data()[i] = format_info(format).decode(half.data()[i]);
    }
    const Linear layer = Linear::from_float(half.view(), format);
    EXPECT_EQ(layer.scheme().weight.format, format == format_id<bf16> ? format_id<bf16> : format_id<fp32>);
    const Linear expected = Linear::from_float(wide.view(), layer.scheme().weight.format);
    ASSERT_EQ(layer.bytes().size(), expected.bytes().size());
    EXPECT_EQ(std::memcmp(layer.bytes().data(), expected.bytes().data(), layer.bytes().size()), 0);
  }
}

TEST(Linear, ScalesAddsAndRoundsOutputs) {
  const Linear layer = layer_of("int4-g32", 33, 136, 1);
  const Matrix<float> x = random_matrix(2, 136, 2);
  Matrix<float> plain(2, 33), y(2, 33, 0.5f);
  ASSERT_TRUE(layer.multiply(x.view(), plain.view()));
  ASSERT_TRUE(layer.multiply(x.view(), y.view(), {}, {.scale = 3.0f, .accumulate = true}));
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y.data()[i], 0.5f + plain.data()[i] * 3.0f);
  for (const FormatId format : {format_id<bf16>, format_id<fp16>}) {
    Matrix<std::uint16_t> half(2, 33);
    ASSERT_TRUE(layer.multiply(x.view(), OutputRows(half.view(), format)));
    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(half.data()[i], format_info(format).encode(plain.data()[i]));
  }
}

// Few outputs and many rows: tasks are blocks of rows too, and every scheme's inputs are cut where they should be.
TEST(Linear, GivesTheSameBitsWhereRowsAreSplit) {
  reference::ThreadedExecutor threads(8);
  const Context context(kernels::generic::kTable, threads);
  for (const char* text : kSchemes) {
    const Linear layer = layer_of(text, 40, 72, 1);
    const Matrix<float> x = random_matrix(67, 72, 2);
    Matrix<float> one(67, 40), many(67, 40);
    ASSERT_TRUE(layer.multiply(x.view(), one.view()));
    ASSERT_TRUE(layer.multiply(x.view(), many.view(), context));
    EXPECT_TRUE(same_bits(one, many)) << text;
  }
}

class Counted final : public Executor {
 public:
  [[nodiscard]] unsigned concurrency() const noexcept override { return 16; }
  void run(std::size_t count, Task task, void* context) noexcept override {
    most = std::max(most, count);
    for (std::size_t i = 0; i < count; ++i) task(context, i, 0);
  }
  std::size_t most = 0;
};

TEST(Linear, KeepsSixteenWorkersBusyOnOneThousandOutputs) {
  for (const char* text : {"int4-g32", "int8-channel"}) {
    Counted executor;
    const Linear layer = layer_of(text, 1024, 32, 1);
    const Matrix<float> x = random_matrix(64, 32, 2);
    Matrix<float> y(64, 1024);
    ASSERT_TRUE(layer.multiply(x.view(), y.view(), Context(kernels::generic::kTable, executor)));
    EXPECT_GE(executor.most, 16u) << text;
  }
}

// NaN and Inf among the codes of a matrix: looked up, not shifted.
TEST(Pack, KeepsCodesThatAreNoNumbers) {
  for (const char* text : {"fp8_e4m3fn-channel", "fp8_e5m2-channel", "fp8_e4m3fnuz-channel"}) {
    QMatrix q = *quantize(random_matrix(5, 40, 1).view(), *parse_scheme(text));
    const FormatInfo& format = q.scheme.info();
    q.codes[3] = static_cast<std::uint8_t>(format.encode(std::numeric_limits<float>::quiet_NaN()));
    const Linear layer = *Linear::from({q, {}});
    EXPECT_EQ(layer.shape().mantissa_bits, 0u);
    EXPECT_EQ(unpack(layer.packed()).codes, q.codes);
    Matrix<float> x(1, 40, 1.0f), y(1, 5);
    ASSERT_TRUE(layer.multiply(x.view(), y.view()));
    EXPECT_TRUE(std::isnan(y(0, 0)));
    const Matrix<float> w = dequantize(q);
    for (std::size_t r = 1; r < 5; ++r) {
      double sum = 0;
      for (std::size_t c = 0; c < 40; ++c) sum += static_cast<double>(w(r, c));
      EXPECT_NEAR(static_cast<double>(y(0, r)), sum, 1e-4);
    }
  }
}

TEST(Pack, StoresMinifloatsSoThatAShiftMakesThemFloats) {
  for (const char* text :
       {"fp8_e4m3fn-channel", "fp8_e5m2-channel", "fp8_e3m4-channel", "fp8_e4m3fnuz-channel", "fp8_e5m2fnuz-channel",
        "fp8_e4m3b11fnuz-channel", "fp8_e4m3-channel", "fp6_e3m2-channel", "fp6_e2m3-channel"}) {
    const FormatId format = parse_scheme(text)->format;
    const auto table = detail::code_table(format, Layout::w8_p64, false);
    ASSERT_NE(table.mantissa_bits, 0u) << text;
    for (std::uint32_t code = 0; code < (1u << format_info(format).bits); ++code) {
      const float value = format_info(format).decode(code);
      if (!std::isfinite(value)) continue;
      const std::uint32_t stored = table.stored[code];
      const std::uint32_t bits = (stored & 128) << 24 | (stored & 127) << (23 - table.mantissa_bits);
      EXPECT_EQ(std::bit_cast<float>(bits) * table.unit, value) << text << " " << code;
      EXPECT_EQ(table.levels[stored], value);
      EXPECT_EQ(table.code[stored], code);
    }
  }
}

// Bytes do not depend on who packs them.
TEST(Pack, GivesTheSameBytesOnAnyExecutor) {
  reference::ThreadedExecutor threads(5);
  const Context context(kernels::generic::kTable, threads);
  for (const char* text : kSchemes) {
    const QMatrix q = quantized(random_matrix(200, 136, 1).view(), text).weight;
    const auto one = pack(q);
    const auto many = pack(q, context);
    ASSERT_EQ(one->bytes.size(), many->bytes.size());
    EXPECT_EQ(std::memcmp(one->bytes.data(), many->bytes.data(), one->bytes.size()), 0) << text;
  }
}

}  // namespace
}  // namespace kvant
