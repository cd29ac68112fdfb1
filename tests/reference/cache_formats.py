"""What formats of the KV cache lose on a real model: ours beside llama.cpp's and KIVI's, under one rule of positions.

Usage: cache_formats.py MODEL [--plan PLAN] [--text FILE.gz] [--dump PROGRAM] [--contexts 0 60000] [--formats q2 q3]

NumPy float32 passes over contexts of 1,024 tokens; a window and blocks of 32, 4 sinks. What is older is read as the
format stores it. Printed are stored bits per element, the squared error of K, of V and of attention outputs (positions
from 256) over their squares, and, at these positions, the KL from binary16 and the share of equal top-1. llama.cpp's
formats are those of the package `gguf`, blocks of 32 channels. KIVI (arXiv 2402.02750) quantises keys by channel in
groups of 32 tokens and values by token in groups of 32 channels, with a binary16 scale and minimum a group.
Takes about half a minute a context and format.
"""

import argparse

import cache_reference as cache
import gguf
import numpy as np
from dumped_logits import REPOSITORY, Dumper, add_arguments, kl_divergence
from llama_reference import Model, exact_attention, forward

LENGTH = 1024
FIRST_SCORED = 256
GROUP = 32
RULE = cache.Settings(widths=None)
PLAN = REPOSITORY / "plans/SmolLM2-135M-Instruct.gguf"


def miser(bits, centred):
    """One width: read(x [n, G, D], side, layer, centres) -> (as read, score correction), and its stored bits."""

    def read(x, side, layer, centres):
        centre = centres[side][layer] if centred else 0.0
        return cache.read_back(x, np.full(x.shape[:2], bits), centre, unbiased=True)

    return read, bits + 0.25


def llama_cpp(name, stored_bits):
    """A block format of llama.cpp, along head_dim."""
    kind = gguf.GGMLQuantizationType[name]

    def read(x, *_):
        blocks = gguf.quants.quantize(np.ascontiguousarray(x, np.float32), kind)
        return gguf.quants.dequantize(blocks, kind).reshape(x.shape), np.zeros(x.shape[:2])

    return read, stored_bits


def asymmetric(x, bits):
    """Groups along the last axis, rounded to 2^bits levels from minimum to maximum, both binary16 as stored."""
    low = x.min(-1, keepdims=True).astype(np.float16).astype(np.float64)
    step = ((x.max(-1, keepdims=True) - low) / (2**bits - 1)).astype(np.float16).astype(np.float64)
    codes = np.rint((x - low) / np.where(step > 0, step, 1)).clip(0, 2**bits - 1)
    return codes * step + low


def kivi(bits):
    """KIVI at `bits`; n is a multiple of 32 here, so no group of keys is cut."""

    def read(x, side, *_):
        n, n_kv_heads, head_dim = x.shape
        nothing = np.zeros((n, n_kv_heads))
        if side == "v":
            return asymmetric(x.reshape(n, n_kv_heads, -1, GROUP), bits).reshape(x.shape), nothing
        by_channel = x.reshape(-1, GROUP, n_kv_heads, head_dim).transpose(0, 2, 3, 1)
        return asymmetric(by_channel, bits).transpose(0, 3, 1, 2).reshape(x.shape), nothing

    return read, bits + 2 * 16 / GROUP


FORMATS = {
    **{f"q{bits}": miser(bits, centred=True) for bits in (2, 3, 4, 8)},
    **{f"q{bits}, not centred": miser(bits, centred=False) for bits in (2, 3, 4)},
    "KIVI 2 bit": kivi(2),
    "KIVI 4 bit": kivi(4),
    "llama.cpp q4_0": llama_cpp("Q4_0", 4.5),
    "llama.cpp q5_1": llama_cpp("Q5_1", 6.0),
    "llama.cpp q8_0": llama_cpp("Q8_0", 8.5),
}


class Errors:
    """Squared errors and squares of K, V and attention outputs."""

    def __init__(self):
        self.error, self.square = ({"k": 0.0, "v": 0.0, "output": 0.0} for _ in range(2))

    def add(self, what, read, exact):
        self.error[what] += ((read - exact) ** 2).sum()
        self.square[what] += (exact**2).sum()

    def relative(self, what):
        return self.error[what] / self.square[what]


class FormatAttention:
    """Attention that reads what has left the window as a format stores it; without a format all of it exactly."""

    def __init__(self, read=None, centres=None, errors=None):
        self.read, self.centres, self.errors = read, centres, errors

    def __call__(self, layer, q, k, v):
        k, v = (x.astype(np.float16).astype(np.float32) for x in (k, v))
        exact = exact_attention(layer, q, k, v)
        if self.read is None:
            return exact
        read_k, correction = self.read(k, "k", layer, self.centres)
        read_v, _ = self.read(v, "v", layer, self.centres)
        read_k, read_v, correction = (x.astype(np.float32) for x in (read_k, read_v, correction))
        packed = cache.packed_mask(len(k), RULE)
        stored = packed[-1]
        self.errors.add("k", read_k[stored], k[stored])
        self.errors.add("v", read_v[stored], v[stored])
        out = np.empty_like(q)
        for h in range(q.shape[1]):
            g = h // (q.shape[1] // k.shape[1])
            read = read_k[:, g], read_v[:, g]
            _, out[:, h] = cache.attend(q[:, h], (k[:, g], v[:, g]), read, correction[:, g], packed)
        self.errors.add("output", out[FIRST_SCORED:], exact[FIRST_SCORED:])
        return out


def plan_centres(path):
    """{"k", "v"}: [layers, G, D] of a plan file."""
    tensors = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
    return {side: np.asarray(tensors[f"centre.{side}"], np.float64) for side in "kv"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--plan", default=PLAN, help="whose centres are taken")
    parser.add_argument("--contexts", type=int, nargs="+", default=[0, 60000], help="first tokens")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS), metavar="NAME")
    options = parser.parse_args()
    model, centres = Model(options.model, np.float32), plan_centres(options.plan)
    with Dumper(options) as dumper:
        texts = [dumper.run(start, LENGTH)[0] for start in options.contexts]
    exact = [forward(model, ids, FormatAttention())[FIRST_SCORED:] for ids in texts]
    print("| format | stored bits | error of K | of V | of attention outputs | KL | top-1 |")
    print("|---|---|---|---|---|---|---|")
    for name in options.formats:
        read, stored_bits = FORMATS[name]
        errors, kl, same = Errors(), [], []
        for ids, reference in zip(texts, exact, strict=True):
            logits = forward(model, ids, FormatAttention(read, centres, errors))[FIRST_SCORED:]
            kl.append(kl_divergence(reference, logits).mean())
            same.append(np.mean(reference.argmax(-1) == logits.argmax(-1)))
        columns = [f"{errors.relative(what):.2g}" for what in ("k", "v", "output")]
        columns += [f"{np.mean(kl):.3g} ({min(kl):.2g} to {max(kl):.2g})", f"{np.mean(same):.3f}"]
        print(f"| {name} | {stored_bits:g} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
