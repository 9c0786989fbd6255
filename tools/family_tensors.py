#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the tensor lists of docs/families.md for the families that transformers knows.

Each row of FAMILIES names one published checkpoint, the transformers class that
writes its file, and the values of its config.json that decide names and shapes.
The class is built on the meta device with as few layers as show every kind of
layer; no weight is read or made. Names are those of the published file: what
transformers renames as it loads is renamed back, tied copies are dropped, of
several experts the first is kept.

What stays float is listed row by row (`floats`, patterns of fnmatch), because it
is a statement about the family and must not follow from rules like those that
it is there to check. Every other matrix called *.weight is quantized.

Needs Python 3.10+, transformers 4.57 (5.x fuses experts in memory, which the
published files do not) and torch for the CPU:

    python3 tools/family_tensors.py                         # every list
    python3 tools/family_tensors.py Mixtral T5              # some of them
    python3 tools/family_tensors.py --check docs/families.md

--check exits with 1 and names the lists that differ from those of the page.
Families whose files transformers does not write (remote code) are recorded in
the page alone.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

LM = {"model.embed_tokens.weight": "embedding"}
LM_HEAD = {**LM, "lm_head.weight": "head"}
NESTED_LM = {"language_model.model.embed_tokens.weight": "embedding"}
NESTED_LM_HEAD = {**NESTED_LM, "language_model.lm_head.weight": "head"}
GPT2_EMBEDDINGS = {"transformer.wte.weight": "embedding", "transformer.wpe.weight": "embedding"}
CONV1D = ("*.c_attn.weight", "*.c_proj.weight", "*.c_fc.weight")
BERT_EMBEDDINGS = {"*embeddings.*_embeddings.weight": "embedding"}
SIGLIP_TOWER = dict(model_type="siglip_vision_model", hidden_size=1152, intermediate_size=4304,
                    num_attention_heads=16, num_hidden_layers=1, patch_size=14)
CLIP_TOWER = dict(model_type="clip_vision_model", hidden_size=1024, intermediate_size=4096,
                  num_attention_heads=16, num_hidden_layers=1, image_size=336, patch_size=14)


@dataclass
class Family:
    title: str  # the heading in the page
    cls: str  # the transformers class that writes the published file
    config: dict  # model_type and the values that decide names and shapes
    floats: dict  # pattern -> why these stay float, whatever their rank
    transposed: tuple = ()  # matrices stored [in, out]
    left_out: tuple = ()  # fused experts, of rank 3
    drop: tuple = ()  # layers that the page does not list
    rename: tuple = ()  # (prefix of the class, prefix in the file)
    extra: tuple = ()  # (name, shape) that the file has beyond the class


