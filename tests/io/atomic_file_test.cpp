// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/atomic_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <span>

#include "../../src/io/posix.hpp"
#include "test_files.hpp"

namespace kvant::io {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::TemporaryFolder;
using Names = std::vector<std::string>;

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

Status write_text(const fs::path& path, std::string_view text, OutputMode mode) {
  return write_file(path, bytes(text), mode);
}

/// Runs `body` in a child process and returns its exit status: 0 where it returned true.
template <class Body>
int in_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(AtomicFile, AppearsOnlyAtCommit) {
  const TemporaryFolder folder;
  Result<AtomicFile> file = AtomicFile::create(folder / "out", OutputMode::refuse);
  ASSERT_TRUE(file) << describe(file.error());
  EXPECT_TRUE(file->preallocate(6));
  EXPECT_TRUE(file->write(bytes("abc")));
  EXPECT_TRUE(file->write_at(5, bytes("f")));
  EXPECT_TRUE(file->write(bytes("de")));
  EXPECT_FALSE(fs::exists(folder / "out"));
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(test::read_bytes(folder / "out"), "abcdef");
  EXPECT_EQ(folder.names(), Names{"out"});
}

TEST(AtomicFile, LeavesNothingWhenItIsNotCommitted) {
  const TemporaryFolder folder;
  folder.write("out", "before");
  {
    Result<AtomicFile> file = AtomicFile::create(folder / "out", OutputMode::replace);
    ASSERT_TRUE(file);
    EXPECT_TRUE(file->write(bytes("after")));
    const AtomicFile moved = std::move(*file);
    EXPECT_EQ(folder.names().size(), 3u);  // with its lock
  }
  EXPECT_EQ(folder.names(), Names{"out"});
  EXPECT_EQ(test::read_bytes(folder / "out"), "before");
}

TEST(AtomicFile, ReplacesOnlyWhenAsked) {
  const TemporaryFolder folder;
  folder.write("out", "before");
  EXPECT_EQ(code_of(AtomicFile::create(folder / "out", OutputMode::refuse)), "exists");
  EXPECT_TRUE(write_text(folder / "out", "after", OutputMode::replace));
  EXPECT_EQ(test::read_bytes(folder / "out"), "after");
}

TEST(AtomicFile, DoesNotReplaceWhatAppearedMeanwhile) {
  const TemporaryFolder folder;
  Result<AtomicFile> file = AtomicFile::create(folder / "out", OutputMode::refuse);
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write(bytes("mine")));
  folder.write("out", "theirs");
  EXPECT_EQ(code_of(file->commit()), "exists");
  EXPECT_EQ(test::read_bytes(folder / "out"), "theirs");
  EXPECT_EQ(folder.names(), Names{"out"});
}

TEST(AtomicFile, PermissionsFollowTheUmask) {
  const TemporaryFolder folder;
  const mode_t before = ::umask(027);
  EXPECT_TRUE(write_text(folder / "out", "x", OutputMode::refuse));
  ::umask(before);
  struct stat st;
  ASSERT_EQ(::stat((folder / "out").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0640u);
}

TEST(AtomicFile, RefusesPlacesThatCannotHoldAFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of(AtomicFile::create(folder / "none" / "out", OutputMode::refuse)), "not_found");
  EXPECT_EQ(code_of(AtomicFile::create(folder.write("file", "") / "out", OutputMode::refuse)), "not_found");
  fs::create_directory(folder / "dir");
  EXPECT_EQ(code_of(AtomicFile::create(folder / "dir", OutputMode::refuse)), "exists");
  EXPECT_EQ(code_of(AtomicFile::create(folder / "dir", OutputMode::replace)), "not_regular_file");
  EXPECT_EQ(code_of(AtomicFile::create("/dev/full", OutputMode::replace)), "not_regular_file");
  EXPECT_EQ(code_of(AtomicFile::create(folder / "..", OutputMode::replace)), "usage");
  EXPECT_EQ(code_of(AtomicFile::create("/", OutputMode::replace)), "usage");
}

