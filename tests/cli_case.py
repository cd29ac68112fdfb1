"""What the tests of long commands share: a tiny random model, text, and runs that are stopped half-way."""

import json
import random
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

TIMEOUT_S = 240  # of one command, under a sanitizer too


def made_text(n_words, seed=1):
    """Words in random order: a few hundred contexts of the tiny model in some ten thousand words."""
    source = random.Random(seed)
    words = "the cat sat on a mat and read some old letters about rivers bread tin lamps and winter".split()
    return " ".join(f"{source.choice(words)}{source.randrange(100)}" for _ in range(n_words))


def made_items(n, seed=2):
    """HellaSwag items, as lines."""
    return [
        json.dumps({"ctx": made_text(12, seed + 5 * i), "endings": [made_text(4, seed + 5 * i + j) for j in range(1, 5)],
                    "label": i % 4}) for i in range(n)
    ]  # fmt: skip


class CliCase(unittest.TestCase):
    """A folder of its own as the working directory of every command."""

    miser = Path()
    model = Path()

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def files(self):
        return {str(path.relative_to(self.folder)): path.is_file() and path.read_bytes()
                for path in self.folder.rglob("*")}

    def run_miser(self, *args, **options):
        return subprocess.run([self.miser, *map(str, args)], cwd=self.folder, capture_output=True, text=True,
                              check=False, timeout=TIMEOUT_S, **options)

    def output(self, *args):
        """Standard output of a run that must succeed."""
        result = self.run_miser(*args)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def stop(self, stop_signal, reached, *args):
        """Starts a command and sends it the signal once reached() holds: exit status and standard output."""
        process = subprocess.Popen([self.miser, *map(str, args)], cwd=self.folder, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + TIMEOUT_S
        while process.poll() is None and not reached() and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(stop_signal)
        output, error = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, -stop_signal, f"it was not stopped half-way: {error}")
        return output

    def assert_refused(self, code, words, *args):
        """The command fails with one message that has all of `words`, prints nothing and changes no file."""
        before = self.files()
        result = self.run_miser(*args)
        self.assertEqual((result.returncode, result.stdout), (code, ""), result.stderr)
        errors = [line for line in result.stderr.splitlines() if line.startswith("miser: ")]
        self.assertEqual(result.stderr.splitlines()[-1:], errors, result.stderr)
        for word in words:
            self.assertIn(word, errors[0])
        self.assertEqual(self.files(), before)


def main():
    """Runs the tests of the calling file: MISER FIXTURES on its command line."""
    CliCase.miser = Path(sys.argv[1]).resolve()
    CliCase.model = Path(sys.argv[2], "tiny", "f32_long.gguf").resolve()
    if not CliCase.model.exists():
        sys.exit(f"{CliCase.model} is missing: run ./dev test, which makes it")
    unittest.main(argv=sys.argv[:1])
