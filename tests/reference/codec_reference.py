"""NumPy twin of the KV codecs and the rotation, written from docs/codecs.md and independent of the C++ code.

Usage: codec_reference.py OUTDIR      writes the fixtures of codec_test
       codec_reference.py --table     prints the tables of docs/codecs.md          (needs numpy)

Fixtures, little-endian. OUTDIR/w<bits>_d<head_dim>.bin: u32 n, u32 payload bytes of a vector, float32 x [n, head_dim],
uint16 least-squares scales [n], uint16 unbiased scales [n], float64 [n] squared error of plain Lloyd rounding, payloads.
OUTDIR/rotation_d<head_dim>.bin: float32 x [4, head_dim], float64 R x. OUTDIR/score_correction.bin: float64 [4], 1 to 4 bits.
"""

import sys
from pathlib import Path

import numpy as np

HEAD_DIMS = [2, 8, 32, 48, 64, 80, 96, 100, 128, 256]
BITS = [1, 2, 3, 4, 8]
MAGNITUDES = {1: [1], 2: [1, 3], 3: [14, 45, 79, 127], 4: [6, 18, 31, 44, 58, 75, 96, 127]}
START = {1: 0.798, 2: 0.51, 3: 2.152 / 127, 4: 2.733 / 127}
FACTORS = [0.8, 0.9, 1.1, 1.2]
F32 = np.float32


