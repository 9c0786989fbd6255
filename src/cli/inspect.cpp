// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kvant/io/utf8.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/nn/families.hpp"
#include "steps_text.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

std::uint64_t elements(const io::WeightInfo& weight) {
  std::uint64_t n = 1;
  for (const std::uint64_t d : weight.shape) n *= d;
  return n;
}

/// What a checkpoint holds, as the reader of weights or, where their convention is another tool's, as the file says.
struct Contents {
  std::string container;
  std::vector<io::WeightInfo> tensors;
  std::vector<std::shared_ptr<const RuntimeCodebook>> codebooks;  ///< that their schemes refer to
  io::Metadata metadata;
  std::uint64_t bytes = 0;
  std::vector<std::string> warnings;
  /// Of quantized weights, where there are any; `is_read` tells whether the list holds weights or mere tensors.
  std::string convention;
  bool is_read = true;

  [[nodiscard]] std::uint64_t parameters() const {
    std::uint64_t n = 0;
    for (const io::WeightInfo& t : tensors) n += elements(t);
    return n;
  }

  /// Over the quantized tensors or, where there are none, over the matrices. Nothing where the tensors hold codes of
  /// which no number of weights is known.
  [[nodiscard]] std::optional<double> bits_per_weight() const {
    if (!is_read) return std::nullopt;
    std::uint64_t bytes_of[2] = {0, 0};
    std::uint64_t elements_of[2] = {0, 0};
    for (const io::WeightInfo& t : tensors) {
      if (!t.scheme && t.shape.size() != 2) continue;
      bytes_of[t.scheme ? 1 : 0] += t.stored_bytes;
      elements_of[t.scheme ? 1 : 0] += elements(t);
    }
    const std::size_t which = elements_of[1] > 0 ? 1 : 0;
    if (elements_of[which] == 0) return 0;
    return 8 * static_cast<double>(bytes_of[which]) / static_cast<double>(elements_of[which]);
  }
};

Contents describe_source(const io::Weights& weights) {
  const io::SourceInfo& info = weights.info();
  return {info.container,  weights.list(), info.codebooks,  info.metadata,
          info.file_bytes, info.warnings,  info.convention, true};
}

Result<Contents> read_contents(const std::filesystem::path& path) {
  const auto weights = io::Weights::open(path);
  if (weights) return describe_source(*weights);
  if (weights.error().code != ErrorCode::unsupported) return propagate(weights);
  const auto stored = io::Weights::open_as_stored(path);
  if (!stored) return propagate(stored);
  Contents contents = describe_source(*stored);
  contents.warnings.push_back(describe(weights.error()));
  contents.is_read = false;
  return contents;
}

/// One list of a model's steps; blocks with the same text are one.
struct StepList {
  std::string name;
  std::vector<std::string> steps;
};

std::vector<std::string> lines_of(const nn::ModelConfig& config, const std::vector<nn::Step>& steps,
                                  std::string_view prefix) {
  std::vector<std::string> lines;
  for (const nn::Step& step : steps) {
    const std::string text = cli::to_text(step, config, prefix);  // several lines where steps are nested
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      lines.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  }
  return lines;
}

/// Blocks of the same steps as one list.
void add_blocks(std::vector<StepList>& lists, const nn::ModelConfig& config, const std::vector<nn::Block>& blocks,
                std::string_view what) {
  std::size_t first = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    auto lines = lines_of(config, blocks[i].steps, blocks[i].prefix);
    if (i == 0 || lists.back().steps != lines) {
      first = i;
      lists.push_back({"", std::move(lines)});
    }
    lists.back().name = first == i ? fmt::format("{} {}", what, i) : fmt::format("{}s {}-{}", what, first, i);
  }
}

std::vector<StepList> step_lists(const nn::ModelConfig& config) {
  std::vector<StepList> lists;
  add_blocks(lists, config, config.encoder, "encoder's part");
  lists.push_back({"stem", lines_of(config, config.stem, "")});
  add_blocks(lists, config, config.blocks, "block");
  lists.push_back({"tail", lines_of(config, config.tail, "")});
  lists.push_back({"head", lines_of(config, config.head, "")});
  if (!config.pooler.empty()) lists.push_back({"pooler", lines_of(config, config.pooler, "")});
  return lists;
}

