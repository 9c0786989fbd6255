#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# link_order_test.sh CXX SOURCE_DIR OBJECT_DIR KVANT LIBRARIES…: what a consumer compiles does not change what the library
# computes. Builds tests/package/consumer.cpp with flags that tempt a compiler to fuse and vectorize, links it with the
# library's objects before and after its own, and expects the bytes that the program KVANT writes.
set -euo pipefail

cxx=$1 source=$2 objects=$3 kvant=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mapfile -t object_files < <(find "$objects" -name '*.o' | sort)
"$cxx" -std=c++20 -O3 -march=native -ffp-contract=fast -I"$source/include" -c "$source/tests/package/consumer.cpp" -o "$work/consumer.o"
"$cxx" "$work/consumer.o" "${object_files[@]}" "$@" -o "$work/consumer_first"
"$cxx" "${object_files[@]}" "$work/consumer.o" "$@" -o "$work/consumer_last"

for scheme in int4-g32 nf4-g64 int3-g64-asym; do
  "$kvant" quantize "$source/models/tiny" -o "$work/expected" --scheme "$scheme" --force --quiet >/dev/null
  for order in first last; do
    "$work/consumer_$order" "$source/models/tiny" "$work/$order" "$scheme"
    diff --recursive "$work/expected" "$work/$order"
  done
done
echo 'the same bytes in both link orders'
