// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "core/guard.hpp"
#include "json_sax.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/utf8.hpp"

namespace kvant::io {

Json::Json(const Json&) = default;
Json::Json(Json&&) noexcept = default;
Json& Json::operator=(const Json&) = default;
Json& Json::operator=(Json&&) noexcept = default;
Json::~Json() = default;

Json Json::object() {
  Json j;
  j.value_ = Object{};
  return j;
}

Json Json::array() {
  Json j;
  j.value_ = std::vector<Json>{};
  return j;
}

bool Json::is_null() const noexcept { return std::holds_alternative<std::monostate>(value_); }
bool Json::is_number() const noexcept { return as_double().has_value(); }
bool Json::is_string() const noexcept { return as_string() != nullptr; }
bool Json::is_array() const noexcept { return std::holds_alternative<std::vector<Json>>(value_); }
bool Json::is_object() const noexcept { return std::holds_alternative<Object>(value_); }

std::optional<bool> Json::as_bool() const noexcept {
  if (const bool* b = std::get_if<bool>(&value_)) return *b;
  return std::nullopt;
}

std::optional<std::int64_t> Json::as_int64() const noexcept {
  if (const auto* i = std::get_if<std::int64_t>(&value_)) return *i;
  if (const auto* u = std::get_if<std::uint64_t>(&value_); u != nullptr && *u <= INT64_MAX)
    return static_cast<std::int64_t>(*u);
  return std::nullopt;
}

std::optional<std::uint64_t> Json::as_uint64() const noexcept {
  if (const auto* u = std::get_if<std::uint64_t>(&value_)) return *u;
  if (const auto* i = std::get_if<std::int64_t>(&value_); i != nullptr && *i >= 0)
    return static_cast<std::uint64_t>(*i);
  return std::nullopt;
}

std::optional<double> Json::as_double() const noexcept {
  if (const auto* d = std::get_if<double>(&value_)) return *d;
  if (const auto* i = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*i);
  if (const auto* u = std::get_if<std::uint64_t>(&value_)) return static_cast<double>(*u);
  if (const auto* n = std::get_if<NumberText>(&value_)) return nearest_double(n->text);
  return std::nullopt;
}

const std::string* Json::as_string() const noexcept { return std::get_if<std::string>(&value_); }

const std::string* Json::number_text() const noexcept {
  const auto* n = std::get_if<NumberText>(&value_);
  return n != nullptr ? &n->text : nullptr;
}

std::span<const Json> Json::items() const noexcept {
  if (const auto* a = std::get_if<std::vector<Json>>(&value_)) return *a;
  return {};
}

std::span<const Json::Member> Json::members() const noexcept {
  if (const auto* o = std::get_if<Object>(&value_)) return o->members;
  return {};
}

const Json* Json::find(std::string_view key) const noexcept {
  const auto* o = std::get_if<Object>(&value_);
  if (o == nullptr) return nullptr;
  const auto at = std::lower_bound(o->by_key.begin(), o->by_key.end(), key,
                                   [o](std::uint32_t i, std::string_view k) { return o->members[i].key < k; });
  return at != o->by_key.end() && o->members[*at].key == key ? &o->members[*at].value : nullptr;
}

Json& Json::set(std::string key, Json value) {
  if (is_null()) value_ = Object{};
  auto* o = std::get_if<Object>(&value_);
  expects(o != nullptr, "keys are set on a JSON object");
  const auto at = std::lower_bound(o->by_key.begin(), o->by_key.end(), key,
                                   [o](std::uint32_t i, const std::string& k) { return o->members[i].key < k; });
  if (at != o->by_key.end() && o->members[*at].key == key) {
    o->members[*at].value = std::move(value);
  } else {
    o->by_key.insert(at, static_cast<std::uint32_t>(o->members.size()));
    o->members.push_back({std::move(key), std::move(value)});
  }
  return *this;
}

Json& Json::push_back(Json value) {
  if (is_null()) value_ = std::vector<Json>{};
  auto* a = std::get_if<std::vector<Json>>(&value_);
  expects(a != nullptr, "values are appended to a JSON array");
  a->push_back(std::move(value));
  return *this;
}

/// Builds the tree from events.
class JsonBuilder : public JsonEvents {
 public:
  JsonBuilder(std::string_view text, const JsonLimits& limits, const Where& where)
      : JsonEvents(text, where), limits_(limits) {}

  bool null() { return add(Json()); }
  bool boolean(bool value) { return add(Json(value)); }
  bool number_integer(number_integer_t value) { return add(Json(value)); }
  bool number_unsigned(number_unsigned_t value) { return add(Json(value)); }
  bool number_float(number_float_t, const string_t&) {
    const std::string_view text = number_text();
    const bool is_integer = text.find_first_of(".eE") == std::string_view::npos;  // and beyond 64 bits
    if (const auto value = is_integer ? std::nullopt : nearest_double(text)) return add(Json(*value));
    Json number;
    number.value_ = Json::NumberText{std::string(text)};
    return add(std::move(number));
  }
  bool string(string_t& text) { return has_no_nul(text) && add(Json(std::string_view(text))); }
  bool key(string_t& text) {
    if (!has_no_nul(text)) return false;
    open_.back().keys.push_back({text, string_begin()});
    return true;
  }
  bool start_object(std::size_t) { return open({true, {}, {}}); }
  bool start_array(std::size_t) { return open({false, {}, {}}); }
  bool end_array() {
    Json array;
    array.value_ = std::move(open_.back().values);
    open_.pop_back();
    return place(std::move(array));
  }
  bool end_object();

  [[nodiscard]] Json take() { return std::move(root_); }

 private:
  struct Key {
    std::string text;
    std::size_t position;
  };
  struct Open {
    bool is_object;
    std::vector<Json> values;
    std::vector<Key> keys;
  };

