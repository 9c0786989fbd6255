// SPDX-License-Identifier: Apache-2.0
// Every format's codes in every direction of rounding, under every profile and both ways of overflow, against a search
// among the format's values: all 16-bit inputs, all codes, ties and their neighbours, and random floats, of which
// KVANT_TEST_CASES says how many.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/number_formats.hpp"
#include "../reference/profiles.hpp"
#include "../support/test_cases.hpp"
#include "kvant/numeric/profile.hpp"

namespace {

using kvant::FormatInfo;
using kvant::Overflow;
using kvant::Rounding;
using reference::Direction;

constexpr std::size_t kBlock = 4096;

struct Asked {
  std::optional<Rounding> rounding;
  Direction direction;
  const char* name;
};
constexpr std::array kAsked{
    Asked{std::nullopt, Direction::nearest_even, "the profile's rounding"},
    Asked{Rounding::nearest_even, Direction::nearest_even, "nearest even"},
    Asked{Rounding::nearest_away, Direction::nearest_away, "nearest away"},
    Asked{Rounding::toward_zero, Direction::toward_zero, "toward zero"},
    Asked{Rounding::up, Direction::up, "up"},
    Asked{Rounding::down, Direction::down, "down"},
};
constexpr std::size_t kDirections = 5;

const reference::NumberFormat& specification(const FormatInfo& f) {
  static const reference::NumberFormat none{};
  const reference::NumberFormat* spec = reference::find_format(f.name);
  EXPECT_NE(spec, nullptr) << f.name << " has no row in tests/reference/number_formats.hpp";
  return spec != nullptr ? *spec : none;
}

/// Compares a format with the oracle, block by block.
class Comparison {
 public:
  explicit Comparison(const FormatInfo& f)
      : format_(*kvant::format_from_name(f.name)), spec_(specification(f)), encode_(spec_) {
    for (const Asked& asked : kAsked)
      for (const reference::Project project : reference::kProjects)
        for (const bool saturate : {true, false}) {
          const kvant::Profile profile = profile_of(project);
          const Direction direction = asked.rounding ? asked.direction : reference::default_direction(spec_, project);
          rows_.push_back({{profile, saturate ? Overflow::saturate : Overflow::ieee, asked.rounding},
                           direction,
                           reference::deviation(spec_, project, direction, asked.rounding.has_value(), saturate),
                           std::make_unique<reference::Mismatches>(std::string(f.name) + ", " + asked.name + ", " +
                                                                   std::string(kvant::profile_name(profile)) +
                                                                   (saturate ? ", saturating" : ", not saturating"))});
        }
  }

  /// Each input under both ways of overflow.
  void add(std::span<const float> inputs) {
    for (std::size_t first = 0; first < inputs.size(); first += kBlock) {
      const auto block = inputs.subspan(first, std::min(kBlock, inputs.size() - first));
      for (const Overflow overflow : {Overflow::saturate, Overflow::ieee}) add(block, overflow);
    }
  }
  /// At most kBlock inputs under one of them.
  void add(std::span<const float> x, Overflow overflow) {
    for (std::size_t d = 0; d < kDirections; ++d)
      for (std::size_t i = 0; i < x.size(); ++i)
        expected_[d][i] = encode_(x[i], static_cast<Direction>(d), overflow == Overflow::saturate);
    for (Row& row : rows_)
      if (row.rule.overflow == overflow) compare(row, x);
  }

 private:
  struct Row {
    kvant::CastRule rule;
    Direction direction;
    reference::Deviation deviation;
    std::unique_ptr<reference::Mismatches> differ;
  };

  static kvant::Profile profile_of(reference::Project p) { return static_cast<kvant::Profile>(p); }

  void compare(Row& row, std::span<const float> x) {
    const auto& plain = expected_[static_cast<std::size_t>(row.direction)];
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::uint32_t expected =
          row.deviation != nullptr ? row.deviation(spec_, x[i], row.direction, plain[i]) : plain[i];
      row.differ->compare(kvant::cast(format_, x[i], row.rule), expected, x[i]);
    }
  }

  kvant::FormatId format_;
  const reference::NumberFormat& spec_;
  reference::Encoder encode_;
  std::vector<Row> rows_;
  std::array<std::array<std::uint32_t, kBlock>, kDirections> expected_{};
};

