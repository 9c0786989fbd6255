// SPDX-License-Identifier: Apache-2.0
// The few system calls that files need, with EINTR, short transfers and error texts taken care of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

#include "kvant/core/error.hpp"

namespace kvant::io {

/// Owns a file descriptor.
class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&&) = delete;
  ~UniqueFd();

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// An io error: "cannot ACTION: what errno says".
[[nodiscard]] tl::unexpected<Error> os_error(std::string_view action, int errno_value, const Where& where);

/// Writes all of `data` at `offset`. Out of space (disk, quota, file size limit) says what was needed and what there
/// was. Asks for the file size limit beforehand, so that SIGXFSZ is never raised.
[[nodiscard]] Status write_all(int fd, std::uint64_t offset, std::span<const std::byte> data, const Where& where);

/// Reserves and sets the size of the file; file systems that cannot reserve only get the size.
[[nodiscard]] Status reserve_space(int fd, std::uint64_t bytes, const Where& where);

/// fsync() of an open file, or of a folder by path.
[[nodiscard]] Status sync_file(int fd, const Where& where);
[[nodiscard]] Status sync_folder(const std::filesystem::path& folder);

/// Renames without replacing: an existing `to` is an error with errno EEXIST. Returns errno, 0 for success.
[[nodiscard]] int rename_no_replace(const char* from, const char* to) noexcept;
/// Swaps two names in one step. Returns errno (EINVAL or ENOSYS where that is not offered), 0 for success.
[[nodiscard]] int rename_exchange(const char* a, const char* b) noexcept;

}  // namespace kvant::io
