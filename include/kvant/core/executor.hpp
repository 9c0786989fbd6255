// SPDX-License-Identifier: Apache-2.0
// Who runs parallel work: an interface that a host can implement with its own threads, and the serial one.
#pragma once

#include <cstddef>
#include <type_traits>

namespace kvant {

/// Runs `task(context, i)` for every i in [0, count), in any order, possibly at once, and returns when all are done.
/// Results never depend on how work is split, nor on who runs it.
class Executor {
 public:
  using Task = void (*)(void* context, std::size_t index);

  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor() = default;

  /// How many tasks may run at once, at least 1.
  [[nodiscard]] virtual unsigned concurrency() const noexcept = 0;
  /// Called by several threads at once and from inside a task, where a program does so. A task may throw
  /// std::bad_alloc, which `run` passes on to its caller once no task runs any more.
  virtual void run(std::size_t count, Task task, void* context) = 0;
};

/// Runs everything on the calling thread, in order.
class SerialExecutor final : public Executor {
 public:
  [[nodiscard]] unsigned concurrency() const noexcept override { return 1; }
  void run(std::size_t count, Task task, void* context) override {
    for (std::size_t i = 0; i < count; ++i) task(context, i);
  }
};

/// `body(i)` for i in [0, count) on `executor`.
template <class Body>
void parallel_for(Executor& executor, std::size_t count, Body&& body) {
  using B = std::remove_reference_t<Body>;
  executor.run(
      count, [](void* context, std::size_t i) { (*static_cast<B*>(context))(i); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace kvant
