#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# unchanged.sh STAMP PATH… -- COMMAND…: runs a command whose result only these files, the compilers, Python's numpy, the
# processor and the folder of test data decide, unless all of them are what they were when it last passed.
set -euo pipefail

stamp=$1
shift
paths=()
while [[ $1 != -- ]]; do
  paths+=("$1")
  shift
done
shift

state() {
  find "${paths[@]}" -type f -print0 | sort -z | xargs -0 sha256sum
  for tool in g++ clang++ aarch64-linux-gnu-g++ qemu-aarch64; do
    if command -v "$tool" >/dev/null; then "$tool" --version; else echo "no $tool"; fi
  done
  python3 -c 'import sys, numpy; print(sys.version, numpy.__version__)' 2>/dev/null || echo 'no numpy'
  grep -m 1 '^model name' /proc/cpuinfo || true
  printf '%s\n' "${KVANT_TEST_DATA-}" "$@"
}

now=$(state "$@" | sha256sum)
if [[ -f $stamp && $(<"$stamp") == "$now" ]]; then
  echo 'passed before; nothing that decides it has changed since'
  exit 0
fi
rm -f "$stamp"
"$@"
echo "$now" >"$stamp"
