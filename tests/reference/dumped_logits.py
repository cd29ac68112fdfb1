"""Logits of a text through the C++ cache, by the test program `dump_logits`, and distances between them."""

import gzip
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from llama_reference import log_softmax

REPOSITORY = Path(__file__).resolve().parents[2]
DUMP = REPOSITORY / "build/release/tests/dump_logits"
TEXT = REPOSITORY / "../shared/data/wikitext2_valid.txt.gz"


def add_arguments(parser):
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--text", type=Path, default=TEXT, help="gzipped text")
    parser.add_argument("--dump", type=Path, default=DUMP, help="the dump_logits program")


class Dumper:
    """Runs dump_logits on slices of one text; a context manager that removes its files."""

    def __init__(self, options):
        self.options = options
        self.folder = tempfile.TemporaryDirectory()

    def __enter__(self):
        self.text = Path(self.folder.name) / "text"
        self.text.write_bytes(gzip.decompress(self.options.text.read_bytes()))
        return self

    def __exit__(self, *error):
        self.folder.cleanup()

    def run(self, first, count, kv="f16", window=32, block=32, scales="unbiased"):
        """Token ids [count] and float32 logits [count, n_vocab] of tokens [first, first + count)."""
        out = Path(self.folder.name) / "logits"
        arguments = [self.options.model, self.text, first, count, kv, window, block, scales, out]
        command = [str(x) for x in [self.options.dump, *arguments]]
        ids = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return np.array(ids, int), np.fromfile(out, "<f4").reshape(count, -1)


def kl_divergence(reference, logits, rows=64):
    """KL(reference || logits) in nats by position [n], a few rows at a time in float64."""
    parts = []
    for at in range(0, len(reference), rows):
        p, q = (log_softmax(x[at : at + rows].astype(np.float64)) for x in (reference, logits))
        parts.append((np.exp(p) * (p - q)).sum(-1))
    return np.concatenate(parts)
