"""Makes the saved slot of a llama.cpp server longer by repeating it: its tokens, the cells of its cache, their K and V.

The file, as written by llama.cpp of 2026 (session version 4; little-endian, words of 32 bits):
  magic, version, n: then n words, which are -1, 1, the number of tokens, the tokens and a 0
  1 stream, the number of cells; for each cell its position, 1 and sequence 0
  0 (values not transposed), the number of layers L, two words that say how vectors are rotated
  L times K, then L times V: the type, the bytes of a row (64 bits), a row for each cell
"""
import struct
import sys

MAGIC, VERSION = 0x67677371, 4


def repeat(path, depth):
    """Rewrites the slot in the file with `depth` cells at positions 0 on, and returns their tokens."""
    data = path.read_bytes()
    magic, version, n_words = struct.unpack_from("<3I", data)
    words = struct.unpack_from(f"<{n_words}i", data, 12)
    streams, n_cells = struct.unpack_from("<2I", data, at := 12 + 4 * n_words)
    cells = struct.unpack_from(f"<{3 * n_cells}I", data, at := at + 8)
    transposed, n_layers, *rotations = struct.unpack_from("<4I", data, at := at + 12 * n_cells)
    known = (magic == MAGIC and version == VERSION and words[:3] == (-1, 1, n_words - 4) and words[-1] == 0
             and streams == 1 and n_words - 4 == n_cells and cells == cells_of(n_cells) and transposed == 0)
    if not known:
        sys.exit(f"{path}: not the layout of a saved slot that this script knows")
    tokens = repeated(words[3:-1], depth)
    at += 16
    with open(path, "wb") as out:
        out.write(struct.pack(f"<3I{depth + 4}i", MAGIC, VERSION, depth + 4, -1, 1, depth, *tokens, 0))
        out.write(struct.pack("<2I", 1, depth) + struct.pack(f"<{3 * depth}I", *cells_of(depth)))
        out.write(struct.pack("<4I", 0, n_layers, *rotations))
        for _ in range(2 * n_layers):
            (row,) = struct.unpack_from("<Q", data, at + 4)
            out.write(data[at:at + 12] + repeated(data[at + 12:at + 12 + n_cells * row], depth * row))
            at += 12 + n_cells * row
    if at != len(data):
        sys.exit(f"{path}: {len(data)} bytes, expected {at}")
    return list(tokens)


def cells_of(n):
    """Position, number of sequences and sequence of n cells."""
    return tuple(word for position in range(n) for word in (position, 1, 0))


def repeated(items, length):
    """The items over and over, `length` in all."""
    return (items * -(-length // len(items)))[:length]
