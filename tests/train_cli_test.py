"""`miser train`: the same plan whatever happens on the way, what it says about bad input, `miser eval gate`, and
tools/ablations.sh.

Usage: train_cli_test.py MISER FIXTURES        (the built binary, and the folder that tests/make_fixtures.sh fills)
"""

import json
import os
import pathlib
import signal
import struct
import subprocess

import cli_case
from cli_case import CliCase, made_text

N_CONTEXTS = 6
QUICK = {"-m": "MODEL", "--text": "text.txt", "--contexts": N_CONTEXTS, "--context": 256, "--samples": 2, "-t": 1}


class TrainCase(CliCase):
    def setUp(self):
        super().setUp()
        self.write("text.txt", made_text(1500))
        self.command = self.train()

    def train(self, *options, output="plan.gguf"):
        """A quick training, but for what the options say."""
        defaults = {**QUICK, "-m": self.model, "-o": output}
        return ["train", *(word for name, value in defaults.items() if name not in options for word in (name, value)),
                *options]  # fmt: skip

    def plan(self, *options):
        """The bytes of a plan that is trained with the options."""
        self.output(*self.train(*options, output="other.gguf"))
        path = self.folder / "other.gguf"
        content = path.read_bytes()
        path.unlink()
        return content


class Plans(TrainCase):
    def test_same_seed_gives_the_same_file_with_any_number_of_threads(self):
        plan = self.plan()
        self.assertEqual(self.plan(), plan)
        self.assertEqual(self.plan("-t", 2), plan)
        self.assertNotEqual(self.plan("--seed", 2), plan)
        self.assertEqual(sorted(self.files()), ["text.txt"], "the traces of a finished training are removed")

    def test_options_of_the_fit_make_plans_that_run(self):
        plan = self.plan()
        for options in (["--controller", "ridge"], ["--controller", "learned,paper"], ["--ladder", "2,4,8,16"],
                        ["--signals", "received,position"], ["--share", "layer"], ["--share", "model"],
                        ["--no-centres"]):  # fmt: skip
            with self.subTest(options=options):
                self.write("plan.gguf", self.plan(*options))
                self.assertNotEqual((self.folder / "plan.gguf").read_bytes(), plan)
                run = ["run", "-m", self.model, "-p", "the cat", "-n", 150, "--ignore-eos", "-s", 1, "--plan", "plan.gguf"]
                bits = json.loads(self.output(*run, "--kv", "learned@3.5", "--json"))["kv"]["vectors_at"]
                self.assertGreater(sum(bits[width] for width in bits if width != "16"), 0)
                if "--ladder" in options:
                    self.assertEqual((bits["1"], bits["3"]), (0, 0))

    def test_score_tells_learned_from_the_oracle_and_from_fixed_widths(self):
        self.write("test.txt", made_text(1000, seed=9))
        result = json.loads(self.output(*self.train("--test", "test.txt", "--test-contexts", 2, "--json")))
        score = result["score"]
        self.assertEqual(score["bits"], [2.25, 2.75, 3.25, 4.25], "a head of 16 takes 2.19 bits at least")
        for learned, oracle in zip(score["learned"], score["oracle"]):
            self.assertLess(oracle, learned)
            self.assertLess(learned, 1, "it costs less than fixed widths of the same bytes")
        self.assertEqual((result["contexts"], result["context"], result["samples"]), (N_CONTEXTS, 256, 2))

    def test_plan_keeps_the_results_of_its_evaluations_and_inspect_shows_them(self):
        self.write("test.txt", made_text(1000, seed=9))
        score = json.loads(self.output(*self.train("--test", "test.txt", "--test-contexts", 1, "--json")))["score"]
        del score["by_context"]
        measured = json.loads(self.output(
            "eval", "frontier", "-m", self.model, "--plan", "plan.gguf", "--data", "test.txt", "--context", 256,
            "--limit", 1, "--replays", 0, "--bits", 2.75, "--arms", "static", "--record", "with.gguf", "--json"))
        results = json.loads(self.output("inspect", "with.gguf", "--json"))["results"]
        self.assertEqual(results["held_out"], score)
        (text,) = results["frontier"]["texts"]
        rows = {row["arm"]: row["kl_mean"] for row in measured["tables"][0]["rows"]}
        self.assertEqual({row["arm"]: row["kl"] for row in text["rows"]}, rows)
        self.assertIn("learned@2.75", rows)
        shown = self.output("inspect", "with.gguf")
        self.assertIn("expected cost on held-out text", shown)
        self.assertIn("Measured on test.txt, 1 contexts of 256 tokens from position 64", shown)

        plan = (self.folder / "with.gguf").read_bytes()
        for ours, foreign, start in ((b'{"held_out"', b'["held_out"', '["held'), (b'"kl":', b'"kx":', '{"held')):
            self.write("foreign.gguf", plan.replace(ours, foreign, 1))
            self.assertIn("Results\n  " + start, self.output("inspect", "foreign.gguf"))

    def test_file_to_record_in_is_tried_first(self):
        self.assert_refused(1, ["none/plan.gguf", "cannot create"], "eval", "frontier", "-m", self.model,
                            "--data", "text.txt", "--record", "none/plan.gguf")


