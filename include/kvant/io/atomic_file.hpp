// SPDX-License-Identifier: Apache-2.0
// Files and folders that are written: they appear under their name whole, or not at all.
//
// Data goes to a temporary name beside the output. commit() makes it durable (fsync), renames it, and syncs the
// folder; whatever fails before that leaves an earlier output as it was. Destructors remove what was not committed.
// While an output is being written its name is locked: a second run onto it fails at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "kvant/core/error.hpp"
#include "kvant/io/input_file.hpp"

namespace kvant::io {

class OutputLock;

/// What to do about an output that exists.
enum class OutputMode : std::uint8_t { refuse, replace };
enum class OutputKind : std::uint8_t { file, folder };

/// A file that appears at commit(). Permissions follow the umask.
class AtomicFile {
 public:
  /// Errors: exists, not_found (the folder is missing), not_regular_file (replacing a folder or device), in_use
  /// (another run writes it), usage (no name for a file), io.
  [[nodiscard]] static Result<AtomicFile> create(const std::filesystem::path& path, OutputMode mode);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  /// Reserves `bytes` on disk, so that a full disk shows before work is done, and sets the size.
  [[nodiscard]] Status preallocate(std::uint64_t bytes);
  /// Appends after the last write().
  [[nodiscard]] Status write(std::span<const std::byte> data);
  /// Writes at a position; thread-safe.
  [[nodiscard]] Status write_at(std::uint64_t offset, std::span<const std::byte> data);
  /// Makes the file appear. To be called once; the object is empty afterwards.
  [[nodiscard]] Status commit();

  /// The final path.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  AtomicFile();
  void discard() noexcept;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::unique_ptr<OutputLock> lock_;
  OutputMode mode_ = OutputMode::refuse;
  int fd_ = -1;
  int slot_ = -1;
  std::uint64_t cursor_ = 0;
};

/// Writes `data` as a whole file through AtomicFile.
[[nodiscard]] Status write_file(const std::filesystem::path& path, std::span<const std::byte> data, OutputMode mode);

/// A folder that appears at commit(), with all that was put into path().
///
/// Under OutputMode::replace an earlier folder goes, file by file, where it holds nothing but a checkpoint: files that
/// the new folder brings too, those that its index names, and those of the names that exporters of models write
/// (weights, configuration, tokenizer). Anything else in it, subfolders among it, is refused by name.
class AtomicFolder {
 public:
  /// `contents` are the files that will be put in, as far as they are known, by path within the folder: what they do
  /// not replace is found in the way now and not at commit(). Errors: exists, not_found (the parent is missing),
  /// not_regular_file (replacing something else than a folder), in_use (another run writes it), usage (replacing a
  /// folder that holds the working directory, or something that is no part of a checkpoint), io.
  [[nodiscard]] static Result<AtomicFolder> create(const std::filesystem::path& path, OutputMode mode,
                                                   std::span<const std::filesystem::path> contents = {});

  AtomicFolder(AtomicFolder&& other) noexcept;
  AtomicFolder& operator=(AtomicFolder&& other) noexcept;
  ~AtomicFolder();

  /// Where to write: a folder beside the final one.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return temporary_; }
  /// Syncs every file in path() and makes the folder appear; an earlier one goes away after that. To be called once.
  /// Errors: those of create(), by what is there now; io, also where something came into the earlier folder meanwhile:
  /// that stays, under the name that the error tells.
  [[nodiscard]] Status commit();

 private:
  AtomicFolder();
  void discard() noexcept;

  std::filesystem::path final_;
  std::filesystem::path temporary_;
  std::unique_ptr<OutputLock> lock_;
  OutputMode mode_ = OutputMode::refuse;
  int slot_ = -1;
};

/// Checks before any work whether `output` can be written without harm to the inputs. Errors: same_file (by device and
/// inode, so through links too; also a file of an input folder, and an output folder inside an input or around
/// it), exists (unless `replace`), not_found (the output's folder), not_regular_file, usage, io (the folder is
/// read-only). `contents` as for AtomicFolder::create().
[[nodiscard]] Status check_output(std::span<const std::filesystem::path> inputs, const std::filesystem::path& output,
                                  OutputKind kind, OutputMode mode,
                                  std::span<const std::filesystem::path> contents = {});

/// Removes every temporary file and folder of this process that is not committed yet. Async-signal-safe: for handlers
/// of SIGINT and SIGTERM that end the process.
void remove_live_temporaries() noexcept;

}  // namespace kvant::io
