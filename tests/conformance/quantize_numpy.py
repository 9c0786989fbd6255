# SPDX-License-Identifier: Apache-2.0
"""kvant's reports and packed kernels against numpy.

    quantize_numpy.py KVANT MODEL_FOLDER IDS.npy TOKENS SCHEME...

For each scheme: quantizes the model, dequantizes it, and checks that
- sqnr_db and relative_error of the report equal what numpy finds between the two float checkpoints, to 1e-6;
- `kvant eval` on packed weights equals an independent float64 forward of the dequantized checkpoint within 1e-3 nats.
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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden" / "nn"))
from llama_numpy import Llama, read_safetensors  # noqa: E402


def run(*command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {result.returncode}: {result.stderr}")
    return result.stdout


def read_folder(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(read_safetensors(path))
    return tensors


def check_errors(scheme, report, original, stored):
    worst = 0.0
    for tensor in report["tensors"]:
        if tensor["action"] != "quantize":
            continue
        x, y = original[tensor["name"]], stored[tensor["name"]]
        signal, noise = float(np.sum(x * x)), float(np.sum((x - y) ** 2))
        worst = max(worst, abs(tensor["sqnr_db"] - 10 * np.log10(signal / noise)))
        worst = max(worst, abs(tensor["relative_error"] - np.sqrt(noise / signal)))
    if worst > 1e-6:
        sys.exit(f"{scheme}: the report is off by {worst:.2e}, expected at most 1e-6")
    return worst


def main():
    kvant, model, ids_path, tokens = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), int(sys.argv[4])
    ids = np.load(ids_path).astype(np.int64)[:tokens]
    original = read_folder(model)
    for scheme in sys.argv[5:]:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            report = json.loads(run(kvant, "quantize", model, "-o", folder / "q", "--scheme", scheme, "--json", "--quiet"))
            is_cast = scheme in ("fp32", "fp16", "bf16")
            if not is_cast:
                run(kvant, "dequantize", folder / "q", "-o", folder / "d", "--dtype", "fp32", "--quiet")
            floats = folder / ("q" if is_cast else "d")
            worst = check_errors(scheme, report, original, read_folder(floats))
            packed = json.loads(run(kvant, "eval", folder / "q", "--text", ids_path, "--tokens", tokens, "--json", "--quiet"))
            reference = Llama(floats)
            context = min(reference.config["max_position_embeddings"], 2048)
            pieces = [ids[i : i + context] for i in range(0, len(ids), context)]
            nll = sum(reference.nll(p) for p in pieces) / sum(len(p) - 1 for p in pieces)
            difference = abs(packed["nll"] - nll)
            print(f"{scheme}: nll {packed['nll']:.6f}, numpy {nll:.6f}, report off by {worst:.1e}")
            if not difference <= 1e-3:
                sys.exit(f"{scheme}: packed weights give {packed['nll']}, numpy {nll}")


if __name__ == "__main__":
    main()
