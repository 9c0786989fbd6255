// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/sniff.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "core/guard.hpp"
#include "safetensors_header.hpp"

namespace kvant::io {
namespace {

using namespace std::string_view_literals;

/// Files that begin in a known way and are not ours.
struct Magic {
  std::size_t offset;
  std::string_view bytes;
  ErrorCode code;
  std::string_view message;
};

constexpr std::string_view kGguf = "is a GGUF file, which kvant does not read yet; give the safetensors checkpoint";
constexpr std::string_view kPickle =
    "is a pickle (PyTorch .bin or .pt); kvant never unpickles, since that runs code; save the model as safetensors";

constexpr std::array kMagics{
    Magic{0, "version https://git-lfs"sv, ErrorCode::lfs_pointer,
          "is a git-LFS pointer, a text that stands for the file; fetch the file itself (git lfs pull)"},
    Magic{0, "GGUF"sv, ErrorCode::unsupported, kGguf},
    Magic{0, "FUGG"sv, ErrorCode::unsupported, "is a big-endian GGUF file, which kvant does not read"},
    Magic{0, "\x80\x02"sv, ErrorCode::pickle, kPickle},
    Magic{0, "\x80\x03"sv, ErrorCode::pickle, kPickle},
    Magic{0, "\x80\x04"sv, ErrorCode::pickle, kPickle},
    Magic{0, "\x80\x05"sv, ErrorCode::pickle, kPickle},
    Magic{0, "PK\x03\x04"sv, ErrorCode::archive, "is a zip archive; unpack it and give the file inside"},
    Magic{0, "PK\x05\x06"sv, ErrorCode::archive, "is an empty zip archive"},
    Magic{0, "\x1f\x8b"sv, ErrorCode::archive, "is gzip-compressed; unpack it first (gunzip)"},
    Magic{0, "BZh"sv, ErrorCode::archive, "is bzip2-compressed; unpack it first (bunzip2)"},
    Magic{0,
          "\xfd"
          "7zXZ\0"sv,
          ErrorCode::archive, "is xz-compressed; unpack it first (unxz)"},
    Magic{0, "\x28\xb5\x2f\xfd"sv, ErrorCode::archive, "is zstd-compressed; unpack it first (unzstd)"},
    Magic{0, "7z\xbc\xaf\x27\x1c"sv, ErrorCode::archive, "is a 7z archive; unpack it first"},
    Magic{257, "ustar"sv, ErrorCode::archive, "is a tar archive; unpack it first"},
    Magic{0, "\x89HDF\r\n\x1a\n"sv, ErrorCode::unsupported, "is an HDF5 file; save the model as safetensors"},
    Magic{0, "\x08\x07\x12"sv, ErrorCode::unsupported, "is an ONNX model, which kvant does not read yet"},
    Magic{0, "\x08\x08\x12"sv, ErrorCode::unsupported, "is an ONNX model, which kvant does not read yet"},
    Magic{0, "\x08\x09\x12"sv, ErrorCode::unsupported, "is an ONNX model, which kvant does not read yet"},
    Magic{0, "\x08\x0a\x12"sv, ErrorCode::unsupported, "is an ONNX model, which kvant does not read yet"},
};

std::string_view skip_white_space(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const std::size_t n = text.find_first_not_of(" \t\r\n");
  return n == std::string_view::npos ? std::string_view{} : text.substr(n);
}

/// std::tolower() follows the locale.
constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool looks_like_html(std::string_view head) {
  head = skip_white_space(head);
  for (const std::string_view start : {"<!doctype"sv, "<html"sv, "<head"sv, "<?xml"sv}) {
    const std::string_view part = head.substr(0, start.size());
    if (std::ranges::equal(part, start, {}, lower)) return true;
  }
  return false;
}

}  // namespace

/// A header length that fits, followed by an opening brace. Comes before the magics: a length of 640 bytes looks like
/// the start of a pickle.
bool detail::recognizes_safetensors(std::string_view head, std::uint64_t size) noexcept {
  if (head.size() < 8) return false;
  const std::uint64_t length = load_header_length(std::as_bytes(std::span(head)).first<8>());
  return length <= kSafetensorsMaxHeader && length <= size - 8 && skip_white_space(head.substr(8)).starts_with('{');
}

bool detail::recognizes_npy(std::string_view head, std::uint64_t) noexcept { return head.starts_with("\x93NUMPY"); }

Result<const FileFormat*> sniff(const InputFile& file) {
  return guarded([&]() -> Result<const FileFormat*> {
    std::array<char, 512> buffer{};
    const std::string_view head(buffer.data(), std::min<std::uint64_t>(buffer.size(), file.size()));
    if (Status s = file.read_at(0, std::as_writable_bytes(std::span(buffer).first(head.size()))); !s)
      return propagate(s);
    for (const FileFormat& format : kReaders)
      if (format.recognizes != nullptr && format.recognizes(head, file.size())) return &format;
    if (looks_like_html(head))
      return fail(ErrorCode::html_page, "is a web page that was saved instead of the file; download the file itself",
                  where_of(file.path()));
    for (const Magic& m : kMagics) {
      if (head.size() < m.offset || !head.substr(m.offset).starts_with(m.bytes)) continue;
      const bool torch = m.bytes.starts_with("PK") && head.find("data.pkl") != std::string_view::npos;
      return fail(torch ? ErrorCode::pickle : m.code, std::string(torch ? kPickle : m.message), where_of(file.path()));
    }
    const Result<std::uint64_t> length = read_header_length(file);
    if (!length) return propagate(length);
    return file_format("safetensors");  // with a length that does not fit, of which the reader says more
  });
}

}  // namespace kvant::io
