// SPDX-License-Identifier: Apache-2.0
#include "trie.hpp"

#include <algorithm>

namespace kvant::text {

Trie::Trie(std::vector<Entry> entries) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.text < b.text; });
  // Level by level: the entries below each node of a level, which begin with the same `depth` bytes.
  struct Span {
    std::uint32_t begin, end;
  };
  std::vector<Span> level{{0, static_cast<std::uint32_t>(entries.size())}};
  labels_.push_back('\0');
  values_.push_back(kNone);
  for (std::size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Span> next;
    for (auto [begin, end] : level) {
      const auto node = static_cast<Node>(first_child_.size());
      first_child_.push_back(static_cast<std::uint32_t>(labels_.size()));
      if (begin < end && entries[begin].text.size() == depth) values_[node] = entries[begin++].value;
      while (begin < end) {
        const char byte = entries[begin].text[depth];
        Span below{begin, begin};
        while (below.end < end && entries[below.end].text[depth] == byte) ++below.end;
        labels_.push_back(byte);
        values_.push_back(kNone);
        next.push_back(below);
        begin = below.end;
      }
    }
    level = std::move(next);
  }
  first_child_.push_back(static_cast<std::uint32_t>(labels_.size()));
}

std::optional<Trie::Node> Trie::find(std::string_view text) const noexcept {
  std::optional<Node> node = kRoot;
  for (const char byte : text)
    if (node = child(*node, byte); !node) break;
  return node;
}

std::optional<Trie::Match> Trie::longest(std::string_view text, Node from) const noexcept {
  std::optional<Match> best;
  prefixes(
      text,
      [&](std::size_t length, std::uint32_t value) {
        best = {length, value};
      },
      from);
  return best;
}

}  // namespace kvant::text
