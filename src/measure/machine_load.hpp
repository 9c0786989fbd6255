// SPDX-License-Identifier: Apache-2.0
// Who else uses the machine: a measurement means little beside other work.
#pragma once

#include <chrono>

namespace kvant::measure {

/// Watches from its construction on.
class MachineLoad {
 public:
  MachineLoad() noexcept : start_(now()) {}

  /// How many processors the rest of the system kept busy on average, stolen time included; 0 where the system does not
  /// tell. Exact to a hundredth of a second of work.
  [[nodiscard]] double busy_elsewhere() const noexcept;

 private:
  struct Sample {
    std::chrono::steady_clock::time_point time;
    double everybody = 0;  ///< busy seconds of all processors
    double own = 0;        ///< of this process
  };
  [[nodiscard]] static Sample now() noexcept;

  Sample start_;
};

}  // namespace kvant::measure
