#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# ml_dtypes_cast.sh KVANT BUILD_FOLDER: ml_dtypes_cast.py with the package ml_dtypes, which is fetched from PyPI into the
# build folder once; skipped (77) where there is no numpy, or neither the package nor a way to it.
set -euo pipefail

python=python3
"$python" -c 'import numpy' 2>/dev/null || python=/usr/bin/python3
packages=$2/python
export PYTHONPATH=$packages
if ! "$python" -c 'import ml_dtypes' 2>/dev/null; then
  timeout 100 "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$packages" \
    'ml_dtypes==0.5.*' 2>/dev/null || echo 'ml_dtypes could not be fetched'
fi
exec "$python" "$(dirname "$0")/ml_dtypes_cast.py" "$1"
