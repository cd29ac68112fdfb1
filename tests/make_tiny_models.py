"""Tiny random llama-architecture models with reference logits and signals from an independent NumPy pass.

Usage: make_tiny_models.py OUTDIR        (needs numpy and gguf; uses tests/reference/*.py)

Writes OUTDIR/<name>.gguf, OUTDIR/<name>.bin (all reference arrays as little-endian float32) and OUTDIR/index.json: a
list of models, each with its token ids, the logits [n, n_vocab] of plain float64 attention, and runs through the
mixed-width cache (policy, window, block, scale rule) with logits and signals. {"at": A, "shape": [...]} finds an array;
A counts floats.
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "reference"))

import numpy as np  # noqa: E402
import policy_reference as policy  # noqa: E402
import policy_signals  # noqa: E402
from cache_reference import CachedAttention, Settings, token_signals  # noqa: E402
from llama_reference import Model, forward  # noqa: E402
from tiny_weights import N_VOCAB, Shape, write_model  # noqa: E402

MIXED = "random:1=20,2=20,3=20,4=20,8=10,16=10:7"
# (policy, window, block, unbiased scales, centres)
F16 = ("f16", 32, 32, True, False)
Q4 = ("q4", 32, 32, True, False)
SHAPES = [
    Shape("f32_long", 64, 4, 2, 16, 96, ["F32"], n_tokens=600, runs=[F16, Q4, (MIXED, 32, 32, True, False)]),
    Shape("f16_hd8", 32, 4, 4, 8, 64, ["F16"], output="F16", vocabulary="spm",
          runs=[F16, ("q2", 0, 1, False, False), ("q8", 8, 1, True, False)]),
    Shape("bf16_hd24", 72, 3, 1, 24, 80, ["BF16", "F32"], embedding="BF16", output="F32", rope_dim=16,
          runs=[F16, ("k3v2", 8, 1, True, False), (MIXED, 0, 32, True, True)]),
    Shape("q8_0_hd40", 160, 4, 2, 40, 192, ["Q8_0"], embedding="Q8_0",
          runs=[F16, ("q3", 8, 32, False, False), (MIXED, 32, 1, False, True)]),
    Shape("q4_0_hd48", 128, 4, 1, 48, 160, ["Q4_0"], embedding="Q8_0", output="Q4_0", vocabulary="spm",
          runs=[F16, ("k8v4", 0, 1, True, False), ("q1", 32, 32, True, False)]),
    Shape("q4_1_hd64", 192, 3, 1, 64, 256, ["Q4_1"], embedding="Q8_0", rope_base=100000.0, n_layers=3, n_tokens=80,
          runs=[F16, ("rule", 32, 32, True, False), ("rule", 8, 1, True, False)]),
    Shape("q5_llama3", 128, 4, 2, 32, 160, ["Q5_0", "Q5_1"], embedding="F16", output="Q8_0", rope_base=500000.0,
          rope_factors=True, version=2, runs=[F16, ("q2", 32, 32, False, False), (MIXED, 8, 32, True, False)]),
    Shape("mixed_linear", 96, 3, 3, 32, 128, ["F16", "Q8_0", "Q4_1", "F32", "Q4_0"], embedding="Q5_1",
          rope_scale=4.0, rope_dim=20, runs=[F16, ("k4v3", 8, 8, True, True)]),
    Shape("k_quants", 256, 4, 2, 64, 256, ["Q4_K", "Q6_K", "Q2_K", "IQ4_XS", "Q3_K", "Q5_K", "IQ4_NL"],
          embedding="Q4_K", output="Q6_K", n_layers=3, runs=[F16, ("k16v1", 32, 32, True, False)]),
    Shape("deep", 48, 2, 1, 24, 64, ["F32"], n_layers=6, runs=[F16, (MIXED, 32, 32, True, False)]),
]  # fmt: skip


class Arrays:
    """Collects float arrays into one file."""

    def __init__(self):
        self.parts = []
        self.size = 0

    def add(self, array):
        array = np.asarray(array, "<f4")
        entry = {"at": self.size, "shape": list(array.shape)}
        self.parts.append(array.tobytes())
        self.size += array.size
        return entry

    def write(self, path):
        path.write_bytes(b"".join(self.parts))


def random_tokens(rng, n):
    """Ids of which some are frequent, as in text; control tokens left out."""
    weights = 1 / (np.arange(N_VOCAB - 3) + 5.0)
    return 3 + rng.permutation(N_VOCAB - 3)[rng.choice(N_VOCAB - 3, n, p=weights / weights.sum())]


def cached_pass(model, ids, settings):
    attention = CachedAttention(settings)
    logits = forward(model, ids, attention)
    return attention, logits, token_signals(ids, logits, attention.signals.variance)


class NearThreshold(Exception):
    """A signal so near to a threshold of the rule that rounding may decide the width."""


def rule_pass(model, ids, settings):
    """Each pass settles at least one more block: its widths follow from signals that no later token changes."""
    settings.widths = policy.parse("f16")
    result, before = cached_pass(model, ids, settings), None
    while before is None or not np.array_equal(result[1], before):
        before = result[1]
        settings.widths = policy.rule_widths(result[2])
        result = cached_pass(model, ids, settings)
    if np.abs(policy.rule_margins(result[2])).min() < 4e-3:
        raise NearThreshold
    return result


def add_run(arrays, model, ids, spec, centres):
    kv, window, block, unbiased, centred = spec
    settings = Settings(None if kv == "rule" else policy.parse(kv), window, block, unbiased=unbiased)
    if centred:
        settings.centre_k, settings.centre_v = centres
    attention, logits, tokens = (rule_pass if kv == "rule" else cached_pass)(model, ids, settings)
    signals = attention.signals
    entry = {"kv": kv, "window": window, "block": block, "unbiased": unbiased, "centred": centred}
    entry |= {"logits": arrays.add(logits), "token_signals": arrays.add(tokens)}
    entry["widths"] = arrays.add(attention.widths)  # [n_layers, K and V, n, n_kv_heads]
    for name in ("received", "received_sq", "received_max", "k_norm2", "v_norm2"):  # [n_layers, n, heads]
        entry[name] = arrays.add(getattr(signals, name))
    if kv == "f16":
        entry["columns"] = arrays.add(policy_signals.columns(signals, model.frequencies))
    return entry


def reference(path, shape, rng):
    """Tokens, and what the model makes of them, as an entry of the index and arrays."""
    model, ids, arrays = Model(path), random_tokens(rng, shape.n_tokens), Arrays()
    # Where a calibrated centre would be: an offset that the vectors do not have is a hard case for the codec.
    centres = rng.normal(0, 0.5, (2, shape.n_layers, shape.n_kv_heads, shape.head_dim)).astype(np.float32)
    entry = {"name": shape.name, "file": path.name, "data": f"{shape.name}.bin", "tokens": ids.tolist()}
    entry["logits"] = arrays.add(forward(model, ids))
    entry["centres"] = arrays.add(centres)
    entry["runs"] = [add_run(arrays, model, ids, run, centres) for run in shape.runs]
    return entry, arrays


def make(out, shape, seed):
    rng = np.random.default_rng(seed)
    path = out / f"{shape.name}.gguf"
    write_model(path, shape, rng)
    while True:
        try:
            entry, arrays = reference(path, shape, rng)
            break
        except NearThreshold:
            continue  # other tokens
    arrays.write(out / entry["data"])
    return entry


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    index = [make(out, shape, seed) for seed, shape in enumerate(SHAPES)]
    (out / "index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
