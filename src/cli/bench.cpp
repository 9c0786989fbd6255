// SPDX-License-Identifier: Apache-2.0
#include "kvant/measure/bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>

#include "console.hpp"
#include "machine.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

using measure::BenchReport;
using measure::BenchRow;

io::Json known(const std::optional<double>& value) { return value ? io::Json(*value) : io::Json(); }

io::Json machine(const BenchReport& report) {
  const CacheSizes cache = cache_sizes();
  io::Json json = io::Json::object();
  json.set("cpu", cpu_name()).set("l2_bytes", cache.l2).set("l3_bytes", cache.l3).set("huge_pages", huge_pages());
  json.set("busy_elsewhere", report.busy_elsewhere);
  return json;
}

io::Json peaks(const BenchReport& report) {
  io::Json gops = io::Json::object();
  for (const measure::BenchPeak& peak : report.peaks) gops.set(std::string(peak.name), peak.gops);
  io::Json reads = io::Json::object();
  reads.set("l2", known(report.reads.l2)).set("l3", known(report.reads.l3));
  reads.set("memory", report.reads.memory).set("memory_one_thread", report.reads.memory_one_thread);
  return io::Json::object().set("gops", std::move(gops)).set("gb_per_s", std::move(reads));
}

io::Json to_json(const BenchReport& report) {
  io::Json rows = io::Json::array();
  for (const BenchRow& r : report.rows) {
    io::Json row = io::Json::object();
    row.set("op", r.op).set("scheme", r.scheme).set("tier", report.tier).set("n", r.n).set("k", r.k).set("m", r.m);
    row.set("threads", report.threads).set("seconds_min", r.seconds_min).set("seconds_median", r.seconds_median);
    row.set("gops", r.gops).set("peak", r.peak.empty() ? io::Json() : io::Json(r.peak));
    row.set("percent_of_peak", known(r.percent_of_peak)).set("gb_per_s", r.gb_per_s);
    row.set("percent_of_read", r.percent_of_read).set("times_fp32", known(r.times_fp32));
    rows.push_back(std::move(row));
  }
  io::Json json = document("bench");
  json.set("machine", machine(report)).set("peaks", peaks(report)).set("rows", std::move(rows));
  return json;
}

/// What layers do, as Markdown that reads well as it is.
std::string layer_table(const BenchReport& report) {
  std::string text = fmt::format("| {:<23} | {:>11} | {:>5} | {:>9} | {:>11} | {:>8} | {:>7} |\n", "layer", "N x K",
                                 "M", "ms", "rate", "of limit", "vs fp32");
  text +=
      fmt::format("|:{:-<23}-|-{:->11}:|-{:->5}:|-{:->9}:|-{:->11}:|-{:->8}:|-{:->7}:|\n", "", "", "", "", "", "", "");
  for (const BenchRow& r : report.rows)
    if (r.m != 0)
      text += fmt::format(
          "| {:<23} | {:>11} | {:>5} | {:>9.3f} | {:>11} | {:>8} | {:>7} |\n", r.scheme,
          fmt::format("{} x {}", r.n, r.k), r.m, 1e3 * r.seconds_median,
          r.memory_bound() ? fmt::format("{:.1f} GB/s", r.gb_per_s) : fmt::format("{:.0f} GOP/s", r.gops),
          fmt::format("{:.0f} %", r.percent_of_limit()), r.times_fp32 ? fmt::format("{:.2f} x", *r.times_fp32) : "");
  return text;
}

