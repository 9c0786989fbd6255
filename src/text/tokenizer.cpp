// SPDX-License-Identifier: Apache-2.0
#include "kvant/text/tokenizer.hpp"
#include "core/guard.hpp"

#include <algorithm>
#include <utility>

#include "added_tokens.hpp"
#include "decoder.hpp"
#include "json_node.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/utf8.hpp"
#include "model.hpp"
#include "normalizer.hpp"
#include "post_processor.hpp"
#include "pre_tokenizer.hpp"
#include "sentencepiece.hpp"
#include "side_file.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

/// Room for the largest vocabularies in use (262144 tokens, 600000 merges as pairs).
constexpr io::JsonLimits kTokenizerLimits{std::size_t{128} << 20, std::size_t{1} << 22, 16};
constexpr io::JsonLimits kConfigLimits{std::size_t{4} << 20, std::size_t{1} << 16, 16};

}  // namespace

struct Tokenizer::Impl {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Model model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  std::optional<std::int32_t> bos;
  std::optional<std::int32_t> eos;

  explicit Impl(Model m) : model(std::move(m)) {}

  static Result<std::shared_ptr<Impl>> from_json(std::string_view text, const Where& where);
  static Result<std::shared_ptr<Impl>> from_sentencepiece(std::string_view bytes, const Where& where);
  Status configure(const JsonNode& config);
  Result<std::optional<std::int32_t>> named_token(const JsonNode& config, std::string_view key) const;

  std::optional<std::int32_t> id_of(std::string_view token) const noexcept;
  std::optional<std::string_view> token_of(std::int32_t id) const noexcept;
  std::optional<std::string_view> decoded_token(std::int32_t id, bool skip_special) const noexcept;

  Status encode(std::string_view text, std::vector<std::int32_t>& ids) const;
  Status encode_normalized(const Passage& passage, Model::Encoder& encoder, std::vector<std::int32_t>& ids) const;
};

Result<std::shared_ptr<Tokenizer::Impl>> Tokenizer::Impl::from_json(std::string_view text, const Where& where) {
  const auto json = io::parse_json(text, kTokenizerLimits, where);
  if (!json) return propagate(json);
  const JsonNode root(*json, where);
  if (auto ok = root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                           "post_processor", "decoder", "model"});
      !ok)
    return propagate(ok);
  if (const auto version = root.find("version")) {
    const auto value = version->text();
    if (!value) return propagate(value);
    if (*value != "1.0") return version->unsupported(*value, "kvant reads version 1.0");
  }
  // Settings for batches, which transformers too applies only where a call asks for them.
  for (const std::string_view key : {"truncation", "padding"})
    if (const auto node = root.find(key))
      if (auto ok = node->object(); !ok) return propagate(ok);

  auto model = root.at("model").and_then(Model::from_json);
  if (!model) return propagate(model);
  auto impl = std::make_shared<Impl>(*std::move(model));
  auto normalizer = Normalizer::from_json(root.find("normalizer"));
  if (!normalizer) return propagate(normalizer);
  impl->normalizer = *std::move(normalizer);
  auto added = AddedTokens::from_json(root.find("added_tokens"), impl->model.vocabulary(), impl->normalizer);
  if (!added) return propagate(added);
  impl->added = *std::move(added);
  auto pre_tokenizer = PreTokenizer::from_json(root.find("pre_tokenizer"));
  if (!pre_tokenizer) return propagate(pre_tokenizer);
  impl->pre_tokenizer = *std::move(pre_tokenizer);
  auto post_processor = PostProcessor::from_json(root.find("post_processor"),
                                                 [&](std::int32_t id) { return impl->token_of(id).has_value(); });
  if (!post_processor) return propagate(post_processor);
  impl->post_processor = *std::move(post_processor);
  auto decoder = Decoder::from_json(root.find("decoder"));
  if (!decoder) return propagate(decoder);
  impl->decoder = *std::move(decoder);

  if (impl->post_processor.prefix.size() == 1) impl->bos = impl->post_processor.prefix.front();
  if (impl->post_processor.suffix.size() == 1) impl->eos = impl->post_processor.suffix.front();
  return impl;
}

Result<std::shared_ptr<Tokenizer::Impl>> Tokenizer::Impl::from_sentencepiece(std::string_view bytes,
                                                                             const Where& where) {
  auto parts = read_sentencepiece(bytes);
  if (!parts) {
    Error error = parts.error();
    error.where.file = where.file;
    return tl::unexpected<Error>(std::move(error));
  }
  auto impl = std::make_shared<Impl>(std::move(parts->model));
  impl->normalizer = std::move(parts->normalizer);
  impl->added = std::move(parts->added);
  impl->decoder = std::move(parts->decoder);
  impl->bos = parts->bos;
  impl->eos = parts->eos;
  return impl;
}

