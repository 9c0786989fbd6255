#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains models/tiny, the small Llama-architecture model that ships with kvant.

The text comes from scripts/wordnet_text.sh (WordNet definitions, one a line),
which also defines the train/valid/test split. The tool trains a byte-level BPE
tokenizer on the train split, then the model on the CPU, and writes the files of
a Hugging Face model folder: config.json, model.safetensors (bf16),
tokenizer.json and tokenizer_config.json.

Needs Python 3.9+, torch, tokenizers, safetensors, numpy, and the WordNet
database (Debian package wordnet-base):

    python3 tools/train_tiny_lm.py --work build/tiny --out models/tiny

Everything random is seeded. --work keeps a checkpoint, written every few hundred
steps, from which --resume continues, and at the end the figures in result.json.
The model folder is also written at every evaluation, each file atomically, so
that a usable interim model exists early on. Another machine or version of
torch gives slightly different weights.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
NEWLINE = "\u010a"  # how byte-level BPE spells the byte 0x0A

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama", "torch_dtype": "bfloat16",
    "vocab_size": 4096, "max_position_embeddings": 256,
    "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32,
    "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
    "initializer_range": 0.02,
    "bos_token_id": None, "eos_token_id": None,  # the latter from the tokenizer
}


def write_atomic(path, data):
    """Readers see the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(path.name + ".tmp")
    temp.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    os.replace(temp, path)


def to_json(value):
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def export(model, config, tokenizer, out):
    """Writes the model folder; the weights last, so that they are never newer
    than a file they depend on."""
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": NEWLINE, "add_bos_token": False, "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
    }
    weights = {f"model.{n}": p.detach().bfloat16() for n, p in model.named_parameters()}
    write_atomic(out / "config.json", to_json(config))
    write_atomic(out / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    write_atomic(out / "tokenizer_config.json", to_json(tokenizer_config))
    write_atomic(out / "model.safetensors", save(weights, {"format": "pt"}))


def read_split(split, dict_dir):
    command = ["sh", str(ROOT / "scripts" / "wordnet_text.sh"), split, dict_dir]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return text.decode("utf-8").splitlines()


def train_tokenizer(lines, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    # The whole byte alphabet, so that any input can be encoded. The lines carry
    # no newline, so no merge can swallow it: it stays a token of its own and
    # can end a document.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=[], show_progress=False)
    tokenizer.train_from_iterator(lines, trainer, length=len(lines))
    assert tokenizer.get_vocab_size() == vocab_size
    assert [t for t in tokenizer.get_vocab() if NEWLINE in t] == [NEWLINE]
    return tokenizer


def encode(tokenizer, lines):
    """One token array per document, each ended by the newline token."""
    newline = tokenizer.token_to_id(NEWLINE)
    return [np.array(e.ids + [newline], dtype=np.int64) for e in tokenizer.encode_batch(lines)]


class Batches:
    """Training batches, reproducible from the step number alone.

    Each epoch is one stream of all documents in a seeded order, cut into rows.
    Rows alternate: one backs up to the start of the document the previous row
    broke off in (generation starts at position 0 with a headword, so this must
    be common), the next carries on in the middle (as evaluation windows do).
    Only the last few rows of an epoch are dropped; a few percent of the tokens
    are seen twice.
    """

    def __init__(self, documents, batch, length, seed):
        self.documents, self.batch, self.length, self.seed = documents, batch, length, seed
        self.tokens_per_epoch = sum(map(len, documents))
        self.epoch, self.first_step, self.last_step = -1, 0, 0

    def _load_next_epoch(self):
        self.epoch += 1
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.documents))
        self.stream = np.concatenate([self.documents[i] for i in order])
        lengths = [len(self.documents[i]) for i in order]
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        rows, at = [], 0
        while at + self.length < len(self.stream):
            if len(rows) % 2 == 0:
                start = int(starts[np.searchsorted(starts, at, "right") - 1])
                # A document longer than a row must not pin the cursor.
                at = start if start + self.length > at else at
            rows.append(at)
            at += self.length
        rows = np.array(rows)[: len(rows) // self.batch * self.batch]
        # Neighbouring rows share a document, so batches are drawn at random.
        self.rows = rng.permutation(rows).reshape(-1, self.batch)
        self.first_step = self.last_step
        self.last_step += len(self.rows)

    def get(self, step):
        while step >= self.last_step:
            self._load_next_epoch()
        rows = self.rows[step - self.first_step][:, None] + np.arange(self.length + 1)
        tokens = torch.from_numpy(self.stream[rows])
        return tokens[:, :-1], tokens[:, 1:]


def rotate(x, cos, sin):
    """The half-split convention: dimension i is paired with i + head_dim/2."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


