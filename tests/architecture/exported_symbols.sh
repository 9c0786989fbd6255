#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# exported_symbols.sh LIBKVANT.SO VERSION: what the shared library shows to the world is kvant's own (src/kvant.map), each
# name under the node KVANT_VERSION, and no static constructor runs when it is loaded.
set -euo pipefail

library=$1 node=KVANT_$2
# `TYPE NAME@@NODE` for each symbol; the node itself is none.
exported=$(nm -DC --defined-only --with-symbol-versions "$library" | sed -nE 's/^[0-9a-f]+ //p' |
  grep -Ev "^A $node(@@$node)?\$" || true)
[[ -n $exported ]] || { echo "$library exports nothing"; exit 1; }
failed=0
complain() { # TITLE LINES
  [[ -z $2 ]] && return
  printf '%s:\n%s\n' "$1" "$2"
  failed=1
}
complain "not under the version $node" "$(grep -v "@@$node\$" <<<"$exported" || true)"
symbols=$(sed 's/@.*//' <<<"$exported")
names=$(cut -c3- <<<"$symbols")
own='((typeinfo for |typeinfo name for |vtable for )?kvant::|kvant_[a-z_]+$)'
complain 'exported, but not kvant' "$(grep -Ev "^$own" <<<"$names" || true)"
complain 'generic kernels exported' "$(grep -E '^kvant::kernels::generic' <<<"$names" || true)"

# Variables that a consumer's copy would replace: only constants, type information and the contract handler may be.
weak=$(sed -nE 's/^[VuBD] //p' <<<"$symbols")
complain 'variables exported' "$(grep -Ev '::k[A-Z][A-Za-z0-9]*$|^(typeinfo|vtable)|^kvant::detail::contract_handler$' <<<"$weak" || true)"
complain 'static constructors' "$(nm -C "$library" | grep -E '_GLOBAL__sub_I|__static_initialization' || true)"
exit "$failed"