class Inspect final : public Command {
 public:
  void define(Options& options) override {
    options.path({"PATH", "", "a safetensors file or a model's folder"}, path_, Need::required);
    options.flag({"--steps", "", "what the model's forward pass computes, step by step"}, steps_);
  }

  Status run(Console& console) override {
    if (steps_) return show_steps(console);
    auto contents = read_contents(path_);
    if (!contents) return propagate(contents);
    for (const std::string& warning : contents->warnings) console.warn(warning);
    if (console.json())
      console.print_json(to_json(*contents));
    else
      console.print(to_table(*contents));
    return {};
  }

 private:
  static io::Json to_json(const Contents& contents) {
    io::Json metadata = io::Json::object();
    for (const auto& [key, value] : contents.metadata) metadata.set(key, value);
    io::Json tensors = io::Json::array();
    for (const io::WeightInfo& t : contents.tensors) {
      io::Json shape = io::Json::array();
      for (const std::uint64_t d : t.shape) shape.push_back(d);
      io::Json row = io::Json::object();
      row.set("name", t.name).set("dtype", dtype_info(t.dtype).name).set("shape", std::move(shape));
      row.set("bytes", t.stored_bytes);
      if (t.scheme) row.set("scheme", to_text(*t.scheme));
      if (t.transposed) row.set("transposed", true);
      tensors.push_back(std::move(row));
    }
    io::Json json = document("inspect");
    json.set("container", contents.container)
        .set("bytes", contents.bytes)
        .set("parameters", contents.is_read ? io::Json(contents.parameters()) : io::Json());
    const auto bits = contents.bits_per_weight();
    json.set("bits_per_weight", bits ? io::Json(*bits) : io::Json());
    json.set("convention", contents.convention.empty() ? io::Json() : io::Json(io::printable(contents.convention)));
    json.set("metadata", std::move(metadata));
    json.set("tensors", std::move(tensors));
    return json;
  }

  static std::string to_table(const Contents& contents) {
    Table table("lllrl", {"tensor", "dtype", "shape", "bytes", "scheme"});
    for (const io::WeightInfo& t : contents.tensors)
      table.row({io::printable(t.name), std::string(dtype_info(t.dtype).name), human_shape(t.shape),
                 std::to_string(t.stored_bytes),
                 t.scheme ? to_text(*t.scheme) + (t.transposed ? " transposed" : "") : ""});
    const std::string size = human_bytes(static_cast<double>(contents.bytes));
    if (!contents.is_read)
      return fmt::format("{}\n{}, {} tensors, {}; quantized, convention: {} (not read)\n", table.text(),
                         contents.container, contents.tensors.size(), size, io::printable(contents.convention));
    return fmt::format("{}\n{}, {} tensors, {} parameters, {:.3f} bits per weight, {}{}\n", table.text(),
                       contents.container, contents.tensors.size(), contents.parameters(), *contents.bits_per_weight(),
                       size, contents.convention.empty() ? "" : "; quantized, convention: " + contents.convention);
  }

  [[nodiscard]] Status show_steps(Console& console) const {
    const auto weights = io::Weights::open_as_stored(path_);
    if (!weights) return propagate(weights);
    if (!weights->config())
      return fail(ErrorCode::bad_config, "has no config.json, which names the model's family",
                  {path_.string(), {}, {}});
    const auto config =
        nn::read_model_config(*weights->config(), {(path_ / "config.json").string(), {}, {}}, &*weights);
    if (!config) return propagate(config);
    io::Json rows = io::Json::array();
    std::string text;
    for (const StepList& list : step_lists(*config)) {
      io::Json steps = io::Json::array();
      text += list.name + "\n";
      for (const std::string& line : list.steps) {
        steps.push_back(line);
        text += "  " + line + "\n";
      }
      rows.push_back(io::Json::object().set("name", list.name).set("steps", std::move(steps)));
    }
    if (console.json())
      console.print_json(document("inspect").set("family", config->family->model_type).set("lists", std::move(rows)));
    else
      console.print(text);
    return {};
  }

  std::filesystem::path path_;
  bool steps_ = false;
};

}  // namespace

constinit const Verb kInspect{
    "inspect",
    "PATH [--steps]",
    "Shows what a file or a model's folder holds, judged by content.",
    {"kvant inspect model.safetensors --json", "kvant inspect models/tiny --steps"},
    [] { return std::unique_ptr<Command>(std::make_unique<Inspect>()); },
};

}  // namespace kvant::cli
