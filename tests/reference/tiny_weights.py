"""Random llama-architecture GGUFs of any shape and mixture of weight formats."""

from dataclasses import dataclass, field

import gguf
import numpy as np
import tiny_vocab
from gguf import GGMLQuantizationType as Type
from gguf import quants

N_VOCAB = 307
# Offsets (scale, minimum or None) of the binary16 fields of formats that the `gguf` package cannot quantise.
HALF_FIELDS = {
    "Q2_K": (80, 82),
    "Q3_K": (108, None),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208, None),
    "IQ4_NL": (0, None),
    "IQ4_XS": (0, None),
}


@dataclass
class Shape:
    """One model. `formats` are dealt out to its matrices in turn."""

    name: str
    n_embd: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_ff: int
    formats: list[str]
    embedding: str = "F32"
    output: str | None = None  # None: tied
    n_layers: int = 2
    rope_dim: int | None = None  # None: head_dim
    rope_base: float = 10000.0
    rope_scale: float = 1.0
    rope_factors: bool = False  # rope_freqs.weight, as in Llama 3.1
    vocabulary: str = "bpe"
    version: int = 3
    n_tokens: int = 150  # of the reference sequence
    runs: list = field(default_factory=list)


def random_blocks(rng, name, rows, cols, deviation):
    """Random codes with scales such that the values have mean 0 and the given standard deviation."""
    elements, size = gguf.GGML_QUANT_SIZES[Type[name]]
    blocks = rng.integers(0, 256, (rows, cols // elements, size), dtype=np.uint8)
    at_scale, at_minimum = HALF_FIELDS[name]

    def values(scale, minimum):
        blocks[..., at_scale : at_scale + 2] = np.array([scale], np.float16).view(np.uint8)
        if at_minimum is not None:
            blocks[..., at_minimum : at_minimum + 2] = np.array([minimum], np.float16).view(np.uint8)
        return quants.dequantize(blocks.reshape(rows, -1), Type[name]).astype(np.float64)

    shift = 0.0 if at_minimum is None else values(1, 0).mean() / -values(0, 1).mean()
    values(deviation / values(1, shift).std(), shift * deviation / values(1, shift).std())
    return blocks.reshape(rows, -1)


def encode(rng, name, shape, deviation):
    """Raw data of a random matrix in format `name`."""
    if name in HALF_FIELDS:
        return random_blocks(rng, name, *shape, deviation)
    values = rng.normal(0, deviation, shape).astype(np.float32)
    return values if name == "F32" else quants.quantize(values, Type[name])


def matrices(s):
    """(name, shape, gain) of the matrices of a layer. Gains make scores spread (a standard deviation of about
    2, so attention is far from uniform) and every block move the residual stream."""
    q_dim, kv_dim = s.n_heads * s.head_dim, s.n_kv_heads * s.head_dim
    return [
        ("attn_q", (q_dim, s.n_embd), 1.4),
        ("attn_k", (kv_dim, s.n_embd), 1.4),
        ("attn_v", (kv_dim, s.n_embd), 1.0),
        ("attn_output", (s.n_embd, q_dim), 1.0),
        ("ffn_gate", (s.n_ff, s.n_embd), 1.0),
        ("ffn_up", (s.n_ff, s.n_embd), 1.0),
        ("ffn_down", (s.n_embd, s.n_ff), 1.5),
    ]


def add_metadata(writer, s):
    writer.add_context_length(1024)
    writer.add_embedding_length(s.n_embd)
    writer.add_block_count(s.n_layers)
    writer.add_feed_forward_length(s.n_ff)
    writer.add_head_count(s.n_heads)
    writer.add_head_count_kv(s.n_kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(s.rope_base)
    writer.add_rope_dimension_count(s.rope_dim or s.head_dim)
    writer.add_vocab_size(N_VOCAB)
    if s.head_dim * s.n_heads != s.n_embd:
        writer.add_key_length(s.head_dim)
        writer.add_value_length(s.head_dim)
    if s.rope_scale != 1.0:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(s.rope_scale)
    {"bpe": tiny_vocab.add_bpe, "spm": tiny_vocab.add_spm}[s.vocabulary](writer, N_VOCAB)


def add_tensors(writer, s, rng):
    def add(name, kind, shape, gain):
        writer.add_tensor(f"{name}.weight", encode(rng, kind, shape, gain / np.sqrt(shape[-1])), raw_dtype=Type[kind])

    def add_norm(name):
        writer.add_tensor(f"{name}.weight", rng.uniform(0.7, 1.3, s.n_embd).astype(np.float32))

    # Logits with a standard deviation of about 2.5: neither flat nor one-hot.
    add("token_embd", s.embedding, (N_VOCAB, s.n_embd), 2.5)
    if s.output:
        add("output", s.output, (N_VOCAB, s.n_embd), 2.5)
    add_norm("output_norm")
    if s.rope_factors:
        writer.add_tensor("rope_freqs.weight", np.geomspace(1, 8, s.head_dim // 2).astype(np.float32))
    dealt = 0
    for layer in range(s.n_layers):
        add_norm(f"blk.{layer}.attn_norm")
        add_norm(f"blk.{layer}.ffn_norm")
        for name, shape, gain in matrices(s):
            add(f"blk.{layer}.{name}", s.formats[dealt % len(s.formats)], shape, gain)
            dealt += 1


def write_model(path, s, rng):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(s.name)
    add_metadata(writer, s)
    add_tensors(writer, s, rng)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if s.version != 3:  # versions 2 and 3 have the same layout
        with open(path, "r+b") as file:
            file.seek(4)
            file.write(s.version.to_bytes(4, "little"))
