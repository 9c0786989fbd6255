# SPDX-License-Identifier: Apache-2.0
"""is4 against int4-g128, both with the default search: on at least 95 % of a model's linear layers the weight error of
is4 (relative_error of the report) is the lower one.

    is4_against_int4.py KVANT MODEL...
"""
import json
import pathlib
import subprocess
import sys
import tempfile


def errors(kvant, model, scheme, folder):
    command = [kvant, "quantize", model, "-o", folder / scheme, "--scheme", scheme, "--json", "--quiet"]
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{model}: exit {result.returncode}: {result.stderr}")
    return {t["name"]: t["relative_error"] for t in json.loads(result.stdout)["tensors"] if t["action"] == "quantize"}


def main():
    for model in sys.argv[2:]:
        with tempfile.TemporaryDirectory() as folder:
            is4, int4 = (errors(sys.argv[1], model, s, pathlib.Path(folder)) for s in ("is4", "int4-g128"))
        lower = sum(is4[name] < int4[name] for name in int4)
        ratios = sorted(is4[name] / int4[name] for name in int4)
        print(f"{model}: is4 has the lower error on {lower} of {len(int4)} layers,"
              f" {ratios[0]:.3f} to {ratios[-1]:.3f} times that of int4-g128")
        if not int4 or lower < 0.95 * len(int4):
            sys.exit(1)


if __name__ == "__main__":
    main()
