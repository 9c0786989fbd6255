// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "kvant/io/debug_mode.hpp"

namespace kvant::io {

/// Texts by name that a container holds beside its weights.
using Metadata = std::map<std::string, std::string>;

}  // namespace kvant::io