/// Takes over what tokenizer_config.json says about the begin and the end of a text.
Status Tokenizer::Impl::configure(const JsonNode& config) {
  if (auto ok = config.object(); !ok) return ok;
  const auto apply = [&](std::string_view key, std::string_view add_key, std::optional<std::int32_t>& id,
                         std::vector<std::int32_t>& affix) -> Status {
    const auto named = named_token(config, key);
    if (!named) return propagate(named);
    if (*named) id = *named;
    const auto node = config.find(add_key);
    if (!node) return {};
    const auto add = node->flag();
    if (!add) return propagate(add);
    affix.clear();
    if (!*add) return {};
    if (!id || (config.find(key) && !*named))
      return node->error(ErrorCode::bad_tokenizer, "is true, but \"" + std::string(key) + "\" names no token");
    affix.push_back(*id);
    return {};
  };
  if (auto ok = apply("bos_token", "add_bos_token", bos, post_processor.prefix); !ok) return ok;
  return apply("eos_token", "add_eos_token", eos, post_processor.suffix);
}

/// The id of the token that a key names, as a string or as {"content": "..."}.
Result<std::optional<std::int32_t>> Tokenizer::Impl::named_token(const JsonNode& config, std::string_view key) const {
  const auto node = config.find(key);
  if (!node) return std::nullopt;
  const auto content = node->json().is_object() ? node->text("content") : node->text();
  if (!content) return propagate(content);
  return id_of(*content);
}

std::optional<std::int32_t> Tokenizer::Impl::id_of(std::string_view token) const noexcept {
  if (const AddedToken* found = added.find(token)) return found->id;
  const Vocabulary& vocabulary = model.vocabulary();
  if (const auto place = vocabulary.place(token)) return vocabulary.id(*place);
  return std::nullopt;
}

std::optional<std::string_view> Tokenizer::Impl::token_of(std::int32_t id) const noexcept {
  if (const AddedToken* found = added.find(id)) return found->content;
  const Vocabulary& vocabulary = model.vocabulary();
  if (const auto place = vocabulary.place(id)) return vocabulary.token(*place);
  return std::nullopt;
}

/// What the decoder is given for an id.
std::optional<std::string_view> Tokenizer::Impl::decoded_token(std::int32_t id, bool skip_special) const noexcept {
  const AddedToken* found = added.find(id);
  if (found == nullptr) {
    const auto token = token_of(id);
    if (token) found = added.find(*token);  // a token given twice in the vocabulary
    if (found == nullptr || !found->special) return token;
  }
  if (found->special && skip_special) return std::nullopt;
  return found->pattern;
}

Status Tokenizer::Impl::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  Model::Encoder encoder(model);
  const auto segments = added.split(text, false);
  if (!segments) return propagate(segments);
  for (const auto& [range, id] : *segments) {
    if (id) {
      ids.push_back(*id);
      continue;
    }
    const std::size_t head = range.begin == 0 ? char_length(text[0]) : 0;
    const auto normalized = normalizer.apply({std::string(text.substr(range.begin, range.end - range.begin)), head});
    if (!normalized) return propagate(normalized);
    if (auto ok = encode_normalized(*normalized, encoder, ids); !ok) return ok;
  }
  return {};
}

Status Tokenizer::Impl::encode_normalized(const Passage& passage, Model::Encoder& encoder,
                                          std::vector<std::int32_t>& ids) const {
  const auto& [text, head] = passage;
  const auto segments = added.split(text, true);
  if (!segments) return propagate(segments);
  for (const auto& [range, id] : *segments) {
    if (id) {
      ids.push_back(*id);
      continue;
    }
    const auto [begin, end] = range;
    const auto words = pre_tokenizer.apply({text.substr(begin, end - begin), std::clamp(head, begin, end) - begin});
    if (!words) return propagate(words);
    const std::string_view made = words->passage.text;
    for (const Range& word : words->ranges)
      if (auto ok = encoder.append(made.substr(word.begin, word.end - word.begin), ids); !ok) return ok;
  }
  return {};
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

Result<Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json, Where where) {
  return guarded([&]() -> Result<Tokenizer> {
    auto impl = Impl::from_json(tokenizer_json, where);
    if (!impl) return propagate(impl);
    return Tokenizer(*std::move(impl));
  });
}

