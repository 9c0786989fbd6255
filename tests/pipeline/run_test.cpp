// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/run.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/stored_weight.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "../reference/weights.hpp"
#include "io/test_files.hpp"
#include "kvant/core/rng.hpp"
#include "kvant/io/weights.hpp"
#include "silent.hpp"

namespace kvant::pipeline {
namespace {

using io::test::TemporaryFolder;

std::vector<float> random_values(std::size_t n, std::uint64_t seed) {
  std::vector<float> v(n);
  Rng random(seed);
  for (float& x : v) x = random.uniform() - random.uniform();
  return v;
}

struct Tensor {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
};

Tensor random_tensor(std::string name, std::vector<std::uint64_t> shape) {
  std::size_t n = 1;
  for (const std::uint64_t d : shape) n *= static_cast<std::size_t>(d);
  const std::uint64_t seed = seed_from_name(name, 0);
  return {std::move(name), std::move(shape), random_values(n, seed)};
}

void write_model(const std::filesystem::path& path, const std::vector<Tensor>& tensors) {
  std::vector<io::TensorSpec> specs;
  for (const Tensor& t : tensors) specs.push_back({t.name, DType::f32, t.shape});
  auto writer = io::SafetensorsWriter::create(path, specs, {{"note", "kept"}}, io::OutputMode::refuse);
  ASSERT_TRUE(writer);
  for (const Tensor& t : tensors) ASSERT_TRUE(writer->write(t.name, 0, std::as_bytes(std::span(t.values))));
  ASSERT_TRUE(writer->commit());
}

const std::vector<Tensor> kTensors{random_tensor("a.weight", {40, 96}),
                                   random_tensor("b.weight", {33, 50}),
                                   random_tensor("norm.weight", {96}),
                                   random_tensor("embed.weight", {7, 96}),
                                   random_tensor("conv.weight", {2, 3, 4}),
                                   random_tensor("empty.weight", {0, 4}),
                                   random_tensor("a.bias", {40})};

QuantizeJob job_of(const TemporaryFolder& folder, const char* scheme) {
  QuantizeJob job;
  job.input = folder / "in.safetensors";
  job.output = folder / "out.safetensors";
  job.plan.scheme = *parse_layer_scheme(scheme);
  job.mode = io::OutputMode::replace;
  return job;
}

/// The weight as floats, the way the file stores it.
std::vector<float> read(const std::filesystem::path& path, const std::string& name) {
  const auto weights = io::Weights::open(path);
  EXPECT_TRUE(weights) << (weights ? "" : describe(weights.error()));
  const io::WeightInfo* info = weights->find(name);
  EXPECT_NE(info, nullptr) << name;
  const auto m = weights->read_float(*info);
  EXPECT_TRUE(m) << (m ? "" : describe(m.error()));
  return {m->data(), m->data() + m->size()};
}

const char* const kSchemes[] = {"int8-channel",
                                "int8-g32-asym",
                                "int8-channel/int8-token",
                                "int4-g32",
                                "int4-g16-asym",
                                "int4-g32-full",
                                "int7-g10",
                                "uint4-g32-asym",
                                "nf4-g64",
                                "fp8_e4m3fn-channel",
                                "fp8_e5m2-tensor",
                                "fp4_e2m1-b16x16",
                                "int3-g64",
                                "int2-g32-asym",
                                "int1-g32",
                                "ternary-tensor",
                                "int4-g10-asym-scale:bf16",
                                "int4-g10-scale:fp8_e4m3fn",
                                "int4-g10-scale:fp8_e4m3b11fnuz",
                                "fp6_e3m2-g32",
                                "fp8_e4m3fn-b16x16",
                                "mxfp8_e4m3fn",
                                "mxfp8_e5m2",
                                "mxfp6_e2m3",
                                "mxfp4",
                                "mxint8",
                                "nvfp4",
                                "nf4-g64-dq",
                                "int4-g32-asym-dq",
                                "is4",
                                "is3",
                                "is2"};

TEST(WriteBand, RefusesAMatrixWideFactor) {
  TemporaryFolder folder;
  const io::QuantizedWeight weight{"up.weight", *parse_scheme("nvfp4"), 2, 32};
  const auto specs = io::stored_tensors(weight, io::Convention::kvant);
  auto writer = io::SafetensorsWriter::create(folder / "q.safetensors", specs, {}, io::OutputMode::refuse);
  ASSERT_TRUE(writer);
  const Matrix<float> w(2, 32, 0.5f);
  QuantizeOptions options;
  options.convention = ScaleConvention::modelopt;
  const Status written =
      io::write_band(*writer, weight, io::Convention::kvant, 0, *quantize(w.view(), weight.scheme.weight, options));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::unsupported);
}

TEST(QuantizeCheckpoint, StoresExactlyWhatTheQuantizerChoseForEveryScheme) {
  TemporaryFolder folder;
  write_model(folder / "in.safetensors", kTensors);
  for (const char* scheme : kSchemes) {
    Silent progress;
    const QuantizeJob job = job_of(folder, scheme);
    const auto report = quantize_checkpoint(job, {}, progress);
    ASSERT_TRUE(report) << scheme << ": " << describe(report.error());
    EXPECT_EQ(progress.last_done, progress.last_total);
    EXPECT_EQ(report->bytes_out, std::filesystem::file_size(job.output)) << scheme;
    for (const Tensor& t : kTensors) {
      const bool quantized = t.name == "a.weight" || t.name == "b.weight" || t.name == "empty.weight";
      std::vector<float> expected = t.values;
      if (quantized) {
        const MatrixView<const float> view(t.values.data(), t.shape[0], t.shape[1]);
        const auto q = quantize(view, job.plan.scheme.weight, {true, NonFinite::error});
        ASSERT_TRUE(q);
        const Matrix<float> back = dequantize(*q);
        expected.assign(back.data(), back.data() + back.size());
      }
      EXPECT_EQ(read(job.output, t.name), expected) << scheme << " " << t.name;
    }
  }
}

TEST(QuantizeCheckpoint, ReportsTheErrorOfWhatItStored) {
  TemporaryFolder folder;
  write_model(folder / "in.safetensors", kTensors);
  Silent progress;
  const QuantizeJob job = job_of(folder, "int4-g32");
  const auto report = quantize_checkpoint(job, {}, progress);
  ASSERT_TRUE(report);
  for (const TensorReport& tensor : report->tensors) {
    if (tensor.plan.name != "a.weight") continue;
    const std::vector<float> stored = read(job.output, "a.weight");
    const std::vector<float>& original = kTensors[0].values;
    double signal = 0, noise = 0;
    for (std::size_t i = 0; i < stored.size(); ++i) {
      const double x = static_cast<double>(original[i]), e = x - static_cast<double>(stored[i]);
      signal += x * x;
      noise += e * e;
    }
    EXPECT_NEAR(tensor.distortion.sqnr_db, 10 * std::log10(signal / noise), 1e-6);
    EXPECT_NEAR(tensor.distortion.relative_error, std::sqrt(noise / signal), 1e-9);
    EXPECT_EQ(tensor.stored_bits, 40u * 96 * 4 + 40 * 3 * 16);
  }
}

TEST(QuantizeCheckpoint, UsesCompressedTensorsWhereThatCanExpressAll) {
  TemporaryFolder folder;
  write_model(folder / "in.safetensors", {random_tensor("a.weight", {40, 96}), random_tensor("c.weight", {8, 64})});
  Silent progress;
  EXPECT_EQ(quantize_checkpoint(job_of(folder, "int4-g32"), {}, progress)->convention, "compressed-tensors");
  EXPECT_EQ(quantize_checkpoint(job_of(folder, "int4-g32-full"), {}, progress)->convention, "kvant");
  const auto report = quantize_checkpoint(job_of(folder, "int4-g64"), {}, progress);
  EXPECT_EQ(report->convention, "kvant");
  EXPECT_NE(report->why.find("a.weight"), std::string::npos) << report->why;
}

TEST(QuantizeCheckpoint, CastsEveryFloatTensor) {
  TemporaryFolder folder;
  write_model(folder / "in.safetensors", kTensors);
  Silent progress;
  const QuantizeJob job = job_of(folder, "bf16");
  ASSERT_TRUE(quantize_checkpoint(job, {}, progress));
  for (const Tensor& t : kTensors) {
    const std::vector<float> stored = read(job.output, t.name);
    ASSERT_EQ(stored.size(), t.values.size()) << t.name;
    for (std::size_t i = 0; i < stored.size(); ++i) EXPECT_EQ(stored[i], bf16::decode(bf16::encode(t.values[i])));
  }
}

TEST(QuantizeCheckpoint, LeavesNothingBehindWhenItIsStoppedOrFails) {
  TemporaryFolder folder;
  std::vector<Tensor> tensors = kTensors;
  write_model(folder / "in.safetensors", tensors);
  Silent progress;
  progress.stop_at = 1;
  EXPECT_EQ(quantize_checkpoint(job_of(folder, "int4-g32"), {}, progress).error().code, ErrorCode::interrupted);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"in.safetensors"});

  tensors[1].values[77] = NAN;
  std::filesystem::remove(folder / "in.safetensors");
  write_model(folder / "in.safetensors", tensors);
  progress.stop_at = UINT64_MAX;
  const auto refused = quantize_checkpoint(job_of(folder, "int4-g32"), {}, progress);
  EXPECT_EQ(refused.error().code, ErrorCode::nonfinite);
  EXPECT_EQ(refused.error().where.tensor, "b.weight");
  EXPECT_NE(refused.error().message.find("row 1, column 27"), std::string::npos) << refused.error().message;
  EXPECT_EQ(folder.names(), std::vector<std::string>{"in.safetensors"});

  QuantizeJob zero = job_of(folder, "int4-g32");
  zero.nonfinite = NonFinite::zero;
  ASSERT_TRUE(quantize_checkpoint(zero, {}, progress));
  EXPECT_EQ(read(zero.output, "b.weight")[77], 0.0f);
}

