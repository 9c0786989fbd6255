// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/atomic_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "checkpoint_files.hpp"
#include "core/guard.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/utf8.hpp"
#include "live_temporaries.hpp"
#include "output_lock.hpp"
#include "posix.hpp"

namespace kvant::io {
namespace {

namespace fs = std::filesystem;

std::optional<struct stat> look(const fs::path& path, bool follow) {
  struct stat st;
  if ((follow ? ::stat(path.c_str(), &st) : ::lstat(path.c_str(), &st)) != 0) return std::nullopt;
  return st;
}

FileIdentity identity_of(const struct stat& st) {
  return {static_cast<std::uint64_t>(st.st_dev), static_cast<std::uint64_t>(st.st_ino)};
}

/// `path` as absolute, without a trailing separator or `.` and `..` that only text can resolve.
fs::path absolute_output(const fs::path& path) {
  fs::path p = fs::absolute(path);
  if (p.filename() == "." || p.filename().empty()) p = p.parent_path();
  return p;
}

bool is_too_long(const fs::path& path) {
  struct stat named;
  return ::lstat(path.c_str(), &named) != 0 && errno == ENAMETOOLONG;
}

/// Whether the file system has room for the output's name, for those of the files that go into a folder, and for the
/// temporary names beside all of them.
bool names_fit(const fs::path& output, std::span<const fs::path> contents) {
  const std::string temporary(40, 'x');  // is longer than any
  const fs::path beside = output.parent_path() / temporary;
  return !is_too_long(output) && !is_too_long(beside) && std::ranges::none_of(contents, [&](const fs::path& file) {
    return is_too_long(output / file) || is_too_long(beside / file.parent_path() / temporary);
  });
}

/// The parent exists, is a folder and can be written to, and what is asked for may be a name in it.
Status check_parent(const fs::path& output, std::span<const fs::path> contents = {}) {
  const fs::path parent = output.parent_path();
  if (output.native().find('\0') != std::string::npos || output.filename().empty() || output.filename() == "..")
    return fail(ErrorCode::usage, "names no file or folder that could be written", where_of(output));
  if (!names_fit(output, contents))
    return fail(ErrorCode::usage, "is a name too long for this file system; choose a shorter one", where_of(output));
  const auto st = look(parent, true);
  if (!st || !S_ISDIR(st->st_mode))
    return fail(ErrorCode::not_found, "the folder " + printable(parent.native()) + " does not exist; create it first",
                where_of(output));
  if (::access(parent.c_str(), W_OK | X_OK) != 0)
    return os_error("write to the folder " + printable(parent.native()), errno, where_of(output));
  return {};
}

tl::unexpected<Error> exists_error(const fs::path& output) {
  return fail(ErrorCode::exists, "exists; name another output", where_of(output));
}

Status check_existing_file(const fs::path& output, OutputMode mode) {
  const auto st = look(output, false);
  if (!st) return {};
  if (mode == OutputMode::refuse) return exists_error(output);
  if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode)) return {};  // a link is replaced, never written through
  return fail(ErrorCode::not_regular_file, "is no regular file, so no file will replace it", where_of(output));
}

