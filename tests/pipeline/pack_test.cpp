// SPDX-License-Identifier: Apache-2.0
// Files of packed layers: mapped products without a copy, every scheme, other tiers' layouts, broken files.
#include "kvant/pipeline/pack.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/io/packed_file.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/quant/encode.hpp"
#include "linear/layers.hpp"
#include "silent.hpp"

namespace kvant::pipeline {
namespace {

using io::test::code_of;
using io::test::TemporaryFolder;

/// One layer of each scheme in one file, with a bias for the first.
class PackedFile : public ::testing::Test {
 protected:
  void SetUp() override {
    matrices_.clear();
    std::vector<io::PackedLayer> layers;
    for (const char* text : kSchemes) {
      const QLinear q = quantized(random_matrix(70, 136, matrices_.size()).view(), text, {0.02f, 0});
      matrices_.push_back(q.weight);
      layers.push_back(*io::PackedLayer::of(std::string(text) + ".weight", q.weight, q.inputs, {}));
    }
    bias_.assign(70, 0.25f);
    const std::string name = std::string(kSchemes[0]) + ".bias";
    auto writer = io::PackedWriter::create(path(), layers, {{name, DType::f32, {70}}}, io::OutputMode::replace);
    ASSERT_TRUE(writer);
    for (std::size_t i = 0; i < matrices_.size(); ++i) ASSERT_TRUE(writer->write(i, *pack(matrices_[i])));
    ASSERT_TRUE(writer->write(name, std::as_bytes(std::span(bias_))));
    ASSERT_TRUE(writer->commit());
  }
  [[nodiscard]] std::filesystem::path path() const { return folder_ / "all.kvant"; }
  [[nodiscard]] Matrix<float> product(const Linear& layer) const {
    const Matrix<float> x = random_matrix(3, 136, 99);
    Matrix<float> y(3, 70);
    EXPECT_TRUE(layer.multiply(x.view(), y.view(), runtime()));
    return y;
  }
  [[nodiscard]] Linear made(std::size_t i) const {
    const LayerInputs inputs{parse_layer_scheme(kSchemes[i])->activation, {0.02f, 0}};
    return *Linear::from({matrices_[i], i == 0 ? bias_ : std::vector<float>{}, inputs});
  }
  static bool same_bits(const Matrix<float>& a, const Matrix<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  }
  /// The file with one part of its header replaced by another of the same length.
  void replace(const std::string& from, const std::string& to) const {
    std::string bytes = io::test::read_bytes(path());
    const std::size_t at = bytes.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    ASSERT_EQ(from.size(), to.size());
    bytes.replace(at, from.size(), to);
    static_cast<void>(folder_.write("all.kvant", bytes));
  }

