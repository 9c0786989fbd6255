#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# bench.sh: builds as released and prints, as Markdown, what this machine does: layers on one thread and on all of
# them, conversions between floats and codes on one thread, and int4 against Eigen. Keep the machine otherwise idle.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/deps.sh bench
echo 'building kvant …' >&2
scripts/build.sh release kvant_cli -DKVANT_BUILD_BENCH=ON
scripts/build.sh release kvant_bench
bin=build/release

echo "## Machine"
echo
"$bin/kvant" --version | sed 's/^/    /'
"$bin/kvant" doctor | sed -n 's/^\(cpu\|caches\|huge pages\) /    \1 /p'
echo
echo "## Linear layers"
for threads in $(printf '%s\n' 1 "$(nproc)" | uniq); do
  echo
  "$bin/kvant" bench --op 'gemm_.*' --threads "$threads"
done
echo
echo "## Conversions"
echo
"$bin/kvant" bench --shape 4096x4096 --op '(encode|narrow|widen|fit)_.*|decode' --threads 1

echo
echo "## Eigen"
echo
if [[ -x $bin/bench/bench_eigen ]]; then
  "$bin/bench/bench_eigen"
else
  echo 'Eigen is not installed.'
fi
