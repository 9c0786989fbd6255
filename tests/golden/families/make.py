# SPDX-License-Identifier: Apache-2.0
"""Writes small random checkpoints of many model families, and what their PyTorch reference computes from them.

  pip install torch==2.9.1 transformers==4.57.6 safetensors numpy
  python tests/golden/families/make.py [NAME...]        # all, or only those

Each folder NAME beside this file is a checkpoint as that family publishes them: the keys of config.json, the names and
fusings of model.safetensors. Every parameter is random (see randomize) and rounded to bfloat16 before anything is
computed, so the file holds exactly what the float32 forward pass of case.safetensors used. README.md says what each
variant switches on and what case.safetensors holds.

A variant is written only if
- from_pretrained on the folder itself gives the recorded outputs again,
- the last chosen and the first dropped expert of every router differ by more than 1e-3 (else another seed is taken),
- the scale of its outputs is neither nearly zero nor huge.
"""

import json
import math
import os
import shutil
import sys
import tempfile
import warnings
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
warnings.filterwarnings("ignore")

import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
VARIANTS = {}


class Variant:
    """One checkpoint: its config.json, and how to fill, write and run the model."""

    def __init__(self, name, config, run, *, gain=None, std=None, edit=None, tokens=40, seed=0, **options):
        self.name = name
        self.config = config
        self.run = run  # run(model, variant) -> {name: tensor}, the case, and the least margin of its routers
        self.gain = gain or {}  # {part of a parameter's name: gain of its matrix}, see randomize
        self.std = std or {}  # {part of a parameter's name: its standard deviation}
        self.edit = edit  # edit(tensors, config) -> tensors, what the published file has otherwise
        self.tokens = tokens
        self.seed = seed
        # build, load, tensors: in place of the functions below; the rest is for `run`.
        self.options = options
        assert name not in VARIANTS, name
        VARIANTS[name] = self

    def generator(self, what):
        return torch.Generator().manual_seed(zlib.crc32(f"{self.name}/{self.seed}/{what}".encode()))

    def randn(self, what, *shape):
        return torch.randn(*shape, generator=self.generator(what))

    def ids(self, what, count, low, high):
        return torch.randint(low, high, (count,), generator=self.generator(what))


# ---------------------------------------------------------------------------------------------------- parameters

# In these the weight is stored less one.
OFFSET_NORMS = ("GemmaRMSNorm", "Gemma2RMSNorm", "Gemma3RMSNorm")


def randomize(model, variant):
    """Norms get 1 + 0.2 randn (0.2 randn where the weight is stored less one), biases 0.1 randn, embeddings 0.5 randn,
    matrices gain / sqrt(fan in) randn with gain 1.5, so that attention is far from uniform and logits spread."""
    norms = {}
    embeddings = set()
    for name, module in model.named_modules():
        kind = type(module).__name__
        if "Norm" in kind:
            norms[name] = kind
        if isinstance(module, torch.nn.Embedding):
            embeddings.add(name)
    done = set()
    for name, parameter in list(model.named_parameters()) + list(parameter_buffers(model)):
        if parameter.data_ptr() in done:
            continue
        done.add(parameter.data_ptr())
        owner, _, leaf = name.rpartition(".")
        noise = torch.randn(parameter.shape, generator=variant.generator(name))
        std = next((v for k, v in variant.std.items() if k in name), None)
        gain = next((v for k, v in variant.gain.items() if k in name), 1.5)
        if std is not None:
            value = std * noise
        elif owner in norms and leaf == "weight":
            value = (0.0 if norms[owner] in OFFSET_NORMS else 1.0) + 0.2 * noise
        elif leaf in ("bias", "e_score_correction_bias") or leaf.endswith("_bias"):
            value = 0.1 * noise
        elif leaf == "logit_scale":
            value = 1.0 + 0.1 * noise
        elif leaf == "sinks":
            value = noise
        elif owner in embeddings or parameter.dim() < 2 or parameter.shape[0] == 1:
            value = 0.5 * noise
        else:
            value = gain / math.sqrt(fan_in(model, owner, leaf, parameter)) * noise
        parameter.data.copy_(value.to(torch.bfloat16).float())


def parameter_buffers(model):
    for name, buffer in model.named_buffers():
        if name.endswith(("e_score_correction_bias", "final_logits_bias")):
            yield name, buffer


def fan_in(model, owner, leaf, parameter):
    module = model.get_submodule(owner)
    kind = type(module).__name__
    if kind == "Conv1D":
        return parameter.shape[0]
    if kind == "GptOssExperts":
        return parameter.shape[1]
    if kind == "GraniteMoeParallelExperts":
        return parameter.shape[2]
    return parameter[0].numel()


# ---------------------------------------------------------------------------------------------------- forward passes


def blocks_of(model, path=None):
    """The list of blocks: the one at `path`, or the only ModuleList with a block's name."""
    if path:
        return model.get_submodule(path)
    lists = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and name.rpartition(".")[2] in ("layers", "h", "blocks", "layer", "block")
    ]
    return lists[0]


class Record:
    """Notes what goes into the first block and what comes out of each, and the margins of every top-k."""

    def __init__(self, blocks=None, prefix="hidden"):
        self.values = {}
        self.margin = math.inf
        self.prefix = prefix
        self.blocks = blocks

    def __enter__(self):
        self.handles = []
        if self.blocks is not None:
            def before(module, args, kwargs):
                x = args[0] if args else kwargs["hidden_states"]
                self.values[f"{self.prefix}.0"] = x.detach().clone()

            self.handles.append(self.blocks[0].register_forward_pre_hook(before, with_kwargs=True))
            for i, block in enumerate(self.blocks):
                def after(module, args, out, i=i):
                    x = out[0] if isinstance(out, tuple) else out
                    self.values[f"{self.prefix}.{i + 1}"] = x.detach().clone()

                self.handles.append(block.register_forward_hook(after))
        self.topk = torch.topk
        self.method = torch.Tensor.topk

        def topk(x, k, dim=-1, **kw):
            # DeepSeek-V3 sums the best two of each group (three dimensions): continuous, no choice.
            if k < x.shape[dim] and x.dim() == 2:
                top = self.topk(x, k + 1, dim=dim).values.movedim(dim, -1)
                gaps = top[..., k - 1] - top[..., k]
                gaps = gaps[torch.isfinite(top[..., k - 1])]
                self.margin = min(self.margin, gaps.min().item())
            return self.topk(x, k, dim=dim, **kw)

        torch.topk = topk
        torch.Tensor.topk = topk
        return self

    def __exit__(self, *_):
        torch.topk = self.topk
        torch.Tensor.topk = self.method
        for handle in self.handles:
            handle.remove()

    def take(self):
        return {k: v[0] for k, v in self.values.items()}


def causal_lm(model, variant):
    """ids [T] -> logits [T, vocabulary]; hidden.0 goes into the first block, hidden.i comes out of the i-th."""
    vocabulary = model.config.vocab_size
    ids = variant.ids("ids", variant.tokens, variant.options.get("lowest", 3), vocabulary)
    with Record(blocks_of(model, variant.options.get("blocks"))) as record:
        out = model(ids[None], use_cache=False)
    return {"ids": ids, "logits": out.logits[0], **record.take()}, record.margin


# ---------------------------------------------------------------------------------------------------- writing


def attention_of(config):
    """Eager attention, whose code is the plainest; Falcon's adds ALiBi to the mask and then once more to the scores."""
    return "sdpa" if config["model_type"] == "falcon" and config.get("alibi") else "eager"


def build(config):
    """The model that a folder with this config.json describes, in float32."""
    with tempfile.TemporaryDirectory() as folder:
        write_json(folder, "config.json", config)
        parsed = transformers.AutoConfig.from_pretrained(folder)
    for part in parsed.sub_configs:
        getattr(parsed, part).dtype = torch.float32
    with transformers.modeling_utils.no_init_weights():
        model = model_class(config)._from_config(parsed, attn_implementation=attention_of(config), dtype=torch.float32)
    model.tie_weights()
    return mended(model).eval()


def load(folder, config):
    model = model_class(config).from_pretrained(folder, dtype=torch.float32, attn_implementation=attention_of(config))
    return mended(model).eval()


def mended(model):
    """Two faults of transformers 4.57 that later versions are without:
    - DeepSeek-V2's mscale is forgotten in the softmax, which DeepSeek's own code has;
    - the patches of Idefics3 and SmolVLM are counted 0, 0, 1, 2, ... along a side in float32, instead of 0, 1, 2, 3, ...
    """
    if model.config.model_type == "deepseek_v2" and (rope := model.config.rope_scaling):
        mscale = 0.1 * rope["mscale_all_dim"] * math.log(rope["factor"]) + 1.0
        for layer in model.model.layers:
            layer.self_attn.scaling *= mscale * mscale
    if model.config.model_type in ("idefics3", "smolvlm"):
        embeddings = model.model.vision_model.embeddings

        def forward(pixel_values, patch_attention_mask):
            patches = embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
            return patches + embeddings.position_embedding.weight

        embeddings.forward = forward
    return model


def model_class(config):
    # mosaicml's own code has other capitals than transformers.
    name = {"MPTForCausalLM": "MptForCausalLM"}.get(config["architectures"][0], config["architectures"][0])
    return getattr(transformers, name)


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w") as f:
        json.dump(value, f, indent=2, sort_keys=False)
        f.write("\n")


def published_tensors(model):
    """What save_pretrained writes: published names, tied tensors once; in bfloat16, buffers as they are."""
    with tempfile.TemporaryDirectory() as folder:
        # DeepSeek publishes the router's bias in float32.
        state = {
            k: v.to(torch.bfloat16) if v.is_floating_point() and "e_score_correction_bias" not in k else v
            for k, v in model.state_dict(keep_vars=True).items()
        }
        # Tied parameters stay tied, or save_pretrained would not know.
        shared = {}
        for k, v in model.state_dict(keep_vars=True).items():
            key = (v.data_ptr(), tuple(v.shape))
            state[k] = shared.setdefault(key, state[k])
        model.save_pretrained(folder, state_dict=state, safe_serialization=True)
        return load_file(os.path.join(folder, "model.safetensors"))


