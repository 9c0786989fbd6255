// SPDX-License-Identifier: Apache-2.0
// What is special of models whose attention looks both ways, and of those that read a source.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "golden_families.hpp"
#include "io/test_files.hpp"
#include "kvant/nn/pooling.hpp"

namespace kvant::nn {
namespace {

using io::test::code_of;
using test::GoldenModel;

/// So many ids, of which `last` is the last one.
std::vector<std::int32_t> some_ids(std::size_t count, std::int32_t last) {
  std::vector<std::int32_t> ids(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::int32_t>(5 + i * 37 % 60);
  ids.back() = last;
  return ids;
}

Matrix<float> states_of(const Model& model, std::span<const std::int32_t> ids) {
  auto cache = KvCache::make(model.config(), ids.size());
  Matrix<float> states(ids.size(), model.config().hidden);
  const Status done = model.hidden_states(ids, *cache, states.view(), {});
  EXPECT_TRUE(done) << describe(done.error());
  return states;
}

bool same(const Matrix<float>& a, MatrixView<const float> b) {
  for (std::size_t r = 0; r < a.rows(); ++r)
    if (!std::ranges::equal(a.view().row(r), b.row(r))) return false;
  return true;
}

class GoldenEncoder : public testing::TestWithParam<std::string> {};

TEST_P(GoldenEncoder, GivesTheSameBitsBesideOtherSequences) {
  const GoldenModel golden(GetParam());
  const Model& model = golden.model;
  ASSERT_TRUE(is_bidirectional(model.config()));
  const std::span<const std::int32_t> ids = golden.recorded.ids;
  const std::array parts{ids.first(9), ids, ids.subspan(3, 20)};
  std::vector<KvCache> caches;
  for (const auto& part : parts) caches.push_back(*KvCache::make(model.config(), part.size()));
  Workspace work;
  Matrix<float> all(29 + ids.size(), model.config().hidden);
  const std::array batch{SequenceRows{parts[0], &caches[0]}, SequenceRows{parts[1], &caches[1]},
                         SequenceRows{parts[2], &caches[2]}};
  ASSERT_TRUE(model.hidden_states(batch, all.view(), work, {}));
  std::size_t first = 0;
  for (const auto& part : parts) {
    EXPECT_TRUE(same(states_of(model, part), all.view().rows(first, part.size())));
    first += part.size();
  }
}

TEST_P(GoldenEncoder, LetsEveryTokenSeeTheLastOne) {
  const GoldenModel golden(GetParam());
  const Matrix<float> a = states_of(golden.model, some_ids(40, 7));
  const Matrix<float> b = states_of(golden.model, some_ids(40, 8));
  for (std::size_t r = 0; r < 40; ++r) EXPECT_FALSE(std::ranges::equal(a.view().row(r), b.view().row(r))) << r;
}

TEST_P(GoldenEncoder, TakesWholeSequencesOnly) {
  const GoldenModel golden(GetParam());
  const Model& model = golden.model;
  const std::span<const std::int32_t> ids = golden.recorded.ids;
  auto cache = KvCache::make(model.config(), ids.size());
  Matrix<float> states(20, model.config().hidden);
  ASSERT_TRUE(model.hidden_states(ids.first(20), *cache, states.view(), {}));
  EXPECT_EQ(code_of(model.hidden_states(ids.subspan(20), *cache, states.view(), {})), "usage");
  cache->clear();
  EXPECT_TRUE(model.hidden_states(ids.subspan(20), *cache, states.view(), {}));
}

INSTANTIATE_TEST_SUITE_P(Encoders, GoldenEncoder, testing::ValuesIn(test::golden_encoders()), test::golden_name);

TEST(Encoders, RunSequencesLongerThanWhatUsuallyGoesTogether) {
  const GoldenModel golden("nomic-bert");
  const Model& model = golden.model;
  const auto longest = some_ids(600, 7);
  const auto shorter = some_ids(200, 9);
  const Matrix<float> alone = states_of(model, longest);
  EXPECT_FALSE(std::ranges::equal(alone.view().row(0), states_of(model, some_ids(600, 8)).view().row(0)));
  std::vector<KvCache> caches;
  for (const std::size_t count : std::array<std::size_t, 3>{200, 600, 200})
    caches.push_back(*KvCache::make(model.config(), count));
  Workspace work;
  Matrix<float> all(1000, model.config().hidden);
  const std::array batch{SequenceRows{shorter, &caches[0]}, SequenceRows{longest, &caches[1]},
                         SequenceRows{shorter, &caches[2]}};
  ASSERT_TRUE(model.hidden_states(batch, all.view(), work, {}));
  EXPECT_TRUE(same(states_of(model, shorter), all.view().rows(0, 200)));
  EXPECT_TRUE(same(alone, all.view().rows(200, 600)));
  EXPECT_TRUE(same(states_of(model, shorter), all.view().rows(800, 200)));
}

/// Of a rotation that is stretched beyond 64 tokens.
TEST(Encoders, StretchRotationsToTheSequenceNotToItsCache) {
  const GoldenModel golden("nomic-bert");
  const io::test::TemporaryFolder folder;
  std::filesystem::copy_file(test::kGolden / "nomic-bert/model.safetensors", folder / "model.safetensors");
  io::Json config = *golden.weights.config();
  folder.write("config.json", io::to_text(config.set("rotary_scaling_factor", 2.0)));
  const auto weights = io::Weights::open(folder.path());
  const auto model = Model::load(*weights, {});
  ASSERT_TRUE(model) << describe(model.error());
  for (const std::size_t count : std::array<std::size_t, 2>{40, 100}) {
    const auto ids = some_ids(count, 7);
    auto cache = KvCache::make(model->config(), 500);
    Matrix<float> states(count, model->config().hidden);
    ASSERT_TRUE(model->hidden_states(ids, *cache, states.view(), {}));
    EXPECT_TRUE(same(states_of(*model, ids), states.view())) << count;
    EXPECT_EQ(same(states_of(golden.model, ids), states.view()), count == 40) << "stretched from 65 tokens on";
  }
}

TEST(Encoders, SayThatTheyHaveNoHeadOrPooler) {
  const GoldenModel bare("bert");
  auto cache = KvCache::make(bare.model.config(), 3);
  Matrix<float> logits(3, bare.model.config().vocabulary);
  const auto ids = some_ids(3, 4);
  EXPECT_EQ(code_of(bare.model.forward(ids, *cache, logits.view(), {})), "unsupported");
  EXPECT_EQ(code_of(bare.model.logits_of(states_of(bare.model, ids).view(), logits.view(), {})), "unsupported");
  EXPECT_EQ(cache->length(), 0u);
  const GoldenModel headed("roberta");
  Matrix<float> pooled(1, headed.model.config().hidden);
  EXPECT_EQ(code_of(headed.model.pooled_of(pooled.view(), pooled.view(), {})), "unsupported");
}

TEST(Encoders, CheckTypesOfTokens) {
  const GoldenModel golden("bert");
  const Model& model = golden.model;
  const auto ids = some_ids(3, 4);
  auto cache = KvCache::make(model.config(), 3);
  Matrix<float> states(3, model.config().hidden);
  Workspace work;
  const auto run = [&](const Model& m, const std::vector<std::int32_t>& types) {
    cache->clear();
    return code_of(m.hidden_states(std::array{SequenceRows{ids, &*cache, types}}, states.view(), work, {}));
  };
  EXPECT_EQ(run(model, {0, 1}), "usage");
  EXPECT_EQ(run(model, {0, 1, 2}), "usage");
  EXPECT_EQ(run(model, {0, -1, 0}), "usage");
  EXPECT_EQ(run(model, {0, 0, 0}), "success");
  EXPECT_TRUE(same(states_of(model, ids), states.view()));
  EXPECT_EQ(run(model, {0, 1, 1}), "success");
  EXPECT_FALSE(same(states_of(model, ids), states.view()));
  EXPECT_EQ(run(GoldenModel("distilbert").model, {0, 0, 0}), "usage") << "it has no types";
}

TEST(Encoders, CountPositionsBehindThatOfPadding) {
  const GoldenModel golden("roberta");
  EXPECT_EQ(golden.model.config().position_limit, 48u) << "50 rows, of which the first two are no positions";
  auto cache = KvCache::make(golden.model.config(), 49);
  Matrix<float> states(49, golden.model.config().hidden);
  EXPECT_EQ(code_of(golden.model.hidden_states(some_ids(49, 4), *cache, states.view(), {})), "limit");
}

/// The recorded model's configuration with other members.
Result<ModelConfig> read_with(const std::string& folder, std::string_view members) {
  io::Json config = *GoldenModel(folder).weights.config();
  const auto more = io::parse_json("{" + std::string(members) + "}");
  EXPECT_TRUE(more) << members;
  for (const auto& [key, value] : more->members()) config.set(key, value);
  return read_model_config(config);
}

TEST(EncoderConfig, RefusesWhatIsNotComputed) {
  for (const auto& [folder, members] : {std::pair{"bert", R"("position_embedding_type": "relative_key")"},
                                        {"bert", R"("is_decoder": true)"},
                                        {"bert", R"("tie_word_embeddings": false)"},
                                        {"bert", R"("architectures": ["BertForSequenceClassification"])"},
                                        {"nomic-bert", R"("prenorm": true)"},
                                        {"nomic-bert", R"("activation_function": "gelu")"},
                                        {"nomic-bert", R"("moe_every_n_layers": 2)"},
                                        {"modernbert", R"("hidden_activation": "mish")"},
                                        {"t5", R"("feed_forward_proj": "gated-mish")"}})
    EXPECT_EQ(code_of(read_with(folder, members)), "unsupported") << folder << members;
}

TEST(EncoderConfig, RefusesWhatIsImpossible) {
  for (const auto& [folder, members] : {std::pair{"roberta", R"("max_position_embeddings": 2)"},
                                        {"roberta", R"("pad_token_id": 2000000000)"},
                                        {"mpnet", R"("relative_attention_num_buckets": 3)"},
                                        {"mpnet", R"("relative_attention_num_buckets": 512)"},
                                        {"distilbert", R"("n_heads": 5)"},
                                        {"modernbert", R"("num_attention_heads": 8)"},
                                        {"modernbert", R"("global_rope_theta": 0)"},
                                        {"nomic-bert", R"("rotary_scaling_factor": -1)"},
                                        {"nomic-bert", R"("rotary_emb_base": 0)"},
                                        {"t5", R"("relative_attention_num_buckets": 2)"},
                                        {"t5", R"("relative_attention_max_distance": 16)"}})
    EXPECT_EQ(code_of(read_with(folder, members)), "bad_config") << folder << members;
}

TEST(EncoderConfig, TakesEitherClass) {
  EXPECT_TRUE(read_with("bert", R"("architectures": ["BertForMaskedLM"])"));
  EXPECT_TRUE(read_with("bert-mlm", R"("architectures": ["BertModel"])"));
}

TEST(EncoderConfig, HasTheHeadThatTheCheckpointHas) {
  const GoldenModel bare("bert");
  EXPECT_TRUE(bare.model.config().head.empty());
  EXPECT_FALSE(read_model_config(*bare.weights.config())->head.empty()) << "without a checkpoint, all there may be";
  EXPECT_FALSE(GoldenModel("bert-mlm").model.config().head.empty());
}

/// Keeps what a layer reads.
class Recorder final : public LayerTap {
 public:
  explicit Recorder(TensorId layer) : layer_(layer) {}
  void input(TensorId weight, MatrixView<const float> rows) override {
    if (weight != layer_) return;
    seen = Matrix<float>(rows.rows(), rows.cols());
    for (std::size_t r = 0; r < rows.rows(); ++r) std::ranges::copy(rows.row(r), seen.row(r).begin());
  }
  Matrix<float> seen;

 private:
  TensorId layer_;
};

TensorId tensor_named(const ModelConfig& config, std::string_view name) {
  for (TensorId id = 0; id < config.tensors.size(); ++id)
    if (config.tensors[id].name == name) return id;
  return kNoTensor;
}

class GoldenSource : public testing::TestWithParam<std::string> {};

TEST_P(GoldenSource, BecomesTheRecordedStates) {
  const GoldenModel golden(GetParam());
  const ModelConfig& config = golden.model.config();
  Recorder recorder(tensor_named(config, "decoder.block.1.layer.1.EncDecAttention.v.weight"));
  const auto& source = golden.recorded.source;
  auto cache = KvCache::make(config, 1, source.size());
  Workspace work;
  ASSERT_TRUE(golden.model.encode(std::array{SequenceRows{source, &*cache}}, work, {}, &recorder));
  const auto file = io::Weights::open_as_stored(test::kGolden / GetParam() / "case.safetensors");
  EXPECT_LE(test::relative_error(recorder.seen, *file->read_float(*file->find("encoder_hidden"))), 2e-5);
}

/// The source is read anew by every sequence, beside others of another length.
TEST_P(GoldenSource, BelongsToItsSequence) {
  const GoldenModel golden(GetParam());
  const Model& model = golden.model;
  const std::span<const std::int32_t> source = golden.recorded.source;
  const std::array<std::int32_t, 2> ids{0, 9};
  const auto alone = [&](std::span<const std::int32_t> part) {
    auto cache = KvCache::make(model.config(), 2, 50);
    Matrix<float> logits(2, model.config().vocabulary);
    EXPECT_TRUE(model.encode(part, *cache, {}));
    EXPECT_TRUE(model.forward(ids, *cache, logits.view(), {}));
    return logits;
  };
  auto a = KvCache::make(model.config(), 2, 50);
  auto b = KvCache::make(model.config(), 2, 50);
  Workspace work;
  Matrix<float> logits(4, model.config().vocabulary);
  for (const std::size_t count : std::array<std::size_t, 2>{50, 17}) {
    a->clear();
    b->clear();
    ASSERT_TRUE(
        model.encode(std::array{SequenceRows{source.first(count), &*a}, SequenceRows{source.last(20), &*b}}, work, {}));
    ASSERT_TRUE(model.forward(std::array{SequenceRows{ids, &*a}, SequenceRows{ids, &*b}}, logits.view(), work, {}));
    EXPECT_TRUE(same(alone(source.first(count)), logits.view().rows(0, 2)));
    EXPECT_TRUE(same(alone(source.last(20)), logits.view().rows(2, 2)));
  }
}

TEST_P(GoldenSource, IsAskedFor) {
  const GoldenModel golden(GetParam());
  const Model& model = golden.model;
  const std::span<const std::int32_t> source = golden.recorded.source;
  EXPECT_EQ(code_of(KvCache::make(model.config(), 4)), "usage");
  auto cache = KvCache::make(model.config(), 4, 10);
  Matrix<float> logits(1, model.config().vocabulary);
  const std::array<std::int32_t, 1> start{0};
  EXPECT_EQ(code_of(model.forward(start, *cache, logits.view(), {})), "usage") << "nothing is encoded";
  EXPECT_EQ(code_of(model.encode(source.first(11), *cache, {})), "limit");
  EXPECT_EQ(code_of(model.encode(source.first(0), *cache, {})), "usage");
  EXPECT_TRUE(model.encode(source.first(10), *cache, {}));
  EXPECT_TRUE(model.encode(source.first(9), *cache, {})) << "another source in its place";
  EXPECT_TRUE(model.forward(start, *cache, logits.view(), {}));
  EXPECT_EQ(code_of(model.encode(source.first(9), *cache, {})), "usage") << "tokens saw the first one";
}

INSTANTIATE_TEST_SUITE_P(EncoderDecoders, GoldenSource, testing::Values("t5", "t5-v1-1"), test::golden_name);

TEST(Decoders, ReadNoSource) {
  const GoldenModel golden("llama");
  auto cache = KvCache::make(golden.model.config(), 4, 4);
  const std::array<std::int32_t, 1> ids{3};
  EXPECT_EQ(code_of(golden.model.encode(ids, *cache, {})), "unsupported");
}

TEST(SentenceEmbedding, IsTheMeanOfLengthOne) {
  const Matrix<float> states(2, 3, std::vector<float>{3, 0, 1, 3, 16, -1});
  std::array<float, 3> embedding{};
  sentence_embedding(states.view(), embedding);
  EXPECT_EQ(embedding, (std::array{6.0f / std::sqrt(292.0f), 16.0f / std::sqrt(292.0f), 0.0f}));
}

TEST(SentenceEmbedding, OfZerosIsZero) {
  const Matrix<float> states(4, 2);
  std::array<float, 2> embedding{1, 1};
  sentence_embedding(states.view(), embedding);
  EXPECT_EQ(embedding, (std::array{0.0f, 0.0f}));
}

}  // namespace
}  // namespace kvant::nn
