// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kvant/io/utf8.hpp"
#include "kvant/passes/passes.hpp"
#include "kvant/pipeline/run.hpp"
#include "machine.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

using pipeline::Action;
using pipeline::QuantizeReport;
using pipeline::TensorReport;

std::uint64_t elements(const TensorReport& t) {
  std::uint64_t n = 1;
  for (const std::uint64_t d : t.shape) n *= d;
  return n;
}

bool is_changed(const TensorReport& t) { return t.plan.action == Action::quantize || t.plan.action == Action::cast; }

std::string scheme_text(const TensorReport& t) { return is_changed(t) ? to_text(t.plan.scheme) : ""; }

std::string decibels(double db) { return std::isinf(db) ? "exact" : fmt::format("{:.2f}", db); }

class Quantize final : public Command {
 public:
  void define(Options& options) override {
    options.path({"MODEL", "", "a safetensors file or a model's folder"}, job_.input, Need::required);
    options.path({"-o,--output", "OUT", "a file for a file, a folder for a folder"}, job_.output, Need::required);
    options.custom({"--scheme", "S", "how weights are stored, as int4-g128 (kvant list schemes)"}, Need::required, "",
                   false, [this](std::string_view, const std::string& text) { return set_scheme(text); });
    options.custom({"--method", "M[:OPTION=VALUE,…]", "how codes are chosen (kvant list methods)"}, Need::optional,
                   std::string(AnyQuantizer().name()), false,
                   [this](std::string_view, const std::string& text) { return set_method(text); });
    options.custom({"--rule", "PATTERN=SCHEME", "another scheme for tensors whose name matches; the first rule wins"},
                   Need::optional, "", true,
                   [this](std::string_view, const std::string& text) { return add_rule(text); });
    options.custom({"--skip", "PATTERN", "a rule that leaves tensors alone"}, Need::optional, "", true,
                   [this](std::string_view, const std::string& text) -> Status {
                     job_.plan.rules.push_back(pipeline::skip_rule(text));
                     return {};
                   });
    options.custom({"--transposed", "PATTERN", "weights that are stored [in, out], as GPT-2's"}, Need::optional, "",
                   true, [this](std::string_view, const std::string& text) -> Status {
                     job_.plan.transposed.push_back(text);
                     return {};
                   });
    options.choice({"--join", "error|warn", "different schemes in matrices that engines join, as q, k and v"}, join_,
                   {"error", "warn"});
    options.whole({"--effort", "0..3", "0: plain scales; from 1 on: scales searched for the least error"}, effort_, 0,
                  3);
    const auto rules = option_names(PowerRule{});
    options.choice({"--mx-scale", "floor|up|nearest|ct", "plain scales of MX formats, without a search (--effort 0)"},
                   power_rule_, {rules.begin(), rules.end()});
    options.choice({"--nonfinite", "error|zero|keep", "what to do about NaN and Inf among the weights"}, nonfinite_,
                   {"error", "zero", "keep"});
    options.flag({"--dry-run", "", "say what would be done, and write nothing"}, job_.dry_run);
    options.flag({"--per-tensor", "", "print a line per tensor, too"}, per_tensor_);
    options.flag({"--force", "", "replace an output that exists"}, force_);
  }

  Status run(Console& console) override {
    job_.nonfinite = *nonfinite_from_name(nonfinite_);
    job_.join = join_ == "error" ? pipeline::Join::error : pipeline::Join::warn;
    if (effort_ == 0) set_where_there("search", "false");
    if (power_rule_ != option_names(PowerRule{})[0]) set_where_there("power_rule", power_rule_);
    job_.mode = force_ ? io::OutputMode::replace : io::OutputMode::refuse;
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    auto report = [&] {
      Reporter reporter(console);
      return pipeline::quantize_checkpoint(job_, runtime->context(), reporter);
    }();
    if (!report) return propagate(report);
    for (const std::string& warning : report->warnings) console.warn(warning);
    if (console.json())
      console.print_json(to_json(*report));
    else
      console.print((per_tensor_ ? tensor_table(*report) + "\n" : "") + summary(*report));
    return {};
  }

 private:
  Status set_method(const std::string& text) {
    auto method = AnyQuantizer::parse(text);
    if (!method) return propagate(method);
    job_.method = std::move(*method);
    return {};
  }

  /// An option that stands by itself on the command line, of a method that has it.
  void set_where_there(std::string_view option, std::string_view value) {
    bool found = false;
    job_.method.visit([&](std::string_view name, auto&, std::string_view) { found = found || name == option; });
    if (found) static_cast<void>(job_.method.set(std::string(option) + "=" + std::string(value)));
  }

  Status set_scheme(const std::string& text) {
    auto scheme = parse_layer_scheme(text);
    if (!scheme) return propagate(scheme);
    job_.plan.scheme = *scheme;
    return {};
  }

  Status add_rule(const std::string& text) {
    auto rule = pipeline::parse_rule(text);
    if (!rule) return propagate(rule);
    job_.plan.rules.push_back(std::move(*rule));
    return {};
  }

