// SPDX-License-Identifier: Apache-2.0
/* Multiply by the layers of a packed file from C: the file is mapped, memory is the program's own.
 *   07_packed FILE
 */
#include <stdio.h>
#include <stdlib.h>

#include "kvant/kvant.h"

static int complain(const kvant_error* error) {
  fprintf(stderr, "%s: %s\n", error->name, error->message);
  return error->status;
}

static int run(const kvant_file* file, const char* name) {
  kvant_error error;
  kvant_layer* layer = NULL;
  if (kvant_layer_open(file, name, &layer, &error) != KVANT_OK) return complain(&error);

  const size_t in = kvant_layer_inputs(layer), out = kvant_layer_outputs(layer);
  const size_t scratch = (kvant_scratch_bytes(layer, 1) + 63) / 64 * 64;
  float* x = malloc(in * sizeof *x);
  float* y = malloc(out * sizeof *y);
  kvant_product product = kvant_product_default();
  product.rows = 1;
  product.x = x;
  product.x_stride = in;
  product.y = y;
  product.y_stride = out;
  product.scratch = aligned_alloc(64, scratch + 64); /* once, for all calls */
  product.scratch_size = scratch;
  int status = 1;
  if (x != NULL && y != NULL && product.scratch != NULL) {
    for (size_t i = 0; i < in; ++i) x[i] = 0.5f;
    status = kvant_multiply(layer, &product, &error); /* takes no memory */
    if (status != KVANT_OK) complain(&error);
    if (status == KVANT_OK)
      printf("%-40s %-12s %5zu x %-5zu y[0] = %g\n", name, kvant_layer_scheme(layer), out, in, (double)y[0]);
  }
  free(product.scratch);
  free(y);
  free(x);
  kvant_layer_close(layer);
  return status;
}

int main(int argc, char** argv) {
  kvant_error error;
  kvant_file* file = NULL;
  if (kvant_open(argc > 1 ? argv[1] : "tiny.kvant", &file, &error) != KVANT_OK) return complain(&error);
  int status = kvant_verify(file, &error) == KVANT_OK ? 0 : complain(&error);
  for (size_t i = 0; status == 0 && i < kvant_layer_count(file); ++i) status = run(file, kvant_layer_name(file, i));
  kvant_close(file);
  return status;
}
