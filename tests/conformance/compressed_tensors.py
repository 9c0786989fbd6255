# SPDX-License-Identifier: Apache-2.0
"""kvant's compressed-tensors checkpoints against an independent reader of the convention, bit for bit.

    compressed_tensors.py KVANT MODEL_FOLDER SCHEME...

For each scheme: quantizes the model, and checks that
- the output is the convention, every quantized weight and no other is outside of `ignore`, and nothing is read as more
  than one weight;
- read_compressed_tensors.py finds the very values that `kvant dequantize` writes;
- sqnr_db and relative_error of the report are those of these values against the original, to 1e-6.
A scheme after `own:` is one that the convention has no way to express for this model: its output must say so, and its
report is checked against `kvant dequantize` alone.
Exits with 77 (skipped) where numpy is not installed.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("numpy is not installed")
    sys.exit(77)

from read_compressed_tensors import as_float, read_tensors, read_weights


def run(*command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {result.returncode}: {result.stderr}")
    return result.stdout


def check_report(scheme, report, original, stored):
    for tensor in report["tensors"]:
        if tensor["action"] != "quantize":
            continue
        x, y = (as_float(t[tensor["name"]]).astype(np.float64) for t in (original, stored))
        signal, noise = float(np.sum(x * x)), float(np.sum((x - y) ** 2))
        worst = max(abs(tensor["sqnr_db"] - 10 * np.log10(signal / noise)),
                    abs(tensor["relative_error"] - np.sqrt(noise / signal)))
        if not worst <= 1e-6:
            sys.exit(f"{scheme}: {tensor['name']}: the report is off by {worst:.2e}, expected at most 1e-6")


def check_targets(scheme, model_config, tensors, quantized):
    """Engines take every linear layer for quantized that `ignore` does not name, a head without a tensor among them."""
    config = model_config["quantization_config"]
    modules = {name.removesuffix(".weight") for name in quantized}
    matrices = {n.removesuffix(".weight") for n, (_, x) in tensors.items() if n.endswith(".weight") and x.ndim == 2}
    floats = matrices - modules
    if model_config.get("tie_word_embeddings"):
        floats.add("lm_head")
    if floats != set(config["ignore"]):
        sys.exit(f"{scheme}: float layers {sorted(floats)}, but ignored are {sorted(config['ignore'])}")
    named = [t for group in config["config_groups"].values() for t in group["targets"]]
    if named != ["Linear"] and sorted(named) != sorted(modules):
        sys.exit(f"{scheme}: the targets are {named}")


def check(kvant, model, scheme, folder, original):
    own = scheme.startswith("own:")
    scheme = scheme.removeprefix("own:")
    rules = [word for rule in scheme.split(" ")[1:] for word in ("--rule", rule)]
    report = json.loads(run(kvant, "quantize", model, "-o", folder / "q", "--scheme", scheme.split(" ")[0], *rules,
                            "--json", "--quiet"))
    run(kvant, "dequantize", folder / "q", "-o", folder / "d", "--quiet")
    expected = read_tensors(folder / "d")
    check_report(scheme, report, original, expected)
    names = {t["name"] for t in report["tensors"] if t["action"] == "quantize"}
    model_config = json.loads((folder / "q" / "config.json").read_text())
    config = model_config["quantization_config"]
    if config["quant_method"] != ("kvant" if own else "compressed-tensors"):
        sys.exit(f"{scheme}: the convention is {config['quant_method']}")
    if own:
        print(f"{scheme}: {len(names)} reports agree")
        return
    check_targets(scheme, model_config, read_tensors(folder / "q"), names)
    found = read_weights(folder / "q")
    if set(found) != names:
        sys.exit(f"{scheme}: read {sorted(found)}, expected {sorted(names)}")
    for name, values in found.items():
        x = as_float(expected[name])
        different = values.shape != x.shape or np.flatnonzero(values.view(np.uint32) != x.view(np.uint32))
        if np.size(different):
            i = 0 if different is True else different[0]
            sys.exit(f"{scheme}: {name}: {values.shape}, element {i} is {values.flat[i]!r}, kvant has {x.flat[i]!r}")
    print(f"{scheme}: {len(found)} weights of {config['format']} agree")


def main():
    kvant, model = sys.argv[1], pathlib.Path(sys.argv[2])
    original = read_tensors(model)
    for scheme in sys.argv[3:]:
        with tempfile.TemporaryDirectory() as folder:
            check(kvant, model, scheme, pathlib.Path(folder), original)


if __name__ == "__main__":
    main()
