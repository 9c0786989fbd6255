#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# build.sh PRESET TARGET [CMAKE OPTION…]: configures and builds build/PRESET, in silence unless it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=$1 target=$2
shift 2
mkdir -p build
log=build/$preset.log
if ! { cmake --preset "$preset" "$@" && cmake --build --preset "$preset" --parallel "$(nproc)" --target "$target"; } >"$log" 2>&1; then
  tail -n 60 "$log" >&2
  echo "build/$preset failed; all of its output is in $log" >&2
  exit 1
fi
