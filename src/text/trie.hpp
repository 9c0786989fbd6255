// SPDX-License-Identifier: Apache-2.0
// Which of many texts another text begins with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvant::text {

/// No text that is looked for at every place of another is longer: it bounds what each place can cost.
inline constexpr std::size_t kMaxMatchedBytes = 512;

/// Texts by their bytes: the children of a node follow each other, and those of the next node follow them.
class Trie {
 public:
  using Node = std::uint32_t;
  static constexpr Node kRoot = 0;

  struct Entry {
    std::string_view text;
    std::uint32_t value;
  };
  struct Match {
    std::size_t length;
    std::uint32_t value;
  };

  Trie() : Trie(std::vector<Entry>{}) {}
  /// Contract: no text is empty, none stands twice, and no value is UINT32_MAX.
  explicit Trie(std::vector<Entry> entries);

  [[nodiscard]] bool empty() const noexcept { return labels_.size() == 1; }

  /// The node that `text` leads to.
  [[nodiscard]] std::optional<Node> find(std::string_view text) const noexcept;

  /// Calls `visit(length, value)` for each entry below `from` that `text` begins with, the shortest first.
  template <class Visit>
  void prefixes(std::string_view text, Visit visit, Node from = kRoot) const {
    Node node = from;
    for (std::size_t length = 0; length < text.size();) {
      const auto next = child(node, text[length++]);
      if (!next) return;
      node = *next;
      if (values_[node] != kNone) visit(length, values_[node]);
    }
  }
  /// The longest of these entries.
  [[nodiscard]] std::optional<Match> longest(std::string_view text, Node from = kRoot) const noexcept;

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  [[nodiscard]] std::optional<Node> child(Node node, char byte) const noexcept {
    const std::size_t at = std::string_view(labels_).substr(0, first_child_[node + 1]).find(byte, first_child_[node]);
    if (at == std::string_view::npos) return std::nullopt;
    return static_cast<Node>(at);
  }

  std::string labels_;                      // the byte that leads to each node
  std::vector<std::uint32_t> values_;       // of each node, kNone where no entry ends
  std::vector<std::uint32_t> first_child_;  // of each node, one more for the end
};

}  // namespace kvant::text
