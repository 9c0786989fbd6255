#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh demo|test|soak|bench: what the demo, the tests, the soak tests or the benchmarks need. On Debian and Ubuntu the
# packages that are missing are installed (as root or through sudo); elsewhere they are named. Does nothing where
# everything is there.
set -euo pipefail

# Package, and what proves it on other systems: a command, or a header.
demo_needs=(
  'cmake cmake'
  'g++ g++'
  'libcli11-dev CLI/CLI.hpp'
  'libexpected-dev tl/expected.hpp'
  'libfmt-dev fmt/core.h'
  'libpcre2-dev pcre2posix.h'
  'libutf8proc-dev utf8proc.h'
  'libxxhash-dev xxhash.h'
  'ninja-build ninja'
  'nlohmann-json3-dev nlohmann/json.hpp'
  'pkg-config pkg-config'
  'wordnet-base /usr/share/wordnet/data.noun'
)
test_needs=(
  "${demo_needs[@]}"
  'clang clang++'
  'clang-format clang-format'
  'g++-aarch64-linux-gnu aarch64-linux-gnu-g++'
  'googletest /usr/src/googletest/CMakeLists.txt'
  'libeigen3-dev eigen3/Eigen/Core'
  'libgtest-dev gtest/gtest.h'
  'libonnx-testdata /usr/share/libonnx-testdata/data/node'
  'librapidcheck-dev rapidcheck.h'
  'locales /usr/share/i18n/locales/de_DE'
  'python3 python3'
  'python3-pip pip3'
  'python3-numpy /usr/lib/python3/dist-packages/numpy'
  'qemu-user qemu-aarch64'
)

soak_needs=(
  "${test_needs[@]}"
  'clang-tidy run-clang-tidy'
  'libclang-rt-dev clang++'
  'python3-venv python3'
)

bench_needs=(
  "${demo_needs[@]}"
  'libbenchmark-dev benchmark/benchmark.h'
  'libeigen3-dev eigen3/Eigen/Core'
)

case ${1-} in
  demo) needs=("${demo_needs[@]}") ;;
  test) needs=("${test_needs[@]}") ;;
  soak) needs=("${soak_needs[@]}") ;;
  bench) needs=("${bench_needs[@]}") ;;
  *) echo "usage: $0 demo|test|soak|bench" >&2; exit 2 ;;
esac

installed() { # PACKAGE
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

present() { # COMMAND | HEADER | /FILE
  case $1 in
    /*) [[ -e $1 ]] ;;
    *.h | *.hpp | */*) echo "#include <$1>" | c++ -std=c++20 -fsyntax-only -x c++ - 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
for need in "${needs[@]}"; do
  read -r package proof <<<"$need"
  if command -v dpkg-query >/dev/null; then
    installed "$package" || missing+=("$package")
  else
    present "$proof" || missing+=("$package ($proof)")
  fi
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
  printf 'kvant needs these, by their Debian names; install them and run this again:\n' >&2
  printf '  %s\n' "${missing[@]}" >&2
  exit 1
fi

if [[ $(id -u) -eq 0 ]]; then
  sudo=()
elif command -v sudo >/dev/null; then
  sudo=(sudo)
else
  echo "installing packages needs root or sudo; as root: apt-get install ${missing[*]}" >&2
  exit 1
fi

echo "installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -o Dpkg::Use-Pty=0 "$@" </dev/null >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "apt-get $1 failed" >&2
    exit 1
  }
}
apt update
apt install --no-install-recommends "${missing[@]}"