TEST(AtomicFile, ReplacesALinkAndNeverWritesThroughIt) {
  const TemporaryFolder folder;
  folder.write("target", "precious");
  fs::create_symlink("target", folder / "out");
  EXPECT_EQ(code_of(AtomicFile::create(folder / "out", OutputMode::refuse)), "exists");
  ASSERT_TRUE(write_text(folder / "out", "new", OutputMode::replace));
  EXPECT_EQ(test::read_bytes(folder / "target"), "precious");
  EXPECT_EQ(test::read_bytes(folder / "out"), "new");
  EXPECT_FALSE(fs::is_symlink(folder / "out"));
}

TEST(AtomicFile, TakesTheLongestName) {
  const TemporaryFolder folder;
  const std::string name(255, 'n');
  EXPECT_TRUE(write_text(folder / name, "x", OutputMode::refuse));
  EXPECT_EQ(folder.names(), Names{name});
}

TEST(AtomicFile, AFullDiskIsAnErrorThatSaysWhatWasNeeded) {
  const int fd = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  if (fd < 0) GTEST_SKIP() << "no /dev/full here";
  const Status s = write_all(fd, 0, bytes("0123456789"), {"out", {}, {}});
  ::close(fd);
  ASSERT_EQ(code_of(s), "io");
  EXPECT_NE(s.error().message.find("needed 10 more bytes"), std::string::npos) << s.error().message;
}

// The limit sends SIGXFSZ, which kills by default: neither reserving nor writing may come that far.
TEST(AtomicFile, AFileSizeLimitIsAnErrorAndNotASignal) {
  for (const bool reserve : {true, false})
    for (std::size_t limit = 0; limit < 3000; limit += 97) {
      const TemporaryFolder folder;
      folder.write("out", "before");
      const int status = in_child([&] {
        const rlimit r{limit, limit};
        if (::setrlimit(RLIMIT_FSIZE, &r) != 0) return false;
        Result<AtomicFile> file = AtomicFile::create(folder / "out", OutputMode::replace);
        if (!file) return false;
        Status s;
        if (reserve) s = file->preallocate(3000);
        for (int i = 0; s && i < 3; ++i) s = file->write(bytes(std::string(1000, 'x')));
        const bool refused = code_of(s) == "io" && s.error().message.find("limited to") != std::string::npos;
        { const AtomicFile dropped = std::move(*file); }
        return refused;
      });
      EXPECT_EQ(status, 0) << limit;
      EXPECT_EQ(folder.names(), Names{"out"});
      EXPECT_EQ(test::read_bytes(folder / "out"), "before");
    }
}

TEST(AtomicFile, SignalsRemoveWhatIsNotCommitted) {
  const TemporaryFolder folder;
  folder.write("kept", "x");
  const int status = in_child([&] {
    std::signal(SIGTERM, [](int) {
      remove_live_temporaries();
      ::_exit(42);
    });
    Result<AtomicFile> done = AtomicFile::create(folder / "done", OutputMode::refuse);
    Result<AtomicFile> file = AtomicFile::create(folder / "out", OutputMode::refuse);
    Result<AtomicFolder> sub = AtomicFolder::create(folder / "folder", OutputMode::refuse);
    if (!done || !done->commit() || !file || !sub) return false;
    if (!write_text(sub->path() / "a", "x", OutputMode::refuse)) return false;
    fs::create_directories(sub->path() / "b" / "c");
    for (int i = 0; i < 300; ++i)
      std::ofstream(sub->path() / "b" / ("a-rather-long-file-name-" + std::to_string(i))) << i;
    fs::create_symlink(folder.path(), sub->path() / "link");  // must not be followed
    ::raise(SIGTERM);
    return true;
  });
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_EQ(folder.names(), (Names{"done", "kept"}));
}

