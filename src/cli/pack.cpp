// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/pack.hpp"

#include <fmt/format.h>

#include <string>

#include "console.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

class Pack final : public Command {
 public:
  void define(Options& options) override {
    options.path({"MODEL", "", "a safetensors file or model's folder, quantized or not"}, job_.input, Need::required);
    options.path({"-o,--output", "FILE", "the packed file"}, job_.output, Need::required);
    options.flag({"--force", "", "replace an output that exists"}, force_);
  }

  Status run(Console& console) override {
    job_.mode = force_ ? io::OutputMode::replace : io::OutputMode::refuse;
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    const auto report = [&] {
      Reporter reporter(console);
      return pipeline::pack_checkpoint(job_, runtime->context(), reporter);
    }();
    if (!report) return propagate(report);
    if (!console.json()) {
      console.print(fmt::format("{} layers packed, {} other tensors, {} written\n", report->layers, report->tensors,
                                human_bytes(static_cast<double>(report->bytes_out))));
      return {};
    }
    io::Json json = document("pack");
    json.set("bytes_out", report->bytes_out).set("layers", report->layers).set("tensors", report->tensors);
    console.print_json(json);
    return {};
  }

 private:
  pipeline::PackJob job_{};
  bool force_ = false;
};

}  // namespace

constinit const Verb kPack{
    "pack",
    "MODEL -o FILE",
    "Writes a file of packed layers, which programs map and multiply by without a copy.",
    {"kvant pack tiny-int4 -o tiny.kvant", "kvant pack models/tiny -o tiny-fp32.kvant --force"},
    [] { return std::unique_ptr<Command>(std::make_unique<Pack>()); },
};

}  // namespace kvant::cli
