// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "codes.hpp"
#include "console.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/io/npy.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 16;  ///< elements per task

struct RoundingName {
  std::string_view name;
  Rounding rounding;
};
constexpr std::array kRoundings{
    RoundingName{"rne", Rounding::nearest_even}, RoundingName{"rna", Rounding::nearest_away},
    RoundingName{"rtz", Rounding::toward_zero},  RoundingName{"up", Rounding::up},
    RoundingName{"down", Rounding::down},        RoundingName{"stochastic", Rounding::stochastic},
};

class Cast final : public Command {
 public:
  void define(Options& options) override {
    options.path({"IN.npy", "", "an array of numbers: f2 f4 f8 or integers"}, input_, Need::required);
    options.custom({"--to", "FORMAT", "the format of the codes (kvant list formats)"}, Need::required, "", false,
                   [this](std::string_view name, const std::string& text) { return set_format(format_, name, text); });
    options.path({"-o,--output", "CODES.bin",
                  "the codes, little-endian: one byte each up to 8 bits, two up to 16, four "
                  "above"},
                 output_, Need::required);
    options.choice({"--profile", "ieee|onnx|ocp|ggml|ct|modelopt", "whose rules to follow (docs/numerics.md)"},
                   profile_, profile_names());
    options.choice({"--overflow", "saturate|ieee", "beyond the largest number: that number, or what the format has"},
                   overflow_, {"saturate", "ieee"});
    std::vector<std::string_view> roundings;
    for (const RoundingName& r : kRoundings) roundings.push_back(r.name);
    options.custom({"--round", "rne|rna|rtz|up|down|stochastic",
                    "nearest even, nearest away, toward zero, up, down, or "
                    "by chance"},
                   Need::optional, "the profile's", false,
                   [this](std::string_view name, const std::string& text) { return set_rounding(name, text); });
    options.whole({"--seed", "N", "of stochastic rounding; the same seed gives the same codes"}, seed_, 0, UINT64_MAX);
    options.flag({"--force", "", "replace an output that exists"}, force_);
  }

  Status run(Console& console) override {
    if (const Status ok = check_output_file(input_, output_, force_); !ok) return ok;
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    const auto array = io::read_npy(input_);
    if (!array) return propagate(array);
    const auto values = array->to_floats();
    if (!values) return propagate(values);
    rule_.profile = *profile_from_name(profile_);
    rule_.overflow = overflow_ == "ieee" ? Overflow::ieee : Overflow::saturate;
    const Counts counts = cast_all(*values, runtime->context());
    if (const Status ok = io::write_file(output_, codes_, force_ ? io::OutputMode::replace : io::OutputMode::refuse);
        !ok)
      return ok;
    if (console.json()) {
      console.print_json(
          document("cast").set("elements", values->size()).set("saturated", counts.saturated).set("nan", counts.nan));
    } else {
      console.print(fmt::format("{} numbers became {}, {} of them cut to its range, {} NaN\n", values->size(),
                                format_info(format_).name, counts.saturated, counts.nan));
    }
    return {};
  }

 private:
  struct Counts {
    std::uint64_t saturated = 0, nan = 0;
  };

  Status set_rounding(std::string_view name, const std::string& text) {
    for (const RoundingName& r : kRoundings)
      if (r.name == text) {
        rule_.rounding = r.rounding;
        return {};
      }
    return fail(ErrorCode::usage, fmt::format("{}: '{}' is none of: rne, rna, rtz, up, down, stochastic", name, text));
  }

  Counts cast_all(const std::vector<float>& values, const Context& context) {
    const std::size_t width = code_bytes(format_);
    codes_.resize(values.size() * width);
    std::vector<Counts> counts(ceil_div(values.size(), kChunk));
    context.for_each(counts.size(), [&](std::size_t task) {
      for (std::size_t i = task * kChunk; i < std::min(values.size(), (task + 1) * kChunk); ++i) {
        const std::uint32_t random = random_bits(seed_, i);
        const std::uint32_t code = cast(format_, values[i], rule_, random);
        std::memcpy(codes_.data() + i * width, &code, width);  // little-endian, as files are
        if (is_nan(values[i])) ++counts[task].nan;
        if (saturates(format_, values[i], rule_, random)) ++counts[task].saturated;
      }
    });
    Counts sum;
    for (const Counts& c : counts) sum = {sum.saturated + c.saturated, sum.nan + c.nan};
    return sum;
  }

  std::filesystem::path input_, output_;
  FormatId format_;
  CastRule rule_;
  std::string profile_ = "ieee";
  std::string overflow_ = "saturate";
  std::uint64_t seed_ = 0;
  bool force_ = false;
  std::vector<std::byte> codes_;
};

}  // namespace

constinit const Verb kCast{
    "cast",
    "IN.npy --to FORMAT -o CODES.bin",
    "Encodes numbers in a format, with no scale, under the rules of a named project.",
    {"kvant cast x.npy --to fp8_e4m3fn -o x.bin", "kvant cast x.npy --to fp4_e2m1 --profile ggml -o x.bin --json"},
    [] { return std::unique_ptr<Command>(std::make_unique<Cast>()); },
};

}  // namespace kvant::cli
