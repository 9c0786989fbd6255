#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# soak.sh [MINUTES]: each fuzz target for that long (default 10), from the corpus it has collected so far in
# build/fuzz-corpus. A finding stays in build/fuzz-findings, and the script ends with an error.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-10}
[[ $minutes =~ ^[0-9]+$ ]] || { echo "usage: $0 [MINUTES]" >&2; exit 2; }
scripts/deps.sh test
scripts/build.sh fuzz all

failed=0
for target in build/fuzz/fuzz/*_fuzz; do
  name=$(basename "$target")
  corpus=build/fuzz-corpus/$name
  findings=build/fuzz-findings/$name
  mkdir -p "$corpus" "$findings"
  seeds=()
  [[ -d fuzz/seeds/$name ]] && seeds=("fuzz/seeds/$name")
  echo "== $name, $minutes min"
  "$target" -max_total_time=$((60 * minutes)) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$findings/" "$corpus" "${seeds[@]}" 2>&1 | tail -n 15 || failed=1
done
exit "$failed"
