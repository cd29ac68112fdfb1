"""`miser inspect` on good files, bad files and a standard output that cannot be written.

Usage: inspect_test.py MISER        (path of the built binary; needs the standard library only)
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SEEDS = Path(__file__).resolve().parent.parent / "fuzz" / "seeds" / "gguf_fuzz"
MISER = ""


def inspect(*args, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 30, **options}
    return subprocess.run([MISER, "inspect", *map(str, args)], check=False, **options)


class Inspect(unittest.TestCase):
    def assert_one_line(self, run, *words):
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        for word in words:
            self.assertIn(word, run.stderr)

    def test_text_shows_metadata_tensors_and_totals(self):
        run = inspect(SEEDS / "every_type.gguf")
        self.assertEqual(run.returncode, 0, run.stderr)
        lines = [" ".join(line.split()) for line in run.stdout.splitlines()]
        # 1,004 bytes: one block of each format; 1,731 = 3 * 1 + 6 * 32 + 6 * 256 elements.
        self.assertIn("1731 elements in 1004 bytes, 4.640 bits per weight", lines)
        self.assertIn('l array of string 2 elements: "a", "bc"', lines)
        self.assertIn("Q6_K 256 Q6_K 210 20.92%", lines)
        self.assertIn("Q6_K 1 256 210 20.92%", lines)

    def test_json_holds_the_same(self):
        run = inspect(SEEDS / "every_type.gguf", "--json")
        found = json.loads(run.stdout)
        self.assertEqual((found["version"], found["alignment"], found["elements"], found["bytes"]), (2, 8, 1731, 1004))
        self.assertEqual(found["metadata"]["general.architecture"], {"type": "string", "value": "llama"})
        self.assertEqual(found["metadata"]["k"]["value"], {"size": 2, "first": [1, 2]})
        self.assertEqual(found["tensors"][2], {"name": "Q4_0", "shape": [32], "type": "Q4_0", "bytes": 18})
        self.assertEqual(found["types"]["Q8_0"], {"tensors": 1, "elements": 32, "bytes": 34})

    def test_what_is_no_model_is_named_in_one_line(self):
        with tempfile.TemporaryDirectory() as directory:
            cut = Path(directory) / "cut.gguf"
            cut.write_bytes((SEEDS / "every_type.gguf").read_bytes()[:-1])
            self.assert_one_line(inspect(cut), "cut.gguf: tensor BF16", "past the end of the file")
            empty = Path(directory) / "empty.gguf"
            empty.touch()
            self.assert_one_line(inspect(empty), "empty.gguf: header")
            self.assert_one_line(inspect(directory), "is a directory")
            self.assert_one_line(inspect(Path(directory) / "none.gguf"), "none.gguf: cannot open")

    def test_file_is_required(self):
        self.assertEqual(inspect().returncode, 2)

    def test_unwritable_stdout_is_an_error(self):
        for flags in ([], ["--json"]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                self.assert_one_line(inspect(SEEDS / "example.gguf", *flags, stdout=full), "standard output: cannot write")

    def test_reader_that_left_is_an_error(self):
        reader, writer = os.pipe()
        os.close(reader)
        self.assert_one_line(inspect(SEEDS / "example.gguf", stdout=writer), "standard output: cannot write")
        os.close(writer)


if __name__ == "__main__":
    MISER = sys.argv.pop(1)
    unittest.main()
