// SPDX-License-Identifier: Apache-2.0
// Files that are read: opened once, measured once, read by position; and small text files as a whole.
//
// The default is pread(): a file that somebody cuts while it is mapped kills the process (SIGBUS), while a short
// read is an ordinary error. Access::mmap is for callers who know their files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "kvant/core/error.hpp"
#include "kvant/io/debug_mode.hpp"

namespace kvant::io {

enum class Access : std::uint8_t { pread, mmap };

/// Tells whether two names lead to one file: equal for the same path, hard links and symbolic links.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

/// A regular file open for reading. Its size is taken once, and all reads are bounded by it. Reading is thread-safe.
class InputFile {
 public:
  /// Errors: not_found, not_regular_file (folder, pipe, device, socket; never waits for a pipe's writer), io.
  [[nodiscard]] static Result<InputFile> open(const std::filesystem::path& path, Access access = Access::pread);

  /// Bytes in memory, which stay and do not change while this is open, as a file under Access::mmap.
  [[nodiscard]] static InputFile over(std::span<const std::byte> bytes);

  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  /// Fills `out` from byte `offset` on. Errors: truncated (beyond the size, or the file shrank since), io.
  [[nodiscard]] Status read_at(std::uint64_t offset, std::span<std::byte> out) const;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] FileIdentity identity() const noexcept { return identity_; }
  /// The whole file under Access::mmap or in memory, otherwise empty.
  [[nodiscard]] std::span<const std::byte> mapped() const noexcept { return mapped_; }

 private:
  InputFile() = default;
  void close() noexcept;

  std::filesystem::path path_;
  FileIdentity identity_;
  std::uint64_t size_ = 0;
  int fd_ = -1;
  std::span<const std::byte> mapped_;
  bool owns_mapping_ = false;
};

/// A whole file as bytes, whatever they are. Errors: those of InputFile, limit above `max_bytes`.
[[nodiscard]] Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

/// How errors name `path`: one line of valid UTF-8 (see printable()).
[[nodiscard]] Where where_of(const std::filesystem::path& path);

}  // namespace kvant::io
