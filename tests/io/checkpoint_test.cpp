// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/checkpoint.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "test_files.hpp"

namespace kvant::io {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::TemporaryFolder;

struct Tensor {
  std::string name;
  DType dtype;
  std::vector<std::uint64_t> shape;
  std::string data;
};

void write_tensors(const fs::path& path, const std::vector<Tensor>& tensors, const Metadata& metadata = {}) {
  std::vector<TensorSpec> specs;
  for (const Tensor& t : tensors) specs.push_back({t.name, t.dtype, t.shape});
  Result<SafetensorsWriter> w = SafetensorsWriter::create(path, specs, metadata, OutputMode::replace);
  ASSERT_TRUE(w) << describe(w.error());
  for (const Tensor& t : tensors) ASSERT_TRUE(w->write(t.name, 0, std::as_bytes(std::span(t.data))));
  ASSERT_TRUE(w->commit());
}

Tensor bytes_tensor(const std::string& name, std::size_t n = 4) {
  return {name, DType::u8, {n}, std::string(n, name[0])};
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  std::string out;
  for (const T v : values) out.append(reinterpret_cast<const char*>(&v), sizeof v);
  return out;
}

/// Two shards with tensors a, b | c, and an index that is right unless `index` replaces it.
class ShardedModel : public testing::Test {
 protected:
  static constexpr const char* kIndex =
      R"({"metadata":{"total_size":12},)"
      R"("weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}})";
  ShardedModel() {
    write_tensors(folder_ / "1.safetensors", {bytes_tensor("a"), bytes_tensor("b")}, {{"format", "pt"}});
    write_tensors(folder_ / "2.safetensors", {bytes_tensor("c")}, {{"format", "np"}, {"more", "x"}});
    index(kIndex);
  }
  void index(std::string_view text) { folder_.write("model.safetensors.index.json", text); }
  [[nodiscard]] Result<Checkpoint> open() const { return Checkpoint::open(folder_.path()); }
  void expect_bad_index(std::string_view tensor, std::string_view named) const {
    const Result<Checkpoint> c = open();
    ASSERT_EQ(code_of(c), "bad_index");
    EXPECT_NE(c.error().where.file.find("index.json"), std::string::npos);
    EXPECT_EQ(c.error().where.tensor, tensor);
    EXPECT_NE(c.error().message.find(named), std::string::npos) << describe(c.error());
  }

  TemporaryFolder folder_;
};

TEST_F(ShardedModel, OpensAsOne) {
  const Result<Checkpoint> c = open();
  ASSERT_TRUE(c) << describe(c.error());
  EXPECT_TRUE(c->is_folder());
  ASSERT_EQ(c->tensors().size(), 3u);
  EXPECT_EQ(c->tensors()[0].name, "a");
  EXPECT_EQ(c->tensors()[2].name, "c");
  ASSERT_EQ(c->shards().size(), 2u);
  EXPECT_EQ(c->shards()[c->find("c")->shard].name, "2.safetensors");
  EXPECT_EQ(c->shards()[1].bytes, fs::file_size(folder_ / "2.safetensors"));
  EXPECT_EQ(c->find("d"), nullptr);
  EXPECT_EQ(c->tensor_bytes(), 12u);
  EXPECT_EQ(c->file_bytes(), fs::file_size(folder_ / "1.safetensors") + fs::file_size(folder_ / "2.safetensors"));
  EXPECT_EQ(c->metadata(), (Metadata{{"format", "pt"}, {"more", "x"}}));
  EXPECT_TRUE(c->warnings().empty());
  std::string data(4, '\0');
  ASSERT_TRUE(c->read_bytes(*c->find("c"), 0, std::as_writable_bytes(std::span(data))));
  EXPECT_EQ(data, "cccc");
  EXPECT_EQ(code_of(c->read_bytes(*c->find("c"), 1, std::as_writable_bytes(std::span(data)))), "usage");
}

