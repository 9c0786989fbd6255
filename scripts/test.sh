#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# test.sh: everything that must hold. Installs what it needs, then checks the format of the sources, and builds and
# tests under the sanitizers, for 64-bit ARM (headers and kernels, emulated), and as released.
# Larger test data is looked for in $KVANT_TEST_DATA; tests that need it are skipped where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/deps.sh test
if [[ -z ${KVANT_TEST_DATA-} && -d ../shared/data ]]; then
  KVANT_TEST_DATA=$(realpath ../shared/data)
  export KVANT_TEST_DATA
fi

echo '== format'
find include src tests fuzz examples bench -regex '.*\.\(hpp\|cpp\|inl\|h\)' -print0 2>/dev/null |
  xargs -0 clang-format --dry-run --Werror

check() { # PRESET [CTEST OPTION…]
  echo "== $1: build"
  scripts/build.sh "$1" all -DKVANT_BUILD_TESTS=ON
  echo "== $1: test"
  ctest --preset "$1" --parallel "$(nproc)" "${@:2}" | grep -Ev '^ +Start +[0-9]+:|^ *[0-9]+/[0-9]+ Test .* Passed '
}

check asan-ubsan --label-exclude once
check aarch64-qemu
check release
