// SPDX-License-Identifier: Apache-2.0
// A real model (Llama architecture, 260 thousand parameters) against recorded values of another implementation.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/io/npy.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/nn/model.hpp"
#include "reference/llama_reference.hpp"
#include "support/sanitized.hpp"

namespace kvant::nn {
namespace {

class Stories : public testing::Test {
 protected:
  void SetUp() override {
    if (io::test::test_data().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
    const auto folder = io::test::test_data() / "lm/stories260K-hf";
    auto weights = io::Weights::open(folder);
    ASSERT_TRUE(weights) << describe(weights.error());
    weights_.emplace(std::move(*weights));
    auto model = Model::load(*weights_, runtime());
    ASSERT_TRUE(model) << describe(model.error());
    model_.emplace(std::move(*model));
    const auto ids = io::read_npy(folder / "test_ids.npy")->to_ids();
    ids_.assign(ids->begin(), ids->end());
    ASSERT_EQ(ids_.size(), 36685u);
  }

  /// Sum of the negative log-likelihoods of every id after the first.
  double nll_of(std::span<const std::int32_t> ids) const {
    const std::size_t vocabulary = model_->config().vocabulary;
    Matrix<float> logits(ids.size(), vocabulary);
    auto cache = KvCache::make(model_->config(), ids.size());
    const Status s = model_->forward(ids, *cache, logits.view(), runtime());
    EXPECT_TRUE(s) << describe(s.error());
    double sum = 0;
    for (std::size_t t = 0; t + 1 < ids.size(); ++t)
      sum += reference::negative_log_likelihood(std::span<const float>(logits.row(t)), ids[t + 1]);
    return sum;
  }

  static bool is_slow() { return std::string_view(runtime().kernels().tier) == "generic"; }

  std::optional<io::Weights> weights_;
  std::optional<Model> model_;
  std::vector<std::int32_t> ids_;
};

TEST_F(Stories, AgreeWithTheDoubleReference) {
  reference::Llama llama{64, 172, 5, 8, 4, 8, 512, 1e-5, 10000, {}};
  for (const io::WeightInfo& w : weights_->list()) {
    const auto values = weights_->read_float(w);
    ASSERT_TRUE(values);
    llama.tensors[w.name].assign(values->data(), values->data() + values->size());
  }
  const auto ids = std::span<const std::int32_t>(ids_).first(200);
  const auto logits = llama.logits(ids);
  double expected = 0;
  for (std::size_t t = 0; t + 1 < ids.size(); ++t)
    expected += reference::negative_log_likelihood(std::span<const double>(logits[t]), ids[t + 1]);
  // 5 layers of some 600 float32 roundings each, on logits below 30.
  EXPECT_NEAR(nll_of(ids) / 199, expected / 199, 5 * 600 * 0x1p-24 * 30);
}

TEST_F(Stories, ReachTheRecordedLikelihoodByWindows) {
  KVANT_SKIP_UNDER_SANITIZERS();
  if (is_slow()) GTEST_SKIP() << "takes too long on the generic tier";
  double sum = 0;
  std::size_t tokens = 0;
  for (std::size_t first = 0; first < ids_.size(); first += 512) {
    const auto window =
        std::span<const std::int32_t>(ids_).subspan(first, std::min<std::size_t>(512, ids_.size() - first));
    sum += nll_of(window);
    tokens += window.size() - 1;
  }
  EXPECT_EQ(tokens, 36613u);
  EXPECT_NEAR(sum / static_cast<double>(tokens), 1.4787755954341466, 5e-4);
}

TEST_F(Stories, ReachTheRecordedLikelihoodByDocuments) {
  KVANT_SKIP_UNDER_SANITIZERS();
  if (is_slow()) GTEST_SKIP() << "takes too long on the generic tier";
  double sum = 0;
  std::size_t tokens = 0;
  for (auto begin = ids_.begin(); begin != ids_.end();) {
    const auto end = std::find(begin + 1, ids_.end(), 1);
    sum += nll_of({begin, end});
    tokens += static_cast<std::size_t>(end - begin) - 1;
    begin = end;
  }
  EXPECT_EQ(tokens, 36605u);
  EXPECT_NEAR(sum / static_cast<double>(tokens), 1.4360194169469718, 5e-4);
}

}  // namespace
}  // namespace kvant::nn