  /// A dry run and a copied tensor have no errors to report.
  [[nodiscard]] bool measured(const TensorReport& t) const { return !job_.dry_run && is_changed(t); }

  [[nodiscard]] io::Json tensor_json(const TensorReport& t) const {
    const auto known = [](bool is_known, io::Json value) { return is_known ? std::move(value) : io::Json(); };
    io::Json row = io::Json::object();
    row.set("name", t.plan.name).set("action", pipeline::action_name(t.plan.action));
    row.set("scheme", known(is_changed(t), scheme_text(t)));
    row.set("method", known(t.plan.action == Action::quantize, job_.method.name()));
    row.set("rule", known(!t.plan.rule.empty(), t.plan.rule));
    row.set("kept", known(!t.plan.kept.empty(), t.plan.kept));
    row.set("sqnr_db", known(measured(t), t.distortion.sqnr_db));
    row.set("relative_error", known(measured(t), t.distortion.relative_error));
    row.set("nonfinite", known(measured(t), t.nonfinite));
    return row;
  }

  [[nodiscard]] io::Json to_json(const QuantizeReport& report) const {
    io::Json tensors = io::Json::array();
    for (const TensorReport& t : report.tensors) tensors.push_back(tensor_json(t));
    io::Json json = document("quantize");
    json.set("bytes_in", report.bytes_in).set("bytes_out", report.bytes_out);
    json.set("bits_per_weight", report.bits_per_weight).set("seconds", report.seconds);
    json.set("peak_rss_bytes", peak_rss_bytes()).set("tensors", std::move(tensors));
    return json;
  }

  [[nodiscard]] std::string tensor_table(const QuantizeReport& report) const {
    Table table("lllllrr", {"tensor", "shape", "action", "scheme", "rule", "SQNR dB", "relative error"});
    for (const TensorReport& t : report.tensors) {
      const bool show = measured(t);
      table.row({io::printable(t.plan.name), human_shape(t.shape), std::string(pipeline::action_name(t.plan.action)),
                 scheme_text(t), t.plan.kept.empty() ? io::printable(t.plan.rule) : "kept: " + std::string(t.plan.kept),
                 show ? decibels(t.distortion.sqnr_db) : "",
                 show ? fmt::format("{:.3e}", t.distortion.relative_error) : ""});
    }
    return table.text();
  }

  /// One row per action and scheme.
  [[nodiscard]] std::string summary(const QuantizeReport& report) const {
    struct Sum {
      std::size_t tensors = 0;
      std::uint64_t parameters = 0;
      double worst_db = std::numeric_limits<double>::infinity();
      std::string worst;
    };
    std::map<std::pair<Action, std::string>, Sum> sums;
    for (const TensorReport& t : report.tensors) {
      Sum& sum = sums[{t.plan.action, scheme_text(t)}];
      ++sum.tensors;
      sum.parameters += elements(t);
      if (!measured(t) || t.distortion.sqnr_db >= sum.worst_db) continue;
      sum.worst_db = t.distortion.sqnr_db;
      sum.worst = io::printable(t.plan.name);
    }
    Table table("llrrrl", {"action", "scheme", "tensors", "parameters", "least SQNR dB", "in"});
    for (const auto& [key, sum] : sums) {
      const bool show = !key.second.empty() && !job_.dry_run;
      table.row({std::string(pipeline::action_name(key.first)), key.second, std::to_string(sum.tensors),
                 std::to_string(sum.parameters), show ? decibels(sum.worst_db) : "", sum.worst});
    }
    std::string text = table.text();
    text += fmt::format("\n{}{} -> {}, {:.3f} bits per weight, {:.2f} s, peak memory {}\n",
                        job_.dry_run ? "dry run: " : "", human_bytes(static_cast<double>(report.bytes_in)),
                        human_bytes(static_cast<double>(report.bytes_out)), report.bits_per_weight, report.seconds,
                        human_bytes(static_cast<double>(peak_rss_bytes())));
    text += "convention: " + report.convention;
    if (!report.why.empty()) text += " (" + io::printable(report.why) + ")";
    return text + "\n";
  }

  pipeline::QuantizeJob job_;
  std::uint64_t effort_ = 1;
  std::string power_rule_ = "floor";
  std::string nonfinite_ = "error";
  std::string join_ = "warn";
  bool per_tensor_ = false;
  bool force_ = false;
};

}  // namespace

constinit const Verb kQuantize{
    "quantize",
    "MODEL -o OUT --scheme S",
    "Writes a checkpoint with smaller weights, streaming, whole or not at all.",
    {"kvant quantize models/tiny -o tiny-int4 --scheme int4-g128",
     "kvant quantize model -o small --scheme int4-g32 --rule '.*\\.down_proj\\.weight=int8-channel' --skip "
     "'.*\\.0\\..*'"},
    [] { return std::unique_ptr<Command>(std::make_unique<Quantize>()); },
};

}  // namespace kvant::cli
