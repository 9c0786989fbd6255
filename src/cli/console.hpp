// SPDX-License-Identifier: Apache-2.0
// Where words go: the result to stdout, everything else to stderr.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"
#include "kvant/kernels/tiers.hpp"
#include "options.hpp"

namespace kvant::cli {

class Console {
 public:
  explicit Console(const CommonOptions& options) : options_(options) {}

  [[nodiscard]] const CommonOptions& options() const noexcept { return options_; }
  [[nodiscard]] bool json() const noexcept { return options_.json; }

  /// The result, as text or as one line of JSON.
  void print(std::string_view text);
  void print_json(const io::Json& document);
  /// Hands out what print() holds back; for results that appear bit by bit.
  void flush();

  void warn(std::string_view text);
  /// One line on stderr, and a kvant.error/1 document on stdout under --json, where the result does not stand already:
  /// stdout is one document.
  void error(const Error& error);

  /// What error() writes to stderr, without the end of line.
  [[nodiscard]] std::string error_line(const Error& error, int exit_code) const;

  /// Whether stdout took everything; `io` where it did not.
  [[nodiscard]] Status finish();
  /// errno of the first write to stdout that failed; 0: none did.
  [[nodiscard]] int write_error() const noexcept { return write_error_; }

 private:
  CommonOptions options_;
  int write_error_ = 0;
  bool has_document_ = false;  ///< on stdout
};

/// A document with its "schema": `kvant.VERB/1`.
[[nodiscard]] io::Json document(std::string_view verb);

/// What machines read of an error: kvant.error/1.
[[nodiscard]] io::Json error_document(const Error& error, int exit_code);

/// Writes a line to stderr at once, so that lines of several sources never mix.
void write_stderr(std::string_view line);

/// Rows of cells under headings, columns aligned: numbers (by `align`, one letter `l` or `r` per column) to the right.
class Table {
 public:
  Table(std::string_view align, std::vector<std::string> headings);
  void row(std::vector<std::string> cells);
  [[nodiscard]] std::string text() const;

 private:
  std::string align_;
  std::vector<std::vector<std::string>> rows_;
};

/// `12.3 MB` (powers of 1000), for people.
[[nodiscard]] std::string human_bytes(double bytes);
/// `4096x1024`; `scalar` for no dimensions.
[[nodiscard]] std::string human_shape(std::span<const std::uint64_t> shape);

/// Threads and tier as --threads and --tier ask.
[[nodiscard]] Result<Runtime> make_runtime(const CommonOptions& options);

}  // namespace kvant::cli
