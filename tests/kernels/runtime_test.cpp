// SPDX-License-Identifier: Apache-2.0
// A runtime's pool of threads: every index once, whatever the number of threads, however small and however nested.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "kvant/core/rng.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/quant/encode.hpp"

namespace kvant::test {
namespace {

Runtime runtime_of(unsigned threads) { return *Runtime::make({.threads = threads, .tier = "generic"}); }

class Pool : public testing::TestWithParam<unsigned> {};

TEST_P(Pool, HasTheThreadsAskedFor) { EXPECT_EQ(runtime_of(GetParam()).context().concurrency(), GetParam()); }

TEST_P(Pool, RunsEveryIndexOnce) {
  const Runtime runtime = runtime_of(GetParam());
  constexpr std::array<std::size_t, 7> kCounts{0, 1, 2, 3, 7, 64, 1000};
  for (const std::size_t count : kCounts) {
    std::vector<std::atomic<int>> hits(count);
    runtime.context().for_each(count, [&](std::size_t i) { hits[i].fetch_add(1, std::memory_order_relaxed); });
    for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(hits[i].load(), 1) << i << " of " << count;
  }
}

/// What a task wrote is there after the run, without atomics.
TEST_P(Pool, PublishesWhatTasksWrote) {
  const Runtime runtime = runtime_of(GetParam());
  std::vector<std::size_t> squares(500);
  for (std::size_t round = 0; round < 50; ++round) {
    runtime.context().for_each(squares.size(), [&](std::size_t i) { squares[i] = i * i + round; });
    for (std::size_t i = 0; i < squares.size(); ++i) ASSERT_EQ(squares[i], i * i + round);
  }
}

TEST_P(Pool, SurvivesManyTinyRuns) {
  const Runtime runtime = runtime_of(GetParam());
  std::atomic<std::uint64_t> sum{0};
  constexpr std::uint64_t kRuns = 70000;  // more than the pool's job number can tell apart
  for (std::uint64_t run = 0; run < kRuns; ++run)
    runtime.context().for_each(3, [&](std::size_t i) { sum.fetch_add(i, std::memory_order_relaxed); });
  EXPECT_EQ(sum.load(), 3 * kRuns);
}

TEST_P(Pool, WakesUpAfterSleeping) {
  const Runtime runtime = runtime_of(GetParam());
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> hits{0};
    runtime.context().for_each(20, [&](std::size_t) { hits.fetch_add(1); });
    ASSERT_EQ(hits.load(), 20);
  }
}

TEST_P(Pool, RunsNestedWorkInsideATask) {
  const Runtime runtime = runtime_of(GetParam());
  std::vector<std::atomic<int>> hits(6 * 10);
  runtime.context().for_each(
      6, [&](std::size_t i) { runtime.context().for_each(10, [&](std::size_t j) { hits[i * 10 + j].fetch_add(1); }); });
  for (const std::atomic<int>& h : hits) EXPECT_EQ(h.load(), 1);
}

TEST_P(Pool, ServesSeveralCallersAtOnce) {
  const Runtime runtime = runtime_of(GetParam());
  std::vector<std::thread> callers;
  std::atomic<int> hits{0};
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&] {
      for (int run = 0; run < 200; ++run)
        runtime.context().for_each(5, [&](std::size_t) { hits.fetch_add(1, std::memory_order_relaxed); });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(hits.load(), 3 * 200 * 5);
}

/// Scratch memory for each worker is safe: in a run of its own, in one inside a task, and in those of other callers.
TEST_P(Pool, NumbersWorkersSoThatTasksUnderWayDiffer) {
  const Runtime runtime = runtime_of(GetParam());
  std::atomic<bool> shared{false};
  const auto run = [&](const auto& self, int depth) -> void {
    std::vector<std::atomic<int>> inside(GetParam());
    runtime.context().for_each(50, [&](std::size_t i, unsigned worker) {
      if (worker >= GetParam() || inside[worker].fetch_add(1) != 0) shared = true;
      if (depth == 0 && i % 10 == 0) self(self, 1);
      if (worker < GetParam()) inside[worker].fetch_sub(1);
    });
  };
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) callers.emplace_back([&] { run(run, 0); });
  for (std::thread& caller : callers) caller.join();
  EXPECT_FALSE(shared);
}

