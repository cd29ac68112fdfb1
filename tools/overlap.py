#!/usr/bin/env python3
"""Shared 13-grams of training and evaluation text.

usage: overlap.py --train FILE... --eval FILE...

Prints, for each pair, the share of the evaluation text's distinct 13-grams of words (case and punctuation left
out) that occur in the training text.
"""
import argparse
import gzip
import pathlib
import re

N = 13


def read(path):
    data = pathlib.Path(path).read_bytes()
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")


def ngrams(text):
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i:i + N]) for i in range(len(words) - N + 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--train", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--eval", nargs="+", required=True, metavar="FILE")
    options = parser.parse_args()
    evaluation = {path: ngrams(read(path)) for path in options.eval}
    for train in options.train:
        seen = ngrams(read(train))
        for path, grams in evaluation.items():
            shared = len(grams & seen)
            share = shared / max(len(grams), 1)
            print(f"{pathlib.Path(train).name:28} {pathlib.Path(path).name:28} {shared:8} {100 * share:8.4f} %")


if __name__ == "__main__":
    main()
