#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# old_cpu_test.sh PROGRAM [ARGUMENT…]: runs a test program on an emulated processor of 2006, which has no AVX. Any
# instruction of a better tier that leaked into common code ends it. Exit 77 (skipped) without qemu-user.
set -euo pipefail

[[ $# -gt 0 ]] || { echo "usage: $0 PROGRAM [ARGUMENT…]"; exit 2; }
qemu=$(command -v qemu-x86_64) || { echo "qemu-x86_64 is not installed (package qemu-user)"; exit 77; }
unset KVANT_TIER
exec "$qemu" -cpu Conroe "$@"