  TemporaryFolder folder_;
  std::vector<QMatrix> matrices_;
  std::vector<float> bias_;
};

TEST_F(PackedFile, MultipliesByItsOwnBytes) {
  const auto file = io::PackedFile::open(path());
  ASSERT_TRUE(file) << describe(file.error());
  ASSERT_TRUE(file->verify(runtime()));
  ASSERT_EQ(file->layers().size(), matrices_.size());
  const auto mapped = file->tensors().file().mapped();
  for (std::size_t i = 0; i < matrices_.size(); ++i) {
    const io::PackedLayer* described = file->find(std::string(kSchemes[i]) + ".weight");
    ASSERT_NE(described, nullptr) << kSchemes[i];
    const auto layer = file->layer(*described, runtime());
    ASSERT_TRUE(layer) << describe(layer.error());
    const auto* begin = reinterpret_cast<const unsigned char*>(mapped.data());
    EXPECT_TRUE(layer->bytes().data() >= begin && layer->bytes().data() < begin + mapped.size()) << "copied";
    EXPECT_TRUE(same_bits(product(*layer), product(made(i)))) << kSchemes[i];
    const QMatrix back = unpack(layer->packed(), layer->bytes());
    EXPECT_EQ(back.codes, matrices_[i].codes) << kSchemes[i];
    EXPECT_EQ(back.scales[0].values, matrices_[i].scales[0].values) << kSchemes[i];
  }
}

TEST_F(PackedFile, IsPackedAnewWhereATierPrefersAnotherLayout) {
  kernels::Kernels table = runtime().kernels();
  table.prefers = [](Layout layout, unsigned, std::size_t) noexcept { return layout == Layout::w8_p64; };
  SerialExecutor serial;
  const Context bytes_only(table, serial);
  const auto file = io::PackedFile::open(path());
  for (std::size_t i = 0; i < matrices_.size(); ++i) {
    const auto layer = file->layer(*file->find(std::string(kSchemes[i]) + ".weight"), bytes_only);
    ASSERT_TRUE(layer) << kSchemes[i] << ": " << describe(layer.error());
    EXPECT_EQ(layer->shape().layout, Layout::w8_p64);
    const Matrix<float> y = product(*layer);
    const Matrix<float> expected = product(made(i));
    for (std::size_t j = 0; j < y.size(); ++j)  // groups are filled up otherwise, so chains differ
      EXPECT_NEAR(y.data()[j], expected.data()[j], 1e-5f) << kSchemes[i];
  }
}

TEST_F(PackedFile, NamesTheLayerThatIsNotAsItWasWritten) {
  {
    const auto file = io::PackedFile::open(path());
    const auto& all = file->tensors().tensors();
    const auto tensor =
        std::find_if(all.begin(), all.end(), [](const io::TensorInfo& t) { return t.name == "nf4-g64.weight"; });
    ASSERT_NE(tensor, all.end());
    std::fstream raw(path(), std::ios::in | std::ios::out | std::ios::binary);
    raw.seekp(static_cast<std::streamoff>(tensor->offset + 77));
    raw.put('\x5a');
  }
  const auto file = io::PackedFile::open(path());
  ASSERT_TRUE(file);
  const Status intact = file->verify(runtime());
  ASSERT_EQ(code_of(intact), "bad_checksum");
  EXPECT_EQ(intact.error().where.tensor, "nf4-g64.weight");
}

TEST_F(PackedFile, RefusesWhatItsDescriptionGetsWrong) {
  struct Row {
    const char *from, *to, *code;
  };
  for (const Row& row :
       {Row{R"("version":"1")", R"("version":"2")", "unsupported"}, Row{"kvant-packed", "kvant-pickle", "unsupported"},
        Row{R"(\"w4.p32.v1\")", R"(\"w4.p32.v9\")", "unsupported"},
        Row{R"(\"w4.p32.v1\")", R"(\"w1.p32.v1\")", "bad_metadata"},
        Row{R"(\"rows\":70)", R"(\"rows\":71)", "bad_checksum"},
        Row{R"(\"inputs\":136)", R"(\"inputs\":972)", "bad_shape"},
        Row{R"(\"scales\":\"fp16\")", R"(\"scales\":\"fp61\")", "bad_metadata"},
        Row{R"(\"reciprocal\":false)", R"(\"reciprocal\":12345)", "bad_metadata"},
        Row{R"(\"specials\")", R"(\"specialz\")", "bad_metadata"},
        Row{R"(\"input_zero\":0)", R"(\"input_zero\":x)", "bad_json"},
        Row{R"(\"name\":\"int8-tensor)", R"(\"name\":\"int8-censor)", "missing_tensor"},
        Row{R"("kvant.xxh64")", R"("kvant.xxh65")", "missing_tensor"},
        Row{R"(\"scheme\":\"int8-channel\")", R"(\"scheme\":\"int9-channel\")", "bad_scheme"}}) {
    SetUp();
    replace(row.from, row.to);
    const auto file = io::PackedFile::open(path());
    EXPECT_EQ(code_of(file), row.code) << row.to << (file ? "" : ": " + describe(file.error()));
  }
}

TEST_F(PackedFile, HashesWhatStandsBesideThePanelsToo) {
  for (const char* name : {"int8-g12/int8-token.weight#columns", "nf4-g64-dq.weight#scales1", "int8-channel.bias"}) {
    SetUp();
    std::uint64_t offset = 0;
    {
      const auto file = io::PackedFile::open(path());
      for (const io::TensorInfo& t : file->tensors().tensors())
        if (t.name == name) offset = t.offset;
    }
    ASSERT_NE(offset, 0u) << name;
    std::fstream raw(path(), std::ios::in | std::ios::out | std::ios::binary);
    raw.seekp(static_cast<std::streamoff>(offset));
    raw.put('\x07');
    raw.close();
    const auto file = io::PackedFile::open(path());
    ASSERT_TRUE(file) << name;
    EXPECT_EQ(code_of(file->verify(runtime())), "bad_checksum") << name;
  }
}

TEST_F(PackedFile, IsNamedAndRefusedWhereACheckpointIsExpected) {
  const auto weights = io::Weights::open(path());
  ASSERT_EQ(code_of(weights), "unsupported");
  EXPECT_NE(weights.error().message.find("kvant-packed"), std::string::npos) << weights.error().message;
}

// A checkpoint, quantized or not, becomes a file whose layers are those of its weights.
TEST(PackCheckpoint, PacksEveryMatrixAndKeepsTheRest) {
  const TemporaryFolder folder;
  PackJob job{std::filesystem::path(KVANT_SOURCE_DIR) / "models/tiny", folder / "tiny.kvant", io::OutputMode::refuse};
  Silent quiet;
  const auto report = pack_checkpoint(job, runtime(), quiet);
  ASSERT_TRUE(report) << describe(report.error());
  EXPECT_EQ(report->bytes_out, std::filesystem::file_size(job.output));
  EXPECT_EQ(code_of(pack_checkpoint(job, runtime(), quiet)), "exists");

  const auto weights = io::Weights::open(job.input);
  const auto file = io::PackedFile::open(job.output);
  ASSERT_TRUE(file) << describe(file.error());
  EXPECT_TRUE(file->verify(runtime()));
  std::size_t layers = 0;
  for (const io::WeightInfo& weight : weights->list()) {
    const auto values = weights->read_float(weight);
    const io::PackedLayer* described = file->find(weight.name);
    ASSERT_EQ(described != nullptr, weight.shape.size() == 2) << weight.name;
    if (described == nullptr) continue;
    ++layers;
    const auto layer = file->layer(*described, runtime());
    std::vector<std::int32_t> ids(weight.rows());
    for (std::size_t r = 0; r < ids.size(); ++r) ids[r] = static_cast<std::int32_t>(r);
    Matrix<float> rows(ids.size(), weight.cols());
    ASSERT_TRUE(layer->gather(ids, rows.view()));
    EXPECT_EQ(std::memcmp(rows.data(), values->data(), rows.size() * sizeof(float)), 0) << weight.name;
  }
  EXPECT_EQ(layers, report->layers);
  EXPECT_EQ(report->layers + report->tensors, weights->list().size());
}

// GPT-2's layers, floats stored [in, out]: the biases show it, and squares lie as they do.
TEST(PackCheckpoint, TurnsFloatWeightsThatAreStoredTransposed) {
  const TemporaryFolder folder;
  const std::vector<io::TensorSpec> specs{{"h.0.attn.c_attn.weight", DType::f32, {8, 24}},
                                          {"h.0.attn.c_attn.bias", DType::f32, {24}},
                                          {"h.0.attn.c_proj.weight", DType::f32, {8, 8}},
                                          {"h.0.attn.c_proj.bias", DType::f32, {8}}};
  auto writer = io::SafetensorsWriter::create(folder / "in", specs, {}, io::OutputMode::replace);
  std::map<std::string, std::vector<float>> values;
  for (const io::TensorSpec& spec : specs) {
    std::vector<float>& v = values[spec.name];
    for (std::uint64_t i = 0; i < spec.shape[0] * (spec.shape.size() > 1 ? spec.shape[1] : 1); ++i)
      v.push_back(static_cast<float>(i) * 0.25f - 3);
    ASSERT_TRUE(writer->write(spec.name, 0, std::as_bytes(std::span(v))));
  }
  ASSERT_TRUE(writer->commit());
  Silent quiet;
  ASSERT_TRUE(pack_checkpoint({folder / "in", folder / "out", io::OutputMode::refuse}, runtime(), quiet));
  const auto file = io::PackedFile::open(folder / "out");
  ASSERT_TRUE(file) << describe(file.error());
  for (const char* stem : {"h.0.attn.c_attn", "h.0.attn.c_proj"}) {
    const auto layer = file->layer(*file->find(std::string(stem) + ".weight"), runtime());
    ASSERT_TRUE(layer) << describe(layer.error());
    const std::vector<float>& w = values[std::string(stem) + ".weight"];
    const std::vector<float>& bias = values[std::string(stem) + ".bias"];
    Matrix<float> x(1, 8), y(1, bias.size());
    x(0, 3) = 1;  // one input: a row of what is stored
    ASSERT_TRUE(layer->multiply(x.view(), y.view()));
    for (std::size_t j = 0; j < bias.size(); ++j) EXPECT_EQ(y(0, j), w[3 * bias.size() + j] + bias[j]) << stem;
  }
}

}  // namespace
}  // namespace kvant::pipeline