TEST(AtomicFile, ManyAtOnceAreAllRemoved) {
  const TemporaryFolder folder;
  std::vector<AtomicFile> files;
  for (int i = 0; i < 100; ++i) {
    Result<AtomicFile> f = AtomicFile::create(folder / std::to_string(i), OutputMode::refuse);
    ASSERT_TRUE(f);
    files.push_back(std::move(*f));
  }
  EXPECT_EQ(folder.names().size(), 200u);  // with their locks
  files.clear();
  EXPECT_TRUE(folder.names().empty());
}

TEST(AtomicFolder, AppearsOnlyAtCommit) {
  const TemporaryFolder folder;
  Result<AtomicFolder> out = AtomicFolder::create(folder / "out" / "", OutputMode::refuse);  // a trailing slash
  ASSERT_TRUE(out) << describe(out.error());
  ASSERT_TRUE(write_text(out->path() / "a", "x", OutputMode::refuse));
  fs::create_directory(out->path() / "sub");
  EXPECT_FALSE(fs::exists(folder / "out"));
  ASSERT_TRUE(out->commit());
  EXPECT_EQ(folder.names(), Names{"out"});
  EXPECT_EQ(test::read_bytes(folder / "out" / "a"), "x");
  EXPECT_TRUE(fs::is_directory(folder / "out" / "sub"));
}

TEST(AtomicFolder, LeavesNothingWhenItIsNotCommitted) {
  const TemporaryFolder folder;
  {
    const Result<AtomicFolder> out = AtomicFolder::create(folder / "out", OutputMode::refuse);
    ASSERT_TRUE(out);
    ASSERT_TRUE(write_text(out->path() / "a", "x", OutputMode::refuse));
  }
  EXPECT_TRUE(folder.names().empty());
}

TEST(AtomicFolder, ReplacesAModelAsAWhole) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "out");
  fs::create_directories(folder / "out" / "1_Pooling");
  for (const char* name : {"config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "odd.safetensors",
                           "kvant.safetensors.index.json", "README.md", "1_Pooling/config.json"})
    folder.write(std::string("out/") + name, "{}");
  folder.write("out/model.safetensors.index.json", R"({"weight_map":{"a":"odd.safetensors"}})");
  fs::create_symlink("nowhere", folder / "out" / "merges.txt");
  const std::vector<fs::path> contents{"README.md", "1_Pooling/config.json", "new.txt"};
  EXPECT_EQ(code_of(AtomicFolder::create(folder / "out", OutputMode::refuse, contents)), "exists");
  Result<AtomicFolder> out = AtomicFolder::create(folder / "out", OutputMode::replace, contents);
  ASSERT_TRUE(out) << describe(out.error());
  fs::create_directory(out->path() / "1_Pooling");
  for (const fs::path& name : contents) ASSERT_TRUE(write_text(out->path() / name, "new", OutputMode::refuse));
  EXPECT_TRUE(fs::exists(folder / "out" / "odd.safetensors"));
  const Status done = out->commit();
  ASSERT_TRUE(done) << describe(done.error());
  EXPECT_EQ(folder.names(), Names{"out"});
  Names left;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "out"))
    if (!entry.is_directory()) left.push_back(entry.path().lexically_relative(folder / "out"));
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (Names{"1_Pooling/config.json", "README.md", "new.txt"}));
}

TEST(AtomicFolder, RefusesWhatIsNoPartOfACheckpointAndNamesIt) {
  for (const std::string name : {"work.py", "notes/", ".git/", "model.safetensors.bak", "other.safetensors",
                                 "README.md", "model-1-of-.safetensors", "additional_chat_templates/", "config.json/",
                                 ".gitattributes", "pytorch_model.bin", "modelx.safetensors"}) {
    const TemporaryFolder folder;
    fs::create_directory(folder / "out");
    folder.write("out/tokenizer.json", "{}");
    const bool is_folder = name.ends_with('/');
    if (is_folder)
      fs::create_directory(folder / ("out/" + name));
    else
      folder.write("out/" + name, "precious");
    const auto out = AtomicFolder::create(folder / "out", OutputMode::replace, std::vector<fs::path>{"new.txt"});
    ASSERT_EQ(code_of(out), "usage") << name;
    EXPECT_EQ(fs::path(out.error().where.file + (is_folder ? "/" : "")), folder / ("out/" + name));
    EXPECT_TRUE(fs::exists(folder / ("out/" + name)));
    EXPECT_EQ(folder.names(), Names{"out"});
  }
}

