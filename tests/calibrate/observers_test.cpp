// SPDX-License-Identifier: Apache-2.0
// What every observer promises: names and options, ranges within what was seen, merges, bounded memory, an answer for
// every input, format and symmetry.
#include "kvant/calibrate/observers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/weights.hpp"
#include "options.hpp"

namespace {

using kvant::AnyObserver;
using kvant::FormatInfo;
using kvant::Range;
using kvant::Symmetry;
using observer_test::make;

template <class Visitor, kvant::Observer... O>
void for_each_observer(kvant::ObserverList<O...>, Visitor visit) {
  (visit.template operator()<O>(), ...);
}

bool is_option_name(std::string_view name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string_view::npos;
}

struct Variant {
  std::string name;
  std::string options;  ///< few bins, so that thousands of cases take seconds
};
const std::vector<Variant> kVariants = {{"min_max", ""},
                                        {"moving_average", "constant=0.3"},
                                        {"percentile", "bins=256,percentile=99"},
                                        {"percentile", "bins=256,percentile=98,profile=ort"},
                                        {"mse", "bins=128"},
                                        {"mse", "bins=128,profile=nvidia,start_bin=8"},
                                        {"entropy", "bins=256"},
                                        {"entropy", "profile=ort"},
                                        {"entropy", "profile=ort,bins=64,levels=16"}};

std::string text(const Variant& v) { return v.name + " " + v.options; }

/// The variants above, and every observer of the list that is not among them.
std::vector<Variant> all_variants() {
  std::vector<Variant> all = kVariants;
  for_each_observer(kvant::AllObservers{}, [&]<class O>() {
    const std::string name(O::kName);
    if (std::any_of(all.begin(), all.end(), [&](const Variant& v) { return v.name == name; })) return;
    std::string options;
    typename O::Config config;
    O::Config::visit(config, [&](std::string_view field, auto&, std::string_view) {
      if (field == "bins") options = "bins=256";
    });
    all.push_back({name, options});
  });
  return all;
}

TEST(Observers, HaveUniqueNamesAndASummary) {
  std::set<std::string> names;
  for (const kvant::ObserverInfo& o : kvant::kObservers) {
    EXPECT_TRUE(names.insert(std::string(o.name)).second) << o.name;
    EXPECT_TRUE(is_option_name(o.name)) << o.name;
    EXPECT_FALSE(o.summary.empty()) << o.name;
    const auto made = kvant::make_observer(o.name);
    ASSERT_TRUE(made.has_value()) << o.name;
    EXPECT_EQ(made->name(), o.name);
  }
}

TEST(Observers, NameEveryFieldOfTheirConfigOnce) {
  for_each_observer(kvant::AllObservers{}, []<class O>() {
    typename O::Config config;
    EXPECT_TRUE(config.check().has_value()) << O::kName << ": the defaults work";
    std::set<std::string> fields;
    O::Config::visit(config, [&]<class Field>(std::string_view name, Field& field, std::string_view help) {
      EXPECT_TRUE(fields.insert(std::string(name)).second) << O::kName << " " << name;
      EXPECT_TRUE(is_option_name(name)) << name;
      EXPECT_FALSE(help.empty()) << name;
      if constexpr (std::is_enum_v<Field>) {
        for (const std::string_view value : option_names(field)) EXPECT_TRUE(is_option_name(value)) << value;
      }
    });
  });
}

TEST(Observers, AreRefusedByUnknownNamesAndOptionsOutOfRange) {
  const auto unknown = kvant::make_observer("minmax");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().code, kvant::ErrorCode::usage);
  EXPECT_NE(unknown.error().message.find("min_max, moving_average"), std::string::npos) << unknown.error().message;
  EXPECT_FALSE(kvant::observe_range("", {}, kvant::format_info(kvant::format_id<kvant::int8>)).has_value());
  for (const Variant& v :
       {Variant{"moving_average", "constant=0"}, Variant{"moving_average", "constant=1.01"},
        Variant{"moving_average", "constant=nan"}, Variant{"percentile", "percentile=-1"},
        Variant{"percentile", "percentile=100.1"}, Variant{"percentile", "percentile=nan"},
        Variant{"percentile", "bins=0"}, Variant{"percentile", "bins=129"}, Variant{"percentile", "bins=65538"},
        Variant{"mse", "bins=0"}, Variant{"mse", "bins=8194"}, Variant{"mse", "stride=0"},
        Variant{"entropy", "stride=0"}, Variant{"entropy", "start_bin=0"}, Variant{"entropy", "bins=7"},
        Variant{"entropy", "levels=65537"}}) {
    const auto made = make(v.name, v.options);
    ASSERT_FALSE(made.has_value()) << text(v);
    EXPECT_EQ(made.error().code, kvant::ErrorCode::usage) << text(v);
    EXPECT_NE(made.error().message.find(v.name), std::string::npos) << made.error().message;
  }
}

