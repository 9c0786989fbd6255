#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# readme_commands_test.sh SOURCE_DIR KVANT: runs the commands of README.md's console block. (Its C++ example is built as
# an example.)
set -euo pipefail

source=$1 kvant=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/bin"
ln -s "$kvant" "$work/bin/kvant"
ln -s "$source/models" "$work/models"
head -c 2000 "$source/models/tiny/README.md" >"$work/held_out.txt"
cd "$work"
awk '$0 == "```console" { inside = 1; next } /^```/ { inside = 0 } inside' "$source/README.md" | sed -n 's/^\$ //p' >commands
[[ -s commands ]] || { echo 'README.md has no commands' >&2; exit 1; }
while IFS= read -r command; do
  echo "$ $command"
  PATH="$work/bin:$PATH" bash -euc "$command" </dev/null
done <commands