// Row 19.
TEST_F(ShardedModel, AMissingShardIsAnError) {
  fs::remove(folder_ / "2.safetensors");
  expect_bad_index("", "2.safetensors");
}

TEST_F(ShardedModel, AShardOutsideTheFolderIsAnError) {
  for (const std::string name :
       {"../x", "/etc/passwd", "sub/1.safetensors", "..", ".", "", "a\\\\b", "./1.safetensors"}) {
    index("{\"weight_map\":{\"a\":\"" + name + "\"}}");
    expect_bad_index("a", "lie in the index's own folder");
  }
}

TEST_F(ShardedModel, ATensorInTwoShardsIsAnError) {
  write_tensors(folder_ / "2.safetensors", {bytes_tensor("c"), bytes_tensor("a")});
  expect_bad_index("a", "both 1.safetensors and 2.safetensors");
}

TEST_F(ShardedModel, ATensorInNoShardIsAnError) {
  index(R"({"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors","z":"2.safetensors"}})");
  expect_bad_index("z", "2.safetensors, which lacks it");
}

TEST_F(ShardedModel, ATensorInAnotherShardThanTheIndexSaysIsAnError) {
  index(R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"}})");
  expect_bad_index("b", "places the tensor in 2.safetensors, but it is in 1.safetensors");
}

TEST_F(ShardedModel, AWrongTotalSizeIsAWarning) {
  for (const std::string total : {"13", "12.5", "1e999", "\"12\"", "NaN", "[12]"}) {
    index(R"({"metadata":{"total_size":)" + total +
          R"(},"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}})");
    const Result<Checkpoint> c = open();
    ASSERT_TRUE(c) << describe(c.error());
    ASSERT_EQ(c->warnings().size(), 1u);
    EXPECT_NE(c->warnings()[0].find("total_size is " + total + ", but the tensors have 12"), std::string::npos)
        << c->warnings()[0];
  }
}

TEST_F(ShardedModel, TheTotalSizeMayBeAbsentOrWrittenAsAReal) {
  index(R"({"metadata":{},"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}})");
  EXPECT_TRUE(open()->warnings().empty());
  index(
      R"({"metadata":{"total_size":12.0},"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}})");
  EXPECT_TRUE(open()->warnings().empty());
}

TEST_F(ShardedModel, ExtraTensorsAreAWarning) {
  index(R"({"metadata":{"total_size":8},"weight_map":{"a":"1.safetensors","c":"2.safetensors"}})");
  const Result<Checkpoint> c = open();
  ASSERT_TRUE(c) << describe(c.error());
  ASSERT_EQ(c->warnings().size(), 1u);
  EXPECT_NE(c->warnings()[0].find("1.safetensors holds 1 tensors that are not in the index"), std::string::npos);
  EXPECT_NE(c->find("b"), nullptr);
}

TEST_F(ShardedModel, AnIndexOfAnotherFormIsAnError) {
  for (const char* text : {"{}", "[]", R"({"weight_map":[]})", R"({"weight_map":{}})", R"({"weight_map":{"a":5}})"}) {
    index(text);
    EXPECT_EQ(code_of(open()), "bad_index") << text;
  }
  index("{");
  EXPECT_EQ(code_of(open()), "bad_json");
  index(R"({"weight_map":{"a":"1.safetensors","a":"2.safetensors"}})");
  EXPECT_EQ(code_of(open()), "duplicate_key");
}

// Row 20.
TEST_F(ShardedModel, ATruncatedShardIsAnErrorAtOpening) {
  const auto shard = folder_ / "2.safetensors";
  write_tensors(shard, {bytes_tensor("c")});
  const std::uint64_t size = fs::file_size(shard);
  for (const std::uint64_t cut : {std::uint64_t{1}, std::uint64_t{4}, size - 9, size - 1, size}) {
    fs::resize_file(shard, size - cut);
    const Result<Checkpoint> c = open();
    ASSERT_EQ(code_of(c), "truncated") << cut;
    EXPECT_NE(c.error().where.file.find("2.safetensors"), std::string::npos);
    write_tensors(shard, {bytes_tensor("c")});
  }
}