TEST(AtomicFolder, KeepsWhatCameIntoTheEarlierFolderMeanwhile) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "out");
  folder.write("out/config.json", "old");
  Result<AtomicFolder> out = AtomicFolder::create(folder / "out", OutputMode::replace);
  ASSERT_TRUE(out);
  ASSERT_TRUE(write_text(out->path() / "config.json", "new", OutputMode::refuse));
  folder.write("out/letter.txt", "precious");
  EXPECT_EQ(code_of(out->commit()), "usage");
  EXPECT_EQ(test::read_bytes(folder / "out/letter.txt"), "precious");
  EXPECT_EQ(test::read_bytes(folder / "out/config.json"), "old");
  EXPECT_EQ(folder.names(), Names{"out"});
}

TEST(AtomicFolder, ASecondRunFailsAtOnceAndNamesTheFirst) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "disk");
  fs::create_directory_symlink("disk", folder / "link");
  for (const OutputMode mode : {OutputMode::refuse, OutputMode::replace}) {
    const fs::path place = folder / (mode == OutputMode::refuse ? "out" : "disk");
    std::optional<AtomicFolder> first(std::move(*AtomicFolder::create(place, mode)));
    for (const fs::path& again : {place, place / ""}) {
      const auto second = AtomicFolder::create(again, mode);
      ASSERT_EQ(code_of(second), "in_use");
      EXPECT_NE(second.error().message.find("process " + std::to_string(::getpid())), std::string::npos)
          << second.error().message;
    }
    if (mode == OutputMode::replace) {
      EXPECT_EQ(code_of(AtomicFolder::create(folder / "link", mode)), "in_use");
    }
    EXPECT_TRUE(AtomicFolder::create(folder / "another", mode));
    first.reset();
    EXPECT_TRUE(AtomicFolder::create(place, mode));
  }
  EXPECT_EQ(folder.names(), (Names{"disk", "link"}));
}

TEST(AtomicFile, ASecondRunFailsAtOnce) {
  const TemporaryFolder folder;
  Result<AtomicFile> first = AtomicFile::create(folder / "out", OutputMode::refuse);
  ASSERT_TRUE(first);
  EXPECT_EQ(code_of(AtomicFile::create(folder / "out", OutputMode::refuse)), "in_use");
  EXPECT_EQ(code_of(AtomicFolder::create(folder / "out", OutputMode::refuse)), "in_use");
  folder.write("out", "by somebody else");
  EXPECT_EQ(code_of(first->commit()), "exists");
  EXPECT_EQ(test::read_bytes(folder / "out"), "by somebody else");
  EXPECT_TRUE(AtomicFile::create(folder / "out", OutputMode::replace));
  EXPECT_EQ(folder.names(), Names{"out"});
}

TEST(AtomicFile, RefusesANameThatIsTooLongBeforeAnyWork) {
  const TemporaryFolder folder;
  EXPECT_TRUE(AtomicFile::create(folder / std::string(255, 'x'), OutputMode::refuse));
  EXPECT_EQ(code_of(AtomicFile::create(folder / std::string(256, 'x'), OutputMode::refuse)), "usage");
  EXPECT_EQ(code_of(AtomicFolder::create(folder / std::string(256, 'x'), OutputMode::refuse)), "usage");
  EXPECT_TRUE(folder.names().empty());
}

/// A folder whose path has so many bytes.
fs::path folder_of_length(const TemporaryFolder& root, std::size_t length) {
  fs::path path = root.path();
  while (length - path.native().size() > 220) path /= std::string(200, 'd');
  path /= std::string(length - path.native().size() - 1, 'd');
  fs::create_directories(path);
  return path;
}

