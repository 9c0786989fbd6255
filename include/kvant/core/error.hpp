// SPDX-License-Identifier: Apache-2.0
// What can go wrong with data, files, options and numbers, as one list of stable codes.
//
//   kvant::Result<kvant::Scheme> s = kvant::parse_scheme("int4-g128");
//   if (!s) std::puts(kvant::describe(s.error()).c_str());
//
// Wrong input is always a Result; a broken contract between pieces of code is expects() (contract.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace kvant {

/// Every way in which kvant refuses. Names and exit codes (`kErrorCodes`) are a stable contract.
enum class ErrorCode : std::uint8_t {
  usage,
  bad_scheme,
  bad_recipe,
  bad_pattern,
  rule_matches_nothing,
  truncated,
  bad_header,
  bad_json,
  bad_utf8,
  duplicate_key,
  bad_shape,
  bad_offsets,
  overlap,
  hole,
  trailing_data,
  overflow,
  size_mismatch,
  misaligned,
  bad_index,
  bad_config,
  bad_tokenizer,
  bad_metadata,
  missing_tensor,
  lfs_pointer,
  html_page,
  bad_npy,
  bad_checksum,
  unknown_dtype,
  unsupported,
  pickle,
  archive,
  io,
  not_found,
  not_regular_file,
  no_model,
  exists,
  in_use,
  same_file,
  limit,
  out_of_memory,
  nonfinite,
  scale_overflow,
  singular,
  threshold,
  resume_mismatch,
  interrupted,
};

/// One row of the error list: the identifier that machines read, the exit code of the command line, what it means.
struct ErrorInfo {
  ErrorCode code;
  std::string_view name;
  int exit_code;
  std::string_view meaning;
};

