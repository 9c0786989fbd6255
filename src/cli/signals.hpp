// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kvant::cli {

class Console;

/// From here on a closed pipe and a file size limit are errors that a write returns.
void ignore_write_signals();

/// From here on SIGINT, SIGTERM and SIGHUP remove unfinished outputs, report as `console` reports errors, and end the
/// process with 128 + their number (unless it was started to ignore them).
void install_signal_handlers(const Console& console);

}  // namespace kvant::cli