def make(variant):
    folder = os.path.join(HERE, variant.name)
    config = variant.config
    with torch.no_grad():
        for attempt in range(1000):
            model = variant.options.get("build", build)(config)
            randomize(model, variant)
            case, margin = variant.run(model, variant)
            if margin > 1e-3:
                break
            variant.seed += 1
        else:
            raise RuntimeError(f"{variant.name}: no seed without near ties")
        tensors = variant.options.get("tensors", published_tensors)(model)
        if variant.edit:
            tensors = variant.edit(tensors, config)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        write_json(folder, "config.json", config)
        tensors = {k: v.contiguous().clone() for k, v in tensors.items()}
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        case = {k: v.contiguous().clone() for k, v in case.items()}
        again, _ = variant.run(variant.options.get("load", load)(folder, config), variant)
        worst = max((case[k].double() - again[k].double()).abs().max().item() for k in case)
        if not worst <= 1e-6:
            raise RuntimeError(f"{variant.name}: reloading differs by {worst}")
        for k, v in case.items():
            if v.is_floating_point() and not torch.isfinite(v).all():
                raise RuntimeError(f"{variant.name}: {k} is not finite")
        out = next(case[k] for k in ("logits", "hidden", "image_embeds") if k in case)
        if not 0.15 < out.std().item() < 12:
            raise RuntimeError(f"{variant.name}: odd scale {out.std().item()}")
        save_file(case, os.path.join(folder, "case.safetensors"))
    size = os.path.getsize(os.path.join(folder, "model.safetensors"))
    size2 = os.path.getsize(os.path.join(folder, "case.safetensors"))
    print(
        f"{variant.name:28} seed {variant.seed:3} model {size:6} case {size2:6} std {out.std().item():6.2f} "
        f"margin {margin:8.4f} reload {worst:.1e}",
        flush=True,
    )


def main(names):
    unknown = [n for n in names if n not in VARIANTS]
    if unknown:
        sys.exit(f"unknown: {' '.join(unknown)}")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    failed = []
    for name in names or VARIANTS:
        try:
            make(VARIANTS[name])
        except Exception as error:  # noqa: BLE001 -- said at the end, the others are made all the same
            if os.environ.get("RAISE"):
                raise
            failed.append(f"{name}: {type(error).__name__}: {error}")
    with open(os.path.join(HERE, "versions.txt"), "w") as f:
        f.write(f"python {sys.version.split()[0]}\ntorch {torch.__version__.split('+')[0]}\ntransformers {transformers.__version__}\n")
    if failed:
        sys.exit("\n".join(failed))


# ==================================================================================================== decoders



def decoder(name, architecture, model_type, keys, **options):
    """A causal language model; `keys` are those of its published config.json besides the usual ones."""
    config = {"architectures": [architecture], "model_type": model_type, **keys}
    config.setdefault("torch_dtype", "bfloat16")
    config.setdefault("use_cache", True)
    Variant(name, config, causal_lm, **options)


# ---- Llama and near relatives

LLAMA = dict(
    attention_bias=False,
    bos_token_id=1,
    eos_token_id=2,
    hidden_act="silu",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=44,
    max_position_embeddings=64,
    num_attention_heads=4,
    num_hidden_layers=2,
    num_key_value_heads=2,
    pretraining_tp=1,
    rms_norm_eps=0.003,
    rope_scaling=None,
    rope_theta=10000.0,
    tie_word_embeddings=False,
    vocab_size=72,
)


