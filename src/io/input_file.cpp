// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/input_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/guard.hpp"
#include "kvant/io/utf8.hpp"
#include "posix.hpp"

namespace kvant::io {
namespace {

const char* kind_of(mode_t mode) noexcept {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "not a regular file";
}

tl::unexpected<Error> not_regular(mode_t mode, const Where& where) {
  return fail(ErrorCode::not_regular_file, std::string("is ") + kind_of(mode) + "; a regular file is needed", where);
}

tl::unexpected<Error> open_error(const std::filesystem::path& path, int errno_value, const Where& where) {
  struct stat st;
  if (errno_value == ENOENT || errno_value == ENOTDIR)
    return fail(ErrorCode::not_found, "no such file; check the path", where);
  if (::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode)) return not_regular(st.st_mode, where);
  return os_error("open", errno_value, where);
}

}  // namespace

Where where_of(const std::filesystem::path& path) { return {printable(path.native(), 4096), {}, {}}; }

Result<InputFile> InputFile::open(const std::filesystem::path& path, Access access) {
  return guarded([&]() -> Result<InputFile> {
    const Where where = where_of(path);
    if (path.native().find('\0') != std::string::npos) return fail(ErrorCode::not_found, "a path holds a NUL", where);
    InputFile file;
    file.path_ = path;
    // O_NONBLOCK: opening a pipe must not wait for its writer.
    file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file.fd_ < 0) return open_error(path, errno, where);
    struct stat st;
    if (::fstat(file.fd_, &st) != 0) return os_error("look at the file", errno, where);
    if (!S_ISREG(st.st_mode)) return not_regular(st.st_mode, where);
    file.size_ = static_cast<std::uint64_t>(st.st_size);
    file.identity_ = {static_cast<std::uint64_t>(st.st_dev), static_cast<std::uint64_t>(st.st_ino)};
    if (access == Access::mmap && file.size_ > 0) {
      void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, file.fd_, 0);
      if (data == MAP_FAILED) return os_error("map the file", errno, where);
      file.mapped_ = {static_cast<const std::byte*>(data), file.size_};
      file.owns_mapping_ = true;
    }
    return file;
  });
}

InputFile InputFile::over(std::span<const std::byte> bytes) {
  InputFile file;
  file.path_ = "(memory)";
  file.size_ = bytes.size();
  file.mapped_ = bytes;
  return file;
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      identity_(other.identity_),
      size_(std::exchange(other.size_, 0)),
      fd_(std::exchange(other.fd_, -1)),
      mapped_(std::exchange(other.mapped_, {})),
      owns_mapping_(std::exchange(other.owns_mapping_, false)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  if (this == &other) return *this;
  close();
  path_ = std::move(other.path_);
  identity_ = other.identity_;
  size_ = std::exchange(other.size_, 0);
  fd_ = std::exchange(other.fd_, -1);
  mapped_ = std::exchange(other.mapped_, {});
  owns_mapping_ = std::exchange(other.owns_mapping_, false);
  return *this;
}

InputFile::~InputFile() { close(); }

void InputFile::close() noexcept {
  if (owns_mapping_) ::munmap(const_cast<std::byte*>(mapped_.data()), mapped_.size());
  if (fd_ >= 0) ::close(fd_);
  mapped_ = {};
  owns_mapping_ = false;
  fd_ = -1;
}

Status InputFile::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  return guarded([&]() -> Status {
    const auto shorter = [&](std::uint64_t end) {
      Where where = where_of(path_);
      where.offset = offset;
      return fail(ErrorCode::truncated,
                  "needed " + std::to_string(out.size()) + " bytes here, but the file ends at byte " +
                      std::to_string(end) + "; fetch it again",
                  std::move(where));
    };
    if (offset > size_ || out.size() > size_ - offset) return shorter(size_);
    if (out.empty()) return {};
    if (!mapped_.empty()) {
      std::memcpy(out.data(), mapped_.data() + offset, out.size());
      return {};
    }
    for (std::size_t done = 0; done < out.size();) {
      const ssize_t n = ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n < 0) return os_error("read", errno, where_of(path_));
      if (n == 0) return shorter(offset + done);  // cut after it was opened
      done += static_cast<std::size_t>(n);
    }
    return {};
  });
}

Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  return guarded([&]() -> Result<std::string> {
    const Result<InputFile> file = InputFile::open(path);
    if (!file) return propagate(file);
    if (file->size() > max_bytes)
      return fail(ErrorCode::limit,
                  "has " + std::to_string(file->size()) + " bytes, at most " + std::to_string(max_bytes) +
                      " are read of such a file",
                  where_of(path));
    std::string text(file->size(), '\0');
    if (Status s = file->read_at(0, std::as_writable_bytes(std::span(text))); !s) return propagate(s);
    return text;
  });
}

}  // namespace kvant::io