FAMILIES = [
    # -- decoders -----------------------------------------------------------------------------------
    Family("Llama 2, Llama 3, Mistral, StableLM", "LlamaForCausalLM",
           dict(model_type="llama", hidden_size=4096, intermediate_size=14336, num_attention_heads=32,
                num_key_value_heads=8, vocab_size=128256, num_hidden_layers=1), LM_HEAD),
    Family("Qwen2, Qwen2.5", "Qwen2ForCausalLM",
           dict(model_type="qwen2", hidden_size=3584, intermediate_size=18944, num_attention_heads=28,
                num_key_value_heads=4, vocab_size=152064, num_hidden_layers=1), LM_HEAD),
    Family("Qwen3, Gemma 2, Gemma 3, OLMo 2", "Gemma3ForCausalLM",
           dict(model_type="gemma3_text", hidden_size=1152, intermediate_size=6912, num_attention_heads=4,
                num_key_value_heads=1, head_dim=256, vocab_size=262144, num_hidden_layers=1), LM),
    Family("Phi-3", "Phi3ForCausalLM",
           dict(model_type="phi3", hidden_size=3072, intermediate_size=8192, num_attention_heads=32,
                num_key_value_heads=32, vocab_size=32064, num_hidden_layers=1), LM_HEAD),
    Family("GLM-4", "GlmForCausalLM",
           dict(model_type="glm", hidden_size=4096, intermediate_size=13696, num_attention_heads=32,
                num_key_value_heads=2, head_dim=128, attention_bias=True, vocab_size=151552,
                num_hidden_layers=1), LM_HEAD),
    Family("Cohere Command R+", "CohereForCausalLM",
           dict(model_type="cohere", hidden_size=12288, intermediate_size=33792, num_attention_heads=96,
                num_key_value_heads=8, use_qk_norm=True, vocab_size=256000, num_hidden_layers=1),
           {**LM, "*.self_attn.?_norm.weight": "norm"}),
    Family("Falcon", "FalconForCausalLM",
           dict(model_type="falcon", hidden_size=8192, num_attention_heads=128, num_kv_heads=8,
                new_decoder_architecture=True, parallel_attn=True, bias=False, vocab_size=65024,
                num_hidden_layers=1, tie_word_embeddings=False),
           {"transformer.word_embeddings.weight": "embedding", "lm_head.weight": "head"}),
    Family("GPT-NeoX, Pythia", "GPTNeoXForCausalLM",
           dict(model_type="gpt_neox", hidden_size=2048, intermediate_size=8192, num_attention_heads=16,
                vocab_size=50304, num_hidden_layers=1),
           {"gpt_neox.embed_in.weight": "embedding", "embed_out.weight": "head"}),
    Family("BLOOM", "BloomModel",
           dict(model_type="bloom", hidden_size=14336, n_head=112, vocab_size=250880, n_layer=1),
           {"word_embeddings.weight": "embedding"}),
    Family("GPT-2", "GPT2Model", dict(model_type="gpt2", n_layer=1),
           {"wte.weight": "embedding", "wpe.weight": "embedding", "h.0.attn.bias": "other"},
           transposed=CONV1D, extra=(("h.0.attn.bias", [1, 1, 1024, 1024]),)),
    Family("StarCoder", "GPTBigCodeForCausalLM",
           dict(model_type="gpt_bigcode", n_embd=2048, n_head=16, n_inner=8192, n_positions=8192,
                vocab_size=49152, n_layer=1), GPT2_EMBEDDINGS),
    Family("StarCoder2", "Starcoder2ForCausalLM",
           dict(model_type="starcoder2", hidden_size=3072, intermediate_size=12288, num_attention_heads=24,
                num_key_value_heads=2, use_bias=True, vocab_size=49152, num_hidden_layers=1), LM),
    Family("GPT-J", "GPTJForCausalLM",
           dict(model_type="gptj", n_embd=4096, n_head=16, rotary_dim=64, vocab_size=50400, n_layer=1),
           {"transformer.wte.weight": "embedding", "lm_head.weight": "head"}),
    Family("OPT", "OPTForCausalLM",
           dict(model_type="opt", hidden_size=1024, ffn_dim=4096, num_attention_heads=16,
                word_embed_proj_dim=512, do_layer_norm_before=False, vocab_size=50272,
                max_position_embeddings=2048, num_hidden_layers=1),
           {"model.decoder.embed_tokens.weight": "embedding",
            "model.decoder.embed_positions.weight": "embedding"}),
    # -- mixtures of experts ------------------------------------------------------------------------
    Family("Mixtral, Phi-3.5-MoE", "MixtralForCausalLM",
           dict(model_type="mixtral", hidden_size=4096, intermediate_size=14336, num_attention_heads=32,
                num_key_value_heads=8, num_local_experts=8, vocab_size=32000, num_hidden_layers=1),
           {**LM_HEAD, "*.block_sparse_moe.gate.weight": "router"}),
    Family("Qwen2-MoE, Qwen3-MoE, OLMoE", "Qwen2MoeForCausalLM",
           dict(model_type="qwen2_moe", hidden_size=2048, intermediate_size=5632, moe_intermediate_size=1408,
                shared_expert_intermediate_size=5632, num_attention_heads=16, num_key_value_heads=16,
                num_experts=60, vocab_size=151936, num_hidden_layers=1),
           {**LM_HEAD, "*.mlp.gate.weight": "router", "*.mlp.shared_expert_gate.weight": "router"}),
    Family("DeepSeek-V2, DeepSeek-V3", "DeepseekV3ForCausalLM",
           dict(model_type="deepseek_v3", hidden_size=7168, intermediate_size=18432, moe_intermediate_size=2048,
                num_attention_heads=128, num_key_value_heads=128, q_lora_rank=1536, kv_lora_rank=512,
                qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256,
                n_shared_experts=1, first_k_dense_replace=0, vocab_size=129280, num_hidden_layers=1),
           {**LM_HEAD, "*.mlp.gate.weight": "router", "model.layers.61.embed_tokens.weight": "embedding",
            "model.layers.61.shared_head.head.weight": "head", "model.layers.61.eh_proj.weight": "mtp"},
           rename=(("model.layers.0.", "model.layers.61."),),
           extra=(("model.layers.61.embed_tokens.weight", [129280, 7168]),
                  ("model.layers.61.enorm.weight", [7168]), ("model.layers.61.hnorm.weight", [7168]),
                  ("model.layers.61.eh_proj.weight", [7168, 14336]),
                  ("model.layers.61.shared_head.norm.weight", [7168]),
                  ("model.layers.61.shared_head.head.weight", [129280, 7168]))),
    Family("Hunyuan-MoE", "HunYuanMoEV1ForCausalLM",
           dict(model_type="hunyuan_v1_moe", hidden_size=4096, intermediate_size=3072, num_attention_heads=32,
                num_key_value_heads=8, head_dim=128, num_experts=64, moe_topk=8, use_qk_norm=True,
                vocab_size=128167, num_hidden_layers=1, tie_word_embeddings=True),
           {**LM, "*.mlp.gate.wg.weight": "router"}),
    Family("GraniteMoE, Granite 4", "GraniteMoeHybridForCausalLM",
           dict(model_type="granitemoehybrid", hidden_size=1536, intermediate_size=512,
                shared_intermediate_size=1024, num_attention_heads=12, num_key_value_heads=4,
                num_local_experts=64, num_experts_per_tok=6, layer_types=["mamba"], mamba_n_heads=48,
                mamba_d_head=64, mamba_d_state=128, mamba_n_groups=1, mamba_expand=2, vocab_size=100352,
                num_hidden_layers=1, tie_word_embeddings=True),
           {**LM, "*.block_sparse_moe.router.layer.weight": "router"},
           left_out=("*.block_sparse_moe.*_linear.weight",)),
    Family("gpt-oss", "GptOssForCausalLM",
           dict(model_type="gpt_oss", hidden_size=2880, intermediate_size=2880, num_attention_heads=64,
                num_key_value_heads=8, head_dim=64, num_local_experts=32, vocab_size=201088,
                num_hidden_layers=1, layer_types=["full_attention"]),
           {**LM_HEAD, "*.mlp.router.weight": "router"},
           left_out=("*.mlp.experts.gate_up_proj", "*.mlp.experts.down_proj")),
    Family("Llama 4", "Llama4ForConditionalGeneration",
           dict(model_type="llama4",
                text_config=dict(model_type="llama4_text", hidden_size=5120, intermediate_size=8192,
                                 intermediate_size_mlp=16384, num_attention_heads=40, num_key_value_heads=8,
                                 head_dim=128, num_local_experts=16, interleave_moe_layer_step=1,
                                 vocab_size=202048, num_hidden_layers=1, pad_token_id=None),
                vision_config=dict(hidden_size=1408, intermediate_size=5632, num_attention_heads=16,
                                   num_hidden_layers=1, image_size=336, patch_size=14,
                                   projector_input_dim=4096, projector_output_dim=4096,
                                   vision_output_dim=4096, pixel_shuffle_ratio=0.5)),
           {**NESTED_LM_HEAD, "*.feed_forward.router.weight": "router", "vision_model.*": "vision",
            "multi_modal_projector.*": "projector"},
           left_out=("*.feed_forward.experts.gate_up_proj", "*.feed_forward.experts.down_proj"),
           drop=("vision_model.model.layers.*",)),
    # -- recurrent layers ---------------------------------------------------------------------------
    Family("Jamba", "JambaForCausalLM",
           dict(model_type="jamba", hidden_size=4096, intermediate_size=14336, num_attention_heads=32,
                num_key_value_heads=8, num_experts=16, mamba_d_state=16, mamba_dt_rank=256, mamba_expand=2,
                vocab_size=65536, num_hidden_layers=2, use_mamba_kernels=False),
           {**LM_HEAD, "*.feed_forward.router.weight": "router", "*.mamba.dt_proj.weight": "recurrence"},
           drop=("model.layers.0.*",)),
    Family("Mamba", "MambaForCausalLM",
           dict(model_type="mamba", hidden_size=768, state_size=16, vocab_size=50280, num_hidden_layers=1,
                tie_word_embeddings=True),
           {"backbone.embeddings.weight": "embedding", "*.mixer.dt_proj.weight": "recurrence"}),
    Family("Mamba-2", "Mamba2ForCausalLM",
           dict(model_type="mamba2", hidden_size=4096, state_size=128, num_heads=128, head_dim=64, n_groups=8,
                expand=2, vocab_size=32768, num_hidden_layers=1, tie_word_embeddings=False),
           {"backbone.embeddings.weight": "embedding", "lm_head.weight": "head"}),
    Family("Qwen3-Next", "Qwen3NextForCausalLM",
           dict(model_type="qwen3_next", hidden_size=2048, intermediate_size=5120, moe_intermediate_size=512,
                shared_expert_intermediate_size=512, num_attention_heads=16, num_key_value_heads=2,
                head_dim=256, num_experts=512, linear_num_key_heads=16, linear_num_value_heads=32,
                linear_key_head_dim=128, linear_value_head_dim=128, vocab_size=151936, num_hidden_layers=4),
           {**LM_HEAD, "mtp.*": "mtp", "*.mlp.gate.weight": "router",
            "*.mlp.shared_expert_gate.weight": "router", "*.linear_attn.in_proj_ba.weight": "recurrence"},
           drop=("model.layers.[12].*",), rename=(("model.layers.3.", "mtp.layers.0."),),
           extra=(("mtp.fc.weight", [2048, 4096]), ("mtp.norm.weight", [2048]),
                  ("mtp.pre_fc_norm_embedding.weight", [2048]), ("mtp.pre_fc_norm_hidden.weight", [2048]))),
    # -- images and audio in ------------------------------------------------------------------------
    Family("LLaVA", "LlavaForConditionalGeneration",
           dict(model_type="llava",
                text_config=dict(model_type="llama", hidden_size=4096, intermediate_size=11008,
                                 num_attention_heads=32, vocab_size=32064, num_hidden_layers=1),
                vision_config=CLIP_TOWER),
           {**NESTED_LM_HEAD, "vision_tower.*": "vision", "multi_modal_projector.*": "projector"}),
    Family("Qwen2-VL, Qwen2.5-VL", "Qwen2_5_VLForConditionalGeneration",
           dict(model_type="qwen2_5_vl", hidden_size=3584, intermediate_size=18944, num_attention_heads=28,
                num_key_value_heads=4, vocab_size=152064, num_hidden_layers=1,
                vision_config=dict(depth=1, hidden_size=1280, intermediate_size=3420, num_heads=16,
                                   out_hidden_size=3584)),
           {**LM_HEAD, "visual.*": "vision"}),
    Family("Idefics3, SmolVLM", "Idefics3ForConditionalGeneration",
           dict(model_type="idefics3", scale_factor=2, tie_word_embeddings=False,
                text_config=dict(model_type="llama", hidden_size=4096, intermediate_size=14336,
                                 num_attention_heads=32, num_key_value_heads=8, vocab_size=128259,
                                 num_hidden_layers=1, pad_token_id=128002),
                vision_config=dict(hidden_size=1152, intermediate_size=4304, num_attention_heads=16,
                                   num_hidden_layers=1, image_size=364, patch_size=14)),
           {"model.text_model.embed_tokens.weight": "embedding", "lm_head.weight": "head",
            "model.vision_model.*": "vision", "model.connector.*": "projector"},
           drop=("model.vision_model.encoder.*",)),
    Family("PaliGemma, Gemma 3 with images", "Gemma3ForConditionalGeneration",
           dict(model_type="gemma3", mm_tokens_per_image=256,
                text_config=dict(model_type="gemma3_text", hidden_size=2560, intermediate_size=10240,
                                 num_attention_heads=8, num_key_value_heads=4, head_dim=256,
                                 vocab_size=262208, num_hidden_layers=1),
                vision_config=dict(SIGLIP_TOWER, image_size=896, vision_use_head=False)),
           {**NESTED_LM, "vision_tower.*": "vision", "multi_modal_projector.*": "projector"},
           drop=("vision_tower.vision_model.encoder.*",)),
    Family("Qwen2-Audio", "Qwen2AudioForConditionalGeneration",
           dict(model_type="qwen2_audio",
                text_config=dict(model_type="qwen2", hidden_size=4096, intermediate_size=11008,
                                 num_attention_heads=32, num_key_value_heads=32, vocab_size=156032,
                                 num_hidden_layers=1),
                audio_config=dict(model_type="qwen2_audio_encoder", d_model=1280, encoder_layers=1,
                                  encoder_attention_heads=20, encoder_ffn_dim=5120, num_mel_bins=128)),
           {**NESTED_LM_HEAD, "audio_tower.*": "audio", "multi_modal_projector.*": "projector"}),
    # -- encoders, and decoders that listen to one --------------------------------------------------
    Family("Whisper", "WhisperForConditionalGeneration",
           dict(model_type="whisper", d_model=1280, encoder_layers=1, decoder_layers=1,
                encoder_attention_heads=20, decoder_attention_heads=20, encoder_ffn_dim=5120,
                decoder_ffn_dim=5120, num_mel_bins=128, vocab_size=51866),
           {"model.*.embed_positions.weight": "embedding", "model.decoder.embed_tokens.weight": "embedding"},
           drop=("model.decoder.layers.*",)),
    Family("T5", "T5ForConditionalGeneration",
           dict(model_type="t5", d_model=768, d_ff=2048, d_kv=64, num_heads=12, num_layers=1,
                num_decoder_layers=1, feed_forward_proj="gated-gelu", vocab_size=32128,
                tie_word_embeddings=False),
           {"shared.weight": "embedding", "lm_head.weight": "head",
            "*.relative_attention_bias.weight": "position bias"},
           drop=("encoder.block.*",)),
    Family("BART, MarianMT", "BartForConditionalGeneration",
           dict(model_type="bart", d_model=1024, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=4096,
                decoder_ffn_dim=4096, vocab_size=50264),
           {"model.shared.weight": "embedding", "model.*.embed_positions.weight": "embedding"},
           drop=("model.encoder.layers.*",)),
    Family("BERT, sentence encoders", "BertModel",
           dict(model_type="bert", hidden_size=384, intermediate_size=1536, num_attention_heads=12,
                vocab_size=30522, num_hidden_layers=1),
           {**BERT_EMBEDDINGS, "pooler.dense.weight": "pooler"}),
    Family("ModernBERT", "ModernBertForMaskedLM",
           dict(model_type="modernbert", hidden_size=768, intermediate_size=1152, num_attention_heads=12,
                vocab_size=50368, num_hidden_layers=2),
           {"model.embeddings.tok_embeddings.weight": "embedding", "head.dense.weight": "head"},
           drop=("model.layers.0.*",)),
    Family("XLM-R rerankers", "XLMRobertaForSequenceClassification",
           dict(model_type="xlm-roberta", hidden_size=1024, intermediate_size=4096, num_attention_heads=16,
                vocab_size=250002, max_position_embeddings=8194, type_vocab_size=1, num_hidden_layers=1,
                num_labels=1),
           {**BERT_EMBEDDINGS, "classifier.*.weight": "classifier"}, drop=("roberta.encoder.*",)),
    Family("Reward models", "LlamaForSequenceClassification",
           dict(model_type="llama", hidden_size=4096, intermediate_size=14336, num_attention_heads=32,
                num_key_value_heads=8, vocab_size=128256, num_hidden_layers=1, num_labels=1),
           {**LM, "score.weight": "head"}),
    Family("TRL value heads", "GPT2LMHeadModel", dict(model_type="gpt2", n_layer=1),
           {**GPT2_EMBEDDINGS, "v_head.summary.weight": "head"}, drop=("transformer.h.*",),
           extra=(("v_head.summary.weight", [1, 768]), ("v_head.summary.bias", [1]))),
    Family("ViT", "ViTForImageClassification",
           dict(model_type="vit", hidden_size=768, intermediate_size=3072, num_attention_heads=12,
                num_hidden_layers=1, num_labels=1000),
           {"classifier.weight": "classifier"}),
    Family("CLIP", "CLIPModel",
           dict(model_type="clip", projection_dim=768,
                text_config=dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12,
                                 num_hidden_layers=1, vocab_size=49408, projection_dim=768),
                vision_config=dict(CLIP_TOWER, image_size=224)),
           {"text_model.embeddings.*.weight": "embedding", "vision_model.*": "vision",
            "visual_projection.weight": "projector", "text_projection.weight": "projector"},
           drop=("vision_model.encoder.*",)),
    Family("SigLIP", "SiglipModel",
           dict(model_type="siglip",
                text_config=dict(hidden_size=1152, intermediate_size=4304, num_attention_heads=16,
                                 num_hidden_layers=1, vocab_size=32000, projection_size=1152),
                vision_config=dict(SIGLIP_TOWER, image_size=384)),
           {"text_model.embeddings.*.weight": "embedding", "text_model.head.weight": "head",
            "vision_model.*": "vision"}, drop=("*_model.encoder.*",)),
]


