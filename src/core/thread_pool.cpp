// SPDX-License-Identifier: Apache-2.0
#include "core/thread_pool.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>

namespace kvant {
namespace {

/// How often an idle thread looks again before it sleeps: some tens of microseconds, the time between two layers.
constexpr int kSpins = 1 << 11;

inline void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Waits until `value` is no longer `old`, and returns what it is.
std::uint32_t wait_while(const std::atomic<std::uint32_t>& value, std::uint32_t old) noexcept {
  for (int i = 0; i < kSpins; ++i) {
    const std::uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(unsigned threads) {
  constexpr unsigned kMost = kJoined;
  const unsigned extra = threads > kMost ? kMost : threads > 1 ? threads - 1 : 0;
  workers_.reserve(extra);
  try {
    while (workers_.size() < extra)
      workers_.emplace_back([this, worker = static_cast<unsigned>(workers_.size()) + 1] { work(worker); });
  } catch (const std::exception&) {
    return;  // as many as there are
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  state_.fetch_add(kJob, std::memory_order_release);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::take_tasks(unsigned worker) noexcept {
  for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) task_(context_, i, worker);
}

void ThreadPool::run(std::size_t count, Task task, void* context) noexcept {
  if (count <= 1 || workers_.empty() || busy_.exchange(true, std::memory_order_acquire)) {
    for (std::size_t i = 0; i < count; ++i) task(context, i, 0);
    return;
  }
  count_ = count;
  task_ = task;
  context_ = context;
  next_.store(0, std::memory_order_relaxed);
  // Nobody is joined here, so only the job's number and the open bit change; that publishes the lines above.
  std::uint32_t state = (state_.load(std::memory_order_relaxed) + kJob) | kOpen;
  state_.store(state, std::memory_order_release);
  state_.notify_all();
  take_tasks(0);
  // Whoever has not joined by now never sees this job; whoever has is waited for.
  state = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
  while ((state & kJoined) != 0) state = wait_while(state_, state);
  busy_.store(false, std::memory_order_release);
}

void ThreadPool::work(unsigned worker) noexcept {
  std::uint32_t done = 0;  // number of the last job taken part in
  std::uint32_t state = 0;
  for (;;) {
    if (stop_.load(std::memory_order_relaxed)) return;
    if ((state & kOpen) == 0 || (state & ~(kOpen | kJoined)) == done) {
      state = wait_while(state_, state);
      continue;
    }
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) continue;
    done = state & ~(kOpen | kJoined);
    take_tasks(worker);
    state = state_.fetch_sub(1, std::memory_order_acq_rel) - 1;
    if ((state & (kOpen | kJoined)) == 0) state_.notify_all();
  }
}

}  // namespace kvant
