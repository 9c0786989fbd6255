// SPDX-License-Identifier: Apache-2.0
#include "piece_normalizer.hpp"

#include "metaspace.hpp"
#include "utf8.hpp"

namespace kvant::text {

CharsMap::Match PieceNormalizer::next(std::string_view rest) const noexcept {
  if (const auto found = whole.longest(rest)) return {found->length, rest.substr(0, found->length)};
  if (map)
    if (const auto found = map->longest(rest); found.length > 0) return found;
  const std::size_t length = char_length(rest.front());
  return {length, rest.substr(0, length)};
}

Result<std::string> PieceNormalizer::apply(std::string_view text) const {
  const std::string_view space = escape_whitespaces ? kVisibleSpace : " ";
  if (remove_extra_whitespaces) {
    while (!text.empty()) {
      const auto unit = next(text);
      if (unit.text != " ") break;
      text.remove_prefix(unit.length);
    }
  }
  std::string result;
  if (text.empty()) return result;
  if (add_dummy_prefix) result.append(space);
  bool after_space = remove_extra_whitespaces;
  while (!text.empty()) {
    auto unit = next(text);
    text.remove_prefix(unit.length);
    while (after_space && unit.text.starts_with(' ')) unit.text.remove_prefix(1);
    for (const char c : unit.text)
      if (c == ' ')
        result.append(space);
      else
        result.push_back(c);
    if (!unit.text.empty()) after_space = remove_extra_whitespaces && unit.text.ends_with(' ');
    if (result.size() > kMaxTextBytes)
      return fail(ErrorCode::limit, "the normalizer makes more than " + std::to_string(kMaxTextBytes) + " bytes");
  }
  while (remove_extra_whitespaces && result.ends_with(space)) result.resize(result.size() - space.size());
  return result;
}

}  // namespace kvant::text
