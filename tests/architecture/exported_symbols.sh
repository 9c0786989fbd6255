#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# exported_symbols.sh LIBKVANT.SO: what the shared library shows to the world is kvant's own (src/kvant.map), and no
# static constructor runs when it is loaded.
set -euo pipefail

library=$1
symbols=$(nm -DC --defined-only "$library" | cut -c20-)
[[ -n $symbols ]] || { echo "$library exports nothing"; exit 1; }
failed=0
complain() { # TITLE LINES
  [[ -z $2 ]] && return
  printf '%s:\n%s\n' "$1" "$2"
  failed=1
}
own='(typeinfo for |typeinfo name for |vtable for )?kvant::'
complain 'exported, but not kvant' "$(grep -Ev "^$own" <<<"$symbols" || true)"
complain 'generic kernels exported' "$(grep -E '^kvant::kernels::generic' <<<"$symbols" || true)"

# Variables that a consumer's copy would replace: only constants, type information and the contract handler may be.
weak=$(nm -DC --defined-only "$library" | sed -nE 's/^[0-9a-f]+ [VuBD] //p')
complain 'variables exported' "$(grep -Ev '::k[A-Z][A-Za-z0-9]*$|^(typeinfo|vtable)|^kvant::detail::contract_handler$' <<<"$weak" || true)"
complain 'static constructors' "$(nm -C "$library" | grep -E '_GLOBAL__sub_I|__static_initialization' || true)"
exit "$failed"
