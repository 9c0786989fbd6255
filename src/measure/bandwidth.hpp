// SPDX-License-Identifier: Apache-2.0
// What this machine reads at most, from memory and from its caches.
#pragma once

#include <cstddef>
#include <memory>

#include "kvant/kernels/context.hpp"

namespace kvant::measure {

/// A buffer that no cache holds, on huge pages, and loops that read it.
class ReadBandwidth {
 public:
  /// Throws std::bad_alloc.
  ReadBandwidth();

  /// Bytes per second that the context's threads read from memory together, over at least `seconds`. Each measurement
  /// goes on where the one before ended, so that nothing is read twice before everything else was.
  [[nodiscard]] double memory(const Context& context, double seconds);

  /// Likewise, each thread again and again reading `bytes` of its own.
  [[nodiscard]] double cached(std::size_t bytes, const Context& context, double seconds) const;

 private:
  using Read = void (*)(const unsigned char* data, std::size_t bytes) noexcept;
  struct Free {
    void operator()(unsigned char* p) const noexcept;
  };

  Read read_;
  std::size_t size_;
  std::unique_ptr<unsigned char[], Free> data_;
  std::size_t next_ = 0;  ///< chunk
};

}  // namespace kvant::measure
