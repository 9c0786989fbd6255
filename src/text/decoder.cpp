// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

#include <utility>

#include "metaspace.hpp"

namespace kvant::text {

Result<Decoder> Decoder::from_json(const std::optional<JsonNode>& node) {
  Decoder decoder;
  if (!node)
    decoder.steps_.emplace_back(JoinStep{});
  else if (auto ok = decoder.add(*node); !ok)
    return propagate(ok);
  return decoder;
}

Status Decoder::add(const JsonNode& node) {
  const auto type = node.text("type");
  if (!type) return propagate(type);
  if (*type == "Replace") return add_replace(node);
  if (*type == "Strip") return add_strip(node);
  if (*type == "Metaspace") return add_metaspace(node);
  if (*type == "WordPiece") return add_word_piece(node);
  if (*type == "ByteLevel") {
    steps_.emplace_back(ByteLevelStep{});
    return node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});  // these concern encoding
  }
  if (*type == "ByteFallback") {
    steps_.emplace_back(ByteFallbackStep{});
    return node.only({"type"});
  }
  if (*type == "Fuse") {
    steps_.emplace_back(FuseStep{});
    return node.only({"type"});
  }
  if (*type != "Sequence")
    return node.unsupported(
        *type,
        "kvant has the decoders ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, WordPiece and Sequence");
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
  steps_.emplace_back(ReplaceStep(*std::move(text), *std::move(content)));
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
  steps_.emplace_back(StripStep(*std::move(content), *start, *stop));
  return {};
}

Status Decoder::add_metaspace(const JsonNode& node) {
  auto settings = Metaspace::from_json(node);
  if (!settings) return propagate(settings);
  steps_.emplace_back(SpacesStep(std::move(settings->replacement), settings->prepend != Metaspace::Prepend::never));
  return {};
}

Status Decoder::add_word_piece(const JsonNode& node) {
  if (auto ok = node.only({"type", "prefix", "cleanup"}); !ok) return ok;
  auto prefix = node.text("prefix");
  if (!prefix) return propagate(prefix);
  const auto cleanup = node.flag("cleanup");
  if (!cleanup) return propagate(cleanup);
  steps_.emplace_back(WordPieceStep(*std::move(prefix), *cleanup));
  return {};
}

std::string Decoder::run(Pieces tokens, bool last) {
  for (auto& step : steps_) tokens = std::visit([&](auto& s) { return s.run(std::move(tokens), last); }, step);
  std::string text;
  for (const Piece& piece : tokens) text.append(piece.text);
  return text;
}

}  // namespace kvant::text
