"""Fisher sensitivities of tiny random models from an independent NumPy reference.

Usage: make_fisher.py OUTDIR        (needs numpy and gguf; uses tests/reference/*.py)

Writes OUTDIR/<name>.gguf and OUTDIR/index.json: a list of {name, file, window, block, tokens, y [n, n_samples],
vectors}, each vector {side, layer, token, head, fisher: mean |g|^2 over the samples of y, divergence}; see
tests/reference/fisher_reference.py.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "reference"))

import numpy as np  # noqa: E402
from fisher_reference import Reader, visible  # noqa: E402
from llama_reference import Model  # noqa: E402
from make_tiny_models import random_tokens  # noqa: E402
from tiny_weights import N_VOCAB, Shape, write_model  # noqa: E402

N_SAMPLES = 2


@dataclass
class Case:
    shape: Shape
    n: int
    window: int
    block: int
    n_vectors: int


CASES = [
    Case(Shape("plain", 32, 4, 4, 8, 64, ["F16"], output="F16", vocabulary="spm"), 90, 8, 1, 16),
    Case(Shape("grouped", 72, 3, 1, 24, 80, ["BF16", "F32"], embedding="BF16", output="F32", rope_dim=16), 80, 8, 4, 6),
    Case(Shape("deep", 48, 4, 2, 8, 64, ["F32"], n_layers=6, rope_scale=4.0), 150, 32, 32, 12),
    Case(Shape("no_window", 96, 3, 3, 32, 128, ["Q8_0", "Q4_1"], embedding="Q5_1", rope_factors=True), 60, 0, 1, 4),
    Case(Shape("long", 32, 4, 2, 8, 48, ["F32"]), 700, 32, 32, 4),
]  # fmt: skip


def vectors(rng, case):
    """Vectors that some query reads packed, early and late, both sides in turn."""
    packed = np.flatnonzero(visible(case.n, case.window, case.block)[0].any(0))
    tokens = packed[np.linspace(0, len(packed) - 1, case.n_vectors).astype(int)]
    s = case.shape
    return [(i % 2, int(rng.integers(s.n_layers)), int(t), int(rng.integers(s.n_kv_heads))) for i, t in enumerate(tokens)]


def make(out, case, seed):
    rng = np.random.default_rng(seed)
    path = out / f"{case.shape.name}.gguf"
    write_model(path, case.shape, rng)
    ids, y = random_tokens(rng, case.n), rng.integers(0, N_VOCAB, (case.n, N_SAMPLES))
    reader = Reader(Model(path), ids, case.window, case.block)
    entry = {"name": case.shape.name, "file": path.name, "window": case.window, "block": case.block}
    entry |= {"tokens": ids.tolist(), "y": y.tolist(), "vectors": []}
    for vector in vectors(rng, case):
        fields = dict(zip(("side", "layer", "token", "head"), vector))
        fields["fisher"] = reader.gradient2(vector, y).mean()
        fields["divergence"] = reader.divergence(vector)
        entry["vectors"].append(fields)
    return entry


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.json").write_text(json.dumps([make(out, case, seed) for seed, case in enumerate(CASES)]))


if __name__ == "__main__":
    main()