# From here on, module names are the Hugging Face tensor names less "model.".
class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.size = c["head_dim"]
        q, kv = (c[k] * self.size for k in ("num_attention_heads", "num_key_value_heads"))
        self.group = q // kv
        self.q_proj = nn.Linear(c["hidden_size"], q, bias=False)
        self.k_proj = nn.Linear(c["hidden_size"], kv, bias=False)
        self.v_proj = nn.Linear(c["hidden_size"], kv, bias=False)
        self.o_proj = nn.Linear(q, c["hidden_size"], bias=False)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape

        def heads(y):
            return y.view(b, t, -1, self.size).transpose(1, 2)

        q = rotate(heads(self.q_proj(x)), cos, sin)
        k = rotate(heads(self.k_proj(x)), cos, sin)
        k = k.repeat_interleave(self.group, dim=1)
        v = heads(self.v_proj(x)).repeat_interleave(self.group, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.up_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(c["intermediate_size"], c["hidden_size"], bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(c["hidden_size"], eps=c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = nn.RMSNorm(c["hidden_size"], eps=c["rms_norm_eps"])
        self.mlp = Mlp(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class TinyLm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(c["hidden_size"], eps=c["rms_norm_eps"])
        half = c["head_dim"] // 2
        inverse = c["rope_theta"] ** (-torch.arange(half).double() / half)
        angles = (torch.arange(c["max_position_embeddings"])[:, None] * inverse).repeat(1, 2)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = c["initializer_range"]
                # Keeps the residual stream's variance independent of depth.
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    std /= math.sqrt(2 * c["num_hidden_layers"])
                nn.init.normal_(p, std=std)

    def forward(self, tokens):
        t = tokens.shape[1]
        # The tables follow the autocast type: mixed types would turn queries
        # and keys back to float32 and lose the fast attention kernel.
        low = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        cos, sin = self.cos[:t].to(low), self.sin[:t].to(low)
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.embed_tokens.weight)


def loss_sum(model, inputs, targets):
    logits = model(inputs).flatten(0, 1).float()
    return F.cross_entropy(logits, targets.flatten(), reduction="sum")


@torch.no_grad()
def bits_per_byte(model, documents, lines, length, autocast):
    """Scores the lines as one stream cut into windows of `length` tokens.

    A newline before the first line gives the very first token a context, so
    every token of the text is predicted exactly once.
    """
    stream = torch.from_numpy(np.concatenate([documents[0][-1:]] + documents))
    whole = (len(stream) - 1) // length * length
    inputs = list(stream[:whole].view(-1, length).split(32)) + [stream[None, whole:-1]]
    targets = list(stream[1 : whole + 1].view(-1, length).split(32)) + [stream[None, whole + 1 :]]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        nats = sum(loss_sum(model, i, t).item() for i, t in zip(inputs, targets) if i.numel())
    return nats / math.log(2) / sum(len(line.encode("utf-8")) + 1 for line in lines)


def train(rank, model, batches, steps, args, evaluate):
    """Runs the steps not yet done. `evaluate` returns validation bits per byte.

    Each of the args.workers processes takes its share of every batch's rows,
    and they add up their gradients. Only rank 0 evaluates and writes files.
    Returns ([[step, bits per byte], ...], seconds).
    """
    matrices = [p for p in model.parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), fused=True)
    checkpoint = args.work / "checkpoint.pt"
    step, seconds, history = 0, 0.0, []
    if args.resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds, history = state["step"], state["seconds"], state["history"]

    fast_model = torch.compile(model) if args.compile else model
    started = time.monotonic() - seconds
    losses = []
    while step < steps:
        # Warm-up, then half a cosine to zero: its end is flat, so that a run which
        # has learned what it can shows it by the last tenth of its steps.
        decay = max(0, step - args.warmup) / max(1, steps - args.warmup)
        rate = min((step + 1) / args.warmup, 0.5 * (1 + math.cos(math.pi * decay)))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * rate
        inputs, targets = (t[rank :: args.workers] for t in batches.get(step))
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_sum(fast_model, inputs, targets) / targets.numel()
        loss.backward()
        gradients = [p.grad for p in model.parameters()]
        flat = nn.utils.parameters_to_vector(gradients) / args.workers
        dist.all_reduce(flat)
        nn.utils.vector_to_parameters(flat, gradients)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if rank > 0:
            continue
        losses.append(loss.item())
        seconds = time.monotonic() - started
        if step % 50 == 0 or step == steps:
            print(f"step {step}/{steps} loss {np.mean(losses):.4f} {seconds:.0f} s", flush=True)
            losses = []
        # The step a tenth before the end is what the stop criterion compares.
        if step % max(1, steps // 20) == 0 or step in (steps - steps // 10, steps):
            history.append([step, evaluate()])
            print(f"step {step}/{steps} valid {history[-1][1]:.4f} bits per byte", flush=True)
        if step % args.save_every == 0 or step == steps:
            temp = checkpoint.with_name("checkpoint.tmp")
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "step": step, "seconds": seconds, "history": history}, temp)
            os.replace(temp, checkpoint)
    return history, seconds


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "tiny")
    parser.add_argument("--dict-dir", default="/usr/share/wordnet")
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=32, help="rows a step, over all workers")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--save-every", type=int, default=200, help="steps")
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def worker(rank, args, meeting):
    # Processes meet once a step. Threads would share every operation instead
    # and wait for each other thousands of times a step, which costs much when
    # the machine has other work too.
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=args.workers)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    lines = {s: read_split(s, args.dict_dir) for s in ("train", "valid", "test")}

    # Not part of a checkpoint: the same text always gives the same tokenizer.
    tokenizer = train_tokenizer(lines["train"], CONFIG["vocab_size"])
    documents = {s: encode(tokenizer, lines[s]) for s in lines}
    length = CONFIG["max_position_embeddings"]
    batches = Batches(documents["train"], args.batch, length, args.seed)
    step_tokens = args.batch * length
    steps = round(args.epochs * batches.tokens_per_epoch / step_tokens)

    config = dict(CONFIG, eos_token_id=tokenizer.token_to_id(NEWLINE))
    model = TinyLm(config)

    def measure(split, autocast):
        return bits_per_byte(model, documents[split], lines[split], length, autocast)

    def evaluate():
        export(model, config, tokenizer, args.out)
        return measure("valid", autocast=True)

    history, seconds = train(rank, model, batches, steps, args, evaluate)
    if rank > 0:
        return
    before = dict(history)[steps - steps // 10]
    # What ships is the bf16 weights: the final figures are theirs, computed in
    # float32.
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(torch.bfloat16))
    result = to_json({
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps, "tokens_seen": steps * step_tokens,
        "epochs": steps * step_tokens / batches.tokens_per_epoch,
        "seconds": round(seconds),
        "valid_bits_per_byte": measure("valid", autocast=False),
        "test_bits_per_byte": measure("test", autocast=False),
        "last_tenth_gain_percent": 100 * (before - history[-1][1]) / before,
        "history": history,
    })
    write_atomic(args.work / "result.json", result)
    print(result, end="")


def main():
    args = parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(worker, (args, f"{folder}/meeting"), args.workers)


if __name__ == "__main__":
    main()
