// SPDX-License-Identifier: Apache-2.0
// expect: deleted
#include "kvant/core/executor.hpp"

kvant::SerialExecutor one;
kvant::SerialExecutor two = one;