TEST(QuantizeCheckpoint, RefusesScalesBeyondTheirStorage) {
  TemporaryFolder folder;
  Tensor huge = random_tensor("a.weight", {4, 32});
  huge.values[5] = 1e30f;
  write_model(folder / "in.safetensors", {huge});
  Silent progress;
  EXPECT_EQ(quantize_checkpoint(job_of(folder, "int8-channel"), {}, progress).error().code, ErrorCode::scale_overflow);
  QuantizeJob keep = job_of(folder, "int8-channel");
  keep.nonfinite = NonFinite::keep;
  const auto kept = quantize_checkpoint(keep, {}, progress);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->tensors[0].clamped, 1u);
  EXPECT_TRUE(quantize_checkpoint(job_of(folder, "int8-channel-scale:fp32"), {}, progress));
}

TEST(QuantizeCheckpoint, RefusesToOverwriteItsInputOrAnExistingOutput) {
  TemporaryFolder folder;
  write_model(folder / "in.safetensors", kTensors);
  const std::string before = io::test::read_bytes(folder / "in.safetensors");
  Silent progress;
  QuantizeJob same = job_of(folder, "int4-g32");
  same.output = same.input;
  EXPECT_EQ(quantize_checkpoint(same, {}, progress).error().code, ErrorCode::same_file);
  folder.write("out.safetensors", "precious");
  QuantizeJob existing = job_of(folder, "int4-g32");
  existing.mode = io::OutputMode::refuse;
  EXPECT_EQ(quantize_checkpoint(existing, {}, progress).error().code, ErrorCode::exists);
  EXPECT_EQ(io::test::read_bytes(folder / "out.safetensors"), "precious");
  EXPECT_EQ(io::test::read_bytes(folder / "in.safetensors"), before);
}

