#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# minilm.sh KVANT: a BERT encoder of 36 linear layers, quantized in four ways and read by others: its reports are
# numpy's, its values those of an independent reader, and is4 has a lower error than int4-g128. The model is what
# scripts/get_minilm.sh leaves in the cache; skipped (77) where it is not there, or no numpy.
set -euo pipefail

here=$(dirname "$0")
model=${XDG_CACHE_HOME:-$HOME/.cache}/kvant/minilm
if [[ ! -f $model/model.safetensors ]]; then
  echo "$model is not there; scripts/get_minilm.sh fetches it"
  exit 77
fi
python=python3
"$python" -c 'import numpy' 2>/dev/null || python=/usr/bin/python3
"$python" "$here/compressed_tensors.py" "$1" "$model" int8-channel int4-g128 nvfp4 own:is4
"$python" "$here/is4_against_int4.py" "$1" "$model"
