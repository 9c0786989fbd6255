// SPDX-License-Identifier: Apache-2.0
// Executors that a host could bring: one that runs tasks in a scrambled order, one on threads of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <numeric>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "kvant/core/executor.hpp"

namespace reference {

class ShuffledExecutor final : public kvant::Executor {
 public:
  [[nodiscard]] unsigned concurrency() const noexcept override { return 1; }
  void run(std::size_t count, Task task, void* context) noexcept override {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[engine_() % i]);
    for (const std::size_t i : order) task(context, i, 0);
  }

 private:
  std::mt19937 engine_{42};
};

/// `threads` new threads per run; each calls `on_start` first (to spoil its floating-point environment, say).
class ThreadedExecutor final : public kvant::Executor {
 public:
  explicit ThreadedExecutor(unsigned threads, std::function<void()> on_start = {})
      : threads_(threads), on_start_(std::move(on_start)) {}
  [[nodiscard]] unsigned concurrency() const noexcept override { return threads_; }
  void run(std::size_t count, Task task, void* context) noexcept override {
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < threads_; ++t)
      workers.emplace_back([&, t] {
        if (on_start_) on_start_();
        for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) task(context, i, t);
      });
    for (std::thread& w : workers) w.join();
  }

 private:
  unsigned threads_;
  std::function<void()> on_start_;
};

}  // namespace reference
