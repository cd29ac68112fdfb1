"""`miser run` from outside: texts, exit codes, messages, streams, JSON, traces.

Usage: cli_test.py MISER FIXTURES        (the built binary, and the folder that tests/make_fixtures.sh fills)
The model is random: its text is noise, mostly bytes that make no characters.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

MISER = ""
MODEL = Path()
PROMPT = "the cat sat on"


def run(*args, model=True, **options):
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 120, **options}
    if "stdout" in options:
        options.pop("capture_output")
        options["stderr"] = subprocess.PIPE
    chosen = ["-m", MODEL] if model else []
    return subprocess.run([MISER, "run", *chosen, *map(str, args)], check=False, **options)


def text(*args):
    result = run(*args)
    assert result.returncode == 0, result.stderr
    return result.stdout


class RunTest(unittest.TestCase):
    def assert_fails(self, result, code, *words):
        """One line on standard error that has all of `words`, apart from the note on the model's plan."""
        lines = result.stderr.decode().splitlines(keepends=True)
        error = "".join(line for line in lines if not line.startswith("no plan for this model"))
        self.assertEqual(result.returncode, code, error)
        self.assertEqual(error.count("\n"), 1, error)
        for word in ("miser: ", *words):
            self.assertIn(word, error)


class Text(RunTest):
    def test_prompt_comes_first_unless_switched_off(self):
        whole = text("-p", PROMPT, "-n", 30, "--temp", 0)
        self.assertTrue(whole.startswith(PROMPT.encode()))
        self.assertEqual(text("-p", PROMPT, "-n", 30, "--temp", 0, "--no-display-prompt"), whole[len(PROMPT):])

    def test_no_tokens_means_the_prompt_alone(self):
        self.assertEqual(text("-p", PROMPT, "-n", 0), PROMPT.encode())

    def test_prompt_file_loses_its_last_newline(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(PROMPT + "\n\n")
            file.flush()
            self.assertEqual(text("-f", file.name, "-n", 0), PROMPT.encode() + b"\n")

    def test_same_seed_same_text(self):
        first = text("-p", PROMPT, "-n", 40, "-s", 5)
        self.assertEqual(text("-p", PROMPT, "-n", 40, "--seed", 5), first)
        self.assertNotEqual(text("-p", PROMPT, "-n", 40, "-s", 6), first)

    def test_random_seed_is_told_and_gives_the_text_again(self):
        result = run("-p", PROMPT, "-n", 40, "-s", -1, "--verbose")
        seed = result.stderr.decode().split("seed ")[1].split(",")[0]
        self.assertEqual(text("-p", PROMPT, "-n", 40, "-s", seed), result.stdout)

    def test_threads_do_not_change_the_text(self):
        arguments = ["-p", PROMPT, "-n", 40, "--temp", 0, "--kv", "k3v2"]
        self.assertEqual(text(*arguments, "--threads", 2), text(*arguments, "-t", 1))

    def test_the_last_of_an_option_given_twice_counts(self):
        self.assertEqual(text("-p", "some", "-n", 9, "-p", PROMPT, "-n", 0), PROMPT.encode())

    def test_text_ends_before_a_stop_string(self):
        whole = text("-p", PROMPT, "-n", 40, "--temp", 0, "--no-display-prompt")
        stop = os.fsdecode(whole[20:23])
        got = text("-p", PROMPT, "-n", 40, "--temp", 0, "--no-display-prompt", "-r", "never seen", "-r", stop)
        self.assertEqual(got, whole[: whole.index(whole[20:23])])

    def test_context_ends_the_text(self):
        result = run("-p", PROMPT, "-n", -1, "-c", 64, "--ignore-eos", "--json")
        self.assertEqual(json.loads(result.stdout)["stop_reason"], "context")

    def test_text_goes_on_past_the_context_where_it_shifts(self):
        arguments = ["-p", PROMPT, "-n", 700, "--temp", 0, "--ignore-eos", "--json", "--kv", "q4", "-c", 256]
        found = json.loads(text(*arguments, "--context-shift"))
        self.assertEqual((found["stop_reason"], found["generated_tokens"]), ("length", 700))
        self.assert_fails(run("-p", PROMPT, "--context-shift", "--trace", "x"), 2, "--context-shift")
        self.assert_fails(run("-p", PROMPT, "--context-shift", "-c", 64), 2, "context shift: found room for 64 tokens")

    def test_cache_types_name_fixed_widths(self):
        for types, policy in [
            (("-ctk", "q8_0", "-ctv", "q4_0"), "k8v4"),
            (("--cache-type-k", "q4_0"), "k4v16"),
            (("-ctk", "f16", "-ctv", "f16"), "f16"),
        ]:
            found = json.loads(text("-p", PROMPT, "-n", 1, "--json", *types))
            self.assertEqual(found["kv"]["policy"], policy)

    def test_short_names_are_no_names_where_a_value_stands(self):
        self.assertEqual(text("-p", "-sys", "-n", 0), b"-sys")


class Json(RunTest):
    def test_object_has_the_documented_fields(self):
        found = json.loads(text("-p", PROMPT, "-n", 100, "--temp", 2, "-s", 1, "--kv", "k3v2", "--ignore-eos", "--json"))
        self.assertEqual(list(found), ["text", "prompt_tokens", "reused_tokens", "generated_tokens", "stop_reason", "kv", "timing"])
        kv = found["kv"]
        self.assertEqual(
            list(kv),
            ["policy", "bits_per_element", "bytes", "bytes_peak", "bytes_f16", "dropped_tokens", "vectors_at"],
        )
        self.assertEqual(
            list(found["timing"]),
            ["load_ms", "prefill_ms", "decode_ms", "prefill_tok_per_s", "decode_tok_per_s"],
        )
        self.assertEqual((found["generated_tokens"], found["stop_reason"], kv["policy"]), (100, "length", "k3v2"))
        self.assertEqual(list(kv["vectors_at"]), ["1", "2", "3", "4", "8", "16"])
        self.assertEqual(kv["vectors_at"]["3"], kv["vectors_at"]["2"])
        self.assertGreater(kv["vectors_at"]["3"], 0)
        # Every cached vector: all tokens but the last, which is not fed.
        n_cached = found["prompt_tokens"] + 99
        elements = 8 * kv["bytes"] / kv["bits_per_element"]
        self.assertAlmostEqual(16 * elements / 8, kv["bytes_f16"], delta=1)
        self.assertEqual(sum(kv["vectors_at"].values()) % (2 * n_cached), 0)

    def test_text_is_the_text_with_replaced_bytes(self):
        arguments = ["-p", PROMPT, "-n", 60, "--temp", 2, "-s", 3, "--ignore-eos", "--no-display-prompt"]
        raw = text(*arguments)
        self.assertNotEqual(raw.decode(errors="replace").encode(), raw, "no invalid byte: nothing is tested")
        self.assertEqual(json.loads(text(*arguments, "--json"))["text"], raw.decode(errors="replace"))


class Memory(RunTest):
    def room_for_few_tokens(self):
        """What a refusal names as the least, and 4,000 bytes."""
        result = run("-p", PROMPT, "--kv-memory", 1)
        self.assert_fails(result, 2, "KV memory: found 1 bytes", "expected at least")
        return int(re.search(rb"expected at least (\d+)", result.stderr).group(1)) + 4000

    def limited(self, *args):
        memory = self.room_for_few_tokens()
        result = run("-p", PROMPT, "-c", 600, "--ignore-eos", "--kv", "q4", "--kv-memory", memory, "--json", *args)
        self.assertEqual(result.returncode, 0, result.stderr)
        found = json.loads(result.stdout)
        self.assertLessEqual(found["kv"]["bytes_peak"], memory)
        return found, result.stderr.decode()

    def test_full_is_where_generation_stops(self):
        found, error = self.limited()
        self.assertEqual(found["stop_reason"], "memory")
        self.assertEqual(found["kv"]["dropped_tokens"], 0)
        self.assertIn("--kv-overflow drop-oldest", error)

    def test_full_goes_on_without_the_oldest_tokens_when_asked_to(self):
        found, error = self.limited("--kv-overflow", "drop-oldest")
        self.assertEqual(found["stop_reason"], "context")
        self.assertGreater(found["kv"]["dropped_tokens"], 300)

    def test_overflow_without_a_limit_is_refused(self):
        self.assert_fails(run("-p", PROMPT, "--kv-overflow", "drop-oldest"), 2, "--kv-overflow", "--kv-memory")

    def test_too_little_for_the_prompt_is_told_before_the_work(self):
        result = run("-p", "word " * 500, "--kv-memory", self.room_for_few_tokens())
        self.assert_fails(result, 1, "the prompt has", "--kv-memory")

    def test_sizes_have_units(self):
        for size in ("16777216", "16384KiB", "16MiB"):
            self.assertEqual(run("-p", PROMPT, "-n", 2, "--kv-memory", size).returncode, 0, size)
        for size in ("0", "-1", "1.5MiB", "16MB", "MiB", "99999999999GiB"):
            self.assert_fails(run("-p", PROMPT, "-n", 2, "--kv-memory", size), 2, "--kv-memory", f"'{size}'")


class PromptCache(RunTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "prompt.kv"

    def run_json(self, *args):
        return json.loads(text("--temp", 0, "--ignore-eos", "--json", "--prompt-cache", self.path, *args))

    def test_prompt_is_read_once(self):
        long = PROMPT * 20
        plain = json.loads(text("-p", long, "-n", 40, "--temp", 0, "--ignore-eos", "--json"))
        first = self.run_json("-p", long, "-n", 40)
        again = self.run_json("-p", long, "-n", 40)
        self.assertEqual([first["text"], again["text"]], [plain["text"]] * 2)
        self.assertEqual(first["reused_tokens"], 0)
        self.assertEqual(again["reused_tokens"], again["prompt_tokens"])
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])

    def test_common_beginning_is_kept_and_the_file_follows(self):
        self.run_json("-p", PROMPT * 20, "-n", 1)
        other = self.run_json("-p", PROMPT * 15 + " a dog", "-n", 1)
        self.assertGreater(other["reused_tokens"], 30)
        self.assertLess(other["reused_tokens"], other["prompt_tokens"])
        again = self.run_json("-p", PROMPT * 15 + " a dog", "-n", 1)
        self.assertEqual(again["reused_tokens"], again["prompt_tokens"])
        shorter = self.run_json("-p", PROMPT * 10, "-n", 1)  # whose last token gives the logits
        self.assertEqual(shorter["reused_tokens"], shorter["prompt_tokens"] - 1)

    def test_text_goes_on_without_a_prompt(self):
        whole = text("-p", PROMPT, "-n", 60, "--temp", 0, "--ignore-eos")
        part = text("-p", PROMPT, "-n", 30, "--temp", 0, "--ignore-eos", "--prompt-cache", self.path, "--prompt-cache-all")
        self.assertTrue(whole.startswith(part))
        # The last token of the part was not read: it comes again.
        self.assertEqual(text("-n", 31, "--temp", 0, "--ignore-eos", "--prompt-cache", self.path), whole)

    def test_read_only_is_never_written(self):
        self.run_json("-p", PROMPT, "-n", 1, "--prompt-cache-ro")
        self.assertFalse(self.path.exists())
        self.run_json("-p", PROMPT, "-n", 1)
        before = self.path.read_bytes()
        self.run_json("-p", PROMPT * 2, "-n", 1, "--prompt-cache-ro")
        self.assertEqual(self.path.read_bytes(), before)

    def test_what_is_none_is_told_and_stays(self):
        self.path.write_bytes(b"something else")
        self.assert_fails(run("-p", PROMPT, "--prompt-cache", self.path), 1, "prompt.kv: is no snapshot")
        self.assertEqual(self.path.read_bytes(), b"something else")
        self.path.unlink()
        self.assert_fails(run("--prompt-cache", self.path), 1, "no prompt")
        self.run_json("-p", PROMPT, "-n", 1, "--kv", "q4")
        self.assert_fails(run("-p", PROMPT, "--prompt-cache", self.path, "--kv", "q8"), 1, "KV policy: found q4, expected q8")
        for arguments in [["--prompt-cache-all"], ["--prompt-cache-ro"], ["--prompt-cache", "x", "-i"],
                          ["--prompt-cache", "x", "--trace", "y"],
                          ["--prompt-cache", "x", "--prompt-cache-all", "--prompt-cache-ro"]]:
            self.assert_fails(run("-p", PROMPT, *arguments), 2, "--prompt-cache")

    def test_full_disk_is_told(self):
        self.assert_fails(run("-p", PROMPT, "-n", 1, "--prompt-cache", "/dev/full"), 1, "/dev/full")