TEST_F(ShardedModel, ShardsMayBeLinks) {
  const TemporaryFolder cache;
  fs::create_directory(cache / "blobs");
  fs::create_directory(cache / "snapshot");
  for (const std::string name : {"1.safetensors", "2.safetensors", "model.safetensors.index.json"}) {
    fs::rename(folder_ / name, cache / "blobs" / ("hash-of-" + name));
    fs::create_symlink("../blobs/hash-of-" + name, cache / "snapshot" / name);
  }
  const Result<Checkpoint> c = Checkpoint::open(cache / "snapshot", Access::mmap);
  ASSERT_TRUE(c) << describe(c.error());
  EXPECT_EQ(c->tensors().size(), 3u);
}

TEST(Checkpoint, OpensASingleFile) {
  const TemporaryFolder folder;
  write_tensors(folder / "m.safetensors", {bytes_tensor("b"), bytes_tensor("a")}, {{"k", "v"}});
  folder.write("config.json", "{");  // belongs to folders only
  const Result<Checkpoint> c = Checkpoint::open(folder / "m.safetensors");
  ASSERT_TRUE(c) << describe(c.error());
  EXPECT_FALSE(c->is_folder());
  EXPECT_EQ(c->tensors()[0].name, "a");
  EXPECT_EQ(c->metadata().at("k"), "v");
  EXPECT_FALSE(c->config().has_value());
  EXPECT_TRUE(c->side_files().empty());
  EXPECT_TRUE(c->warnings().empty());
}

// Row 3.
TEST(Checkpoint, AWrongExtensionIsAWarning) {
  const TemporaryFolder folder;
  write_tensors(folder / "m.bin", {bytes_tensor("a")});
  const Result<Checkpoint> c = Checkpoint::open(folder / "m.bin");
  ASSERT_TRUE(c);
  ASSERT_EQ(c->warnings().size(), 1u);
  EXPECT_NE(c->warnings()[0].find("m.bin"), std::string::npos);
}

TEST(Checkpoint, AFolderGivesConfigurationAndTheFilesBeside) {
  const TemporaryFolder folder;
  write_tensors(folder / "model.safetensors", {bytes_tensor("a")});
  write_tensors(folder / "consolidated.safetensors", {bytes_tensor("a")});
  folder.write("config.json", R"({"model_type":"llama","deep":[[[[[[[[[[[[1]]]]]]]]]]]]})");
  folder.write("tokenizer.json", "{}");
  folder.write("LICENSE", "x");
  folder.write("pytorch_model.bin", "x");
  folder.write("pytorch_model.bin.index.json", "{}");
  folder.write(".gitattributes", "x");
  fs::create_directories(folder / "1_Pooling" / "deep");
  folder.write("1_Pooling/config.json", "{}");
  folder.write("1_Pooling/deep/notes.txt", "x");
  fs::create_directory(folder / "onnx");
  folder.write("onnx/model.onnx", "x");
  fs::create_directory(folder / ".git");
  folder.write(".git/HEAD", "x");
  const Result<Checkpoint> c = Checkpoint::open(folder.path());
  ASSERT_TRUE(c) << describe(c.error());
  EXPECT_EQ(*c->config()->find("model_type")->as_string(), "llama");
  EXPECT_EQ(c->side_files(), (std::vector<fs::path>{"1_Pooling/config.json", "1_Pooling/deep/notes.txt", "LICENSE",
                                                    "config.json", "tokenizer.json"}));
  EXPECT_EQ(c->other_weights(), (std::vector<fs::path>{"consolidated.safetensors", "onnx/model.onnx",
                                                       "pytorch_model.bin", "pytorch_model.bin.index.json"}));
  EXPECT_EQ(c->shards().size(), 1u);
  EXPECT_EQ(c->shards()[0].name, "model.safetensors");
}