/// Every fp16 and every bf16 number as a float.
std::vector<float> all_16_bit_inputs() {
  std::vector<float> inputs;
  const reference::NumberFormat& half = *reference::find_format("fp16");
  for (std::uint32_t code = 0; code < 65536; ++code) {
    inputs.push_back(static_cast<float>(reference::decode(half, code)));
    inputs.push_back(reference::from_bits(code << 16));
  }
  return inputs;
}

void add_with_neighbours(std::vector<float>& inputs, double value) {
  const auto x = static_cast<float>(value);
  for (const float v : {x, std::nextafter(x, INFINITY), std::nextafter(x, -INFINITY)}) {
    inputs.push_back(v);
    inputs.push_back(-v);
  }
}

/// The values of a format's codes in ascending order, and the first one beyond them; of floats, the magnitudes.
std::vector<double> values_of(const reference::NumberFormat& spec) {
  std::vector<double> values;
  if (spec.bits > 16) return {0.0, 1.0, spec.max};
  if (reference::is_float_family(spec.family)) return reference::Encoder(spec).magnitudes();
  for (std::uint32_t code = 0; code < (1u << spec.bits); ++code)
    if (const double v = reference::decode(spec, code); std::isfinite(v)) values.push_back(v);
  std::sort(values.begin(), values.end());
  values.push_back(values.back() + (values.back() - values[values.size() - 2]));
  values.insert(values.begin(), values[0] - (values[1] - values[0]));
  return values;
}

/// Every code, every midpoint of two codes and what lies three quarters between them, their float neighbours, and
/// special values.
std::vector<float> critical_inputs(const reference::NumberFormat& spec) {
  std::vector<float> inputs;
  const std::vector<double> values = values_of(spec);
  for (std::size_t i = 0; i + 1 < values.size(); ++i)
    for (const double part : {0.0, 0.5, 0.75})
      add_with_neighbours(inputs, values[i] + part * (values[i + 1] - values[i]));
  add_with_neighbours(inputs, values.back());
  for (const double v : {0.0, 0x1p-149, 0x1p-148, 0x1p-127, 0x1p-126, 1e-30, 0.5, 1.0, 1e9, 0x1p25, 0x1p31, 0x1p32,
                         0x1p63, 0x1p64, 1e30, 3.4028234663852886e38})
    add_with_neighbours(inputs, v);
  for (const std::uint32_t bits :
       {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xffbfffffu, 0x7fffffffu, 0xffffffffu})
    inputs.push_back(reference::from_bits(bits));
  return inputs;
}

/// One third any bit pattern, one evenly spread over the format's range and a quarter beyond, one evenly over its
/// exponents.
class RandomInputs {
 public:
  RandomInputs(const FormatInfo& f, std::uint64_t seed) : engine_(seed), reach_(1.25 * static_cast<double>(f.max)) {
    double least = static_cast<double>(f.max);
    for (std::uint32_t code = 1; code < (1u << std::min(f.bits, 16u)); ++code) {
      const double v = std::fabs(static_cast<double>(f.decode(code)));
      if (v > 0 && v < least) least = v;  // not where it is NaN
    }
    first_exponent_ = std::max(-149, std::ilogb(least) - 2);
    exponents_ = static_cast<std::uint64_t>(std::ilogb(static_cast<double>(f.max)) + 2 - first_exponent_);
  }

  void fill(std::span<float> x) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::uint64_t r = engine_();
      const double unit = static_cast<double>(static_cast<std::int64_t>(r)) * 0x1p-63;  // in [-1, 1)
      if (i % 3 == 0)
        x[i] = reference::from_bits(static_cast<std::uint32_t>(r >> 32));
      else if (i % 3 == 1)
        x[i] = static_cast<float>(unit * reach_);
      else
        x[i] = static_cast<float>(
            std::ldexp(unit < 0 ? unit - 1 : unit + 1, first_exponent_ + static_cast<int>(r % exponents_)));
    }
  }

 private:
  std::mt19937_64 engine_;
  double reach_;
  int first_exponent_;
  std::uint64_t exponents_;
};

/// All of them, or every n-th where KVANT_TEST_CASES allows fewer.
std::vector<float> as_many_as_allowed(const std::vector<float>& inputs) {
  const std::size_t step = (inputs.size() - 1) / kvant::test::test_cases() + 1;
  std::vector<float> some;
  for (std::size_t i = 0; i < inputs.size(); i += step) some.push_back(inputs[i]);
  return some;
}

