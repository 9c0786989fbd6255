# SPDX-License-Identifier: Apache-2.0
"""An independent oracle: a Llama model's likelihood of token ids, in float64 with numpy and nothing else.

    llama_numpy.py MODEL_FOLDER IDS.npy --context 512         # windows of 512 ids from the start, the last one short
    llama_numpy.py MODEL_FOLDER IDS.npy --documents 1         # split at id 1, each document alone

Prints {"nll": mean negative log-likelihood in nats, "tokens": ids scored}. Every id after a piece's first is scored;
with --context, documents are cut to its length. The folder holds *.safetensors with float tensors and config.json.
"""
import argparse
import json
import pathlib

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_safetensors(path):
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, info in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        x = np.frombuffer(raw[start + begin : start + end], DTYPES[info["dtype"]])
        if info["dtype"] == "BF16":
            x = (x.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = x.reshape(info["shape"]).astype(np.float64)
    return tensors


class Llama:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.t = {}
        for path in sorted(folder.glob("*.safetensors")):
            self.t.update(read_safetensors(path))

    def linear(self, name, x):
        return x @ self.t[name + ".weight"].T + self.t.get(name + ".bias", 0.0)

    def norm(self, name, x):
        mean = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean + self.config["rms_norm_eps"]) * self.t[name + ".weight"]

    def rotate(self, x):  # [tokens, heads, head_dim]
        half = x.shape[2] // 2
        theta = self.config.get("rope_theta", 10000.0)
        angle = np.arange(len(x))[:, None, None] * theta ** (-np.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=2)

    def attention(self, block, x):
        heads = self.config["num_attention_heads"]
        kv_heads = self.config.get("num_key_value_heads") or heads
        q, k, v = (
            self.linear(block + f"self_attn.{p}_proj", x).reshape(len(x), n, -1)
            for p, n in (("q", heads), ("k", kv_heads), ("v", kv_heads))
        )
        k, v = (np.repeat(m, heads // kv_heads, axis=1) for m in (self.rotate(k), v))
        scores = np.einsum("ihd,jhd->hij", self.rotate(q), k) / np.sqrt(q.shape[2])
        scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        return self.linear(block + "self_attn.o_proj", np.einsum("hij,jhd->ihd", weights, v).reshape(len(x), -1))

    def logits(self, ids):
        x = self.t["model.embed_tokens.weight"][ids]
        for i in range(self.config["num_hidden_layers"]):
            block = f"model.layers.{i}."
            x = x + self.attention(block, self.norm(block + "input_layernorm", x))
            y = self.norm(block + "post_attention_layernorm", x)
            gate, up = self.linear(block + "mlp.gate_proj", y), self.linear(block + "mlp.up_proj", y)
            x = x + self.linear(block + "mlp.down_proj", gate / (1 + np.exp(-gate)) * up)
        tied = self.config.get("tie_word_embeddings", False) or "lm_head.weight" not in self.t
        return self.linear("model.embed_tokens" if tied else "lm_head", self.norm("model.norm", x))

    def nll(self, ids):
        """Sum over every id after the first."""
        if len(ids) < 2:
            return 0.0
        logits = self.logits(ids[:-1])
        top = logits.max(axis=1)
        log_sums = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
        return float(np.sum(log_sums - logits[np.arange(len(top)), ids[1:]]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("ids", type=pathlib.Path)
    parser.add_argument("--context", type=int)
    parser.add_argument("--documents", type=int)
    options = parser.parse_args()
    ids = np.load(options.ids).astype(np.int64)
    pieces = [ids]
    if options.documents is not None:
        starts = np.flatnonzero(ids == options.documents)
        pieces = [p[: options.context] for p in np.split(ids, starts[starts > 0])]
    elif options.context is not None:
        pieces = [ids[i : i + options.context] for i in range(0, len(ids), options.context)]
    model = Llama(options.model)
    tokens = sum(len(p) - 1 for p in pieces)
    print(json.dumps({"nll": sum(model.nll(p) for p in pieces) / tokens, "tokens": tokens}))


if __name__ == "__main__":
    main()