def old_rotary_buffers(tensors, config):
    """Checkpoints of 2023 carry the rotary frequencies, which readers leave out."""
    dim = config["hidden_size"] // config["num_attention_heads"]
    for i in range(config["num_hidden_layers"]):
        inv_freq = 1.0 / config["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim)
        tensors[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = inv_freq
    return tensors


decoder("llama", "LlamaForCausalLM", "llama", LLAMA, edit=old_rotary_buffers)
decoder(
    "llama-tied",
    "LlamaForCausalLM",
    "llama",
    {k: v for k, v in LLAMA.items() if k not in ("attention_bias", "rope_theta", "pretraining_tp", "num_key_value_heads")}
    | dict(tie_word_embeddings=True),
)
decoder(
    "llama-biases",
    "LlamaForCausalLM",
    "llama",
    LLAMA | dict(attention_bias=True, mlp_bias=True, head_dim=12, num_key_value_heads=1, rope_theta=500000.0),
)
decoder(
    "llama-rope-llama3",
    "LlamaForCausalLM",
    "llama",
    LLAMA
    | dict(
        head_dim=20,
        num_attention_heads=2,
        num_key_value_heads=1,
        mlp_bias=False,
        max_position_embeddings=256,
        rope_scaling=dict(
            factor=8.0,
            high_freq_factor=4.0,
            low_freq_factor=1.0,
            original_max_position_embeddings=32,
            rope_type="llama3",
        ),
        rope_theta=500.0,
    ),
)
decoder(
    "llama-rope-linear",
    "LlamaForCausalLM",
    "llama",
    LLAMA | dict(rope_scaling=dict(type="linear", factor=2.5), rope_theta=100.0),
)
decoder(
    "llama-rope-dynamic",
    "LlamaForCausalLM",
    "llama",
    LLAMA | dict(rope_scaling=dict(type="dynamic", factor=2.0), max_position_embeddings=16, rope_theta=100.0),
)
decoder(
    "llama-rope-yarn",
    "LlamaForCausalLM",
    "llama",
    LLAMA
    | dict(
        head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        rope_scaling=dict(
            rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=0.5
        ),
        rope_theta=50.0,
    ),
)
decoder(
    "mistral",
    "MistralForCausalLM",
    "mistral",
    dict(
        bos_token_id=1,
        eos_token_id=2,
        hidden_act="silu",
        hidden_size=32,
        initializer_range=0.02,
        intermediate_size=44,
        max_position_embeddings=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        num_key_value_heads=2,
        rms_norm_eps=0.003,
        rope_theta=10000.0,
        sliding_window=8,
        tie_word_embeddings=False,
        vocab_size=72,
    ),
)
decoder(
    "mistral-head-dim",
    "MistralForCausalLM",
    "mistral",
    dict(
        attention_dropout=0.0,
        bos_token_id=1,
        eos_token_id=2,
        head_dim=6,
        hidden_act="silu",
        hidden_size=40,
        initializer_range=0.02,
        intermediate_size=44,
        max_position_embeddings=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        num_key_value_heads=2,
        rms_norm_eps=0.003,
        rope_theta=1000000.0,
        sliding_window=None,
        tie_word_embeddings=False,
        vocab_size=72,
    ),
)
decoder(
    "smollm3",
    "SmolLM3ForCausalLM",
    "smollm3",
    dict(
        attention_bias=False,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=2,
        hidden_act="silu",
        hidden_size=24,
        initializer_range=0.02,
        intermediate_size=36,
        layer_types=["full_attention"] * 4,
        max_position_embeddings=64,
        max_window_layers=28,
        mlp_bias=False,
        no_rope_layer_interval=4,
        no_rope_layers=[1, 1, 0, 1],
        num_attention_heads=3,
        num_hidden_layers=4,
        num_key_value_heads=1,
        pad_token_id=2,
        pretraining_tp=2,
        rms_norm_eps=0.003,
        rope_scaling=None,
        rope_theta=5000000.0,
        sliding_window=None,
        use_sliding_window=False,
        vocab_size=72,
    ),
)

QWEN2 = dict(
    attention_dropout=0.0,
    bos_token_id=1,
    eos_token_id=1,
    hidden_act="silu",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=44,
    max_position_embeddings=64,
    max_window_layers=2,
    num_attention_heads=4,
    num_hidden_layers=2,
    num_key_value_heads=2,
    rms_norm_eps=0.003,
    rope_theta=1000000.0,
    sliding_window=32,
    tie_word_embeddings=True,
    use_sliding_window=False,
    vocab_size=72,
)
decoder("qwen2", "Qwen2ForCausalLM", "qwen2", QWEN2 | dict(use_mrope=False, sliding_window=8))
decoder(
    "qwen2-window",
    "Qwen2ForCausalLM",
    "qwen2",
    QWEN2
    | dict(
        hidden_size=24,
        num_attention_heads=3,
        num_key_value_heads=1,
        num_hidden_layers=4,
        max_window_layers=2,
        sliding_window=8,
        use_sliding_window=True,
        tie_word_embeddings=False,
    ),
)
QWEN3 = dict(
    attention_bias=False,
    attention_dropout=0.0,
    bos_token_id=1,
    eos_token_id=2,
    head_dim=12,
    hidden_act="silu",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=44,
    max_position_embeddings=64,
    max_window_layers=2,
    num_attention_heads=4,
    num_hidden_layers=2,
    num_key_value_heads=2,
    rms_norm_eps=0.003,
    rope_scaling=None,
    rope_theta=1000000,
    sliding_window=None,
    tie_word_embeddings=True,
    use_sliding_window=False,
    vocab_size=72,
)
decoder("qwen3", "Qwen3ForCausalLM", "qwen3", QWEN3)
decoder(
    "qwen3-yarn",
    "Qwen3ForCausalLM",
    "qwen3",
    QWEN3
    | dict(
        rope_theta=100,
        tie_word_embeddings=False,
        rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
    ),
)

# ---- Gemma

GEMMA = dict(
    attention_bias=False,
    attention_dropout=0.0,
    bos_token_id=2,
    eos_token_id=1,
    head_dim=12,
    hidden_act="gelu_pytorch_tanh",
    hidden_activation="gelu_pytorch_tanh",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=44,
    max_position_embeddings=64,
    num_attention_heads=4,
    num_hidden_layers=2,
    num_key_value_heads=1,
    pad_token_id=0,
    rms_norm_eps=0.003,
    rope_theta=10000.0,
    vocab_size=72,
)
decoder("gemma", "GemmaForCausalLM", "gemma", GEMMA | dict(rope_scaling=None))
decoder(
    "gemma2",
    "Gemma2ForCausalLM",
    "gemma2",
    GEMMA
    | dict(
        attn_logit_softcapping=5.0,
        cache_implementation="hybrid",
        final_logit_softcapping=6.0,
        num_hidden_layers=3,
        num_key_value_heads=2,
        hidden_size=24,
        head_dim=10,
        query_pre_attn_scalar=7,
        sliding_window=8,
        sliding_window_size=8,
    ),
)
GEMMA3 = {k: v for k, v in GEMMA.items() if k != "hidden_act"} | dict(
    attn_logit_softcapping=None,
    cache_implementation="hybrid",
    final_logit_softcapping=None,
    head_dim=8,
    hidden_size=16,
    intermediate_size=20,
    num_attention_heads=4,
    num_hidden_layers=7,
    num_key_value_heads=1,
    query_pre_attn_scalar=6,
    rope_local_base_freq=10000,
    rope_scaling=None,
    rope_theta=1000000,
    sliding_window=8,
    sliding_window_pattern=6,
)
decoder("gemma3", "Gemma3ForCausalLM", "gemma3_text", GEMMA3)
decoder(
    "gemma3-linear",
    "Gemma3ForCausalLM",
    "gemma3_text",
    GEMMA3
    | dict(
        rope_scaling=dict(factor=8.0, rope_type="linear"),
        rope_theta=100,
        rope_local_base_freq=50,
        sliding_window_pattern=3,
        num_hidden_layers=4,
    ),
)

# ---- Phi

PHI3 = dict(
    attention_bias=False,
    attention_dropout=0.0,
    bos_token_id=1,
    embd_pdrop=0.0,
    eos_token_id=2,
    hidden_act="silu",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=44,
    max_position_embeddings=64,
    num_attention_heads=4,
    num_hidden_layers=2,
    num_key_value_heads=2,
    original_max_position_embeddings=64,
    pad_token_id=2,
    resid_pdrop=0.0,
    rms_norm_eps=0.003,
    rope_scaling=None,
    rope_theta=10000.0,
    sliding_window=9,
    tie_word_embeddings=False,
    vocab_size=72,
)
LONGROPE = dict(
    long_factor=[1.5, 3.0, 6.5, 11.0],
    short_factor=[1.0, 1.25, 1.5, 2.5],
    type="longrope",
)
PHI3_LONG = PHI3 | dict(
    max_position_embeddings=128,
    original_max_position_embeddings=24,
    rope_scaling=LONGROPE,
    rope_theta=100.0,
    sliding_window=64,
)
decoder("phi3", "Phi3ForCausalLM", "phi3", PHI3)
decoder("phi3-longrope-short", "Phi3ForCausalLM", "phi3", PHI3_LONG, tokens=24)
decoder("phi3-longrope-long", "Phi3ForCausalLM", "phi3", PHI3_LONG, tokens=40)
decoder(
    "phi4-mini",
    "Phi3ForCausalLM",
    "phi3",
    PHI3
    | dict(
        full_attn_mod=1,
        interpolate_factor=1,
        lm_head_bias=False,
        max_position_embeddings=128,
        mlp_bias=False,
        original_max_position_embeddings=24,
        partial_rotary_factor=0.75,
        rope_scaling=dict(long_factor=[1.0, 4.5, 9.0], short_factor=[1.0, 1.0, 1.5], type="longrope"),
        rope_theta=100.0,
        sliding_window=64,
        tie_word_embeddings=True,
    ),
)
decoder(
    "phi",
    "PhiForCausalLM",
    "phi",
    dict(
        attention_dropout=0.0,
        bos_token_id=1,
        embd_pdrop=0.0,
        eos_token_id=1,
        hidden_act="gelu_new",
        hidden_size=32,
        initializer_range=0.02,
        intermediate_size=44,
        layer_norm_eps=0.003,
        max_position_embeddings=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_key_value_heads=2,
        partial_rotary_factor=0.4,
        qk_layernorm=False,
        resid_pdrop=0.1,
        rope_scaling=None,
        rope_theta=10000.0,
        tie_word_embeddings=False,
        vocab_size=72,
    ),
)

# ---- GPT-2, GPT-NeoX, GPT-J


def gpt2_published(tensors, config):
    """No prefix, and the causal masks."""
    n = config["n_ctx"]
    out = {k.removeprefix("transformer."): v for k, v in tensors.items()}
    for i in range(config["n_layer"]):
        out[f"h.{i}.attn.bias"] = torch.tril(torch.ones(n, n)).view(1, 1, n, n)
    return out


GPT2 = dict(
    activation_function="gelu_new",
    attn_pdrop=0.1,
    bos_token_id=71,
    embd_pdrop=0.1,
    eos_token_id=71,
    initializer_range=0.02,
    layer_norm_epsilon=0.003,
    n_ctx=40,
    n_embd=24,
    n_head=3,
    n_layer=2,
    n_positions=40,
    resid_pdrop=0.1,
    summary_activation=None,
    summary_first_dropout=0.1,
    summary_proj_to_labels=True,
    summary_type="cls_index",
    summary_use_proj=True,
    vocab_size=72,
)
decoder("gpt2", "GPT2LMHeadModel", "gpt2", {k: v for k, v in GPT2.items()}, edit=gpt2_published)


def neox_buffers(tensors, config):
    n = config["max_position_embeddings"]
    dim = int(config["hidden_size"] // config["num_attention_heads"] * config["rotary_pct"])
    for i in range(config["num_hidden_layers"]):
        prefix = f"gpt_neox.layers.{i}.attention."
        tensors[prefix + "bias"] = torch.tril(torch.ones(n, n, dtype=torch.bool)).view(1, 1, n, n)
        tensors[prefix + "masked_bias"] = torch.tensor(-1e9)
        tensors[prefix + "rotary_emb.inv_freq"] = 1.0 / 10000 ** (torch.arange(0, dim, 2).float() / dim)
    return tensors


NEOX = dict(
    bos_token_id=0,
    eos_token_id=0,
    hidden_act="gelu",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=52,
    layer_norm_eps=0.003,
    max_position_embeddings=40,
    num_attention_heads=2,
    num_hidden_layers=2,
    rotary_emb_base=10000,
    rotary_pct=0.25,
    tie_word_embeddings=False,
    torch_dtype="float16",
    use_parallel_residual=True,
    vocab_size=72,
)
decoder("gpt-neox", "GPTNeoXForCausalLM", "gpt_neox", NEOX, edit=neox_buffers)
decoder(
    "gpt-neox-serial",
    "GPTNeoXForCausalLM",
    "gpt_neox",
    NEOX | dict(use_parallel_residual=False, rotary_pct=1.0, hidden_size=24, num_attention_heads=3, rotary_emb_base=5000),
)


def gptj_buffers(tensors, config):
    n = config["n_positions"]
    for i in range(config["n_layer"]):
        tensors[f"transformer.h.{i}.attn.bias"] = torch.tril(torch.ones(n, n, dtype=torch.bool)).view(1, 1, n, n)
        tensors[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e9)
    return tensors


decoder(
    "gptj",
    "GPTJForCausalLM",
    "gptj",
    dict(
        activation_function="gelu_new",
        attn_pdrop=0.0,
        bos_token_id=71,
        embd_pdrop=0.0,
        eos_token_id=71,
        gradient_checkpointing=False,
        initializer_range=0.02,
        layer_norm_epsilon=0.003,
        n_embd=24,
        n_head=3,
        n_inner=None,
        n_layer=2,
        n_positions=40,
        resid_pdrop=0.0,
        rotary=True,
        rotary_dim=4,
        scale_attn_weights=True,
        tie_word_embeddings=False,
        vocab_size=72,
    ),
    edit=gptj_buffers,
)

# ---- OPT, BLOOM, Falcon, MPT

OPT = dict(
    _remove_final_layer_norm=False,
    activation_dropout=0.0,
    activation_function="relu",
    attention_dropout=0.0,
    bos_token_id=2,
    do_layer_norm_before=True,
    dropout=0.1,
    eos_token_id=2,
    ffn_dim=44,
    hidden_size=30,
    init_std=0.02,
    layerdrop=0.0,
    max_position_embeddings=48,
    num_attention_heads=3,
    num_hidden_layers=2,
    pad_token_id=1,
    torch_dtype="float16",
    vocab_size=72,
    word_embed_proj_dim=30,
)
decoder("opt", "OPTForCausalLM", "opt", OPT, blocks="model.decoder.layers")


def without_model(tensors, config):
    """facebook/opt-350m was saved from OPTModel: no leading `model.`."""
    return {k.removeprefix("model."): v for k, v in tensors.items()}


decoder(
    "opt-350m",
    "OPTForCausalLM",
    "opt",
    OPT | dict(do_layer_norm_before=False, word_embed_proj_dim=18),
    edit=without_model,
    blocks="model.decoder.layers",
)


def without_transformer(tensors, config):
    return {k.removeprefix("transformer."): v for k, v in tensors.items() if k != "lm_head.weight"}


decoder(
    "bloom",
    "BloomForCausalLM",
    "bloom",
    dict(
        apply_residual_connection_post_layernorm=False,
        attention_dropout=0.0,
        attention_softmax_in_fp32=True,
        bias_dropout_fusion=True,
        bos_token_id=1,
        eos_token_id=2,
        hidden_dropout=0.0,
        hidden_size=25,
        initializer_range=0.02,
        layer_norm_epsilon=0.003,
        masked_softmax_fusion=True,
        n_head=5,
        n_inner=None,
        n_layer=2,
        offset_alibi=100,
        pad_token_id=3,
        pretraining_tp=1,
        seq_length=64,
        skip_bias_add=True,
        skip_bias_add_qkv=False,
        unk_token_id=0,
        vocab_size=72,
    ),
    edit=without_transformer,
    lowest=4,
)

FALCON = dict(
    alibi=False,
    apply_residual_connection_post_layernorm=False,
    attention_dropout=0.0,
    bias=False,
    bos_token_id=11,
    eos_token_id=11,
    hidden_dropout=0.0,
    hidden_size=24,
    initializer_range=0.02,
    layer_norm_epsilon=0.003,
    multi_query=True,
    new_decoder_architecture=False,
    num_attention_heads=3,
    num_hidden_layers=2,
    parallel_attn=True,
    vocab_size=72,
)


def falcon_head(tensors, config):
    """The published files hold the tied head a second time."""
    tensors["lm_head.weight"] = tensors["transformer.word_embeddings.weight"]
    return tensors


decoder("falcon", "FalconForCausalLM", "falcon", FALCON, edit=falcon_head)
decoder(
    "falcon-40b",
    "FalconForCausalLM",
    "falcon",
    FALCON | dict(new_decoder_architecture=True, num_kv_heads=2, hidden_size=24, num_attention_heads=6),
    edit=falcon_head,
)
decoder(
    "falcon-11b",
    "FalconForCausalLM",
    "falcon",
    FALCON
    | dict(
        activation="gelu",
        ff_factor=4,
        ffn_hidden_size=60,
        max_position_embeddings=64,
        new_decoder_architecture=True,
        num_attention_heads=4,
        num_kv_heads=2,
        num_ln_in_parallel_attn=1,
        rope_scaling=None,
        rope_theta=500042.0,
        tie_word_embeddings=False,
    ),
)
decoder(
    "falcon-rw",
    "FalconForCausalLM",
    "falcon",
    FALCON
    | dict(alibi=True, bias=True, multi_query=False, parallel_attn=False, bos_token_id=1, eos_token_id=2),
    edit=falcon_head,
)
decoder(
    "mpt",
    "MPTForCausalLM",
    "mpt",
    dict(
        attn_config=dict(
            alibi=True,
            alibi_bias_max=8,
            attn_impl="torch",
            attn_pdrop=0,
            attn_type="multihead_attention",
            attn_uses_sequence_id=False,
            clip_qkv=None,
            prefix_lm=False,
            qk_ln=False,
            softmax_scale=None,
        ),
        d_model=24,
        emb_pdrop=0,
        embedding_fraction=1.0,
        expansion_ratio=4,
        init_device="cpu",
        learned_pos_emb=True,
        logit_scale=None,
        max_seq_len=64,
        n_heads=3,
        n_layers=2,
        no_bias=True,
        norm_type="low_precision_layernorm",
        resid_pdrop=0,
        use_cache=False,
        verbose=0,
        vocab_size=72,
    ),
)

# ---- OLMo, Granite, Cohere, StableLM, StarCoder2

OLMO = dict(
    attention_bias=False,
    attention_dropout=0.0,
    clip_qkv=None,
    eos_token_id=2,
    hidden_act="silu",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=44,
    max_position_embeddings=64,
    num_attention_heads=4,
    num_hidden_layers=2,
    num_key_value_heads=4,
    pad_token_id=1,
    rope_scaling=None,
    rope_theta=10000.0,
    tie_word_embeddings=False,
    vocab_size=72,
)
decoder("olmo", "OlmoForCausalLM", "olmo", OLMO)
decoder("olmo-clip", "OlmoForCausalLM", "olmo", OLMO | dict(clip_qkv=1.5, tie_word_embeddings=True))
decoder(
    "olmo2",
    "Olmo2ForCausalLM",
    "olmo2",
    {k: v for k, v in OLMO.items() if k != "clip_qkv"}
    | dict(num_key_value_heads=2, rms_norm_eps=0.003, rope_theta=500000, intermediate_size=36),
)
decoder(
    "granite",
    "GraniteForCausalLM",
    "granite",
    dict(
        attention_bias=False,
        attention_dropout=0.0,
        attention_multiplier=0.21875,
        bos_token_id=0,
        embedding_multiplier=12.0,
        eos_token_id=0,
        hidden_act="silu",
        hidden_size=32,
        initializer_range=0.02,
        intermediate_size=44,
        logits_scaling=1.75,
        max_position_embeddings=64,
        mlp_bias=False,
        num_attention_heads=4,
        num_hidden_layers=2,
        num_key_value_heads=2,
        pad_token_id=0,
        residual_multiplier=0.22,
        rms_norm_eps=0.003,
        rope_scaling=None,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        vocab_size=72,
    ),
)
COHERE = dict(
    attention_bias=False,
    attention_dropout=0.0,
    bos_token_id=5,
    eos_token_id=7,
    hidden_act="silu",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=44,
    layer_norm_eps=0.003,
    logit_scale=0.625,
    max_position_embeddings=64,
    num_attention_heads=4,
    num_hidden_layers=2,
    num_key_value_heads=2,
    pad_token_id=0,
    rope_theta=8000000.0,
    vocab_size=72,
)
decoder("cohere", "CohereForCausalLM", "cohere", COHERE)
decoder("cohere-qk-norm", "CohereForCausalLM", "cohere", COHERE | dict(use_qk_norm=True, rope_theta=75000000.0))
decoder(
    "cohere2",
    "Cohere2ForCausalLM",
    "cohere2",
    COHERE
    | dict(
        cache_implementation="hybrid",
        head_dim=8,
        hidden_size=24,
        layer_switch=4,
        num_attention_heads=4,
        num_hidden_layers=4,
        num_key_value_heads=1,
        order_of_interleaved_layers="local_attn_first",
        position_embedding_type="rope_gptj",
        rope_scaling=None,
        rope_theta=50000.0,
        rotary_pct=1.0,
        sliding_window=8,
        sliding_window_pattern=4,
        use_embedding_sharing=True,
        use_gated_activation=True,
        use_parallel_block=True,
        use_parallel_embedding=False,
        use_qk_norm=False,
        intermediate_size=36,
    ),
)
STABLELM = dict(
    bos_token_id=0,
    eos_token_id=0,
    hidden_act="silu",
    hidden_size=32,
    initializer_range=0.02,
    intermediate_size=44,
    layer_norm_eps=0.003,
    max_position_embeddings=64,
    num_attention_heads=4,
    num_hidden_layers=2,
    num_key_value_heads=4,
    partial_rotary_factor=0.25,
    rope_theta=10000,
    tie_word_embeddings=False,
    use_qkv_bias=True,
    vocab_size=72,
)
decoder(
    "stablelm",
    "StableLmForCausalLM",
    "stablelm",
    STABLELM | dict(num_attention_heads=2, num_key_value_heads=2, intermediate_size=36),
)
decoder(
    "stablelm-parallel",
    "StableLmForCausalLM",
    "stablelm",
    STABLELM
    | dict(
        num_attention_heads=2,
        num_key_value_heads=1,
        qk_layernorm=True,
        use_parallel_residual=True,
        use_qkv_bias=False,
    ),
)
decoder(
    "starcoder2",
    "Starcoder2ForCausalLM",
    "starcoder2",
    dict(
        activation_function="gelu",
        attention_dropout=0.1,
        attention_softmax_in_fp32=True,
        bos_token_id=0,
        embedding_dropout=0.1,
        eos_token_id=0,
        hidden_act="gelu_pytorch_tanh",
        hidden_size=32,
        initializer_range=0.018042,
        intermediate_size=76,
        layer_norm_epsilon=1e-05,
        max_position_embeddings=64,
        mlp_type="default",
        norm_epsilon=0.003,
        norm_type="layer_norm",
        num_attention_heads=4,
        num_hidden_layers=2,
        num_key_value_heads=2,
        residual_dropout=0.1,
        rope_theta=999999.4420358813,
        scale_attention_softmax_in_fp32=True,
        scale_attn_weights=True,
        sliding_window=8,
        use_bias=True,
        vocab_size=72,
    ),
)

# ---- mixtures of experts

decoder(
    "mixtral",
    "MixtralForCausalLM",
    "mixtral",
    dict(
        attention_dropout=0.0,
        bos_token_id=1,
        eos_token_id=2,
        hidden_act="silu",
        hidden_size=24,
        initializer_range=0.02,
        intermediate_size=20,
        max_position_embeddings=64,
        num_attention_heads=3,
        num_experts_per_tok=2,
        num_hidden_layers=2,
        num_key_value_heads=1,
        num_local_experts=5,
        output_router_logits=False,
        rms_norm_eps=0.003,
        rope_theta=1000000.0,
        router_aux_loss_coef=0.02,
        sliding_window=None,
        tie_word_embeddings=False,
        vocab_size=72,
    ),
)
decoder(
    "qwen2-moe",
    "Qwen2MoeForCausalLM",
    "qwen2_moe",
    dict(
        attention_dropout=0.0,
        bos_token_id=1,
        decoder_sparse_step=2,
        eos_token_id=1,
        hidden_act="silu",
        hidden_size=24,
        initializer_range=0.02,
        intermediate_size=28,
        max_position_embeddings=64,
        max_window_layers=4,
        mlp_only_layers=[3],
        moe_intermediate_size=10,
        norm_topk_prob=False,
        num_attention_heads=3,
        num_experts=6,
        num_experts_per_tok=3,
        num_hidden_layers=4,
        num_key_value_heads=3,
        output_router_logits=False,
        rms_norm_eps=0.003,
        rope_theta=1000000.0,
        router_aux_loss_coef=0.001,
        shared_expert_intermediate_size=18,
        sliding_window=64,
        tie_word_embeddings=False,
        use_sliding_window=False,
        vocab_size=72,
    ),
)
decoder(
    "qwen3-moe",
    "Qwen3MoeForCausalLM",
    "qwen3_moe",
    dict(
        attention_bias=False,
        attention_dropout=0.0,
        bos_token_id=1,
        decoder_sparse_step=1,
        eos_token_id=2,
        head_dim=10,
        hidden_act="silu",
        hidden_size=24,
        initializer_range=0.02,
        intermediate_size=28,
        max_position_embeddings=64,
        max_window_layers=2,
        mlp_only_layers=[],
        moe_intermediate_size=10,
        norm_topk_prob=True,
        num_attention_heads=4,
        num_experts=8,
        num_experts_per_tok=3,
        num_hidden_layers=2,
        num_key_value_heads=2,
        output_router_logits=False,
        rms_norm_eps=0.003,
        rope_scaling=None,
        rope_theta=1000000.0,
        router_aux_loss_coef=0.001,
        sliding_window=None,
        tie_word_embeddings=False,
        use_sliding_window=False,
        vocab_size=72,
    ),
)
decoder(
    "olmoe",
    "OlmoeForCausalLM",
    "olmoe",
    dict(
        attention_bias=False,
        attention_dropout=0.0,
        clip_qkv=None,
        eos_token_id=2,
        hidden_act="silu",
        hidden_size=24,
        initializer_range=0.02,
        intermediate_size=10,
        max_position_embeddings=64,
        norm_topk_prob=False,
        num_attention_heads=3,
        num_experts=8,
        num_experts_per_tok=3,
        num_hidden_layers=2,
        num_key_value_heads=1,
        output_router_logits=False,
        pad_token_id=1,
        rms_norm_eps=0.003,
        rope_scaling=None,
        rope_theta=10000.0,
        router_aux_loss_coef=0.01,
        tie_word_embeddings=False,
        vocab_size=72,
    ),
)

# Routers of DeepSeek choose by sigmoid plus this bias; it stays small, so that no chosen sum is negative.
SMALL_BIAS = {"e_score_correction_bias": 0.03}
DEEPSEEK_V2 = dict(
    attention_bias=False,
    attention_dropout=0.0,
    aux_loss_alpha=0.001,
    bos_token_id=1,
    eos_token_id=2,
    first_k_dense_replace=1,
    hidden_act="silu",
    hidden_size=24,
    initializer_range=0.02,
    intermediate_size=28,
    kv_lora_rank=12,
    max_position_embeddings=256,
    moe_intermediate_size=10,
    moe_layer_freq=1,
    n_group=1,
    n_routed_experts=6,
    n_shared_experts=2,
    norm_topk_prob=False,
    num_attention_heads=3,
    num_experts_per_tok=3,
    num_hidden_layers=2,
    num_key_value_heads=3,
    pretraining_tp=1,
    q_lora_rank=None,
    qk_nope_head_dim=6,
    qk_rope_head_dim=8,
    rms_norm_eps=0.003,
    rope_scaling=dict(
        beta_fast=4,
        beta_slow=1,
        factor=8,
        mscale=0.707,
        mscale_all_dim=0.707,
        original_max_position_embeddings=32,
        type="yarn",
    ),
    rope_theta=200,
    routed_scaling_factor=1.0,
    scoring_func="softmax",
    seq_aux=True,
    tie_word_embeddings=False,
    topk_group=1,
    topk_method="greedy",
    v_head_dim=10,
    vocab_size=72,
)
decoder("deepseek-v2-lite", "DeepseekV2ForCausalLM", "deepseek_v2", DEEPSEEK_V2)
decoder(
    "deepseek-v2",
    "DeepseekV2ForCausalLM",
    "deepseek_v2",
    DEEPSEEK_V2
    | dict(
        ep_size=1,
        n_group=4,
        n_routed_experts=8,
        num_experts_per_tok=3,
        q_lora_rank=14,
        routed_scaling_factor=2.5,
        topk_group=2,
        topk_method="group_limited_greedy",
    ),
)


def next_token_layer(tensors, config):
    """Published DeepSeek-V3 has one more layer, for guessing a token ahead, that a forward pass leaves out."""
    n, width = config["num_hidden_layers"], config["hidden_size"]
    for part in ("enorm", "hnorm", "shared_head.norm"):
        tensors[f"model.layers.{n}.{part}.weight"] = torch.ones(width, dtype=torch.bfloat16)
    tensors[f"model.layers.{n}.eh_proj.weight"] = torch.ones(width, 2 * width, dtype=torch.bfloat16)
    return tensors


DEEPSEEK_V3 = dict(
    attention_bias=False,
    attention_dropout=0.0,
    bos_token_id=0,
    ep_size=1,
    eos_token_id=1,
    first_k_dense_replace=1,
    hidden_act="silu",
    hidden_size=24,
    initializer_range=0.02,
    intermediate_size=36,
    kv_lora_rank=12,
    max_position_embeddings=256,
    moe_intermediate_size=10,
    moe_layer_freq=1,
    n_group=4,
    n_routed_experts=12,
    n_shared_experts=1,
    norm_topk_prob=True,
    num_attention_heads=3,
    num_experts_per_tok=4,
    num_hidden_layers=2,
    num_key_value_heads=3,
    num_nextn_predict_layers=1,
    q_lora_rank=14,
    qk_nope_head_dim=6,
    qk_rope_head_dim=8,
    rms_norm_eps=0.003,
    rope_scaling=dict(
        beta_fast=4,
        beta_slow=1,
        factor=8,
        mscale=1.0,
        mscale_all_dim=1.0,
        original_max_position_embeddings=32,
        type="yarn",
    ),
    rope_theta=200,
    routed_scaling_factor=2.5,
    scoring_func="sigmoid",
    tie_word_embeddings=False,
    topk_group=2,
    topk_method="noaux_tc",
    v_head_dim=10,
    vocab_size=72,
)
decoder(
    "deepseek-v3", "DeepseekV3ForCausalLM", "deepseek_v3", DEEPSEEK_V3, std=SMALL_BIAS, edit=next_token_layer
)
# No published model, but allowed: the two mscales differ, so cosines and sines are scaled too.
decoder(
    "deepseek-v3-mscale",
    "DeepseekV3ForCausalLM",
    "deepseek_v3",
    DEEPSEEK_V3
    | dict(
        num_nextn_predict_layers=0,
        q_lora_rank=None,
        rope_scaling=DEEPSEEK_V3["rope_scaling"] | dict(mscale=1.0, mscale_all_dim=0.5),
    ),
    std=SMALL_BIAS,
)


# ---- DeepSeek-V3 in blocks of FP8


def fp8_parts(tensors):
    """Names of the matrices that DeepSeek publishes in FP8: those of attention and of MLPs, not the router."""
    return [k for k, v in tensors.items() if v.dim() == 2 and "proj" in k]


def fp8_quantize(weight, size=128):
    """Each block of 128 x 128, the last ones smaller, over its largest magnitude / 448."""
    rows, columns = weight.shape
    scale = torch.empty(-(-rows // size), -(-columns // size))
    code = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            part = (slice(i * size, (i + 1) * size), slice(j * size, (j + 1) * size))
            scale[i, j] = weight[part].abs().max() / 448
            code[part] = (weight[part] / scale[i, j]).to(torch.float8_e4m3fn)
    return code, scale


def fp8_dequantize(code, scale, size=128):
    wide = scale.repeat_interleave(size, 0).repeat_interleave(size, 1)
    return code.float() * wide[: code.shape[0], : code.shape[1]]


def without_quantization(config):
    return {k: v for k, v in config.items() if k != "quantization_config"}


def build_unquantized(config):
    return build(without_quantization(config))


def fp8_run(model, variant):
    """The forward pass with what the codes stand for, in float32; no activation is quantized."""
    if not hasattr(model, "fp8"):
        model.fp8 = {}
        for name in fp8_parts(dict(model.named_parameters())):
            weight = model.get_parameter(name)
            code, scale = fp8_quantize(weight.data)
            weight.data = fp8_dequantize(code, scale)
            model.fp8[name] = (code, scale)
    return causal_lm(model, variant)


def fp8_tensors(model):
    tensors = published_tensors(model)
    for name, (code, scale) in model.fp8.items():
        tensors[name] = code
        tensors[name + "_scale_inv"] = scale
    return tensors


def fp8_load(folder, config):
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    model = build(without_quantization(config))
    model.fp8 = True
    state = {}
    for name, value in tensors.items():
        if name + "_scale_inv" in tensors:
            state[name] = fp8_dequantize(value, tensors[name + "_scale_inv"])
        elif not name.endswith("_scale_inv"):
            state[name] = value.float()
    model.load_state_dict(state)
    return model


Variant(
    "deepseek-v3-fp8",
    dict(architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3")
    | DEEPSEEK_V3
    | dict(
        hidden_size=40,
        intermediate_size=136,
        num_nextn_predict_layers=0,
        num_hidden_layers=2,
        n_routed_experts=8,
        num_experts_per_tok=3,
        quantization_config=dict(
            activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128]
        ),
        torch_dtype="bfloat16",
        use_cache=True,
    ),
    fp8_run,
    std=SMALL_BIAS,
    build=build_unquantized,
    tensors=fp8_tensors,
    load=fp8_load,
)

# ---- gpt-oss

GPT_OSS = dict(
    attention_bias=True,
    attention_dropout=0.0,
    eos_token_id=2,
    experts_per_token=2,
    head_dim=8,
    hidden_act="silu",
    hidden_size=24,
    initial_context_length=32,
    initializer_range=0.02,
    intermediate_size=20,
    layer_types=["sliding_attention", "full_attention"],
    max_position_embeddings=256,
    num_attention_heads=4,
    num_experts_per_tok=2,
    num_hidden_layers=2,
    num_key_value_heads=2,
    num_local_experts=5,
    output_router_logits=False,
    pad_token_id=1,
    rms_norm_eps=0.003,
    rope_scaling=dict(
        beta_fast=4.0,
        beta_slow=1.0,
        factor=8.0,
        original_max_position_embeddings=32,
        rope_type="yarn",
        truncate=False,
    ),
    rope_theta=200,
    router_aux_loss_coef=0.9,
    sliding_window=8,
    swiglu_limit=7.0,
    tie_word_embeddings=False,
    vocab_size=72,
)
# Wide gates, so that some are clamped at 7.
WIDE = {"gate_up_proj": 4.0}
decoder("gpt-oss", "GptOssForCausalLM", "gpt_oss", GPT_OSS, gain=WIDE)

FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def mxfp4_quantize(weight):
    """[..., columns] -> blocks [..., columns / 32, 16], the lower half of a byte first, and scales (exponents + 127)."""
    grouped = weight.reshape(*weight.shape[:-1], -1, 32)
    exponent = torch.floor(torch.log2(grouped.abs().amax(-1))) - 2
    scaled = grouped / torch.exp2(exponent)[..., None]
    code = (scaled[..., None] - FP4).abs().argmin(-1)
    blocks = (code[..., 0::2] | code[..., 1::2] << 4).to(torch.uint8)
    return blocks, (exponent + 127).to(torch.uint8)


def mxfp4_dequantize(blocks, scales):
    code = torch.stack((blocks & 15, blocks >> 4), -1).flatten(-2).long()
    value = FP4[code] * torch.exp2(scales.float() - 127)[..., None]
    return value.flatten(-2)


def mxfp4_run(model, variant):
    """Experts are stored with rows of outputs: [experts, outputs, inputs / 32, 16]; the parameter is the transpose."""
    if not hasattr(model, "mxfp4"):
        model.mxfp4 = {}
        for name, parameter in model.named_parameters():
            if name.endswith(("gate_up_proj", "down_proj")):
                blocks, scales = mxfp4_quantize(parameter.data.transpose(1, 2))
                parameter.data = mxfp4_dequantize(blocks, scales).transpose(1, 2).contiguous()
                model.mxfp4[name] = (blocks, scales)
    return causal_lm(model, variant)


def mxfp4_tensors(model):
    tensors = published_tensors(model)
    for name, (blocks, scales) in model.mxfp4.items():
        del tensors[name]
        tensors[name + "_blocks"] = blocks
        tensors[name + "_scales"] = scales
    return tensors


def mxfp4_load(folder, config):
    """transformers' own reader of MXFP4, which widens on a machine without a GPU."""
    model = load(folder, config).float()
    model.mxfp4 = True
    return model


Variant(
    "gpt-oss-mxfp4",
    dict(architectures=["GptOssForCausalLM"], model_type="gpt_oss")
    | GPT_OSS
    | dict(
        hidden_size=32,
        intermediate_size=64,
        num_local_experts=4,
        num_attention_heads=4,
        quantization_config=dict(
            modules_to_not_convert=[
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
            quant_method="mxfp4",
        ),
        use_cache=True,
    ),
    mxfp4_run,
    gain=WIDE,
    build=build_unquantized,
    tensors=mxfp4_tensors,
    load=mxfp4_load,
)
decoder(
    "granitemoe",
    "GraniteMoeForCausalLM",
    "granitemoe",
    dict(
        attention_bias=False,
        attention_dropout=0.0,
        attention_multiplier=0.21875,
        bos_token_id=0,
        embedding_multiplier=12.0,
        eos_token_id=0,
        hidden_act="silu",
        hidden_size=24,
        initializer_range=0.02,
        intermediate_size=14,
        logits_scaling=1.75,
        max_position_embeddings=64,
        num_attention_heads=3,
        num_experts_per_tok=2,
        num_hidden_layers=2,
        num_key_value_heads=1,
        num_local_experts=6,
        output_router_logits=False,
        pad_token_id=0,
        residual_multiplier=0.22,
        rms_norm_eps=0.003,
        rope_scaling=None,
        rope_theta=10000,
        router_aux_loss_coef=0.0,
        tie_word_embeddings=True,
        vocab_size=72,
    ),
)

# ==================================================================================================== encoders


def encoder(model, variant):
    """ids [T], token_type_ids [T] where there are any -> hidden [T, width], the last hidden state; pooled [width] and
    logits [T, vocabulary] where the file has the parts for them."""
    o = variant.options
    ids = variant.ids("ids", variant.tokens, o.get("lowest", 5), variant.config["vocab_size"])
    inputs = {"input_ids": ids[None]}
    case = {"ids": ids}
    if variant.config.get("type_vocab_size", 0) > 1:
        types = (torch.arange(variant.tokens) >= variant.tokens // 3).long()
        inputs["token_type_ids"] = types[None]
        case["token_type_ids"] = types
    base = getattr(model, o["base"]) if "base" in o else model
    with Record(blocks_of(base)) as record:
        out = base(**inputs)
    case["hidden"] = out.last_hidden_state[0]
    if getattr(out, "pooler_output", None) is not None:
        case["pooled"] = out.pooler_output[0]
    if "base" in o:
        out = model(**inputs)
        case["logits"] = (out.prediction_logits if "prediction_logits" in out else out.logits)[0]
    return case | record.take(), record.margin


def model_as(name):
    """Options for a file that holds another class's tensors than its config.json names."""

    def with_name(config):
        return config | {"architectures": [name]}

    return {
        "build": lambda config: build(with_name(config)),
        "load": lambda folder, config: load(folder, with_name(config)),
    }


def with_position_ids(prefix=""):
    """Files of before 2023 hold the numbers of the positions."""

    def edit(tensors, config):
        tensors[prefix + "embeddings.position_ids"] = torch.arange(config["max_position_embeddings"])[None]
        return tensors

    return edit


BERT = dict(
    architectures=["BertModel"],
    model_type="bert",
    attention_probs_dropout_prob=0.1,
    classifier_dropout=None,
    gradient_checkpointing=False,
    hidden_act="gelu",
    hidden_dropout_prob=0.1,
    hidden_size=24,
    initializer_range=0.02,
    intermediate_size=44,
    layer_norm_eps=0.003,
    max_position_embeddings=48,
    num_attention_heads=3,
    num_hidden_layers=2,
    pad_token_id=0,
    position_embedding_type="absolute",
    type_vocab_size=2,
    use_cache=True,
    vocab_size=72,
)
Variant("bert", BERT, encoder, edit=with_position_ids())


def bert_old_names(tensors, config):
    """The first checkpoints say gamma and beta."""
    return {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in tensors.items()
    }


Variant(
    "bert-mlm",
    {k: v for k, v in BERT.items() if k not in ("classifier_dropout", "use_cache")}
    | dict(architectures=["BertForMaskedLM"]),
    encoder,
    edit=bert_old_names,
    base="bert",
    **model_as("BertForPreTraining"),
)
Variant(
    "roberta",
    dict(
        architectures=["RobertaForMaskedLM"],
        model_type="roberta",
        attention_probs_dropout_prob=0.1,
        bos_token_id=0,
        eos_token_id=2,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        hidden_size=24,
        initializer_range=0.02,
        intermediate_size=44,
        layer_norm_eps=0.003,
        max_position_embeddings=50,
        num_attention_heads=3,
        num_hidden_layers=2,
        pad_token_id=1,
        type_vocab_size=1,
        vocab_size=72,
    ),
    encoder,
    edit=with_position_ids("roberta."),
    base="roberta",
)
Variant(
    "distilbert",
    dict(
        architectures=["DistilBertForMaskedLM"],
        model_type="distilbert",
        activation="gelu",
        attention_dropout=0.1,
        dim=24,
        dropout=0.1,
        hidden_dim=44,
        initializer_range=0.02,
        max_position_embeddings=48,
        n_heads=3,
        n_layers=2,
        pad_token_id=0,
        qa_dropout=0.1,
        seq_classif_dropout=0.2,
        sinusoidal_pos_embds=False,
        tie_weights_=True,
        vocab_size=72,
    ),
    encoder,
    base="distilbert",
)
Variant(
    "mpnet",
    dict(
        architectures=["MPNetForMaskedLM"],
        model_type="mpnet",
        attention_probs_dropout_prob=0.1,
        bos_token_id=0,
        eos_token_id=2,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        hidden_size=24,
        initializer_range=0.02,
        intermediate_size=44,
        layer_norm_eps=0.003,
        max_position_embeddings=50,
        num_attention_heads=3,
        num_hidden_layers=2,
        pad_token_id=1,
        relative_attention_num_buckets=32,
        vocab_size=72,
    ),
    encoder,
    std={"relative_attention_bias": 1.0},
    edit=with_position_ids(),
    **model_as("MPNetModel"),
)
Variant(
    "modernbert",
    dict(
        architectures=["ModernBertForMaskedLM"],
        model_type="modernbert",
        attention_bias=False,
        attention_dropout=0.0,
        bos_token_id=1,
        classifier_activation="gelu",
        classifier_bias=False,
        classifier_dropout=0.0,
        classifier_pooling="mean",
        cls_token_id=1,
        decoder_bias=True,
        deterministic_flash_attn=False,
        embedding_dropout=0.0,
        eos_token_id=2,
        global_attn_every_n_layers=3,
        global_rope_theta=160000.0,
        gradient_checkpointing=False,
        hidden_activation="gelu",
        hidden_size=24,
        initializer_cutoff_factor=2.0,
        initializer_range=0.02,
        intermediate_size=36,
        layer_norm_eps=1e-05,
        local_attention=8,
        local_rope_theta=10000.0,
        max_position_embeddings=64,
        mlp_bias=False,
        mlp_dropout=0.0,
        norm_bias=False,
        norm_eps=0.003,
        num_attention_heads=3,
        num_hidden_layers=4,
        pad_token_id=3,
        position_embedding_type="absolute",
        sep_token_id=2,
        tie_word_embeddings=True,
        vocab_size=72,
    ),
    encoder,
    base="model",
)

# ---- Nomic's BERT, whose published form transformers 4.57 has no class for


class NomicBert(torch.nn.Module):
    """nomic-embed-text: post-norm, rotary halves, gate in fc12, no biases. Written after its published code."""

    class Config:
        pass

    def __init__(self, config):
        super().__init__()
        self.config = NomicBert.Config()
        self.config.vocab_size = config["vocab_size"]
        self.heads = config["n_head"]
        self.base = config["rotary_emb_base"]
        width, inner, eps = config["n_embd"], config["n_inner"], config["layer_norm_epsilon"]

        def linear(inputs, outputs):
            return torch.nn.Linear(inputs, outputs, bias=False)

        class Block(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.attn = torch.nn.ModuleDict(dict(Wqkv=linear(width, 3 * width), out_proj=linear(width, width)))
                self.mlp = torch.nn.ModuleDict(
                    dict(fc11=linear(width, inner), fc12=linear(width, inner), fc2=linear(inner, width))
                )
                self.norm1 = torch.nn.LayerNorm(width, eps=eps)
                self.norm2 = torch.nn.LayerNorm(width, eps=eps)

            def forward(block, x):
                x = block.norm1(x + block.attn["out_proj"](self.attention(block.attn["Wqkv"](x))))
                gate = torch.nn.functional.silu(block.mlp["fc12"](x))
                return block.norm2(x + block.mlp["fc2"](block.mlp["fc11"](x) * gate))

        self.embeddings = torch.nn.ModuleDict(
            dict(
                word_embeddings=torch.nn.Embedding(config["vocab_size"], width),
                token_type_embeddings=torch.nn.Embedding(config["type_vocab_size"], width),
            )
        )
        self.emb_ln = torch.nn.LayerNorm(width, eps=eps)
        self.encoder = torch.nn.Module()
        self.encoder.layers = torch.nn.ModuleList(Block() for _ in range(config["n_layer"]))

    def attention(self, qkv):
        batch, count, _ = qkv.shape
        q, k, v = qkv.view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dim = q.shape[-1]
        angle = torch.arange(count).float()[:, None] / self.base ** (torch.arange(0, dim, 2).float() / dim)
        cos, sin = angle.cos(), angle.sin()

        def rotated(x):
            a, b = x.chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

        weights = (rotated(q) @ rotated(k).transpose(-1, -2) / math.sqrt(dim)).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(batch, count, -1)

    def forward(self, input_ids, token_type_ids):
        x = self.embeddings["word_embeddings"](input_ids) + self.embeddings["token_type_embeddings"](token_type_ids)
        x = self.emb_ln(x)
        for block in self.encoder.layers:
            x = block(x)
        return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=x)


def nomic_load(folder, config):
    model = NomicBert(config)
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    model.load_state_dict({k: v.float() for k, v in tensors.items()})
    return model


Variant(
    "nomic-bert",
    dict(
        activation_function="swiglu",
        architectures=["NomicBertModel"],
        attn_pdrop=0.0,
        bos_token_id=None,
        causal=False,
        dense_seq_output=True,
        embd_pdrop=0.0,
        eos_token_id=None,
        fused_bias_fc=True,
        fused_dropout_add_ln=True,
        initializer_range=0.02,
        layer_norm_epsilon=0.003,
        max_trained_positions=64,
        mlp_fc1_bias=False,
        mlp_fc2_bias=False,
        model_type="nomic_bert",
        n_embd=24,
        n_head=3,
        n_inner=44,
        n_layer=2,
        n_positions=256,
        pad_vocab_size_multiple=64,
        parallel_block=False,
        parallel_block_tied_norm=False,
        prenorm=False,
        qkv_proj_bias=False,
        reorder_and_upcast_attn=False,
        resid_pdrop=0.0,
        rotary_emb_base=1000,
        rotary_emb_fraction=1.0,
        rotary_emb_interleaved=False,
        rotary_emb_scale_base=None,
        rotary_scaling_factor=None,
        scale_attn_by_inverse_layer_idx=False,
        scale_attn_weights=True,
        summary_activation=None,
        summary_first_dropout=0.0,
        summary_proj_to_labels=True,
        summary_type="cls_index",
        summary_use_proj=True,
        torch_dtype="float32",
        type_vocab_size=2,
        use_cache=True,
        use_flash_attn=True,
        use_rms_norm=False,
        use_xentropy=True,
        vocab_size=72,
    ),
    encoder,
    build=NomicBert,
    load=nomic_load,
    tensors=lambda model: {k: v.to(torch.bfloat16) for k, v in model.state_dict().items()},
)

# ---- T5


def t5(model, variant):
    """encoder_ids [S], decoder_ids [T] -> encoder_hidden [S, width], logits [T, vocabulary]."""
    vocabulary = variant.config["vocab_size"]
    encoder_ids = variant.ids("encoder_ids", 50, 2, vocabulary)
    decoder_ids = variant.ids("decoder_ids", 30, 2, vocabulary)
    decoder_ids[0] = variant.config["decoder_start_token_id"]
    with Record(model.encoder.block, "encoder.hidden") as enc, Record(model.decoder.block, "decoder.hidden") as dec:
        out = model(input_ids=encoder_ids[None], decoder_input_ids=decoder_ids[None], use_cache=False)
    case = {
        "encoder_ids": encoder_ids,
        "decoder_ids": decoder_ids,
        "encoder_hidden": out.encoder_last_hidden_state[0],
        "logits": out.logits[0],
    }
    return case | enc.take() | dec.take(), math.inf


def t5_unused(tensors, config):
    """The first T5 files hold relative positions for the attention to the encoder, which nothing reads."""
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.ones(
        config["relative_attention_num_buckets"], config["num_heads"], dtype=torch.bfloat16
    )
    return tensors


T5 = dict(
    architectures=["T5ForConditionalGeneration"],
    model_type="t5",
    d_ff=28,
    d_kv=6,
    d_model=16,
    decoder_start_token_id=0,
    dropout_rate=0.1,
    eos_token_id=1,
    initializer_factor=1.0,
    is_encoder_decoder=True,
    layer_norm_epsilon=0.003,
    n_positions=512,
    num_heads=3,
    num_layers=2,
    output_past=True,
    pad_token_id=0,
    relative_attention_num_buckets=32,
    use_cache=True,
    vocab_size=72,
)
# No division by the root of the head's width: queries are small instead.
T5_SCALES = dict(
    gain={"Attention.q": 0.6}, std={"relative_attention_bias": 1.0, "shared": 1.0}
)
Variant("t5", T5, t5, edit=t5_unused, **T5_SCALES)
Variant(
    "t5-v1-1",
    T5
    | dict(
        feed_forward_proj="gated-gelu",
        num_decoder_layers=3,
        relative_attention_max_distance=40,
        relative_attention_num_buckets=12,
        tie_word_embeddings=False,
    ),
    t5,
    **T5_SCALES,
)

# ==================================================================================================== images


def classifier(model, variant):
    """pixels [C, H, W] -> hidden [patches + tokens, width] after the last norm, logits [labels]."""
    size = variant.config["image_size"]
    pixels = variant.randn("pixels", 3, size, size)
    base = getattr(model, variant.config["model_type"])
    with Record(base.encoder.layer) as record:
        out = model(pixels[None])
        hidden = base(pixels[None]).last_hidden_state
    case = {"pixels": pixels, "hidden": hidden[0], "logits": out.logits[0]}
    for part in ("cls_logits", "distillation_logits"):
        if part in out:
            case[part] = out[part][0]
    return case | record.take(), math.inf


VIT = dict(
    architectures=["ViTForImageClassification"],
    model_type="vit",
    attention_probs_dropout_prob=0.0,
    hidden_act="gelu",
    hidden_dropout_prob=0.0,
    hidden_size=24,
    id2label={str(i): f"LABEL_{i}" for i in range(7)},
    image_size=24,
    initializer_range=0.02,
    intermediate_size=44,
    label2id={f"LABEL_{i}": i for i in range(7)},
    layer_norm_eps=0.003,
    num_attention_heads=3,
    num_channels=3,
    num_hidden_layers=2,
    patch_size=6,
    qkv_bias=True,
)
Variant("vit", VIT, classifier)
Variant(
    "deit",
    VIT | dict(architectures=["DeiTForImageClassificationWithTeacher"], model_type="deit"),
    classifier,
)


def pair(model, variant):
    """ids [T], pixels [C, H, W] -> text_embeds [width], image_embeds [width], both of length 1, logits_per_image [1];
    text.hidden.i and vision.hidden.i."""
    text, vision = variant.config["text_config"], variant.config["vision_config"]
    size = vision["image_size"]
    pixels = variant.randn("pixels", 3, size, size)
    ids = variant.ids("ids", text["max_position_embeddings"], 3, text["vocab_size"] - 1)
    if variant.config["model_type"] == "clip":
        ids[9] = text["vocab_size"] - 1  # the end of the text, the highest number; what follows is of no account
    with Record(model.text_model.encoder.layers, "text.hidden") as t:
        with Record(model.vision_model.encoder.layers, "vision.hidden") as v:
            out = model(input_ids=ids[None], pixel_values=pixels[None])
    case = {
        "ids": ids,
        "pixels": pixels,
        "text_embeds": out.text_embeds[0],
        "image_embeds": out.image_embeds[0],
        "logits_per_image": out.logits_per_image[0],
    }
    return case | t.take() | v.take(), math.inf


CLIP_TEXT = dict(
    attention_dropout=0.0,
    bos_token_id=0,
    dropout=0.0,
    eos_token_id=2,
    hidden_act="quick_gelu",
    hidden_size=20,
    initializer_factor=1.0,
    initializer_range=0.02,
    intermediate_size=36,
    layer_norm_eps=0.003,
    max_position_embeddings=16,
    model_type="clip_text_model",
    num_attention_heads=2,
    num_hidden_layers=2,
    pad_token_id=1,
    projection_dim=14,
    vocab_size=72,
)
CLIP_VISION = dict(
    attention_dropout=0.0,
    dropout=0.0,
    hidden_act="quick_gelu",
    hidden_size=24,
    image_size=18,
    initializer_factor=1.0,
    initializer_range=0.02,
    intermediate_size=40,
    layer_norm_eps=0.003,
    model_type="clip_vision_model",
    num_attention_heads=3,
    num_channels=3,
    num_hidden_layers=2,
    patch_size=6,
    projection_dim=14,
)


def clip_position_ids(tensors, config):
    tensors["text_model.embeddings.position_ids"] = torch.arange(config["text_config"]["max_position_embeddings"])[None]
    vision = config["vision_config"]
    count = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
    tensors["vision_model.embeddings.position_ids"] = torch.arange(count)[None]
    return tensors


Variant(
    "clip",
    dict(
        architectures=["CLIPModel"],
        model_type="clip",
        initializer_factor=1.0,
        logit_scale_init_value=2.6592,
        projection_dim=14,
        text_config=CLIP_TEXT,
        torch_dtype="float32",
        vision_config=CLIP_VISION,
    ),
    pair,
    edit=clip_position_ids,
    std={"class_embedding": 0.5},
)
SIGLIP_VISION = dict(
    attention_dropout=0.0,
    hidden_act="gelu_pytorch_tanh",
    hidden_size=20,
    image_size=18,
    intermediate_size=40,
    layer_norm_eps=0.003,
    model_type="siglip_vision_model",
    num_attention_heads=2,
    num_channels=3,
    num_hidden_layers=2,
    patch_size=6,
)
Variant(
    "siglip",
    dict(
        architectures=["SiglipModel"],
        model_type="siglip",
        initializer_factor=1.0,
        text_config=dict(
            attention_dropout=0.0,
            hidden_act="gelu_pytorch_tanh",
            hidden_size=20,
            intermediate_size=36,
            layer_norm_eps=0.003,
            max_position_embeddings=12,
            model_type="siglip_text_model",
            num_attention_heads=2,
            num_hidden_layers=2,
            vocab_size=72,
        ),
        torch_dtype="float32",
        vision_config=SIGLIP_VISION,
    ),
    pair,
    std={"logit_bias": 1.0},
)

# ==================================================================================================== images and text


def with_image(model, variant):
    """pixels [C, H, W], or [images, C, H, W] where there are several, ids [T] with the image's tokens in their places
    -> image_features [tokens of the image, width of the text], logits [T, vocabulary]."""
    o = variant.options
    vision = variant.config["vision_config"]
    size = vision["image_size"]
    images = o.get("images", 1)
    pixels = variant.randn("pixels", images, 3, size, size)
    token = variant.config.get("image_token_index", variant.config.get("image_token_id"))
    text = variant.ids("ids", 14, 3, token)
    ids = torch.cat((text[:4], *(torch.full((o["features"],), token) for _ in range(images)), text[4:]))
    batch = pixels[None] if o.get("batched") else pixels
    features = model.model.get_image_features(batch)
    features = torch.cat([f.reshape(-1, f.shape[-1]) for f in features])
    with Record(blocks_of(model, o["text_blocks"])) as t, Record(blocks_of(model, o["vision_blocks"]), "vision.hidden") as v:
        out = model(input_ids=ids[None], pixel_values=batch, use_cache=False)
    case = {
        "pixels": pixels if images > 1 else pixels[0],
        "ids": ids,
        "image_features": features,
        "logits": out.logits[0],
    }
    vision_hidden = v.take() if images == 1 else v.values
    return case | t.take() | vision_hidden, math.inf


SMALL_LLAMA = dict(
    architectures=["LlamaForCausalLM"],
    hidden_size=24,
    intermediate_size=36,
    max_position_embeddings=64,
    model_type="llama",
    num_attention_heads=3,
    num_hidden_layers=2,
    num_key_value_heads=1,
    rms_norm_eps=0.003,
    torch_dtype="float16",
    vocab_size=72,
)
Variant(
    "llava",
    dict(
        architectures=["LlavaForConditionalGeneration"],
        model_type="llava",
        ignore_index=-100,
        image_token_index=70,
        pad_token_id=71,
        projector_hidden_act="gelu",
        text_config=SMALL_LLAMA,
        tie_word_embeddings=False,
        torch_dtype="float16",
        vision_config=CLIP_VISION
        | dict(hidden_size=16, intermediate_size=28, num_attention_heads=2, num_hidden_layers=3, vocab_size=72),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        vocab_size=72,
    ),
    with_image,
    features=9,
    text_blocks="model.language_model.layers",
    vision_blocks="model.vision_tower.vision_model.encoder.layers",
    std={"class_embedding": 0.5},
)
IDEFICS3_VISION = dict(
    hidden_size=20,
    image_size=30,
    intermediate_size=36,
    layer_norm_eps=0.003,
    max_image_size=dict(longest_edge=30),
    model_type="idefics3",
    num_attention_heads=2,
    num_hidden_layers=2,
    patch_size=5,
)
Variant(
    "idefics3",
    dict(
        architectures=["Idefics3ForConditionalGeneration"],
        model_type="idefics3",
        image_seq_len=4,
        image_token_id=70,
        scale_factor=3,
        text_config=SMALL_LLAMA | dict(pad_token_id=2, rope_theta=273768.0, torch_dtype="bfloat16"),
        tie_word_embeddings=False,
        torch_dtype="bfloat16",
        use_cache=True,
        vision_config=IDEFICS3_VISION,
        vocab_size=72,
    ),
    with_image,
    features=4,
    batched=True,
    text_blocks="model.text_model.layers",
    vision_blocks="model.vision_model.encoder.layers",
)
Variant(
    "smolvlm",
    dict(
        architectures=["SmolVLMForConditionalGeneration"],
        model_type="smolvlm",
        image_token_id=70,
        pad_token_id=2,
        scale_factor=2,
        text_config=SMALL_LLAMA | dict(pad_token_id=2, rope_theta=273768.0, torch_dtype="bfloat16"),
        tie_word_embeddings=False,
        torch_dtype="bfloat16",
        use_cache=True,
        vision_config=IDEFICS3_VISION
        | dict(image_size=24, max_image_size=dict(longest_edge=24), model_type="smolvlm_vision", patch_size=6),
        vocab_size=72,
    ),
    with_image,
    features=4,
    images=2,
    batched=True,
    text_blocks="model.text_model.layers",
    vision_blocks="model.vision_model.encoder.layers",
)


def qwen2_vl(model, variant):
    """pixels [C, H, W] and the same as patches [patches, C * 2 * P * P] in the order that the model takes, grid_thw [3],
    ids [T] -> position_ids [3, T], image_features [tokens of the image, width of the text], logits [T, vocabulary]."""
    config, vision = variant.config, variant.config["vision_config"]
    p, m, frames = vision["patch_size"], vision["spatial_merge_size"], vision["temporal_patch_size"]
    high, wide = 6, 4
    pixels = variant.randn("pixels", 3, high * p, wide * p)
    patches = pixels[None].repeat(frames, 1, 1, 1).reshape(1, frames, 3, high // m, m, p, wide // m, m, p)
    patches = patches.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(high * wide, -1)
    grid = torch.tensor([1, high, wide])
    text = variant.ids("ids", 14, 3, config["vision_start_token_id"])
    image = torch.full((high * wide // m // m,), config["image_token_id"])
    start, end = (torch.tensor([config[f"vision_{x}_token_id"]]) for x in ("start", "end"))
    ids = torch.cat((text[:5], start, image, end, text[5:]))
    positions, _ = model.model.get_rope_index(ids[None], grid[None])
    features = torch.cat(list(model.model.get_image_features(patches, grid[None])))
    with Record(model.model.language_model.layers) as t, Record(model.model.visual.blocks, "vision.hidden") as v:
        out = model(input_ids=ids[None], pixel_values=patches, image_grid_thw=grid[None], use_cache=False)
    case = {
        "pixels": pixels,
        "patches": patches,
        "grid_thw": grid,
        "ids": ids,
        "position_ids": positions[:, 0],
        "image_features": features,
        "logits": out.logits[0],
    }
    return case | t.take() | v.values, math.inf


Variant(
    "qwen2-vl",
    dict(
        architectures=["Qwen2VLForConditionalGeneration"],
        attention_dropout=0.0,
        bos_token_id=1,
        eos_token_id=2,
        vision_start_token_id=67,
        vision_end_token_id=68,
        vision_token_id=69,
        image_token_id=70,
        video_token_id=71,
        hidden_act="silu",
        hidden_size=32,
        initializer_range=0.02,
        intermediate_size=28,
        max_position_embeddings=64,
        max_window_layers=2,
        model_type="qwen2_vl",
        num_attention_heads=2,
        num_hidden_layers=2,
        num_key_value_heads=1,
        rms_norm_eps=0.003,
        rope_theta=1000.0,
        sliding_window=64,
        tie_word_embeddings=True,
        torch_dtype="bfloat16",
        use_cache=True,
        use_sliding_window=False,
        vision_config=dict(
            depth=2,
            embed_dim=16,
            mlp_ratio=3,
            num_heads=2,
            in_chans=3,
            hidden_size=32,
            patch_size=4,
            spatial_merge_size=2,
            spatial_patch_size=4,
            temporal_patch_size=2,
        ),
        rope_scaling=dict(type="mrope", mrope_section=[2, 3, 3]),
        vocab_size=72,
    ),
    qwen2_vl,
)


def blip(model, variant):
    """pixels [C, H, W], ids [T] -> image_embeds [patches + 1, width], logits [T, vocabulary]."""
    size = variant.config["vision_config"]["image_size"]
    pixels = variant.randn("pixels", 3, size, size)
    ids = variant.ids("ids", 16, 3, variant.config["text_config"]["vocab_size"])
    ids[0] = variant.config["text_config"]["bos_token_id"]
    with Record(model.text_decoder.bert.encoder.layer) as t:
        with Record(model.vision_model.encoder.layers, "vision.hidden") as v:
            out = model(pixel_values=pixels[None], input_ids=ids[None])
    case = {"pixels": pixels, "ids": ids, "image_embeds": out.image_embeds[0], "logits": out.logits[0]}
    return case | t.take() | v.take(), math.inf


Variant(
    "blip",
    dict(
        architectures=["BlipForConditionalGeneration"],
        model_type="blip",
        image_text_hidden_size=256,
        initializer_factor=1.0,
        logit_scale_init_value=2.6592,
        projection_dim=14,
        text_config=dict(
            attention_probs_dropout_prob=0.0,
            bos_token_id=70,
            eos_token_id=2,
            hidden_act="gelu",
            hidden_dropout_prob=0.0,
            hidden_size=24,
            intermediate_size=34,
            is_decoder=True,
            layer_norm_eps=0.003,
            max_position_embeddings=20,
            model_type="blip_text_model",
            num_attention_heads=3,
            num_hidden_layers=2,
            pad_token_id=0,
            projection_dim=24,
            sep_token_id=3,
            use_cache=True,
            vocab_size=72,
        ),
        torch_dtype="float32",
        vision_config=dict(
            attention_dropout=0.0,
            dropout=0.0,
            hidden_act="gelu",
            hidden_size=20,
            image_size=18,
            intermediate_size=36,
            layer_norm_eps=0.005,
            model_type="blip_vision_model",
            num_attention_heads=2,
            num_channels=3,
            num_hidden_layers=2,
            patch_size=6,
            projection_dim=14,
        ),
    ),
    blip,
)

if __name__ == "__main__":
    main(sys.argv[1:])
