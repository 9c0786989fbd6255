#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints the WordNet definitions of one split as plain text, one document a
# line: "headwords (part of speech): gloss".
#
#   scripts/wordnet_text.sh train|valid|test [DICT_DIR]
#
# DICT_DIR holds data.noun, data.verb, data.adj and data.adv; the default is
# where Debian's wordnet-base puts them. Documents come in the order noun,
# verb, adjective, adverb, and inside each in the order of the file.
#
# This file is the one definition of the text that models/tiny was trained and
# measured on: the training tool and the demo both call it, so the measured
# documents are never among the trained ones.
#
# The split is a hash of a synset's identity (byte offset and part of speech),
# not of its position or text, so it depends on nothing but the database. The
# hash is two rounds of a Lehmer-like generator modulo 2^31-1. Every product
# stays below 2^53, so awk's doubles hold it exactly and every awk agrees; bit
# operations and hex literals are left out because mawk has neither.
#   residue mod 100:  0..93 train   94..96 valid   97..99 test

set -eu

usage() {
    echo "usage: $0 train|valid|test [DICT_DIR]" >&2
    exit 2
}

[ $# -ge 1 ] && [ $# -le 2 ] || usage
case $1 in
    train) lo=0 hi=93 ;;
    valid) lo=94 hi=96 ;;
    test) lo=97 hi=99 ;;
    *) usage ;;
esac
dict=${2:-/usr/share/wordnet}

for pos in noun verb adj adv; do
    if [ ! -r "$dict/data.$pos" ]; then
        echo "$0: cannot read $dict/data.$pos (Debian package: wordnet-base)" >&2
        exit 1
    fi
done

# The C locale makes text bytes to every awk: same output whatever the caller's
# locale is, and gawk runs faster.
LC_ALL=C
export LC_ALL

exec "${AWK:-awk}" -v lo="$lo" -v hi="$hi" '
# Two hex digits to a number, without strtonum.
function hex2(s) {
    return 16 * (index("0123456789abcdef", tolower(substr(s, 1, 1))) - 1) \
        + index("0123456789abcdef", tolower(substr(s, 2, 1))) - 1
}

BEGIN {
    M = 2147483647
    name["n"] = "noun";      posindex["n"] = 1
    name["v"] = "verb";      posindex["v"] = 2
    name["a"] = "adjective"; posindex["a"] = 3
    # A satellite adjective lives in data.adj too: same part of speech.
    name["s"] = "adjective"; posindex["s"] = 3
    name["r"] = "adverb";    posindex["r"] = 4
}

# The licence at the head of each file is indented by two spaces.
/^  / { next }

{
    # offset lex_filenum ss_type w_cnt(hex) word lex_id [word lex_id ...] ...
    h = ($1 * 48271 + posindex[$3] * 16807 + 12345) % M
    h = (h * 48271 + 12345) % M
    h = (h * 16807 + 54321) % M
    h = h % 100
    if (h < lo || h > hi) next

    words = ""
    count = hex2($4)
    for (i = 0; i < count; i++) {
        word = $(5 + 2 * i)
        # Syntactic markers of adjectives: predicate, attributive, postnominal.
        sub(/\((a|p|ip)\)$/, "", word)
        gsub(/_/, " ", word)
        words = words (i ? ", " : "") word
    }

    gloss = substr($0, index($0, " | ") + 3)
    gsub(/^[ \t\r]+/, "", gloss)
    gsub(/[ \t\r]+$/, "", gloss)
    print words " (" name[$3] "): " gloss
}
' "$dict/data.noun" "$dict/data.verb" "$dict/data.adj" "$dict/data.adv"