class Trace(RunTest):
    FIELDS = [
        "position", "id", "piece", "entropy", "rarity", "attention_variance", "confidence",
        "received", "received_sq", "received_max", "k_norm2", "v_norm2", "bits", "left",
    ]  # fmt: skip

    def test_has_a_line_per_cached_token(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "trace.jsonl")
            arguments = ["-p", PROMPT, "-n", 100, "--temp", 0, "--ignore-eos", "--kv", "k4v2"]
            found = json.loads(text(*arguments, "--json", "--trace", path))
            lines = [json.loads(line) for line in path.read_text().splitlines()]
        n_cached = found["prompt_tokens"] + found["generated_tokens"] - 1
        self.assertEqual([line["position"] for line in lines], list(range(n_cached)))
        for line in lines:
            self.assertEqual(list(line), self.FIELDS)
        self.assertEqual("".join(line["piece"] for line in lines[: found["prompt_tokens"]]), PROMPT)
        # Sinks stay; blocks of 32 leave when the newest token is a window of 32 past their end.
        n_left = (n_cached - 1 - 32) // 32 * 32
        self.assertEqual([line["left"] for line in lines], [4 <= i < n_left for i in range(n_cached)])
        self.assertEqual({line["bits"] for line in lines[4:n_left]}, {3})
        self.assertTrue(all(line["k_norm2"] > 0 for line in lines[4:n_left]))

    def test_that_cannot_be_written_is_told_in_one_line(self):
        self.assert_fails(run("-p", PROMPT, "--trace", "/nonexistent/t"), 1, "/nonexistent/t", "No such file")
        self.assert_fails(run("-p", PROMPT, "-n", 2, "--trace", "/dev/full"), 1, "/dev/full", "No space left")