bool is_within(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

/// What an earlier output consists of, by path within it; folders after what they hold.
struct Earlier {
  std::vector<fs::path> files, folders;
};

/// Lists an earlier output, which a new one is to replace, and refuses what is no part of a checkpoint.
class EarlierLister {
 public:
  /// `contents`: the files that the new output will hold.
  EarlierLister(const fs::path& root, std::span<const fs::path> contents)
      : root_(root), contents_(contents.begin(), contents.end()) {
    for (const fs::path& file : contents)
      for (fs::path up = file.parent_path(); !up.empty(); up = up.parent_path()) folders_.insert(up);
    for (const std::string_view index : {kIndexName, kOwnIndexName})
      if (const auto json = read_json_file(root / index, {.max_bytes = kSafetensorsMaxHeader, .max_items = 4u << 20}))
        if (const Json* map = json->find("weight_map"))
          for (const Json::Member& tensor : map->members())
            if (const std::string* shard = tensor.value.as_string()) shards_.insert(*shard);
  }

  Result<Earlier> list() {
    if (const Status ok = list_folder({}); !ok) return propagate(ok);
    return std::move(earlier_);
  }

 private:
  Status list_folder(const fs::path& folder) {
    for (const fs::directory_entry& entry : fs::directory_iterator(root_ / folder)) {
      const fs::path path = folder / entry.path().filename();
      const fs::file_type type = entry.symlink_status().type();
      if (type == fs::file_type::directory && folders_.contains(path)) {
        if (const Status ok = list_folder(path); !ok) return ok;
        earlier_.folders.push_back(path);
      } else if ((type == fs::file_type::regular || type == fs::file_type::symlink) && may_go(path)) {
        earlier_.files.push_back(path);
      } else {
        return fail(ErrorCode::usage,
                    "is in the way: it is no part of a checkpoint, so " + printable(root_.native()) +
                        " is not replaced; move it away, or name another output",
                    where_of(entry.path()));
      }
    }
    return {};
  }

  [[nodiscard]] bool may_go(const fs::path& path) const {
    return contents_.contains(path) ||
           (!path.has_parent_path() && (is_checkpoint_file(path) || shards_.contains(path.native())));
  }

  const fs::path root_;
  std::set<fs::path> contents_, folders_;
  std::set<std::string> shards_;  ///< that an index names
  Earlier earlier_;
};

/// What a new folder would take the place of; nothing where there is none.
Result<Earlier> check_existing_folder(const fs::path& output, OutputMode mode, std::span<const fs::path> contents) {
  const auto st = look(output, false);
  if (!st) return Earlier{};
  if (mode == OutputMode::refuse) return exists_error(output);
  const auto target = look(output, true);
  if (!target || !S_ISDIR(target->st_mode))
    return fail(ErrorCode::not_regular_file, "is no folder, so no folder will replace it", where_of(output));
  if (is_within(fs::current_path(), fs::canonical(output)))
    return fail(ErrorCode::usage, "holds the working directory, so it will not be replaced", where_of(output));
  return EarlierLister(output, contents).list();
}

/// Calls `make(candidate)` with names beside `output` until one is new; `make` returns errno. Short names, so that
/// any output name leaves room for them.
template <class Make>
Result<fs::path> make_temporary(const fs::path& output, Make&& make) {
  int e = EEXIST;
  for (int n = 0; n < 10'000 && e == EEXIST; ++n) {
    fs::path candidate =
        output.parent_path() / (".kvant-" + std::to_string(::getpid()) + "-" + std::to_string(n) + ".tmp");
    e = make(candidate);
    if (e == 0) return candidate;
  }
  return os_error("create a temporary name beside the output", e, where_of(output));
}

Status rename_status(int e, const fs::path& output) {
  if (e == 0) return {};
  if (e == EEXIST || e == ENOTEMPTY) return exists_error(output);
  return os_error("rename the finished output into place", e, where_of(output));
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const fs::path& path, OutputMode mode) {
  return guarded([&]() -> Result<AtomicFile> {
    AtomicFile file;
    file.path_ = absolute_output(path);
    file.mode_ = mode;
    if (Status s = check_parent(file.path_); !s) return propagate(s);
    if (Status s = check_existing_file(file.path_, mode); !s) return propagate(s);
    auto lock = OutputLock::take(file.path_);
    if (!lock) return propagate(lock);
    file.lock_ = std::make_unique<OutputLock>(std::move(*lock));
    Result<fs::path> temporary = make_temporary(file.path_, [&](const fs::path& candidate) {
      // Readable too: where space cannot be reserved, the C library reserves it by reading and writing each block.
      file.fd_ = ::open(candidate.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
      return file.fd_ >= 0 ? 0 : errno;
    });
    if (!temporary) return propagate(temporary);
    file.temporary_ = std::move(*temporary);
    file.slot_ = register_temporary(file.temporary_);
    return file;
  });
}

AtomicFile::AtomicFile() = default;

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      lock_(std::move(other.lock_)),
      mode_(other.mode_),
      fd_(std::exchange(other.fd_, -1)),
      slot_(std::exchange(other.slot_, -1)),
      cursor_(std::exchange(other.cursor_, 0)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this == &other) return *this;
  discard();
  path_ = std::move(other.path_);
  temporary_ = std::move(other.temporary_);
  lock_ = std::move(other.lock_);
  mode_ = other.mode_;
  fd_ = std::exchange(other.fd_, -1);
  slot_ = std::exchange(other.slot_, -1);
  cursor_ = std::exchange(other.cursor_, 0);
  return *this;
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (fd_ < 0) return;
  ::close(std::exchange(fd_, -1));
  ::unlink(temporary_.c_str());
  release_temporary(std::exchange(slot_, -1));
  lock_.reset();
}

Status AtomicFile::preallocate(std::uint64_t bytes) {
  expects(fd_ >= 0, "the file is open");
  return guarded([&] { return reserve_space(fd_, bytes, where_of(path_)); });
}

Status AtomicFile::write(std::span<const std::byte> data) {
  if (Status s = write_at(cursor_, data); !s) return s;
  cursor_ += data.size();
  return {};
}

Status AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> data) {
  expects(fd_ >= 0, "the file is open");
  return guarded([&] { return write_all(fd_, offset, data, where_of(path_)); });
}

