// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "kvant/io/utf8.hpp"
#include "machine.hpp"

namespace kvant::cli {
namespace {

/// A long name would hide the numbers.
constexpr std::size_t kMaxItem = 120;
constexpr std::chrono::milliseconds kRedraw{100};
/// An object tells that an item takes long.
constexpr std::chrono::seconds kReminder{10};

std::size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string human_seconds(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h", whole / 3600, whole % 3600 / 60);
}

std::string_view unit_name(Unit unit) {
  constexpr std::array<std::string_view, 3> kNames{"bytes", "tokens", "measurements"};
  return kNames[static_cast<std::size_t>(unit)];
}

void write_raw(std::string_view text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // a bar that cannot be drawn is no error
}

}  // namespace

Reporter::Reporter(Console& console, Unit unit)
    : console_(console),
      unit_(unit),
      style_(console.options().quiet                           ? Style::none
             : console.options().log_format == LogFormat::json ? Style::objects
             : ::isatty(STDERR_FILENO) == 1                    ? Style::bar
                                                               : Style::lines) {}

Reporter::~Reporter() { clear_bar(); }

bool Reporter::advance(std::string_view item, std::uint64_t done, std::uint64_t total) {
  if (style_ == Style::none) return true;
  State state{done, total, std::chrono::duration<double>(Clock::now() - start_).count(), 1, 0};
  if (total > 0) state.share = static_cast<double>(done) / static_cast<double>(total);
  state.rate = static_cast<double>(done) / std::max(state.seconds, 1e-9);
  const bool fresh = item != item_;
  if (fresh) item_ = item;
  if (!due(state, fresh)) return true;
  if (style_ == Style::bar)
    draw_bar(state);
  else if (style_ == Style::lines)
    write_line(state);
  else
    write_object(state);
  return true;
}

bool Reporter::due(const State& state, bool fresh) {
  if (style_ == Style::lines) return pace_.due(state.seconds, state.share);
  const Clock::time_point now = Clock::now();
  if (style_ == Style::bar ? state.done < state.total && now - last_ <= kRedraw : !fresh && now - last_ <= kReminder)
    return false;
  last_ = now;
  return true;
}

void Reporter::warn(std::string_view text) {
  clear_bar();
  console_.warn(text);
}

std::string Reporter::amount(double count) const {
  return unit_ == Unit::bytes ? human_bytes(count) : fmt::format("{:.0f} {}", count, unit_name(unit_));
}

void Reporter::write_line(const State& state) {
  write_stderr(fmt::format("[{:3.0f}%] of {}: {}", 100 * state.share, amount(static_cast<double>(state.total)),
                           io::printable(item_, kMaxItem)));
}

void Reporter::write_object(const State& state) {
  io::Json line = io::Json::object();
  line.set("event", "progress").set("item", io::printable(item_, kMaxItem)).set("done", state.done);
  line.set("total", state.total).set("unit", unit_name(unit_));
  line.set("seconds", state.seconds).set("per_s", state.rate).set("peak_rss_bytes", peak_rss_bytes());
  write_stderr(io::to_text(line));
}

void Reporter::draw_bar(const State& state) {
  const double left = state.rate > 0 ? static_cast<double>(state.total - state.done) / state.rate : 0;
  constexpr std::size_t kWidth = 20;
  std::string bar(std::min(kWidth, static_cast<std::size_t>(state.share * kWidth)), '#');
  bar.resize(kWidth, '.');
  std::string line = fmt::format("[{}] {:3.0f}% of {}, {}/s, {} left, peak {}  {}", bar, 100 * state.share,
                                 amount(static_cast<double>(state.total)), amount(state.rate), human_seconds(left),
                                 human_bytes(static_cast<double>(peak_rss_bytes())), io::printable(item_, kMaxItem));
  const std::size_t columns = terminal_columns();
  if (line.size() >= columns) line.resize(columns - 1);
  write_raw("\r\x1b[K" + line);
  drawn_ = true;
}

void Reporter::clear_bar() {
  if (drawn_) write_raw("\r\x1b[K");
  drawn_ = false;
}

}  // namespace kvant::cli
