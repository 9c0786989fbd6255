// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/npy.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "convert.hpp"
#include "core/guard.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/utf8.hpp"

namespace kvant::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kMaxHeader = 1u << 20;

struct NpyName {
  std::string_view text;
  DType dtype;
};
constexpr std::array kNames{
    NpyName{"f2", DType::f16}, NpyName{"f4", DType::f32}, NpyName{"f8", DType::f64}, NpyName{"i1", DType::i8},
    NpyName{"i2", DType::i16}, NpyName{"i4", DType::i32}, NpyName{"i8", DType::i64}, NpyName{"u1", DType::u8},
    NpyName{"u2", DType::u16}, NpyName{"u4", DType::u32}, NpyName{"u8", DType::u64},
};

/// The header's dictionary: what numpy writes, read with white space anywhere and keys in any order.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, Where where, std::uint64_t base)
      : text_(text), where_(std::move(where)), base_(base) {}

  struct Header {
    std::string descr;
    bool fortran_order = false;
    std::vector<std::uint64_t> shape;
  };

  Result<Header> parse() {
    Header header;
    if (!take('{')) return refuse("a dictionary");
    unsigned seen = 0;
    while (!take('}')) {
      std::string key;
      if (!take_string(key) || !take(':')) return refuse("a key and a colon");
      const unsigned bit = key == "descr" ? 1 : key == "fortran_order" ? 2 : key == "shape" ? 4 : 0;
      if (bit == 0 || (seen & bit) != 0) return refuse("descr, fortran_order and shape, each once,");
      seen |= bit;
      if (bit == 1 && peek('[')) return unsupported("a structured array");
      if (bit == 1 && !take_string(header.descr)) return refuse("a string for descr");
      if (bit == 2 && !take_bool(header.fortran_order)) return refuse("True or False");
      if (bit == 4 && !take_shape(header.shape)) return refuse("a tuple of non-negative integers");
      if (!take(',') && !peek('}')) return refuse("a comma or the end of the dictionary");
    }
    skip_space();
    if (at_ != text_.size()) return refuse("nothing");
    if (seen != 7) return refuse("descr, fortran_order and shape");
    return header;
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool peek(char c) {
    skip_space();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    if (!peek(c)) return false;
    ++at_;
    return true;
  }
  bool take_string(std::string& out) {
    if (!peek('\'') && !peek('"')) return false;
    const std::size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) return false;
    out = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return true;
  }
  bool take_bool(bool& out) {
    skip_space();
    for (const std::string_view word : {std::string_view("True"), std::string_view("False")})
      if (text_.substr(at_).starts_with(word)) {
        out = word == "True";
        at_ += word.size();
        return true;
      }
    return false;
  }
  bool take_shape(std::vector<std::uint64_t>& shape) {
    if (!take('(')) return false;
    while (!take(')')) {
      skip_space();
      std::uint64_t n = 0;
      const char* const end = text_.data() + text_.size();
      const auto [stop, error] = std::from_chars(text_.data() + at_, end, n);
      if (error != std::errc{} || shape.size() == kMaxRank) return false;
      at_ = static_cast<std::size_t>(stop - text_.data());
      shape.push_back(n);
      if (!take(',') && !peek(')')) return false;
    }
    return true;
  }
  tl::unexpected<Error> refuse(std::string_view expected) {
    where_.offset = base_ + at_;
    return fail(ErrorCode::bad_npy, "expected " + std::string(expected) + " here in the header of a .npy file",
                std::move(where_));
  }
  tl::unexpected<Error> unsupported(std::string_view what) {
    where_.offset = base_ + at_;
    return fail(ErrorCode::unsupported, std::string(what) + "; save plain numbers", std::move(where_));
  }

  std::string_view text_;
  Where where_;
  std::uint64_t base_;
  std::size_t at_ = 0;
};

