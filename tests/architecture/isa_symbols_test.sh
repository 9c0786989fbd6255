#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# isa_symbols_test.sh NM OBJECT…: the object of a tier shares no code with the rest of the program. A weak symbol in it
# could be the one that the linker keeps for everybody, and would then run on processors that lack its instructions; a
# call of anything but the C library's memory functions could reach such a symbol elsewhere.
set -euo pipefail

nm=$1
shift
[[ $# -gt 0 ]] || { echo "usage: $0 NM OBJECT…"; exit 2; }
memory='memcpy|memmove|memset|memcmp|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_'
failed=0
for object in "$@"; do
  symbols=$("$nm" -C "$object")
  defined=$(grep -E ' T ' <<<"$symbols" || true)
  [[ -n $defined ]] || { echo "$object defines nothing"; failed=1; }
  weak=$(grep -E ' [WwVvu] ' <<<"$symbols" || true)
  [[ -z $weak ]] || { printf '%s holds weak symbols:\n%s\n' "$object" "$weak"; failed=1; }
  calls=$(grep -E ' U ' <<<"$symbols" | grep -Ev " U ($memory)\$" || true)
  [[ -z $calls ]] || { printf '%s calls:\n%s\n' "$object" "$calls"; failed=1; }
done
exit "$failed"
