// SPDX-License-Identifier: Apache-2.0
// JSON as a small value type, read strictly and within limits, written compactly or indented.
//
//   kvant::Result<Json> config = kvant::io::parse_json(R"({"layers": 5})");
//   config->find("layers")->as_uint64();                                     // 5
//   Json out = Json::object();
//   out.set("schema", "kvant.inspect/1").set("bytes", 4096);
//   std::string text = kvant::io::to_text(out);                              // {"schema":"kvant.inspect/1",...
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/debug_mode.hpp"

namespace kvant::io {

/// A key of an object and its value.
template <class Value>
struct JsonMember {
  std::string key;
  Value value;
};

/// null, boolean, number, string, array, or object. Objects keep the order in which keys were set; a key stands once.
/// Numbers that no type here holds (integers beyond 64 bits, reals beyond a double, and the NaN and Infinity that
/// Python writes) are kept as the text they were read from.
class Json {
 public:
  using Member = JsonMember<Json>;

  Json() noexcept = default;
  Json(std::nullptr_t) noexcept {}
  template <std::integral T>
  Json(T value) noexcept : value_(widest(value)) {}
  Json(double value) noexcept : value_(value) {}
  Json(std::string value) noexcept : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(const char* value) : value_(std::string(value)) {}

  Json(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(const Json&);
  Json& operator=(Json&&) noexcept;
  ~Json();

  [[nodiscard]] static Json object();
  [[nodiscard]] static Json array();

  [[nodiscard]] bool is_null() const noexcept;
  [[nodiscard]] bool is_number() const noexcept;
  [[nodiscard]] bool is_string() const noexcept;
  [[nodiscard]] bool is_array() const noexcept;
  [[nodiscard]] bool is_object() const noexcept;

  [[nodiscard]] std::optional<bool> as_bool() const noexcept;
  /// Integers only (5, not 5.0), and only where they fit.
  [[nodiscard]] std::optional<std::int64_t> as_int64() const noexcept;
  [[nodiscard]] std::optional<std::uint64_t> as_uint64() const noexcept;
  /// Any finite number that a double's range has; integers beyond 2^53 round to nearest.
  [[nodiscard]] std::optional<double> as_double() const noexcept;
  /// The text of a string, else nullptr.
  [[nodiscard]] const std::string* as_string() const noexcept;
  /// The text of a number that is kept as it was read, else nullptr.
  [[nodiscard]] const std::string* number_text() const noexcept;

  /// The elements of an array; empty for everything else.
  [[nodiscard]] std::span<const Json> items() const noexcept;
  /// The members of an object, in order; empty for everything else.
  [[nodiscard]] std::span<const Member> members() const noexcept;
  /// The value under `key`, or nullptr (also where this is no object). O(log members).
  [[nodiscard]] const Json* find(std::string_view key) const noexcept;

  /// Sets or replaces a key; this must be an object (or null, which becomes one).
  Json& set(std::string key, Json value);
  /// Appends; this must be an array (or null, which becomes one).
  Json& push_back(Json value);

 private:
  friend class JsonBuilder;

  template <std::integral T>
  [[nodiscard]] static constexpr auto widest(T value) noexcept {
    if constexpr (std::same_as<T, bool>) {
      return value;
    } else if constexpr (std::signed_integral<T>) {
      return static_cast<std::int64_t>(value);
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }

  struct Object {
    std::vector<Member> members;
    std::vector<std::uint32_t> by_key;  // positions in `members`, sorted by key
  };

  struct NumberText {
    std::string text;
  };

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, NumberText, std::string, std::vector<Json>,
               Object>
      value_;
};

/// Bounds on JSON from files. While it is parsed, a tree costs at most about 250 bytes per item plus twice the text.
struct JsonLimits {
  std::size_t max_bytes = std::size_t{64} << 20;
  std::size_t max_items = std::size_t{1} << 20;  ///< values of any kind
  unsigned max_depth = 8;                        ///< of arrays and objects
};

/// One JSON value with white space around it and nothing else. Stricter than RFC 8259 leaves open: keys are unique,
/// text is UTF-8 without a byte order mark, strings hold no U+0000. Wider than it in one respect: `NaN`, `Infinity` and
/// `-Infinity` are numbers, since Python's json writes them; what no program reads must not decide whether a model
/// opens. Errors carry the byte offset (added to `where.offset`, if set): bad_json, bad_utf8, duplicate_key, limit.
[[nodiscard]] Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {}, const Where& where = {});

/// A whole file through parse_json(). Errors: those of InputFile and parse_json().
[[nodiscard]] Result<Json> read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

enum class JsonStyle : std::uint8_t { compact, indented };

/// JSON text: always valid UTF-8 on output (malformed bytes of strings become U+FFFD), numbers in the shortest form
/// that reads back to the same value, those that are kept as text as that text, a double's NaN and infinities as null.
/// Indented: two spaces, a final newline.
[[nodiscard]] std::string to_text(const Json& value, JsonStyle style = JsonStyle::compact);

}  // namespace kvant::io
