// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <thread>
#include <utility>

#include "core/thread_pool.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/kernels/tiers.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace kvant {

unsigned available_threads() noexcept {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    const int count = CPU_COUNT(&allowed);
    if (count > 0) return static_cast<unsigned>(count);
  }
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count > 0 ? count : 1;
}

struct Runtime::Impl {
  Impl(const kernels::Kernels& table, unsigned threads) : pool(threads), context(table, pool) {}

  ThreadPool pool;
  Context context;
};

Runtime::Runtime(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Runtime::Runtime(Runtime&&) noexcept = default;
Runtime& Runtime::operator=(Runtime&&) noexcept = default;
Runtime::~Runtime() = default;

const Context& Runtime::context() const noexcept { return impl_->context; }

Result<Runtime> Runtime::make(const RuntimeOptions& options) {
  try {
    Result<const kernels::Kernels*> table = nullptr;
    if (options.tier.empty()) {
      const Result<kernels::ActiveTier> chosen = kernels::active();
      if (!chosen) return propagate(chosen);
      table = chosen->table;
    } else {
      table = kernels::find_tier(options.tier);
      if (!table) return propagate(table);
    }
    const unsigned threads = options.threads != 0 ? options.threads : available_threads();
    return Runtime(std::make_unique<Impl>(**table, threads));
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::out_of_memory, "no memory for a thread pool");
  }
}

const Context& runtime() {
  static const Context kGeneric;
  static const Result<Runtime> kShared = [] {
    Result<Runtime> chosen = Runtime::make();
    const std::span<const kernels::Tier> tiers = kernels::tiers();
    for (std::size_t i = tiers.size(); !chosen && i-- > 0;)  // what KVANT_TIER names can't run: as if it named nothing
      if (tiers[i].runnable) chosen = Runtime::make({.threads = 0, .tier = tiers[i].name});
    return chosen;
  }();
  return kShared ? kShared->context() : kGeneric;
}

}  // namespace kvant