Status AtomicFile::commit() {
  expects(fd_ >= 0, "the file is open");
  const Status status = guarded([&]() -> Status {
    if (Status s = sync_file(fd_, where_of(path_)); !s) return s;
    if (Status s = check_existing_file(path_, mode_); !s) return s;
    int e = 0;
    if (mode_ == OutputMode::refuse)
      e = rename_no_replace(temporary_.c_str(), path_.c_str());
    else if (::rename(temporary_.c_str(), path_.c_str()) != 0)
      e = errno;
    return rename_status(e, path_);
  });
  if (!status) {
    discard();
    return status;
  }
  release_temporary(std::exchange(slot_, -1));
  lock_.reset();
  // A late error of a network file system shows here; the data has been synced, so it is close's own.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) return os_error("close", errno, where_of(path_));
  return guarded([&] { return sync_folder(path_.parent_path()); });
}

Status write_file(const fs::path& path, std::span<const std::byte> data, OutputMode mode) {
  Result<AtomicFile> file = AtomicFile::create(path, mode);
  if (!file) return propagate(file);
  if (Status s = file->preallocate(data.size()); !s) return s;
  if (Status s = file->write(data); !s) return s;
  return file->commit();
}

Result<AtomicFolder> AtomicFolder::create(const fs::path& path, OutputMode mode, std::span<const fs::path> contents) {
  return guarded([&]() -> Result<AtomicFolder> {
    AtomicFolder folder;
    folder.final_ = absolute_output(path);
    folder.mode_ = mode;
    if (Status s = check_parent(folder.final_, contents); !s) return propagate(s);
    if (const auto earlier = check_existing_folder(folder.final_, mode, contents); !earlier) return propagate(earlier);
    if (fs::is_symlink(folder.final_)) folder.final_ = fs::canonical(folder.final_);
    auto lock = OutputLock::take(folder.final_);
    if (!lock) return propagate(lock);
    folder.lock_ = std::make_unique<OutputLock>(std::move(*lock));
    Result<fs::path> temporary = make_temporary(
        folder.final_, [](const fs::path& candidate) { return ::mkdir(candidate.c_str(), 0777) == 0 ? 0 : errno; });
    if (!temporary) return propagate(temporary);
    folder.temporary_ = std::move(*temporary);
    folder.slot_ = register_temporary(folder.temporary_);
    return folder;
  });
}

AtomicFolder::AtomicFolder() = default;

AtomicFolder::AtomicFolder(AtomicFolder&& other) noexcept
    : final_(std::move(other.final_)),
      temporary_(std::exchange(other.temporary_, {})),
      lock_(std::move(other.lock_)),
      mode_(other.mode_),
      slot_(std::exchange(other.slot_, -1)) {}

AtomicFolder& AtomicFolder::operator=(AtomicFolder&& other) noexcept {
  if (this == &other) return *this;
  discard();
  final_ = std::move(other.final_);
  temporary_ = std::exchange(other.temporary_, {});
  lock_ = std::move(other.lock_);
  mode_ = other.mode_;
  slot_ = std::exchange(other.slot_, -1);
  return *this;
}

AtomicFolder::~AtomicFolder() { discard(); }

void AtomicFolder::discard() noexcept {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);  // which this object has made and filled
  temporary_.clear();
  release_temporary(std::exchange(slot_, -1));
  lock_.reset();
}

namespace {

Status sync_tree(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory()) {
      if (Status s = sync_folder(entry.path()); !s) return s;
    } else {
      const UniqueFd fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      if (fd.get() < 0) return os_error("open the file to sync it", errno, where_of(entry.path()));
      if (Status s = sync_file(fd.get(), where_of(entry.path())); !s) return s;
    }
  }
  return sync_folder(folder);
}

