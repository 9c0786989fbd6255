#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# is4_against_int4.sh KVANT: is4_against_int4.py on the embedded model and, where there is test data, on another.
set -euo pipefail

here=$(dirname "$0")
models=("$here/../../models/tiny")
[[ -z ${KVANT_TEST_DATA-} ]] || models+=("$KVANT_TEST_DATA/lm/stories260K-hf")
exec python3 "$here/is4_against_int4.py" "$1" "${models[@]}"
