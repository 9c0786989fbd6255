// SPDX-License-Identifier: Apache-2.0
// The C interface from C++17, with threads of the program's own.
//   08_packed_cpp17 FILE
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "kvant/kvant.h"

using File = std::unique_ptr<kvant_file, void (*)(kvant_file*)>;
using Layer = std::unique_ptr<kvant_layer, void (*)(kvant_layer*)>;
using Task = void (*)(void* context, std::size_t index, unsigned worker);

void run_on_threads(void*, std::size_t count, Task task, void* context) {
  std::atomic<std::size_t> next{0};
  const auto work = [&](unsigned worker) {
    for (std::size_t i = next++; i < count; i = next++) task(context, i, worker);
  };
  std::thread second(work, 1u);
  work(0);
  second.join();
}

int main(int argc, char** argv) {
  kvant_error error;
  kvant_file* opened = nullptr;
  if (kvant_open(argc > 1 ? argv[1] : "tiny.kvant", &opened, &error) != KVANT_OK)
    return std::fprintf(stderr, "%s: %s\n", error.name, error.message), error.status;
  const File file(opened, &kvant_close);
  const kvant_executor threads{nullptr, 2, &run_on_threads};
  for (std::size_t i = 0; i < kvant_layer_count(file.get()); ++i) {
    kvant_layer* found = nullptr;
    if (kvant_layer_open(file.get(), kvant_layer_name(file.get(), i), &found, &error) != KVANT_OK)
      return std::fprintf(stderr, "%s: %s\n", error.name, error.message), error.status;
    const Layer layer(found, &kvant_layer_close);
    const std::size_t in = kvant_layer_inputs(found), out = kvant_layer_outputs(found), rows = 3;
    std::vector<float> x(rows * in, 0.5f), y(rows * out);
    const std::size_t bytes = kvant_scratch_bytes(found, rows);
    const std::unique_ptr<void, void (*)(void*)> scratch(std::aligned_alloc(64, (bytes + 127) / 64 * 64), &std::free);
    kvant_product product = kvant_product_default();
    product.rows = rows;
    product.x = x.data();
    product.x_stride = in;
    product.y = y.data();
    product.y_stride = out;
    product.scratch = scratch.get();
    product.scratch_size = bytes;
    product.executor = &threads;
    if (kvant_multiply(found, &product, &error) != KVANT_OK)
      return std::fprintf(stderr, "%s: %s\n", error.name, error.message), error.status;
    std::printf("%-40s y[0] = %g\n", kvant_layer_name(file.get(), i), static_cast<double>(y[0]));
  }
}
