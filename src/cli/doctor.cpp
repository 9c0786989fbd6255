// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kvant/kernels/tiers.hpp"
#include "machine.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

struct Diagnosis {
  std::string cpu, tier, why;
  std::vector<std::string> features, built, runnable;
  CacheSizes cache{};
  unsigned threads = 0;
  std::string huge_pages;
  std::vector<Limit> limits;
};

std::string or_unknown(const std::string& text) { return text.empty() ? "unknown" : text; }

/// Which tier runs, and why; where none does, the reason is the diagnosis.
void find_active(Diagnosis& d, const CommonOptions& options) {
  const auto active = kernels::active();
  const kernels::Kernels* table = active ? active->table : nullptr;
  d.why = active ? active->why : describe(active.error());
  if (!options.tier.empty()) {
    const auto forced = kernels::find_tier(options.tier);
    table = forced ? *forced : nullptr;
    d.why = forced ? options.tier + ": --tier asks for it" : describe(forced.error());
  }
  for (const kernels::Tier& tier : kernels::tiers()) {
    const auto found = kernels::find_tier(tier.name);
    if (table != nullptr && found && *found == table) d.tier = tier.name;
  }
}

Diagnosis diagnose(const CommonOptions& options) {
  Diagnosis d;
  d.cpu = cpu_name();
  std::istringstream features(kernels::cpu_features());
  for (std::string f; features >> f;) d.features.push_back(f);
  for (const kernels::Tier& tier : kernels::tiers()) {
    d.built.emplace_back(tier.name);
    if (tier.runnable) d.runnable.emplace_back(tier.name);
  }
  find_active(d, options);
  d.cache = cache_sizes();
  d.threads = options.threads != 0 ? options.threads : available_threads();
  d.huge_pages = huge_pages();
  d.limits = memory_limits();
  return d;
}

bool limited(const Limit& limit) { return limit.bytes != std::numeric_limits<std::uint64_t>::max(); }

io::Json to_json(const Diagnosis& d) {
  const auto texts = [](const std::vector<std::string>& list) {
    io::Json json = io::Json::array();
    for (const std::string& text : list) json.push_back(text);
    return json;
  };
  const auto known = [](const std::string& text) { return text.empty() ? io::Json() : io::Json(text); };
  io::Json cache = io::Json::object();
  cache.set("l1_data", d.cache.l1_data).set("l2", d.cache.l2).set("l3", d.cache.l3);
  io::Json limits = io::Json::object();
  for (const Limit& l : d.limits) limits.set(l.name, limited(l) ? io::Json(l.bytes) : io::Json());
  io::Json json = document("doctor");
  json.set("cpu", known(d.cpu)).set("features", texts(d.features)).set("tiers_built", texts(d.built));
  json.set("tiers_runnable", texts(d.runnable)).set("tier_active", known(d.tier)).set("why", d.why);
  json.set("cache", std::move(cache)).set("threads", d.threads).set("huge_pages", known(d.huge_pages));
  json.set("limits", std::move(limits));
  return json;
}

std::string to_table(const Diagnosis& d) {
  const auto size = [](std::uint64_t bytes) { return bytes > 0 ? human_bytes(static_cast<double>(bytes)) : "unknown"; };
  Table table("ll", {"item", "finding"});
  table.row({"cpu", or_unknown(d.cpu)});
  table.row({"features", fmt::format("{}", fmt::join(d.features, " "))});
  table.row({"tiers built", fmt::format("{}", fmt::join(d.built, " "))});
  table.row({"tiers runnable", fmt::format("{}", fmt::join(d.runnable, " "))});
  table.row({"tier active", d.tier.empty() ? "none: " + d.why : d.why});
  table.row(
      {"caches", fmt::format("L1 data {}, L2 {}, L3 {}", size(d.cache.l1_data), size(d.cache.l2), size(d.cache.l3))});
  table.row({"threads", std::to_string(d.threads)});
  table.row({"huge pages", or_unknown(d.huge_pages)});
  for (const Limit& l : d.limits)
    table.row({fmt::format("limit: {}", l.name), limited(l) ? human_bytes(static_cast<double>(l.bytes)) : "none"});
  return table.text();
}

class Doctor final : public Command {
 public:
  void define(Options&) override {}

  Status run(Console& console) override {
    const Diagnosis d = diagnose(console.options());
    if (console.json())
      console.print_json(to_json(d));
    else
      console.print(to_table(d));
    return {};
  }
};

}  // namespace

constinit const Verb kDoctor{
    "doctor",
    "",
    "Says what this machine offers, which kernels run, and why.",
    {"kvant doctor", "KVANT_TIER=generic kvant doctor --json"},
    [] { return std::unique_ptr<Command>(std::make_unique<Doctor>()); },
};

}  // namespace kvant::cli