TEST(QuantizeCheckpoint, RefusesAQuantizedInput) {
  TemporaryFolder folder;
  write_model(folder / "in.safetensors", kTensors);
  Silent progress;
  ASSERT_TRUE(quantize_checkpoint(job_of(folder, "int4-g32"), {}, progress));
  QuantizeJob again = job_of(folder, "int4-g32");
  again.input = folder / "out.safetensors";
  again.output = folder / "again.safetensors";
  EXPECT_EQ(quantize_checkpoint(again, {}, progress).error().code, ErrorCode::unsupported);
}

TEST(DequantizeCheckpoint, WritesTheValuesAndNothingOfTheCodes) {
  TemporaryFolder folder;
  write_model(folder / "in.safetensors", kTensors);
  Silent progress;
  for (const char* scheme : kSchemes) {
    const QuantizeJob job = job_of(folder, scheme);
    ASSERT_TRUE(quantize_checkpoint(job, {}, progress));
    DequantizeJob back;
    back.input = job.output;
    back.output = folder / "back.safetensors";
    back.dtype = format_id<fp32>;
    back.mode = io::OutputMode::replace;
    const auto report = dequantize_checkpoint(back, {}, progress);
    ASSERT_TRUE(report) << describe(report.error());
    EXPECT_EQ(report->tensors, (std::vector<std::string>{"a.weight", "b.weight"}));
    const auto result = io::Weights::open(back.output);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->list().size(), kTensors.size());
    EXPECT_EQ(result->info().metadata, (io::Metadata{{"note", "kept"}}));
    for (const Tensor& t : kTensors) EXPECT_EQ(read(back.output, t.name), read(job.output, t.name)) << scheme;
  }
}

