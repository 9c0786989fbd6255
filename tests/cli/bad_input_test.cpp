// SPDX-License-Identifier: Apache-2.0
// Files and names that are not what they should be: a typed error, the exit code of the contract, no output.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <string>
#include <vector>

#include "checkpoints.hpp"
#include "run_kvant.hpp"

namespace {

using namespace kvant::cli::test;
using namespace std::string_literals;
using kvant::io::test::safetensors_bytes;

/// Every verb that opens a checkpoint refuses it alike, and quantize leaves nothing behind.
kvant::io::Json expect_refused(const TemporaryFolder& folder, const std::string& input, int exit,
                               std::string_view code) {
  const auto before = folder.names();
  const kvant::io::Json json = expect_error({"inspect", input}, exit, code);
  expect_error({"quantize", input, "-o", folder / "output", "--scheme", "int8-channel"}, exit, code);
  expect_error({"dequantize", input, "-o", folder / "output"}, exit, code);
  EXPECT_EQ(folder.names(), before);
  return json;
}

TEST(BadInput, NamesTheOffsetOfATooShortFile) {
  const TemporaryFolder folder;
  for (std::size_t n = 0; n < 8; ++n) {
    const std::string path = folder.write("short", std::string(n, '\0'));
    const auto json = expect_refused(folder, path, 3, "truncated");
    EXPECT_EQ(text_at(json, "file"), path);
    EXPECT_EQ(number_at(json, "offset"), static_cast<double>(n));
  }
}

TEST(BadInput, IsRefusedWhereItIsNoRegularFile) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_refused(folder, folder / "pipe", 5, "not_regular_file");
  expect_refused(folder, "/dev/zero", 5, "not_regular_file");
  expect_refused(folder, "/dev/null", 5, "not_regular_file");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string socket = folder / "socket";
  ASSERT_LT(socket.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, socket.c_str(), socket.size() + 1);
  const void* raw = &address;
  ASSERT_EQ(::bind(fd, static_cast<const sockaddr*>(raw), sizeof address), 0);
  expect_refused(folder, socket, 5, "not_regular_file");
  ::close(fd);
}

/// A component that no file system takes, and a path that no system call takes.
std::vector<std::string> long_names(const TemporaryFolder& folder) {
  std::string path = folder / "d";
  while (path.size() <= 4096) path += "/" + std::string(100, 'd');
  return {folder / std::string(256, 'x'), path};
}

TEST(LongNames, AreErrorsOfInputsAsWhatCannotBeOpened) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "m", usual_tensors());
  for (const std::string& name : long_names(folder)) {
    const auto json = expect_refused(folder, name, 5, "io");
    EXPECT_NE(text_at(json, "message").find("File name too long"), std::string::npos) << text_at(json, "message");
    expect_error({"compare", folder / "m", name}, 5, "io");
    expect_error({"eval", kTiny, "--text", name}, 5, "io");
    expect_error({"gemm", "--a", name, "--w", name, "-o", folder / "y"}, 5, "io");
    expect_error({"cast", name, "--to", "int8", "-o", folder / "y"}, 5, "io");
  }
  EXPECT_EQ(folder.names(), std::vector<std::string>{"m"});
}

TEST(LongNames, AreErrorsOfOutputsBeforeAnyWork) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "m", usual_tensors());
  ASSERT_EQ(run_kvant({"quantize", folder / "m", "-o", folder / "q", "--scheme", "int8-channel"}).exit, 0);
  for (const std::string& name : long_names(folder)) {
    expect_error({"quantize", folder / "m", "-o", name, "--scheme", "int8-channel"}, 2, "usage");
    expect_error({"quantize", kTiny, "-o", name, "--scheme", "int8-channel", "--force"}, 2, "usage");
    const auto json = expect_error({"dequantize", folder / "q", "-o", name}, 2, "usage");
    EXPECT_NE(text_at(json, "message").find("too long"), std::string::npos) << text_at(json, "message");
    EXPECT_NE(run_kvant({"dequantize", folder / "q", "-o", name}).err.find("too long"), std::string::npos);
  }
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"m", "q"}));
}

TEST(LongNames, OfTensorsAreALimit) {
  const TemporaryFolder folder;
  const std::string longest = std::string(64 * 1024 - 7, 'n') + ".weight";
  write_checkpoint(folder / "m", {{longest, {{4, 32}}}});
  EXPECT_EQ(run_kvant({"inspect", folder / "m"}).exit, 0);
  const auto json =
      expect_error({"quantize", folder / "m", "-o", folder / "q", "--scheme", "int8-channel"}, 6, "limit");
  EXPECT_NE(text_at(json, "message").find("at most 65536"), std::string::npos) << text_at(json, "message");
  folder.write("n",
               safetensors_bytes(R"({"n)" + longest + R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", ""));
  expect_refused(folder, folder / "n", 6, "limit");
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"m", "n"}));
}

