// SPDX-License-Identifier: Apache-2.0
#include "json_edit.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "core/guard.hpp"

namespace kvant::io {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

/// Where one member of an object lies: [key_begin, key_end) with its quotes, [value_begin, value_end).
struct Member {
  std::size_t key_begin, key_end, value_begin, value_end;
};

/// An object in a text: from behind its brace to its closing brace.
struct Object {
  std::size_t begin, end;
  std::vector<Member> members;
};

// The text has been parsed, so positions are found by what JSON's grammar leaves: strings, brackets, and the rest.

std::size_t skip_space(std::string_view text, std::size_t at) {
  return std::min(text.find_first_not_of(kSpace, at), text.size());
}

std::size_t skip_string(std::string_view text, std::size_t at) {
  for (++at; text[at] != '"'; ++at)
    if (text[at] == '\\') ++at;
  return at + 1;
}

std::size_t skip_value(std::string_view text, std::size_t at) {
  if (text[at] == '"') return skip_string(text, at);
  if (text[at] != '{' && text[at] != '[') return std::min(text.find_first_of(" \t\r\n,]}", at), text.size());
  std::size_t depth = 0;
  do {
    if (text[at] == '"') {
      at = skip_string(text, at);
      continue;
    }
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    ++at;
  } while (depth != 0);
  return at;
}

/// The object whose brace stands at `at`.
Object scan_object(std::string_view text, std::size_t at) {
  Object object{at + 1, 0, {}};
  for (at = skip_space(text, at + 1); text[at] != '}';) {
    Member m{at, skip_string(text, at), 0, 0};
    m.value_begin = skip_space(text, skip_space(text, m.key_end) + 1);
    m.value_end = skip_value(text, m.value_begin);
    object.members.push_back(m);
    at = skip_space(text, m.value_end);
    if (text[at] == ',') at = skip_space(text, at + 1);
  }
  object.end = at;
  return object;
}

std::optional<std::size_t> find_member(std::string_view text, const Object& object, std::string_view key) {
  for (std::size_t i = 0; i < object.members.size(); ++i) {
    const Member& m = object.members[i];
    const auto name = parse_json(text.substr(m.key_begin, m.key_end - m.key_begin));
    if (name && name->as_string() != nullptr && *name->as_string() == key) return i;
  }
  return std::nullopt;
}

/// What stands before the first member of an object: the line break and indentation of all, where it has them.
std::string_view leading_space(std::string_view text, const Object& object) {
  if (object.members.empty()) return {};
  return text.substr(object.begin, object.members.front().key_begin - object.begin);
}

/// A value in the manner of the text around it; `space` is what stands before each member beside it.
std::string value_text(const Json& value, std::string_view space, std::string_view unit) {
  const std::size_t line = space.find('\n');
  if (line == std::string_view::npos) return to_text(value);
  std::string plain = to_text(value, JsonStyle::indented);
  plain.pop_back();  // the final newline
  std::string out;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    out += plain[i];
    if (plain[i] != '\n') continue;  // strings hold none
    out.pop_back();
    out += space;
    for (; plain.compare(i + 1, 2, "  ") == 0; i += 2) out += unit;
  }
  return out;
}

/// The indentation of one level, by the members of the root.
std::string indentation_unit(std::string_view text, const Object& root) {
  const std::string_view space = leading_space(text, root);
  const std::size_t line = space.rfind('\n');
  const std::string_view unit = line == std::string_view::npos ? space : space.substr(line + 1);
  return unit.empty() ? "  " : std::string(unit);
}

void remove_member(std::string& text, const Object& object, std::size_t i) {
  const auto& members = object.members;
  if (members.size() == 1)
    text.erase(object.begin, object.end - object.begin);
  else if (i + 1 < members.size())
    text.erase(members[i].key_begin, members[i + 1].key_begin - members[i].key_begin);
  else
    text.erase(members[i - 1].value_end, members[i].value_end - members[i - 1].value_end);
}

void append_member(std::string& text, const Object& object, const JsonEdit& edit, std::string_view unit) {
  const bool empty = object.members.empty();
  const std::string space = empty ? "\n" + std::string(unit) : std::string(leading_space(text, object));
  const bool lines = space.find('\n') != std::string::npos;
  std::string added = (empty ? "" : ",") + (empty || lines ? space : " ") + to_text(Json(edit.key)) +
                      (lines ? ": " : ":") + value_text(*edit.value, space, unit);
  if (empty)
    text.replace(object.begin, object.end - object.begin, added + "\n");
  else
    text.insert(object.members.back().value_end, added);
}

Status apply(std::string& text, const JsonEdit& edit, const Where& where) {
  const auto no_object = [&] { return fail(ErrorCode::bad_json, "is no JSON object", where); };
  std::size_t at = skip_space(text, 0);
  if (text[at] != '{') return no_object();
  const Object root = scan_object(text, at);
  const std::string unit = indentation_unit(text, root);
  Object object = root;
  if (!edit.object.empty()) {
    const auto member = find_member(text, root, edit.object);
    if (!member || text[root.members[*member].value_begin] != '{') return no_object();
    object = scan_object(text, root.members[*member].value_begin);
  }
  const auto found = find_member(text, object, edit.key);
  if (found && edit.value) {
    const Member m = object.members[*found];
    text.replace(m.value_begin, m.value_end - m.value_begin,
                 value_text(*edit.value, leading_space(text, object), unit));
  } else if (found) {
    remove_member(text, object, *found);
  } else if (edit.value) {
    append_member(text, object, edit, unit);
  }
  return {};
}

}  // namespace

Result<std::string> edit_json(std::string text, std::span<const JsonEdit> edits, const JsonLimits& limits,
                              const Where& where) {
  return guarded([&]() -> Result<std::string> {
    if (const auto parsed = parse_json(text, limits, where); !parsed) return propagate(parsed);
    for (const JsonEdit& edit : edits)
      if (const Status done = apply(text, edit, where); !done) return propagate(done);
    return std::move(text);
  });
}

}  // namespace kvant::io
