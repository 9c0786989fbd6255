// SPDX-License-Identifier: Apache-2.0
// Rows of inputs in the forms that packed layers read: the only part of a product that needs memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/linear/packed_weight.hpp"
#include "kvant/quant/fake_quantize.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// Inputs as a host has them, [tokens, features]: float32, bf16 or fp16.
class InputRows {
 public:
  InputRows() = default;
  InputRows(MatrixView<const float> x) noexcept : f32_(x), rows_(x.rows()), cols_(x.cols()) {}  // NOLINT: a view
  InputRows(MatrixView<float> x) noexcept : InputRows(MatrixView<const float>(x)) {}            // NOLINT
  /// Contract: `format` is bf16 or fp16.
  InputRows(MatrixView<const std::uint16_t> x, FormatId format)
      : f16_(x), format_(format), rows_(x.rows()), cols_(x.cols()) {
    expects(format == format_id<bf16> || format == format_id<fp16>, "16-bit inputs are bf16 or fp16");
  }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t cols() const noexcept { return cols_; }
  [[nodiscard]] FormatId format() const noexcept { return format_; }
  [[nodiscard]] MatrixView<const float> f32() const noexcept { return f32_; }
  [[nodiscard]] MatrixView<const std::uint16_t> f16() const noexcept { return f16_; }

 private:
  MatrixView<const float> f32_;
  MatrixView<const std::uint16_t> f16_;
  FormatId format_ = format_id<fp32>;
  std::size_t rows_ = 0, cols_ = 0;
};

namespace detail {

/// Memory that grows and is not cleared.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  Scratch(Scratch&& other) noexcept : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  Scratch& operator=(Scratch&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  ~Scratch() = default;
  /// Whether there is room for `count`; what was there is lost where it grows.
  [[nodiscard]] bool reserve(std::size_t count) noexcept {
    if (count <= size_) return true;
    data_.reset();
    size_ = 0;
    if (count > SIZE_MAX / sizeof(T)) return false;
    data_ =
        Memory(static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{64}, std::nothrow)), Deleter{true});
    size_ = data_ ? count : 0;
    return size_ != 0;
  }
  /// Memory of someone else's, at a multiple of 64.
  void borrow(void* memory, std::size_t count) noexcept {
    data_ = Memory(static_cast<T*>(memory), Deleter{false});
    size_ = count;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T* data() noexcept { return data_.get(); }

 private:
  struct Deleter {
    bool owns = true;
    void operator()(T* p) const noexcept {
      if (owns) ::operator delete (p, std::align_val_t{64});
    }
  };
  using Memory = std::unique_ptr<T[], Deleter>;
  Memory data_;
  std::size_t size_ = 0;
};

}  // namespace detail

/// What a layer reads of its inputs.
struct InputNeeds {
  std::size_t inputs = 0;                        ///< features of a row
  std::span<const std::uint32_t> columns{};      ///< their order, see PackedWeight; empty: their own
  std::size_t stored = 0;                        ///< inputs in that order
  std::size_t group = 0;                         ///< that share a sum; 0 where there are no groups
  std::optional<ActivationScheme> activation{};  ///< what they are rounded to first
  InputParameters parameters{};                  ///< where that is static
  bool integers = false;                         ///< int8 codes; otherwise floats,
  bool sums = false;                             ///< and the sums of their groups
};

/// Rows of inputs and the forms of them that layers ask for (floats with zeros behind each row, int8 codes, sums of
/// groups), each made once for all layers that read the same rows. A host keeps one for each width of its model, from
/// call to call: memory is taken by reserve() alone (Linear::reserve), and a product takes none.
///
///   q.reserve(x, 16).value(), k.reserve(x, 16) …   // once
///   x.assign(rows);                                // for each input: borrowed until the next assign()
///   q.multiply(x, queries, context), k.multiply(x, keys, context), v.multiply(x, values, context);
///
/// Not for several threads at once.
class Activations {
 public:
  Activations() = default;

  /// Room for rows of a layer's inputs. `out_of_memory` where there is none.
  [[nodiscard]] Status reserve(std::size_t rows, const InputNeeds& needs) {
    const auto bytes = scratch_bytes(rows, {&needs, 1});
    const bool enough =
        bytes && all_parts(needs, [rows](auto& part, std::size_t each) { return part.reserve(rows * each); });
    forget();
    if (enough) return {};
    return fail(ErrorCode::out_of_memory, "no memory for " + std::to_string(rows) + " rows of " +
                                              std::to_string(std::max(needs.inputs, needs.stored)) + " inputs");
  }

