#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each .cpp file here must not compile, and the compiler must say what its `// expect:` line says. `// flags:` adds
# options. Usage: compile_fail.sh COMPILER [FILE...]. A file without its error in it must compile, or the test would
# pass for any broken include: a preamble of the same headers alone is compiled first.
set -u
compiler=${1:-c++}
shift || true
here=$(cd "$(dirname "$0")" && pwd)
include=$(cd "$here/../../include" && pwd)
failures=0
[ $# -gt 0 ] || set -- "$here"/*.cpp

for file in "$@"; do
  name=$(basename "$file" .cpp)
  expect=$(sed -n 's|^// expect: ||p' "$file")
  read -r -a flags <<< "$(sed -n 's|^// flags: ||p' "$file")"
  if [ -z "$expect" ]; then
    echo "FAILED: $name has no '// expect:' line"
    failures=$((failures + 1))
    continue
  fi
  if ! grep '^#include' "$file" | "$compiler" -std=c++20 -I"$include" -fsyntax-only -x c++ - 2> /dev/null; then
    echo "FAILED: the headers of $name do not compile"
    failures=$((failures + 1))
    continue
  fi
  if message=$("$compiler" -std=c++20 -I"$include" -fsyntax-only "${flags[@]}" "$file" 2>&1); then
    echo "FAILED: $name compiles"
    failures=$((failures + 1))
  elif ! grep -qF -- "$expect" <<< "$message"; then
    echo "FAILED: $name does not say '$expect' but:"
    head -5 <<< "$message"
    failures=$((failures + 1))
  else
    echo "refused: $name"
  fi
done
exit $((failures != 0))
