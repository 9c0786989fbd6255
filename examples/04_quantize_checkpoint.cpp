// SPDX-License-Identifier: Apache-2.0
// A checkpoint in, a smaller checkpoint out, then a look at what it holds.
//   04_quantize_checkpoint MODEL OUT [SCHEME]
#include <cstdio>
#include <string_view>

#include "kvant/io/weights.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/pipeline/run.hpp"

namespace {

class Quiet final : public kvant::pipeline::Progress {
 public:
  bool advance(std::string_view, std::uint64_t, std::uint64_t) override { return true; }
  void warn(std::string_view text) override {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  }
};

int fail(const kvant::Error& error) {
  std::fprintf(stderr, "%s\n", kvant::describe(error).c_str());
  return kvant::error_info(error.code).exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: %s MODEL OUT [SCHEME]\n", argv[0]), 2;
  const auto scheme = kvant::parse_scheme(argc > 3 ? argv[3] : "int4-g32");
  if (!scheme) return fail(scheme.error());

  kvant::pipeline::QuantizeJob job;
  job.input = argv[1];
  job.output = argv[2];
  job.plan.scheme = *scheme;
  job.mode = kvant::io::OutputMode::replace;
  Quiet progress;
  const auto report = kvant::pipeline::quantize_checkpoint(job, kvant::runtime(), progress);
  if (!report) return fail(report.error());
  std::printf("%llu -> %llu bytes, %.3f bits per quantized weight, stored as %s\n",
              static_cast<unsigned long long>(report->bytes_in), static_cast<unsigned long long>(report->bytes_out),
              report->bits_per_weight, report->convention.c_str());

  const auto weights = kvant::io::Weights::open(job.output);
  if (!weights) return fail(weights.error());
  for (const auto& tensor : report->tensors)
    if (tensor.plan.action == kvant::pipeline::Action::quantize)
      std::printf("  %-48s %s  %.2f dB\n", tensor.plan.name.c_str(), kvant::to_text(tensor.plan.scheme).c_str(),
                  tensor.distortion.sqnr_db);
  return 0;
}