Result<Tokenizer> Tokenizer::from_sentencepiece(std::string_view tokenizer_model, Where where) {
  return guarded([&]() -> Result<Tokenizer> {
    auto impl = Impl::from_sentencepiece(tokenizer_model, where);
    if (!impl) return propagate(impl);
    return Tokenizer(*std::move(impl));
  });
}

std::optional<std::filesystem::path> Tokenizer::file_in(const std::filesystem::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    std::error_code ignored;  // what is wrong with the path, opening it will tell
    if (std::filesystem::symlink_status(folder / name, ignored).type() != std::filesystem::file_type::not_found)
      return folder / name;
  }
  return std::nullopt;
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& folder_or_file) {
  return guarded([&]() -> Result<Tokenizer> {
    std::error_code ignored;  // what is wrong with the path, opening it will tell
    const bool folder = std::filesystem::is_directory(folder_or_file, ignored);
    const auto path = folder ? file_in(folder_or_file).value_or(folder_or_file / "tokenizer.json") : folder_or_file;
    const auto bytes = io::read_text_file(path, kTokenizerLimits.max_bytes);
    if (!bytes) return propagate(bytes);
    auto impl = path.extension() == ".model" ? Impl::from_sentencepiece(*bytes, io::where_of(path))
                                             : Impl::from_json(*bytes, io::where_of(path));
    if (!impl) return propagate(impl);
    const auto config_path = path.parent_path() / "tokenizer_config.json";
    const auto config = read_side_file(config_path, kConfigLimits);
    if (!config) return propagate(config);
    if (*config) {
      const Where where = io::where_of(config_path);
      if (auto ok = (*impl)->configure(JsonNode(**config, where)); !ok) return propagate(ok);
    }
    return Tokenizer(*std::move(impl));
  });
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view utf8, EncodeOptions options) const {
  if (utf8.size() > kMaxTextBytes)
    return fail(ErrorCode::limit, "a text of " + std::to_string(utf8.size()) + " bytes; at most " +
                                      std::to_string(kMaxTextBytes) + " are encoded at once");
  if (const auto bad = io::find_invalid_utf8(utf8))
    return fail(ErrorCode::bad_utf8, "the text is not valid UTF-8", Where{{}, {}, *bad});
  return guarded([&]() -> Result<std::vector<std::int32_t>> {
    const auto& [prefix, suffix] = impl_->post_processor;
    std::vector<std::int32_t> ids;
    if (options.add_special_tokens) ids = prefix;
    if (auto ok = impl_->encode(utf8, ids); !ok) return propagate(ok);
    if (options.add_special_tokens) ids.insert(ids.end(), suffix.begin(), suffix.end());
    return ids;
  });
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  Pieces tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids)
    if (const auto token = impl_->decoded_token(id, skip_special)) tokens.push_back({std::string(*token)});
  return Decoder(impl_->decoder).run(std::move(tokens), true);
}

struct DecodeStream::Impl {
  std::shared_ptr<const Tokenizer::Impl> tokenizer;
  bool skip_special;
  Decoder decoder = tokenizer->decoder;
};

DecodeStream::DecodeStream(const Tokenizer& tokenizer, bool skip_special)
    : impl_(new Impl{tokenizer.impl_, skip_special}) {}

DecodeStream::DecodeStream(DecodeStream&&) noexcept = default;
DecodeStream& DecodeStream::operator=(DecodeStream&&) noexcept = default;
DecodeStream::~DecodeStream() = default;

std::string DecodeStream::push(std::int32_t id) {
  const auto token = impl_->tokenizer->decoded_token(id, impl_->skip_special);
  if (!token) return "";
  return impl_->decoder.run({{std::string(*token)}}, false);
}

std::string DecodeStream::finish() {
  std::string rest = impl_->decoder.run({}, true);
  impl_->decoder = impl_->tokenizer->decoder;
  return rest;
}

std::size_t Tokenizer::vocabulary_size() const noexcept {
  const Vocabulary& vocabulary = impl_->model.vocabulary();
  const auto last = static_cast<Place>(vocabulary.size() - 1);
  return std::max(static_cast<std::size_t>(vocabulary.id(last)) + 1, impl_->added.id_end());
}

std::optional<std::int32_t> Tokenizer::bos_id() const noexcept { return impl_->bos; }
std::optional<std::int32_t> Tokenizer::eos_id() const noexcept { return impl_->eos; }

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const noexcept {
  return impl_->id_of(token);
}

std::optional<std::string_view> Tokenizer::id_to_token(std::int32_t id) const noexcept { return impl_->token_of(id); }

}  // namespace kvant::text