class Sweep : public testing::TestWithParam<std::size_t> {
 protected:
  [[nodiscard]] const FormatInfo& format() const { return kvant::kFormats[GetParam()]; }
};

TEST_P(Sweep, EncodesEvery16BitInput) { Comparison(format()).add(as_many_as_allowed(all_16_bit_inputs())); }

TEST_P(Sweep, EncodesCodesTiesAndTheirNeighbours) {
  Comparison(format()).add(as_many_as_allowed(critical_inputs(specification(format()))));
}

/// As many cases for each direction and profile, half of them under each way of overflow.
TEST_P(Sweep, EncodesRandomInputs) {
  Comparison comparison(format());
  RandomInputs random(format(), GetParam() + 1);
  std::vector<float> x;
  for (std::size_t left = kvant::test::test_cases(); left != 0; left -= x.size()) {
    x.resize(std::min(left, 2 * kBlock));
    random.fill(x);
    const std::size_t half = x.size() / 2;
    comparison.add(std::span(x).first(half), Overflow::saturate);
    comparison.add(std::span(x).subspan(half), Overflow::ieee);
  }
}

/// One of the codes that rounding down and up give, and the same one whenever it is asked for under the same seed.
TEST_P(Sweep, RoundsStochasticallyToANeighbourAgainAndAgain) {
  const FormatInfo& f = format();
  const reference::NumberFormat& spec = specification(f);
  const kvant::FormatId id = *kvant::format_from_name(f.name);
  const reference::Encoder encode(spec);
  reference::Mismatches neighbours(std::string(f.name) + ", neighbours");
  reference::Mismatches repeated(std::string(f.name) + ", again");
  std::size_t moved = 0;
  const auto check = [&](float x, std::uint64_t place, bool saturate) {
    const std::uint32_t below = encode(x, Direction::down, saturate);
    const std::uint32_t above = encode(x, Direction::up, saturate);
    kvant::CastRule rule{{}, saturate ? Overflow::saturate : Overflow::ieee, Rounding::stochastic};
    const auto cast = [&](std::uint64_t seed) { return kvant::cast(id, x, rule, kvant::random_bits(seed, place)); };
    for (const reference::Project project : reference::kProjects) {
      const auto expected = [&](Direction d, std::uint32_t code) {
        const reference::Deviation special = reference::deviation(spec, project, d, true, saturate);
        return special != nullptr ? special(spec, x, d, code) : code;
      };
      rule.profile = static_cast<kvant::Profile>(project);
      const std::uint32_t got = cast(1);
      const std::uint32_t low = expected(Direction::down, below);
      neighbours.compare(got, got == low ? low : expected(Direction::up, above), x);
    }
    repeated.compare(cast(1), cast(1), x);
    moved += cast(2) != cast(1) ? 1u : 0u;
  };
  RandomInputs random(f, GetParam() + 100);
  std::vector<float> x(kBlock);
  for (std::size_t place = 0; place < kvant::test::test_cases(); ++place) {
    if (place % kBlock == 0) random.fill(x);
    check(x[place % kBlock], place, place / kBlock % 2 == 0);
  }
  EXPECT_EQ(moved != 0, f.thresholds == nullptr && f.bits <= 16) << "another seed, other codes";
}

TEST_P(Sweep, DecodesEveryCodeUnderEveryProfile) {
  const FormatInfo& f = format();
  if (f.bits > 16) GTEST_SKIP() << "too many codes";
  const reference::NumberFormat& spec = specification(f);
  for (const reference::Project project : reference::kProjects) {
    const auto profile = static_cast<kvant::Profile>(project);
    reference::Mismatches differ(std::string(f.name) + ", " + std::string(kvant::profile_name(profile)));
    for (std::uint32_t code = 0; code < (1u << f.bits); ++code) {
      const auto expected = static_cast<float>(reference::decode(spec, project, code));
      const float got = kvant::decode(*kvant::format_from_name(f.name), code, profile);
      const bool is_nan = std::isnan(expected) && std::isnan(got);
      differ.compare(is_nan ? 0 : reference::to_bits(got), is_nan ? 0 : reference::to_bits(expected),
                     static_cast<float>(code));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Sweep, testing::Range(std::size_t{0}, kvant::kFormats.size()),
                         [](const auto& parameter) { return std::string(kvant::kFormats[parameter.param].name); });

}  // namespace
