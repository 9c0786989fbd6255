// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding (Sennrich et al. 2016): of all neighbouring tokens that may merge, those of the earliest rule
// merge first, leftmost first, until none may.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "vocabulary.hpp"

namespace kvant::text {

/// Tokens of a word, in a list from left to right.
struct Symbol {
  static constexpr std::uint32_t kNone = UINT32_MAX;

  Place place;  ///< kNone once it has merged into the one on its left
  std::uint32_t previous;
  std::uint32_t next;
};

/// What two neighbours may become, and how early.
struct Merged {
  std::uint32_t rank;
  Place result;
};

/// Merges the tokens of one word after another. `S` is a Symbol, perhaps with more to it.
template <class S>
class Merger {
 public:
  std::vector<S> symbols;

  /// Links the symbols and merges them. `find(left, right)` gives the rule for two neighbours, an optional Merged.
  /// O(n log n) in their number.
  template <class Find>
  void run(Find find) {
    const auto count = static_cast<std::uint32_t>(symbols.size());
    for (std::uint32_t i = 0; i < count; ++i) {
      symbols[i].previous = i == 0 ? Symbol::kNone : i - 1;
      symbols[i].next = i + 1 == count ? Symbol::kNone : i + 1;
    }
    heap_.clear();
    for (std::uint32_t i = 0; i + 1 < count; ++i) note(i, find);
    std::make_heap(heap_.begin(), heap_.end(), later);
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      const Candidate top = heap_.back();
      heap_.pop_back();
      S& left = symbols[top.left];
      if (left.place == Symbol::kNone || left.next == Symbol::kNone) continue;
      S& right = symbols[left.next];
      const std::optional<Merged> merged = find(left, right);
      if (!merged || merged->result != top.result) continue;  // the neighbours have changed since
      left.place = top.result;
      left.next = right.next;
      right.place = Symbol::kNone;
      if (left.next != Symbol::kNone) symbols[left.next].previous = top.left;
      for (const std::uint32_t at : {left.previous, top.left})
        if (at != Symbol::kNone && symbols[at].next != Symbol::kNone && note(at, find))
          std::push_heap(heap_.begin(), heap_.end(), later);
    }
  }

 private:
  /// A merge that was possible when it was noted.
  struct Candidate {
    std::uint32_t rank;
    std::uint32_t left;  ///< in symbols
    Place result;
  };

  /// std heaps keep the largest on top.
  static bool later(const Candidate& a, const Candidate& b) noexcept {
    return std::pair(a.rank, a.left) > std::pair(b.rank, b.left);
  }

  /// Adds the merge of symbol `left` with the one after it, if there is a rule for it.
  template <class Find>
  bool note(std::uint32_t left, Find& find) {
    const std::optional<Merged> merged = find(symbols[left], symbols[symbols[left].next]);
    if (merged) heap_.push_back({merged->rank, left, merged->result});
    return merged.has_value();
  }

  std::vector<Candidate> heap_;
};

}  // namespace kvant::text
