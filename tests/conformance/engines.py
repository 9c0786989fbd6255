# SPDX-License-Identifier: Apache-2.0
"""kvant's checkpoints in transformers: both predict the same text equally well.

    engines.py KVANT TEXT MODEL_FOLDER...

For each model and each scheme below: quantizes it, and compares the mean nll in windows of 256 ids that `kvant eval`
reports with that of transformers in float32. The ids are those of the file TEXT, or of test_ids.npy in the model's
folder where there is one. A checkpoint that the convention cannot express has to stop transformers.

Over 1024 ids the two have to agree to 1e-5 where activations are float. Where they are quantized, too, a sum that is
added in another order moves a code now and then, and all that follows with it: transformers differs from itself, and
how far is printed. These schemes have more ids, and 2e-4.

compressed-tensors computes weights in the dtype of their scales, FP4 and MX ones in bfloat16; in_float32 makes that
float32. Checkpoints with packed zero points transformers only reads when it is asked for float weights.
"""
import functools
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.pop(0)  # compressed_tensors.py beside this file is not the library

import numpy as np
import torch
import transformers
from compressed_tensors.compressors import mxfp4, mxfp8, nvfp4, pack_quantized

IDS, MORE_IDS, WINDOW = 1024, 65536, 256
MIXED = ("int4-channel", r".*\.[qkv]_proj\.weight=int8-channel", r".*\.(gate|up)_proj\.weight=fp8_e4m3fn-channel")
SCHEMES = ["int4-g128", "int4-g32", "int4-g32-asym", "int4-channel", "int8-channel", "int8-g64",
           "int8-channel/int8-token", "fp8_e4m3fn-channel", "fp8_e4m3fn-b128x128", "nvfp4", "mxfp4", "mxfp8_e4m3fn",
           "mixed", "is4"]


def in_float32():
    nvfp4.base.unpack_fp4_from_uint8 = functools.partial(nvfp4.base.unpack_fp4_from_uint8, dtype=torch.float32)
    for module in (mxfp4.base, mxfp8.base):
        scale = module.decompress_mx_scale
        module.decompress_mx_scale = lambda x, scale=scale: scale(x).float()
    packed = pack_quantized.base.PackedQuantizationCompressor
    decompress = packed.decompress.__func__

    def widened(cls, state, scheme):
        return decompress(cls, state | {"weight_scale": state["weight_scale"].float()}, scheme)

    packed.decompress = classmethod(widened)


def run(*command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {result.returncode}: {result.stderr.strip()}")
    return json.loads(result.stdout)


def from_pretrained(folder, **more):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **more)


def load(folder, **more):
    model, info = from_pretrained(folder, **more)
    wrong = {kind: sorted(names)[:3] for kind, names in info.items() if names}
    if wrong:
        raise RuntimeError(f"transformers loads it with {wrong}")
    return model.eval()


def nll(model, ids):
    total = 0.0
    with torch.no_grad():
        for window in ids.split(WINDOW):
            logits = model(window[None]).logits[0, :-1].double()
            total += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
    return total / sum(len(window) - 1 for window in ids.split(WINDOW))


def spread(model, ids):
    """The greatest distance between results when products add up in three other orders."""
    linear, found = torch.nn.functional.linear, []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)

        def permuted(x, weight, bias=None, generator=generator):
            order = torch.randperm(x.shape[-1], generator=generator)
            return linear(x[..., order], weight[:, order], bias)

        torch.nn.functional.linear = permuted
        found.append(nll(model, ids))
    torch.nn.functional.linear = linear
    return max(found) - min(found)


def compare(kvant, folder, ids, activations):
    """What to print about a checkpoint, and whether it is right."""
    config = json.loads((folder / "config.json").read_text()).get("quantization_config", {})
    if config.get("quant_method") == "kvant":
        try:
            _, info = from_pretrained(folder)
        except Exception as error:  # whichever: it has stopped
            return f"not in the convention; transformers stops: {str(error).splitlines()[0][:58]}", True
        return f"not in the convention, but transformers runs it, {len(info['missing_keys'])} weights random", False
    packed_zeros = any(not g["weights"]["symmetric"] for g in config.get("config_groups", {}).values())
    more = {"quantization_config": transformers.CompressedTensorsConfig(dequantize=True)} if packed_zeros else {}
    model = load(folder, **more)
    theirs = nll(model, ids)
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, ids.numpy().astype(np.int32))
        ours = run(kvant, "eval", folder, "--text", file.name, "--context", WINDOW, "--json", "--quiet")["nll"]
    bound = 2e-4 if activations else 1e-5
    text = f"kvant {ours:.7f}, transformers {theirs:.7f}, difference {ours - theirs:+.1e}, allowed {bound:.0e}"
    if activations:
        text += f"; {len(ids)} ids, transformers differs from itself by {spread(model, ids):.1e}"
    return text, abs(ours - theirs) <= bound


def check(kvant, model, scheme, ids):
    ids = ids[: MORE_IDS if "/" in scheme else IDS]
    with tempfile.TemporaryDirectory() as temporary:
        folder = model
        try:
            if scheme != "as it is":
                folder = pathlib.Path(temporary) / "q"
                first, *rules = MIXED if scheme == "mixed" else (scheme,)
                run(kvant, "quantize", model, "-o", folder, "--scheme", first, "--json", "--quiet",
                    *[word for rule in rules for word in ("--rule", rule)])
            text, right = compare(kvant, folder, ids, "/" in scheme)
        except Exception as error:  # what transformers raises has many names
            text, right = f"{type(error).__name__}: {str(error).strip()}".replace("\n", " ")[:300], False
    print(f"{'ok  ' if right else 'FAIL'} {model.name} {scheme}: {text}", flush=True)
    return right


def main():
    kvant, text, *models = [pathlib.Path(word) for word in sys.argv[1:]]
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    in_float32()
    right = True
    for model in models:
        if (model / "test_ids.npy").exists():
            ids = torch.from_numpy(np.load(model / "test_ids.npy").astype(np.int64))
        else:
            tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            ids = torch.tensor(tokenizer(text.read_text()[: 16 * MORE_IDS])["input_ids"])
        for scheme in ["as it is", *SCHEMES]:
            right &= check(kvant, model, scheme, ids)
    sys.exit(not right)


if __name__ == "__main__":
    main()