Result<DType> parse_descr(const std::string& descr, const Where& where) {
  if (descr.find('O') != std::string::npos)
    return fail(ErrorCode::pickle, "an array of Python objects, which is a pickle; kvant never unpickles", where);
  if (descr.starts_with('>') && descr != ">i1" && descr != ">u1")
    return fail(ErrorCode::unsupported, "big-endian numbers (" + printable(descr, 40) + "); save them as little-endian",
                where);
  if (descr.size() == 3 && (descr[0] == '<' || descr[0] == '|' || descr[0] == '>'))
    for (const NpyName& n : kNames)
      if (descr.substr(1) == n.text) return n.dtype;
  return fail(ErrorCode::unsupported,
              "numbers of type " + printable(descr, 40) + "; f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 are read", where);
}

struct Framing {
  std::uint64_t header_begin;
  std::uint64_t header_bytes;
};

Result<Framing> read_framing(const InputFile& file) {
  Where where = where_of(file.path());
  std::array<std::byte, 12> head{};
  const std::size_t have = static_cast<std::size_t>(std::min<std::uint64_t>(head.size(), file.size()));
  if (Status s = file.read_at(0, std::span(head).first(have)); !s) return propagate(s);
  if (have < 10) {
    where.offset = have;
    return fail(ErrorCode::truncated, "the file ends here, within the start of a .npy file; fetch it again", where);
  }
  where.offset = 0;
  if (std::memcmp(head.data(), kMagic.data(), kMagic.size()) != 0)
    return fail(ErrorCode::bad_npy, "does not begin as a .npy file does (\\x93NUMPY)", where);
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint64_t>(head[i]); };
  if (byte(6) < 1 || byte(6) > 3 || byte(7) != 0)
    return fail(ErrorCode::unsupported,
                ".npy version " + std::to_string(byte(6)) + "." + std::to_string(byte(7)) + "; 1.0 to 3.0 are read",
                where);
  Framing f{10, byte(8) | byte(9) << 8};
  if (byte(6) >= 2) f = {12, f.header_bytes | byte(10) << 16 | byte(11) << 24};
  if (f.header_bytes > kMaxHeader)
    return fail(ErrorCode::limit,
                "a .npy header of " + std::to_string(f.header_bytes) + " bytes, at most " + std::to_string(kMaxHeader) +
                    " are read",
                where);
  return f;
}

/// Calls `body` with a value of the C++ type of an integer dtype.
template <class Body>
bool with_integer_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::i8:
      return body(std::int8_t{}), true;
    case DType::i16:
      return body(std::int16_t{}), true;
    case DType::i32:
      return body(std::int32_t{}), true;
    case DType::i64:
      return body(std::int64_t{}), true;
    case DType::u8:
      return body(std::uint8_t{}), true;
    case DType::u16:
      return body(std::uint16_t{}), true;
    case DType::u32:
      return body(std::uint32_t{}), true;
    case DType::u64:
      return body(std::uint64_t{}), true;
    default:
      return false;
  }
}

template <class T>
T element(const std::vector<std::byte>& data, std::size_t i) {
  T x;
  std::memcpy(&x, data.data() + i * sizeof x, sizeof x);
  return x;
}

tl::unexpected<Error> wrong_dtype(DType dtype, std::string_view wanted) {
  return fail(ErrorCode::unsupported,
              "an array of " + std::string(dtype_info(dtype).name) + " where " + std::string(wanted) + " are needed");
}

}  // namespace

Result<std::vector<float>> NpyArray::to_floats() const {
  return guarded([&]() -> Result<std::vector<float>> {
    std::vector<float> out(size());
    if (converts_to_float(dtype)) {
      convert_to_float(dtype, data, out);
      return out;
    }
    const bool known = with_integer_type(dtype, [&](auto zero) {
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(element<decltype(zero)>(data, i));
    });
    if (!known) return wrong_dtype(dtype, "numbers");
    return out;
  });
}

Result<std::vector<std::int64_t>> NpyArray::to_ids() const {
  return guarded([&]() -> Result<std::vector<std::int64_t>> {
    if (dtype_info(dtype).is_float) return wrong_dtype(dtype, "integers");
    std::vector<std::int64_t> out(size());
    bool fits = true;
    const bool known = with_integer_type(dtype, [&](auto zero) {
      for (std::size_t i = 0; i < out.size(); ++i) {
        const auto x = element<decltype(zero)>(data, i);
        if constexpr (sizeof x == 8 && std::is_unsigned_v<decltype(zero)>) fits = fits && x <= INT64_MAX;
        out[i] = static_cast<std::int64_t>(x);
      }
    });
    if (!known) return wrong_dtype(dtype, "integers");
    if (!fits) return fail(ErrorCode::overflow, "an integer above 2^63 - 1");
    return out;
  });
}

