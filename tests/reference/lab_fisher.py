"""Sensitivities that `miser train` traced, beside those of the JAX prototype on the same tokens.

Usage: lab_fisher.py MODEL TRACE [--lab ../shared/lab] [--seeds 1 2]

TRACE is a file of the folder that `miser train --work DIR --kv-window 31 --kv-block 1` keeps: the prototype's rule is
blocks of one, a query reads itself and the 31 tokens before it exactly. Labels of both are drawn from the model, so
they differ by the noise of their draws: the prototype is run with two seeds and as many draws, and its agreement with
itself is the measure. Printed are Spearman's correlation of E |g|^2 over all vectors, K and V apart, and the median of
the ratios (sums hang on a few tokens). Needs jax and tokenizers. Takes three minutes for 512 tokens and 8 draws.
"""

import argparse
import struct
import sys
from pathlib import Path

import numpy as np
from dumped_logits import REPOSITORY
from scipy.stats import spearmanr

FIELDS = ("layers", "heads", "kv_heads", "head_dim", "length", "first", "n", "window", "block", "samples", "seed")


def read_trace(path):
    """Sizes, ids [length] and E |g|^2 [2, layers, n, kv_heads] (src/learn/trace_file.h)."""
    data = Path(path).read_bytes()
    source_length = struct.unpack_from("<I", data, 12)[0]
    size = dict(zip(FIELDS, struct.unpack_from("<11Q", data, 16), strict=True))
    ids = np.frombuffer(data, "<i4", size["length"], 16 + 88 + source_length)
    vectors = 2 * size["layers"] * size["n"] * size["kv_heads"]
    end = len(data) - 4 * size["n"]  # the last array is `future` [n]
    fisher = np.frombuffer(data[end - 4 * vectors : end], "<f4")
    return size, ids, fisher.reshape(2, size["layers"], size["n"], size["kv_heads"])


def prototype_fisher(lab, model, passes, ids, samples, seed):
    """E |g|^2 [2, layers, length, kv_heads], undone from the sensitivity that the prototype makes of it."""
    traced = lab.trace(model, *passes, ids, samples, seed)
    future = np.maximum(1, len(ids) - lab.WINDOW - np.arange(len(ids)))[:, None]
    energy = np.stack([traced["st"]["k2"], traced["st"]["v2"]])
    return traced["sens"] * 2 * future * model.head_dim / energy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("trace")
    parser.add_argument("--lab", type=Path, default=REPOSITORY / "../shared/lab")
    parser.add_argument("--seeds", type=int, nargs=2, default=[1, 2])
    options = parser.parse_args()
    sys.path.insert(0, str(options.lab))
    import kvlab

    size, ids, ours = read_trace(options.trace)
    if (size["window"], size["block"]) != (kvlab.WINDOW - 1, 1):
        sys.exit(f"{options.trace}: of window {size['window']} and block {size['block']}, expected 31 and 1")
    model = kvlab.Model(options.model)
    passes = kvlab.make(model)  # compiled once for all seeds
    tokens = slice(size["first"], size["first"] + size["n"])
    traced = [prototype_fisher(kvlab, model, passes, ids, size["samples"], seed) for seed in options.seeds]
    theirs = [fisher[:, :, tokens] for fisher in traced]
    for side, name in enumerate("KV"):
        pairs = {"prototype and itself": theirs, "miser and prototype": (ours, theirs[0])}
        for label, (a, b) in pairs.items():
            correlation = spearmanr(a[side].ravel(), b[side].ravel())[0]
            print(f"{name}: {label}: Spearman {correlation:.4f}, median ratio {np.median(a[side] / b[side]):.4f}")


if __name__ == "__main__":
    main()
