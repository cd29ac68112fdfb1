"""NumPy twin of the mixed-width KV cache: what each query reads, and the signals of every token.

Independent of the C++ code: it knows no chunks, blocks of work or segments. Every row of an attention matrix is
computed over exact and read-back vectors alike, and a mask by position says which of the two a query sees:
  the query at t reads token i packed when i >= sinks and end(block of i) + window <= t, and exactly otherwise.
Exact rows are binary16. Shapes: n tokens, H query heads, G KV heads, D head_dim.
"""

from dataclasses import dataclass, field

import codec_reference as codec
import numpy as np
from llama_reference import log_softmax, softmax

RECEIVED_QUERIES = 32  # most queries whose attention counts as received
SCORE_CORRECTION = {1: 0.1790, 2: 0.2005, 3: 50.82, 4: 8.905}  # c of docs/codecs.md, of unbiased scales


@dataclass
class Settings:
    """A run: widths(layer, n, G) gives bits of K and V, each [n, G] out of 1, 2, 3, 4, 8, 16."""

    widths: callable
    window: int = 32
    block: int = 32
    sinks: int = 4
    unbiased: bool = True
    centre_k: np.ndarray | None = None  # [layers, G, D]
    centre_v: np.ndarray | None = None


@dataclass
class Signals:
    """By layer, in order: what a token received from the next min(window, 32) queries, and its norms."""

    received: list = field(default_factory=list)  # [n, H] sum of probabilities
    received_sq: list = field(default_factory=list)  # [n, G] sum of squares, mean over the group
    received_max: list = field(default_factory=list)  # [n, G] maximum
    k_norm2: list = field(default_factory=list)  # [n, G] |k - centre|^2
    v_norm2: list = field(default_factory=list)  # [n, G]
    k: list = field(default_factory=list)  # [n, G, D] centred
    v: list = field(default_factory=list)
    variance: np.ndarray | None = None  # [n] mean over heads of the variance of the last layer's row


def packed_mask(n, settings):
    """[t, i]: whether the query at t reads token i packed."""
    t, i = np.arange(n)[:, None], np.arange(n)[None]
    block_end = i // settings.block * settings.block + settings.block
    return (i >= settings.sinks) & (block_end + settings.window <= t)


def read_back(x, bits, centre, unbiased):
    """x [n, G, D] as read from `bits` [n, G], and what the score correction takes off per |q|^2 / D [n, G]."""
    out, correction = x.copy(), np.zeros(bits.shape)
    rotation = codec.rotation(x.shape[-1])
    for width in np.unique(bits[bits < 16]):
        at = bits == width
        centres = np.broadcast_to(centre, x.shape)[at]
        rotated = ((x[at] - centres) @ rotation.T).astype(np.float32)
        codes, least_squares, mean_keeping = codec.encode(rotated, int(width))
        scale = mean_keeping if unbiased else least_squares
        out[at] = codec.decode(codes, scale, int(width)) @ rotation + centres
        if unbiased:
            correction[at] = SCORE_CORRECTION.get(int(width), 0.0) * scale.astype(np.float64) ** 2
    return out, correction


def attend(q, exact, read, correction, packed):
    """Probabilities [n, n] and outputs [n, D] of one query head q [n, D] over (K, V) [n, D] each, exact and as read.

    `correction` [n] comes off the scores of packed keys per |q|^2 / D; packed [n, n] says which of both a query reads.
    """
    n, head_dim = q.shape
    norm2 = (q**2).sum(-1, keepdims=True) / head_dim
    scale = head_dim**0.5  # a Python number, so that float32 stays float32
    scores = np.where(packed, q @ read[0].T / scale - norm2 * correction, q @ exact[0].T / scale)
    a = softmax(np.where(np.tri(n, dtype=bool), scores, -np.inf))
    return a, np.where(packed, a, 0) @ read[1] + np.where(packed, 0, a) @ exact[1]


class CachedAttention:
    """Attention over the cache, layer after layer, for llama_reference.forward."""

    def __init__(self, settings):
        self.settings = settings
        self.signals = Signals()
        self.widths = []  # (bits of K, bits of V) of each layer, [n, G] each

    def __call__(self, layer, q, k, v):
        s = self.settings
        n, n_kv_heads = k.shape[:2]
        k, v = (x.astype(np.float16).astype(np.float64) for x in (k, v))
        centre_k, centre_v = (0.0 if c is None else c[layer] for c in (s.centre_k, s.centre_v))
        bits_k, bits_v = s.widths(layer, n, n_kv_heads)
        packed_k, correction = read_back(k, bits_k, centre_k, s.unbiased)
        packed_v, _ = read_back(v, bits_v, centre_v, s.unbiased)
        packed = packed_mask(n, s)
        out, rows = np.empty_like(q), []
        for h in range(q.shape[1]):
            g = h // (q.shape[1] // n_kv_heads)
            read = packed_k[:, g], packed_v[:, g]
            a, out[:, h] = attend(q[:, h], (k[:, g], v[:, g]), read, correction[:, g], packed)
            rows.append(a)
        self._note(np.stack(rows), k - centre_k, v - centre_v)
        self.widths.append((bits_k, bits_v))
        return out

    def _note(self, a, k, v):
        """a [H, n, n] rows of probabilities; k, v [n, G, D] centred."""
        n, n_kv_heads = k.shape[:2]
        age = np.arange(n)[:, None] - np.arange(n)[None]
        near = (age >= 1) & (age <= min(self.settings.window, RECEIVED_QUERIES))
        paid = np.where(near, a, 0)
        grouped = paid.reshape(n_kv_heads, -1, n, n)
        self.signals.received.append(paid.sum(1).T)
        self.signals.received_sq.append((grouped**2).sum(2).mean(1).T)
        self.signals.received_max.append(grouped.max((1, 2)).T)
        self.signals.k_norm2.append((k**2).sum(-1))
        self.signals.v_norm2.append((v**2).sum(-1))
        self.signals.k.append(k)
        self.signals.v.append(v)
        keys = np.arange(1, n + 1)
        variance = (a**2).sum(-1) / keys - (a.sum(-1) / keys) ** 2
        self.signals.variance = variance.mean(0)


def token_signals(ids, logits, variance):
    """The paper's four signals [n, 4]: entropy, rarity, attention variance, confidence (arXiv 2604.04722)."""
    log_p = log_softmax(logits)
    p = np.exp(log_p)
    counts, rarity = {}, []
    for n_observed, token in enumerate(ids):
        rarity.append(-np.log((counts.get(token, 0) + 1) / (n_observed + len(counts) + 1)))
        counts[token] = counts.get(token, 0) + 1
    return np.stack([-(p * log_p).sum(-1), np.array(rarity), variance, p.max(-1)], 1)
