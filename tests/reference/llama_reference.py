"""Independent NumPy forward pass of the llama architecture, reading GGUF files with the PyPI package `gguf`.

Shapes: n tokens, H query heads, G KV heads, D head_dim. Weights are dequantised; arithmetic is in `dtype`.
"""

from dataclasses import dataclass

import gguf
import numpy as np


@dataclass
class Config:
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rope_dim: int
    rope_base: float
    rope_scale: float
    epsilon: float


class Model:
    """Hyperparameters and dequantised weights of a GGUF file."""

    def __init__(self, path, dtype=np.float64):
        reader = gguf.GGUFReader(path)
        self.config = read_config(reader)
        self.dtype = dtype
        self.weights = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(dtype) for t in reader.tensors
        }
        self.frequencies = self._rope_frequencies()

    def layer(self, index, name):
        return self.weights[f"blk.{index}.{name}.weight"]

    @property
    def output(self):
        return self.weights.get("output.weight", self.weights["token_embd.weight"])

    def _rope_frequencies(self):
        """Angle per position of each rotated pair [rope_dim / 2]; llama3 factors divide it."""
        c = self.config
        frequencies = c.rope_base ** (-np.arange(0, c.rope_dim, 2) / c.rope_dim) / c.rope_scale
        return frequencies / self.weights.get("rope_freqs.weight", np.ones(c.rope_dim // 2))


def read_config(reader):
    def get(key, default=None):
        field = reader.get_field(f"llama.{key}")
        return default if field is None else field.contents()

    n_heads = get("attention.head_count")
    head_dim = get("attention.key_length", get("embedding_length") // n_heads)
    return Config(
        n_layers=get("block_count"),
        n_heads=n_heads,
        n_kv_heads=get("attention.head_count_kv", n_heads),
        head_dim=head_dim,
        rope_dim=get("rope.dimension_count", head_dim),
        rope_base=float(get("rope.freq_base", 10000.0)),
        rope_scale=float(get("rope.scaling.factor", 1.0)) if get("rope.scaling.type") == "linear" else 1.0,
        epsilon=float(get("attention.layer_norm_rms_epsilon")),
    )


def rms_norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def rope(model, x):
    """Rotates the pairs (2i, 2i + 1) of x [n, heads, D] by position * frequency i."""
    angles = (np.arange(len(x))[:, None] * model.frequencies)[:, None]
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    out = x.copy()
    even, odd = x[..., 0 : model.config.rope_dim : 2], x[..., 1 : model.config.rope_dim : 2]
    out[..., 0 : model.config.rope_dim : 2] = even * cos - odd * sin
    out[..., 1 : model.config.rope_dim : 2] = even * sin + odd * cos
    return out


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def exact_attention(layer, q, k, v):
    """Causal attention of q [n, H, D] over k, v [n, G, D] as they are; returns [n, H, D]."""
    del layer
    n, n_heads, head_dim = q.shape
    group = n_heads // k.shape[1]
    causal = np.tril(np.ones((n, n), bool))
    out = np.empty_like(q)
    for h in range(n_heads):
        scores = q[:, h] @ k[:, h // group].T / np.sqrt(head_dim)
        out[:, h] = softmax(np.where(causal, scores, -np.inf)) @ v[:, h // group]
    return out


def forward(model, ids, attention=exact_attention):
    """Logits [n, n_vocab] of token ids; `attention(layer, q, k, v)` gets q, k after RoPE."""
    c, n = model.config, len(ids)
    x = model.weights["token_embd.weight"][ids]
    for layer in range(c.n_layers):
        h = rms_norm(x, model.layer(layer, "attn_norm"), c.epsilon)
        q = rope(model, (h @ model.layer(layer, "attn_q").T).reshape(n, c.n_heads, c.head_dim))
        k = rope(model, (h @ model.layer(layer, "attn_k").T).reshape(n, c.n_kv_heads, c.head_dim))
        v = (h @ model.layer(layer, "attn_v").T).reshape(n, c.n_kv_heads, c.head_dim)
        x = x + attention(layer, q, k, v).reshape(n, -1) @ model.layer(layer, "attn_output").T
        h = rms_norm(x, model.layer(layer, "ffn_norm"), c.epsilon)
        gate, up = h @ model.layer(layer, "ffn_gate").T, h @ model.layer(layer, "ffn_up").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ model.layer(layer, "ffn_down").T
    return rms_norm(x, model.weights["output_norm.weight"], c.epsilon) @ model.output.T