TEST(ObserversPage, NamesEveryObserverOptionAndValue) {
  std::ifstream in(std::string(KVANT_SOURCE_DIR) + "/docs/observers.md");
  const std::string page((std::istreambuf_iterator<char>(in)), {});
  for_each_observer(kvant::AllObservers{}, [&]<class O>() {
    EXPECT_NE(page.find("| `" + std::string(O::kName) + "` |"), std::string::npos) << O::kName;
    typename O::Config config;
    O::Config::visit(config, [&]<class Field>(std::string_view name, Field& field, std::string_view) {
      EXPECT_NE(page.find("`" + std::string(name) + "`"), std::string::npos) << O::kName << " " << name;
      if constexpr (std::is_enum_v<Field>) {
        for (const std::string_view value : option_names(field))
          EXPECT_NE(page.find(value), std::string::npos) << O::kName << " " << value;
      }
    });
  });
}

TEST(ObserversPage, ShowsCodeThatWorks) {
  const std::vector<std::vector<float>> batches{{-1.0f, 0.5f}, {0.25f, 1.0f}};
  const kvant::Scheme scheme = *kvant::parse_scheme("int8-tensor-scale:fp32");
#include "observers_example.inc"
  const float edge = 2047.0f / 2048;
  EXPECT_EQ(range, (Range{-edge, edge})) << "99.99 % end at the lower edge of the last of 2048 bins";
  EXPECT_EQ(p.scale, edge / 127.5f);
}

/// Batches of one observer.
using Input = std::vector<std::vector<float>>;

struct Named {
  const char* name;
  Input batches;
};

std::vector<Named> inputs() {
  const std::vector<float> normal = reference::normal_weights(300, 4, 1.0);
  std::vector<float> outlier = normal;
  outlier[17] = 1e30f;
  std::vector<float> negative = normal;
  for (float& x : negative) x = -std::fabs(x) - 2;
  std::vector<float> broken = normal;
  broken[0] = NAN;
  broken[5] = INFINITY;
  broken[299] = -INFINITY;
  std::vector<float> huge;
  for (const float x : normal) huge.push_back(std::clamp(x / 4, -1.0f, 1.0f) * FLT_MAX);
  huge[3] = FLT_MAX;
  huge[4] = -FLT_MAX;
  return {{"nothing", {}},
          {"an empty piece", {{}, {}}},
          {"one element", {{0.7f}}},
          {"one negative element", {{-3.5f}}},
          {"zeros", {{0.0f, -0.0f, 0.0f}}},
          {"zeros, then values", {std::vector<float>(5, 0.0f), normal}},
          {"constant", {std::vector<float>(40, 2.5f)}},
          {"constant and negative", {std::vector<float>(40, -1e-3f)}},
          {"two magnitudes", {{5.0f, -5.0f, 5.0f}}},
          {"subnormals", {{1e-45f, -3e-45f, 1e-40f, 5e-39f}}},
          {"huge", {huge}},
          {"huge after tiny", {{1e-45f, 1e-44f}, huge, normal}},
          {"nothing finite", {{NAN, INFINITY, -INFINITY}, {NAN}}},
          {"some not finite", {broken, normal}},
          {"negative", {negative}},
          {"an outlier", {outlier}},
          {"an outlier after the first batch", {normal, outlier, normal}},
          {"normal", {normal, reference::normal_weights(500, 5, 1.5)}}};
}

