// SPDX-License-Identifier: Apache-2.0
// Whether a sanitizer watches. What takes it minutes to compute what the release preset computes anyway is left to
// that.
#pragma once

namespace kvant::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace kvant::test

/// At the start of a test whose parts have shorter tests of their own, which do run under sanitizers.
#define KVANT_SKIP_UNDER_SANITIZERS() \
  if (kvant::test::kSanitized) GTEST_SKIP() << "takes a sanitizer minutes; the release preset runs it"
