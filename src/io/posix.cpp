// SPDX-License-Identifier: Apache-2.0
#include "posix.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <string>
#include <system_error>

#include "kvant/core/checked.hpp"
#include "kvant/io/input_file.hpp"

namespace kvant::io {
namespace {

bool out_of_space(int e) noexcept { return e == ENOSPC || e == EDQUOT || e == EFBIG; }

tl::unexpected<Error> space_error(int fd, std::uint64_t needed, int errno_value, const Where& where) {
  std::string text = "cannot write: " + std::generic_category().message(errno_value) + "; needed " +
                     std::to_string(needed) + " more bytes";
  struct statvfs fs;
  if (errno_value != EFBIG && ::fstatvfs(fd, &fs) == 0)
    text += ", had " + std::to_string(std::uint64_t{fs.f_bavail} * std::uint64_t{fs.f_frsize});
  return fail(ErrorCode::io, text + "; free some space or write elsewhere", where);
}

/// Fails where a write up to `end` would exceed RLIMIT_FSIZE or off_t.
Status check_size_limit(std::uint64_t end, const Where& where) {
  struct rlimit limit;
  std::uint64_t allowed = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    allowed = std::min<std::uint64_t>(allowed, limit.rlim_cur);
  if (end <= allowed) return {};
  return fail(ErrorCode::io,
              "cannot write: needed a file of " + std::to_string(end) + " bytes, but files are limited to " +
                  std::to_string(allowed) + " bytes here; raise the limit (ulimit -f) or write elsewhere",
              where);
}

}  // namespace

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) ::close(fd_);
}

tl::unexpected<Error> os_error(std::string_view action, int errno_value, const Where& where) {
  return fail(ErrorCode::io, "cannot " + std::string(action) + ": " + std::generic_category().message(errno_value),
              where);
}

Status write_all(int fd, std::uint64_t offset, std::span<const std::byte> data, const Where& where) {
  const auto end = checked_add(offset, data.size());
  if (Status s = check_size_limit(end.value_or(UINT64_MAX), where); !s) return s;
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      if (out_of_space(errno)) return space_error(fd, data.size(), errno, where);
      return os_error("write", errno, where);
    }
    if (n == 0) return space_error(fd, data.size(), ENOSPC, where);
    data = data.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Status reserve_space(int fd, std::uint64_t bytes, const Where& where) {
  if (bytes == 0) return {};
  if (Status s = check_size_limit(bytes, where); !s) return s;
  int e = EINTR;
  while (e == EINTR) e = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  if (e == 0) return {};
  if (out_of_space(e)) return space_error(fd, bytes, e, where);
  if (e != EOPNOTSUPP && e != EINVAL && e != ENOSYS) return os_error("reserve space", e, where);
  if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) return os_error("set the size", errno, where);
  return {};
}

Status sync_file(int fd, const Where& where) {
  while (::fsync(fd) != 0) {
    if (errno == EINTR) continue;
    if (out_of_space(errno)) return space_error(fd, 0, errno, where);
    return os_error("make the data durable (fsync)", errno, where);
  }
  return {};
}

Status sync_folder(const std::filesystem::path& folder) {
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return os_error("open the folder", errno, where_of(folder));
  while (::fsync(fd.get()) != 0) {
    if (errno == EINTR) continue;
    if (errno == EINVAL || errno == EROFS) return {};  // this file system does not sync folders
    return os_error("make the folder durable (fsync)", errno, where_of(folder));
  }
  return {};
}

#ifdef __linux__

int rename_no_replace(const char* from, const char* to) noexcept {
  if (::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  struct stat st;  // an old kernel or a network file system: the check and the step are two there
  if (::lstat(to, &st) == 0) return EEXIST;
  return ::rename(from, to) == 0 ? 0 : errno;
}

int rename_exchange(const char* a, const char* b) noexcept {
  return ::renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0 ? 0 : errno;
}

#else

int rename_no_replace(const char* from, const char* to) noexcept {
  struct stat st;
  if (::lstat(to, &st) == 0) return EEXIST;
  return ::rename(from, to) == 0 ? 0 : errno;
}

int rename_exchange(const char*, const char*) noexcept { return ENOSYS; }

#endif

}  // namespace kvant::io
