#!/usr/bin/env python3
"""Makes the texts that gather_sources.txt lists from unpacked packages. Called by gather_text.sh.

usage: gather_text.py SOURCES PACKAGES_DIR OUT_DIR [EVALUATION_TEXT...]

PACKAGES_DIR holds a folder for each package. Documents of a source are drawn by the hash of their path until its
size is reached, so equal packages give equal texts. Paragraphs that came before, tables of numbers and notices of
licences are left out, and so are training paragraphs that share 13 words in a row with evaluation text. A text
whose name ends in -spaced has its words and marks apart, as corpora of words have.
"""
import collections
import concurrent.futures
import hashlib
import pathlib
import re
import sys

import gather_readers
import overlap

MAX_DOCUMENT = 60_000  # characters: no document makes up a text
MIN_DOCUMENT = 300
LICENCE = re.compile(r"copyright|\(c\) (?:19|20)\d\d|warrant(?:y|ies)|licen[cs]ed? under|permission is hereby",
                     re.IGNORECASE)


def sources(path):
    """[(output, package, reader, pattern, most bytes)]"""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        if len(fields) != 5 or fields[2] not in gather_readers.READERS:
            sys.exit(f"{path}:{number}: expected output, package, reader, pattern and KB")
        yield fields[0], fields[1], fields[2], fields[3], int(fields[4]) * 1000


def documents(name, root, reader, pattern):
    """Yields the texts of the files that match, in the order of the hashes of their paths and the text's name."""
    def order(key):
        return hashlib.sha256(f"{name} {key}".encode()).digest()

    files = [file for file in root.glob(pattern) if file.is_file() and not file.is_symlink()]
    files.sort(key=lambda file: order(file.relative_to(root)))
    read = gather_readers.READERS[reader]
    if reader != "man":
        for file in files:
            text = read(file)
            yield from [text] if isinstance(text, str) else sorted(text, key=order)
        return
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # groff takes its time, a page in each thread
        for begin in range(0, len(files), 16):
            yield from pool.map(read, files[begin:begin + 16])


def is_table(paragraph):
    marks = re.sub(r"\s", "", paragraph)
    return sum(char.isalpha() for char in marks) < 0.55 * len(marks)


def without_licence(text):
    return "\n\n".join(part for part in paragraphs(text) if not (LICENCE.search(part) and len(part) < 2000))


def paragraphs(text):
    text = "".join(char for char in text if char.isprintable() or char in "\n\t")
    text = re.sub(r"[ \t]+\n", "\n", text)
    parts = [part.strip("\n") for part in re.split(r"\n{2,}", text)]
    return [part for part in parts if part.strip() and "\ufffd" not in part]


class Cleaner:
    """Keeps the paragraphs that are no tables, came not before and are not in evaluation text."""

    def __init__(self, is_code):
        self.is_code, self.seen, self.dropped = is_code, set(), 0

    def clean(self, text, forbidden):
        kept = []
        for part in paragraphs(without_licence(text)):
            key = hashlib.sha256(" ".join(part.split()).encode()).digest()
            if not self.is_code and is_table(part):
                continue
            if len(part) > 60 and key in self.seen:
                continue
            self.seen.add(key)
            if forbidden and not forbidden.isdisjoint(overlap.ngrams(part)):
                self.dropped += 1
                continue
            kept.append(part)
        return cut("\n\n".join(kept))


def cut(text):
    if len(text) <= MAX_DOCUMENT:
        return text
    end = text.rfind("\n\n", 0, MAX_DOCUMENT)
    return text[:end if end > 0 else MAX_DOCUMENT]


def gather(source, packages, cleaner, forbidden):
    """The text of one source."""
    name, package, reader, pattern, size = source
    parts, total = [], 0
    for document in documents(name, packages / package, reader, pattern):
        text = cleaner.clean(document, forbidden)
        if len(text) < MIN_DOCUMENT:
            continue
        parts.append(text)
        total += len(text.encode())
        if total >= size:
            break
    if not parts:
        sys.exit(f"{package}: no text found under {pattern}")
    return "\n\n\n".join(parts) + "\n"


def spaced(text):
    """The text as corpora of separated words have it, WikiText among them: marks stand alone, and words that
    occur but once are <unk>."""
    text = re.sub(r"(?<=\w)([-–])(?=\w)", r" @\1@ ", text)
    text = re.sub(r"(?<=\d)([.,])(?=\d)", r" @\1@ ", text)
    text = re.sub(r"(?<!@)([.,;:!?()\[\]\"“”%/])(?!@)", r" \1 ", text)
    text = re.sub(r"(?<=\w)(['’]s?\b)", r" \1", text)
    words = re.findall(r"[^\W\d_]+", text)
    counts = collections.Counter(words)
    text = re.sub(r"[^\W\d_]+", lambda word: word.group() if counts[word.group()] > 1 else "<unk>", text)
    return " " + re.sub(r"[ \t]+", " ", text).replace("\n", " \n ")


def write(out, name, chosen, packages, forbidden):
    cleaner = Cleaner(is_code="code" in name)
    text = "\n\n".join(gather(source, packages, cleaner, forbidden) for source in chosen)
    if name.endswith("-spaced"):
        text = spaced(text)
    path = out / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    note = f", {cleaner.dropped} paragraphs left out for overlap" if cleaner.dropped else ""
    print(f"{path.name}: {len(text.encode()) / 1e6:.2f} MB{note}", file=sys.stderr)
    return text


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    packages, out = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    forbidden = set()
    for path in sys.argv[4:]:
        forbidden |= overlap.ngrams(overlap.read(path))
    groups = {}
    for source in sources(pathlib.Path(sys.argv[1])):
        groups.setdefault(source[0], []).append(source)
    for name in sorted(groups, key=lambda name: not name.startswith("eval/")):  # evaluation text first
        text = write(out, name, groups[name], packages, set() if name.startswith("eval/") else forbidden)
        if name.startswith("eval/"):
            forbidden |= overlap.ngrams(text)


if __name__ == "__main__":
    main()
