#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# soak.sh [MINUTES] [fuzz|tsan|tidy|sweep|engines|all]: what takes too long for every change. All of them unless one is
# named:
#   fuzz  each fuzz target for MINUTES (default 10), from the corpus it has collected so far in build/fuzz-corpus; a
#         finding stays in build/fuzz-findings
#   tsan  the tests under the thread sanitizer
#   tidy  clang-tidy (.clang-tidy) over the library, the program and the examples; all of its words are in
#         build/tidy.log
#   sweep ten million random numbers for each format, direction and profile, against the oracle
#   engines
#         kvant's checkpoints in transformers, which comes from PyPI (6 GB in build/engines); skipped where that is out
#         of reach
# A step that finds something does not keep the next from running; the script then ends with an error.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=10
[[ ${1-} =~ ^[0-9]+$ ]] && { minutes=$1; shift; }
step=${1-all}
[[ $# -le 1 && $step =~ ^(fuzz|tsan|tidy|sweep|engines|all)$ ]] ||
  { echo "usage: $0 [MINUTES] [fuzz|tsan|tidy|sweep|engines|all]" >&2; exit 2; }
scripts/deps.sh soak
failed=0

fuzz() {
  local target name corpus findings seeds
  scripts/build.sh fuzz all
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
}

tsan() {
  echo '== tsan'
  scripts/build.sh tsan all -DKVANT_BUILD_TESTS=ON
  ctest --preset tsan --parallel "$(nproc)" --label-exclude once |
    grep -Ev '^ +Start +[0-9]+:|^ *[0-9]+/[0-9]+ Test .* Passed ' || failed=1
}

# clang is the compiler, because clang-tidy does not know all flags of another. Nothing is built. What it finds in a
# header it says once for each file that includes it.
tidy() {
  echo '== clang-tidy'
  cmake --preset dev -B build/tidy -DCMAKE_CXX_COMPILER=clang++ -DKVANT_BUILD_TESTS=OFF >/dev/null
  run-clang-tidy -p build/tidy -quiet -j "$(nproc)" '/(src|examples)/' >build/tidy.log 2>/dev/null || failed=1
  sed 's/\x1b\[[0-9;]*m//g' build/tidy.log | grep -E ': (warning|error): ' | sort -u || true
}

sweep() {
  echo '== sweep'
  scripts/build.sh release test_numeric -DKVANT_BUILD_TESTS=ON
  KVANT_TEST_CASES=10000000 ctest --preset release --parallel "$(nproc)" --tests-regex '^numeric/.*Sweep' |
    grep -Ev '^ +Start +[0-9]+:|^ *[0-9]+/[0-9]+ Test .* Passed ' || failed=1
}

engines() {
  echo '== engines'
  local python=build/engines/bin/python models=(models/tiny)
  [[ -z ${KVANT_TEST_DATA-} ]] || models+=("$KVANT_TEST_DATA/lm/stories260K-hf")
  if ! "$python" -c 'import compressed_tensors, torch, transformers' 2>/dev/null; then
    python3 -m venv build/engines
    if ! "$python" -m pip install --quiet --no-deps compressed-tensors; then
      echo 'skipped: no PyPI'
      return
    fi
    "$python" -m pip install --quiet compressed-tensors torch transformers || { failed=1; return; }
  fi
  scripts/build.sh release kvant_cli
  scripts/wordnet_text.sh test >build/engines.txt
  "$python" -m pip list 2>/dev/null | grep -E '^(compressed-tensors|torch|transformers) '
  "$python" tests/conformance/engines.py build/release/kvant build/engines.txt "${models[@]}" 2>build/engines.log ||
    { failed=1; echo 'what was said besides is in build/engines.log'; }
}

for each in fuzz tsan tidy sweep engines; do
  [[ $step == all || $step == "$each" ]] && "$each"
done
exit "$failed"
