// SPDX-License-Identifier: Apache-2.0
// How often progress is worth a line in a log.
#pragma once

namespace kvant::cli {

/// None in the first second, so that short runs are silent; then one for every ten percent or ten seconds.
class Pace {
 public:
  /// Whether a line is due `seconds` after the start, with `share` of the work done.
  [[nodiscard]] bool due(double seconds, double share) noexcept {
    if (seconds < 1 || (share - share_ < 0.1 && seconds - seconds_ < 10)) return false;
    seconds_ = seconds;
    share_ = share;
    return true;
  }

 private:
  double seconds_ = 0, share_ = 0;  ///< of the last line
};

}  // namespace kvant::cli