std::string conversion_table(const BenchReport& report) {
  std::string text = fmt::format("| {:<38} | {:>11} | {:>9} | {:>10} | {:>9} | {:>9} |\n", "conversion", "N x K", "ms",
                                 "weights", "floats", "of read");
  text += fmt::format("|:{:-<38}-|-{:->11}:|-{:->9}:|-{:->10}:|-{:->9}:|-{:->9}:|\n", "", "", "", "", "", "");
  for (const BenchRow& r : report.rows)
    if (r.m == 0)
      text += fmt::format("| {:<38} | {:>11} | {:>9.3f} | {:>10} | {:>9} | {:>9} |\n", r.op + " " + r.scheme,
                          fmt::format("{} x {}", r.n, r.k), 1e3 * r.seconds_median, fmt::format("{:.3f} G/s", r.gops),
                          fmt::format("{:.1f} GB/s", r.gb_per_s), fmt::format("{:.0f} %", r.percent_of_read));
  return text;
}

std::string to_markdown(const BenchReport& report) {
  std::string text;
  const auto conversions = std::ranges::count(report.rows, std::size_t{0}, &BenchRow::m);
  if (static_cast<std::size_t>(conversions) < report.rows.size()) text += layer_table(report);
  if (conversions != 0) text += (text.empty() ? "" : "\n") + conversion_table(report);
  text +=
      fmt::format("\nTier {}, {}. Limits in this run: {:.1f} GB/s read from memory", report.tier,
                  report.threads == 1 ? "1 thread" : fmt::format("{} threads", report.threads), report.reads.memory);
  for (const measure::BenchPeak& peak : report.peaks)
    if (std::any_of(report.rows.begin(), report.rows.end(), [&](const BenchRow& r) { return r.peak == peak.name; }))
      text += fmt::format(", {:.0f} GOP/s by {}", peak.gops, peak.name);
  return text + ".\n";
}

class Bench final : public Command {
 public:
  void define(Options& options) override {
    options.path({"MODEL", "", "measure layers of the shapes that this model has"}, model_, Need::optional);
    options.text({"--op", "REGEX", "measure only these kernels or schemes: PCRE2, matched against the whole name"},
                 options_.op);
    options.custom({"--shape", "NxK", "output by input features of a layer"}, Need::optional,
                   "4096x4096 and 14336x4096", true, [this](std::string_view, const std::string& text) -> Status {
                     const auto shape = measure::parse_layer_shape(text);
                     if (!shape) return propagate(shape);
                     if (!shapes_given_) options_.shapes.clear();
                     shapes_given_ = true;
                     options_.shapes.push_back(*shape);
                     return {};
                   });
    options.custom({"--m", "LIST", "numbers of input rows, with commas between"}, Need::optional, "1,4,16,128,512",
                   false, [this](std::string_view, const std::string& text) -> Status {
                     auto counts = measure::parse_row_counts(text);
                     if (!counts) return propagate(counts);
                     options_.row_counts = *std::move(counts);
                     return {};
                   });
  }

  Status run(Console& console) override {
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    if (!model_.empty()) {
      if (shapes_given_) return fail(ErrorCode::usage, "MODEL and --shape both say which shapes to measure");
      const auto weights = io::Weights::open(model_);
      if (!weights) return propagate(weights);
      auto shapes = measure::layer_shapes(*weights);
      if (!shapes) return propagate(shapes);
      options_.shapes = *std::move(shapes);
    }
    const auto report = [&] {
      Reporter reporter(console, Unit::measurements);
      return measure::bench(options_, runtime->context(), reporter);
    }();
    if (!report) return propagate(report);
    if (console.json())
      console.print_json(to_json(*report));
    else
      console.print(to_markdown(*report));
    return {};
  }

 private:
  std::filesystem::path model_;
  measure::BenchOptions options_;
  bool shapes_given_ = false;
};

}  // namespace

constinit const Verb kBench{
    "bench",
    "[MODEL] [--op REGEX] [--shape NxK]... [--m LIST]",
    "Measures layers and conversions of every kind on this machine, against its limits and fp32.",
    {"kvant bench --shape 4096x4096 --m 1,128 --op 'gemm_.*'", "kvant bench models/tiny --op 'int4-.*' --json"},
    [] { return std::unique_ptr<Command>(std::make_unique<Bench>()); },
};

}  // namespace kvant::cli