Result<NpyArray> read_npy(const std::filesystem::path& path, std::uint64_t max_bytes) {
  return guarded([&]() -> Result<NpyArray> {
    const Result<InputFile> file = InputFile::open(path);
    if (!file) return propagate(file);
    const Where where = where_of(path);
    if (file->size() > max_bytes)
      return fail(ErrorCode::limit,
                  "has " + std::to_string(file->size()) + " bytes, at most " + std::to_string(max_bytes) + " are read",
                  where);
    const Result<Framing> framing = read_framing(*file);
    if (!framing) return propagate(framing);
    if (framing->header_bytes > file->size() - std::min(file->size(), framing->header_begin)) {
      Where at = where;
      at.offset = file->size();
      return fail(ErrorCode::truncated, "the file ends here, within its header; fetch it again", std::move(at));
    }
    std::string text(framing->header_bytes, '\0');
    if (Status s = file->read_at(framing->header_begin, std::as_writable_bytes(std::span(text))); !s)
      return propagate(s);
    const auto header = HeaderParser(text, where, framing->header_begin).parse();
    if (!header) return propagate(header);
    const Result<DType> dtype = parse_descr(header->descr, where);
    if (!dtype) return propagate(dtype);
    if (header->fortran_order && header->shape.size() > 1)
      return fail(ErrorCode::unsupported, "an array in Fortran order; save it with numpy.ascontiguousarray", where);
    const Result<std::uint64_t> bytes = tensor_bytes(*dtype, header->shape);
    if (!bytes) return fail(bytes.error().code, bytes.error().message, where);
    const std::uint64_t data_begin = framing->header_begin + framing->header_bytes;
    const std::uint64_t have = file->size() - data_begin;
    if (*bytes != have) {
      Where at = where;
      at.offset = data_begin + std::min(*bytes, have);
      return fail(
          *bytes > have ? ErrorCode::truncated : ErrorCode::trailing_data,
          "the header describes " + std::to_string(*bytes) + " bytes of data, the file holds " + std::to_string(have),
          std::move(at));
    }
    NpyArray array{*dtype, header->shape, std::vector<std::byte>(*bytes)};
    if (Status s = file->read_at(data_begin, array.data); !s) return propagate(s);
    return array;
  });
}

Status write_npy(const std::filesystem::path& path, std::span<const float> data, std::span<const std::uint64_t> shape,
                 OutputMode mode) {
  return guarded([&]() -> Status {
    const Result<std::uint64_t> bytes = tensor_bytes(DType::f32, shape);
    if (!bytes || *bytes != data.size_bytes() || shape.size() > kMaxRank)
      return fail(ErrorCode::usage, "as many numbers as the shape has elements are needed", where_of(path));
    std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    for (const std::uint64_t n : shape) dict += std::to_string(n) + ", ";
    if (shape.size() > 1) dict.resize(dict.size() - 2);
    if (shape.size() == 1) dict.pop_back();  // (3,)
    dict += "), }";
    // Magic, version, length, dictionary, spaces and a line feed together are a multiple of 64.
    dict.resize(round_up<std::size_t>(10 + dict.size() + 1, 64) - 10 - 1, ' ');
    dict += '\n';
    std::string head = std::string(kMagic) + '\x01' + '\0';
    head += static_cast<char>(dict.size() & 0xff);
    head += static_cast<char>(dict.size() >> 8);
    head += dict;
    Result<AtomicFile> file = AtomicFile::create(path, mode);
    if (!file) return propagate(file);
    if (Status s = file->preallocate(head.size() + data.size_bytes()); !s) return s;
    if (Status s = file->write(std::as_bytes(std::span(head))); !s) return s;
    if (Status s = file->write(std::as_bytes(data)); !s) return s;
    return file->commit();
  });
}

}  // namespace kvant::io
