#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every public header compiles alone and without warnings, with each compiler found. Left of the bar it does so without
# exceptions and RTTI, so that hosts which build with neither can include it.
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$self")/../.."

flags=(-std=c++20 -fsyntax-only -Iinclude -Werror -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
  -Wold-style-cast -Wcast-qual)
left='^include/kvant/(core|numeric|tensor|kernels|quant|calibrate|passes|linear)/'

check() { # COMPILER HEADER: the header is all of a translation unit
  local strict=()
  [[ $2 =~ $left ]] && strict=(-fno-exceptions -fno-rtti)
  echo "#include \"${2#include/}\"" | "$1" "${flags[@]}" "${strict[@]}" -x c++ - || { echo "$1: $2 does not compile alone"; return 1; }
}

if [[ $# -gt 0 ]]; then
  check "$@"
  exit
fi
for compiler in g++ clang++; do
  command -v "$compiler" >/dev/null || continue
  find include -name '*.hpp' -print0 | sort -z | xargs -0 -n 1 -P "$(nproc)" nice bash "$self" "$compiler"
done
