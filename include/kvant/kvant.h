// SPDX-License-Identifier: Apache-2.0
/* kvant for C (C11) and for C++ before C++20: packed layers of a file that `kvant pack` wrote, and y = x * W^T on
 * memory and threads of the caller's. Nothing throws; kvant_multiply() takes no memory. Handles may be used by several
 * threads at once, but for closing them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 0, or what went wrong: the classes of the program's exit codes (docs/cli.md). kvant_error::name is the exact error.
 */
typedef int32_t kvant_status;
enum { KVANT_OK = 0 };

/* What went wrong, as text that ends in a NUL; cut where it is longer. Functions that take one accept a null pointer.
 */
typedef struct kvant_error {
  kvant_status status;
  char name[32];     /* "bad_shape": a name of `kvant list errors` */
  char message[472]; /* what was found and expected, where, and what to do */
} kvant_error;

/* "0.1.0" */
const char* kvant_version(void);

/* ---- files --------------------------------------------------------------------------------------------------------
 */

typedef struct kvant_file kvant_file;

/* Maps a file and checks all but the content of its tensors. */
kvant_status kvant_open(const char* path, kvant_file** file, kvant_error* error);
/* The same of a file's bytes in memory, which begin at a multiple of 64, stay and do not change while the file is open.
 */
kvant_status kvant_open_buffer(const void* bytes, size_t size, kvant_file** file, kvant_error* error);
/* Reads everything and compares its hashes. */
kvant_status kvant_verify(const kvant_file* file, kvant_error* error);
/* After its layers were closed; a null pointer is closed already. */
void kvant_close(kvant_file* file);

size_t kvant_layer_count(const kvant_file* file);
/* The name of its weight's tensor, which ends in a NUL; null beyond the last layer. */
const char* kvant_layer_name(const kvant_file* file, size_t index);

/* ---- layers -------------------------------------------------------------------------------------------------------
 */

typedef struct kvant_layer kvant_layer;

/* A layer with its bias, for the fastest kernels of this machine (KVANT_TIER forces some). It reads the file's bytes;
 * it takes memory for a copy where these kernels want another order than the file has. */
kvant_status kvant_layer_open(const kvant_file* file, const char* name, kvant_layer** layer, kvant_error* error);
void kvant_layer_close(kvant_layer* layer);

size_t kvant_layer_inputs(const kvant_layer* layer);
size_t kvant_layer_outputs(const kvant_layer* layer);
/* "int4-g128/int8-token" */
const char* kvant_layer_scheme(const kvant_layer* layer);
/* Bytes that a product of so many rows needs; SIZE_MAX where no memory could hold them. */
size_t kvant_scratch_bytes(const kvant_layer* layer, size_t rows);

/* ---- products -----------------------------------------------------------------------------------------------------
 */

typedef enum kvant_type { KVANT_F32 = 0, KVANT_BF16 = 1, KVANT_F16 = 2 } kvant_type;

/* The caller's threads: run() calls task(context, i, worker) for each i below `count`, in any order, maybe at once, and
 * returns when all are done; worker < concurrency, and no two tasks under way share one. */
typedef struct kvant_executor {
  void* self;
  unsigned concurrency; /* at least 1, always the same */
  void (*run)(void* self, size_t count, void (*task)(void* context, size_t index, unsigned worker), void* context);
} kvant_executor;

/* y = scale * (x * W^T + bias), or y plus that. Rows of x and y are `stride` elements apart. */
typedef struct kvant_product {
  size_t size; /* sizeof(kvant_product) */
  size_t rows;
  const void* x; /* [rows, inputs] */
  size_t x_stride;
  kvant_type x_type;
  void* y; /* [rows, outputs] */
  size_t y_stride;
  kvant_type y_type;
  float scale;
  int accumulate;                 /* not 0: y plus the product */
  int float_inputs;               /* not 0: inputs are taken as they are, whatever the scheme rounds them to */
  void* scratch;                  /* begins at a multiple of 64 */
  size_t scratch_size;            /* at least kvant_scratch_bytes(layer, rows) */
  const kvant_executor* executor; /* null: the calling thread alone */
} kvant_product;

/* { sizeof(kvant_product), 0, … }, with a scale of 1. */
kvant_product kvant_product_default(void);

/* Results depend on no thread, tier, or other row. Nothing is written where it fails. */
kvant_status kvant_multiply(const kvant_layer* layer, const kvant_product* product, kvant_error* error);

#ifdef __cplusplus
}
#endif
