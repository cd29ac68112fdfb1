"""Prints the figures that tests/eval_kl_test.cc compares with: KL in float64 between made-up logits.

Usage: eval_kl.py        (needs numpy)
"""

import numpy as np

N = 49152


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def main():
    i = np.arange(N)
    # Multiples of 1/64 below 2^10: floats hold them exactly, whatever computes them.
    reference = ((i * 7919) % 1283 - 900).astype(np.float32) / 64
    bumps = ((i * 104729) % 2039 - 1019).astype(np.float32) / 1024
    for size in (2.0**-12, 2.0**-7, 2.0**-3, 1.0, 8.0):
        policy = reference + np.float32(size) * bumps
        p, q = log_softmax(reference), log_softmax(policy)
        kl = (np.exp(p) * (p - q)).sum()
        partial = np.where(p > -12, np.exp(p) * (p - q), 0).sum()
        print(f"{{{size!r}F, {kl!r}, {partial!r}, {q[4321]!r}, {int(policy.argmax())}}},")
    print("top of the reference:", reference.argmax())


if __name__ == "__main__":
    main()
