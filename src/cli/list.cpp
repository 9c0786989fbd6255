// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kernels/ops.hpp"
#include "kvant/calibrate/observers.hpp"
#include "kvant/io/readers.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/nn/families.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/passes/passes.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

/// One array of objects with the same keys: JSON as it is, or a table with the keys as headings.
io::Json formats() {
  io::Json rows = io::Json::array();
  for (const FormatInfo& f : kFormats) {
    constexpr std::array<std::string_view, 4> kKinds{"integer", "minifloat", "codebook", "exponent"};
    io::Json row = io::Json::object();
    row.set("name", f.name).set("bits", f.bits).set("kind", kKinds[static_cast<std::size_t>(f.kind)]);
    row.set("signed", f.is_signed).set("inf", f.has_inf).set("nan", f.has_nan);
    row.set("max", static_cast<double>(f.max));
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Every block format, and every format at the usual granularities; scheme text composes more.
io::Json schemes() {
  constexpr std::uint64_t kSide = 4096;
  constexpr std::array<std::string_view, 5> kGranularities{"", "-tensor", "-channel", "-g128", "-g32"};
  io::Json rows = io::Json::array();
  const auto add = [&](const Scheme& scheme) {
    const auto bits = static_cast<double>(stored_bits(scheme, kSide, kSide));
    io::Json row = io::Json::object();
    row.set("name", to_text(scheme)).set("bits_per_weight", bits / static_cast<double>(kSide * kSide));
    rows.push_back(std::move(row));
  };
  for (const BlockFormat& b : kBlockFormats) add(b.scheme);
  for (const FormatInfo& f : kFormats)
    for (const std::string_view granularity : kGranularities)
      if (const auto scheme = parse_scheme(std::string(f.name) + std::string(granularity))) add(*scheme);
  return rows;
}

io::Json methods() {
  io::Json rows = io::Json::array();
  for (const QuantizerInfo& q : kQuantizers) {
    std::string options;  // as --method takes them
    AnyQuantizer method = AnyQuantizer::parse(q.name).value();
    method.visit([&](std::string_view name, const auto& value, std::string_view) {
      options += (options.empty() ? "" : ",") + std::string(name) + "=" + kvant::detail::text_of_option(value);
    });
    rows.push_back(io::Json::object().set("name", q.name).set("options", options).set("summary", q.summary));
  }
  return rows;
}

io::Json observers() {
  io::Json rows = io::Json::array();
  for (const ObserverInfo& o : kObservers)
    rows.push_back(io::Json::object().set("name", o.name).set("summary", o.summary));
  return rows;
}

io::Json ops() {
  io::Json rows = io::Json::array();
  for (const kernels::Op& op : kernels::kOps)
    rows.push_back(io::Json::object()
                       .set("name", op.name)
                       .set("weights", op.weights())
                       .set("activations", kernels::kActivationNames[static_cast<std::size_t>(op.activations)]));
  return rows;
}

io::Json tiers() {
  io::Json rows = io::Json::array();
  for (const kernels::Tier& t : kernels::tiers())
    rows.push_back(io::Json::object().set("name", t.name).set("needs", t.needs).set("runnable", t.runnable));
  return rows;
}

io::Json files() {
  io::Json rows = io::Json::array();
  for (const io::FileFormat& f : io::kReaders)
    rows.push_back(
        io::Json::object().set("name", f.name).set("what", f.what).set("read", f.reads).set("write", f.writes));
  return rows;
}

io::Json architectures() {
  io::Json rows = io::Json::array();
  for (const nn::Family* f : nn::families())
    rows.push_back(io::Json::object().set("name", f->model_type).set("class", f->classes).set("variants", f->variants));
  return rows;
}

io::Json errors() {
  io::Json rows = io::Json::array();
  for (const ErrorInfo& e : kErrorCodes)
    rows.push_back(io::Json::object().set("name", e.name).set("exit", e.exit_code).set("meaning", e.meaning));
  return rows;
}

struct Listing {
  std::string_view name;
  io::Json (*rows)();
};

constexpr std::array kListings{
    Listing{"formats", &formats}, Listing{"schemes", &schemes},
    Listing{"methods", &methods}, Listing{"observers", &observers},
    Listing{"ops", &ops},         Listing{"tiers", &tiers},
    Listing{"files", &files},     Listing{"architectures", &architectures},
    Listing{"errors", &errors},
};

std::string cell(const io::Json& value) {
  if (const std::string* text = value.as_string()) return *text;
  if (const auto yes = value.as_bool()) return *yes ? "yes" : "no";
  if (value.as_int64()) return io::to_text(value);
  return fmt::format("{:.6g}", value.as_double().value_or(0));
}

std::string to_table(const io::Json& rows) {
  if (rows.items().empty()) return "";
  std::string align;
  std::vector<std::string> headings;
  for (const io::Json::Member& m : rows.items().front().members()) {
    align += m.value.is_number() ? 'r' : 'l';
    headings.push_back(m.key);
  }
  Table table(align, std::move(headings));
  for (const io::Json& row : rows.items()) {
    std::vector<std::string> cells;
    for (const io::Json::Member& m : row.members()) cells.push_back(cell(m.value));
    table.row(std::move(cells));
  }
  return table.text();
}

class List final : public Command {
 public:
  void define(Options& options) override {
    std::vector<std::string_view> names;
    for (const Listing& l : kListings) names.push_back(l.name);
    const std::string help = fmt::format("one of: {}", fmt::join(names, ", "));
    options.choice({"WHAT", "", help}, what_, names, Need::required);
  }

  Status run(Console& console) override {
    for (const Listing& l : kListings) {
      if (l.name != what_) continue;
      io::Json rows = l.rows();
      if (console.json())
        console.print_json(document("list").set(what_, std::move(rows)));
      else
        console.print(to_table(rows));
    }
    return {};
  }

 private:
  std::string what_;
};

}  // namespace

constinit const Verb kList{
    "list",
    "formats|schemes|methods|observers|ops|tiers|files|architectures|errors",
    "Lists what this build knows.",
    {"kvant list formats", "kvant list errors --json"},
    [] { return std::unique_ptr<Command>(std::make_unique<List>()); },
};

}  // namespace kvant::cli