def lane_sum(products: np.ndarray) -> np.ndarray:
    """Float32 sums of [n, head_dim] in 8 lanes, then by halves."""
    padded = np.pad(products, ((0, 0), (0, -products.shape[1] % 8)))
    lanes = np.zeros((len(products), 8), F32)
    for group in padded.reshape(len(products), -1, 8).transpose(1, 0, 2):
        lanes = lanes + group
    for half in (4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def nearest(x: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    """Index of the magnitude that is nearest to |x| / scale."""
    m = np.array(MAGNITUDES[bits], F32)
    limits = scale[:, None] * ((m[1:] + m[:-1]) / 2)
    return (np.abs(x)[:, :, None] > limits[:, None, :]).sum(-1)


def fit(x: np.ndarray, scale: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """<x, levels> and |levels|^2 of the nearest levels."""
    level = np.array(MAGNITUDES[bits], F32)[nearest(x, scale, bits)]
    return lane_sum(np.abs(x) * level), lane_sum(level * level)


def search(x: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The scale whose nearest levels make the smallest angle with x, their fit, and |x|^2."""
    norm2 = lane_sum(x * x)
    start = np.sqrt(norm2 / F32(x.shape[1])) * F32(START[bits])
    best = (start, *fit(x, start, bits))

    def attempt(scale: np.ndarray) -> np.ndarray:
        nonlocal best
        dot, squares = fit(x, scale, bits)
        better = dot * dot * best[2] > best[1] * best[1] * squares
        best = tuple(np.where(better, new, old) for new, old in zip((scale, dot, squares), best))
        return dot / squares

    if bits > 1:
        attempt(attempt(best[1] / best[2]))
        for factor in FACTORS:
            attempt(start * F32(factor))
    return (*best, norm2)


def to_half(scale: np.ndarray) -> np.ndarray:
    return np.minimum(scale, F32(65504)).astype(np.float16)


def encode(x: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [n, head_dim], least-squares and unbiased scales [n] in binary16."""
    if bits == 8:
        return encode_int8(x)
    scale, dot, squares, norm2 = search(x, bits)
    index = nearest(x, scale, bits)
    half = 1 << (bits - 1)
    codes = np.where(x < 0, half - 1 - index, half + index)
    with np.errstate(invalid="ignore", divide="ignore"):
        unbiased = np.where(norm2 > 0, norm2 / dot, F32(0))
    return codes, to_half(np.where(norm2 > 0, dot / squares, F32(0))), to_half(unbiased)


def encode_int8(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    largest = np.abs(x).max(-1)
    wanted = np.where(largest < 2.0**-25, F32(0), largest / F32(127))
    scale = to_half(wanted)
    clips = (scale.astype(F32) * F32(127.5) < largest) & (wanted > 0) & (wanted < 65504)
    scale = np.where(clips, np.nextafter(scale, np.float16(np.inf)), scale)
    inverse = np.where(scale > 0, F32(1) / np.where(scale > 0, scale, 1).astype(F32), F32(0))
    scaled = np.clip(x * inverse[:, None], -127, 127)
    codes = np.trunc(scaled + np.copysign(F32(0.5), scaled)).astype(np.int64) % 256
    return codes, scale, scale


def decode(codes: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    """Float64 values of codes under binary16 scales."""
    if bits == 8:
        levels = codes.astype(np.uint8).astype(np.int8).astype(float)
    else:
        m = np.array(MAGNITUDES[bits], float)
        levels = np.concatenate([-m[::-1], m])[codes]
    return levels * scale.astype(float)[:, None]


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Code i in bits [i * bits, (i + 1) * bits) of a little-endian payload of whole groups of 8 codes."""
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8)))
    planes = (padded[:, :, None] >> np.arange(bits)) & 1
    return np.packbits(planes.reshape(len(codes), -1).astype(np.uint8), axis=1, bitorder="little")


def plain_lloyd_error(x: np.ndarray, bits: int) -> np.ndarray:
    """|x - y|^2 in float64 of nearest levels at a scale refit twice by least squares, the scale not rounded."""
    x = x.astype(float)
    if bits in (1, 8):
        s = np.abs(x).mean(-1) if bits == 1 else np.abs(x).max(-1) / 127
        s = s[:, None] + 1e-300
        y = np.where(x < 0, -s, s) if bits == 1 else np.round(x / s) * s
        return ((x - y) ** 2).sum(-1)
    m = np.array(MAGNITUDES[bits], float)
    s = np.sqrt((x * x).mean(-1, keepdims=True)) * START[bits] + 1e-300
    mid = (m[1:] + m[:-1]) / 2
    for _ in range(3):
        level = m[np.searchsorted(mid, np.abs(x) / s)]
        error = ((np.abs(x) - level * s) ** 2).sum(-1)
        s = (np.abs(x) * level).sum(-1, keepdims=True) / (level * level).sum(-1, keepdims=True) + 1e-300
    return error


def test_vectors(rng: np.random.Generator, d: int) -> np.ndarray:
    """Float32 [n, d]: usual and unusual shapes, magnitudes over the whole range of binary16, extremes."""
    n = 32
    shapes = [rng.standard_normal((n, d)), rng.laplace(size=(n, d)), rng.uniform(-1, 1, (n, d)), rng.standard_t(2, (n, d))]
    outlier = rng.standard_normal((n, d)) * 0.01
    outlier[np.arange(n), rng.integers(0, d, n)] = 60
    x = np.concatenate([*shapes, outlier])
    scaled = x * np.exp(rng.uniform(np.log(1e-9), np.log(1e4), (len(x), 1)))
    one = np.eye(d)[:1]
    extremes = [np.zeros((1, d)), np.full((1, d), 65504.0), np.full((1, d), -65504.0), one * 65504, one * 2.0**-24,
                np.full((1, d), 2.0**-24), one * 2.0**-25, one * 2.0**-26, np.full((1, d), 2.0**20), one * 1e-40]  # fmt: skip
    return np.concatenate([x, scaled, *extremes]).astype(F32)


def rotation(d: int) -> np.ndarray:
    """The matrix R in float64: Sylvester's Hadamard blocks of the binary expansion times the signs of splitmix64."""
    r, begin = np.zeros((d, d)), 0
    while begin < d:
        block = 1 << ((d - begin).bit_length() - 1)
        h = np.ones((1, 1))
        while len(h) < block:
            h = np.block([[h, h], [h, -h]])
        r[begin : begin + block, begin : begin + block] = h / np.sqrt(block)
        begin += block
    return r * np.array([sign_of_channel(i) for i in range(d)])


def sign_of_channel(channel: int) -> int:
    mask = (1 << 64) - 1
    z = (channel + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return -1 if (z ^ (z >> 31)) & 1 else 1


def gaussian_errors(bits: int, n: int, d: int) -> tuple[float, float]:
    """Relative squared error at least squares and c = E|e|^2 / (2 d scale^2) at unbiased scales, n Gaussian vectors."""
    x = np.random.default_rng(bits).standard_normal((n, d)).astype(F32)
    codes, least_squares, unbiased = encode(x, bits)
    squared = lambda scale: ((x - decode(codes, scale, bits)) ** 2).sum(-1)
    relative = (squared(least_squares) / (x.astype(float) ** 2).sum(-1)).mean()
    return relative, (squared(unbiased) / (2 * d * unbiased.astype(float) ** 2)).mean()


def long_vector_limit(bits: int) -> tuple[float, float]:
    """The same for head_dim to infinity, by integration over the normal density (docs/codecs.md)."""
    x = (np.arange(400_000) + 0.5) * 2.5e-5  # |x| up to 10
    density = np.exp(-x * x / 2) * np.sqrt(2 / np.pi) * 2.5e-5
    m = np.array(MAGNITUDES[bits], float)
    best = (np.inf, 0.0)
    for s in START[bits] * np.arange(0.7, 1.3, 0.002):
        level = m[np.searchsorted(s * (m[1:] + m[:-1]) / 2, x)]
        dot, squares = (density * x * level).sum(), (density * level * level).sum()
        relative = 1 - dot * dot / squares
        best = min(best, (relative, relative * squares / 2))
    return best


def print_tables() -> None:
    print("| bits | error, D = 64 | 128 | limit | c, D = 64 | 128 | limit |\n|---|---|---|---|---|---|---|")
    for bits in BITS[:-1]:
        short, middle, limit = gaussian_errors(bits, 100_000, 64), gaussian_errors(bits, 50_000, 128), long_vector_limit(bits)
        print(f"| {bits} |", *(f"{e[i]:.4g} |" for i in (0, 1) for e in (short, middle, limit)))
    print(f"8 bits: {gaussian_errors(8, 100_000, 64)[0]:.4g}, {gaussian_errors(8, 50_000, 128)[0]:.4g}")


def write_fixtures(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2026)
    for d in HEAD_DIMS:
        x = test_vectors(rng, d)
        for bits in BITS:
            codes, *scales = encode(x, bits)
            payload = pack(codes, bits)
            header = np.array([len(x), payload.shape[1]], "<u4")
            parts = [header, x, *scales, plain_lloyd_error(x, bits), payload]
            (out / f"w{bits}_d{d}.bin").write_bytes(b"".join(p.tobytes() for p in parts))
        rows = rng.standard_normal((4, d)).astype(F32)
        (out / f"rotation_d{d}.bin").write_bytes(rows.tobytes() + (rows.astype(float) @ rotation(d).T).tobytes())
    correction = []
    for bits in BITS[:-1]:
        correction.append(gaussian_errors(bits, 20_000, 64)[1])
        measured, limit = gaussian_errors(bits, 200, 8192)[1], long_vector_limit(bits)[1]
        assert abs(measured / limit - 1) < 0.03, f"{bits} bits: c {measured} of long vectors, {limit} by integration"
    (out / "score_correction.bin").write_bytes(np.array(correction).tobytes())


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--table":
        print_tables()
    else:
        write_fixtures(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
