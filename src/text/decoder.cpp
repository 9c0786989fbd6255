// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "byte_level.hpp"
#include "kvant/io/utf8.hpp"
#include "metaspace.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

std::string join(const std::vector<std::string>& tokens, std::string_view separator) {
  std::string text;
  for (const std::string& token : tokens) {
    if (&token != &tokens.front()) text.append(separator);
    text.append(token);
  }
  return text;
}

void replace_all(std::string& text, std::string_view pattern, std::string_view content) {
  for (std::size_t at = 0; (at = text.find(pattern, at)) != std::string::npos; at += content.size())
    text.replace(at, pattern.size(), content);
}

/// The byte that `<0x41>` names. What looks similar (<0x-1>, <0xZZ>) is an ordinary token.
std::optional<char> named_byte(std::string_view token) noexcept {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  unsigned char byte = 0;
  const char* digits = token.data() + 3;
  const auto [end, failure] = std::from_chars(digits, digits + 2, byte, 16);
  if (failure != std::errc{} || end != digits + 2) return std::nullopt;
  return static_cast<char>(byte);
}

/// The bytes that a token of byte-alphabet characters stands for, or nothing.
std::optional<std::string> alphabet_bytes(std::string_view token) {
  std::string bytes;
  for (std::size_t pos = 0; pos < token.size(); pos += char_length(token[pos])) {
    const char32_t code = char_at(token, pos);
    if (code >= kAlphabetByte.size() || kAlphabetByte[code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabetByte[code]));
  }
  return bytes;
}

}  // namespace

Result<Decoder> Decoder::from_json(const std::optional<JsonNode>& node) {
  Decoder decoder;
  if (!node) return decoder;
  decoder.present_ = true;
  if (auto ok = decoder.add(*node); !ok) return propagate(ok);
  return decoder;
}

Status Decoder::add(const JsonNode& node) {
  const auto type = node.text("type");
  if (!type) return propagate(type);
  if (*type == "Replace") return add_replace(node);
  if (*type == "Strip") return add_strip(node);
  if (*type == "Metaspace") return add_metaspace(node);
  if (*type == "ByteLevel") {
    steps_.emplace_back(ByteLevel{});
    return node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});  // these concern encoding
  }
  if (*type == "ByteFallback") {
    steps_.emplace_back(ByteFallback{});
    return node.only({"type"});
  }
  if (*type == "Fuse") {
    steps_.emplace_back(Fuse{});
    return node.only({"type"});
  }
  if (*type != "Sequence")
    return node.unsupported(
        *type, "kvant has the decoders ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and Sequence");
  if (auto ok = node.only({"type", "decoders"}); !ok) return ok;
  const auto list = node.array("decoders");
  if (!list) return propagate(list);
  for (std::size_t i = 0; i < list->json().items().size(); ++i)
    if (auto ok = add(list->item(i)); !ok) return ok;
  return {};
}

Status Decoder::add_replace(const JsonNode& node) {
  if (auto ok = node.only({"type", "pattern", "content"}); !ok) return ok;
  const auto pattern = node.at("pattern");
  if (!pattern) return propagate(pattern);
  if (pattern->find("Regex")) return pattern->unsupported("Regex", "a decoder replaces fixed strings");
  if (auto ok = pattern->only({"String"}); !ok) return ok;
  auto text = pattern->text("String");
  if (!text) return propagate(text);
  if (text->empty()) return pattern->unsupported("", "an empty pattern matches between all characters");
  auto content = node.text("content");
  if (!content) return propagate(content);
  steps_.emplace_back(Replace{*std::move(text), *std::move(content)});
  return {};
}

Status Decoder::add_strip(const JsonNode& node) {
  if (auto ok = node.only({"type", "content", "start", "stop"}); !ok) return ok;
  auto content = node.character("content");
  if (!content) return propagate(content);
  const auto count = [](const JsonNode& n) { return n.count(); };
  const auto start = node.at("start").and_then(count);
  if (!start) return propagate(start);
  const auto stop = node.at("stop").and_then(count);
  if (!stop) return propagate(stop);
  steps_.emplace_back(Strip{*std::move(content), *start, *stop});
  return {};
}

Status Decoder::add_metaspace(const JsonNode& node) {
  auto settings = Metaspace::from_json(node);
  if (!settings) return propagate(settings);
  steps_.emplace_back(Spaces{std::move(settings->replacement), settings->prepend != Metaspace::Prepend::never});
  return {};
}

std::string Decoder::apply(std::vector<std::string> tokens) const {
  if (!present_) return join(tokens, " ");
  for (const auto& step : steps_) tokens = std::visit([&](const auto& s) { return apply(s, std::move(tokens)); }, step);
  return join(tokens, "");
}

Decoder::Tokens Decoder::apply(ByteLevel, const Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) {
    const auto decoded = alphabet_bytes(token);
    bytes.append(decoded ? *decoded : token);
  }
  return {lossy_utf8(bytes)};
}

Decoder::Tokens Decoder::apply(const Replace& step, Tokens tokens) {
  for (std::string& token : tokens) replace_all(token, step.pattern, step.content);
  return tokens;
}

Decoder::Tokens Decoder::apply(ByteFallback, Tokens tokens) {
  Tokens result;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (!io::find_invalid_utf8(bytes))
      result.push_back(bytes);
    else
      result.insert(result.end(), bytes.size(), std::string(kReplacementCharacter));
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = named_byte(token)) {
      bytes.push_back(*byte);
    } else {
      flush();
      result.push_back(std::move(token));
    }
  }
  flush();
  return result;
}

Decoder::Tokens Decoder::apply(Fuse, const Tokens& tokens) { return {join(tokens, "")}; }

Decoder::Tokens Decoder::apply(const Strip& step, Tokens tokens) {
  for (std::string& token : tokens) {
    std::string_view rest = token;
    for (std::size_t i = 0; i < step.start && rest.starts_with(step.content); ++i)
      rest.remove_prefix(step.content.size());
    for (std::size_t i = 0; i < step.stop && rest.ends_with(step.content); ++i) rest.remove_suffix(step.content.size());
    token = std::string(rest);
  }
  return tokens;
}

Decoder::Tokens Decoder::apply(const Spaces& step, Tokens tokens) {
  for (std::string& token : tokens)
    replace_all(token, step.replacement, step.drop_first && &token == &tokens.front() ? "" : " ");
  return tokens;
}

}  // namespace kvant::text
