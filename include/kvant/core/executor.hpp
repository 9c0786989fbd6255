// SPDX-License-Identifier: Apache-2.0
// Who runs parallel work: an interface that a host can implement with its own threads, and the serial one.
#pragma once

#include <atomic>
#include <cstddef>
#include <type_traits>

#if defined(__cpp_exceptions)
#include <exception>
#endif

namespace kvant {

/// Runs `task(context, i, worker)` for every i in [0, count), in any order, possibly at once, and returns when all are
/// done. Results never depend on how work is split, nor on who runs it.
class Executor {
 public:
  /// `worker` is below concurrency(), and no two tasks that one call of run() has under way at once share it: scratch
  /// memory of a run has one place for each worker. A task never throws.
  using Task = void (*)(void* context, std::size_t index, unsigned worker) noexcept;

  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor() = default;

  /// How many tasks of one run() may be under way at once, at least 1, always the same.
  [[nodiscard]] virtual unsigned concurrency() const noexcept = 0;
  /// Called by several threads at once and from inside a task, where a program does so.
  virtual void run(std::size_t count, Task task, void* context) noexcept = 0;
};

/// Runs everything on the calling thread, in order.
class SerialExecutor final : public Executor {
 public:
  [[nodiscard]] unsigned concurrency() const noexcept override { return 1; }
  void run(std::size_t count, Task task, void* context) noexcept override {
    for (std::size_t i = 0; i < count; ++i) task(context, i, 0);
  }
};

namespace detail {

template <class Body>
inline constexpr bool kTakesWorker = std::is_invocable_v<Body&, std::size_t, unsigned>;

template <class Body>
constexpr bool never_throws() {
  if constexpr (kTakesWorker<Body>)
    return std::is_nothrow_invocable_v<Body&, std::size_t, unsigned>;
  else
    return std::is_nothrow_invocable_v<Body&, std::size_t>;
}

template <class Body>
void call(Body& body, std::size_t index, unsigned worker) noexcept(never_throws<Body>()) {
  if constexpr (kTakesWorker<Body>)
    body(index, worker);
  else
    body(index);
}

#if defined(__cpp_exceptions)
/// A body that may run out of memory, as tasks: the first exception is kept for the caller, and no task begins after
/// it.
template <class Body>
class Throwing {
 public:
  explicit Throwing(Body& body) : body_(body) {}

  static void run(void* self, std::size_t index, unsigned worker) noexcept {
    auto& tasks = *static_cast<Throwing*>(self);
    if (tasks.failed_.load(std::memory_order_relaxed)) return;
    try {
      call(tasks.body_, index, worker);
    } catch (...) {
      if (!tasks.failed_.exchange(true)) tasks.failure_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  Body& body_;
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;
};
#endif

}  // namespace detail

/// `body(i)` or `body(i, worker)` for i in [0, count) on `executor`. What a body throws, std::bad_alloc as a rule, is
/// kept until all tasks have ended and thrown to the caller; the executor never sees it.
template <class Body>
void parallel_for(Executor& executor, std::size_t count, Body&& body) {
  using B = std::remove_reference_t<Body>;
#if defined(__cpp_exceptions)
  if constexpr (!detail::never_throws<B>()) {
    detail::Throwing<B> tasks(body);
    executor.run(count, &detail::Throwing<B>::run, &tasks);
    tasks.rethrow();
    return;
  }
#endif
  executor.run(
      count,
      [](void* context, std::size_t i, unsigned worker) noexcept {
        detail::call(*static_cast<B*>(context), i, worker);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace kvant
