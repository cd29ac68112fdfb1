"""Fisher sensitivities of a model's cached vectors without a backward pass.

The model reads its cache as Miser does: K (after RoPE) and V rounded to binary16, and the block [b, b + B) packed by
the query t if and only if b + B + W <= t. For one vector (side, layer, token, KV head) as read packed,
  - `gradient2` is |g|^2 of the score sum_t ln p(y_t) of given tokens y, each component by the complex step
    Im f(x + i h) / h (Squire & Trapp 1998), exact to rounding: no derivative is written down anywhere;
  - `divergence` is 2 / h^2 sum_d sum_t KL(p_t || p_t(x + h e_d)), mean of +h and -h: what E |g|^2 over y drawn from
    the model must be, by brute force.
"""

import numpy as np
from llama_reference import rms_norm, rope

STEP = 1e-30  # of the complex step: no difference is taken, so it may be this small
DISTANCE = 1e-3  # of the brute force


def softmax(scores):
    e = np.exp(scores - scores.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    x = x - x.real.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def visible(n, window, block):
    """Masks [n queries, n tokens]: read packed, read exactly."""
    query, token = np.arange(n)[:, None], np.arange(n)[None]
    packed = token // block * block + block + window <= query
    return packed, (token <= query) & ~packed


class Reader:
    """Forward passes over one context that differ in one vector as read packed."""

    def __init__(self, model, ids, window, block):
        self.model, self.ids = model, ids
        self.packed, self.exact = visible(len(ids), window, block)
        self.inputs, self.roundings = [], []  # of each layer in the pass that nothing disturbs
        x = model.weights["token_embd.weight"][ids]
        for layer in range(model.config.n_layers):
            self.inputs.append(x)
            _, k, v = self.project(layer, x)
            self.roundings.append([t.astype(np.float16).astype(np.float64) - t for t in (k, v)])
            x = self.layer(layer, x)
        self.log_probs = self.output(x)

    def project(self, layer, x):
        m, c, n = self.model, self.model.config, len(self.ids)
        h = rms_norm(x, m.layer(layer, "attn_norm"), c.epsilon)
        q = (h @ m.layer(layer, "attn_q").T).reshape(n, c.n_heads, c.head_dim)
        k = (h @ m.layer(layer, "attn_k").T).reshape(n, c.n_kv_heads, c.head_dim)
        v = (h @ m.layer(layer, "attn_v").T).reshape(n, c.n_kv_heads, c.head_dim)
        return *(rope(m, t.real) + (1j * rope(m, t.imag) if np.iscomplexobj(t) else 0) for t in (q, k)), v

    def layer(self, layer, x, change=None):
        """`change`: (side, token, KV head, what is added to the vector as read packed)."""
        m, c = self.model, self.model.config
        q, *kv = self.project(layer, x)
        exact = [t + rounding for t, rounding in zip(kv, self.roundings[layer])]
        packed = list(exact)
        if change is not None:
            side, token, head, delta = change
            packed[side] = packed[side] + 0 * delta[0]
            packed[side][token, head] += delta
        x = x + self.attend(q, exact, packed).reshape(len(x), -1) @ m.layer(layer, "attn_output").T
        h = rms_norm(x, m.layer(layer, "ffn_norm"), c.epsilon)
        gate, up = h @ m.layer(layer, "ffn_gate").T, h @ m.layer(layer, "ffn_up").T
        return x + (gate / (1 + np.exp(-gate)) * up) @ m.layer(layer, "ffn_down").T

    def attend(self, q, exact, packed):
        n_heads, head_dim = q.shape[1:]
        out = []
        for h in range(n_heads):
            g = h // (n_heads // exact[0].shape[1])
            near, far = (q[:, h] @ k[:, g].T / np.sqrt(head_dim) for k in (exact[0], packed[0]))
            p = softmax(np.where(self.exact, near, np.where(self.packed, far, -np.inf)))
            out.append(np.where(self.exact, p, 0) @ exact[1][:, g] + np.where(self.packed, p, 0) @ packed[1][:, g])
        return np.stack(out, 1)

    def output(self, x):
        m = self.model
        return log_softmax(rms_norm(x, m.weights["output_norm.weight"], m.config.epsilon) @ m.output.T)

    def changed(self, side, layer, token, head, delta):
        """Log-probabilities [n, n_vocab] when delta [head_dim] is added to one vector as read packed."""
        x = self.layer(layer, self.inputs[layer], (side, token, head, delta))
        for above in range(layer + 1, self.model.config.n_layers):
            x = self.layer(above, x)
        return self.output(x)

    def gradient2(self, vector, y):
        """|g|^2 of sum_t ln p(y_t), one for each column of y [n, n_samples]."""
        rows, total = np.arange(len(self.ids))[:, None], 0.0
        for unit in np.eye(self.model.config.head_dim):
            log_probs = self.changed(*vector, 1j * STEP * unit)
            total = total + (log_probs[rows, y].imag.sum(0) / STEP) ** 2
        return total

    def divergence(self, vector):
        p, total = np.exp(self.log_probs), 0.0
        for unit in np.eye(self.model.config.head_dim):
            for distance in (-DISTANCE, DISTANCE):
                total += (p * (self.log_probs - self.changed(*vector, distance * unit))).sum()
        return total / DISTANCE**2
