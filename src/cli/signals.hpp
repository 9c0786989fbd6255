// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kvant::cli {

class Console;

/// From here on SIGINT, SIGTERM and SIGHUP remove unfinished outputs, report as `console` reports errors, and end the
/// process with 128 + their number (unless it was started to ignore them); a closed pipe and a file size limit become
/// errors that a write returns.
void install_signal_handlers(const Console& console);

}  // namespace kvant::cli