TEST(AtomicFile, RefusesAPathWithoutRoomForTemporaryNames) {
  const TemporaryFolder root;
  const fs::path deep = folder_of_length(root, 4080);
  EXPECT_EQ(code_of(AtomicFile::create(deep / "x", OutputMode::refuse)), "usage");
  EXPECT_EQ(code_of(AtomicFolder::create(deep / "x", OutputMode::refuse)), "usage");
  EXPECT_TRUE(fs::is_empty(deep));
}

TEST(AtomicFolder, RefusesAPathWithoutRoomForItsFiles) {
  const TemporaryFolder root;
  const fs::path folder = folder_of_length(root, 4000);
  const fs::path contents[] = {std::string(60, 'c') + "/" + std::string(60, 'c')};
  EXPECT_EQ(code_of(AtomicFolder::create(folder / "x", OutputMode::refuse, contents)), "usage");
  EXPECT_EQ(code_of(check_output({}, folder / "x", OutputKind::folder, OutputMode::refuse, contents)), "usage");
  EXPECT_TRUE(AtomicFolder::create(folder / "x", OutputMode::refuse));
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST(AtomicFolder, ReplacesTheTargetOfALink) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "disk");
  fs::create_directory_symlink("disk", folder / "out");
  Result<AtomicFolder> out = AtomicFolder::create(folder / "out", OutputMode::replace);
  ASSERT_TRUE(out) << describe(out.error());
  ASSERT_TRUE(write_text(out->path() / "a", "x", OutputMode::refuse));
  ASSERT_TRUE(out->commit());
  EXPECT_TRUE(fs::is_symlink(folder / "out"));
  EXPECT_EQ(test::read_bytes(folder / "disk" / "a"), "x");
}

TEST(AtomicFolder, RefusesToReplaceWhatIsNoModel) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "home");
  folder.write("home/letters.txt", "x");
  folder.write("file", "x");
  fs::create_symlink("nowhere", folder / "dangling");
  EXPECT_EQ(code_of(AtomicFolder::create(folder / "home", OutputMode::replace)), "usage");
  EXPECT_EQ(code_of(AtomicFolder::create(folder / "file", OutputMode::replace)), "not_regular_file");
  EXPECT_EQ(code_of(AtomicFolder::create(folder / "dangling", OutputMode::replace)), "not_regular_file");
  EXPECT_EQ(code_of(AtomicFolder::create(folder / "none" / "out", OutputMode::refuse)), "not_found");
  EXPECT_EQ(code_of(AtomicFolder::create("/", OutputMode::replace)), "usage");
}

TEST(AtomicFolder, RefusesToReplaceTheWorkingDirectoryOrWhatHoldsIt) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "model" / "sub");
  folder.write("model/config.json", "{}");
  const fs::path before = fs::current_path();
  fs::current_path(folder / "model" / "sub");
  EXPECT_EQ(code_of(AtomicFolder::create(".", OutputMode::replace)), "usage");
  EXPECT_EQ(code_of(AtomicFolder::create(folder / "model", OutputMode::replace)), "usage");
  EXPECT_EQ(code_of(AtomicFolder::create("..", OutputMode::replace)), "usage");
  fs::current_path(before);
}

// ---- row 50 ----

class CheckOutput : public testing::Test {
 protected:
  CheckOutput() {
    fs::create_directory(folder_ / "model");
    folder_.write("model/model.safetensors", "weights");
    folder_.write("model.safetensors", "weights");
  }
  std::string check(const fs::path& input, const fs::path& output, OutputKind kind, OutputMode mode) const {
    return code_of(check_output({&input, 1}, output, kind, mode));
  }
  TemporaryFolder folder_;
};

