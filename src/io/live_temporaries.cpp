// SPDX-License-Identifier: Apache-2.0
#include "live_temporaries.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "kvant/io/atomic_file.hpp"

namespace kvant::io {
namespace {

enum State : int { kFree, kFilling, kLive };

constexpr std::size_t kMaxPath = 4096;

/// Fixed in size, so that a handler reads it without locks or allocation. The process-wide state is what a signal
/// needs.
struct Slot {
  std::atomic<int> state{kFree};
  std::array<char, kMaxPath> path{};
};
static_assert(std::atomic<int>::is_always_lock_free);
constinit std::array<Slot, 32> slots;

/// Removes a file or a folder with its files and subfolders, by system calls only. True where it is gone.
bool remove_tree(int parent, const char* name, int depth) noexcept {
  if (::unlinkat(parent, name, 0) == 0) return true;
  if (errno != EISDIR && errno != EPERM) return false;
#ifdef __linux__
  const int folder = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder >= 0 && depth > 0) {
    // struct linux_dirent64: u64 inode, i64 offset, u16 record length, u8 type, then the name.
    constexpr std::size_t kLengthAt = 16;
    constexpr std::size_t kNameAt = 19;
    alignas(8) std::array<char, 2048> buffer;
    for (bool removed = true; removed;) {
      removed = false;
      ::lseek(folder, 0, SEEK_SET);
      const long n = ::syscall(SYS_getdents64, folder, buffer.data(), buffer.size());
      for (long at = 0; at < n;) {
        std::uint16_t length;
        std::memcpy(&length, buffer.data() + at + kLengthAt, sizeof length);
        const char* entry = buffer.data() + at + kNameAt;
        at += length;
        if (std::strcmp(entry, ".") == 0 || std::strcmp(entry, "..") == 0) continue;
        if (remove_tree(folder, entry, depth - 1)) removed = true;
      }
    }
  }
  if (folder >= 0) ::close(folder);
#endif
  return ::unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

}  // namespace

int register_temporary(const std::filesystem::path& path) noexcept {
  const std::string& text = path.native();
  if (text.size() >= kMaxPath) return -1;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    int expected = kFree;
    if (!slots[i].state.compare_exchange_strong(expected, kFilling)) continue;
    std::memcpy(slots[i].path.data(), text.c_str(), text.size() + 1);
    slots[i].state.store(kLive);
    return static_cast<int>(i);
  }
  return -1;
}

void release_temporary(int slot) noexcept {
  if (slot >= 0) slots[static_cast<std::size_t>(slot)].state.store(kFree);
}

void remove_live_temporaries() noexcept {
  const int saved = errno;
  for (const Slot& slot : slots)
    if (slot.state.load() == kLive) static_cast<void>(remove_tree(AT_FDCWD, slot.path.data(), 4));
  errno = saved;
}

}  // namespace kvant::io
