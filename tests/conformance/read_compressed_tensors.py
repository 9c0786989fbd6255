# SPDX-License-Identifier: Apache-2.0
"""The weights that a compressed-tensors checkpoint stands for, read with numpy from the convention's definition alone.

    read_weights(FOLDER) -> {"X.weight": float32 array of rows x columns}

Formats: pack-quantized (int4, int8, with or without packed zero points), int-quantized, float-quantized (per tensor,
channel or block), nvfp4-pack-quantized, mxfp4-pack-quantized, mxfp8-quantized.
"""
import json

import numpy as np

# Floats that numpy does not have are read as their bits.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "I64": "<i8", "I32": "<i4",
          "I8": "i1", "U8": "u1"}


def read_tensors(folder):
    """Every stored tensor: its dtype's name and its elements."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        for name, info in json.loads(raw[8:start]).items():
            if name != "__metadata__":
                begin, end = info["data_offsets"]
                data = np.frombuffer(raw[start + begin : start + end], DTYPES[info["dtype"]])
                tensors[name] = info["dtype"], data.reshape(info["shape"])
    return tensors


def e4m3(codes):  # sign, 4 bits of exponent with bias 7, 3 of mantissa; no Inf
    exponent, mantissa = codes >> 3 & 15, codes & 7
    value = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent.astype(int) - 10))
    return np.where(codes & 127 == 127, np.nan, np.where(codes & 128, -value, value)).astype(np.float32)


def e2m1(codes):
    return np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)[codes & 7] * np.where(codes & 8, -1, 1).astype(np.float32)


def as_float(tensor):
    dtype, x = tensor
    if dtype == "BF16":
        return (x.astype(np.uint32) << 16).view(np.float32)
    return e4m3(x) if dtype == "F8_E4M3" else x.astype(np.float32)


def unpack(words, bits, count):  # along the columns, lowest bits first, each code plus 2^(bits - 1)
    fields = words.view(np.uint32)[..., None] >> np.arange(0, 32, bits, dtype=np.uint32) & np.uint32(2**bits - 1)
    return fields.reshape(len(words), -1)[:, :count].astype(np.float32) - 2.0 ** (bits - 1)


def read_weight(t, name, args, form):
    if "fp4" in form:
        packed = t[name + "_packed"][1]
        q = e2m1(np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1))  # the low nibble first
    elif form == "pack-quantized":
        q = unpack(t[name + "_packed"][1], args["num_bits"], t[name + "_shape"][1][1])
    else:
        q = as_float(t[name])
    scale = as_float(t[name + "_scale"])
    if form.startswith("mx"):
        scale = np.ldexp(np.float32(1), scale.astype(int) - 127)
    if form.startswith("nvfp4"):
        scale = scale / as_float(t[name + "_global_scale"])
    scale = scale.reshape(1, 1) if scale.size == 1 else scale
    height, width = args.get("block_structure") or (len(q) // len(scale), q.shape[1] // scale.shape[1])

    def spread(x):
        return x.repeat(height, axis=0).repeat(width, axis=1)[: len(q), : q.shape[1]]

    if not args["symmetric"]:
        dtype, zero = t[name + "_zero_point"]
        zero = unpack(zero.T.copy(), args["num_bits"], len(scale)).T if dtype == "I32" else zero.astype(np.float32)
        q = q - spread(zero)
    return q * spread(scale)


def read_weights(folder):
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    tensors = read_tensors(folder)
    weights = {}
    for group in config["config_groups"].values():
        for name in [n.removesuffix("_scale") for n in tensors if n.endswith(".weight_scale")]:
            module = name.removesuffix(".weight")
            if "Linear" in group["targets"] or module in group["targets"]:
                weights[name] = read_weight(tensors, name, group["weights"], group.get("format", config["format"]))
    return weights
