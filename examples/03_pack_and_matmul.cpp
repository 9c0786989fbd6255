// SPDX-License-Identifier: Apache-2.0
// Pack a quantized layer and multiply by it. Header-only this runs on the generic kernels; with the library linked,
// `kvant::runtime()` brings the fast ones and all threads, and the very same result.
#include <cmath>
#include <cstdio>

#include "kvant/kvant.hpp"
#ifdef KVANT_LINKED
#include "kvant/kernels/tiers.hpp"
#endif

int main() {
  constexpr std::size_t kOut = 96, kIn = 256, kTokens = 3;
  kvant::Matrix<float> weight(kOut, kIn), x(kTokens, kIn), y(kTokens, kOut);
  kvant::Rng random(3);
  for (std::size_t i = 0; i < weight.size(); ++i) weight.data()[i] = random.uniform() - 0.5f;
  for (std::size_t i = 0; i < x.size(); ++i) x.data()[i] = random.uniform() - 0.5f;

  const auto scheme = kvant::parse_scheme("int4-g32");
  auto quantized = kvant::quantize(weight.view(), *scheme, {true, kvant::NonFinite::error});
  if (!quantized) return 1;
  const kvant::Matrix<float> exact = kvant::dequantize(*quantized);
  const auto layer = kvant::Linear::from(kvant::QLinear{std::move(*quantized), {}});
  if (!layer) return 1;

#ifdef KVANT_LINKED
  const kvant::Context& context = kvant::runtime();
#else
  const kvant::Context context;
#endif
  if (const kvant::Status ok = layer->multiply(x.view(), y.view(), context); !ok) {
    std::printf("%s\n", kvant::describe(ok.error()).c_str());
    return 1;
  }
  double worst = 0;
  for (std::size_t i = 0; i < kTokens; ++i)
    for (std::size_t j = 0; j < kOut; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < kIn; ++k) sum += static_cast<double>(x(i, k)) * static_cast<double>(exact(j, k));
      worst = std::fmax(worst, std::fabs(sum - static_cast<double>(y(i, j))));
    }
  std::printf("%s on the %s kernels: %zu bytes packed, largest difference to double precision %.2e\n",
              kvant::to_text(layer->scheme()).c_str(), context.kernels().tier, layer->bytes().size(), worst);
  return worst < 1e-4 ? 0 : 1;
}
