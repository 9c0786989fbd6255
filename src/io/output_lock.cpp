// SPDX-License-Identifier: Apache-2.0
#include "output_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <span>
#include <string>

#include "kvant/core/rng.hpp"
#include "kvant/io/input_file.hpp"
#include "live_temporaries.hpp"
#include "posix.hpp"

namespace kvant::io {
namespace {

namespace fs = std::filesystem;

/// Of one length for every output, so that names of any length leave room for it.
fs::path lock_path(const fs::path& output) {
  std::array<char, 16> digits;
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), seed_from_name(output.filename().native(), 0), 16)
          .ptr;
  return output.parent_path() / (".kvant-" + std::string(digits.data(), end) + ".lock");
}

/// Whether `path` still names the file that is open: its holder may have removed it between open() and flock().
bool is_same_file(int fd, const fs::path& path) {
  struct stat open_file;
  struct stat named;
  return ::fstat(fd, &open_file) == 0 && ::stat(path.c_str(), &named) == 0 && open_file.st_dev == named.st_dev &&
         open_file.st_ino == named.st_ino;
}

std::string holder(int fd) {
  std::array<char, 32> text;
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  return n > 0 ? "process " + std::string(text.data(), static_cast<std::size_t>(n)) : "another process";
}

void write_holder(int fd) {
  const std::string text = std::to_string(::getpid());
  // It only helps to find us; where even this does not fit (ulimit -f), the output's own writes say so.
  if (::ftruncate(fd, 0) == 0) static_cast<void>(write_all(fd, 0, std::as_bytes(std::span(text)), {}));
}

}  // namespace

Result<OutputLock> OutputLock::take(const fs::path& output) {
  const fs::path path = lock_path(output);
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (fd.get() < 0) return os_error("create a lock beside the output", errno, where_of(output));
    int e = EINTR;
    while (e == EINTR) e = ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (e == EWOULDBLOCK)
      return fail(ErrorCode::in_use,
                  "is being written by " + holder(fd.get()) + "; wait for it, or name another output",
                  where_of(output));
    // File systems without locks are left to what commit() finds.
    if (e != 0 && e != ENOLCK && e != ENOSYS && e != EOPNOTSUPP)
      return os_error("lock the output", e, where_of(output));
    if (!is_same_file(fd.get(), path)) continue;
    write_holder(fd.get());
    OutputLock lock;
    lock.fd_ = fd.release();
    lock.slot_ = register_temporary(path);
    lock.path_ = path;
    return lock;
  }
}

OutputLock& OutputLock::operator=(OutputLock&& other) noexcept {
  if (this == &other) return *this;
  release();
  path_ = std::exchange(other.path_, {});
  fd_ = std::exchange(other.fd_, -1);
  slot_ = std::exchange(other.slot_, -1);
  return *this;
}

void OutputLock::release() noexcept {
  if (fd_ < 0) return;
  ::unlink(path_.c_str());  // while it is held, so that nobody else's is removed
  ::close(std::exchange(fd_, -1));
  release_temporary(std::exchange(slot_, -1));
}

}  // namespace kvant::io
