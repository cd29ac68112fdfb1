"""The checkers of tools/ find violations planted in a small repository, and nothing else; its tables hold the figures of
their files."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent.parent / "tools"


class CheckerTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        subprocess.run(["git", "init", "-q", directory.name], check=True)
        self.write("src/base/a.h", "#pragma once\n#include <vector>\n")
        self.write("src/nn/a.cc", '#include "base/a.h"\n#include <hwy/highway.h>\n')

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_tool(self, tool):
        """Exit code and lines of stdout, relative to the root."""
        result = subprocess.run([sys.executable, TOOLS / tool, self.root], capture_output=True, text=True)
        return result.returncode, result.stdout.replace(f"{self.root}/", "").splitlines()

    def expect_one(self, tool, start, reason):
        code, lines = self.run_tool(tool)
        self.assertEqual((code, len(lines)), (1, 1), lines)
        self.assertTrue(lines[0].startswith(start), lines[0])
        self.assertIn(reason, lines[0])


class Layers(CheckerTest):
    def expect(self, start, reason):
        self.expect_one("check_layers.py", start, reason)

    def test_downward_includes_pass(self):
        self.assertEqual(self.run_tool("check_layers.py"), (0, []))

    def test_upward_include_is_found(self):
        self.write("src/base/b.cc", '\n# include "kv/codec.h"\n')
        self.expect("src/base/b.cc:2: ", "lies above")

    def test_include_without_folder_is_found(self):
        self.write("src/kv/b.cc", '#include "codec.h"\n')
        self.expect("src/kv/b.cc:1: ", "does not begin with a folder")

    def test_unknown_folder_is_found(self):
        self.write("src/misc/b.cc", "\n")
        self.expect("src/misc:1: ", "unknown folder")

    def test_highway_in_public_header_is_found(self):
        self.write("src/nn/b-inl.h", "#include <hwy/highway.h>\n")
        self.write("src/kv/b.h", '#include "hwy/highway.h"\n')
        self.expect("src/kv/b.h:1: ", "public header")


class Style(CheckerTest):
    def expect(self, start, reason):
        self.expect_one("check_style.py", start, reason)

    def function(self, head, lines):
        """A function whose body has this many lines, braces included."""
        return head + " {\n" + "  f(R\"({)\", '{', 1'000);  // {\n" * (lines - 2) + "}\n"

    def test_longest_allowed_function_passes(self):
        self.write("src/base/b.cc", self.function("int g()", 80))
        self.assertEqual(self.run_tool("check_style.py"), (0, []))

    def test_long_function_is_found_whatever_its_head(self):
        heads = ["int g()", "auto g(int x = {}) const -> int", "struct B g()", "A::A(int x) : a_{x}, b_(x)",
                 "A::A() : a_{1}, b_{2}", "TEST(A, B)", "template <class T>\nvoid g(T t) noexcept",
                 "struct alignas(64) B { int g();\n void h() { if (x) { y(); } }\n}; int g()",
                 "namespace a {\nint x[] = {1, 2};\nclass B {\n public:\n  int g()"]
        for head in heads:
            with self.subTest(head=head):
                self.write("src/base/b.cc", self.function(head, 81))
                self.expect(f"src/base/b.cc:{head.count(chr(10)) + 1}: ", "function of 81 lines")

    def test_class_of_many_short_functions_passes(self):
        self.write("src/base/b.cc", "class B {\n" + self.function("  int g() const", 9) * 20 + "};\n")
        self.assertEqual(self.run_tool("check_style.py"), (0, []))

    def test_long_file_is_found(self):
        self.write("tests/b.cc", "int x;\n" * 601)
        self.expect("tests/b.cc:601: ", "file of 601 lines")

    def test_long_public_header_is_found(self):
        self.write("src/nn/b-inl.h", "int x;\n" * 121)
        self.write("src/nn/b.h", "int x;\n" * 121)
        self.expect("src/nn/b.h:121: ", "public header of 121 lines")

    def test_machine_paths_are_found_and_others_are_not(self):
        self.write("b.md", "src/work/x ${A}/tmp/x /usr/include\n")
        self.write("a.md", "\nin /" + "work/main\n")
        self.expect("a.md:2: ", "absolute path")

    def test_registry_hosts_are_found(self):
        self.write("a.md", "from https://pypi." + "org/simple\n")
        self.expect("a.md:1: ", "registry")

    def test_unfinished_work_is_found(self):
        self.write("src/base/b.cc", "// TO" + "DO: more\n")
        self.expect("src/base/b.cc:1: ", "unfinished")

    def test_ignored_and_binary_files_are_left_alone(self):
        self.write(".gitignore", "/build/\n")
        self.write("build/a.md", "/" + "work/main\n")
        (self.root / "seed").write_bytes(b"\xff\xfe/" + b"work/")
        self.assertEqual(self.run_tool("check_style.py"), (0, []))


PAPER_TASKS = ("hellaswag", "openbookqa", "arc_challenge")
PAPER_ARMS = ("f16", "q4", "q3", "rule", "paper:seed", "learned@2.75")
PAPER_ACCURACIES = json.dumps({"rows": [
    {"kv": kv, "n": 200, "acc": 0.30 + 0.01 * i, "ci95": {"acc": [0.25, 0.4]}, "bits_per_element": 16.0 - i,
     "vs_f16": {"acc": {"lost": 1, "won": 2, "mcnemar_p": 0.5 + 0.01 * i}}} for i, kv in enumerate(PAPER_ARMS)]})  # fmt: skip
PAPER_SPEEDS = json.dumps({"rows": [{"kv": kv, "depth": 2048, "decode_tok_per_s": 100.0 * 2**i}
                                    for i, kv in enumerate(PAPER_ARMS)]})  # fmt: skip


class PaperTable(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.out = pathlib.Path(directory.name)
        for task in PAPER_TASKS:
            (self.out / f"a-360m.{task}.json").write_text(PAPER_ACCURACIES)
        (self.out / "a-360m.bench.json").write_text(PAPER_SPEEDS)

    def run_table(self):
        return subprocess.run([sys.executable, TOOLS / "paper_table.py", self.out, "models/a-360m.gguf"], capture_output=True,
                              text=True, check=False)

    def test_figures_stand_beside_those_of_the_paper(self):
        result = self.run_table()
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [line[2:-2].split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")]
        self.assertEqual({len(line) for line in lines}, {9}, result.stdout)
        rows = {line[0]: line for line in lines}
        self.assertEqual(rows["FP16"][1:6], ["30.00 [25.0, 40.0]"] * 3 + ["16.00", "10.00"])
        self.assertEqual(rows["FP16"][6:], ["41.50 / 3.50", "31.00 / 2.20", "32.00 / 2.90"])
        self.assertEqual(rows["paper's controller"][3:7], ["34.00 [25.0, 40.0] p 0.54", "12.00", "0.62", "41.20 / 2.41"])
        self.assertEqual(rows["learned"][3:6], ["35.00 [25.0, 40.0] p 0.55", "11.00", "0.31"])
        self.assertEqual(rows["learned"][6:], ["-", "-", "-"])

    def test_missing_figures_are_named(self):
        (self.out / "a-360m.openbookqa.json").unlink()
        result = self.run_table()
        self.assertEqual((result.returncode, result.stderr), (1, f"paper_table: {self.out}/a-360m.openbookqa.json: is missing\n"))


class ReproducePaper(unittest.TestCase):
    """tools/reproduce_paper.sh with a stand-in for miser that logs its calls and fails at the task in `failing`."""

    STAND_IN = """#!/bin/bash
        echo "$*" >>calls
        [ "$2" != "$(cat failing 2>/dev/null)" ] || exit 1
        case $1 in bench) cat speeds ;; eval) cat accuracies ;; train) echo plan >"${@: -1}" ;; esac
    """

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = pathlib.Path(directory.name)
        for name in ("text/a.txt", "text/b.txt", *(f"data/{task}_dev.jsonl.gz" for task in PAPER_TASKS)):
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).touch()
        (self.folder / "miser").write_text(self.STAND_IN)
        (self.folder / "miser").chmod(0o755)
        (self.folder / "speeds").write_text(PAPER_SPEEDS)
        (self.folder / "accuracies").write_text(PAPER_ACCURACIES)

    def reproduce(self, *options):
        return subprocess.run(
            ["bash", TOOLS / "reproduce_paper.sh", "--text", "text", "--data", "data", "--out", "out", *options], check=False,
            cwd=self.folder, env={**os.environ, "MISER": "./miser"}, capture_output=True, text=True)  # fmt: skip

    def calls(self):
        """Those since the last time."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def test_every_model_is_trained_timed_and_scored_once(self):
        result = self.reproduce("--limit", "12", "models/a-135m.gguf", "models/b-360m.gguf")
        self.assertEqual(result.returncode, 0, result.stderr)
        for name in ("a-135m", "b-360m"):
            self.assertIn(f"### {name}\n", result.stdout)
        calls = self.calls()
        self.assertEqual([call.split()[0] for call in calls], ["bench", "train", "bench", "eval", "eval", "eval"] * 2)
        self.assertIn("--text text/a.txt --text text/b.txt", calls[1])
        self.assertIn("--plan out/a-135m.plan.gguf", calls[2])
        self.assertIn("hellaswag -m models/a-135m.gguf", calls[3])
        self.assertIn("--data data/hellaswag_dev.jsonl.gz --limit 12 ", calls[3])
        self.assertEqual(self.reproduce("models/a-135m.gguf").returncode, 0)
        self.assertEqual(self.calls(), [])

    def test_failed_step_stops_and_is_made_again(self):
        (self.folder / "failing").write_text("openbookqa")
        self.assertEqual(self.reproduce("a-135m.gguf").returncode, 1)
        self.assertTrue(self.calls()[-1].startswith("eval openbookqa"))
        (self.folder / "failing").unlink()
        self.assertEqual(self.reproduce("a-135m.gguf").returncode, 0)
        self.assertEqual([call.split()[1] for call in self.calls()], ["openbookqa", "arc_challenge"])

    def test_usage_is_told(self):
        result = self.reproduce("--limit")
        self.assertEqual(result.returncode, 2)
        self.assertIn("reproduce_paper.sh --text DIR --data DIR", result.stderr)


if __name__ == "__main__":
    unittest.main()
