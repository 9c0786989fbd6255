// SPDX-License-Identifier: Apache-2.0
// The boundary where exceptions of the standard library become Results.
#pragma once

#include <exception>
#include <new>
#include <stdexcept>
#include <utility>

#include "kvant/core/error.hpp"

namespace kvant {

/// `body()`, with running out of memory as out_of_memory and everything else (a std::filesystem iteration that fails)
/// as io. The error for lack of memory allocates nothing: its text fits the string itself.
template <class Body>
auto guarded(Body&& body) -> decltype(body()) try {
  return body();
} catch (const std::bad_alloc&) {
  return fail(ErrorCode::out_of_memory, "memory ran out");
} catch (const std::length_error&) {
  return fail(ErrorCode::out_of_memory, "memory ran out");
} catch (const std::exception& e) {
  return fail(ErrorCode::io, e.what());
}

}  // namespace kvant
