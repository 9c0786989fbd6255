// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/debug_mode.hpp"

namespace kvant::io {

#ifdef _GLIBCXX_DEBUG
extern const char libkvant_built_with_D_GLIBCXX_DEBUG = 1;
#else
extern const char libkvant_built_without_D_GLIBCXX_DEBUG = 1;
#endif

}  // namespace kvant::io