class BadInput(RunTest):
    def test_usage_errors_exit_with_2(self):
        for arguments, word in [
            (["-n", "-5"], "--predict"),
            (["-n", "ten"], "ten"),
            (["-n", "99999999999999999999"], "--predict"),
            (["--temp", "nan"], "--temp"),
            (["--temp", "-1"], "--temp"),
            (["--temp", "warm"], "--temp"),
            (["--top-p", "2"], "--top-p"),
            (["--top-k", "-1"], "--top-k"),
            (["--min-p", "inf"], "--min-p"),
            (["--repeat-penalty", "0"], "--repeat-penalty"),
            (["-s", "-2"], "--seed"),
            (["-b", "0"], "--batch-size"),
            (["-c", "-1"], "--ctx-size"),
            (["--kv", "q5"], "q5"),
            (["--kv", ""], "policy"),
            (["--kv", "learned@0.5"], "expected 1 to 16"),
            (["--kv-bits", "0.5"], "--kv-bits"),
            (["--kv-bits", "17"], "--kv-bits"),
            (["--kv", "q4", "--kv-bits", "3"], "takes a budget"),
            (["--kv-scales", "best"], "best"),
            (["--kv", "q8", "-ctk", "q8_0"], "--kv"),
            (["-ctv", "q5_1"], "q5_1"),
            (["-r", ""], "--reverse-prompt"),
            (["-f", "x"], "--file"),
            (["--no-such-flag"], "--no-such-flag"),
            (["-n"], "--predict"),
        ]:
            with self.subTest(arguments=arguments):
                self.assert_fails(run("-p", PROMPT, *arguments), 2, word)
        self.assert_fails(run(), 2, "no prompt")
        self.assert_fails(run("-i", "--json"), 2, "-p")

    def test_prompts_that_cannot_be_used_exit_with_1(self):
        self.assert_fails(run("-p", ""), 1, "prompt is empty")
        self.assert_fails(run("-p", PROMPT * 100, "-c", 32), 1, "room for 32")
        self.assert_fails(run("-f", "/nonexistent"), 1, "/nonexistent", "No such file")
        self.assert_fails(run("-f", "/"), 1, "Is a directory")

    def test_models_that_cannot_be_used_exit_with_1(self):
        for path, word in [("/nonexistent", "No such file"), ("/", "directory"), (__file__, "magic")]:
            self.assert_fails(run("-p", PROMPT, "-m", path, model=False), 1, path, word)
        with tempfile.TemporaryDirectory() as empty:
            result = run("-p", PROMPT, model=False, env={**os.environ, "MISER_MODEL_DIR": empty})
            self.assert_fails(result, 1, empty, "./dev model")

    def test_centres_that_are_none_exit_with_1(self):
        self.assert_fails(run("-p", PROMPT, "--kv-centres", MODEL), 1, "no tensor centre.k")


