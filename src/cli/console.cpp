// SPDX-License-Identifier: Apache-2.0
#include "console.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "kvant/io/utf8.hpp"

namespace kvant::cli {
namespace {

/// Messages may quote names of any length from files; a line stays readable.
constexpr std::size_t kMaxLine = 4000;
/// A path of any length leaves room for what is said about it.
constexpr std::size_t kMaxFile = 1000;

io::Json text_or_null(const std::string& text) {
  return text.empty() ? io::Json() : io::Json(io::printable(text, kMaxLine));
}

std::size_t columns_of(std::string_view utf8) {
  return static_cast<std::size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

void Console::print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() && write_error_ == 0) write_error_ = errno;
}

void Console::print_json(const io::Json& json) {
  print(io::to_text(json) + "\n");
  has_document_ = true;
}

void Console::flush() {
  if (std::fflush(stdout) != 0 && write_error_ == 0) write_error_ = errno;
}

void Console::warn(std::string_view text) {
  if (options_.quiet) return;
  const std::string line = io::printable(text, kMaxLine);
  if (options_.log_format == LogFormat::json)
    write_stderr(io::to_text(io::Json::object().set("event", "warning").set("message", line)));
  else
    write_stderr("kvant: warning: " + line);
}

void Console::error(const Error& error) {
  const int exit_code = error_info(error.code).exit_code;
  write_stderr(error_line(error, exit_code));
  if (options_.json && !has_document_) print_json(error_document(error, exit_code));
}

std::string Console::error_line(const Error& error, int exit_code) const {
  if (options_.log_format == LogFormat::text) {
    Error shown = error;
    shown.where.file = io::printable(error.where.file, kMaxFile);
    return "kvant: " + io::printable(describe(shown), kMaxLine);
  }
  io::Json line = io::Json::object().set("event", "error");
  const io::Json json = error_document(error, exit_code);
  for (const io::Json::Member& member : json.members()) line.set(member.key, member.value);
  return io::to_text(line);
}

Status Console::finish() {
  flush();
  if (write_error_ == 0) return {};
  return fail(ErrorCode::io, fmt::format("cannot write the result to stdout: {}", std::strerror(write_error_)));
}

io::Json error_document(const Error& error, int exit_code) {
  io::Json json = document("error");
  json.set("code", error_info(error.code).name).set("exit", exit_code).set("file", text_or_null(error.where.file));
  json.set("tensor", text_or_null(error.where.tensor));
  json.set("offset", error.where.offset ? io::Json(*error.where.offset) : io::Json());
  json.set("message", io::printable(error.message, kMaxLine));
  return json;
}

io::Json document(std::string_view verb) {
  io::Json json = io::Json::object();
  json.set("schema", fmt::format("kvant.{}/1", verb));
  return json;
}

void write_stderr(std::string_view line) {
  std::string text(line);
  text += '\n';
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t n = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
}

Table::Table(std::string_view align, std::vector<std::string> headings) : align_(align) { row(std::move(headings)); }

void Table::row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::string Table::text() const {
  std::vector<std::size_t> widths(align_.size());
  for (const auto& row : rows_)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], columns_of(row[c]));
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string gap(widths[c] - columns_of(row[c]), ' ');
      if (c > 0) line += "  ";
      line += align_[c] == 'r' ? gap + row[c] : row[c] + gap;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits{"B", "kB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  for (; bytes >= 999.95 && unit + 1 < kUnits.size(); ++unit) bytes /= 1000;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, kUnits[unit]);
}

std::string human_shape(std::span<const std::uint64_t> shape) {
  return shape.empty() ? "scalar" : fmt::format("{}", fmt::join(shape, "x"));
}

Result<Runtime> make_runtime(const CommonOptions& options) {
  return Runtime::make({.threads = options.threads, .tier = options.tier});
}

}  // namespace kvant::cli
