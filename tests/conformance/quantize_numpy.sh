#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# quantize_numpy.sh KVANT: quantize_numpy.py on the schemes of the demo; skipped (77) without test data or numpy.
set -euo pipefail

if [[ -z ${KVANT_TEST_DATA-} ]]; then
  echo 'KVANT_TEST_DATA is not set'
  exit 77
fi
model=$KVANT_TEST_DATA/lm/stories260K-hf
python=python3
"$python" -c 'import numpy' 2>/dev/null || python=/usr/bin/python3
exec "$python" "$(dirname "$0")/quantize_numpy.py" "$1" "$model" "$model/test_ids.npy" 3072 bf16 int8-channel \
  fp8_e4m3fn-channel mxfp4 nvfp4 int4-g128 int4-g32 nf4-g64 nf4-g64-dq is4 int3-g64 is3 int2-g32 is2 ternary-channel
