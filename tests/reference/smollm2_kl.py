"""KL of the f16 cache, float activations and all, from a float32 NumPy pass over the same dequantised weights.

Usage: smollm2_kl.py MODEL [--text FILE.gz] [--dump PROGRAM] [--tokens 512]
Exits with 1 when the mean KL is above 0.0003 nats. Takes half a minute.
"""

import argparse
import sys

import dumped_logits
import numpy as np
from llama_reference import Model, forward, log_softmax

LIMIT = 0.0003


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    dumped_logits.add_arguments(parser)
    parser.add_argument("--tokens", type=int, default=512)
    options = parser.parse_args()
    with dumped_logits.Dumper(options) as dumper:
        ids, found = dumper.run(0, options.tokens)
    reference = forward(Model(options.model, np.float32), ids)
    kl = dumped_logits.kl_divergence(reference, found)
    following = np.arange(len(ids) - 1), ids[1:]
    distance = np.abs(log_softmax(reference)[following] - log_softmax(found)[following])
    print(f"KL from float32 NumPy over {len(ids)} tokens: mean {kl.mean():.2e}, maximum {kl.max():.2e} nats")
    print(f"log-probability of the next token: mean distance {distance.mean():.2e}")
    print(f"same top-1: {np.mean(reference.argmax(-1) == found.argmax(-1)):.4f}")
    sys.exit(int(kl.mean() > LIMIT))


if __name__ == "__main__":
    main()
