#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes small checkpoints with the library compressed_tensors, and what that library makes of them.

  pip install torch==2.15.0 transformers==4.57.6 compressed-tensors==0.12.2  # weight_g_idx, 2:4 sparsity, older JSON
  pip install torch==2.15.0 transformers==5.23.0 compressed-tensors==0.17.1  # 3, 5, 6 and 7 bits with padding
  pip install torch==2.15.0 transformers==5.23.0 compressed-tensors==0.20.1  # all else; the last of the three to run
  tests/golden/conventions/compressed_tensors/make.py [NAME...]              # in three environments, one for each line

With transformers 5.24 this library would leave out key-value caches without a word: it looks for past_key_values among
the arguments of attention, which are called cache there.

Each folder beside this file is a random LlamaForCausalLM that took the way of a tool: apply_quantization_config, scales
from minima and maxima (calculate_qparams), ModelCompressor.compress_model, save_pretrained, update_config. What was
changed by hand afterwards, because this library does not write it, is said under `edited`. expected.json has for each
folder the library that wrote it, and either `refuse` (why a reader has to stop) or
- `weights`: shape, zlib.crc32 of the float32 little-endian bytes and the first 8 values of each quantized weight. The
  values are those of the library with scales widened to float32 first and every operation in float32; FORMULAS below
  computes them a second time, without it. Signs of zeros count.
- `nll`: mean negative log-likelihood of ids[1:] in one window, in float32, with activations and the key-value cache
  quantized as the configuration says, by the library's own forward;
  `nll_float_cache`: the same with a float cache, where there is a kv_cache_scheme;
  `nll_float_activations`: with neither, which is what a reader gets that only dequantizes;
  `nll_range`: the least and the greatest `nll` of 24 orders of summation in the layers' products. Symmetric integer
  activations make it wide: a row whose largest magnitude m is negative is divided by m / 127.5, and whether -127.5 or
  its neighbour comes out, -128 or -127, hangs on the last bit of m;
- `activations`: the arithmetic that `nll` has, in words of the formulas below;
- `transformers`: true where AutoModelForCausalLM.from_pretrained in float32 gives the same `nll` to 1e-6, else what it
  gives instead. Weights of FP4 and MX it computes in bfloat16, which is exact for MX.
activations.safetensors has rows `x` (ordinary ones, outliers of either sign, zeros, tiny and huge numbers) and for each
kind of activations what the library makes of them, which a reader can have to the bit: NAME.scale and NAME.zero_point
where they are dynamic, NAME.value.

FORMULAS

