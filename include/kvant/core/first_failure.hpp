// SPDX-License-Identifier: Apache-2.0
// What is left of tasks that failed: the first of them, in whatever order they ran. Its error is made afterwards.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kvant {

class FirstFailure {
 public:
  void report(std::size_t task) noexcept {
    std::size_t first = first_.load(std::memory_order_relaxed);
    while (task < first && !first_.compare_exchange_weak(first, task, std::memory_order_relaxed)) {
    }
  }
  [[nodiscard]] bool any() const noexcept { return first_.load(std::memory_order_relaxed) != SIZE_MAX; }
  /// Contract: any().
  [[nodiscard]] std::size_t task() const noexcept { return first_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::size_t> first_{SIZE_MAX};
};

}  // namespace kvant
