// SPDX-License-Identifier: Apache-2.0
// Everything left of the bar: number formats, quantizers, packed layers. Header-only, usable with no link step, on the
// generic kernels; linking the library adds the fast ones (kernels/tiers.hpp), files (io/), text (text/), models (nn/)
// and whole runs (pipeline/).
#pragma once

// core: errors as values, contracts, checked arithmetic, executors, random numbers, a portable logarithm,
//   numbers as text
#include "kvant/core/by_name.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/error.hpp"
#include "kvant/core/executor.hpp"
#include "kvant/core/first_failure.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/core/log.hpp"
#include "kvant/core/number_text.hpp"
#include "kvant/core/rng.hpp"
// numeric: integers, minifloats, codebooks, and the list of formats
#include "kvant/numeric/formats.hpp"
#include "kvant/numeric/profile.hpp"
#include "kvant/numeric/runtime_codebook.hpp"
// tensor: dtypes, matrices and views, sub-byte views
#include "kvant/tensor/bits.hpp"
#include "kvant/tensor/dtype.hpp"
#include "kvant/tensor/matrix.hpp"
#include "kvant/tensor/stack.hpp"
// kernels: the seam, the generic tier, contexts
#include "kvant/kernels/context.hpp"
#include "kvant/kernels/generic.hpp"
#include "kvant/kernels/kernels.hpp"
#include "kvant/kernels/layout.hpp"
// quant: schemes, scales, codes, error measures
#include "kvant/quant/choose.hpp"
#include "kvant/quant/columns.hpp"
#include "kvant/quant/distortion.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/quant/granularity.hpp"
#include "kvant/quant/grid.hpp"
#include "kvant/quant/integer_scale_rule.hpp"
#include "kvant/quant/integer_scales.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qlinear.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/rows.hpp"
#include "kvant/quant/scheme.hpp"
// calibrate: observers, from values to the range that a scale covers; what is known of a layer's inputs
#include "kvant/calibrate/observers.hpp"
#include "kvant/calibrate/statistics.hpp"
// passes: methods
#include "kvant/passes/passes.hpp"
// linear: packed layers
#include "kvant/linear/activations.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/linear/pack.hpp"
#include "kvant/linear/packed_shape.hpp"
#include "kvant/linear/packed_weight.hpp"
