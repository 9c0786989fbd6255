// SPDX-License-Identifier: Apache-2.0
// Progress that tests look at afterwards, and that stops a run where they want it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "kvant/pipeline/progress.hpp"

namespace kvant::pipeline {

class Silent final : public Progress {
 public:
  bool advance(std::string_view, std::uint64_t done, std::uint64_t total) override {
    EXPECT_LE(done, total);
    last_done = done;
    last_total = total;
    return done < stop_at;
  }
  void warn(std::string_view text) override { said += std::string(text) + "\n"; }

  std::uint64_t last_done = 0, last_total = 0;
  std::uint64_t stop_at = UINT64_MAX;
  std::string said;
};

}  // namespace kvant::pipeline