TEST(Checkpoint, TakesTheWeightsOfASentenceEncodersModules) {
  const TemporaryFolder folder;
  write_tensors(folder / "model.safetensors", {bytes_tensor("a")});
  folder.write("modules.json", R"([{"idx":0,"path":""},{"idx":1,"path":"1_Pooling"},{"idx":2,"path":"2_Dense/"}])");
  fs::create_directory(folder / "2_Dense");
  folder.write("2_Dense/model.safetensors", "x");
  fs::create_directory(folder / "3_Other");
  folder.write("3_Other/model.safetensors", "x");
  const Result<Checkpoint> c = Checkpoint::open(folder.path());
  ASSERT_TRUE(c) << describe(c.error());
  EXPECT_EQ(c->side_files(), (std::vector<fs::path>{"2_Dense/model.safetensors", "modules.json"}));
  EXPECT_EQ(c->other_weights(), std::vector<fs::path>{"3_Other/model.safetensors"});
}

TEST(Checkpoint, ALinkToNothingIsAnErrorThatNamesIt) {
  for (const std::string name : {"config.json", "tokenizer.json", "generation_config.json", "modules.json", "LICENSE",
                                 "model-00002-of-00002.safetensors", "1_Pooling/config.json"}) {
    const TemporaryFolder folder;
    write_tensors(folder / "model.safetensors", {bytes_tensor("a")});
    fs::create_directory(folder / "1_Pooling");
    fs::create_symlink("../../blobs/0123", folder / name);
    const Result<Checkpoint> c = Checkpoint::open(folder.path());
    ASSERT_EQ(code_of(c), "not_found") << name;
    EXPECT_EQ(c.error().where.file, folder / name);
    EXPECT_NE(c.error().message.find("../../blobs/0123"), std::string::npos) << c.error().message;
  }
  const TemporaryFolder folder;
  write_tensors(folder / "model.safetensors", {bytes_tensor("a")});
  fs::create_symlink("nowhere", folder / "pytorch_model.bin");  // which nobody reads
  fs::create_symlink("nowhere", folder / ".hidden");
  EXPECT_TRUE(Checkpoint::open(folder.path()));
}

TEST(Checkpoint, DoesNotWalkInCirclesOrForEver) {
  const TemporaryFolder folder;
  write_tensors(folder / "model.safetensors", {bytes_tensor("a")});
  fs::create_directory_symlink(".", folder / "again");
  EXPECT_EQ(code_of(Checkpoint::open(folder.path())), "limit");
}

TEST(Checkpoint, FindsItsOwnIndexAndRefusesTwo) {
  const TemporaryFolder folder;
  write_tensors(folder / "kvant-00001-of-00001.safetensors", {bytes_tensor("a")});
  folder.write("kvant.safetensors.index.json", R"({"weight_map":{"a":"kvant-00001-of-00001.safetensors"}})");
  const Result<Checkpoint> c = Checkpoint::open(folder.path());
  ASSERT_TRUE(c) << describe(c.error());
  EXPECT_EQ(c->shards()[0].name, "kvant-00001-of-00001.safetensors");
  folder.write("model.safetensors.index.json", R"({"weight_map":{"a":"kvant-00001-of-00001.safetensors"}})");
  EXPECT_EQ(code_of(Checkpoint::open(folder.path())), "bad_index");
}

TEST(Checkpoint, TakesTheOnlySafetensorsFileOfAFolder) {
  const TemporaryFolder folder;
  write_tensors(folder / "adapter.safetensors", {bytes_tensor("a")});
  EXPECT_TRUE(Checkpoint::open(folder.path()));
  write_tensors(folder / "other.safetensors", {bytes_tensor("a")});
  const Result<Checkpoint> c = Checkpoint::open(folder.path());
  ASSERT_EQ(code_of(c), "no_model");
  EXPECT_NE(c.error().message.find("2 safetensors files"), std::string::npos);
}

