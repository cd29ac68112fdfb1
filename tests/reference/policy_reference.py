"""Widths of the policies that the fixtures use, written from the policies' documentation."""

import numpy as np

WIDTHS = [1, 2, 3, 4, 8, 16]
MASK = (1 << 64) - 1


def splitmix64(x):
    """Steele, Lea & Flood 2014."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def random_width(cumulative, seed, layer, head, side, position):
    hash_ = splitmix64(seed)
    for key in (layer, head, side, position):
        hash_ = splitmix64(hash_ ^ key)
    return WIDTHS[int(np.searchsorted(cumulative, (hash_ >> 11) * 2.0**-53, side="right"))]


def random_widths(shares, seed):
    """shares: per cent by width."""
    cumulative = np.cumsum([shares.get(width, 0) for width in WIDTHS]) / 100

    def widths(layer, n, n_kv_heads):
        return tuple(
            np.array(
                [[random_width(cumulative, seed, layer, g, side, i) for g in range(n_kv_heads)] for i in range(n)]
            )
            for side in (0, 1)
        )

    return widths


def fixed_widths(bits_k, bits_v):
    return lambda layer, n, heads: (np.full((n, heads), bits_k), np.full((n, heads), bits_v))


def rule_margins(signals):
    """How far the paper's signals [n, 4] are above the thresholds of src/policy/rule.h [4, n]; signs point up."""
    entropy, rarity, variance, confidence = signals.T
    peakedness = variance * np.arange(1, len(signals) + 1)
    return np.stack([entropy - 3.7, 0.24 - confidence, rarity - 5.4, peakedness - 0.4])


def rule_widths(signals):
    bits = np.array([2, 4, 8, 16])[np.minimum((rule_margins(signals) > 0).sum(0), 3)]
    return lambda layer, n, heads: (np.repeat(bits[:, None], heads, 1),) * 2


def parse(spec):
    """f16, qN, kNvM or random:N=SHARE,...:SEED as a function (layer, n, n_kv_heads) -> bits of K and V."""
    if spec.startswith("random:"):
        shares, seed = spec.removeprefix("random:").split(":")
        return random_widths({int(w): float(s) for w, s in (x.split("=") for x in shares.split(","))}, int(seed))
    if spec == "f16":
        return fixed_widths(16, 16)
    bits = spec[1:].split("v")
    return fixed_widths(int(bits[0]), int(bits[-1]))