/// The files below a folder, by path within it.
std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder))
    if (!entry.is_directory()) files.push_back(entry.path().lexically_relative(folder));
  return files;
}

/// Puts `fresh` where `output` is; afterwards the earlier folder stands at the path that is returned.
Result<fs::path> swap_in(const fs::path& fresh, const fs::path& output) {
  const int e = rename_exchange(fresh.c_str(), output.c_str());
  if (e == 0) return fresh;
  if (e != EINVAL && e != ENOSYS) return propagate(rename_status(e, output));
  // Two steps where the file system cannot swap: between them the earlier output has another name, but is whole.
  fs::path aside = fresh;
  aside += ".old";
  if (::rename(output.c_str(), aside.c_str()) != 0) return propagate(rename_status(errno, output));
  if (::rename(fresh.c_str(), output.c_str()) != 0) {
    const int failed = errno;
    if (::rename(aside.c_str(), output.c_str()) != 0)
      return fail(ErrorCode::io, "could not be replaced; the earlier folder is now " + printable(aside.native()),
                  where_of(output));
    return propagate(rename_status(failed, output));
  }
  return aside;
}

/// Removes what was listed and the folder, which is empty then; what came into it since the listing stays, and with it
/// the folder.
Status remove_earlier(const fs::path& folder, const Earlier& earlier, const fs::path& output) {
  for (const fs::path& file : earlier.files) ::unlink((folder / file).c_str());
  for (const fs::path& sub : earlier.folders) ::rmdir((folder / sub).c_str());
  if (::rmdir(folder.c_str()) == 0) return {};
  return os_error("remove the earlier output, which is now " + printable(folder.native()), errno, where_of(output));
}

}  // namespace

Status AtomicFolder::commit() {
  expects(!temporary_.empty(), "the folder is open");
  const Status status = guarded([&]() -> Status {
    if (Status s = sync_tree(temporary_); !s) return s;
    const auto earlier = check_existing_folder(final_, mode_, files_of(temporary_));
    if (!earlier) return propagate(earlier);
    if (!look(final_, false)) {
      if (Status s = rename_status(rename_no_replace(temporary_.c_str(), final_.c_str()), final_); !s) return s;
      temporary_.clear();
      return sync_folder(final_.parent_path());
    }
    // From here on the temporary name may be the earlier output's, which no signal may remove as a whole.
    release_temporary(std::exchange(slot_, -1));
    const Result<fs::path> aside = swap_in(temporary_, final_);
    if (!aside) return propagate(aside);
    temporary_.clear();
    if (Status s = sync_folder(final_.parent_path()); !s) return s;
    return remove_earlier(*aside, *earlier, final_);
  });
  discard();
  return status;
}

namespace {

Status check_not_input(const fs::path& input, const fs::path& output, OutputKind kind) {
  const auto in = look(input, true);
  if (!in) return {};  // opening the input says so better
  const auto same = [&](const fs::path& path) {
    const auto a = look(path, true);
    const auto b = look(output, true);
    return a && b && identity_of(*a) == identity_of(*b);
  };
  if (same(input)) return fail(ErrorCode::same_file, "is the input itself; name another output", where_of(output));
  if (kind == OutputKind::folder) {
    const fs::path inner = fs::weakly_canonical(output);
    const fs::path outer = fs::canonical(input);
    if ((S_ISDIR(in->st_mode) && is_within(inner, outer)) || is_within(outer, inner))
      return fail(ErrorCode::same_file,
                  "lies inside the input " + printable(input.native()) + " or around it; name an output beside it",
                  where_of(output));
  } else if (S_ISDIR(in->st_mode) && look(output, true)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(input))
      if (same(entry.path()))
        return fail(ErrorCode::same_file, "is a file of the input folder; name another output", where_of(output));
  }
  return {};
}

}  // namespace

Status check_output(std::span<const fs::path> inputs, const fs::path& output, OutputKind kind, OutputMode mode,
                    std::span<const fs::path> contents) {
  return guarded([&]() -> Status {
    const fs::path path = absolute_output(output);
    if (Status s = check_parent(path, contents); !s) return s;
    for (const fs::path& input : inputs)
      if (Status s = check_not_input(input, path, kind); !s) return s;
    if (kind == OutputKind::file) return check_existing_file(path, mode);
    if (const auto earlier = check_existing_folder(path, mode, contents); !earlier) return propagate(earlier);
    return {};
  });
}

}  // namespace kvant::io
