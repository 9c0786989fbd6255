// SPDX-License-Identifier: Apache-2.0
// kvant's own threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "kvant/core/executor.hpp"

namespace kvant {

/// An executor of `threads` threads, the caller of run() being one of them. Idle workers spin briefly, then sleep.
/// A run() while another is under way, from inside a task or from another thread, is done by its caller alone, as
/// worker 0 of that run.
class ThreadPool final : public Executor {
 public:
  /// Where the system grants fewer threads, the pool is that much smaller.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool() override;

  [[nodiscard]] unsigned concurrency() const noexcept override { return static_cast<unsigned>(workers_.size()) + 1; }
  void run(std::size_t count, Task task, void* context) noexcept override;

 private:
  void work(unsigned worker) noexcept;
  void take_tasks(unsigned worker) noexcept;

  // state_: number of the current job << 16 | kOpen while workers may join it | how many have joined and not left.
  static constexpr std::uint32_t kOpen = 0x8000;
  static constexpr std::uint32_t kJoined = 0x7fff;
  static constexpr std::uint32_t kJob = 0x10000;

  alignas(64) std::atomic<std::size_t> next_{0};
  alignas(64) std::atomic<std::uint32_t> state_{0};
  std::atomic<bool> busy_{false};
  std::atomic<bool> stop_{false};
  std::size_t count_ = 0;
  Task task_ = nullptr;
  void* context_ = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace kvant
