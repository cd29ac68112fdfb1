#!/usr/bin/env python3
"""Keeps the dependencies of src/ in one direction: a folder includes itself and the folders before it.

usage: check_layers.py ROOT. Prints FILE:LINE: reason for each violation and exits with 1 when there is one.
"""
import pathlib
import re
import sys

LAYERS = "base gguf tokenizer nn kv policy model session learn eval report cli".split()
NO_SIMD_HEADERS = ("nn", "kv")  # their public headers compile without Highway
INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')


def violation(folder, is_public_header, quote, target):
    """Why `folder` may not include `target`, or None."""
    if target.startswith("hwy/"):
        if is_public_header and folder in NO_SIMD_HEADERS:
            return f"a public header of {folder}/ includes {target}: SIMD belongs in .cc and -inl.h files"
        return None
    if quote == "<":
        return None
    other = target.split("/")[0] if "/" in target else None
    if other not in LAYERS:
        return f'"{target}" does not begin with a folder of src/'
    if LAYERS.index(other) > LAYERS.index(folder):
        return f"{folder}/ includes {target}, which lies above it"
    return None


def check_file(src, path):
    """Yields FILE:LINE: reason for each forbidden include of one source file."""
    folder = path.relative_to(src).parts[0]
    is_public_header = path.suffix == ".h" and not path.stem.endswith("-inl")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if match := INCLUDE.match(line):
            if reason := violation(folder, is_public_header, *match.groups()):
                yield f"{path}:{number}: {reason}"


def check(root):
    src = pathlib.Path(root) / "src"
    for entry in sorted(src.iterdir()):
        if entry.is_dir() and entry.name not in LAYERS:
            yield f"{entry}:1: unknown folder: give it a place in LAYERS of tools/check_layers.py"
        elif entry.is_dir():
            for path in sorted(p for p in entry.rglob("*") if p.suffix in (".cc", ".h")):
                yield from check_file(src, path)


def main():
    found = list(check(sys.argv[1]))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