class Stopped(TrainCase):
    def n_traces(self, folder="plan.gguf.traces"):
        return len(list((self.folder / folder).glob("*.trace")))

    def test_killed_training_resumes_to_the_same_file(self):
        plan = self.plan()
        for n in (1, N_CONTEXTS // 2, N_CONTEXTS):
            self.stop(signal.SIGKILL, lambda n=n: self.n_traces() >= n, *self.command)
            self.assertFalse((self.folder / "plan.gguf").exists())
            self.assertIn("traced already", self.run_miser(*self.command).stderr)
            self.assertEqual((self.folder / "plan.gguf").read_bytes(), plan)
            (self.folder / "plan.gguf").unlink()

    def test_interrupted_training_keeps_its_traces_and_says_so(self):
        plan = self.plan()
        self.assertEqual(self.stop(signal.SIGINT, lambda: self.n_traces() >= 1, *self.command), "")
        self.assertGreaterEqual(self.n_traces(), 1)
        self.output(*self.command)
        self.assertEqual((self.folder / "plan.gguf").read_bytes(), plan)

    def test_traces_that_are_kept_serve_another_fit(self):
        ridge = self.plan("--controller", "ridge")
        self.output(*self.train("--work", "traces"))
        self.assertEqual(self.n_traces("traces"), N_CONTEXTS)
        result = self.run_miser(*self.train("--work", "traces", "--controller", "ridge"))
        self.assertIn(f"{N_CONTEXTS} of {N_CONTEXTS} contexts are traced already", result.stderr)
        self.assertEqual((self.folder / "plan.gguf").read_bytes(), ridge)

    def test_traces_of_another_run_and_broken_ones_are_told_and_stay(self):
        self.output(*self.train("--work", "traces"))
        for options, field in ((["--seed", 5], "seed 1, expected 5"), (["--samples", 3], "samples 2, expected 3"),
                               (["--kv-window", 0], "window 32, expected 0")):  # fmt: skip
            self.assert_refused(1, ["traces/train-0000.trace", field], *self.train("--work", "traces", *options))
        path = self.folder / "traces" / "train-0003.trace"
        path.write_bytes(path.read_bytes()[:-1])
        self.assert_refused(1, ["traces/train-0003.trace"], *self.train("--work", "traces"))


class BadInput(TrainCase):
    def refuse_text(self, path, *words):
        self.assert_refused(1, words, *self.train("--text", path))

    def test_texts_that_cannot_be_used_are_told(self):
        self.write("empty.txt", "")
        self.write("short.txt", "a few words")
        self.write("latin1.txt", ("caf\u00e9 " * 500).encode("latin-1"))
        self.refuse_text("empty.txt", "empty.txt", "empty")
        self.refuse_text("short.txt", "short.txt: found", "at least one context of 256")
        self.refuse_text("latin1.txt", "latin1.txt", "UTF-8")
        self.refuse_text("missing.txt", "missing.txt", "No such file")
        self.refuse_text(".", "is a folder")
        self.assert_refused(1, ["short.txt"], *self.train("--test", "short.txt"))

    def test_contexts_in_which_nothing_can_be_learned_are_told(self):
        self.assert_refused(2, ["--context is 64", "expected at least 65"], *self.train("--context", 64))
        result = self.run_miser(*self.train("--context", 72, "--contexts", 2))
        self.assertEqual(result.returncode, 1)
        self.assertIn("tokens with enough queries after the window, expected at least 64", result.stderr)

    def test_outputs_that_cannot_be_written_are_told_before_the_work(self):
        self.assert_refused(1, ["no/such/plan.gguf: cannot create"], *self.train("-o", "no/such/plan.gguf"))
        self.assert_refused(1, ["."], *self.train("-o", "."))
        self.assert_refused(1, ["text.txt/traces: cannot create the folder"], *self.train("--work", "text.txt/traces"))

    def test_options_that_make_no_sense_are_usage_errors(self):
        for options, *words in (
            (["--ladder", "2,5"], "--ladder", "'5'"),
            (["--ladder", "4,2"], "--ladder", "ascending"),
            (["--ladder", "4"], "--ladder", "at least two"),
            (["--signals", "received,mood"], "--signals", "mood"),
            (["--kv-block", 3], "--kv-block is 3"),
            (["--context", 5000], "--context is 5000"),
            (["--controller", "magic"], "--controller"),
            (["--share", "nothing"], "--share"),
            (["--samples", 0], "--samples"),
            (["--paper-bits", 1], "--paper-bits"),
        ):
            with self.subTest(options=options):
                self.assert_refused(2, words, *self.train(*options))


class Gate(TrainCase):
    def setUp(self):
        super().setUp()
        self.output(*self.command)
        self.write("test.txt", made_text(600, seed=9))
        self.gate = ["eval", "gate", "-m", self.model, "--data", "test.txt", "--context", 200, "--contexts", 2, "--groups", 5,
                     "--samples", 4, "-t", 1]  # fmt: skip

    def test_sensitivities_of_a_trained_plan_pass(self):
        result = json.loads(self.output(*self.gate, "--plan", "plan.gguf", "--json"))
        self.assertEqual((result["task"], result["done"], len(result["points"])), ("gate", 2, 2 * 2 * 5))
        self.assertTrue(result["passed"])
        for sensitivities in ("traced", "predicted"):
            self.assertGreater(result["groups"]["wide"][sensitivities]["spearman"], 0.9)
            self.assertEqual(len(result["groups"]["alike"][sensitivities]["ci95"]["ratio"]), 2)
        self.assertGreater(result["spread"]["v"]["correlation"], 0.5)
        table = self.output(*self.gate, "--plan", "plan.gguf")
        self.assertIn("at least 0.8: passed", table)
        self.assertEqual(self.output(*self.gate, "--plan", "plan.gguf"), table)
        self.assertNotEqual(self.output(*self.gate, "--plan", "plan.gguf", "--seed", 2), table)

    def test_what_it_needs_is_told(self):
        self.assert_refused(1, ["no plan for this model", "miser train"], *self.gate)
        with_plan = [*self.gate, "--plan", "plan.gguf"]
        self.assert_refused(1, ["missing.txt"], *("missing.txt" if word == "test.txt" else word for word in with_plan))
        self.assert_refused(2, ["--groups"], *(0 if word == 5 else word for word in with_plan))
        self.output(*self.train("--controller", "paper"))
        self.assert_refused(1, ["no learned controller", "miser train"], *with_plan)


class Ablations(TrainCase):
    KINDS = ("encyclopedic", "prose", "code", "manuals")

    def run_ablations(self):
        sizes = {"CONTEXTS": "4", "TEST_CONTEXTS": "2", "CONTEXT": "256", "SAMPLES": "1", "THREADS": "1"}
        script = pathlib.Path(__file__).resolve().parents[1] / "tools" / "ablations.sh"
        result = subprocess.run(["bash", script, self.model, "text", "out"], cwd=self.folder, capture_output=True, text=True,
                                check=False, timeout=4 * cli_case.TIMEOUT_S,
                                env={**os.environ, **sizes, "MISER": str(self.miser)})  # fmt: skip
        self.assertEqual(result.returncode, 0, result.stderr)
        return [line for line in result.stderr.splitlines() if line.startswith("ablations: ")]

    def test_script_scores_every_change_and_makes_nothing_again(self):
        (self.folder / "text" / "eval").mkdir(parents=True)
        for seed, kind in enumerate(self.KINDS):
            self.write(f"text/{kind}-a.txt", made_text(600, seed))
            if kind in ("code", "manuals"):
                self.write(f"text/eval/{kind}.txt", made_text(400, 10 + seed))
        made = self.run_ablations()
        table = (self.folder / "out" / "RESULTS.md").read_text()
        for row in ("| oracle |", "| all |", "| loss-ridge |", "| without-k_pairs |", "| ladder-2,4,8,16 |", "| not-centred |",
                    "| share-model |", "| contexts-2 |", "| 64 |", "| prose |"):  # fmt: skip
            self.assertIn("\n" + row, table)
        self.assertEqual(len(made), len(list((self.folder / "out" / "fits").glob("*.json"))))
        (self.folder / "out" / "fits" / "loss-ridge.json").unlink()
        self.assertEqual(self.run_ablations(), ["ablations: loss-ridge"])


class UnusablePlans(TrainCase):
    """What `miser run` says of a plan that it cannot use."""

    def setUp(self):
        super().setUp()
        self.output(*self.command)
        self.plan_bytes = (self.folder / "plan.gguf").read_bytes()

    def refuse(self, code, words, *options, model=None):
        self.assert_refused(code, words, "run", "-m", model or self.model, "-p", "the cat", "-n", 1, "--plan", "plan.gguf",
                            *(options or ["--kv", "learned"]))

    def test_budgets_below_the_narrowest_width_are_usage_errors(self):
        self.refuse(2, ["'0.5' bits, expected 1 to 16"], "--kv", "learned@0.5")
        self.refuse(2, ["budget of 1.1 bits", "the narrowest width of the plan takes"], "--kv", "learned@1.1")
        self.refuse(2, ["--kv-bits"], "--kv", "learned", "--kv-bits", 0.5)
        self.output(*self.train("--ladder", "4,8,16"))
        self.refuse(2, ["budget of 3.5 bits", "the narrowest width of the plan takes"], "--kv", "static@3.5")

    def test_plans_of_other_models_are_refused(self):
        other = self.model.with_name("deep.gguf")
        self.refuse(1, ["plan.gguf"], model=other)
        self.refuse(1, ["plan.gguf"], "--kv", "learned", "--force", model=other)

    def test_other_versions_are_refused(self):
        key = b"miser.plan.version"
        at = self.plan_bytes.index(key) + len(key) + 4  # behind the type of the value
        self.write("plan.gguf", self.plan_bytes[:at] + struct.pack("<I", 9) + self.plan_bytes[at + 4 :])
        self.refuse(1, ["plan.gguf", "miser.plan.version", "9"])

    def test_weights_that_are_no_numbers_are_refused(self):
        last = (len(self.plan_bytes.rstrip(b"\0")) - 1) // 4 * 4  # padding follows
        self.write("plan.gguf", self.plan_bytes[:last] + struct.pack("<f", float("nan")) + self.plan_bytes[last + 4 :])
        self.refuse(1, ["plan.gguf: tensor ", " is nan"])

    def test_plans_that_were_cut_are_refused(self):
        for size in (0, 10, len(self.plan_bytes) // 2, len(self.plan_bytes) - 64):
            self.write("plan.gguf", self.plan_bytes[:size])
            self.refuse(1, ["plan.gguf"])


if __name__ == "__main__":
    cli_case.main()
