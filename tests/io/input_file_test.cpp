// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/input_file.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "test_files.hpp"

namespace kvant::io {
namespace {

using test::code_of;
using test::TemporaryFolder;

std::string read(const InputFile& file, std::uint64_t offset, std::size_t n) {
  std::string out(n, '\0');
  const Status s = file.read_at(offset, std::as_writable_bytes(std::span(out)));
  return s ? out : code_of(s);
}

class InputFileAccess : public testing::TestWithParam<Access> {};
INSTANTIATE_TEST_SUITE_P(Both, InputFileAccess, testing::Values(Access::pread, Access::mmap));

TEST_P(InputFileAccess, ReadsByPosition) {
  const TemporaryFolder folder;
  const Result<InputFile> file = InputFile::open(folder.write("a", "0123456789"), GetParam());
  ASSERT_TRUE(file) << describe(file.error());
  EXPECT_EQ(file->size(), 10u);
  EXPECT_EQ(read(*file, 0, 10), "0123456789");
  EXPECT_EQ(read(*file, 7, 3), "789");
  EXPECT_EQ(read(*file, 10, 0), "");
  EXPECT_EQ(file->mapped().size(), GetParam() == Access::mmap ? 10u : 0u);
}

TEST_P(InputFileAccess, RefusesToReadBeyondTheEnd) {
  const TemporaryFolder folder;
  const Result<InputFile> file = InputFile::open(folder.write("a", "0123456789"), GetParam());
  ASSERT_TRUE(file);
  EXPECT_EQ(read(*file, 8, 3), "truncated");
  EXPECT_EQ(read(*file, 11, 0), "truncated");
  EXPECT_EQ(read(*file, UINT64_MAX, 2), "truncated");  // the sum would wrap
  std::array<std::byte, 3> buffer;
  const Status s = file->read_at(8, buffer);
  EXPECT_EQ(s.error().where.offset, 8u);
  EXPECT_NE(s.error().where.file.find("/a"), std::string::npos);
}

TEST_P(InputFileAccess, OpensAnEmptyFile) {
  const TemporaryFolder folder;
  const Result<InputFile> file = InputFile::open(folder.write("a", ""), GetParam());
  ASSERT_TRUE(file);
  EXPECT_EQ(file->size(), 0u);
  EXPECT_EQ(read(*file, 0, 1), "truncated");
}

TEST(InputFile, AFileThatShrinksIsAnErrorAndNotASignal) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", std::string(10'000, 'x'));
  const Result<InputFile> file = InputFile::open(path);
  ASSERT_TRUE(file);
  std::filesystem::resize_file(path, 5'000);
  EXPECT_EQ(read(*file, 4'990, 10), std::string(10, 'x'));
  EXPECT_EQ(read(*file, 4'990, 11), "truncated");
}

TEST(InputFile, RefusesWhatIsNoRegularFileWithoutWaiting) {
  const TemporaryFolder folder;
  const auto fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const auto socket_path = folder / "socket";
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_GE(fd, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);

  EXPECT_EQ(code_of(InputFile::open(folder.path())), "not_regular_file");
  EXPECT_EQ(code_of(InputFile::open(fifo)), "not_regular_file");
  EXPECT_EQ(code_of(InputFile::open(socket_path)), "not_regular_file");
  EXPECT_EQ(code_of(InputFile::open("/dev/zero")), "not_regular_file");
  EXPECT_EQ(code_of(InputFile::open("/dev/null")), "not_regular_file");
  ::close(fd);
}

TEST(InputFile, TellsWhatIsMissing) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of(InputFile::open(folder / "none")), "not_found");
  EXPECT_EQ(code_of(InputFile::open(folder.write("a", "x") / "below_a_file")), "not_found");
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_EQ(code_of(InputFile::open(folder / "loop")), "io");
  EXPECT_EQ(code_of(InputFile::open(std::string("/dev/null\0x", 11))), "not_found");
}

TEST(InputFile, ErrorsNameAnOddFileInOneLine) {
  const auto error = InputFile::open("/none/a\nb\xff").error();
  EXPECT_EQ(error.where.file, "/none/a\\x0ab\\xff");
}

TEST(InputFile, IdentityIsEqualForLinksAndDiffersForCopies) {
  const TemporaryFolder folder;
  const auto a = folder.write("a", "x");
  const auto b = folder.write("b", "x");
  std::filesystem::create_symlink(a, folder / "soft");
  std::filesystem::create_hard_link(a, folder / "hard");
  const FileIdentity id = InputFile::open(a)->identity();
  EXPECT_EQ(InputFile::open(folder / "soft")->identity(), id);
  EXPECT_EQ(InputFile::open(folder / "hard")->identity(), id);
  EXPECT_NE(InputFile::open(b)->identity(), id);
}

TEST(InputFile, MovesTakeTheFileAlong) {
  const TemporaryFolder folder;
  Result<InputFile> a = InputFile::open(folder.write("a", "first"), Access::mmap);
  Result<InputFile> b = InputFile::open(folder.write("b", "second"));
  ASSERT_TRUE(a && b);
  *a = std::move(*b);
  EXPECT_EQ(read(*a, 0, 6), "second");
  EXPECT_TRUE(a->mapped().empty());
}

TEST(ReadTextFile, ReadsAllAndKeepsToItsLimit) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", std::string("x\0y", 3));
  EXPECT_EQ(read_text_file(path, 3).value(), std::string("x\0y", 3));
  EXPECT_EQ(code_of(read_text_file(path, 2)), "limit");
  EXPECT_EQ(code_of(read_text_file(folder / "none", 2)), "not_found");
}

}  // namespace
}  // namespace kvant::io