  /// Bytes of borrow() for all of some needs; nothing where they cannot be counted.
  [[nodiscard]] static std::optional<std::size_t> scratch_bytes(std::size_t rows, std::span<const InputNeeds> all) {
    std::size_t sum = 0;
    for (const std::size_t part : part_bytes(all)) {
      if (part != 0 && (rows > SIZE_MAX / 2 / part || rows * part > SIZE_MAX / 16)) return std::nullopt;
      sum += round_up<std::size_t>(rows * part, 64);
    }
    return sum;
  }
  /// Memory of the caller's in place of memory of its own, from now on: at a multiple of 64, not used otherwise until
  /// the rows are others. `usage` where it is less than scratch_bytes().
  [[nodiscard]] Status borrow(std::size_t rows, std::span<const InputNeeds> all, std::span<std::byte> memory) {
    const auto bytes = scratch_bytes(rows, all);
    if (!bytes || *bytes > memory.size())
      return fail(ErrorCode::usage, "scratch memory of " + std::to_string(memory.size()) + " bytes, expected " +
                                        (bytes ? std::to_string(*bytes) : "more than there is"));
    const std::array<std::size_t, kParts> each = part_bytes(all);
    std::size_t index = 0;
    for_each_part([&](auto& part) {
      const std::size_t size = rows * each[index++];
      part.borrow(memory.data(), size / sizeof(*part.data()));
      memory = memory.subspan(round_up<std::size_t>(size, 64));
    });
    forget();
    return {};
  }

  /// The rows that products read from now on. They are borrowed: they stay where and as they are while layers multiply.
  void assign(InputRows x) noexcept {
    x_ = x;
    forget();
  }
  [[nodiscard]] const InputRows& rows() const noexcept { return x_; }

  /// Sets what a kernel reads of these rows. `usage` where reserve() was not called for them.
  [[nodiscard]] Status prepare(const InputNeeds& needs, kernels::GemmArgs& args, const Context& context) {
    const std::size_t groups = groups_of(needs);
    if (!all_parts(needs, [m = x_.rows()](const auto& part, std::size_t each) { return part.size() >= m * each; }))
      return fail(ErrorCode::usage,
                  "no room for " + std::to_string(x_.rows()) + " rows of a layer's inputs; Linear::reserve() makes it");
    const bool is_copied = needs.integers || !needs.columns.empty() || (needs.activation && !is_int8(needs));
    Floats x = plain(is_copied, context);
    if (needs.activation && !is_int8(needs)) x = rounded(x, needs, context);
    if (!needs.columns.empty()) x = ordered(x, needs, context);
    if (is_int8(needs)) {
      quantize(x, needs, groups, context);
      args.a_s8 = codes_.data();
      args.a_scales = scales_.data();
      args.a_sums_s32 = code_sums_.data();
      args.lda = padded(needs.stored);
      if (needs.integers) return {};
      x = decoded(needs, context);
    }
    args.a_f32 = x.data;
    args.lda = x.stride;
    if (needs.sums) {
      sum_groups(x, needs, groups, context);
      args.a_sums_f32 = sums_.data();
    }
    return {};
  }

 private:
  struct Floats {
    const float* data;
    std::size_t stride;
    [[nodiscard]] const float* row(std::size_t i) const noexcept { return data + i * stride; }
  };
  /// What a form was made for, where it is one that layers can share.
  struct Sums {
    const float* of = nullptr;
    std::size_t group = 0;
  };

  [[nodiscard]] static bool is_int8(const InputNeeds& needs) noexcept { return needs.activation == ActivationScheme{}; }
  /// Elements of a row of `k`, zeros behind it included.
  [[nodiscard]] static std::size_t padded(std::size_t k) noexcept { return round_up(k, kernels::kActivationPadding); }
  [[nodiscard]] static std::size_t groups_of(const InputNeeds& needs) noexcept {
    return needs.group != 0 ? ceil_div(needs.stored, needs.group) : 0;
  }
  static constexpr std::size_t kParts = 7;
  /// Elements of a row in each part that a layer needs, in the order of for_each_part().
  [[nodiscard]] static std::array<std::size_t, kParts> part_sizes(const InputNeeds& needs) noexcept {
    const std::size_t row = padded(std::max(needs.inputs, needs.stored));
    const std::size_t groups = groups_of(needs);
    const bool codes = is_int8(needs);
    return {row,
            needs.activation ? row : 0,
            needs.columns.empty() ? 0 : row,
            needs.sums ? groups : 0,
            codes ? std::size_t{1} : 0,
            codes ? row : 0,
            codes ? groups : 0};
  }
  template <class Visit>
  void for_each_part(Visit visit) {
    visit(plain_), visit(rounded_), visit(ordered_), visit(sums_), visit(scales_), visit(codes_), visit(code_sums_);
  }
  /// Bytes of a row in each part, for the most demanding of some needs.
  [[nodiscard]] static std::array<std::size_t, kParts> part_bytes(std::span<const InputNeeds> all) noexcept {
    constexpr std::array<std::size_t, kParts> kSizes{4, 4, 4, 4, 4, 1, 4};
    std::array<std::size_t, kParts> bytes{};
    for (const InputNeeds& needs : all) {
      const std::array<std::size_t, kParts> sizes = part_sizes(needs);
      for (std::size_t i = 0; i < kParts; ++i) bytes[i] = std::max(bytes[i], sizes[i] * kSizes[i]);
    }
    return bytes;
  }
  /// Whether `visit(memory, elements of a row)` holds for every part that a layer needs.
  template <class Visit>
  [[nodiscard]] bool all_parts(const InputNeeds& needs, Visit visit) {
    const std::array<std::size_t, kParts> sizes = part_sizes(needs);
    std::size_t index = 0;
    bool all = true;
    for_each_part([&](auto& part) {
      const std::size_t each = sizes[index++];
      all = all && (each == 0 || visit(part, each));
    });
    return all;
  }
  void forget() noexcept {
    has_plain_ = false;
    rounded_to_.reset();
    coded_group_.reset();
    summed_ = {};
  }