class Streams(RunTest):
    def test_closed_output_is_told_before_anything_is_loaded(self):
        command = f'"{MISER}" run -m "{MODEL}" -p x -n 3 >&-'
        result = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=120)
        self.assert_fails(result, 1, "standard output is closed")

    def test_output_that_nobody_reads_ends_the_run(self):
        reader, writer = os.pipe()
        os.close(reader)
        self.assert_fails(run("-p", PROMPT, "-n", -1, stdout=writer), 1, "standard output", "Broken pipe")
        os.close(writer)

    def test_full_disk_is_told(self):
        with open("/dev/full", "wb") as full:
            self.assert_fails(run("-p", PROMPT, "-n", 3, stdout=full), 1, "No space left")

    def test_closed_error_and_input_do_no_harm(self):
        with tempfile.TemporaryDirectory() as directory:
            trace = Path(directory, "trace.jsonl")
            command = f'"{MISER}" run -m "{MODEL}" -p x -n 3 -v --ignore-eos --trace "{trace}" 2>&- <&-'
            result = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=120)
            self.assertEqual(result.returncode, 0)
            self.assertEqual(len([json.loads(line) for line in trace.read_text().splitlines()]), 3)

    def test_summary_goes_to_standard_error(self):
        result = run("-p", PROMPT, "-n", 5, "--ignore-eos", "--kv", "q4")
        self.assertRegex(result.stderr.decode(), r"^kv q4: [\d.]+ bits per element, .* f16 takes .*\nprefill \d+ tokens")

    def test_show_bits_into_a_pipe_leaves_the_text_plain(self):
        arguments = ["-p", PROMPT, "-n", 80, "--temp", 0]
        result = run(*arguments, "--show-bits")
        self.assertEqual(result.stdout, text(*arguments))
        self.assertIn(b"no terminal", result.stderr)


if __name__ == "__main__":
    MISER = sys.argv[1]
    MODEL = Path(sys.argv[2], "tiny", "f32_long.gguf")
    if not MODEL.exists():
        sys.exit(f"{MODEL} is missing: run ./dev test, which makes it")
    unittest.main(argv=sys.argv[:1])
