"""KL of fixed widths from the f16 cache through the C++ engine, on contexts of 1,024 tokens of WikiText-2.

Usage: fixed_width_kl.py MODEL [--text FILE.gz] [--dump PROGRAM] [--contexts 0 60000 120000]
Not centred, least-squares scales, a window of 31 and blocks of 1 (so a query reads itself and 31 tokens exactly),
positions from 256 scored: the setting in which a prototype measured the expected figures on SmolLM2-135M. Exits with
1 when one is more than 15 % off. Takes a minute.
"""

import argparse
import sys

import dumped_logits
import numpy as np

LENGTH = 1024
FIRST_SCORED = 256
EXPECTED = {"q2": 0.154, "q3": 0.0268, "q4": 0.0062}
TOLERANCE = 0.15


def measure(dumper, starts):
    """KL of every scored position by policy."""
    kl = {kv: [] for kv in EXPECTED}
    for start in starts:
        exact = dumper.run(start, LENGTH)[1][FIRST_SCORED:]
        for kv, parts in kl.items():
            logits = dumper.run(start, LENGTH, kv, window=31, block=1, scales="ls")[1][FIRST_SCORED:]
            parts.append(dumped_logits.kl_divergence(exact, logits))
            print(f"context at {start}: {kv} {parts[-1].mean():.4f}", flush=True)
    return {kv: np.concatenate(parts) for kv, parts in kl.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    dumped_logits.add_arguments(parser)
    parser.add_argument("--contexts", type=int, nargs="+", default=[0, 60000, 120000], help="first tokens")
    options = parser.parse_args()
    with dumped_logits.Dumper(options) as dumper:
        measured = measure(dumper, options.contexts)
    all_close = True
    for kv, kl in measured.items():
        ratio = kl.mean() / EXPECTED[kv]
        all_close = all_close and abs(ratio - 1) <= TOLERANCE
        print(f"{kv}: KL mean {kl.mean():.4f} nats, expected {EXPECTED[kv]}, ratio {ratio:.3f}")
    sys.exit(0 if all_close else 1)


if __name__ == "__main__":
    main()
