#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Quantized bytes do not depend on compiler, flags or architecture: builds PROGRAM (quantize_hash.cpp) in many ways and
# compares what the programs print. Usage: quantize_flags.sh [BUILD_FOLDER [PROGRAM]]. Compilers that are absent are named
# and skipped.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${1:-$(mktemp -d)}
program=${2:-quantize_hash.cpp}
mkdir -p "$build"
first=""
failures=0
built=0

try() { # try RUNNER COMPILER FLAGS...
  local runner=$1 compiler=$2
  shift 2
  if ! command -v "$compiler" > /dev/null || { [ -n "$runner" ] && ! command -v "$runner" > /dev/null; }; then
    echo "skipped: $compiler $*"
    return
  fi
  local out="$build/hash-$built"
  built=$((built + 1))
  if ! "$compiler" -std=c++20 "$@" -I"$root/include" "$here/$program" -o "$out" -pthread; then
    echo "FAILED to build: $compiler $*"
    failures=$((failures + 1))
    return
  fi
  if ! $runner "$out" > "$out.txt"; then
    echo "FAILED under some environment: $compiler $*"
    failures=$((failures + 1))
  fi
  [ -n "$first" ] || first="$out.txt"
  if cmp -s "$first" "$out.txt"; then
    echo "same: $compiler $*"
  else
    echo "DIFFERENT: $compiler $*"
    diff "$first" "$out.txt"
    failures=$((failures + 1))
  fi
}

try "" g++ -O2
try "" g++ -O0
try "" g++ -O3 -march=native -ffp-contract=fast
try "" g++ -O2 -march=native -frounding-math -fno-trapping-math -fno-math-errno
try "" clang++ -O2 -ffp-contract=fast -march=native
try "" clang++ -O0
try qemu-aarch64 aarch64-linux-gnu-g++ -O2 -static
try qemu-aarch64 aarch64-linux-gnu-g++ -O3 -ffp-contract=fast -static

exit $((failures != 0))
