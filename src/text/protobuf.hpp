// SPDX-License-Identifier: Apache-2.0
// Protobuf's wire format, one message at a time: numbered fields, each a number or bytes (which may be a message).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kvant/core/error.hpp"

namespace kvant::text {

/// Fields of a message in their order. Reads nothing beyond it, and calls nothing again for what it holds.
class WireReader {
 public:
  struct Field {
    enum class Kind : std::uint8_t { varint, fixed64, bytes, fixed32 };

    std::uint32_t number = 0;
    Kind kind = Kind::varint;
    std::uint64_t value = 0;   ///< of a number, as its bits
    std::string_view bytes;    ///< of bytes
    std::uint64_t offset = 0;  ///< of `bytes` in the file
  };

  /// A message that begins at byte `offset` of a file.
  explicit WireReader(std::string_view message, std::uint64_t offset = 0) noexcept
      : message_(message), offset_(offset) {}

  /// The next field, or nothing at the end. Errors: bad_tokenizer with the byte offset; its file is not named.
  [[nodiscard]] Result<std::optional<Field>> next();

 private:
  [[nodiscard]] Result<std::uint64_t> varint();
  [[nodiscard]] Result<std::string_view> take(std::uint64_t count);
  [[nodiscard]] tl::unexpected<Error> error(std::string message) const;

  std::string_view message_;
  std::uint64_t offset_;
  std::size_t done_ = 0;
};

}  // namespace kvant::text