TEST(BadInput, IsRefusedWhereItIsAbsentOrHoldsNoModel) {
  const TemporaryFolder folder;
  expect_refused(folder, folder / "absent", 5, "not_found");
  std::filesystem::create_directory(folder / "empty");
  expect_refused(folder, folder / "empty", 5, "no_model");
  folder.write("empty/readme.txt", "nothing here");
  expect_refused(folder, folder / "empty", 5, "no_model");
}

TEST(BadInput, IsRefusedByName) {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& bytes) { return folder.write("model.safetensors", bytes).string(); };
  expect_refused(folder, write("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"), 3,
                 "lfs_pointer");
  expect_refused(folder, write("<!DOCTYPE html><html><body>404</body></html>"), 3, "html_page");
  expect_refused(folder, write("\x80\x02}q\x00X\x06\x00\x00\x00weight."s), 4, "pickle");
  expect_refused(folder, write("PK\x03\x04\x14\x00\x00\x00\x00\x00model/data.pkl"s), 4, "pickle");
  expect_refused(folder, write("PK\x03\x04\x14\x00\x00\x00\x00\x00model/weights"s), 4, "archive");
  expect_refused(folder, write("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"s), 4, "archive");
  expect_refused(folder, write("GGUF\x03\x00\x00\x00\x00\x00\x00\x00"s), 4, "unsupported");
}

TEST(BadInput, KeepsItsExitCodeInAFolder) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "model");
  folder.write("model/config.json", "{}");
  folder.write("model/model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n");
  const auto json = expect_refused(folder, folder / "model", 3, "lfs_pointer");
  EXPECT_TRUE(text_at(json, "file").ends_with("model/model.safetensors"));
}

TEST(BadInput, NamesTheTensorOfAMalformedHeader) {
  const TemporaryFolder folder;
  const auto write = [&](std::string_view header, std::size_t bytes) {
    return folder.write("m", safetensors_bytes(header, std::string(bytes, '\0'))).string();
  };
  const auto overlap = expect_refused(folder,
                                      write(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                            R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                                            12),
                                      3, "overlap");
  EXPECT_EQ(text_at(overlap, "tensor"), "b");
  expect_refused(folder, write(R"({"a":{"dtype":"F7","shape":[2],"data_offsets":[0,8]}})", 8), 4, "unknown_dtype");
  expect_refused(folder, write(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7), 3, "truncated");
  expect_refused(folder, write(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), 3,
                 "duplicate_key");
}

TEST(BadInput, BeyondALimitIsExit6) {
  const TemporaryFolder folder;
  const std::string length = kvant::io::test::little_endian_u64(100'000'001);
  const std::string path = folder.write("m", length + "{");
  ASSERT_EQ(::truncate(path.c_str(), 100'000'100), 0);
  expect_refused(folder, path, 6, "limit");
  expect_refused(folder, folder.write("deep", safetensors_bytes("{\"a\":" + std::string(100'000, '['), "")), 6,
                 "limit");
}

TEST(BadInput, IsJudgedByContentNotByExtension) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "model.gguf", usual_tensors());
  const Outcome run = run_kvant({"inspect", folder / "model.gguf"});
  EXPECT_EQ(run.exit, 0);
  EXPECT_NE(run.err.find("warning: "), std::string::npos) << run.err;
}

TEST(BadInput, NamesWithNewlinesAndBadUtf8StayOneLine) {
  const TemporaryFolder folder;
  const auto json = expect_refused(folder, folder / "a\nb\xff\xc3\x28", 5, "not_found");
  EXPECT_TRUE(text_at(json, "file").ends_with("a\\x0ab\\xff\\xc3(")) << text_at(json, "file");
  write_checkpoint(folder / "line\nbreak\xff", usual_tensors());
  EXPECT_EQ(run_kvant({"inspect", folder / "line\nbreak\xff"}).exit, 0);
  const Outcome run = run_kvant(
      {"quantize", folder / "line\nbreak\xff", "-o", folder / "out\n\xfe", "--scheme", "int8-channel", "--json"});
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(text_at(json_of(run.out), "schema"), "kvant.quantize/1");
  EXPECT_TRUE(std::filesystem::exists(folder / "out\n\xfe"));
}

TEST(BadInput, TensorNamesWithControlCharactersStayOneLine) {
  const TemporaryFolder folder;
  const std::string path = folder.write(
      "m", safetensors_bytes(R"({"a\n\u001b[2J":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}})", "123456789"));
  const auto json = expect_refused(folder, path, 3, "size_mismatch");
  EXPECT_EQ(text_at(json, "tensor"), "a\\x0a\\x1b[2J");
}

TEST(BadInput, ToEvalIsRefused) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "m", usual_tensors());
  folder.write("text", "some text");
  expect_error({"eval", folder / "m", "--text", folder / "text"}, 3, "bad_config");
  expect_error({"generate", folder / "m", "--prompt", "x"}, 3, "bad_config");
}

}  // namespace
