"""NumPy twin of policy/features.h: the signals of every vector, as columns, from what a pass noted (cache_reference)."""

import numpy as np

ORDER = """received received_sq received_max k_norm2 v_norm2 position received_layer received_below received_heads k v""".split()


def log(x):
    return np.log(np.maximum(x, 1e-10))


def before_rope(k, frequencies):
    """k [layers, n, G, D] turned back: pair i of token t by -t frequencies[i]."""
    end = 2 * len(frequencies)
    pairs = k[..., :end:2] + 1j * k[..., 1:end:2]
    pairs *= np.exp(-1j * np.arange(k.shape[1])[:, None] * frequencies)[:, None]
    out = k.copy()
    out[..., :end:2], out[..., 1:end:2] = pairs.real, pairs.imag
    return out


def columns(signals, frequencies):
    """[layers, n, G, F] in ORDER, of a run's Signals; angle per position of each pair that RoPE turns."""
    received = np.stack(signals.received)  # [layers, n, H]
    k, v = np.stack(signals.k), np.stack(signals.v)  # [layers, n, G, D]
    n_layers, n, n_kv_heads = k.shape[:3]
    by_head = received.reshape(n_layers, n, n_kv_heads, -1)
    own = log(by_head.mean(-1))
    layer = np.repeat(own.mean(-1, keepdims=True), n_kv_heads, -1)
    below = np.concatenate([layer[:1], layer[:-1]])  # the lowest layer stands for itself
    position = np.broadcast_to(np.log(np.arange(n) + 1.0)[None, :, None], own.shape)
    scalars = {
        "received": own,
        "received_sq": log(np.stack(signals.received_sq)),
        "received_max": log(np.stack(signals.received_max)),
        "k_norm2": log((k**2).sum(-1)),
        "v_norm2": log((v**2).sum(-1)),
        "position": position,
        "received_layer": layer,
        "received_below": below,
    }
    wide = {"received_heads": log(by_head), "k": before_rope(k, frequencies), "v": v}
    return np.concatenate([scalars[x][..., None] if x in scalars else wide[x] for x in ORDER], -1)