TEST(DequantizeCheckpoint, RefusesACheckpointWithoutQuantizedWeights) {
  TemporaryFolder folder;
  write_model(folder / "in.safetensors", kTensors);
  Silent progress;
  DequantizeJob job;
  job.input = folder / "in.safetensors";
  job.output = folder / "back.safetensors";
  job.dtype = format_id<fp32>;
  EXPECT_EQ(dequantize_checkpoint(job, {}, progress).error().code, ErrorCode::unsupported);
}

TEST(QuantizeCheckpoint, TurnsAFolderIntoAFolderWithItsShardsAndFiles) {
  TemporaryFolder folder;
  const auto in = folder / "model";
  std::filesystem::create_directory(in);
  write_model(in / "model-00001-of-00002.safetensors", {kTensors[0], kTensors[2]});
  write_model(in / "model-00002-of-00002.safetensors", {kTensors[1]});
  folder.write("model/model.safetensors.index.json",
               R"({"metadata":{"total_size":22344},"weight_map":{"a.weight":"model-00001-of-00002.safetensors",)"
               R"("norm.weight":"model-00001-of-00002.safetensors","b.weight":"model-00002-of-00002.safetensors"}})");
  folder.write("model/config.json", R"({"model_type":"x","torch_dtype":"float32"})");
  folder.write("model/tokenizer.json", "anything");
  Silent progress;
  QuantizeJob job;
  job.input = in;
  job.output = folder / "small";
  job.plan.scheme = *parse_scheme("int3-g32");
  const auto report = quantize_checkpoint(job, {}, progress);
  ASSERT_TRUE(report) << describe(report.error());
  const auto out = io::Weights::open(job.output);
  ASSERT_TRUE(out) << describe(out.error());
  EXPECT_EQ(out->info().files.size(), 2u);
  EXPECT_EQ(io::test::read_bytes(job.output / "tokenizer.json"), "anything");
  const io::Json* config = out->config()->find("quantization_config");
  ASSERT_NE(config, nullptr);
  EXPECT_EQ(*config->find("quant_method")->as_string(), "kvant");
  EXPECT_EQ(*out->config()->find("model_type")->as_string(), "x");
  EXPECT_EQ(to_text(*out->find("b.weight")->scheme), "int3-g32");
}

