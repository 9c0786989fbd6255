// SPDX-License-Identifier: Apache-2.0
// Any text as a scheme: refused with a reason, or printed in a form that parses to the same scheme.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kvant/quant/layer_scheme.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto scheme = kvant::parse_layer_scheme({reinterpret_cast<const char*>(data), size});
  if (!scheme) {
    if (scheme.error().code != kvant::ErrorCode::bad_scheme || scheme.error().message.empty()) std::abort();
    return 0;
  }
  const auto again = kvant::parse_layer_scheme(kvant::to_text(*scheme));
  if (!again || !(*again == *scheme)) std::abort();
  return 0;
}
