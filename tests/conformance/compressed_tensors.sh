#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# compressed_tensors.sh KVANT: compressed_tensors.py under every scheme that the convention expresses, on the embedded
# model and, where there is test data, on one whose 172 columns fill no group and no word. Skipped (77) without numpy.
set -euo pipefail

here=$(dirname "$0")
python=python3
"$python" -c 'import numpy' 2>/dev/null || python=/usr/bin/python3

pack=(int4-channel int4-channel-asym int8-channel int8-channel-asym int8-channel-scale:fp32)
int=(int8-channel/int8-token int8-channel-asym/int8-token int8-tensor/int8-token)
float=(fp8_e4m3fn-tensor fp8_e4m3fn-channel fp8_e4m3fn-channel-scale:fp32)
"$python" "$here/compressed_tensors.py" "$1" "$here/../../models/tiny" "${pack[@]}" "${int[@]}" "${float[@]}" \
  int4-g32 int4-g128 int4-g128-asym int4-g64-scale:bf16 int4-g32-asym-scale:fp32 int8-g64 int8-g32-asym \
  fp8_e4m3fn-b128x128 fp8_e4m3fn-b96x64-scale:bf16 nvfp4 mxfp4 mxfp8_e4m3fn own:is4 own:int3-g64 own:int4-g128-full \
  'int4-g128 .*\.v_proj\.weight=int8-channel .*\.down_proj\.weight=fp8_e4m3fn-channel .*\.o_proj\.weight=nvfp4'

[[ -n ${KVANT_TEST_DATA-} ]] || exit 0
model=$KVANT_TEST_DATA/lm/stories260K-hf
"$python" "$here/compressed_tensors.py" "$1" "$model" "${pack[@]}" "${int[@]}" "${float[@]}" \
  int4-g4 int4-g4-asym int8-g2-asym fp8_e4m3fn-b64x4 own:int4-g128 own:fp8_e4m3fn-b128x128 own:nvfp4 own:mxfp4 \
  own:mxfp8_e4m3fn