AnyObserver observed(const Variant& v, const Input& batches) {
  AnyObserver observer = *make(v.name, v.options);
  for (const std::vector<float>& batch : batches) observer.observe(batch);
  return observer;
}

void expect_total(const Variant& v, const Named& input) {
  const AnyObserver observer = observed(v, input.batches);
  Range seen;
  std::uint64_t finite = 0, other = 0;
  for (const auto& batch : input.batches)
    for (const float x : batch) {
      ++(std::isfinite(x) ? finite : other);
      if (!std::isfinite(x)) continue;
      seen = finite == 1 ? Range{x, x} : Range{std::min(seen.low, x), std::max(seen.high, x)};
    }
  EXPECT_EQ(observer.count(), finite) << text(v) << ", " << input.name;
  EXPECT_EQ(observer.nonfinite(), other) << text(v) << ", " << input.name;
  for (const FormatInfo& format : kvant::kFormats)
    for (const Symmetry symmetry : {Symmetry::symmetric, Symmetry::full, Symmetry::asymmetric}) {
      const Range range = observer.range(format, symmetry);
      const std::string what = text(v) + ", " + input.name + ", " + std::string(format.name);
      EXPECT_TRUE(std::isfinite(range.low) && std::isfinite(range.high)) << what;
      EXPECT_LE(range.low, range.high) << what;
      EXPECT_GE(range.low, seen.low) << what;
      EXPECT_LE(range.high, seen.high) << what;
      if (format.bits > 8 && observer.name() == "mse") {
        EXPECT_EQ(range, seen) << what << ": a cast clips nothing";
      }
      const std::string suffix = symmetry == Symmetry::symmetric ? "" : symmetry == Symmetry::full ? "-full" : "-asym";
      const auto scheme = kvant::parse_scheme(std::string(format.name) + "-tensor" + suffix + "-scale:fp32");
      if (!scheme) continue;
      const kvant::GroupParameters p = kvant::parameters_for_range(kvant::Grid(*scheme), range);
      EXPECT_TRUE(std::isfinite(p.scale)) << what;
      if (symmetry != Symmetry::full) {
        EXPECT_GE(p.scale, 0.0f) << what;
      }
    }
}

class EveryObserver : public testing::TestWithParam<Variant> {};

TEST_P(EveryObserver, AnswersForEveryInputFormatAndSymmetry) {
  for (const Named& input : inputs()) expect_total(GetParam(), input);
}

TEST_P(EveryObserver, IgnoresWhatIsNotFinite) {
  std::vector<float> x = reference::normal_weights(1000, 11, 1.0);
  const Variant& v = GetParam();
  const AnyObserver clean = observed(v, {x});
  for (std::size_t at = 0; at <= x.size(); at += 101)
    x.insert(x.begin() + static_cast<std::ptrdiff_t>(at), at % 2 == 0 ? NAN : -INFINITY);
  const AnyObserver dirty = observed(v, {x, {NAN}});
  for (const FormatInfo& format : kvant::kFormats)
    for (const Symmetry s : {Symmetry::symmetric, Symmetry::asymmetric})
      EXPECT_EQ(clean.range(format, s), dirty.range(format, s)) << format.name;
}

TEST_P(EveryObserver, HoldsNoMoreAfterAMillionValues) {
  const Variant& v = GetParam();
  AnyObserver observer = *make(v.name, v.options);
  for (int i = 0; i < 1000; ++i) {
    // Every batch reaches further than the one before.
    std::vector<float> batch =
        reference::normal_weights(1000, static_cast<std::uint32_t>(i), 1e-3 * std::exp2(i * 0.05));
    observer.observe(batch);
  }
  EXPECT_EQ(observer.count(), 1000000u);
  // At most 256 bins, four times as many after growth, eight bytes each, two histograms.
  EXPECT_LE(observer.bytes(), sizeof(AnyObserver) + 2u * 4 * 256 * 8);
}

