// SPDX-License-Identifier: Apache-2.0
// docs/files.md against the code: it names every tensor that a weight is stored as, and the configurations it shows are
// those that are written.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "docs/page.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/stored_weight.hpp"
#include "kvant/quant/scheme.hpp"
#include "kvant/tensor/dtype.hpp"

namespace {

using namespace kvant;

const std::string kPage = "docs/files.md";

std::vector<std::string> schemes() {
  std::vector<std::string> all{
      "int4-g32",   "int4-g32-asym",           "uint4-g32-asym",     "int8-channel-asym/int8-token",
      "nf4-g64-dq", "int3-channel-scale:e8m0", "fp8_e4m3fn-b128x128"};
  for (const BlockFormat& b : kBlockFormats) all.emplace_back(b.name);
  return all;
}

io::QuantizedWeight weight(const std::string& scheme) { return {"X.weight", *parse_layer_scheme(scheme), 256, 4096}; }

TEST(FilesPage, NamesEveryTensorOfAWeightWithItsDtype) {
  const page::Table table = page::table(kPage, "`\"quant_method\": \"kvant\"`", "tensor");
  for (const std::string& scheme : schemes())
    for (const io::TensorSpec& spec : io::stored_tensors(weight(scheme), io::Convention::kvant)) {
      const page::Row row = table.row(spec.name);
      ASSERT_EQ(row.size(), 4u) << spec.name;
      if (spec.name == "X.weight_scale") continue;  // by scale type
      EXPECT_NE(row[1].find(dtype_info(spec.dtype).name), std::string::npos) << scheme << " " << spec.name;
    }
  const page::Table scales = page::table(kPage, "`\"quant_method\": \"kvant\"`", "scale type");
  EXPECT_GE(scales.rows.size(), 7u);
}

TEST(FilesPage, SaysWhichSchemesAreCompressedTensors) {
  const page::Table table = page::table(kPage, "`\"quant_method\": \"compressed-tensors\"`", "schemes");
  for (const std::string& scheme : schemes()) {
    if (io::beyond_compressed_tensors(weight(scheme))) continue;
    const io::Json config =
        io::quantization_config(std::vector{weight(scheme)}, {}, io::Convention::compressed_tensors);
    const std::string& format = *config.find("format")->as_string();
    bool found = false;
    for (const page::Row& row : table.rows) {
      if (row[1] != format) continue;
      found = true;
      for (const io::TensorSpec& spec : io::stored_tensors(weight(scheme), io::Convention::compressed_tensors)) {
        if (spec.name.ends_with("_scale") || spec.name.ends_with("_zero_point")) continue;
        EXPECT_NE(("`" + row[2] + " ").find("`" + spec.name + "` " + std::string(dtype_info(spec.dtype).name) + " "),
                  std::string::npos)
            << scheme << " " << spec.name;
      }
    }
    EXPECT_TRUE(found) << scheme << ": " << format;
  }
}

TEST(FilesPage, ShowsConfigurationsAsTheyAreWritten) {
  std::vector<std::string> shown;
  for (const page::Block& block : page::blocks(kPage)) {
    if (block.language != "json") continue;
    std::string text;
    for (const std::string& line : block.lines) text += line;
    const auto json = io::parse_json(text);
    ASSERT_TRUE(json) << text;
    shown.push_back(io::to_text(*json));
  }
  ASSERT_EQ(shown.size(), 2u);
  const std::vector<std::string> ignored{"model.embed_tokens.weight", "lm_head.weight"};
  EXPECT_EQ(io::to_text(io::quantization_config(std::vector{weight("int8-channel/int8-token")}, ignored,
                                                io::Convention::compressed_tensors)),
            shown[0]);
  io::QuantizedWeight up = weight("int3-g64");
  up.name = "model.layers.0.mlp.up_proj.weight";
  EXPECT_EQ(io::to_text(io::quantization_config(std::vector{up}, ignored, io::Convention::kvant)), shown[1]);
}

}  // namespace