Weights (compressors/*/base.py, quantization/lifecycle/forward_helpers.py: _dequantize):
  integer              (code - zero_point) * scale        codes in two's complement, packed ones plus 2^(bits-1)
  fp8                  code * scale
  nvfp4                code * (scale / global_scale)      the division first; scale is an E4M3
  mxfp4, mxfp6, mxfp8  code * 2^(scale - 127)

Activations, each before the product of its layer, x of shape [batch, tokens, columns]:
  range                quantization/utils/helpers.py: calculate_range
                       int: -2^(b-1) .. 2^(b-1)-1; fp8: -448 .. 448; fp4: -6 .. 6
  min, max             helpers.py: compute_dynamic_scales_and_zp, calculate_qparams
                       over the columns of a token (token), over everything in the call (tensor), over each group of
                       group_size columns (group, tensor_group); then min(min, 0) and max(max, 0). A last short group is
                       an error (unflatten), so is one group longer than the columns.
  symmetric            scale = max(-min, max) / ((hi - lo) / 2): amax / 127.5 for int8, amax / 448 for fp8; zero point 0
  asymmetric           scale = (max - min) / (hi - lo): / 255 for int8
                       zero_point = round(clamp(lo - min / scale, lo, hi)), half to even; `scale` is still without the
                       next line here, so that a row of zeros gives 0 / 0: NaN, which becomes the integer 0 on x86-64
  zero scales          a scale of exactly 0 becomes 2^-23 (the epsilon of float32; that of the dtype the model runs in),
                       one with scale_dtype float8_e4m3fn 0.125, one with scale_dtype uint8 1 (never reached: 2^-127 is
                       not 0). Up to 0.12: scales below 2^-23 become 2^-23.
  static               input_scale, input_zero_point of the file, widened to float32
  tensor_group         (NVFP4, "dynamic": "local") with input_global_scale of the file and in float32,
                       s = E4M3(clamp(global * (amax / 6), -448, 448)); 0 becomes 0.125; the scale that divides and
                       multiplies is s / global
  group of 32, uint8   (MX) quantization/utils/mxfp_utils.py: with the bits u of amax in float32,
                       p = (u + (1 << 21)) & 0xff800000: up to the next power of two from a mantissa of 1.75 on,
                       e = clamp(127 + floor(log2(p)) - n, 0, 255) with n = 2 for fp4 and fp6, 8 for fp8; fp6 adds
                       1 << 19 instead. The scale is 2^(e - 127), an amax of 0 gives 2^-127
  codes                lifecycle/forward_helpers.py: _quantize_dequantize
                       q = round(clamp(x / scale + zero_point, lo, hi)), a division, half to even; fp8 by a cast to
                       float8_e4m3fn (half to even), fp4 by quantization/utils/fp4_utils.py: half to even, too; what is
                       negative and rounds to zero is -0, a weight's code 8
  value                (q - zero_point) * scale
  kv_cache_scheme      modeling/kvcache.py: keys after the rotation and values, by k_scale and v_scale of self_attn
                       (one, or one for each head with strategy attn_head)
  output_activations   lifecycle/forward.py: quantized_forward: the product of the layer, after the bias

Which group a layer has (utils/match.py: match_targets): that with its full name as a target, else that with the `re:`
pattern which is first in the order of their text, of those that match (re.match: from the start of the name, not to its
end), else that with the first name of a class of the module (Linear, Module). The order of groups and of targets does
not matter, but for a target that two groups have: the last has it. `ignore` knows the same three kinds.
"""
import dataclasses
import json
import random
import re
import shutil
import sys
import zlib
from pathlib import Path

import compressed_tensors
import numpy as np
import safetensors.torch
import torch
import transformers
from compressed_tensors.compressors import BaseCompressor, ModelCompressor
from compressed_tensors.quantization import (QuantizationArgs, QuantizationConfig, QuantizationScheme,
                                             QuantizationStatus, apply_quantization_config, preset_name_to_scheme)
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
LIBRARY = compressed_tensors.__version__
NEW, PADDED, OLD = "0.20.1", "0.17.1", "0.12.2"
VOCABULARY = 16
_ids = random.Random(20250607)
IDS = [_ids.randrange(1, VOCABULARY) for _ in range(48)]
IDS[0] = IDS[31] = 0  # a token whose activations are zero
FUSED = [("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")]


# ---- what is made ----


def q(kind, strategy=None, group=None, **more):
    """q("int4", group=32), q("float8", "token", dynamic=True)"""
    letters, bits = re.fullmatch(r"([a-z]+)(\d+)", kind).groups()
    if strategy:
        more["strategy"] = strategy
    elif group and group > 0:
        more["strategy"] = "group"
    return QuantizationArgs(num_bits=int(bits), type=letters, group_size=group, **more)


def scheme(weights, inputs=None, *, outputs=None, targets=("Linear",), form=None):
    return QuantizationScheme(targets=list(targets), weights=weights, input_activations=inputs,
                              output_activations=outputs, format=form)


def preset(name, *, targets=("Linear",)):
    return preset_name_to_scheme(name, list(targets))


ATTENTION, MLP = [r"re:.*self_attn\.[qkvo]_proj$"], [r"re:.*mlp\..*_proj$"]
TOKEN = dict(strategy="token", dynamic=True)
STATIC = dict(strategy="tensor", dynamic=False)


@dataclasses.dataclass
class Case:
    what: str
    groups: callable  # -> the schemes, made late: each library knows others
    library: str = NEW
    reader: str = None  # the library that says what it stands for, if not the same
    ignore: tuple = ("lm_head",)
    model: dict = dataclasses.field(default_factory=dict)
    dtype: torch.dtype = torch.bfloat16
    kv: dict | None = None
    force: str | None = None  # the format, for the tools that give one
    prepare: callable = None  # changes the model or its parameters before it is compressed
    save: dict = dataclasses.field(default_factory=dict)
    edit: callable = None  # changes config.json or the tensors afterwards
    edited: str = None
    refuse: str = None
    sparse: str | None = None
    note: str = None


MX = dict(hidden_size=64, intermediate_size=32, tie_word_embeddings=True)  # groups of 32
LARGE = dict(hidden_size=64, intermediate_size=96)
TWO = dict(num_hidden_layers=2, hidden_size=16, intermediate_size=32)
SMALL = dict(hidden_size=40, intermediate_size=42)  # columns that fill no words
CASES = {}


def case(name, *args, **more):
    CASES[name] = Case(*args, **more)


def config_edit(change):
    def edit(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        change(config, config["quantization_config"])
        path.write_text(json.dumps(config, indent=2, sort_keys=True))

    return edit


def weights_of(qc):
    return [group["weights"] for group in qc["config_groups"].values()]


def drop(*keys):
    def change(_, qc):
        for weights in weights_of(qc):
            for key in keys:
                weights.pop(key, None)

    return config_edit(change)


def put(**values):
    return config_edit(lambda _, qc: [weights.update(values) for weights in weights_of(qc)])


case("int4-g32", "int4 in groups of 32", lambda: [scheme(q("int4", group=32))], model=LARGE)
case("int4-g32-asym", "int4 in groups of 32 with zero points", lambda: [scheme(q("int4", group=32, symmetric=False))],
     model=LARGE)
case("int4-g16-fp32", "int4 in groups of 16, scales and all else in float32", lambda: [scheme(q("int4", group=16))],
     dtype=torch.float32)
case("int4-channel", "int4 per channel, 100 columns that do not fill a word", lambda: [scheme(q("int4", "channel"))],
     dtype=torch.float16, model=dict(intermediate_size=100))
case("int4-channel-asym", "int4 per channel with zero points, 100 rows that do not fill a word",
     lambda: [scheme(q("int4", "channel", symmetric=False))], model=dict(intermediate_size=100))
case("int8-channel", "int8 per channel", lambda: [scheme(q("int8", "channel"))], model=dict(intermediate_size=98))
case("int8-g16-asym", "int8 in groups of 16 with zero points",
     lambda: [scheme(q("int8", group=16, symmetric=False))])
case("int8-tensor", "int8, one scale per tensor", lambda: [scheme(q("int8", "tensor"))], model=SMALL)
case("int4-tensor-asym", "int4, one scale and one zero point per tensor: the only zero point that is not packed",
     lambda: [scheme(q("int4", "tensor", symmetric=False))], model=SMALL)
for bits in (2, 3, 5, 6, 7):
    case(f"int{bits}", f"int{bits} packed densely: attention in groups of 8, the rest per channel",
         lambda bits=bits: [scheme(q(f"int{bits}", group=8), targets=ATTENTION),
                            scheme(q(f"int{bits}", "channel"), targets=MLP)], model=SMALL)
for bits in (3, 6):
    case(f"int{bits}-asym", f"int{bits} with zero points, both packed densely; rows and columns that fill no words",
         lambda bits=bits: [scheme(q(f"int{bits}", group=8, symmetric=False), targets=ATTENTION),
                            scheme(q(f"int{bits}", "channel", symmetric=False), targets=MLP)], model=SMALL)
case("int4-actorder-weight", "the key actorder, whose values weight and static change nothing in the file",
     lambda: [scheme(q("int4", group=16, actorder="weight"), targets=ATTENTION),
              scheme(q("int4", group=16, actorder="static"), targets=MLP)])
case("w4a8", "int4 weights, int8 activations per token: the library stores the codes as int8, not packed",
     lambda: [scheme(q("int4", group=16), q("int8", **TOKEN))])
case("w4a8-packed", "the same with the format that tools may give", lambda: [scheme(q("int4", group=16),
     q("int8", **TOKEN))], force="pack-quantized")
case("w4afp8", "int4 weights per channel, fp8 activations per token, stored as int8",
     lambda: [scheme(q("int4", "channel"), q("float8", **TOKEN))])
case("w4afp8-packed", "int4 weights in groups, fp8 activations per token, packed",
     lambda: [scheme(q("int4", group=16), q("float8", **TOKEN))], force="pack-quantized")
case("w8a8", "int8 per channel, int8 activations per token; q, k, v and o have biases", lambda: [preset("W8A8")],
     model=dict(attention_bias=True))
case("w8a8-static", "int8 per channel, int8 activations by input_scale",
     lambda: [scheme(q("int8", "channel"), q("int8", **STATIC))])
case("w8a8-static-asym", "int8 per channel, int8 activations by input_scale and input_zero_point",
     lambda: [scheme(q("int8", "channel"), q("int8", symmetric=False, **STATIC))])
case("w8a8-asym", "int8 per channel, int8 activations per token with zero points",
     lambda: [scheme(q("int8", "channel"), q("int8", symmetric=False, **TOKEN))])
case("w8a8-tensor", "int8 per tensor, int8 activations with one scale for all tokens of a call",
     lambda: [scheme(q("int8", "tensor"), q("int8", "tensor", dynamic=True))], model=SMALL)
case("w8a8-asym-weights", "int8 per channel with zero points as int8, int8 activations per token",
     lambda: [scheme(q("int8", "channel", symmetric=False), q("int8", **TOKEN))], model=SMALL)
case("w8a8-group", "int8 in groups of 16, int8 activations in groups of 16",
     lambda: [scheme(q("int8", group=16), q("int8", group=16, dynamic=True))])
case("w8a8-output", "int8 per channel, and the products of the layers as int8 by output_scale",
     lambda: [scheme(q("int8", "channel"), q("int8", **TOKEN), outputs=q("int8", **STATIC))], model=SMALL,
     note="a reader may refuse output_activations")
case("fp8-dynamic", "fp8 per channel, fp8 activations per token", lambda: [preset("FP8_DYNAMIC")])
case("fp8-static", "fp8 per tensor, fp8 activations by input_scale", lambda: [preset("FP8")])
case("fp8-static-0d", "fp8 per tensor with scales of shape []", lambda: [preset("FP8")], model=SMALL,
     edit=lambda folder: reshape_scales(folder), edited="the scales' shape was [1]")
BLOCKS = dict(num_attention_heads=1, head_dim=16, tie_word_embeddings=True)
case("fp8-block", "fp8 in blocks of 128x128, the rows fewer, activations in groups of 128; down and o stay float, "
     "because the library takes no short groups", lambda: [preset("FP8_BLOCK")],
     ignore=("lm_head", "re:.*(down|o)_proj"),
     model=dict(BLOCKS, hidden_size=256, intermediate_size=24))
case("fp8-block-text", "fp8 in blocks of 128x128, the last ones short in both directions, float activations; the size "
     "of blocks as text", lambda: [scheme(q("float8", "block", block_structure=[128, 128]))],
     model=dict(BLOCKS, hidden_size=130, intermediate_size=132),
     force="float-quantized", edit=put(block_structure="128x128"),
     edited='block_structure was [128, 128]; libraries up to 0.10 have text')
case("fp8-block-small", "fp8 in blocks of 16x24, naive-quantized", lambda: [scheme(q("float8", "block",
     block_structure=[16, 24]))], model=dict(intermediate_size=50))
case("fp8-naive", "fp8 per channel, float activations: the library calls that naive-quantized",
     lambda: [scheme(q("float8", "channel"))], model=SMALL)
case("nvfp4a16", "NVFP4 with float activations, a global scale for each tensor", lambda: [preset("NVFP4A16")])
case("nvfp4", "NVFP4 with NVFP4 activations; q, k, v and gate, up share global scales", lambda: [preset("NVFP4")],
     model=dict(num_hidden_layers=2))
case("mxfp4a16", "MXFP4 with float activations", lambda: [preset("MXFP4A16")], model=MX)
case("mxfp4", "MXFP4 with MXFP4 activations", lambda: [preset("MXFP4")], model=MX)
case("mxfp8a16", "MXFP8 with float activations", lambda: [preset("MXFP8A16")], model=MX)
case("mxfp8", "MXFP8 with MXFP8 activations", lambda: [preset("MXFP8")], model=MX)
case("mxfp6a16", "MXFP6 (E2M3) with float activations", lambda: [preset("MXFP6A16")], model=MX,
     note="a reader may refuse the format mxfp6-pack-quantized")
case("mixed", "five groups whose targets overlap, in an order that tempts",
     lambda: [preset("FP8_DYNAMIC"),
              scheme(q("int4", group=16), targets=["re:.*proj"]),
              scheme(q("int8", "channel"), targets=["re:.*layers.1.*_proj", "re:model.layers.0.mlp.up"]),
              preset("NVFP4A16", targets=["re:.*down_proj"]),
              scheme(q("int4", "channel", symmetric=False),
                     targets=["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"])],
     ignore=("model.layers.1.self_attn.k_proj",), model=dict(num_hidden_layers=2))
PATTERNS = ("lm_head", r"re:.*\.0\.mlp", "re:model.layers.1.self_attn.[kv]", "LlamaMLP")
case("ignore-pattern", "an `ignore` of a name, patterns and a class",
     lambda: [scheme(q("int4", group=16))], model=TWO,
     ignore=PATTERNS, edit=config_edit(lambda _, qc: qc.update(ignore=list(PATTERNS))),
     edited="`ignore` as it was given; the library writes the names that match, tools that have no model the patterns")
case("no-head-in-ignore", "the head and the embedding quantized, too", lambda: [scheme(q("int4", group=16)),
     scheme(q("int8", "channel"), targets=["Embedding"])], ignore=())
case("tied", "a tied head: in `ignore`, not in the file", lambda: [scheme(q("int4", group=16))],
     model=dict(tie_word_embeddings=True))
case("kv-fp8", "int4 weights, keys and values as fp8 by k_scale and v_scale", lambda: [scheme(q("int4", group=16))],
     kv=dict(num_bits=8, type="float", strategy="tensor", symmetric=True, dynamic=False))
case("kv-int8-head", "int4 weights, keys and values as int8 with a scale for each head",
     lambda: [scheme(q("int4", group=16))], model=dict(num_attention_heads=4, num_key_value_heads=2),
     kv=dict(num_bits=8, type="int", strategy="attn_head", symmetric=True, dynamic=False))
case("no-strategy", "no key `strategy`: group, channel and tensor follow from group_size",
     lambda: [scheme(q("int4", group=16), targets=ATTENTION),
              scheme(q("int4", "channel", -1), targets=["re:.*(gate|up)_proj"]),
              scheme(q("int8", "tensor"), targets=["re:.*down_proj"])], edit=drop("strategy"),
     edited="`strategy` removed")
case("group-minus-one", "per channel, as group_size -1", lambda: [scheme(q("int4", "channel", -1))], model=SMALL)
case("compression-config", "the configuration under its first name, in words of the first libraries",
     lambda: [scheme(q("int4", group=16))],
     edit=config_edit(lambda c, qc: old_words(c, qc)),
     edited="quantization_config renamed to compression_config, without `version`, `sparsity_config` and "
            "`transform_config`, status frozen, an observer and null keys")
case("sharded", "three weight files and an index", lambda: [scheme(q("int8", "channel"))],
     model=TWO, save=dict(max_shard_size="4KB"))
case("zeros", "rows and groups that are zero, int4", lambda: [scheme(q("int4", group=16))],
     prepare=lambda model: zero_parts(model))
case("zeros-asym", "rows and groups that are zero, int4 with zero points", lambda: [scheme(q("int4", group=16,
     symmetric=False))], prepare=lambda model: zero_parts(model))
case("zeros-nvfp4", "rows and groups that are zero, NVFP4 with NVFP4 activations", lambda: [preset("NVFP4")],
     prepare=lambda model: zero_parts(model))
case("dense", "weights that were only rounded, not stored as codes: floats with their scales beside them",
     lambda: [scheme(q("int4", group=16))], force="dense", model=dict(hidden_size=16),
     note="the library rounds these weights to their grid when it runs them, and `weights` are the rounded ones; a "
          "reader may refuse")
case("refuse-transform", "rotations beside the weights", lambda: [scheme(q("int4", group=16))],
     prepare=lambda model: add_transform(model), model=dict(hidden_size=16, intermediate_size=16),
     refuse="transform_config holds rotations of activations; without them the weights compute something else")
case("refuse-format", "a format that does not exist", lambda: [scheme(q("int4", group=16))],
     edit=config_edit(lambda _, qc: rename_format(qc)),
     edited="every `format` is pack-quantized-2", refuse="format pack-quantized-2 is unknown")

for bits in (3, 5, 6, 7):
    case(f"padded-int{bits}", f"int{bits} with floor(32 / {bits}) codes in each word, as up to 0.17",
         lambda bits=bits: [scheme(q(f"int{bits}", group=8), targets=ATTENTION),
                            scheme(q(f"int{bits}", "channel"), targets=MLP)], PADDED, model=SMALL)
case("padded-int3-asym", "int3 and its zero points with 10 codes in each word",
     lambda: [scheme(q("int3", group=8, symmetric=False), targets=ATTENTION),
              scheme(q("int3", "channel", symmetric=False), targets=MLP)], PADDED, model=SMALL)
case("padded-ambiguous", "int3 and int5 where both ways of packing have the same number of words: only `version` tells",
     lambda: [scheme(q("int3", "channel"), targets=ATTENTION), scheme(q("int5", "channel"), targets=MLP)], PADDED,
     model=dict(hidden_size=20, intermediate_size=18, num_attention_heads=2, head_dim=10, num_key_value_heads=1))
case("dense-ambiguous", "the same by a library that packs densely",
     lambda: [scheme(q("int3", "channel"), targets=ATTENTION), scheme(q("int5", "channel"), targets=MLP)],
     model=dict(hidden_size=20, intermediate_size=18, num_attention_heads=2, head_dim=10, num_key_value_heads=1))

case("old-g-idx", "weight_g_idx, a permutation, with symmetric int4; down has -1 throughout, which means none",
     lambda: [scheme(q("int4", group=16, actorder="group"))], OLD, prepare=lambda model: permute(model))
case("old-g-idx-asym", "weight_g_idx with zero points", lambda: [scheme(q("int4", group=16, actorder="group",
     symmetric=False))], OLD, prepare=lambda model: permute(model))
case("old-g-idx-int8", "weight_g_idx with int8 that is not packed and int8 activations per token",
     lambda: [scheme(q("int8", group=16, actorder="group"), q("int8", **TOKEN))], OLD,
     prepare=lambda model: permute(model))
case("old-int4-asym", "int4 with zero points in older words", lambda: [scheme(q("int4", group=16, symmetric=False))],
     OLD)
case("old-int3-naive", "int3, which older libraries stored as int8", lambda: [scheme(q("int3", group=16))], OLD)
case("old-w8a8-static-asym", "int8 with static activations in older words",
     lambda: [scheme(q("int8", "channel"), q("int8", symmetric=False, **STATIC))], OLD)
case("old-fp8-dynamic", "fp8 in older words", lambda: [preset("FP8_DYNAMIC")], OLD)
case("old-kv-fp8", "k_scale and v_scale in older words", lambda: [scheme(q("int4", group=16))], OLD,
     NEW, kv=dict(num_bits=8, type="float", strategy="tensor", symmetric=True, dynamic=False))
case("old-nvfp4", "NVFP4 in older words, without scale_dtype", lambda: [preset("NVFP4")], OLD)
case("refuse-marlin24", "2:4 sparse int4, permuted for one kernel", lambda: [scheme(q("int4", "channel"))], OLD,
     model=dict(hidden_size=64, intermediate_size=64, num_attention_heads=1), force="marlin-24", dtype=torch.float16,
     prepare=lambda model: two_of_four(model), refuse="format marlin-24")
case("refuse-sparse24", "fp8 behind a 2:4 bitmask", lambda: [preset("FP8_DYNAMIC")], OLD, sparse="sparse-24-bitmask",
     prepare=lambda model: two_of_four(model),
     refuse="sparsity_config with format sparse-24-bitmask: weights are weight.compressed with weight.bitmask")


# ---- changes ----


def linears(model):
    return [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and hasattr(m, "weight_scale")]


def zero_parts(model):
    for _, module in linears(model):
        module.weight.data[0] = 0
        module.weight.data[1, :32] = 0


def two_of_four(model):
    for _, module in linears(model):
        weight = module.weight.data.float()
        fours = weight.reshape(-1, 4)
        least = fours.abs().argsort(dim=1)[:, :2]
        module.weight.data = fours.scatter(1, least, 0.0).reshape(weight.shape).to(module.weight.dtype)


def permute(model):
    """A permutation as GPTQ finds one: groups of columns in the order of some importance."""
    for name, module in linears(model):
        columns, size = module.weight.shape[1], module.quantization_scheme.weights.group_size
        if name.endswith("down_proj"):
            continue
        order = torch.randperm(columns, generator=torch.Generator().manual_seed(len(name)))
        index = torch.empty(columns, dtype=torch.int)
        index[order] = torch.arange(columns, dtype=torch.int) // size
        module.weight_g_idx.data = index


def add_transform(model):
    from compressed_tensors.transform import (TransformArgs, TransformConfig, TransformScheme, apply_transform_config)

    rotation = TransformScheme(type="hadamard", apply=[
        TransformArgs(targets=["re:.*down_proj"], location="input"),
        TransformArgs(targets=["re:.*down_proj"], location="weight_input", inverse=True)])
    apply_transform_config(model, TransformConfig(config_groups={"R4": rotation}))


def reshape_scales(folder):
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    for name in tensors:
        if name.endswith("_scale"):
            tensors[name] = tensors[name].reshape(())
    safetensors.torch.save_file(tensors, path, {"format": "pt"})


def rename_format(qc):
    qc["format"] = "pack-quantized-2"
    for group in qc["config_groups"].values():
        group["format"] = "pack-quantized-2"


def old_words(config, qc):
    del config["quantization_config"]
    for key in ("version", "sparsity_config", "transform_config"):
        del qc[key]
    for group in qc["config_groups"].values():
        del group["format"]
        group["weights"].update(block_structure=None, observer="minmax", observer_kwargs={}, actorder=None)
    qc["quantization_status"] = "frozen"
    config["compression_config"] = qc


# ---- how it is written ----


def random_model(case):
    shape = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                 num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=False,
                 bos_token_id=None, eos_token_id=None, pad_token_id=None)
    model = LlamaForCausalLM(LlamaConfig(**{**shape, **case.model}, attn_implementation="eager"))
    generator = torch.Generator().manual_seed(20250607)
    for name, parameter in sorted(model.named_parameters()):
        x = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            x = 1 + 0.2 * x
        elif "embed" in name:
            x *= 0.3 if model.config.tie_word_embeddings else 1
            x[0] = 0
        elif name.endswith("bias"):
            x *= 0.2
        else:
            columns = torch.exp(0.5 * torch.randn(parameter.shape[1], generator=generator))
            x *= 1.5 / parameter.shape[1] ** 0.5 * columns
        parameter.data = x
    return model.to(case.dtype).eval()


def extrema(x, args):
    """Minima and maxima of a weight, in the shape of its scales."""
    strategy = args.strategy
    if strategy == "channel":
        parts = x.reshape(len(x), 1, -1)
    elif strategy in ("group", "tensor_group"):
        parts = x.reshape(len(x), -1, args.group_size)
    elif strategy == "block":
        height, width = args.block_structure
        rows, columns = -(-x.shape[0] // height), -(-x.shape[1] // width)
        padded = torch.nn.functional.pad(x, (0, columns * width - x.shape[1], 0, rows * height - x.shape[0]))
        parts = padded.reshape(rows, height, columns, width).transpose(1, 2).flatten(2)
    else:
        return x.min().reshape(1), x.max().reshape(1)
    return parts.amin(-1), parts.amax(-1)


def set_parameter(module, name, value):
    parameter = getattr(module, name)
    assert parameter.shape == value.shape, (name, parameter.shape, value.shape)
    parameter.data = value.to(parameter.dtype)


def calibrate_weight(module):
    args, x = module.quantization_scheme.weights, module.weight.data
    more = {}
    if args.strategy == "tensor_group":
        more["global_scale"] = module.weight_global_scale.data
    g_idx = getattr(module, "weight_g_idx", None)
    if g_idx is not None and -1 not in g_idx:
        x = x[:, torch.argsort(g_idx)]
    scale, zero = calculate_qparams(*extrema(x, args), args, **more)
    set_parameter(module, "weight_scale", scale)
    set_parameter(module, "weight_zero_point", zero)


def calibrate_global_scales(model, fuse):
    modules = {n: m for n, m in model.named_modules() if hasattr(m, "weight_global_scale")}
    for module in modules.values():
        set_parameter(module, "weight_global_scale", generate_gparam(module.weight.min(), module.weight.max()))
    for name in modules if fuse else ():
        parent, _, leaf = name.rpartition(".")
        for group in FUSED:
            if leaf == group[0]:
                members = [modules[f"{parent}.{other}"] for other in group]
                least = torch.stack([m.weight_global_scale.data for m in members]).min(dim=0).values
                for member in members:
                    set_parameter(member, "weight_global_scale", least.clone())


def calibrate_activations(model):
    """Minima and maxima of what goes in, comes out and is cached, over a text of the same model's ids."""
    seen, hooks = {}, []

    def note(module, base, x):
        low, high = x.min().reshape(1), x.max().reshape(1)
        if getattr(module.quantization_scheme.input_activations, "strategy", None) == "attn_head":
            low, high = (f(x, dim=(0, 2, 3)).reshape(-1, 1, 1) for f in (torch.amin, torch.amax))
        key = module, base
        seen[key] = (low, high) if key not in seen else (torch.min(seen[key][0], low), torch.max(seen[key][1], high))

    for module in model.modules():
        if hasattr(module, "quantization_scheme"):
            module.quantization_enabled = False
            if hasattr(module, "kv_cache"):
                from compressed_tensors.modeling import register_key_hook, register_value_hook

                hooks.append(register_key_hook(module, lambda m, x: note(m, "k", x)))
                hooks.append(register_value_hook(module, lambda m, x: note(m, "v", x)))
            elif isinstance(module, torch.nn.Linear):
                hooks.append(module.register_forward_pre_hook(lambda m, x: note(m, "input", x[0])))
                hooks.append(module.register_forward_hook(lambda m, _, y: note(m, "output", y)))
            elif hasattr(module, "k_scale"):  # 0.12 leaves the cache to others
                hooks += [getattr(module, p + "_proj").register_forward_hook(
                    lambda m, _, y, p=p, a=module: seen.update({(a, p): (y.min().reshape(1), y.max().reshape(1))}))
                    for p in "kv"]

    rng = random.Random(1)
    for _ in range(4):
        with torch.no_grad():
            model(torch.tensor([[rng.randrange(1, VOCABULARY) for _ in range(48)]]))
    for hook in hooks:
        hook.remove()
    for (module, base), (low, high) in seen.items():
        quantization = module.quantization_scheme
        args = quantization.output_activations if base == "output" else quantization.input_activations
        if base in "kv" and args is None:
            args = quantization.output_activations
        if hasattr(module, base + "_global_scale"):
            set_parameter(module, base + "_global_scale", generate_gparam(low, high))
        elif hasattr(module, base + "_scale"):
            scale, zero = calculate_qparams(low, high, args)
            set_parameter(module, base + "_scale", scale)
            if hasattr(module, base + "_zero_point"):
                set_parameter(module, base + "_zero_point", zero)
    for module in model.modules():
        if hasattr(module, "quantization_enabled"):
            del module.quantization_enabled


def write(name, case, folder):
    model = random_model(case)
    config = QuantizationConfig(
        config_groups={f"group_{i}": group for i, group in enumerate(case.groups())}, ignore=list(case.ignore),
        kv_cache_scheme=QuantizationArgs(**case.kv) if case.kv else None)
    apply_quantization_config(model, config)
    if case.prepare:
        case.prepare(model)
    calibrate_global_scales(model, fuse=name != "nvfp4a16" and name != "mixed")
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            calibrate_weight(module)
    calibrate_activations(model)
    for module in model.modules():
        if hasattr(module, "quantization_status"):
            module.quantization_status = QuantizationStatus.FROZEN
    more = {}
    if case.sparse:
        from compressed_tensors.config import SparsityCompressionConfig

        more["sparsity_config_or_format"] = SparsityCompressionConfig.load_from_registry(
            case.sparse, registry_requires_subclass=False, sparsity_structure="2:4", global_sparsity=0.5,
            targets=["Linear"], ignore=["lm_head"])
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format=case.force, **more)
    if case.force != "dense":
        compressor.compress_model(model)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **case.save)
    compressor.update_config(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.edit:
        case.edit(folder)


# ---- what it stands for ----


def stored(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(safetensors.torch.load_file(path))
    return tensors


def unpack(words, bits, count):
    """Codes along the columns, by numpy and this file's own knowledge of the layout."""
    raw = np.ascontiguousarray(words.numpy()).view(np.uint8).reshape(len(words), -1)
    stream = np.unpackbits(raw, axis=1, bitorder="little")
    if LIBRARY in (PADDED, OLD):  # floor(32 / bits) codes in each word
        stream = stream.reshape(len(words), -1, 32)[:, :, : 32 // bits * bits].reshape(len(words), -1)
    codes = stream[:, : count * bits].reshape(len(words), count, bits) @ (1 << np.arange(bits))
    return torch.from_numpy(codes - (1 << bits - 1))


def minifloat(codes, exponent, mantissa, bias):
    sign = torch.where(codes >> (exponent + mantissa) & 1 == 1, -1.0, 1.0)
    e, m = codes >> mantissa & (1 << exponent) - 1, codes & (1 << mantissa) - 1
    fraction = torch.where(e == 0, m, m + (1 << mantissa)).float()
    return sign * torch.ldexp(fraction, torch.where(e == 0, 1, e) - bias - mantissa)


def formula(t, args, form):
    """The values of a weight from its stored tensors, without the library."""
    scale = t["weight_scale"]
    if form.startswith("nvfp4") or form.startswith("mxfp4"):
        packed = t["weight_packed"].int()
        code = minifloat(torch.stack([packed & 15, packed >> 4], dim=-1).flatten(1), 2, 1, 1)
    elif form.startswith("mxfp6"):
        packed = t["weight_packed"]
        stream = np.unpackbits(packed.numpy(), axis=1, bitorder="little").reshape(len(packed), -1, 6)
        code = minifloat(torch.from_numpy(stream @ (1 << np.arange(6))), 2, 3, 1)
    elif form == "pack-quantized":
        code = unpack(t["weight_packed"], args.num_bits, int(t["weight_shape"][1])).float()
    elif args.type == "float":
        code = minifloat(t["weight"].view(torch.uint8).int(), 4, 3, 7)
    else:
        code = t["weight"].float()
    rows, columns = code.shape
    zero = t.get("weight_zero_point")
    if form.startswith("mx"):
        scale = torch.ldexp(torch.ones(scale.shape), scale.int() - 127)
    elif form.startswith("nvfp4"):
        scale = minifloat(scale.view(torch.uint8).int(), 4, 3, 7) / t["weight_global_scale"]
    else:
        scale = scale.float()
    if scale.numel() == 1:
        scale = scale.reshape(1, 1)
    if zero is not None and zero.dtype == torch.int32:
        zero = unpack(zero.T, args.num_bits, rows).T
    index = torch.arange(columns) // (args.group_size if args.strategy in ("group", "tensor_group") else columns)
    index = index if t.get("weight_g_idx") is None or -1 in t["weight_g_idx"] else t["weight_g_idx"].long()

    def spread(x):
        if args.strategy == "block":
            height, width = args.block_structure
            return x.repeat_interleave(height, 0)[:rows].repeat_interleave(width, 1)[:, :columns]
        return x.expand(rows, -1)[:, index]

    code = code if zero is None else code - spread(zero.reshape(scale.shape).float())
    return code * spread(scale)


def by_library(t, quantization, form):
    """The same by the library, which would otherwise compute in the dtype of the scales, or in bfloat16."""
    args = quantization.weights
    t = {n: x.float() if x.dtype in (torch.bfloat16, torch.float16) else x for n, x in t.items()}
    if "fp4" in form:
        if LIBRARY == OLD:
            from compressed_tensors.compressors.quantized_compressors.nvfp4_quantized import unpack_fp4_from_uint8
        else:
            from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
        packed = t["weight_packed"]
        code = unpack_fp4_from_uint8(packed, packed.shape[0], packed.shape[1] * 2, torch.float32)
    elif "mxfp6" in form:
        from compressed_tensors.compressors.mxfp6.helpers import unpack_fp6_from_uint8

        packed = t["weight_packed"]
        code = unpack_fp6_from_uint8(packed, packed.shape[0], packed.shape[1] * 4 // 3, torch.float32)
    elif form == "mxfp8-quantized":
        code = t["weight"]
    elif LIBRARY == OLD:
        compressor = BaseCompressor.load_from_registry(form)
        if form == "pack-quantized" and not args.symmetric:  # "currently not supported"
            from compressed_tensors.compressors.quantized_compressors.pack_quantized import unpack_from_int32

            shape = torch.Size(t["weight_shape"])
            zero = unpack_from_int32(t["weight_zero_point"], args.num_bits, (shape[0], t["weight_scale"].shape[-1]), 0)
            code = unpack_from_int32(t["weight_packed"], args.num_bits, shape)
            return dequantize(code, t["weight_scale"], zero, args, g_idx=t.get("weight_g_idx"))
        return compressor.decompress_weight(t, args)
    else:
        return BaseCompressor.get_value_from_registry(form).decompress(t, quantization)["weight"]
    scale = t["weight_scale"].float()
    if form.startswith("mx"):
        from compressed_tensors.compressors.mx_utils import decompress_mx_scale

        scale = decompress_mx_scale(t["weight_scale"]).float()
    return dequantize(code, scale, args=args, global_scale=t.get("weight_global_scale"), dtype=torch.float32)


def load(folder):
    """The model with its weights dequantized, ready for the library's forward, and these weights."""
    raw = json.loads((folder / "config.json").read_text())
    raw_qc = raw.get("quantization_config") or raw["compression_config"]
    known = {k: raw_qc.get(k) for k in ("config_groups", "format", "kv_cache_scheme", "ignore", "quantization_status")}
    config = QuantizationConfig.model_validate(known)
    dense = config.format == "dense"
    config.quantization_status = QuantizationStatus.FROZEN if dense else QuantizationStatus.COMPRESSED
    plain = LlamaConfig.from_pretrained(folder)
    for key in ("quantization_config", "compression_config"):
        if hasattr(plain, key):
            delattr(plain, key)
    plain._attn_implementation = "eager"
    model = LlamaForCausalLM(plain).to(torch.float32).eval()
    apply_quantization_config(model, config)
    tensors, weights, used = stored(folder), {}, set()
    for name, module in model.named_modules():
        own = {n[len(name) + 1 :]: x for n, x in tensors.items() if n.rpartition(".")[0] == name}
        if not own and not hasattr(module, "quantization_scheme"):
            continue
        quantization = getattr(module, "quantization_scheme", None)
        if quantization is not None and quantization.weights is not None and name:
            form = quantization.format or config.format
            form = getattr(form, "value", form)
            if dense:
                values = module.weight.data = own["weight"].float()
            else:
                values = by_library(own, quantization, form)
                again = formula(own, quantization.weights, form)
                assert values.dtype == torch.float32, name
                assert torch.equal(values.view(torch.int32), again.view(torch.int32)), name
            weights[name + ".weight"] = values
            module.weight.data = values
            used.update(f"{name}.weight{end}" for end in ("", "_packed", "_shape", "_g_idx"))
        for key, x in own.items():
            full = f"{name}.{key}" if name else key
            if full in used:
                continue
            if key.startswith("weight_") and not dense:
                used.add(full)
                continue
            parameter = getattr(module, key)  # input_scale and so on, biases, and whatever is float
            assert parameter.shape == x.shape or x.numel() == 1, full
            parameter.data = (x if x.dtype in (torch.int8, torch.float8_e4m3fn) else x.float()).reshape(parameter.shape)
            used.add(full)
        if hasattr(module, "quantization_scheme"):
            module.quantization_status = config.quantization_status
    assert used >= set(tensors), set(tensors) - used
    if plain.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    if dense:
        weights = {n: rounded(model.get_submodule(n.removesuffix(".weight"))) for n in weights}
    return config, model, weights


def rounded(module):
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize

    return forward_quantize(module, module.weight.data, "weight", module.quantization_scheme.weights)


def nll(model):
    with torch.no_grad():
        logits = model(torch.tensor([IDS])).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(IDS[1:])).item()


def nll_range(model, first):
    linear, found = torch.nn.functional.linear, [first]
    for seed in range(24):
        generator = torch.Generator().manual_seed(seed)

        def permuted(x, weight, bias=None, generator=generator):
            order = torch.randperm(x.shape[-1], generator=generator)
            return linear(x[..., order], weight[:, order], bias)

        torch.nn.functional.linear = permuted
        found.append(nll(model))
    torch.nn.functional.linear = linear
    return [min(found), max(found)]


def enable(model, linear, cache):
    for module in model.modules():
        if hasattr(module, "quantization_scheme"):
            module.quantization_enabled = linear if isinstance(module, torch.nn.Linear) else cache


def words(args, role):
    kind = f"{'fp' if args.type == 'float' else 'int'}{args.num_bits}"
    size = f" of {args.group_size}" if args.group_size and args.group_size > 0 else ""
    how = {True: "dynamic", False: "static", "local": "dynamic within a static global scale"}[args.dynamic]
    mx = ", scales of powers of two" if getattr(args, "scale_dtype", None) == torch.uint8 else ""
    return f"{role}: {kind}, {args.strategy}{size}, {'symmetric' if args.symmetric else 'asymmetric'}, {how}{mx}"


def read(name, case, folder):
    config, model, weights = load(folder)
    result = {"format": json.loads(config.model_dump_json())["format"]}
    arithmetic = []
    for group in config.config_groups.values():
        for args, role in ((group.input_activations, "inputs"), (group.output_activations, "outputs")):
            if args is not None and words(args, role) not in arithmetic and set(group.targets) != {"re:.*self_attn$"}:
                arithmetic.append(words(args, role))
    if config.kv_cache_scheme:
        arithmetic.append(words(config.kv_cache_scheme, "keys, values"))
    result["activations"] = arithmetic
    result["nll"] = nll(model)
    if arithmetic:
        result["nll_range"] = nll_range(model, result["nll"])
    if config.kv_cache_scheme:
        enable(model, True, False)
        result["nll_float_cache"] = nll(model)
    enable(model, False, False)
    for module in model.modules():  # weights of the format dense are rounded all the same
        if config.format == "dense" and isinstance(module, torch.nn.Linear):
            module.quantization_enabled = True
    result["nll_float_activations"] = nll(model)
    result["transformers"] = by_transformers(folder, result["nll"])
    groups = list(config.config_groups)
    result["weights"] = {}
    for weight, values in sorted(weights.items()):
        entry = {"shape": list(values.shape),
                 "crc32": f"{zlib.crc32(values.contiguous().numpy().astype('<f4').tobytes()):08x}",
                 "first": values.flatten()[:8].tolist()}
        if len(groups) > 1:
            chosen = model.get_submodule(weight.removesuffix(".weight")).quantization_scheme
            entry["group"] = next(g for g in groups if config.config_groups[g].targets == chosen.targets)
        result["weights"][weight] = entry
    return result


def write_activations():
    """Rows, and what each kind of activations makes of them."""
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp

    generator = torch.Generator().manual_seed(20250607)
    x = torch.randn(10, 64, generator=generator)
    x[1, 57], x[2, 50] = -9.5, 11.25  # outliers
    x[3] = x[3].abs()
    x[4] = -x[4].abs()
    x[5] = 0
    x[6, ::3] = 0
    x[6, 16:48] = 0
    x[7] *= 1e-9
    x[8] *= 3e29
    x[9] = torch.linspace(-127.5, 124.5, 64) / 2  # halves, and a negative extreme
    half = torch.tensor([0.0234375])
    kinds = {
        "int8-token": q("int8", **TOKEN), "int8-token-asym": q("int8", symmetric=False, **TOKEN),
        "int8-tensor": q("int8", "tensor", dynamic=True),
        "int8-tensor-asym": q("int8", "tensor", dynamic=True, symmetric=False),
        "int8-g32": q("int8", group=32, dynamic=True),
        "int8-g32-asym": q("int8", group=32, dynamic=True, symmetric=False),
        "int4-token": q("int4", **TOKEN), "fp8-token": q("float8", **TOKEN),
        "fp8-tensor": q("float8", "tensor", dynamic=True), "fp8-g16": q("float8", group=16, dynamic=True),
        "nvfp4": preset("NVFP4").input_activations, "mxfp4": preset("MXFP4").input_activations,
        "mxfp8": preset("MXFP8").input_activations, "int8-static": q("int8", **STATIC),
        "int8-static-asym": q("int8", symmetric=False, **STATIC), "fp8-static": q("float8", **STATIC)}
    tensors = {"x": x, "nvfp4.input_global_scale": generate_gparam(x[:3].min(), x[:3].max()),
               "static.input_scale": half, "static.input_zero_point": torch.tensor([-37], dtype=torch.int8)}
    for name, args in kinds.items():
        more = {"global_scale": tensors["nvfp4.input_global_scale"]} if name == "nvfp4" else {}
        rows = x[:7] if name == "int8-tensor-asym" else x
        if args.dynamic:
            scale, zero = compute_dynamic_scales_and_zp(rows[None], args, None, **more)
            tensors[name + ".scale"] = scale.reshape(-1, scale.shape[-1] if scale.ndim > 2 else 1)
            if not args.symmetric:
                tensors[name + ".zero_point"] = zero.reshape(tensors[name + ".scale"].shape)
        else:
            scale = half
            zero = torch.zeros(1) if args.symmetric else tensors["static.input_zero_point"]
        tensors[name + ".value"] = fake_quantize(rows[None], scale, zero, args, **more)[0]
    path = HERE / "activations.safetensors"
    safetensors.torch.save_file({n: t.contiguous().clone() for n, t in tensors.items()}, path)
    path.chmod(0o644)


def by_transformers(folder, expected):
    more = {"quantization_config": transformers.CompressedTensorsConfig(run_compressed=False)} if LIBRARY == OLD else {}
    torch.manual_seed(0)  # of weights that it does not find
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                                  attn_implementation="eager", **more)
        try:
            found = nll(model)
        except RuntimeError:  # FP4 and MX weights come out as bfloat16: "expected m1 and m2 to have the same dtype"
            found = nll(torch.nn.Module.float(model))
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"
    return True if abs(found - expected) < 1e-6 else f"nll {found:.6f}"


def compact(value):
    """JSON with one line for each weight."""
    text = json.dumps(value, indent=1)
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s*\n\s*", " ", m[1]) + "]", text)
    return re.sub(r"\{\s*(\"shape\"[^{}]*?)\s*\}", lambda m: "{" + re.sub(r"\s*\n\s*", " ", m[1]) + "}", text) + "\n"


def main():
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    path = HERE / "expected.json"
    expected = json.loads(path.read_text()) if path.exists() else {"fixtures": {}}
    expected["ids"] = IDS
    for name, case in CASES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        folder = HERE / name
        if case.library == LIBRARY:
            write(name, case, folder)
            expected["fixtures"][name] = {"what": case.what, "library": LIBRARY} | {
                k: getattr(case, k) for k in ("edited", "note", "refuse") if getattr(case, k)}
        if (case.reader or case.library) == LIBRARY and not case.refuse:
            result = read(name, case, folder)
            expected["fixtures"][name] |= result
            print(name, *(np.round(result[k], 6) for k in result if k.startswith("nll")),
                  result["transformers"], flush=True)
    expected["fixtures"] = {name: expected["fixtures"][name] for name in CASES if name in expected["fixtures"]}
    path.write_text(compact(expected))
    if LIBRARY == NEW:
        write_activations()


if __name__ == "__main__":
    main()
