// SPDX-License-Identifier: Apache-2.0
// A consumer whose compiler flags differ from the library's: quantizes a model through the library, and uses the same
// inline functions itself, so that its copies of them meet the library's at link time. Ends by breaking a contract
// inside the library, which must reach the handler that was set out here.
//   consumer MODEL OUT SCHEME
#include <cstdio>
#include <cstdlib>

#include "kvant/io/json.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/kvant.hpp"
#include "kvant/pipeline/run.hpp"

namespace {

class Silent final : public kvant::pipeline::Progress {
 public:
  bool advance(std::string_view, std::uint64_t, std::uint64_t) override { return true; }
  void warn(std::string_view) override {}
};

void succeed(const kvant::ContractViolation&) { std::_Exit(0); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto scheme = kvant::parse_scheme(argv[3]);
  if (!scheme) return 2;
  kvant::Matrix<float> weight(32, 96);
  kvant::Rng random(7);
  for (std::size_t i = 0; i < weight.size(); ++i) weight.data()[i] = random.uniform() - 0.5f;
  const auto own = kvant::quantize(weight.view(), *scheme, {true, kvant::NonFinite::error});
  const auto fast = kvant::quantize(weight.view(), *scheme, {true, kvant::NonFinite::error}, kvant::runtime());
  if (!own || !fast || own->codes != fast->codes || own->scales[0].values != fast->scales[0].values) return 1;

  kvant::pipeline::QuantizeJob job;
  job.input = argv[1];
  job.output = argv[2];
  job.plan.scheme = *scheme;
  job.mode = kvant::io::OutputMode::replace;
  Silent progress;
  const auto report = kvant::pipeline::quantize_checkpoint(job, kvant::runtime(), progress);
  if (!report) return std::puts(kvant::describe(report.error()).c_str()), 1;

  kvant::set_contract_handler(&succeed);
  kvant::io::Json number(1);
  number.push_back(2);  // not an array
  return 1;
}
