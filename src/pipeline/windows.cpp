// SPDX-License-Identifier: Apache-2.0
#include "windows.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace kvant::pipeline {
namespace {

constexpr std::size_t kDefaultContext = 2048;

double standard_error(std::span<const WindowSum> windows) {
  std::vector<double> means;
  for (const WindowSum& w : windows)
    if (w.positions != 0) means.push_back(w.sum / static_cast<double>(w.positions));
  if (means.size() < 2) return 0;
  const auto n = static_cast<double>(means.size());
  double mean = 0;
  for (const double m : means) mean += m / n;
  double variance = 0;
  for (const double m : means) variance += (m - mean) * (m - mean) / (n - 1);
  return std::sqrt(variance / n);
}

}  // namespace

Result<std::size_t> window_size(std::size_t asked, std::size_t limit) {
  const std::size_t size = asked != 0 ? asked : std::min(limit, kDefaultContext);
  if (size < 2 || size > limit)
    return fail(ErrorCode::usage, "a context of " + std::to_string(size) + ", expected 2 … " + std::to_string(limit));
  return size;
}

Result<std::vector<std::span<const std::int32_t>>> split_windows(std::span<const std::int32_t> ids, std::size_t size,
                                                                 std::optional<std::int32_t> document_id) {
  if (ids.size() < 2) return fail(ErrorCode::usage, "the data have fewer than two tokens, nothing can be scored");
  std::vector<std::span<const std::int32_t>> windows;
  for (std::size_t begin = 0; begin < ids.size();) {
    std::size_t end = std::min(ids.size(), begin + size);
    if (document_id) {
      const auto next = std::find(ids.begin() + static_cast<std::ptrdiff_t>(begin) + 1, ids.end(), *document_id);
      end = static_cast<std::size_t>(next - ids.begin());
      if (end - begin > size)
        return fail(ErrorCode::usage, "the document at id " + std::to_string(begin) + " has " +
                                          std::to_string(end - begin) + " ids, expected at most " +
                                          std::to_string(size));
    }
    windows.push_back(ids.subspan(begin, end - begin));
    begin = end;
  }
  return windows;
}

std::size_t logit_rows(std::size_t vocabulary) {
  constexpr std::size_t kLogits = std::size_t{4} << 20;
  return std::clamp<std::size_t>(kLogits / std::max<std::size_t>(vocabulary, 1), 1, kPositions);
}

Status check_window(double sum, const std::string& model, std::size_t window, std::size_t first_id, std::size_t ids) {
  if (std::isfinite(sum)) return {};
  return fail(ErrorCode::nonfinite, "window " + std::to_string(window) + " (ids " + std::to_string(first_id) + " … " +
                                        std::to_string(first_id + ids - 1) + "): " + model +
                                        " predicts NaN or Inf; weights or activations exceed what its formats hold");
}

Result<WindowMean> mean_over(std::span<const WindowSum> windows) {
  WindowMean result;
  for (const WindowSum& w : windows) {
    result.mean += w.sum;
    result.positions += w.positions;
  }
  if (result.positions == 0) return fail(ErrorCode::usage, "no window has two tokens, nothing can be scored");
  result.mean /= static_cast<double>(result.positions);
  result.standard_error = standard_error(windows);
  return result;
}

}  // namespace kvant::pipeline
