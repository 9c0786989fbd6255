// SPDX-License-Identifier: Apache-2.0
// How far work is, on stderr: a bar on a terminal, a line now and then elsewhere, an object per item for machines.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "console.hpp"
#include "kvant/pipeline/progress.hpp"
#include "pace.hpp"

namespace kvant::cli {

/// What progress counts.
enum class Unit : std::uint8_t { bytes, tokens, measurements };

class Reporter final : public pipeline::Progress {
 public:
  explicit Reporter(Console& console, Unit unit = Unit::bytes);
  ~Reporter() override;

  bool advance(std::string_view item, std::uint64_t done, std::uint64_t total) override;
  void warn(std::string_view text) override;

 private:
  using Clock = std::chrono::steady_clock;
  enum class Style : std::uint8_t { none, lines, objects, bar };

  struct State {
    std::uint64_t done, total;
    double seconds, share, rate;
  };
  [[nodiscard]] bool due(const State& state, bool fresh);
  [[nodiscard]] std::string amount(double count) const;
  void write_line(const State& state);
  void write_object(const State& state);
  void draw_bar(const State& state);
  void clear_bar();

  Console& console_;
  Unit unit_;
  Style style_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_{};  ///< of the last output
  Pace pace_;                 ///< of lines
  std::string item_;
  bool drawn_ = false;
};

}  // namespace kvant::cli
