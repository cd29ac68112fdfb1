"""Long runs of `miser eval`, stopped, resumed and sharded, and what it says about bad input.

Usage: eval_cli_test.py MISER FIXTURES        (the built binary, and the folder that tests/make_fixtures.sh fills)
"""

import json
import resource
import shutil
import signal
import struct
import subprocess
import sys
import unittest
from pathlib import Path

import cli_case
from cli_case import CliCase, made_items, made_text

sys.path.append(str(Path(__file__).resolve().parent.parent / "tools"))
import paper_table

POLICIES = ["--kv", "q4", "--kv", "rule"]


N_FEW = 8  # documents of most runs
N_MANY = 40  # of those that are stopped half-way


def limit_files(size):
    """Writing beyond so many bytes of a file fails, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class LongRuns:
    """What holds for every task: TASK and its own OPTIONS, and make_data() for the data of N_MANY documents."""

    def setUp(self):
        super().setUp()
        self.make_data()
        every = ["eval", self.TASK, "-m", self.model, "-t", 1, *POLICIES, *self.OPTIONS]
        self.command = [*every, "--limit", N_FEW]
        self.many = [*every, "--limit", N_MANY]

    def n_lines(self, name="state"):
        path = self.folder / name
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def stop_after(self, lines, stop_signal):
        """Stops a run when its state has so many lines, and checks that it was half-way."""
        output = self.stop(stop_signal, lambda: self.n_lines() >= lines, *self.many, "--json", "--resume", "state")
        self.assertLess(self.n_lines(), N_MANY + 1)
        return output

    def test_interrupted_run_prints_what_is_done_and_resumes_to_the_same_output(self):
        output = self.stop_after(3, signal.SIGINT)  # a shell calls this exit status 130
        self.assertEqual(json.loads(output)["rows"][0]["n"], self.n_figures(self.n_lines() - 1))
        self.assertEqual(self.output(*self.many, "--resume", "state"), self.output(*self.many))

    def test_killed_run_resumes_to_the_same_output(self):
        whole = self.output(*self.many, "--json")
        for lines in (1, 2, N_MANY // 2):
            self.assertEqual(self.stop_after(lines, signal.SIGKILL), "")
            self.assertEqual(self.output(*self.many, "--json", "--resume", "state"), whole)
            (self.folder / "state").unlink()

    def test_state_cut_anywhere_resumes_to_the_same_output(self):
        whole = self.output(*self.command, "--resume", "state")
        state = (self.folder / "state").read_bytes()
        header = state.index(b"\n")
        for size in (0, 1, header, header + 1, header + 2, len(state) // 3, len(state) - 1):
            self.write("state", state[:size])
            self.assertEqual(self.output(*self.command, "--resume", "state"), whole)
            self.assertEqual((self.folder / "state").read_bytes(), state, size)

    def test_full_disk_is_told_and_what_was_done_is_kept(self):
        whole = self.output(*self.command, "--resume", "state")
        state = (self.folder / "state").read_bytes()
        (self.folder / "state").unlink()
        room = len(state) * 2 // 3
        run = self.run_miser(*self.command, "--resume", "state", preexec_fn=lambda: limit_files(room))
        self.assertEqual((run.returncode, run.stdout), (1, ""), run.stderr)
        self.assertEqual(run.stderr.splitlines()[-1], "miser: state: cannot be written: File too large")
        self.assertEqual((self.folder / "state").read_bytes(), state[:room])
        self.assertEqual(self.output(*self.command, "--resume", "state"), whole)

    def test_shards_merge_to_the_output_of_one_run(self):
        for i in range(3):
            self.output(*self.command, "--shard", f"{i}/3", "--resume", f"{i}.jsonl")
        for options in ([], ["--json"]):
            merged = self.output("eval", "merge", "2.jsonl", "0.jsonl", "1.jsonl", *options)
            self.assertEqual(merged, self.output(*self.command, *options))
        self.output("eval", "merge", "2.jsonl", "0.jsonl", "1.jsonl", "--save", "merged.jsonl")
        self.output(*self.command, "--resume", "one.jsonl")
        self.assertEqual((self.folder / "merged.jsonl").read_bytes(), (self.folder / "one.jsonl").read_bytes())

    def test_states_that_are_no_whole_run_are_not_merged(self):
        for i in range(2):
            self.output(*self.command, "--shard", f"{i}/2", "--resume", f"{i}.jsonl")
        self.output(*self.command, "--kv-window", 0, "--shard", "1/2", "--resume", "other.jsonl")
        self.assert_refused(1, ["no state has"], "eval", "merge", "0.jsonl")
        self.assert_refused(1, ["in two states"], "eval", "merge", "0.jsonl", "1.jsonl", "1.jsonl")
        self.assert_refused(1, ["other.jsonl: ", "kv_window is 0, expected 32"], "eval", "merge", "0.jsonl", "other.jsonl")
        self.assert_refused(1, ["missing.jsonl"], "eval", "merge", "0.jsonl", "missing.jsonl", "--save", "merged.jsonl")
        self.assert_refused(1, ["no/such: cannot create"], "eval", "merge", "0.jsonl", "1.jsonl", "--save", "no/such")
        lines = (self.folder / "1.jsonl").read_text().splitlines()
        self.write("1.jsonl", "\n".join([*lines[:2], "{}", *lines[3:], ""]))
        self.assert_refused(1, ["1.jsonl:3: "], "eval", "merge", "0.jsonl", "1.jsonl")
        self.write("1.jsonl", "a letter\n")
        self.assert_refused(1, ["1.jsonl:1: "], "eval", "merge", "0.jsonl", "1.jsonl")

    def test_states_that_cannot_be_used_are_told_and_stay(self):
        self.write("letter.txt", "Dear reader")
        self.write("log.txt", "Dear reader,\nmany lines\n")
        self.output(*self.command, "--kv-block", 16, "--resume", "other")
        for path, *words in [
            ("letter.txt", "no state"),
            ("log.txt", "log.txt:1: "),
            ("other", "kv_block is 16, expected 32"),
            ("no/such", "No such file"),
            ("/dev/full", "/dev/full: "),
            (".", "no regular file"),
        ]:
            with self.subTest(path=path):
                self.assert_refused(1, words, *self.command, "--resume", path)

    def test_shards_that_are_none_are_usage_errors(self):
        for shard in ("2/2", "-1/2", "0/0", "1", "1/", "1/2/3", "a/b"):
            self.assert_refused(2, ["--shard", f"'{shard}'"], *self.command, "--shard", shard)

    @unittest.skipUnless(shutil.which("parallel"), "GNU parallel is not installed")
    def test_gnu_parallel_gives_the_output_of_one_run(self):
        words = [*map(str, self.command), "--shard", "{}/4", "--resume", "{}.jsonl"]
        subprocess.run(["parallel", "-j", "2", self.miser, *words, ":::", *"0123"], cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=cli_case.TIMEOUT_S)
        merged = self.output("eval", "merge", *(f"{i}.jsonl" for i in range(4)))
        self.assertEqual(merged, self.output(*self.command))


class Kl(LongRuns, CliCase):
    TASK = "kl"
    CONTEXT = 128
    OPTIONS = ["--data", "text.txt", "--context", CONTEXT]

    def make_data(self):
        self.write("text.txt", made_text(1100))  # 43 contexts

    def n_figures(self, n_records):
        """Scored tokens: by default not the first quarter, nor the last, which nothing follows."""
        return n_records * (self.CONTEXT - self.CONTEXT // 4 - 1)

    def test_tokens_of_merged_shards_are_those_of_one_run(self):
        for i in range(2):
            self.output(*self.command, "--shard", f"{i}/2", "--resume", f"{i}.jsonl")
        self.output("eval", "merge", "0.jsonl", "1.jsonl", "--per-token", "merged")
        self.output(*self.command, "--per-token", "whole")
        self.assertEqual((self.folder / "merged").read_bytes(), (self.folder / "whole").read_bytes())

    def test_texts_that_cannot_be_used_are_told(self):
        self.write("empty.txt", "")
        self.write("short.txt", "a few words")
        self.write("latin1.txt", ("caf\u00e9 " * 500).encode("latin-1"))
        for path, *words in [
            ("empty.txt", "empty.txt"),
            ("short.txt", "short.txt", str(self.CONTEXT)),
            ("latin1.txt", "latin1.txt", "UTF-8"),
            ("missing.txt", "missing.txt", "No such file"),
            (".", "is a folder"),
        ]:
            with self.subTest(path=path):
                self.assert_refused(1, words, *self.command, "--data", path, "--resume", "state")

    def test_references_that_cannot_be_used_are_told(self):
        counts = struct.pack("<8s3i", b"_logits_", self.CONTEXT, 300, 2)
        self.write("cut.dat", counts + bytes(1000))
        self.write("other.dat", struct.pack("<8s3i4i8sh2x", b"_logits_", 4, 1, 1, 0, 0, 0, 0, bytes(8), 0))
        options = ["--kv", "q4", "--resume", "state"]
        for name, *words in [
            ("cut.dat", "cut.dat: found 1000 bytes after the counts, expected 2 contexts of "),
            ("text.txt", "text.txt: no file of reference logits"),
            ("other.dat", "other.dat: found logits of 1 tokens, expected the model's"),
            ("missing.dat", "missing.dat"),
        ]:
            with self.subTest(name=name):
                self.assert_refused(1, words, "eval", "kl", "-m", self.model, *options, "--reference", name)

    def test_paths_that_cannot_be_written_are_told_before_the_work(self):
        for option in ("--per-token", "--report"):
            self.assert_refused(1, ["no/such/file: cannot create: No such file"], *self.command, "--resume", "state",
                                option, "no/such/file")

    def test_contexts_that_score_nothing_are_usage_errors(self):
        self.assert_refused(2, ["--skip is 127"], *self.command, "--skip", 127)
        self.assert_refused(2, ["--context"], *self.command, "--context", 2)


class Hellaswag(LongRuns, CliCase):
    TASK = "hellaswag"
    OPTIONS = ["--data", "items.jsonl"]

    def make_data(self):
        self.write("items.jsonl", "\n".join(made_items(N_MANY)))

    def n_figures(self, n_records):
        return n_records

    def test_table_of_the_paper_reads_its_figures(self):
        row = json.loads(self.output(*self.command, "--json"))["rows"][1]
        self.assertRegex(paper_table.accuracy(row), r"^\d+\.\d\d \[\d+\.\d, \d+\.\d\] p [01]\.\d\d$")
        self.assertEqual((row["kv"], row["n"]), ("q4", N_FEW))
        self.assertGreater(row["bits_per_element"], 4)

    def test_items_that_cannot_be_used_are_told(self):
        command = ["eval", "hellaswag", "-m", self.model, "--kv", "q4", "--data", "bad.jsonl", "--resume", "state"]
        good, long = made_items(1)[0], json.loads(made_items(1)[0])
        three = {**long, "endings": long["endings"][:3]}
        no_label = {name: value for name, value in long.items() if name != "label"}
        long["ctx"] = made_text(600)
        for text, *words in [
            ("", "is empty"),
            (f"{good}\n{good[:50]}", ":2: not JSON: "),
            (f"{good}\n\n{json.dumps(no_label)}", ":3: found no field 'label'"),
            (json.dumps(three), ":1: found 3 endings, expected 4"),
            (f"{good}\n{json.dumps(long)}", ":2: the item has ", "expected at most the context of "),
        ]:
            with self.subTest(words=words):
                self.write("bad.jsonl", text)
                self.assert_refused(1, ["bad.jsonl", *words], *command)


del LongRuns  # no test of its own


if __name__ == "__main__":
    cli_case.main()
