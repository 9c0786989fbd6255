// SPDX-License-Identifier: Apache-2.0
// Multiply by a mapped file of packed layers: `kvant pack` has written it, nothing is read before a product needs it,
// nothing is copied, and processes that map the same file share its memory.
//   06_map_packed FILE
#include <cstdio>
#include <string>

#include "kvant/io/packed_file.hpp"
#include "kvant/kernels/tiers.hpp"

int complain(const kvant::Error& error) {
  std::fprintf(stderr, "%s\n", kvant::describe(error).c_str());
  return kvant::error_info(error.code).exit_code;
}

int main(int argc, char** argv) {
  const auto file = kvant::io::PackedFile::open(argc > 1 ? argv[1] : "tiny.kvant");
  if (!file) return complain(file.error());
  if (const kvant::Status intact = file->verify(kvant::runtime()); !intact) return complain(intact.error());

  for (const kvant::io::PackedLayer& described : file->layers()) {
    const auto layer = file->layer(described, kvant::runtime());
    if (!layer) return complain(layer.error());
    kvant::Activations inputs;  // the only memory of a product, kept from call to call
    if (const kvant::Status room = layer->reserve(inputs, 1); !room) return complain(room.error());
    const kvant::Matrix<float> x(1, layer->in_features(), 0.5f);
    kvant::Matrix<float> y(1, layer->out_features());
    inputs.assign(x.view());
    if (const auto done = layer->multiply(inputs, y.view(), kvant::runtime()); !done) return complain(done.error());
    std::printf("%-40s %-12s %5zu x %-5zu y[0] = %g\n", described.name.c_str(),
                kvant::to_text(described.weight.scheme).c_str(), layer->out_features(), layer->in_features(),
                static_cast<double>(y(0, 0)));
  }
}