TEST_P(EveryObserver, MergesTheSameForBothOrders) {
  const Variant& v = GetParam();
  const auto all = inputs();
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = i; j < all.size(); ++j) {
      const Named& a = all[i];
      const Named& b = all[j];
      AnyObserver ab = observed(v, a.batches);
      AnyObserver ba = observed(v, b.batches);
      ASSERT_TRUE(ab.merge(observed(v, b.batches)).has_value());
      ASSERT_TRUE(ba.merge(observed(v, a.batches)).has_value());
      EXPECT_EQ(ab.count(), ba.count());
      EXPECT_EQ(ab.nonfinite(), ba.nonfinite());
      for (const kvant::FormatId id : {kvant::format_id<kvant::int4>, kvant::format_id<kvant::nf4>})
        for (const Symmetry s : {Symmetry::symmetric, Symmetry::asymmetric}) {
          const FormatInfo& format = kvant::format_info(id);
          EXPECT_EQ(ab.range(format, s), ba.range(format, s)) << text(v) << ": " << a.name << " and " << b.name;
        }
    }
}

TEST_P(EveryObserver, MergesNothingAsNothing) {
  const Variant& v = GetParam();
  const FormatInfo& format = kvant::format_info(kvant::format_id<kvant::int8>);
  for (const Named& input : inputs()) {
    AnyObserver observer = observed(v, input.batches);
    const Range before = observer.range(format, Symmetry::symmetric);
    ASSERT_TRUE(observer.merge(*make(v.name, v.options)).has_value());
    EXPECT_EQ(observer.range(format, Symmetry::symmetric), before) << text(v) << ", " << input.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Of, EveryObserver, testing::ValuesIn(all_variants()), [](const auto& p) {
  std::string name = text(p.param);
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
});

TEST(Observers, RefuseToMergeWithOthers) {
  AnyObserver a = *make("percentile", "");
  const auto other = a.merge(*make("entropy", ""));
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, kvant::ErrorCode::usage);
  EXPECT_FALSE(a.merge(*make("percentile", "bins=256")).has_value());
  EXPECT_FALSE(a.merge(*make("percentile", "percentile=50")).has_value());
  EXPECT_TRUE(a.merge(*make("percentile", "")).has_value());
}

TEST(Observers, MergedEqualOneThatSawBothWhereTheFirstBatchesReachAlike) {
  // Both begin with a batch of the same extremes, so their bins are the same; its largest value counts in the last bin
  // as long as that is the last one, which it is in the second row as well.
  const std::vector<float> first{-2.0f, 0.25f, 2.0f};
  const std::vector<float> a = reference::normal_weights(3000, 21, 1.0);
  const std::vector<float> b = reference::normal_weights(2000, 22, 1.3);
  for (const Variant& v : kVariants) {
    if (std::string_view(v.name) == "moving_average") continue;
    AnyObserver merged = observed(v, {first, a});
    ASSERT_TRUE(merged.merge(observed(v, {first, b})).has_value());
    const AnyObserver both = observed(v, {first, first, a, b});
    for (const FormatInfo& format : kvant::kFormats)
      for (const Symmetry s : {Symmetry::symmetric, Symmetry::asymmetric})
        EXPECT_EQ(merged.range(format, s), both.range(format, s)) << text(v) << ", " << format.name;
  }
}

const FormatInfo& int8() { return kvant::format_info(kvant::format_id<kvant::int8>); }

TEST(MovingAverage, WeighsTheNewestBatchByItsConstantAndMergesByTheNumberOfBatches) {
  kvant::MovingAverage a({.constant = 0.25});
  a.observe(std::vector<float>{-1, 4});
  a.observe(std::vector<float>{-3, 8});
  EXPECT_EQ(a.range(int8(), Symmetry::symmetric), (Range{-1.5f, 5.0f}));
  kvant::MovingAverage b({.constant = 0.25});
  b.observe(std::vector<float>{0, 2});
  ASSERT_TRUE(a.merge(b).has_value());
  EXPECT_EQ(a.range(int8(), Symmetry::symmetric), (Range{-1.0f, 4.0f}));
}