TEST(Checkpoint, AFolderWithoutAModelIsAnError) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of(Checkpoint::open(folder.path())), "no_model");
  folder.write("config.json", "{}");
  folder.write("model.gguf", "GGUF");
  const Result<Checkpoint> c = Checkpoint::open(folder.path());
  ASSERT_EQ(code_of(c), "no_model");
  EXPECT_NE(c.error().message.find("model.gguf"), std::string::npos);
  EXPECT_EQ(error_info(c.error().code).exit_code, 5);
}

TEST(Checkpoint, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of(Checkpoint::open(folder / "none")), "not_found");
  EXPECT_EQ(code_of(Checkpoint::open("/dev/zero")), "not_regular_file");
  EXPECT_EQ(code_of(Checkpoint::open(folder.write("a.json", "{\"a\": 1, \"b\": 2}"))), "bad_header");
}

TEST(Checkpoint, AMalformedConfigurationIsAnErrorThatNamesIt) {
  const TemporaryFolder folder;
  write_tensors(folder / "model.safetensors", {bytes_tensor("a")});
  folder.write("config.json", "{\"a\":");
  const Result<Checkpoint> c = Checkpoint::open(folder.path());
  ASSERT_EQ(code_of(c), "bad_json");
  EXPECT_NE(c.error().where.file.find("config.json"), std::string::npos);
}

// ---- values ----

std::vector<float> values(const Result<Matrix<float>>& m) {
  if (!m) return {};
  return {m->data(), m->data() + m->size()};
}

class Values : public testing::Test {
 protected:
  Result<Checkpoint> checkpoint(DType dtype, std::vector<std::uint64_t> shape, const std::string& data) {
    write_tensors(folder_ / "m.safetensors", {{"t", dtype, std::move(shape), data}});
    return Checkpoint::open(folder_ / "m.safetensors");
  }
  std::vector<float> row(DType dtype, std::size_t n, const std::string& data) {
    const Result<Checkpoint> c = checkpoint(dtype, {n}, data);
    return c ? values(c->read_matrix(*c->find("t"))) : std::vector<float>{};
  }
  TemporaryFolder folder_;
};

TEST_F(Values, AreSeenAsAMatrixOfAnyRank) {
  const auto shape = [](std::vector<std::uint64_t> s) {
    const MatrixShape m = matrix_shape(s);
    return std::pair(m.rows, m.cols);
  };
  using P = std::pair<std::uint64_t, std::uint64_t>;
  EXPECT_EQ(shape({}), P(1, 1));
  EXPECT_EQ(shape({5}), P(1, 5));
  EXPECT_EQ(shape({2, 3}), P(2, 3));
  EXPECT_EQ(shape({2, 3, 4}), P(2, 12));
  EXPECT_EQ(shape({0, 3}), P(0, 3));
  EXPECT_EQ(shape({3, 0}), P(3, 0));
  EXPECT_EQ(shape({0, std::uint64_t{1} << 40, std::uint64_t{1} << 40}), P(0, 0));
}

TEST_F(Values, RowsAreReadByRange) {
  const Result<Checkpoint> c = checkpoint(DType::f32, {3, 2}, raw<float>({0, 1, 2, 3, 4, 5}));
  ASSERT_TRUE(c);
  const CheckpointTensor& t = *c->find("t");
  EXPECT_EQ(values(c->read_rows(t, 1, 2)), (std::vector<float>{2, 3, 4, 5}));
  EXPECT_EQ(values(c->read_rows(t, 3, 0)), std::vector<float>{});
  EXPECT_EQ(code_of(c->read_rows(t, 2, 2)), "usage");
  EXPECT_EQ(code_of(c->read_rows(t, 4, 0)), "usage");
  EXPECT_EQ(code_of(c->read_rows(t, 1, UINT64_MAX)), "usage");
  Matrix<float> wide(2, 4, -1.0f);
  ASSERT_TRUE(c->read_rows_into(t, 1, MatrixView<float>(wide.data() + 1, 2, 2, 4)));
  EXPECT_EQ((std::vector<float>(wide.data(), wide.data() + 8)), (std::vector<float>{-1, 2, 3, -1, -1, 4, 5, -1}));
  EXPECT_EQ(code_of(c->read_rows_into(t, 0, wide.view())), "usage");
}

