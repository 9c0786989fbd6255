// SPDX-License-Identifier: Apache-2.0
#include "json_node.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "kvant/io/utf8.hpp"
#include "utf8.hpp"

namespace kvant::text {

tl::unexpected<Error> JsonNode::error(ErrorCode code, std::string_view what) const {
  std::string message = path_.empty() ? "" : path_ + ": ";
  return fail(code, message.append(what), *where_);
}

tl::unexpected<Error> JsonNode::unsupported(std::string_view name, std::string_view hint) const {
  return error(ErrorCode::unsupported, "\"" + io::printable(name, 80) + "\" is not supported; " + std::string(hint));
}

std::optional<JsonNode> JsonNode::find(std::string_view key) const {
  const io::Json* value = json_->find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return JsonNode(*value, *where_, path_.empty() ? std::string(key) : path_ + "." + std::string(key));
}

Result<JsonNode> JsonNode::at(std::string_view key) const {
  if (auto node = find(key)) return *std::move(node);
  return error(ErrorCode::bad_tokenizer, "\"" + std::string(key) + "\" is missing");
}

JsonNode JsonNode::item(std::size_t i) const {
  return JsonNode(json_->items()[i], *where_, path_ + "[" + std::to_string(i) + "]");
}

Status JsonNode::only(std::initializer_list<std::string_view> known) const {
  if (auto ok = object(); !ok) return ok;
  for (const auto& [key, value] : json_->members())
    if (std::find(known.begin(), known.end(), key) == known.end())
      return unsupported(key, "no key of that name is known here");
  return {};
}

Result<std::string> JsonNode::text() const {
  if (const std::string* value = json_->as_string()) return *value;
  return error(ErrorCode::bad_tokenizer, "expected a string");
}

Result<bool> JsonNode::flag() const {
  if (const auto value = json_->as_bool()) return *value;
  return error(ErrorCode::bad_tokenizer, "expected true or false");
}

Result<std::uint64_t> JsonNode::count() const {
  if (const auto value = json_->as_uint64()) return *value;
  return error(ErrorCode::bad_tokenizer, "expected a non-negative integer");
}

Result<std::int32_t> JsonNode::id() const {
  const auto value = json_->as_int64();
  if (value && *value >= 0 && *value <= std::numeric_limits<std::int32_t>::max())
    return static_cast<std::int32_t>(*value);
  return error(ErrorCode::bad_tokenizer, "a token id is an integer from 0 to 2147483647");
}

Status JsonNode::array() const {
  if (json_->is_array()) return {};
  return error(ErrorCode::bad_tokenizer, "expected an array");
}

Status JsonNode::object() const {
  if (json_->is_object()) return {};
  return error(ErrorCode::bad_tokenizer, "expected an object");
}

Result<std::string> JsonNode::text(std::string_view key) const {
  return at(key).and_then([](const JsonNode& node) { return node.text(); });
}

Result<std::string> JsonNode::character(std::string_view key) const {
  auto value = text(key);
  if (value && (value->empty() || value->size() != char_length(value->front())))
    return error(ErrorCode::bad_tokenizer, "\"" + std::string(key) + "\" is one character");
  return value;
}

Result<bool> JsonNode::flag(std::string_view key) const {
  return at(key).and_then([](const JsonNode& node) { return node.flag(); });
}

Result<bool> JsonNode::flag(std::string_view key, bool otherwise) const {
  const auto node = find(key);
  return node ? node->flag() : Result<bool>(otherwise);
}

Result<JsonNode> JsonNode::array(std::string_view key) const {
  auto node = at(key);
  if (!node) return node;
  if (auto ok = node->array(); !ok) return propagate(ok);
  return node;
}

}  // namespace kvant::text
