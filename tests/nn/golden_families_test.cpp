// SPDX-License-Identifier: Apache-2.0
// Every family against transformers: tiny random models with all special cases of the family switched on, recorded by
// golden/families/make.py. Logits, hidden and pooled states agree within 2e-5 of the largest number.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "golden_families.hpp"

namespace kvant::nn {
namespace {

using test::GoldenCase;
using test::load_golden;

TEST(GoldenFamilies, OfWhichNoneIsForgotten) {
  for (const std::string_view name : test::kLater) {
    const auto model = load_golden(std::string(name));
    ASSERT_FALSE(model) << name << " is computed";
    EXPECT_EQ(model.error().code, ErrorCode::unsupported) << name;
  }
}

class GoldenFamily : public testing::TestWithParam<std::string> {};

TEST_P(GoldenFamily, AgreesWithTransformers) {
  const auto model = load_golden(GetParam());
  ASSERT_TRUE(model) << describe(model.error());
  const double error = test::error_of(*model, GoldenCase(GetParam()));
  EXPECT_LE(error, 2e-5);
  RecordProperty("error", std::to_string(error));
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenFamily, testing::ValuesIn(test::golden_models()), test::golden_name);

class GoldenDecoder : public testing::TestWithParam<std::string> {};

TEST_P(GoldenDecoder, GivesTheSameBitsStepByStepAndBesideOthers) {
  const auto model = load_golden(GetParam());
  ASSERT_TRUE(model) << describe(model.error());
  const GoldenCase recorded(GetParam());
  const std::span<const std::int32_t> ids = recorded.ids;
  const std::size_t vocabulary = model->config().vocabulary;
  const auto cache = [&] { return recorded.cache(*model); };
  KvCache whole = cache();
  Matrix<float> expected(ids.size(), vocabulary);
  ASSERT_TRUE(model->forward(ids, whole, expected.view(), {}));
  KvCache steps = cache();
  Matrix<float> logits(ids.size(), vocabulary);
  for (std::size_t first = 0; first < ids.size();) {
    const std::size_t count = first < 20 ? 1 : std::min<std::size_t>(7, ids.size() - first);
    ASSERT_TRUE(model->forward(ids.subspan(first, count), steps, logits.view().rows(first, count), {}));
    first += count;
  }
  EXPECT_TRUE(std::equal(expected.data(), expected.data() + expected.size(), logits.data()));
  // Three sequences at once, of which one begins later and one is ahead.
  KvCache a = cache();
  KvCache b = cache();
  KvCache c = cache();
  Workspace work;
  Matrix<float> first(12, vocabulary);
  ASSERT_TRUE(model->forward(std::array{SequenceRows{ids.first(9), &a}, SequenceRows{ids.first(3), &b}}, first.view(),
                             work, {}));
  EXPECT_TRUE(std::equal(first.data(), first.data() + 9 * vocabulary, expected.data()));
  EXPECT_TRUE(std::equal(first.data() + 9 * vocabulary, first.data() + 12 * vocabulary, expected.data()));
  Matrix<float> last(3, vocabulary);
  const std::array batch{SequenceRows{ids.subspan(3, 4), &b}, SequenceRows{ids.subspan(9, 1), &a},
                         SequenceRows{ids.first(6), &c}};
  ASSERT_TRUE(model->forward(batch, last.view(), work, {}));
  EXPECT_TRUE(std::ranges::equal(last.row(0), expected.row(6)));
  EXPECT_TRUE(std::ranges::equal(last.row(1), expected.row(9)));
  EXPECT_TRUE(std::ranges::equal(last.row(2), expected.row(5)));
}

/// No expert may be chosen twice, or more rows would come to it than there are.
TEST(GoldenFamilies, RunWhateverTheRouterSays) {
  for (const char* name : {"mixtral", "deepseek-v3", "gpt-oss"}) {
    auto model = load_golden(name);
    ASSERT_TRUE(model) << name;
    const ModelConfig& config = model->config();
    for (TensorId id = 0; id < config.tensors.size(); ++id) {
      if (config.tensors[id].role != Role::router) continue;
      const Matrix<float> nan(config.tensors[id].shape[0], config.tensors[id].shape[1], NAN);
      ASSERT_TRUE(model->replace(id, Linear::from_float(nan.view(), format_id<fp32>)));
    }
    auto cache = KvCache::make(config, 20);
    Matrix<float> logits(20, config.vocabulary);
    EXPECT_TRUE(model->forward(std::vector<std::int32_t>(20, 3), *cache, logits.view(), {}));
    EXPECT_TRUE(std::isnan(logits(19, 0)));
  }
}

INSTANTIATE_TEST_SUITE_P(Decoders, GoldenDecoder, testing::ValuesIn(test::golden_decoders()), test::golden_name);

}  // namespace
}  // namespace kvant::nn