/// More than one band of rows, under numbers that all of them share.
TEST(Quantize, WritesMatricesOfSeveralBands) {
  const TemporaryFolder folder;
  const Matrix<float> w = reference::normal_matrix(2100, 2048, 7);
  ASSERT_GT(w.size(), std::size_t{4} << 20);
  auto writer = io::SafetensorsWriter::create(folder / "in.safetensors", {{"a.weight", DType::f32, {2100, 2048}}}, {},
                                              io::OutputMode::refuse);
  ASSERT_TRUE(writer && writer->write("a.weight", 0, std::as_bytes(std::span(w.data(), w.size()))) && writer->commit());
  for (const char* scheme : {"nvfp4", "nf4-g64-dq", "q4_k", "is4", "int8-tensor", "int4-g128-asym"}) {
    QuantizeJob job = job_of(folder, scheme);
    job.mode = io::OutputMode::replace;
    job.method = Rtn{{.search = false}};
    Silent progress;
    const auto report = quantize_checkpoint(job, Context{}, progress);
    ASSERT_TRUE(report) << scheme << ": " << describe(report.error());
    const auto weights = io::Weights::open(job.output);
    ASSERT_TRUE(weights) << scheme;
    const auto q = weights->read_quantized(weights->list()[0]);
    ASSERT_TRUE(q) << scheme << ": " << describe(q.error());
    const auto whole = kvant::quantize(w.view(), *parse_scheme(scheme));
    EXPECT_TRUE(q->codes == whole->codes) << scheme;
    for (std::size_t l = 0; l < q->scales.size(); ++l)
      EXPECT_TRUE(q->scales[l].values == whole->scales[l].values) << scheme;
  }
}

/// Levels of the program's own go with the file: names that are those of other formats among them.
TEST(Quantize, StoresCodebooksOfTheProgramsOwn) {
  for (const char* name : {"mine", "int4", "nf4"})
    for (const std::size_t count : {std::size_t{2}, std::size_t{5}, std::size_t{16}, std::size_t{200}}) {
      const TemporaryFolder folder;
      write_model(folder / "in.safetensors", kTensors);
      std::vector<float> levels;
      for (std::size_t i = 0; i < count; ++i)
        levels.push_back((static_cast<float>(i) - static_cast<float>(count) / 3) * 0.1f + 1e-7f);
      QuantizeJob job = job_of(folder, "nf4-g32");
      {
        const auto book = RuntimeCodebook::make(name, levels);
        ASSERT_TRUE(book);
        job.plan.scheme.weight.format = book->id();
        Silent progress;
        const auto report = quantize_checkpoint(job, Context{}, progress);
        ASSERT_TRUE(report) << describe(report.error());
        EXPECT_EQ(report->convention, "kvant");
      }  // the codebook is gone
      const auto weights = io::Weights::open(job.output);
      ASSERT_TRUE(weights) << describe(weights.error());
      ASSERT_EQ(weights->info().codebooks.size(), 1u);
      EXPECT_EQ(weights->info().codebooks[0]->levels(), levels);
      std::size_t quantized = 0;
      const auto source = io::Weights::open(job.input);
      for (const io::WeightInfo& w : weights->list()) {
        if (!w.scheme) continue;
        ++quantized;
        EXPECT_EQ(to_text(*w.scheme), "custom:" + std::string(name) + "-g32");
        const auto back = weights->read_float(w), original = source->read_float(*source->find(w.name));
        ASSERT_TRUE(back && original);
        const auto again = RuntimeCodebook::make(name, levels);
        Scheme scheme = *parse_scheme("nf4-g32");
        scheme.format = again->id();
        const Matrix<float> direct = dequantize(*quantize(original->view(), scheme, {.search = true}));
        EXPECT_EQ(std::memcmp(back->data(), direct.data(), direct.size() * sizeof(float)), 0) << w.name;
      }
      EXPECT_GT(quantized, 0u);
    }
}

}  // namespace
}  // namespace kvant::pipeline
