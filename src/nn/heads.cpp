// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/heads.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "core/guard.hpp"
#include "kvant/nn/families.hpp"

namespace kvant::nn {
namespace {

constexpr std::string_view kTied = "tie_word_embeddings";
constexpr std::string_view kHead = "lm_head.weight";
constexpr std::array<std::string_view, 6> kEmbeddings{"embed_tokens.weight", "wte.weight",    "word_embeddings.weight",
                                                      "embed_in.weight",     "shared.weight", "tok_embeddings.weight"};

/// What a config.json says, for itself or for its language model; nothing where it does not.
std::optional<bool> is_tied(const io::Json& config) {
  if (const io::Json* own = config.find(kTied); own != nullptr && own->as_bool()) return own->as_bool();
  const io::Json* text = config.find("text_config");
  const io::Json* inner = text != nullptr ? text->find(kTied) : nullptr;
  return inner != nullptr ? inner->as_bool() : std::nullopt;
}

bool is_embedding(const io::WeightInfo& w) {
  return std::ranges::any_of(kEmbeddings, [&](std::string_view name) { return w.name.ends_with(name); });
}

/// Whether it is a whole model's: a bare one without a head has names without `base`.
bool has_embedding(const io::Weights& weights, std::string_view base) {
  return std::ranges::any_of(weights.list(),
                             [&](const io::WeightInfo& w) { return w.name.starts_with(base) && is_embedding(w); });
}

/// The embedding of a head's shape.
const io::WeightInfo* find_embedding(const io::Weights& weights, const io::WeightInfo& head) {
  for (const io::WeightInfo& w : weights.list())
    if (w.shape == head.shape && is_embedding(w)) return &w;
  return nullptr;
}

Result<bool> same_bytes(const io::Weights& weights, const io::WeightInfo& a, const io::WeightInfo& b) {
  constexpr std::uint64_t kChunk = std::uint64_t{4} << 20;
  std::vector<std::byte> x(static_cast<std::size_t>(std::min(kChunk, a.stored_bytes)));
  std::vector<std::byte> y(x.size());
  for (std::uint64_t at = 0; at < a.stored_bytes; at += x.size()) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(x.size(), a.stored_bytes - at));
    if (const Status read = weights.read_bytes(a, at, std::span(x).first(count)); !read) return propagate(read);
    if (const Status read = weights.read_bytes(b, at, std::span(y).first(count)); !read) return propagate(read);
    if (!std::equal(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(count), y.begin())) return false;
  }
  return true;
}

Result<bool> same_values(const io::Weights& weights, const io::WeightInfo& a, const io::WeightInfo& b) {
  if (!a.scheme && !b.scheme && a.dtype == b.dtype) return same_bytes(weights, a, b);
  const auto x = weights.read_float(a);
  if (!x) return propagate(x);
  const auto y = weights.read_float(b);
  if (!y) return propagate(y);
  return std::equal(x->data(), x->data() + x->size(), y->data());
}

Result<std::optional<std::string>> find_head(const io::Weights& weights) {
  const auto& config = weights.config();
  if (!config) return std::optional<std::string>{};
  const std::string file = weights.path_text();
  const auto known = read_model_config(*config);
  const bool tied = known ? known->tied : is_tied(*config).value_or(false);
  const Family* family = find_family(*config);
  const std::string own = family != nullptr ? std::string(family->head) + ".weight" : std::string(kHead);
  const auto head = std::find_if(weights.list().begin(), weights.list().end(), [&](const io::WeightInfo& w) {
    return w.name == kHead || w.name == own || w.name.ends_with("." + std::string(kHead));
  });
  if (head == weights.list().end()) {
    if (family != nullptr && !family->head.empty() && !tied && has_embedding(weights, family->base))
      return fail(
          ErrorCode::missing_tensor,
          "is not in the checkpoint, and config.json does not tie it to the embedding (\"" + std::string(kTied) + "\")",
          {file, own, {}});
    return std::optional<std::string>{};
  }
  if (!tied) return std::optional<std::string>{};
  const io::WeightInfo* embedding = find_embedding(weights, *head);
  if (embedding == nullptr) return std::optional<std::string>{};
  const auto same = same_values(weights, *head, *embedding);
  if (!same) return propagate(same);
  if (*same) return std::optional<std::string>(head->name);
  return fail(ErrorCode::bad_config,
              "differs from " + embedding->name + ", but config.json ties the two (\"" + std::string(kTied) +
                  "\"): no loader would read it",
              {file, head->name, {}});
}

}  // namespace

Result<std::optional<std::string>> find_tied_head(const io::Weights& weights) {
  return guarded([&] { return find_head(weights); });
}

}  // namespace kvant::nn
