// SPDX-License-Identifier: Apache-2.0
// How long work tells what it is doing, and how it is stopped.
#pragma once

#include <cstdint>
#include <string_view>

namespace kvant::pipeline {

/// Receives what a run has done so far. Called from one thread at a time. Returning false stops the run, which then
/// fails with `interrupted` and leaves no output.
class Progress {
 public:
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  virtual ~Progress() = default;

  /// `item` is being worked on; `done` of `total` bytes of input are finished.
  virtual bool advance(std::string_view item, std::uint64_t done, std::uint64_t total) = 0;
  virtual void warn(std::string_view text) = 0;
};

}  // namespace kvant::pipeline