  /// The rows as floats, where they are, or with zeros behind each unless `ragged` ones will do.
  Floats plain(bool ragged, const Context& context) {
    const std::size_t k = x_.cols();
    const std::size_t stride = padded(k);
    const bool is_f32 = x_.format() == format_id<fp32>;
    if (is_f32 && (ragged || k == stride)) return {x_.f32().data(), x_.f32().stride()};
    if (!has_plain_) {
      const kernels::Kernels& table = context.kernels();
      context.for_each(x_.rows(), [&](std::size_t i) noexcept {
        float* out = plain_.data() + i * stride;
        if (is_f32)
          std::memcpy(out, x_.f32().row(i).data(), k * sizeof(float));
        else
          (x_.format() == format_id<bf16> ? table.widen_bf16 : table.widen_fp16)({x_.f16().row(i).data(), k, out});
        std::fill(out + k, out + stride, 0.0f);
      });
      has_plain_ = true;
    }
    return {plain_.data(), stride};
  }

  Floats rounded(Floats x, const InputNeeds& needs, const Context& context) {
    const std::size_t k = x_.cols();
    const std::size_t stride = padded(k);
    if (!rounded_to_ || rounded_to_->first != *needs.activation || !(rounded_to_->second == needs.parameters)) {
      const InputRounder round(*needs.activation, needs.parameters, context.kernels());
      context.for_each(x_.rows(), [&](std::size_t i) noexcept {
        float* out = rounded_.data() + i * stride;
        round({x.row(i), k}, {out, k});
        std::fill(out + k, out + stride, 0.0f);
      });
      rounded_to_.emplace(*needs.activation, needs.parameters);
      summed_ = {};
    }
    return {rounded_.data(), stride};
  }

  /// Never shared: another layer has its own order.
  Floats ordered(Floats x, const InputNeeds& needs, const Context& context) {
    const std::size_t stride = padded(needs.stored);
    context.for_each(x_.rows(), [&](std::size_t i) noexcept {
      float* out = ordered_.data() + i * stride;
      for (std::size_t c = 0; c < needs.stored; ++c)
        out[c] = needs.columns[c] != kNoColumn ? x.row(i)[needs.columns[c]] : 0.0f;
      std::fill(out + needs.stored, out + stride, 0.0f);
    });
    coded_group_.reset();
    summed_ = {};
    return {ordered_.data(), stride};
  }

  void quantize(Floats x, const InputNeeds& needs, std::size_t groups, const Context& context) {
    if (coded_group_ == needs.group) return;
    const std::size_t stride = padded(needs.stored);
    context.for_each(x_.rows(), [&](std::size_t i) noexcept {
      context.kernels().quantize_rows_s8({x.row(i), 1, needs.stored, x.stride, needs.group, codes_.data() + i * stride,
                                          stride, scales_.data() + i, code_sums_.data() + i * groups});
    });
    coded_group_.reset();
    if (needs.columns.empty()) coded_group_ = needs.group;
  }

  /// What the codes stand for.
  Floats decoded(const InputNeeds& needs, const Context& context) {
    const std::size_t stride = padded(needs.stored);
    context.for_each(x_.rows(), [&](std::size_t i) noexcept {
      const std::int8_t* codes = codes_.data() + i * stride;
      for (std::size_t c = 0; c < stride; ++c)
        rounded_.data()[i * stride + c] = static_cast<float>(codes[c]) * scales_.data()[i];
    });
    rounded_to_.reset();
    summed_ = {};
    return {rounded_.data(), stride};
  }

  void sum_groups(Floats x, const InputNeeds& needs, std::size_t groups, const Context& context) {
    if (summed_.of == x.data && summed_.group == needs.group) return;
    context.for_each(x_.rows(), [&](std::size_t i) noexcept {
      context.kernels().sum_groups_f32({x.row(i), 1, needs.stored, x.stride, needs.group, sums_.data() + i * groups});
    });
    summed_ = {x.data, needs.group};
    if (!needs.columns.empty()) summed_ = {};
  }

  InputRows x_;
  detail::Scratch<float> plain_, rounded_, ordered_, sums_, scales_;
  detail::Scratch<std::int8_t> codes_;
  detail::Scratch<std::int32_t> code_sums_;
  bool has_plain_ = false;
  std::optional<std::pair<ActivationScheme, InputParameters>> rounded_to_;
  std::optional<std::size_t> coded_group_;
  Sums summed_;
};

}  // namespace kvant
