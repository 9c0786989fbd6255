// SPDX-License-Identifier: Apache-2.0
#include "post_processor.hpp"

#include <string>
#include <utility>

#include "kvant/io/utf8.hpp"

namespace kvant::text {

namespace {

using Known = std::function<bool(std::int32_t)>;

Result<std::int32_t> known_id(const JsonNode& node, const Known& known) {
  auto id = node.id();
  if (id && !known(*id)) return node.error(ErrorCode::bad_tokenizer, "no token has the id " + std::to_string(*id));
  return id;
}

/// The ids that special_tokens gives for the token of one piece.
Result<std::vector<std::int32_t>> piece_ids(const JsonNode& piece, const JsonNode& special_tokens, const Known& known) {
  const auto name = piece.text("id");
  if (!name) return propagate(name);
  const auto list = special_tokens.at(*name).and_then([](const JsonNode& node) { return node.array("ids"); });
  if (!list) return propagate(list);
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < list->json().items().size(); ++i) {
    const auto id = known_id(list->item(i), known);
    if (!id) return propagate(id);
    ids.push_back(*id);
  }
  return ids;
}

/// What a template puts around a text. The template for pairs of texts is never used.
Result<PostProcessor> read_template(const JsonNode& node, const Known& known) {
  if (auto ok = node.only({"type", "single", "pair", "special_tokens"}); !ok) return propagate(ok);
  const auto pieces = node.array("single");
  if (!pieces) return propagate(pieces);
  const auto special_tokens = node.at("special_tokens");
  if (!special_tokens) return propagate(special_tokens);
  PostProcessor result;
  int texts = 0;
  for (std::size_t i = 0; i < pieces->json().items().size(); ++i) {
    const JsonNode piece = pieces->item(i);
    if (auto ok = piece.only({"SpecialToken", "Sequence"}); !ok) return propagate(ok);
    if (const auto special = piece.find("SpecialToken")) {
      const auto ids = piece_ids(*special, *special_tokens, known);
      if (!ids) return propagate(ids);
      auto& side = texts == 0 ? result.prefix : result.suffix;
      side.insert(side.end(), ids->begin(), ids->end());
    } else {
      const auto id = piece.at("Sequence").and_then([](const JsonNode& text) { return text.text("id"); });
      if (!id) return propagate(id);
      if (*id != "A") return piece.unsupported(*id, "the template for one text holds the sequence A");
      ++texts;
    }
  }
  if (texts != 1) return pieces->error(ErrorCode::unsupported, "a template that does not hold the text exactly once");
  return result;
}

/// What BERT and RoBERTa put around a text: "cls" and "sep", each a token and its id.
Result<PostProcessor> read_bert(const JsonNode& node, const Known& known) {
  // The last two concern positions in the text, which are not computed here.
  if (auto ok = node.only({"type", "cls", "sep", "trim_offsets", "add_prefix_space"}); !ok) return propagate(ok);
  PostProcessor result;
  for (const auto& [key, side] : {std::pair("cls", &result.prefix), std::pair("sep", &result.suffix)}) {
    const auto pair = node.array(key);
    if (!pair) return propagate(pair);
    if (pair->json().items().size() != 2) return pair->error(ErrorCode::bad_tokenizer, "expected [\"token\", id]");
    const auto id = known_id(pair->item(1), known);
    if (!id) return propagate(id);
    side->push_back(*id);
  }
  return result;
}

Status add(const JsonNode& node, const Known& known, std::optional<PostProcessor>& result) {
  const auto type = node.text("type");
  if (!type) return propagate(type);
  const bool is_template = *type == "TemplateProcessing";
  if (is_template || *type == "BertProcessing" || *type == "RobertaProcessing") {
    if (result)
      return node.error(ErrorCode::unsupported, "a second one that adds tokens; one post-processor holds at most one");
    auto one = is_template ? read_template(node, known) : read_bert(node, known);
    if (!one) return propagate(one);
    result = *std::move(one);
    return {};
  }
  // ByteLevel moves the positions of tokens in the text, which are not computed here.
  if (*type == "ByteLevel") return node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  if (*type != "Sequence")
    return node.unsupported(*type,
                            "kvant has the post-processors TemplateProcessing, BertProcessing, RobertaProcessing, "
                            "ByteLevel and Sequence");
  if (auto ok = node.only({"type", "processors"}); !ok) return ok;
  const auto list = node.array("processors");
  if (!list) return propagate(list);
  for (std::size_t i = 0; i < list->json().items().size(); ++i)
    if (auto ok = add(list->item(i), known, result); !ok) return ok;
  return {};
}

}  // namespace

Result<PostProcessor> PostProcessor::from_json(const std::optional<JsonNode>& node, const Known& known) {
  std::optional<PostProcessor> result;
  if (node)
    if (auto ok = add(*node, known, result); !ok) return propagate(ok);
  return result.value_or(PostProcessor{});
}

}  // namespace kvant::text
