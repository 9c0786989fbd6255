// SPDX-License-Identifier: Apache-2.0
// Under -D_GLIBCXX_DEBUG std::vector and its kind have another size, and a reference to a struct that holds one looks
// the same to the linker. So whatever includes a header that hands such a struct to the library, or takes one from it,
// asks for a symbol that only a library of the same mode defines: a mixture does not link, and the linker's message
// says what is missing. The header-only half and kvant::runtime() work in either mode.
#pragma once

namespace kvant::io {

#ifdef _GLIBCXX_DEBUG
extern const char libkvant_built_with_D_GLIBCXX_DEBUG;
[[gnu::used]] static constexpr const char* kDebugMode = &libkvant_built_with_D_GLIBCXX_DEBUG;
#else
extern const char libkvant_built_without_D_GLIBCXX_DEBUG;
[[gnu::used]] static constexpr const char* kDebugMode = &libkvant_built_without_D_GLIBCXX_DEBUG;
#endif

}  // namespace kvant::io
