// SPDX-License-Identifier: Apache-2.0
// A number format of your own: learn eight levels from a weight, quantize with them, look at the error, and multiply.
// Levels that are known beforehand can also be a type: struct mine : kvant::Codebook<MyLevels>, and quantize<mine>().
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "kvant/kvant.hpp"

constexpr std::size_t kOut = 64, kIn = 512, kGroup = 32;

// One round of k-means: every level goes to the mean of the weights nearest to it, each divided by its group's largest.
std::vector<float> improved(const std::vector<float>& levels, const kvant::Matrix<float>& weight) {
  const auto book = kvant::RuntimeCodebook::make("levels", levels);
  if (!book) return levels;
  std::vector<float> sum(levels.size()), count(levels.size());
  for (const float* group = weight.data(); group != weight.data() + weight.size(); group += kGroup) {
    float largest = 1e-30f;
    for (std::size_t i = 0; i < kGroup; ++i) largest = std::max(largest, std::fabs(group[i]));
    for (std::size_t i = 0; i < kGroup; ++i) {
      const std::uint32_t code = kvant::format_info(book->id()).encode(group[i] / largest);
      sum[code] += group[i] / largest;
      count[code] += 1;
    }
  }
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = count[i] != 0 ? sum[i] / count[i] : levels[i];
  return sum;
}

int main() {
  kvant::Matrix<float> weight(kOut, kIn), x(1, kIn, 0.5f), y(1, kOut);
  kvant::Rng random(5);
  for (std::size_t i = 0; i < weight.size(); ++i)  // many small numbers and a few large ones
    weight.data()[i] = std::pow(random.uniform(), 4.0f) * (random.uniform() < 0.5f ? -0.1f : 0.1f);

  std::vector<float> levels{-1, -0.5f, -0.25f, -0.1f, 0.1f, 0.25f, 0.5f, 1};  // 2 to 256, ascending
  for (int round = 0; round < 20; ++round) levels = improved(levels, weight);
  const auto book = kvant::RuntimeCodebook::make("mine", levels);  // must outlive what is quantized with it
  if (!book) return std::puts(kvant::describe(book.error()).c_str()), 1;
  kvant::Scheme scheme;
  scheme.format = book->id();
  scheme.granularity = kvant::PerGroup{kGroup};
  const auto mine = kvant::quantize(weight.view(), scheme, {.search = true});
  const auto int3 = kvant::quantize(weight.view(), *kvant::parse_scheme("int3-g32"), {.search = true});
  if (!mine || !int3) return 1;

  kvant::DistortionMeter of_mine, of_int3;
  of_mine.add({weight.data(), weight.size()}, {kvant::dequantize(*mine).data(), weight.size()});
  of_int3.add({weight.data(), weight.size()}, {kvant::dequantize(*int3).data(), weight.size()});
  const double error = of_mine.result().relative_error, of_integers = of_int3.result().relative_error;
  const auto layer = kvant::Linear::from({*mine, {}});  // packed: it runs on the kernels for 4-bit codes
  if (!layer || !layer->multiply(x.view(), y.view())) return 1;
  std::printf("%s: relative error %.3f, int3-g32 %.3f; first output %g\n", kvant::to_text(scheme).c_str(), error,
              of_integers, static_cast<double>(y(0, 0)));
  return error < of_integers ? 0 : 1;
}