inline constexpr std::array kErrorCodes{
    ErrorInfo{ErrorCode::usage, "usage", 2, "wrong option, argument or combination of them"},
    ErrorInfo{ErrorCode::bad_scheme, "bad_scheme", 2, "a scheme's text does not parse or its parts do not fit"},
    ErrorInfo{ErrorCode::bad_recipe, "bad_recipe", 2, "a rule or recipe is malformed"},
    ErrorInfo{ErrorCode::bad_pattern, "bad_pattern", 2, "a regular expression does not compile or is too costly"},
    ErrorInfo{ErrorCode::rule_matches_nothing, "rule_matches_nothing", 2, "a rule hits no tensor"},
    ErrorInfo{ErrorCode::truncated, "truncated", 3, "the file ends before its content does"},
    ErrorInfo{ErrorCode::bad_header, "bad_header", 3, "the header's framing is wrong"},
    ErrorInfo{ErrorCode::bad_json, "bad_json", 3, "JSON is malformed or of an unexpected form"},
    ErrorInfo{ErrorCode::bad_utf8, "bad_utf8", 3, "text is not valid UTF-8 or holds a NUL"},
    ErrorInfo{ErrorCode::duplicate_key, "duplicate_key", 3, "a key or tensor name stands twice"},
    ErrorInfo{ErrorCode::bad_shape, "bad_shape", 3, "a shape is not a list of non-negative integers, or does not fit"},
    ErrorInfo{ErrorCode::bad_offsets, "bad_offsets", 3, "data offsets are reversed or leave the file"},
    ErrorInfo{ErrorCode::overlap, "overlap", 3, "two tensors share bytes"},
    ErrorInfo{ErrorCode::hole, "hole", 3, "bytes between two tensors belong to none"},
    ErrorInfo{ErrorCode::trailing_data, "trailing_data", 3, "bytes follow the end of the content"},
    ErrorInfo{ErrorCode::overflow, "overflow", 3, "a size computed from the file exceeds 64 bits"},
    ErrorInfo{ErrorCode::size_mismatch, "size_mismatch", 3, "shape and dtype disagree with the stored bytes"},
    ErrorInfo{ErrorCode::misaligned, "misaligned", 3, "a sub-byte tensor does not fill whole bytes"},
    ErrorInfo{ErrorCode::bad_index, "bad_index", 3, "a shard index contradicts its files"},
    ErrorInfo{ErrorCode::bad_config, "bad_config", 3, "config.json lacks a key or holds an impossible value"},
    ErrorInfo{ErrorCode::bad_tokenizer, "bad_tokenizer", 3, "tokenizer.json or tokenizer.model is malformed"},
    ErrorInfo{ErrorCode::bad_metadata, "bad_metadata", 3,
              "metadata is not string to string, or contradicts the tensors"},
    ErrorInfo{ErrorCode::missing_tensor, "missing_tensor", 3, "a tensor that the model needs is absent"},
    ErrorInfo{ErrorCode::lfs_pointer, "lfs_pointer", 3, "a git-LFS pointer was saved instead of the file"},
    ErrorInfo{ErrorCode::html_page, "html_page", 3, "a web page was saved instead of the file"},
    ErrorInfo{ErrorCode::bad_npy, "bad_npy", 3, "a .npy header is malformed"},
    ErrorInfo{ErrorCode::bad_checksum, "bad_checksum", 3, "stored bytes are not those that were written"},
    ErrorInfo{ErrorCode::unknown_dtype, "unknown_dtype", 4, "the dtype is not one that kvant knows"},
    ErrorInfo{ErrorCode::unsupported, "unsupported", 4, "valid, but not supported"},
    ErrorInfo{ErrorCode::pickle, "pickle", 4, "a pickle; kvant never unpickles"},
    ErrorInfo{ErrorCode::archive, "archive", 4, "a zip or gzip archive"},
    ErrorInfo{ErrorCode::io, "io", 5, "the operating system refused to read or write"},
    ErrorInfo{ErrorCode::not_found, "not_found", 5, "no such file or folder"},
    ErrorInfo{ErrorCode::not_regular_file, "not_regular_file", 5,
              "a folder, device, pipe or socket where a file is needed"},
    ErrorInfo{ErrorCode::no_model, "no_model", 5, "the folder holds no model"},
    ErrorInfo{ErrorCode::exists, "exists", 5, "the output exists"},
    ErrorInfo{ErrorCode::in_use, "in_use", 5, "another run is writing this output"},
    ErrorInfo{ErrorCode::same_file, "same_file", 5, "input and output are the same file"},
    ErrorInfo{ErrorCode::limit, "limit", 6, "too large, too many or too deep"},
    ErrorInfo{ErrorCode::out_of_memory, "out_of_memory", 6, "memory ran out"},
    ErrorInfo{ErrorCode::nonfinite, "nonfinite", 7, "NaN or Inf among weights or predictions"},
    ErrorInfo{ErrorCode::scale_overflow, "scale_overflow", 7, "a scale or a value exceeds its storage type"},
    ErrorInfo{ErrorCode::singular, "singular", 7, "a matrix could not be factored"},
    ErrorInfo{ErrorCode::threshold, "threshold", 8, "a comparison exceeded its threshold"},
    ErrorInfo{ErrorCode::resume_mismatch, "resume_mismatch", 9, "resume data belong to another run"},
    ErrorInfo{ErrorCode::interrupted, "interrupted", 130, "interrupted by a signal"},
};

/// The row of `kErrorCodes` for `code`; the list is in the order of the enum, which a test checks.
[[nodiscard]] constexpr const ErrorInfo& error_info(ErrorCode code) noexcept {
  return kErrorCodes[static_cast<std::size_t>(code)];
}

/// Where an error was found; empty parts are unknown or do not apply.
struct Where {
  std::string file;
  std::string tensor;
  std::optional<std::uint64_t> offset;  ///< byte offset in `file`
};

/// A refusal: what was found, what was expected, what to do.
struct Error {
  ErrorCode code = ErrorCode::unsupported;
  std::string message;
  Where where;
};

/// A value or an Error, in every language mode, with or without exceptions.
template <class T>
using Result = tl::expected<T, Error>;

/// Success without a value: `return {};`.
using Status = Result<void>;

[[nodiscard]] inline tl::unexpected<Error> fail(ErrorCode code, std::string message, Where where = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(where)});
}

/// Passes the error of `r` on: `if (!r) return propagate(r);`
template <class R>
[[nodiscard]] tl::unexpected<Error> propagate(R&& r) {
  return tl::unexpected<Error>(std::forward<R>(r).error());
}

/// `FILE: TENSOR: byte OFFSET: message`, without the parts that are unknown.
[[nodiscard]] inline std::string describe(const Error& e) {
  std::string text;
  if (!e.where.file.empty()) text += e.where.file + ": ";
  if (!e.where.tensor.empty()) text += e.where.tensor + ": ";
  if (e.where.offset) text += "byte " + std::to_string(*e.where.offset) + ": ";
  return text + e.message;
}

}  // namespace kvant
