// SPDX-License-Identifier: Apache-2.0
// Packed files whose description was changed, its checksum with it, and whose bytes say anything: what is accepted can
// be multiplied by, packed anew and checked, without a read beyond the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "files.hpp"
#include "kvant/core/rng.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/packed_file.hpp"
#include "kvant/quant/encode.hpp"
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace {

namespace fs = std::filesystem;
using kvant::io::Json;

struct Original {
  fs::path path;
  std::string layers, data;
  Json header;
};

void write(const fs::path& path) {
  std::vector<kvant::io::PackedLayer> layers;
  std::vector<kvant::PackedWeight> weights;
  for (const char* text : {"int4-g32", "int8-g12-asym", "fp8_e5m2-channel", "nf4-g64-dq", "is3", "nvfp4", "int1-g9"}) {
    kvant::Matrix<float> w(5, 70);
    kvant::Rng random(layers.size());
    for (std::size_t i = 0; i < w.size(); ++i) w.data()[i] = random.uniform() - 0.5f;
    const kvant::QMatrix q = kvant::quantize(w.view(), kvant::parse_scheme(text).value()).value();
    layers.push_back(kvant::io::PackedLayer::of(std::string(text) + ".weight", q, {}, {}).value());
    weights.push_back(kvant::pack(q).value());
  }
  auto writer = kvant::io::PackedWriter::create(path, layers, {}, kvant::io::OutputMode::replace).value();
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (!writer.write(i, weights[i])) std::abort();
  if (!writer.commit()) std::abort();
}

Original make_original() {
  Original o;
  o.path = fuzz::temporary_folder() / "packed";
  write(o.path);
  const auto [header, data] = fuzz::read_safetensors(o.path);
  o.header = kvant::io::parse_json(header).value();
  o.layers = *o.header.find("__metadata__")->find("layers")->as_string();
  o.data = data;
  return o;
}

std::string hex(std::uint64_t hash) {
  std::string text(16, '0');
  for (std::size_t i = 0; i < 16; ++i) text[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input, std::size_t size) {
  static const Original kOriginal = make_original();
  std::string layers = kOriginal.layers, data = kOriginal.data;
  for (std::size_t i = 0; i + 4 <= size; i += 4) {
    const std::size_t at = static_cast<std::size_t>(input[i]) << 8 | input[i + 1];
    if (input[i + 2] % 4 == 0)
      data[at % data.size()] = static_cast<char>(input[i + 3]);
    else if (input[i + 2] % 4 == 1)
      layers.erase(at % layers.size(), 1);
    else
      layers[at % layers.size()] = static_cast<char>(' ' + input[i + 3] % 95);
  }
  Json header = kOriginal.header;
  header.set("__metadata__", Json::object()
                                 .set("format", "kvant-packed")
                                 .set("version", "1")
                                 .set("checksum", hex(XXH64(layers.data(), layers.size(), 0)))
                                 .set("layers", layers));
  std::string text = kvant::io::to_text(header);
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');
  {
    std::ofstream out(kOriginal.path, std::ios::binary);
    for (int i = 0; i < 8; ++i) out.put(static_cast<char>(text.size() >> (8 * i) & 0xff));
    out << text << data;
  }
  const auto file = kvant::io::PackedFile::open(kOriginal.path);
  if (!file) return 0;
  static_cast<void>(file->verify({}));
  for (const kvant::io::PackedLayer& described : file->layers()) {
    const auto layer = file->layer(described, {});
    if (!layer || layer->in_features() * layer->out_features() > 1 << 20) continue;
    const kvant::Matrix<float> x(2, layer->in_features(), 0.5f);
    kvant::Matrix<float> y(2, layer->out_features());
    if (!layer->multiply(x.view(), y.view())) std::abort();
    if (layer->shape().layout != kvant::Layout::f32_p32 && layer->shape().layout != kvant::Layout::bf16_p32)
      static_cast<void>(kvant::unpack(layer->packed(), layer->bytes()));
  }
  return 0;
}
