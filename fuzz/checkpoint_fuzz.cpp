// SPDX-License-Identifier: Apache-2.0
// Quantized checkpoints that are not quite as they were recorded (tests/golden): the input chooses one and what is
// changed in its configuration, header and data. What is accepted can be read, or fails with an error.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "files.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/quant/encode.hpp"

namespace {

namespace fs = std::filesystem;

void require(bool ok) {
  if (!ok) std::abort();
}

struct Fixture {
  std::string config, header, data;
};

std::vector<Fixture> load_fixtures() {
  std::vector<fs::path> folders;
  for (const auto& entry :
       fs::directory_iterator(fs::path(KVANT_SOURCE_DIR) / "tests/golden/conventions/compressed_tensors"))
    if (fs::exists(entry.path() / "model.safetensors")) folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  for (const char* family : {"deepseek-v3-fp8", "gpt-oss-mxfp4"})
    folders.push_back(fs::path(KVANT_SOURCE_DIR) / "tests/golden/families" / family);
  std::vector<Fixture> all;
  for (const fs::path& folder : folders) {
    const auto [header, data] = fuzz::read_safetensors(folder / "model.safetensors");
    all.push_back({fuzz::read_file(folder / "config.json"), header, data});
  }
  return all;
}

/// Values that a configuration or a header may have in places where it does not.
constexpr std::array<std::string_view, 32> kValues{"null",
                                                   "true",
                                                   "false",
                                                   "0",
                                                   "1",
                                                   "2",
                                                   "3",
                                                   "4",
                                                   "7",
                                                   "8",
                                                   "16",
                                                   "32",
                                                   "-1",
                                                   "1e300",
                                                   "\"group\"",
                                                   "\"channel\"",
                                                   "\"tensor\"",
                                                   "\"block\"",
                                                   "\"token\"",
                                                   "\"tensor_group\"",
                                                   "\"int\"",
                                                   "\"float\"",
                                                   "\"pack-quantized\"",
                                                   "\"int-quantized\"",
                                                   "\"nvfp4-pack-quantized\"",
                                                   "[2,3]",
                                                   "[]",
                                                   "{}",
                                                   "\"0.17.1\"",
                                                   "\"I32\"",
                                                   "\"U8\"",
                                                   "\"re:.*\""};

/// Puts `value` in the place of the value behind the n-th colon.
void replace_value(std::string& json, std::size_t n, std::string_view value) {
  std::vector<std::size_t> colons;
  for (std::size_t i = 0; i < json.size(); ++i)
    if (json[i] == ':') colons.push_back(i + 1);
  if (colons.empty()) return;
  const std::size_t begin = colons[n % colons.size()];
  int depth = 0;
  std::size_t end = begin;
  for (; end < json.size(); ++end) {
    const char c = json[end];
    if (depth == 0 && (c == ',' || c == '}' || c == ']')) break;
    depth += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
  }
  json.replace(begin, end - begin, value);
}

void edit(std::string& text, std::size_t at, unsigned what, unsigned char value) {
  if (text.empty()) return;
  at %= text.size();
  switch (what % 4) {
    case 0:
      text[at] = static_cast<char>(value);
      break;
    case 1:
      text.erase(at, 1 + value % 8);
      break;
    case 2:
      text.insert(at, 1, static_cast<char>(value));
      break;
    default:
      replace_value(text, at, kValues[value % kValues.size()]);
      break;
  }
}

void read_all(const fs::path& folder) {
  const auto weights = kvant::io::Weights::open(folder);
  if (!weights) return require(!weights.error().message.empty());
  for (const kvant::io::WeightInfo& w : weights->list()) {
    if (!w.scheme) continue;
    const auto q = weights->read_quantized(w);
    if (!q) continue;
    require(kvant::check(*q).has_value());
    require(kvant::dequantize(*q).size() == q->rows * q->cols);
    require(q->rows == w.code_shape().rows && q->cols == w.code_shape().cols);
    const auto values = weights->read_float(w);
    require(values && values->rows() == w.rows() && values->cols() == w.cols());
  }
  const auto model = kvant::nn::Model::load(*weights, {});
  if (!model) return;
  auto cache = kvant::nn::KvCache::make(model->config(), 2);
  if (!cache) return;
  kvant::Matrix<float> logits(1, model->config().vocabulary);
  const std::array<std::int32_t, 2> ids{0, 1};
  require(model->forward(ids, *cache, logits.view(), {}).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Fixture> fixtures = load_fixtures();
  static const fs::path folder = fuzz::temporary_folder();
  if (size < 1) return 0;
  Fixture f = fixtures[data[0] % fixtures.size()];
  for (std::size_t i = 1; i + 5 <= size && i < 64; i += 5) {
    std::string& part = data[i] % 4 < 2 ? f.config : data[i] % 4 == 2 ? f.header : f.data;
    edit(part, data[i + 1] | static_cast<std::size_t>(data[i + 2]) << 8, data[i + 3], data[i + 4]);
  }
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(f.header.size() >> (8 * i) & 0xff);
  std::ofstream(folder / "config.json", std::ios::binary) << f.config;
  std::ofstream(folder / "model.safetensors", std::ios::binary) << length << f.header << f.data;
  read_all(folder);
  return 0;
}
