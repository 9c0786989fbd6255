// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/executor.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "../reference/executors.hpp"

namespace {

TEST(SerialExecutor, RunsEveryTaskOnceInOrder) {
  kvant::SerialExecutor executor;
  std::vector<std::size_t> seen;
  kvant::parallel_for(executor, 5, [&](std::size_t i) { seen.push_back(i); });
  EXPECT_EQ(seen, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(executor.concurrency(), 1u);
}

TEST(SerialExecutor, RunsNothingForNoTasks) {
  kvant::SerialExecutor executor;
  bool ran = false;
  kvant::parallel_for(executor, 0, [&](std::size_t) { ran = true; });
  EXPECT_FALSE(ran);
}

struct Counter {
  std::vector<int>* hits;
  void operator()(std::size_t i) const { ++(*hits)[i]; }
};

TEST(ParallelFor, TakesConstAndMutableBodies) {
  kvant::SerialExecutor executor;
  std::vector<int> hits(3);
  const Counter constant{&hits};
  kvant::parallel_for(executor, 3, constant);
  kvant::parallel_for(executor, 3, Counter{&hits});
  int total = 0;
  auto mutating = [total](std::size_t) mutable { ++total; };
  kvant::parallel_for(executor, 3, mutating);
  EXPECT_EQ(hits, (std::vector<int>{2, 2, 2}));
}

TEST(ParallelFor, RunsEveryTaskOnceOnAnyExecutor) {
  reference::ShuffledExecutor shuffled;
  reference::ThreadedExecutor threaded(4);
  for (kvant::Executor* executor : {static_cast<kvant::Executor*>(&shuffled), static_cast<kvant::Executor*>(&threaded)})
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{1000}}) {
      std::vector<int> hits(count);
      kvant::parallel_for(*executor, count, [&](std::size_t i) { ++hits[i]; });
      EXPECT_EQ(hits, std::vector<int>(count, 1));
    }
}

}  // namespace
