// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <string>
#include <utility>

#include "console.hpp"
#include "kvant/io/utf8.hpp"
#include "kvant/pipeline/run.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

class Dequantize final : public Command {
 public:
  void define(Options& options) override {
    options.path({"MODEL", "", "a quantized safetensors file or model's folder"}, job_.input, Need::required);
    options.path({"-o,--output", "OUT", "a file for a file, a folder for a folder"}, job_.output, Need::required);
    options.choice({"--dtype", "fp32|bf16|fp16", "what quantized tensors become; fp32 is exact"}, dtype_,
                   {"fp32", "bf16", "fp16"});
    options.choice({"--nonfinite", "error|zero|keep", "what to do about NaN, Inf and values beyond --dtype"},
                   nonfinite_, {"error", "zero", "keep"});
    options.flag({"--force", "", "replace an output that exists"}, force_);
  }

  Status run(Console& console) override {
    job_.dtype = *format_from_name(dtype_);
    job_.nonfinite = *nonfinite_from_name(nonfinite_);
    job_.mode = force_ ? io::OutputMode::replace : io::OutputMode::refuse;
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    const auto report = [&] {
      Reporter reporter(console);
      return pipeline::dequantize_checkpoint(job_, runtime->context(), reporter);
    }();
    if (!report) return propagate(report);
    for (const std::string& warning : report->warnings) console.warn(warning);
    if (!console.json()) {
      console.print(fmt::format("{} tensors became {}, {} written\n", report->tensors.size(), dtype_,
                                human_bytes(static_cast<double>(report->bytes_out))));
      return {};
    }
    io::Json tensors = io::Json::array();
    for (const std::string& name : report->tensors) tensors.push_back(name);
    io::Json json = document("dequantize");
    json.set("bytes_out", report->bytes_out).set("tensors", std::move(tensors));
    console.print_json(json);
    return {};
  }

 private:
  pipeline::DequantizeJob job_{};
  std::string dtype_ = "fp32";
  std::string nonfinite_ = "error";
  bool force_ = false;
};

}  // namespace

constinit const Verb kDequantize{
    "dequantize",
    "MODEL -o OUT",
    "Writes the floats that a quantized checkpoint stands for.",
    {"kvant dequantize tiny-int4 -o tiny-fp32", "kvant dequantize model-int8 -o model-bf16 --dtype bf16"},
    [] { return std::unique_ptr<Command>(std::make_unique<Dequantize>()); },
};

}  // namespace kvant::cli