  bool count() {
    if (++items_ <= limits_.max_items) return true;
    return refuse(ErrorCode::limit,
                  "more than the " + std::to_string(limits_.max_items) + " JSON values that are read here",
                  value_begin());
  }
  bool open(Open frame) {
    if (!count()) return false;
    open_.push_back(std::move(frame));
    return true;
  }
  bool add(Json value) { return count() && place(std::move(value)); }
  bool place(Json value) {
    if (open_.empty())
      root_ = std::move(value);
    else
      open_.back().values.push_back(std::move(value));
    return true;
  }

  JsonLimits limits_;
  std::size_t items_ = 0;
  std::vector<Open> open_;
  Json root_;
};

bool JsonBuilder::end_object() {
  Open frame = std::move(open_.back());
  open_.pop_back();
  Json::Object object;
  object.by_key.resize(frame.keys.size());
  std::iota(object.by_key.begin(), object.by_key.end(), 0u);
  std::sort(object.by_key.begin(), object.by_key.end(), [&](std::uint32_t a, std::uint32_t b) {
    return std::pair(std::string_view(frame.keys[a].text), a) < std::pair(std::string_view(frame.keys[b].text), b);
  });
  for (std::size_t i = 1; i < object.by_key.size(); ++i) {
    const Key& key = frame.keys[object.by_key[i]];
    if (frame.keys[object.by_key[i - 1]].text == key.text)
      return refuse(ErrorCode::duplicate_key, "the key \"" + printable(key.text, 100) + "\" stands twice",
                    key.position);
  }
  object.members.reserve(frame.keys.size());
  for (std::size_t i = 0; i < frame.keys.size(); ++i)
    object.members.push_back({std::move(frame.keys[i].text), std::move(frame.values[i])});
  Json json;
  json.value_ = std::move(object);
  return place(std::move(json));
}

Result<Json> parse_json(std::string_view text, const JsonLimits& limits, const Where& where) {
  return guarded([&]() -> Result<Json> {
    if (Status s = check_json_text(text, limits, where); !s) return propagate(s);
    JsonBuilder builder(text, limits, where);
    const std::optional<std::string> masked = mask_unusual_numbers(text);
    if (Status s = parse_events(masked ? *masked : text, builder); !s) return propagate(s);
    return builder.take();
  });
}

Result<Json> read_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
  return guarded([&]() -> Result<Json> {
    const Result<std::string> text = read_text_file(path, limits.max_bytes);
    if (!text) return propagate(text);
    return parse_json(*text, limits, where_of(path));
  });
}

namespace {

void append_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  static constexpr std::string_view kShort = "\b\f\n\r\t\"\\";
  static constexpr std::string_view kLetter = "bfnrt\"\\";
  out += '"';
  while (!text.empty()) {
    const std::size_t good = find_invalid_utf8(text).value_or(text.size());
    for (const char c : text.substr(0, good)) {
      if (const std::size_t k = kShort.find(c); k != std::string_view::npos) {
        out += {'\\', kLetter[k]};
      } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        out += {'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]};
      } else {
        out += c;
      }
    }
    if (good < text.size()) out += "\xef\xbf\xbd";
    text.remove_prefix(std::min(good + 1, text.size()));
  }
  out += '"';
}

template <class T>
void append_number(std::string& out, T value) {
  std::array<char, 32> buffer;
  char* const end = buffer.data() + buffer.size();
  auto result = std::to_chars(buffer.data(), end, value);
  if constexpr (std::floating_point<T>) {
    // Without an exponent the digits of a large double would read as an integer, and beyond 64 bits not at all; those
    // of -0 as an integer that has no sign.
    if (value >= 0x1p53 || value <= -0x1p53 || (value == 0 && std::signbit(value)))
      result = std::to_chars(buffer.data(), end, value, std::chars_format::scientific);
  }
  out.append(buffer.data(), result.ptr);
}

class JsonWriter {
 public:
  explicit JsonWriter(JsonStyle style) : indented_(style == JsonStyle::indented) {}

  void write(const Json& value, std::size_t depth) {
    if (value.is_object())
      write_list('{', '}', value.members(), depth, [&](const Json::Member& m) {
        append_string(out, m.key);
        out += indented_ ? ": " : ":";
        write(m.value, depth + 1);
      });
    else if (value.is_array())
      write_list('[', ']', value.items(), depth, [&](const Json& item) { write(item, depth + 1); });
    else
      write_scalar(value);
  }

  std::string out;

 private:
  template <class T, class WriteOne>
  void write_list(char open, char close, std::span<const T> list, std::size_t depth, WriteOne&& write_one) {
    out += open;
    for (const T& item : list) {
      if (&item != list.data()) out += ',';
      new_line(depth + 1);
      write_one(item);
    }
    if (!list.empty()) new_line(depth);
    out += close;
  }
  void new_line(std::size_t depth) {
    if (indented_) out.append("\n").append(2 * depth, ' ');
  }
  void write_scalar(const Json& value) {
    if (const auto b = value.as_bool()) {
      out += *b ? "true" : "false";
    } else if (const auto u = value.as_uint64()) {
      append_number(out, *u);
    } else if (const auto i = value.as_int64()) {
      append_number(out, *i);
    } else if (const std::string* n = value.number_text()) {
      out += *n;
    } else if (const auto d = value.as_double(); d && *d - *d == 0) {
      append_number(out, *d);
    } else if (const std::string* s = value.as_string()) {
      append_string(out, *s);
    } else {
      out += "null";
    }
  }

  bool indented_;
};

}  // namespace

std::string to_text(const Json& value, JsonStyle style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  if (style == JsonStyle::indented) writer.out += '\n';
  return std::move(writer.out);
}

}  // namespace kvant::io
