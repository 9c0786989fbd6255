// SPDX-License-Identifier: Apache-2.0
// A place in tokenizer.json: its value and its path, so that each complaint says where it applies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"

namespace kvant::text {

class JsonNode {
 public:
  /// `json` and `where` outlive the node.
  JsonNode(const io::Json& json, const Where& where, std::string path = {})
      : json_(&json), where_(&where), path_(std::move(path)) {}

  [[nodiscard]] const io::Json& json() const noexcept { return *json_; }
  [[nodiscard]] const Where& where() const noexcept { return *where_; }

  /// An error about this place: `PATH: WHAT`.
  [[nodiscard]] tl::unexpected<Error> error(ErrorCode code, std::string_view what) const;
  /// `unsupported`, for a value (a type, a key, a setting) by name; `hint` says what would do.
  [[nodiscard]] tl::unexpected<Error> unsupported(std::string_view name, std::string_view hint) const;

  /// The member `key`; absent and null are the same.
  [[nodiscard]] std::optional<JsonNode> find(std::string_view key) const;
  [[nodiscard]] Result<JsonNode> at(std::string_view key) const;
  [[nodiscard]] JsonNode item(std::size_t i) const;

  /// Refuses keys beyond `known`, since what they ask for would be ignored.
  [[nodiscard]] Status only(std::initializer_list<std::string_view> known) const;

  [[nodiscard]] Result<std::string> text() const;
  [[nodiscard]] Result<bool> flag() const;
  [[nodiscard]] Result<std::uint64_t> count() const;
  [[nodiscard]] Result<std::int32_t> id() const;
  [[nodiscard]] Status array() const;
  [[nodiscard]] Status object() const;

  [[nodiscard]] Result<std::string> text(std::string_view key) const;
  /// A string of one character.
  [[nodiscard]] Result<std::string> character(std::string_view key) const;
  [[nodiscard]] Result<bool> flag(std::string_view key) const;
  [[nodiscard]] Result<bool> flag(std::string_view key, bool otherwise) const;
  [[nodiscard]] Result<JsonNode> array(std::string_view key) const;

 private:
  const io::Json* json_;
  const Where* where_;
  std::string path_;
};

}  // namespace kvant::text
