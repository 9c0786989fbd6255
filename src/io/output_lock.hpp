// SPDX-License-Identifier: Apache-2.0
// One run at a time for one output: whoever comes second hears at once who is first, not when its own work is done.
#pragma once

#include <filesystem>
#include <utility>

#include "kvant/core/error.hpp"

namespace kvant::io {

/// A lock on the name of an output: a small file beside it that holds the process's number. The system lets go of it
/// when the process ends, however it ends.
class OutputLock {
 public:
  OutputLock() = default;
  /// `output` is absolute. Errors: in_use (with the process that holds it), io.
  [[nodiscard]] static Result<OutputLock> take(const std::filesystem::path& output);

  OutputLock(OutputLock&& other) noexcept
      : path_(std::exchange(other.path_, {})),
        fd_(std::exchange(other.fd_, -1)),
        slot_(std::exchange(other.slot_, -1)) {}
  OutputLock& operator=(OutputLock&& other) noexcept;
  ~OutputLock() { release(); }

  void release() noexcept;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  int slot_ = -1;  ///< among the temporary names that a signal removes
};

}  // namespace kvant::io
