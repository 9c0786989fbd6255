// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/executor.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "../reference/executors.hpp"
#include "kvant/core/first_failure.hpp"

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

TEST(ParallelFor, HandsEachTaskAWorkerThatNoOtherHasMeanwhile) {
  reference::ThreadedExecutor threaded(4);
  std::vector<std::atomic<int>> inside(4);
  std::atomic<bool> shared{false};
  kvant::parallel_for(threaded, 2000, [&](std::size_t, unsigned worker) {
    ASSERT_LT(worker, 4u);
    if (inside[worker].fetch_add(1) != 0) shared = true;
    inside[worker].fetch_sub(1);
  });
  EXPECT_FALSE(shared);
}

TEST(ParallelFor, ThrowsWhatABodyThrewOnceNoTaskRuns) {
  reference::ThreadedExecutor threaded(3);
  kvant::SerialExecutor serial;
  for (kvant::Executor* executor : {static_cast<kvant::Executor*>(&serial), static_cast<kvant::Executor*>(&threaded)}) {
    std::atomic<int> running{0};
    const auto body = [&](std::size_t i) {
      ++running;
      const bool fails = i == 7;
      --running;
      if (fails) throw std::bad_alloc();
    };
    EXPECT_THROW(kvant::parallel_for(*executor, 100, body), std::bad_alloc);
    EXPECT_EQ(running, 0);
  }
}

TEST(FirstFailure, IsTheLeastTaskInWhateverOrder) {
  reference::ThreadedExecutor threaded(4);
  kvant::FirstFailure none, some;
  kvant::parallel_for(threaded, 1000, [&](std::size_t i) {
    if (i >= 300 && i % 7 == 5) some.report(i);
  });
  EXPECT_FALSE(none.any());
  ASSERT_TRUE(some.any());
  EXPECT_EQ(some.task(), 306u);
}

// What a host implements has no exceptions in it.
static_assert(std::is_nothrow_invocable_v<kvant::Executor::Task, void*, std::size_t, unsigned>);
static_assert(noexcept(std::declval<kvant::Executor&>().run(0, nullptr, nullptr)));

}  // namespace
