// SPDX-License-Identifier: Apache-2.0
// Memory against an inaccessible page, so that one element too far is a crash and not a wrong number.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace kvant::test {

/// Which end of the memory touches the inaccessible page.
enum class Edge { start, end };

template <class T>
class GuardedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  GuardedBuffer(std::size_t count, Edge edge) : count_(count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = count * sizeof(T);
    const std::size_t inner = (bytes + page - 1) / page * page;
    mapped_ = inner + 2 * page;
    base_ = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto* first = static_cast<unsigned char*>(base_) + page;
    if (base_ == MAP_FAILED || (inner != 0 && mprotect(first, inner, PROT_READ | PROT_WRITE) != 0)) {
      std::perror("GuardedBuffer");
      std::abort();
    }
    data_ = reinterpret_cast<T*>(edge == Edge::start ? first : first + inner - bytes);
  }
  GuardedBuffer(const std::vector<T>& values, Edge edge) : GuardedBuffer(values.size(), edge) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  ~GuardedBuffer() { munmap(base_, mapped_); }

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] std::span<T> span() const { return {data_, count_}; }

 private:
  std::size_t count_;
  std::size_t mapped_ = 0;
  void* base_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace kvant::test
