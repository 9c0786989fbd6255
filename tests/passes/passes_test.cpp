// SPDX-License-Identifier: Apache-2.0
// The list of methods: names, summaries, and what every Config promises about its fields.
#include "kvant/passes/passes.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>
#include <type_traits>

#include "../reference/weights.hpp"

namespace {

template <class Visitor, kvant::Quantizer... Q>
void for_each_method(kvant::QuantizerList<Q...>, Visitor visit) {
  (visit.template operator()<Q>(), ...);
}

bool is_option_name(std::string_view name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string_view::npos;
}

TEST(Methods, HaveUniqueNamesAndASummary) {
  std::set<std::string> names;
  for (const kvant::QuantizerInfo& q : kvant::kQuantizers) {
    EXPECT_TRUE(names.insert(std::string(q.name)).second) << q.name;
    EXPECT_TRUE(is_option_name(q.name)) << q.name;
    EXPECT_FALSE(q.summary.empty()) << q.name;
  }
  EXPECT_TRUE(names.count("rtn"));
}

TEST(Methods, NameEveryFieldOfTheirConfigOnce) {
  for_each_method(kvant::AllQuantizers{}, []<class Q>() {
    typename Q::Config config;
    std::set<std::string> fields;
    Q::Config::visit(config, [&](std::string_view name, auto&, std::string_view help) {
      EXPECT_TRUE(fields.insert(std::string(name)).second) << Q::kName << " " << name;
      EXPECT_TRUE(is_option_name(name)) << name;
      EXPECT_FALSE(help.empty()) << name;
    });
  });
}

TEST(Methods, ReadTheConfigThatAVisitorWrote) {
  kvant::RtnConfig config;
  kvant::RtnConfig::visit(config, [](std::string_view, auto& field, std::string_view) {
    if constexpr (std::is_same_v<std::remove_reference_t<decltype(field)>, bool>) field = false;
  });
  EXPECT_FALSE(config.search);
  const kvant::RtnConfig constant;
  int fields = 0;
  kvant::RtnConfig::visit(constant, [&](std::string_view, const auto&, std::string_view) { ++fields; });
  EXPECT_GE(fields, 2);
}

TEST(Methods, QuantizeAnOrdinaryLayerUnderEverySchemeFamily) {
  const kvant::Matrix<float> w = reference::normal_matrix(6, 80, 99), x = reference::normal_matrix(200, 80, 98);
  kvant::LayerStatistics statistics;  // whatever a method needs
  kvant::add_inputs(statistics, kvant::Needs::channels | kvant::Needs::gram | kvant::Needs::samples, x.view());
  for_each_method(kvant::AllQuantizers{}, [&]<class Q>() {
    for (const char* text : {"int8-channel", "int4-g32", "int4-g32-asym", "int4-g32-full", "int2-g32", "int1-g32",
                             "ternary-tensor", "nf4-g64", "fp4_e2m1-g32", "fp8_e4m3fn-b2x64"}) {
      const auto q = Q{}(kvant::LayerInput{"w", w.view(), {}, 0.0f, &statistics}, *kvant::parse_scheme(text), {});
      ASSERT_TRUE(q.has_value()) << Q::kName << " " << text;
      EXPECT_EQ(q->weight.rows, 6u);
      EXPECT_EQ(q->weight.cols, 80u);
      EXPECT_EQ(q->weight.codes.size(), 480u);
    }
  });
}

/// A method that gives every element the code 1.
struct Ones {
  static constexpr std::string_view kName = "ones";
  static constexpr std::string_view kSummary = "for a test";
  static constexpr bool kRowwise = true;
  static constexpr kvant::Needs kNeeds = kvant::Needs::nothing;
  using Config = kvant::RtnConfig;
  Config config{};
  kvant::Result<kvant::QLinear> operator()(const kvant::LayerInput& layer, const kvant::LayerScheme& scheme,
                                           const kvant::Context& context) const {
    auto q = kvant::Rtn{}(layer, scheme, context);
    if (q) q->weight.codes.assign(q->weight.codes.size(), 1);
    return q;
  }
};

TEST(Methods, AreTheOnesThatRunWhenTheyAreNamed) {
  using Any = kvant::AnyQuantizerOf<kvant::QuantizerList<kvant::Rtn, Ones>>;
  const kvant::Matrix<float> w = reference::normal_matrix(6, 80, 99);
  const kvant::Scheme scheme = *kvant::parse_scheme("int4-g32");
  const auto plain = (*Any::parse("rtn"))({"layer", w.view()}, scheme, {});
  const auto ones = (*Any::parse("ones"))({"layer", w.view()}, scheme, {});
  ASSERT_TRUE(plain && ones);
  EXPECT_EQ(plain->weight.codes, kvant::Rtn{}({"layer", w.view()}, scheme, {})->weight.codes);
  EXPECT_EQ(ones->weight.codes, std::vector<std::uint8_t>(480, 1));
  EXPECT_EQ(Any::parse("ones")->name(), "ones");
  EXPECT_EQ(Any::parse("gptq").error().code, kvant::ErrorCode::usage);
  for (const kvant::QuantizerInfo& q : kvant::kQuantizers)
    EXPECT_EQ(kvant::AnyQuantizer::parse(q.name)->name(), q.name);
}

TEST(Methods, TakeOptionsByName) {
  const auto visit_all = [](kvant::AnyQuantizer& method) {
    std::string all;
    method.visit([&](std::string_view name, auto& value, std::string_view) {
      all += std::string(name) + "=" + kvant::detail::text_of_option(value) + ";";
    });
    return all;
  };
  kvant::AnyQuantizer method = kvant::AnyQuantizer::parse("rtn:search=false,power_rule=up").value();
  EXPECT_EQ(visit_all(method), "search=false;power_rule=up;");
  EXPECT_TRUE(method.set("search=true"));
  EXPECT_EQ(visit_all(method), "search=true;power_rule=up;");
  const kvant::Matrix<float> w = reference::normal_matrix(4, 96, 98);
  const auto plain =
      kvant::AnyQuantizer::parse("rtn:search=false").value()({"w", w.view()}, *kvant::parse_scheme("int4-g32"), {});
  EXPECT_EQ(plain->weight.codes, kvant::quantize(w.view(), *kvant::parse_scheme("int4-g32"))->codes);
  for (const char* text : {"rtn:", "rtn"}) EXPECT_TRUE(kvant::AnyQuantizer::parse(text)) << text;
  for (const char* text :
       {"", "rtnx", "rtn:search", "rtn:search=", "rtn:search=yes", "rtn:power_rule=down", "rtn:search=true,,",
        "rtn:speed=1", "rtn:search=true,power_rule", "RTN", "rtn,search=true"}) {
    const auto refused = kvant::AnyQuantizer::parse(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, kvant::ErrorCode::usage) << text;
  }
  EXPECT_NE(kvant::AnyQuantizer::parse("rtn:speed=1").error().message.find("search, power_rule"), std::string::npos);
}

}  // namespace