TEST_P(Pool, WaitsForTheSlowestTask) {
  const Runtime runtime = runtime_of(GetParam());
  std::atomic<int> done{0};
  runtime.context().for_each(4, [&](std::size_t i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(i == 0 ? 20 : 1));
    done.fetch_add(1);
  });
  EXPECT_EQ(done.load(), 4);
}

TEST_P(Pool, ThrowsWhatATaskThrewAndGoesOn) {
  const Runtime runtime = runtime_of(GetParam());
  EXPECT_THROW(runtime.context().for_each(100,
                                          [](std::size_t i) {
                                            if (i == 7) throw std::bad_alloc();
                                          }),
               std::bad_alloc);
  std::atomic<std::size_t> ran{0};
  runtime.context().for_each(100, [&](std::size_t) { ++ran; });
  EXPECT_EQ(ran.load(), 100u);
}

INSTANTIATE_TEST_SUITE_P(Threads, Pool, testing::Values(1u, 2u, 5u), testing::PrintToStringParamName());

TEST(Pool, UsesSeveralThreadsAtOnce) {
  const Runtime runtime = runtime_of(3);
  std::atomic<int> arrived{0};
  std::vector<std::thread::id> ids(3);
  // Each task waits for the others, so three threads must be at work.
  runtime.context().for_each(3, [&](std::size_t i) {
    ids[i] = std::this_thread::get_id();
    arrived.fetch_add(1);
    while (arrived.load() < 3) std::this_thread::yield();
  });
  EXPECT_TRUE(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

/// Host threads that multiply by one layer at once, on one runtime: each gets what it would get alone.
TEST(Runtime, MultipliesForSeveralThreadsAtOnce) {
  const Runtime runtime = runtime_of(3);
  Matrix<float> weight(300, 64);
  Rng random(1);
  for (std::size_t i = 0; i < weight.size(); ++i) weight.data()[i] = random.uniform() - 0.5f;
  const Linear layer =
      *Linear::from({*quantize(weight.view(), *parse_scheme("int4-g32-asym")), {}, {ActivationScheme{}, {}}});
  std::atomic<int> wrong{0};
  const auto host = [&](float first) {
    const Matrix<float> x(2, 64, first);
    Matrix<float> expected(2, 300), y(2, 300);
    if (!layer.multiply(x.view(), expected.view())) ++wrong;
    for (int turn = 0; turn < 50; ++turn) {
      if (!layer.multiply(x.view(), y.view(), runtime.context())) ++wrong;
      if (std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)) != 0) ++wrong;
    }
  };
  std::thread other(host, 0.25f);
  host(-0.5f);
  other.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Runtime, DecidesByItself) {
  const Result<Runtime> runtime = Runtime::make();
  ASSERT_TRUE(runtime);
  EXPECT_EQ(runtime->context().concurrency(), available_threads());
  EXPECT_GE(available_threads(), 1u);
}

TEST(Runtime, RefusesAnUnknownTier) {
  const Result<Runtime> runtime = Runtime::make({.threads = 1, .tier = "avx9000"});
  ASSERT_FALSE(runtime);
  EXPECT_EQ(runtime.error().code, ErrorCode::unsupported);
}

TEST(Runtime, KeepsItsContextWhenMoved) {
  Result<Runtime> first = Runtime::make({.threads = 2, .tier = "generic"});
  ASSERT_TRUE(first);
  const Context* context = &first->context();
  const Runtime moved = std::move(*first);
  EXPECT_EQ(&moved.context(), context);
  std::atomic<int> hits{0};
  moved.context().for_each(8, [&](std::size_t) { hits.fetch_add(1); });
  EXPECT_EQ(hits.load(), 8);
}

}  // namespace
}  // namespace kvant::test
