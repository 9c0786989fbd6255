// SPDX-License-Identifier: Apache-2.0
// What `kvant cast` and `kvant decode` share: files of codes, and how a format is named on the line.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/io/atomic_file.hpp"
#include "kvant/numeric/profile.hpp"

namespace kvant::cli {

/// Bytes of one code: one up to 8 bits, two up to 16, four above.
inline std::size_t code_bytes(FormatId format) noexcept {
  const unsigned bits = format_info(format).bits;
  return bits <= 8 ? 1 : bits <= 16 ? 2 : 4;
}

inline Status set_format(FormatId& target, std::string_view name, const std::string& text) {
  const auto format = format_from_name(text);
  if (!format)
    return fail(ErrorCode::usage, fmt::format("{}: '{}' is no format; see 'kvant list formats'", name, text));
  target = *format;
  return {};
}

inline std::vector<std::string_view> profile_names() { return {kProfileNames.begin(), kProfileNames.end()}; }

inline Status check_output_file(const std::filesystem::path& input, const std::filesystem::path& output, bool force) {
  const std::filesystem::path inputs[] = {input};
  return io::check_output(inputs, output, io::OutputKind::file,
                          force ? io::OutputMode::replace : io::OutputMode::refuse);
}

}  // namespace kvant::cli
