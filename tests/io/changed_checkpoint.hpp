// SPDX-License-Identifier: Apache-2.0
// Recorded checkpoints with one thing changed: what a reader says of them.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kvant/io/safetensors.hpp"
#include "kvant/io/weights.hpp"
#include "test_files.hpp"

namespace kvant::io::test {

/// A copy of a fixture whose configuration or tensors can be changed.
class ChangedCheckpoint : public ::testing::Test {
 protected:
  /// `fixtures`: the folder of all of them.
  explicit ChangedCheckpoint(std::filesystem::path fixtures) : fixtures_(std::move(fixtures)) {}
  void copy(const std::string& name) {
    std::filesystem::remove_all(folder_ / "m");
    std::filesystem::copy(fixtures_ / name, folder_ / "m", std::filesystem::copy_options::recursive);
  }
  /// The code with which the fixture is refused once `from` is `to` in its configuration.
  std::string edited(const std::string& name, const std::string& from, const std::string& to) {
    copy(name);
    std::string config = read_bytes(folder_ / "m/config.json");
    const std::size_t at = config.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at == std::string::npos) return "";
    folder_.write("m/config.json", config.replace(at, from.size(), to));
    return code_of(Weights::open(folder_ / "m"));
  }
  /// The same once every tensor has gone through `change`, which may drop it (false).
  std::string changed(const std::string& name,
                      const std::function<bool(TensorSpec&, std::vector<std::byte>&)>& change) {
    copy(name);
    const std::filesystem::path path = folder_ / "m/model.safetensors";
    std::vector<TensorSpec> specs;
    std::vector<std::vector<std::byte>> data;
    {
      const auto file = SafetensorsFile::open(path);
      EXPECT_TRUE(file);
      for (const TensorInfo& t : file->tensors()) {
        TensorSpec spec{t.name, t.dtype, t.shape};
        std::vector<std::byte> bytes(t.bytes);
        EXPECT_TRUE(file->read(t, 0, bytes));
        if (!change(spec, bytes)) continue;
        specs.push_back(spec);
        data.push_back(bytes);
      }
    }
    auto writer = SafetensorsWriter::create(path, specs, {}, OutputMode::replace);
    EXPECT_TRUE(writer) << describe(writer.error());
    for (std::size_t i = 0; i < specs.size(); ++i) EXPECT_TRUE(writer->write(specs[i].name, 0, data[i]));
    EXPECT_TRUE(writer->commit());
    const auto model = Weights::open(folder_ / "m");
    if (!model) return code_of(model);
    for (const WeightInfo& w : model->list())
      if (w.scheme)
        if (const auto q = model->read_quantized(w); !q) return code_of(q);
    return "success";
  }
  std::filesystem::path fixtures_;
  TemporaryFolder folder_;
};

}  // namespace kvant::io::test
