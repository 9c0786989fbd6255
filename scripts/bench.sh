#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# bench.sh: builds as released and prints, as Markdown, what layers do on this machine: on one
# thread and on all of them, and int4 against Eigen. Keep the machine otherwise idle.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/deps.sh bench
echo 'building kvant …' >&2
scripts/build.sh release kvant_cli -DKVANT_BUILD_BENCH=ON
scripts/build.sh release kvant_bench
bin=build/release

echo "## Linear layers"
echo
"$bin/kvant" --version | sed 's/^/    /'
"$bin/kvant" doctor | sed -n 's/^\(cpu\|caches\|huge pages\) /    \1 /p'
for threads in $(printf '%s\n' 1 "$(nproc)" | uniq); do
  echo
  "$bin/kvant" bench --threads "$threads"
done

echo
echo "## Eigen"
echo
if [[ -x $bin/bench/bench_eigen ]]; then
  "$bin/bench/bench_eigen"
else
  echo 'Eigen is not installed.'
fi