TEST_F(CheckOutput, AcceptsANewPlace) {
  for (const OutputMode mode : {OutputMode::refuse, OutputMode::replace}) {
    EXPECT_EQ(check(folder_ / "model.safetensors", folder_ / "out", OutputKind::file, mode), "success");
    EXPECT_EQ(check(folder_ / "model", folder_ / "out", OutputKind::folder, mode), "success");
    EXPECT_EQ(check(folder_ / "model", folder_ / "model2", OutputKind::folder, mode), "success");
    EXPECT_EQ(check(folder_ / "model", folder_ / "model" / "statistics", OutputKind::file, mode), "success");
  }
}

TEST_F(CheckOutput, RefusesTheInputItself) {
  const auto input = folder_ / "model.safetensors";
  fs::create_symlink(input, folder_ / "soft");
  fs::create_hard_link(input, folder_ / "hard");
  for (const OutputMode mode : {OutputMode::refuse, OutputMode::replace}) {
    EXPECT_EQ(check(input, input, OutputKind::file, mode), "same_file");
    EXPECT_EQ(check(input, folder_ / "model" / ".." / "model.safetensors", OutputKind::file, mode), "same_file");
    EXPECT_EQ(check(input, folder_ / "soft", OutputKind::file, mode), "same_file");
    EXPECT_EQ(check(folder_ / "soft", input, OutputKind::file, mode), "same_file");
    EXPECT_EQ(check(input, folder_ / "hard", OutputKind::file, mode), "same_file");
    EXPECT_EQ(check(folder_ / "model", folder_ / "model" / "", OutputKind::folder, mode), "same_file");
    EXPECT_EQ(check(folder_ / "model", folder_ / "model" / "model.safetensors", OutputKind::file, mode), "same_file");
  }
  EXPECT_EQ(test::read_bytes(input), "weights");
}

TEST_F(CheckOutput, RefusesAnOutputFolderInsideAnInputOrAroundIt) {
  EXPECT_EQ(check(folder_ / "model", folder_ / "model" / "out", OutputKind::folder, OutputMode::refuse), "same_file");
  EXPECT_EQ(check(folder_ / "model", folder_.path(), OutputKind::folder, OutputMode::replace), "same_file");
  EXPECT_EQ(check(folder_ / "model" / "model.safetensors", folder_ / "model", OutputKind::folder, OutputMode::replace),
            "same_file");
  fs::create_directory_symlink(folder_ / "model", folder_ / "link");
  EXPECT_EQ(check(folder_ / "model", folder_ / "link" / "out", OutputKind::folder, OutputMode::refuse), "same_file");
}

TEST_F(CheckOutput, RefusesWhatExistsAndWhereNothingCanBe) {
  const auto input = folder_ / "model.safetensors";
  folder_.write("out", "x");
  EXPECT_EQ(check(input, folder_ / "out", OutputKind::file, OutputMode::refuse), "exists");
  EXPECT_EQ(check(input, folder_ / "out", OutputKind::file, OutputMode::replace), "success");
  EXPECT_EQ(check(input, folder_ / "out", OutputKind::folder, OutputMode::replace), "not_regular_file");
  EXPECT_EQ(check(input, folder_ / "none" / "out", OutputKind::file, OutputMode::replace), "not_found");
  EXPECT_EQ(check(folder_ / "none", folder_ / "new", OutputKind::file, OutputMode::refuse), "success");
}

TEST_F(CheckOutput, RefusesAReadOnlyFolder) {
  if (::geteuid() == 0) {
    if (::access("/proc/sys", W_OK) == 0) GTEST_SKIP() << "nothing is read-only for this user";
    EXPECT_EQ(check(folder_ / "model.safetensors", "/proc/sys/out", OutputKind::file, OutputMode::refuse), "io");
    return;
  }
  fs::create_directory(folder_ / "locked");
  fs::permissions(folder_ / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_EQ(check(folder_ / "model.safetensors", folder_ / "locked" / "out", OutputKind::file, OutputMode::refuse),
            "io");
}

}  // namespace
}  // namespace kvant::io
