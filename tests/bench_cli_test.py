"""`miser bench` from outside: formats, a saved random model in another reader, and what it refuses.

Usage: bench_cli_test.py MISER PYTHON        (the built binary; a Python that has the `gguf` package)
"""

import csv
import io
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

MISER = ""
PYTHON = ""
QUICK = ["-n", "2", "-r", "1", "-t", "1", "--allow-debug"]
SMALL = ["--kv-window", "0", "-p", "32", *QUICK]

# Prints what another reader finds in a GGUF file.
READ = """
import json, sys
from gguf import GGUFReader, dequantize
reader = GGUFReader(sys.argv[1])
embedding = next(t for t in reader.tensors if t.name == "token_embd.weight")
up = next(t for t in reader.tensors if t.name == "blk.29.ffn_up.weight")
weights = dequantize(up.data, up.tensor_type)
print(json.dumps({
    "layers": int(reader.fields["llama.block_count"].contents()),
    "context": int(reader.fields["llama.context_length"].contents()),
    "tokens": len(set(reader.fields["tokenizer.ggml.tokens"].contents())),
    "embedding": [int(n) for n in embedding.shape], "embedding_type": embedding.tensor_type.name,
    "up_type": up.tensor_type.name, "mean": float(weights.mean()), "variance": float(weights.var())}))
"""


def bench(*args, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 120, **options}
    return subprocess.run([MISER, "bench", *map(str, args)], check=False, **options)


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = Path(cls.folder.name) / "random.gguf"
        cls.saving = bench("--shape", "smollm-135m:Q4_0", "-c", 9000, "--save", cls.model, "-d", "64,0", "--kv", "f16",
                           "--kv", "q4", "--json", *SMALL)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def assert_one_line(self, run, code, *words):
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        self.assertEqual(run.stdout or "", "")
        for word in words:
            self.assertIn(word, run.stderr)

    def test_json_has_a_row_for_each_depth_and_policy(self):
        self.assertEqual(self.saving.returncode, 0, self.saving.stderr)
        found = json.loads(self.saving.stdout)
        self.assertEqual([(row["depth"], row["kv"]) for row in found["rows"]],
                         [(0, "f16"), (0, "q4"), (64, "f16"), (64, "q4")])
        self.assertEqual((found["model"], found["threads"]), ("smollm-135m Q4_0", 1))
        for row in found["rows"]:
            self.assertGreater(row["prefill_tok_per_s"], 0)
            bound = found["bandwidth_gb_per_s"] * 1e9 / row["bytes_per_token"]
            self.assertAlmostEqual(row["roofline_share"], row["decode_tok_per_s"] / bound)
        # 64 tokens of 30 layers, 3 heads and 64 dimensions, keys and values, in 2 bytes; all but the centres.
        f16, q4 = found["rows"][2:]
        self.assertLess(q4["kv_bytes"], f16["kv_bytes"])
        self.assertGreaterEqual(f16["kv_bytes"], 64 * 30 * 3 * 64 * 2 * 2)

    def test_saved_model_is_read_by_the_gguf_package(self):
        read = subprocess.run([PYTHON, "-c", READ, self.model], check=True, stdout=subprocess.PIPE, timeout=60)
        found = json.loads(read.stdout)
        self.assertEqual((found["layers"], found["context"], found["tokens"]), (30, 9000, 49152))
        self.assertEqual((found["embedding"], found["embedding_type"], found["up_type"]),
                         ([576, 49152], "Q8_0", "Q4_0"))
        self.assertAlmostEqual(found["variance"] * 576, 1, delta=0.02)
        # Codes 0 to 15 less 8 have a mean of -1/2 and a root mean square of 4.64.
        self.assertAlmostEqual(found["mean"] * 24, -0.5 / 4.64, delta=0.01)

    def test_formats_say_the_same(self):
        common = ["-m", self.model, "-d", "0", "--kv", "q8", *SMALL]
        rows = list(csv.DictReader(io.StringIO(bench(*common, "--csv").stdout)))
        self.assertEqual([(row["test"], row["kv"], row["model"]) for row in rows],
                         [("pp32", "q8", "random"), ("tg2", "q8", "random")])
        line = json.loads(bench(*common, "-o", "jsonl").stdout)
        self.assertEqual((line["kv"], line["depth"], line["model"], line["n_gen"]), ("q8", 0, "random", 2))
        # 28,311,552 elements of the embedding in Q8_0, 35,136 of the norms in F32, 106,168,320 others in Q4_0.
        table = bench(*common).stdout.splitlines()
        self.assertEqual([text.strip() for text in table[2].split("|")][1:9],
                         ["random", "85.77 MiB", "134.52 M", "1", "q8", "0.00", "0", "pp32"])
        self.assertIn("GB/s from memory", table[5])

    def test_unmeasured_tests_are_left_out(self):
        found = json.loads(bench("-m", self.model, *QUICK, "-p", 0, "--kv", "f16", "--json").stdout)
        self.assertIsNone(found["rows"][0]["prefill_tok_per_s"])
        self.assertEqual(found["rows"][0]["samples"]["prefill_tok_per_s"], [])

    def test_wrong_use_is_refused_in_one_line(self):
        self.assert_one_line(bench("--shape", "gpt-2", "--allow-debug"), 2, "found 'gpt-2'", "llama-3.2-1b")
        self.assert_one_line(bench("--shape", "gpt-2", "-m", self.model), 2, "--shape")
        self.assert_one_line(bench("-m", self.model, "--save", "x"), 2, "--save")
        self.assert_one_line(bench("-m", self.model, "-d", "0,-1"), 2, "--depth")
        self.assert_one_line(bench("-m", self.model, "-p", 0, "-n", 0, "--allow-debug"), 2, "something to measure")
        self.assert_one_line(bench("-m", self.model, "-c", 100, "--allow-debug"), 2, "found 100, expected at least 512")
        self.assert_one_line(bench("-m", self.model, "--kv", "q5", *SMALL), 2, "unknown KV policy 'q5'")

    def test_full_disk_is_one_line(self):
        run = bench("--shape", "smollm-135m", "--save", "/dev/full", *SMALL)
        self.assert_one_line(run, 1, "/dev/full: cannot write: No space left on device")
        with open("/dev/full", "w", encoding="utf-8") as full:
            run = bench("-m", self.model, "--kv", "f16", *SMALL, stdout=full)
        self.assert_one_line(run, 1, "standard output")


if __name__ == "__main__":
    PYTHON = sys.argv.pop(2)
    MISER = sys.argv.pop(1)
    unittest.main()
