// SPDX-License-Identifier: Apache-2.0
// The tiers that this build holds, which of them this machine runs, and the context that uses the best (compiled).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/kernels/kernels.hpp"

namespace kvant {

namespace kernels {

/// One tier: the processor features it needs, and whether this machine has them and grants their use.
struct Tier {
  std::string_view name;
  std::string_view needs;  ///< features, space-separated; empty for generic
  bool runnable;
  std::string_view inexact{};  ///< slots, space-separated, that keep within rounding of the definition only
};

/// All tiers that were built, worst first.
[[nodiscard]] std::span<const Tier> tiers() noexcept;

/// The tier of that name; `unsupported` with the reason where this machine lacks a feature or the name is not built.
[[nodiscard]] Result<const Kernels*> find_tier(std::string_view name);

/// The table that `runtime()` uses: KVANT_TIER if it names a runnable tier, else the best. `why` says which and why.
struct ActiveTier {
  const Kernels* table;
  std::string why;
};
[[nodiscard]] Result<ActiveTier> active();

/// Processor features found, space-separated, as `kvant doctor` prints them.
[[nodiscard]] std::string cpu_features();

}  // namespace kernels

/// The processors that this process may use.
[[nodiscard]] unsigned available_threads() noexcept;

/// What a Runtime is made of; zero and empty mean "decide": all available threads, KVANT_TIER or the best tier.
struct RuntimeOptions {
  unsigned threads = 0;
  std::string_view tier;
};

/// A tier and a pool of threads, owned together. The pool works for one caller at a time: work that another thread, or
/// a task, begins meanwhile is done by that thread alone.
class Runtime {
 public:
  /// `unsupported` where the tier named (by option or KVANT_TIER) is unknown or cannot run here.
  [[nodiscard]] static Result<Runtime> make(const RuntimeOptions& options = {});
  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) noexcept;
  ~Runtime();
  [[nodiscard]] const Context& context() const noexcept;

 private:
  struct Impl;
  explicit Runtime(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// The best tier of this machine on a pool of all available threads, made at first use and shared.
/// A KVANT_TIER that cannot run is as if it were not set; `kernels::active()` says what is wrong with it.
[[nodiscard]] const Context& runtime();

}  // namespace kvant