def published_name(model, family, name):
    """What transformers 4.57 calls a tensor when it saves the model, or the family's file does."""
    for old, new in model._checkpoint_conversion_mapping.items():
        name, n = re.subn(f"^{new}", re.sub(r"\(.*\)", "", old.lstrip("^")), name)
        if n:
            break
    for old, new in family.rename:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    return name


def tensors(family):
    """(name, shape) of every floating-point tensor that the page lists of the family's file."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.for_model(**family.config)
    with torch.device("meta"):
        model = getattr(transformers, family.cls)(config)
    model.tie_weights()
    out, seen = [], set()
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen and value.is_floating_point():
            seen.add(id(value))
            out.append((published_name(model, family, name), list(value.shape)))
    return [(name, shape) for name, shape in [*out, *family.extra]
            if not re.search(r"experts\.[1-9]\d*\.", name)
            and not any(fnmatchcase(name, pattern) for pattern in family.drop)]


def why_float(name):
    """For what can't be quantized anyway: not a matrix, or not a weight."""
    if name.endswith("bias") or name.endswith("_bias"):
        return "bias"
    if re.search(r"norm|\.ln_|^ln_|\.ln\d", name, re.IGNORECASE):
        return "norm"
    return "other"


def label(family, name, shape, used):
    for group, text in ((family.transposed, "transposed"), (family.left_out, "left-out")):
        for pattern in group:
            if fnmatchcase(name, pattern):
                used.add(pattern)
                return text
    for pattern, why in family.floats.items():
        if fnmatchcase(name, pattern):
            used.add(pattern)
            return f"float {why}"
    if len(shape) == 2 and name.endswith(".weight"):
        return "quantized"
    return f"float {why_float(name)}"


def block(family):
    used, lines = set(), []
    for name, shape in tensors(family):
        lines.append(f"{name} [{', '.join(map(str, shape))}] {label(family, name, shape, used)}")
    unused = (set(family.floats) | set(family.transposed) | set(family.left_out)) - used
    assert not unused, f"{family.title}: nothing matches {unused}"
    return "\n".join(lines)


def page_blocks(text):
    """heading -> what its ```tensors block holds"""
    sections = (part.partition("\n```tensors\n") for part in re.split("^### ", text, flags=re.MULTILINE)[1:])
    return {before.partition("\n")[0]: block.partition("\n```")[0] for before, _, block in sections}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("titles", nargs="*", help="only these headings")
    parser.add_argument("--check", type=Path, metavar="PAGE", help="compare with the lists of a page")
    args = parser.parse_args()
    page = page_blocks(args.check.read_text()) if args.check else None
    wrong = 0
    for family in FAMILIES:
        if args.titles and family.title not in args.titles:
            continue
        text = block(family)
        if page is None:
            print(f"### {family.title}\n```tensors\n{text}\n```\n")
        elif page.get(family.title) != text:
            wrong += 1
            print(f"{family.title}: {'differs' if family.title in page else 'is not in the page'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
