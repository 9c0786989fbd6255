#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# any_locale.sh TEST_PROGRAM…: runs test programs in a locale with a decimal comma, which is made for it. That takes
# localedef and its sources (package locales on Debian); skipped without.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if ! localedef -i de_DE -f UTF-8 "$scratch/de_DE.UTF-8" 2>"$scratch/why"; then
  echo "skipped: the locale de_DE.UTF-8 cannot be made: $(head -n 1 "$scratch/why")"
  exit 77
fi
# What glibc itself makes of LOCPATH it never frees.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export LOCPATH=$scratch KVANT_TEST_LOCALE=de_DE.UTF-8 GTEST_BRIEF=1
for program in "$@"; do
  "$program" --gtest_filter='-Bench.*:Stories.*' # which take long and print nothing of their own
done
