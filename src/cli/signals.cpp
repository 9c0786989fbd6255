// SPDX-License-Identifier: Apache-2.0
#include "signals.hpp"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <string>
#include <string_view>

#include "console.hpp"
#include "kvant/io/atomic_file.hpp"

namespace kvant::cli {
namespace {

constexpr std::array kFatal{SIGINT, SIGTERM, SIGHUP};

/// What a handler says, made beforehand, since it may not format or allocate.
struct LastWords {
  std::string to_stderr, to_stdout;
};
/// Never freed: a signal may come while the program ends.
const std::array<LastWords, kFatal.size()>* last_words = nullptr;

void put(int fd, std::string_view text) {
  if (::write(fd, text.data(), text.size()) < 0) return;  // nothing is left to do about it
}

extern "C" void kvant_on_signal(int signal) {
  io::remove_live_temporaries();
  for (std::size_t i = 0; i < kFatal.size(); ++i) {
    if (kFatal[i] != signal) continue;
    put(STDERR_FILENO, (*last_words)[i].to_stderr);
    put(STDOUT_FILENO, (*last_words)[i].to_stdout);
  }
  ::_exit(128 + signal);
}

std::array<LastWords, kFatal.size()> compose(const Console& console) {
  const Error error{ErrorCode::interrupted, "interrupted; the unfinished output was removed", {}};
  std::array<LastWords, kFatal.size()> all;
  for (std::size_t i = 0; i < kFatal.size(); ++i) {
    const int exit_code = 128 + kFatal[i];
    all[i].to_stderr = console.error_line(error, exit_code) + "\n";
    if (::isatty(STDERR_FILENO) == 1) all[i].to_stderr.insert(0, "\r\x1b[K");  // over a progress bar
    if (console.json()) all[i].to_stdout = io::to_text(error_document(error, exit_code)) + "\n";
  }
  return all;
}

}  // namespace

void ignore_write_signals() {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr);
  ::sigaction(SIGXFSZ, &action, nullptr);
}

void install_signal_handlers(const Console& console) {
  last_words = new std::array<LastWords, kFatal.size()>(compose(console));
  struct sigaction action {};
  action.sa_handler = kvant_on_signal;
  sigemptyset(&action.sa_mask);
  for (const int signal : kFatal) sigaddset(&action.sa_mask, signal);
  for (const int signal : kFatal) {
    struct sigaction before {};
    // nohup and background jobs of plain shells start programs that ignore a signal; that stands.
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
      ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace kvant::cli