TEST_F(Values, SmallFloatsConvertExactly) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(row(DType::f16, 7, raw<std::uint16_t>({0x3c00, 0xc000, 0x0001, 0x03ff, 0x7bff, 0x7c00, 0x3555})),
            (std::vector<float>{1, -2, 0x1p-24f, 0x1.ff8p-15f, 65504, kInf, 0x1.554p-2f}));
  EXPECT_EQ(row(DType::bf16, 5, raw<std::uint16_t>({0x3f80, 0xbf80, 0x0001, 0x7f7f, 0xff80})),
            (std::vector<float>{1, -1, 0x1p-133f, 0x1.fep127f, -kInf}));
  EXPECT_EQ(row(DType::f8_e4m3, 5, raw<std::uint8_t>({0x38, 0xb8, 0x01, 0x7e, 0x08})),
            (std::vector<float>{1, -1, 0x1p-9f, 448, 0x1p-6f}));
  EXPECT_EQ(row(DType::f8_e5m2, 5, raw<std::uint8_t>({0x3c, 0xbc, 0x01, 0x7b, 0x7c})),
            (std::vector<float>{1, -1, 0x1p-16f, 57344, kInf}));
  for (const float v : row(DType::f8_e4m3, 2, raw<std::uint8_t>({0x7f, 0xff}))) EXPECT_TRUE(std::isnan(v));
  const std::vector<float> zeros = row(DType::f16, 2, raw<std::uint16_t>({0x0000, 0x8000}));
  EXPECT_FALSE(std::signbit(zeros[0]));
  EXPECT_TRUE(std::signbit(zeros[1]));
}

// Row 45: what a file holds arrives as it is; policy is for those who quantize.
TEST_F(Values, SinglePrecisionKeepsItsBits) {
  const std::vector<std::uint32_t> bits{0x7fc00000, 0xff800001, 0x7f800000, 0x80000000, 0x00000001, 0x7f7fffff};
  std::string data(bits.size() * 4, '\0');
  std::memcpy(data.data(), bits.data(), data.size());
  const std::vector<float> v = row(DType::f32, bits.size(), data);
  ASSERT_EQ(v.size(), bits.size());
  EXPECT_EQ(std::memcmp(v.data(), bits.data(), data.size()), 0);
}

TEST_F(Values, DoublesRoundToNearestEven) {
  EXPECT_EQ(row(DType::f64, 4, raw<double>({1.0 + 0x1p-24, 1.0 + 0x3p-24, 1e300, -0x1p-150})),
            (std::vector<float>{1.0f, 1.0f + 0x1p-22f, std::numeric_limits<float>::infinity(), -0.0f}));
}

TEST_F(Values, ManyElementsComeInChunks) {
  constexpr std::size_t kCount = 600'001;
  std::string data(2 * kCount, '\0');
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto code = static_cast<std::uint16_t>(0x3f80 + i % 128);
    std::memcpy(data.data() + 2 * i, &code, 2);
  }
  const Result<Checkpoint> c = checkpoint(DType::bf16, {1, kCount}, data);
  ASSERT_TRUE(c);
  const Result<Matrix<float>> m = c->read_matrix(*c->find("t"));
  ASSERT_TRUE(m);
  for (std::size_t i = 0; i < kCount; ++i)
    ASSERT_EQ((*m)(0, i), std::bit_cast<float>(static_cast<std::uint32_t>(0x3f80 + i % 128) << 16)) << i;
}

TEST_F(Values, OtherDTypesAreRefusedByName) {
  for (const DTypeInfo& d : kDTypes) {
    const Result<Checkpoint> c = checkpoint(d.dtype, {4}, std::string(d.bits / 2, '\0'));
    ASSERT_TRUE(c);
    const Result<Matrix<float>> m = c->read_matrix(*c->find("t"));
    const bool converts = d.name == "F32" || d.name == "F16" || d.name == "BF16" || d.name == "F64" ||
                          d.name == "F8_E4M3" || d.name == "F8_E5M2";
    EXPECT_EQ(code_of(m), converts ? "success" : "unsupported") << d.name;
    if (!m) {
      EXPECT_EQ(m.error().where.tensor, "t");
    }
  }
}

