// SPDX-License-Identifier: Apache-2.0
// A matrix times a vector on one thread, weights from memory: int4-g128 on float activations against Eigen's sgemv.
// The bar is 3 times Eigen's speed: int4 weights are a fraction of the bytes.
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "eigen_sgemv.hpp"
#include "kvant/core/rng.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/tensor/matrix.hpp"
#include "measure/bench_case.hpp"

namespace {

using namespace kvant;
using namespace kvant::measure;

constexpr LayerShape kShape{14336, 4096};
constexpr std::size_t kRotatedBytes = std::size_t{1} << 30;
constexpr std::size_t kRounds = 9;

/// Eigen's contender and its data.
class Eigen {
 public:
  Eigen() : x_(random(1, kShape.k)), y_(1, kShape.n) {
    const std::size_t bytes = kShape.n * kShape.k * sizeof(float);
    copies_.assign(kRotatedBytes / bytes + 1, random(kShape.n, kShape.k));
  }

  [[nodiscard]] BenchCase contender() {
    BenchCase c;
    c.op = "eigen_sgemv";
    c.scheme = "fp32";
    c.n = kShape.n;
    c.k = kShape.k;
    c.m = 1;
    c.arithmetic = Arithmetic::f32;
    c.operations = 2.0 * static_cast<double>(c.n * c.k);
    c.bytes = static_cast<double>(c.n * c.k * sizeof(float));
    c.run = [this]() -> Status {
      next_ = (next_ + 1) % copies_.size();
      eigen_sgemv(copies_[next_].data(), kShape.n, kShape.k, x_.data(), y_.data());
      return {};
    };
    c.check = [this] { return check(); };
    return c;
  }

 private:
  static Matrix<float> random(std::size_t rows, std::size_t cols) {
    Matrix<float> m(rows, cols);
    Rng rng(rows);
    for (std::size_t r = 0; r < rows; ++r)
      for (float& x : m.row(r)) x = rng.uniform() - 0.5f;
    return m;
  }

  /// Any order of additions is within k * 2^-24 of the sum of magnitudes.
  Status check() {
    eigen_sgemv(copies_[0].data(), kShape.n, kShape.k, x_.data(), y_.data());
    for (std::size_t r = 0; r < kShape.n; ++r) {
      double sum = 0;
      double magnitude = 0;
      for (std::size_t c = 0; c < kShape.k; ++c) {
        const double product = static_cast<double>(copies_[0](r, c)) * static_cast<double>(x_(0, c));
        sum += product;
        magnitude += std::fabs(product);
      }
      const double bound = static_cast<double>(kShape.k) * 0x1p-24 * magnitude;
      if (!(std::fabs(static_cast<double>(y_(0, r)) - sum) <= bound))
        return fail(ErrorCode::threshold, "Eigen's product is wrong in row " + std::to_string(r));
    }
    return {};
  }

  std::vector<Matrix<float>> copies_;
  std::size_t next_ = 0;
  Matrix<float> x_, y_;
};

Result<std::vector<BenchRow>> contend() {
  const auto one_thread = Runtime::make({.threads = 1, .tier = ""});
  if (!one_thread) return propagate(one_thread);
  BenchOptions options;
  options.row_counts = {1};
  options.op = "int4-g128";
  options.rounds = kRounds;
  options.weight_bytes = kRotatedBytes;
  auto cases = linear_cases(kShape, options, one_thread->context());
  if (!cases) return propagate(cases);
  Eigen eigen;
  cases->push_back(eigen.contender());
  Limits limits(one_thread->context());
  return measure(*cases, options, limits, [](const BenchCase&) { return true; });
}

}  // namespace

int main() {
  const auto rows = contend();
  if (!rows) return std::fprintf(stderr, "bench_eigen: %s\n", describe(rows.error()).c_str()), 1;
  std::printf("%zu x %zu times a vector, one thread, copies of %zu MiB\n\n", kShape.n, kShape.k, kRotatedBytes >> 20);
  std::printf("| contender   | ms min | ms median | GB/s | of read | vs Eigen |\n");
  std::printf("|:------------|-------:|----------:|-----:|--------:|---------:|\n");
  for (const BenchRow& r : *rows)
    std::printf("| %-11s | %6.3f | %9.3f | %4.1f | %5.0f %% | %6.2f x |\n",
                r.scheme == "fp32" ? r.op.c_str() : r.scheme.c_str(), 1e3 * r.seconds_min, 1e3 * r.seconds_median,
                r.gb_per_s, r.percent_of_read, r.times_fp32.value_or(1));
}
