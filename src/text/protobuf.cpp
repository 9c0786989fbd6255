// SPDX-License-Identifier: Apache-2.0
#include "protobuf.hpp"

#include <string>
#include <utility>

namespace kvant::text {

tl::unexpected<Error> WireReader::error(std::string message) const {
  return fail(ErrorCode::bad_tokenizer, std::move(message), Where{{}, {}, offset_ + done_});
}

Result<std::string_view> WireReader::take(std::uint64_t count) {
  if (count > message_.size() - done_)
    return error("a field has " + std::to_string(count) + " bytes, but " + std::to_string(message_.size() - done_) +
                 " are left");
  const std::string_view bytes = message_.substr(done_, static_cast<std::size_t>(count));
  done_ += bytes.size();
  return bytes;
}

Result<std::uint64_t> WireReader::varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = take(1);
    if (!byte) return propagate(byte);
    const auto bits = static_cast<unsigned char>(byte->front());
    value |= static_cast<std::uint64_t>(bits & 0x7FU) << shift;
    if (bits < 0x80) return value;
  }
  return error("a number has more than 10 bytes");
}

Result<std::optional<WireReader::Field>> WireReader::next() {
  if (done_ == message_.size()) return std::nullopt;
  const auto tag = varint();
  if (!tag) return propagate(tag);
  Field field;
  field.number = static_cast<std::uint32_t>(*tag >> 3);
  if (field.number == 0 || *tag >> 32 != 0) return error("a field has no number; this is no protobuf message");
  const auto fixed = [&](std::size_t count) -> Status {
    const auto bytes = take(count);
    if (!bytes) return propagate(bytes);
    for (std::size_t i = count; i-- > 0;) field.value = field.value << 8 | static_cast<unsigned char>((*bytes)[i]);
    return {};
  };
  switch (*tag & 7U) {
    case 0: {
      const auto value = varint();
      if (!value) return propagate(value);
      field.value = *value;
      return field;
    }
    case 1:
      field.kind = Field::Kind::fixed64;
      if (auto ok = fixed(8); !ok) return propagate(ok);
      return field;
    case 2: {
      field.kind = Field::Kind::bytes;
      const auto bytes = varint().and_then([&](std::uint64_t count) { return take(count); });
      if (!bytes) return propagate(bytes);
      field.bytes = *bytes;
      field.offset = offset_ + done_ - bytes->size();
      return field;
    }
    case 5:
      field.kind = Field::Kind::fixed32;
      if (auto ok = fixed(4); !ok) return propagate(ok);
      return field;
    default:
      return error("field " + std::to_string(field.number) + " is of kind " + std::to_string(*tag & 7U) +
                   ", which is none or a group; this is no tokenizer.model");
  }
}

}  // namespace kvant::text