TEST_F(Values, AFileThatShrinksMeanwhileIsAnError) {
  const Result<Checkpoint> c = checkpoint(DType::f32, {1000}, std::string(4000, 'x'));
  ASSERT_TRUE(c);
  fs::resize_file(folder_ / "m.safetensors", 1000);
  EXPECT_EQ(code_of(c->read_matrix(*c->find("t"))), "truncated");
}

// Row 46.
TEST_F(Values, MatricesWithoutElementsAreLegal) {
  for (const std::vector<std::uint64_t>& shape : {std::vector<std::uint64_t>{0, 5}, {5, 0}, {0}}) {
    const Result<Checkpoint> c = checkpoint(DType::f16, shape, "");
    ASSERT_TRUE(c);
    const Result<Matrix<float>> m = c->read_matrix(*c->find("t"));
    ASSERT_TRUE(m) << describe(m.error());
    EXPECT_EQ(m->size(), 0u);
  }
}

// ---- real files ----

TEST(CheckpointFiles, ARealModelOpensAndHoldsFiniteWeights) {
  if (test::test_data().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  const Result<Checkpoint> c = Checkpoint::open(test::test_data() / "lm" / "stories260K-hf");
  ASSERT_TRUE(c) << describe(c.error());
  ASSERT_TRUE(c->config().has_value());
  const auto hidden = c->config()->find("hidden_size")->as_uint64();
  const CheckpointTensor* embedding = c->find("model.embed_tokens.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->shape,
            (std::vector<std::uint64_t>{c->config()->find("vocab_size")->as_uint64().value(), *hidden}));
  EXPECT_TRUE(c->warnings().empty());
  EXPECT_FALSE(c->side_files().empty());
  std::uint64_t parameters = 0;
  for (const CheckpointTensor& t : c->tensors()) {
    const Result<Matrix<float>> m = c->read_matrix(t);
    ASSERT_TRUE(m) << describe(m.error());
    parameters += m->size();
    for (std::size_t i = 0; i < m->size(); ++i) ASSERT_TRUE(std::isfinite(m->data()[i])) << t.name;
  }
  EXPECT_NEAR(static_cast<double>(parameters), 260e3, 35e3);
}

TEST(CheckpointFiles, ARewrittenModelHasTheSameTensors) {
  if (test::test_data().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  for (const char* name :
       {"lm/stories260K-hf/model.safetensors", "encoder/retsim.safetensors", "vision/mnist-burn.safetensors"}) {
    const Result<Checkpoint> in = Checkpoint::open(test::test_data() / name);
    ASSERT_TRUE(in) << describe(in.error());
    const auto data_of = [](const Checkpoint& c, const CheckpointTensor& t) {
      std::string data(t.bytes, '\0');
      EXPECT_TRUE(c.read_bytes(t, 0, std::as_writable_bytes(std::span(data))));
      return data;
    };
    std::vector<Tensor> tensors;
    for (const CheckpointTensor& t : in->tensors()) tensors.push_back({t.name, t.dtype, t.shape, data_of(*in, t)});
    const TemporaryFolder folder;
    write_tensors(folder / "out.safetensors", tensors, in->metadata());
    const Result<Checkpoint> out = Checkpoint::open(folder / "out.safetensors");
    ASSERT_TRUE(out) << describe(out.error());
    EXPECT_EQ(out->metadata(), in->metadata());
    ASSERT_EQ(out->tensors().size(), tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(out->tensors()[i].name, tensors[i].name);
      EXPECT_EQ(out->tensors()[i].shape, tensors[i].shape);
      EXPECT_EQ(data_of(*out, out->tensors()[i]), tensors[i].data);
    }
  }
}

}  // namespace
}  // namespace kvant::io
