"""Random blocks of every weight format and their values as the PyPI package `gguf` dequantises them.

Usage: make_quant_vectors.py OUTDIR        (needs numpy and gguf)

Writes OUTDIR/<NAME>.bin, little-endian: u32 number of blocks, u32 bytes per block, u32 elements per block, the
blocks, then all elements as float32. Codes are random bytes; scales are finite halves of every magnitude, zero,
negative and subnormal ones included. F32 and BF16 cover any bits, F16 every finite half.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

# Byte offsets of the half-precision scales in one block.
HALF_OFFSETS = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
}
BLOCKS = 256


def random_halves(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` finite halves with all exponents equally likely, and some zeros."""
    exponent = rng.integers(0, 31, count) << 10
    bits = exponent | rng.integers(0, 2, count) << 15 | rng.integers(0, 1024, count)
    return np.where(rng.random(count) < 0.02, 0, bits).astype(np.uint16)


def random_blocks(rng: np.random.Generator, name: str) -> np.ndarray:
    """Blocks of format `name`, uint8 (blocks, bytes per block)."""
    if name == "F16":
        halves = np.arange(65536, dtype=np.uint16)
        return halves[np.isfinite(halves.view(np.float16))].reshape(-1, 1).view(np.uint8)
    if name == "BF16":
        return np.arange(65536, dtype=np.uint16).reshape(-1, 1).view(np.uint8)
    _, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (BLOCKS, block_bytes), dtype=np.uint8)
    for offset in HALF_OFFSETS.get(name, []):
        blocks[:, offset : offset + 2] = random_halves(rng, BLOCKS).reshape(-1, 1).view(np.uint8)
    return blocks


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2026)
    for name in ["F32", "F16", "BF16", *HALF_OFFSETS]:
        blocks = random_blocks(rng, name)
        values = quants.dequantize(blocks, GGMLQuantizationType[name]).astype("<f4", copy=False)
        elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
        assert blocks.shape[1] == block_bytes and values.size == len(blocks) * elements
        header = np.array([len(blocks), block_bytes, elements], dtype="<u4")
        (out / f"{name}.bin").write_bytes(header.tobytes() + blocks.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
