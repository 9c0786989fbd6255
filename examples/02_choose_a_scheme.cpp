// SPDX-License-Identifier: Apache-2.0
// Which scheme for this weight? Try several by their text form and print size against error, with and without the
// search for each group's scale.
#include <cstdio>

#include "kvant/kvant.hpp"

int main() {
  kvant::Matrix<float> weight(128, 512);
  kvant::Rng random(2);
  for (std::size_t i = 0; i < weight.size(); ++i) {
    // Near-normal, with an outlier now and then, as real weights have.
    const float bell = random.uniform() + random.uniform() + random.uniform() - 1.5f;
    weight.data()[i] = 0.05f * bell * (random.uniform() > 0.998f ? 6.0f : 1.0f);
  }
  std::printf("%-20s %12s %12s %12s\n", "scheme", "bits/weight", "plain dB", "searched dB");
  double last = 0;
  for (const char* text : {"int2-g32", "ternary-channel", "int3-g64", "int4-g128", "nf4-g64", "int4-g32-asym",
                           "fp8_e4m3fn-channel", "int8-channel"}) {
    const auto scheme = kvant::parse_scheme(text);
    if (!scheme) return 1;
    double decibel[2] = {};
    for (const bool search : {false, true}) {
      const auto q = kvant::quantize(weight.view(), *scheme, {search, kvant::NonFinite::error});
      if (!q) return 1;
      const kvant::Matrix<float> back = kvant::dequantize(*q);
      kvant::DistortionMeter meter;
      meter.add({weight.data(), weight.size()}, {back.data(), back.size()});
      decibel[search ? 1 : 0] = meter.result().sqnr_db;
    }
    const double bits = static_cast<double>(kvant::stored_bits(*scheme, 128, 512)) / (128 * 512);
    std::printf("%-20s %12.3f %12.2f %12.2f\n", text, bits, decibel[0], decibel[1]);
    last = decibel[1];
  }
  return last > 35 ? 0 : 1;
}
