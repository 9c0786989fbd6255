#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh: from a bare machine to quantized models, measured. Installs what it needs, builds the library and the program,
# and compares the embedded model in full and in low precision on text that it was not trained on.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/deps.sh demo
echo 'building kvant …'
scripts/build.sh release kvant_cli -DKVANT_BUILD_TESTS=OFF
kvant=build/release/kvant

mkdir -p build/demo
text=build/demo/test.txt
scripts/wordnet_text.sh test >"$text"

"$kvant" --version

# The number under KEY in the JSON document of FILE; empty where it is null.
number() { # KEY FILE
  grep -o "\"$1\": *[-+0-9.e]*" "$2" | head -n 1 | sed 's/.*: *//'
}
# The mean of all numbers under KEY.
mean() { # KEY FILE
  grep -o "\"$1\": *[-+0-9.e]*" "$2" | awk -F': *' '$2 != "" { s += $2; n++ } END { if (n) printf "%.1f", s / n }'
}

echo
echo "models/tiny, quantized and evaluated on WordNet definitions that it was not trained on ($(wc -c <"$text") bytes held out):"
echo
printf '| %-18s | %11s | %12s | %7s | %16s | %15s | %7s | %8s |\n' \
  scheme bits/weight 'weight bytes' 'SQNR dB' perplexity 'KL nats' top-1 tokens/s
printf '|%s\n' '--------------------|------------:|-------------:|--------:|-----------------:|----------------:|--------:|---------:|'
for scheme in bf16 int8-channel fp8_e4m3fn-channel mxfp4 nvfp4 int4-g128 int4-g32 nf4-g64 nf4-g64-dq is4 int3-g64 is3 \
  int2-g32 is2 ternary-channel; do
  out=build/demo/$scheme
  "$kvant" quantize models/tiny -o "$out" --scheme "$scheme" --force --quiet --json >"$out.quantize.json"
  "$kvant" eval "$out" --text "$text" --tokens 16384 --quiet --json >"$out.eval.json"
  "$kvant" compare models/tiny "$out" --text "$text" --tokens 8192 --quiet --json >"$out.compare.json"
  sqnr=$(mean sqnr_db "$out.quantize.json")
  awk -v scheme="$scheme" -v sqnr="${sqnr:-exact}" -v bits="$(number bits_per_weight "$out.eval.json")" \
    -v bytes="$(number weight_bytes "$out.eval.json")" -v ppl="$(number perplexity "$out.eval.json")" \
    -v err="$(number nll_stderr "$out.eval.json")" -v speed="$(number prompt_tokens_per_s "$out.eval.json")" \
    -v kl="$(number kl_mean "$out.compare.json")" -v kl_err="$(number kl_stderr "$out.compare.json")" \
    -v top="$(number top1_agreement "$out.compare.json")" 'BEGIN {
      printf "| %-18s | %11.3f | %12d | %7s | %8.3f ± %5.3f | %6.4f ± %6.4f | %5.1f %% | %8.0f |\n", scheme, bits, bytes,
             sqnr, ppl, ppl * err, kl, kl_err, 100 * top, speed }'
done
echo
echo 'KL: divergence from the float model per token; top-1: how often both predict the same token first.'

echo
echo 'A layer of 4096 x 4096 on this machine:'
echo
"$kvant" bench --shape 4096x4096 --m 1,128 --op 'gemm_.*' --quiet

prompt='lighthouse (noun):'
echo
echo "A definition, before and after:"
for model in bf16 int4-g32 int2-g32; do
  printf '%10s  ' "$model"
  "$kvant" generate "build/demo/$model" --prompt "$prompt" -n 40 --quiet | head -n 1
done