TEST(MovingAverage, OfConstantOneIsTheLastBatch) {
  kvant::MovingAverage a({.constant = 1.0});
  a.observe(std::vector<float>{-1e30f, 4e30f});
  a.observe(std::vector<float>{-3, 8});
  EXPECT_EQ(a.range(int8(), Symmetry::symmetric), (Range{-3.0f, 8.0f}));
}

TEST(Percentile, NeverShrinksWithTheShare) {
  const std::vector<float> x = reference::normal_weights(20000, 31, 1.0);
  for (const char* profile : {"nvidia", "ort"})
    for (const Symmetry s : {Symmetry::symmetric, Symmetry::asymmetric}) {
      Range before{0, 0};
      for (const char* p : {"1", "50", "90", "99", "99.9", "99.99", "99.9999", "100"}) {
        AnyObserver o = *make("percentile", std::string("profile=") + profile + ",percentile=" + p);
        o.observe(x);
        const Range range = o.range(int8(), s);
        if (before.low != 0 || before.high != 0) {
          EXPECT_LE(range.low, before.low) << profile << " " << p;
          EXPECT_GE(range.high, before.high) << profile << " " << p;
        }
        before = range;
      }
      EXPECT_EQ(before, *kvant::observe_range("min_max", x, int8(), s)) << profile << ": 100 % is everything";
    }
}

TEST(Percentile, CutsEachTailOnItsOwnWhereAsymmetric) {
  std::vector<float> x = reference::normal_weights(20000, 32, 1.0);
  for (float& v : x) v = v > 0 ? 10 * v : v;
  AnyObserver o = *make("percentile", "profile=ort,percentile=98");
  o.observe(x);
  const Range asymmetric = o.range(int8(), Symmetry::asymmetric);
  EXPECT_NEAR(-10 * static_cast<double>(asymmetric.low), static_cast<double>(asymmetric.high), 2.0);
  const Range symmetric = o.range(int8(), Symmetry::symmetric);
  EXPECT_GT(-symmetric.low, -asymmetric.low);
}

TEST(Entropy, InOnnxruntimesDefaultIsMinMaxForOneBatch) {
  for (const Named& input : inputs()) {
    if (input.batches.size() != 1) continue;
    const Variant v{"entropy", "profile=ort"};
    EXPECT_EQ(observed(v, input.batches).range(int8(), Symmetry::symmetric),
              observed({"min_max", ""}, input.batches).range(int8(), Symmetry::symmetric))
        << input.name;
  }
}

TEST(Entropy, CollapsesToTheFormatsValuesThatAreNotNegative) {
  const auto levels = [](const char* name) {
    return kvant::detail::levels_from_zero(kvant::format_info(*kvant::format_from_name(name)));
  };
  EXPECT_EQ(levels("int8"), 128u);
  EXPECT_EQ(levels("int4"), 8u);
  EXPECT_EQ(levels("uint8"), 256u);
  EXPECT_EQ(levels("fp4_e2m1"), 8u);
  EXPECT_EQ(levels("fp8_e4m3fn"), 127u);
  EXPECT_EQ(levels("fp8_e5m2"), 124u);
  EXPECT_EQ(levels("nf4"), 9u);
  EXPECT_EQ(levels("ternary"), 2u);
  EXPECT_EQ(levels("int1"), 1u);
}

TEST(Observers, ClipAnOutlierWhereTheyAreMadeTo) {
  std::vector<float> x = reference::normal_weights(50000, 41, 1.0);
  x[7] = 40.0f;
  const auto high = [&](const char* name, const char* format) {
    return kvant::observe_range(name, x, kvant::format_info(*kvant::format_from_name(format)))->high;
  };
  EXPECT_EQ(high("min_max", "int4"), 40.0f);
  for (const char* name : {"percentile", "mse", "entropy"}) {
    EXPECT_LT(high(name, "int4"), 10.0f) << name;
    EXPECT_GT(high(name, "int4"), 1.0f) << name;
  }
  EXPECT_LT(high("mse", "int4"), high("mse", "int8")) << "fewer codes clip more";
  EXPECT_GT(high("mse", "fp8_e5m2"), 20.0f) << "a format of wide range clips little";
}

}  // namespace
