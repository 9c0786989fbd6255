// SPDX-License-Identifier: Apache-2.0
// What work runs on: a table of kernels and an executor, passed explicitly.
#pragma once

#include <cstddef>
#include <type_traits>

#include "kvant/core/executor.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/kernels/generic.hpp"
#include "kvant/kernels/kernels.hpp"

namespace kvant {

/// Kernels and threads. `Context{}` is always the generic tier on the calling thread, linked library or not;
/// `kvant::runtime()` (tiers.hpp, compiled) is the best tier of this machine on kvant's own pool.
class Context {
 public:
  Context() = default;
  Context(const kernels::Kernels& table, Executor& executor) : kernels_(&table), executor_(&executor) {}

  [[nodiscard]] const kernels::Kernels& kernels() const noexcept { return *kernels_; }

  /// `body(i)` or `body(i, worker)` for i in [0, count), in any order, possibly at once, each in the default
  /// floating-point environment: what is computed does not depend on which thread does it, nor on what a host has set
  /// for its own. `worker` is below concurrency(), and tasks of one call that are under way at once differ in it.
  template <class Body>
  void for_each(std::size_t count, Body&& body) const {
    using B = std::remove_reference_t<Body>;
    const auto task = [&body](std::size_t i, unsigned worker) noexcept(detail::never_throws<B>()) {
      const DefaultFpEnvironment standard;
      detail::call(body, i, worker);
    };
    if (executor_ != nullptr) return parallel_for(*executor_, count, task);
    SerialExecutor serial;
    parallel_for(serial, count, task);
  }
  [[nodiscard]] unsigned concurrency() const noexcept { return executor_ != nullptr ? executor_->concurrency() : 1; }

 private:
  const kernels::Kernels* kernels_ = &kernels::generic::kTable;
  Executor* executor_ = nullptr;
};

}  // namespace kvant
