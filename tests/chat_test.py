"""`miser run -i`, Ctrl-C and --show-bits, through pipes and pseudo-terminals.

Usage: chat_test.py MISER FIXTURES        (the built binary, and the folder that tests/make_fixtures.sh fills)
The model is random and has ChatML's template: its answers are noise.
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
import unittest
from pathlib import Path

MISER = ""
FIXTURES = Path()
SECONDS = 60


def command(*args, model="f32_long"):
    return [MISER, "run", "-m", FIXTURES / "tiny" / f"{model}.gguf", "-t", "1", *map(str, args)]


def chat(lines, *args, **options):
    run = subprocess.run(
        command("-i", *args, **options), input=lines.encode(), capture_output=True, check=False, timeout=SECONDS
    )
    return run.returncode, run.stdout, run.stderr.decode()


class PipedChat(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.trace = Path(directory.name, "trace.jsonl")

    def read_by_model(self):
        return "".join(json.loads(line)["piece"] for line in self.trace.read_text().splitlines())

    def test_turns_go_on_with_one_cache(self):
        code, _, error = chat("Hi\n\nBye\n", "-sys", "Be brief.", "-n", 5, "--ignore-eos", "--trace", self.trace)
        self.assertEqual(code, 0, error)
        user = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
        expected = re.escape("<|im_start|>system\nBe brief.<|im_end|>\n" + user.format("Hi"))
        expected += ".+" + re.escape("<|im_end|>\n" + user.format("Bye")) + ".+"
        self.assertRegex(self.read_by_model(), re.compile(f"^{expected}$", re.DOTALL))
        self.assertIn("decode 10 tokens", error)

    def test_prompt_option_is_the_first_message(self):
        code, _, error = chat("Bye\n", "-p", "Hi", "-n", 3, "--ignore-eos", "--trace", self.trace)
        self.assertEqual(code, 0, error)
        read = self.read_by_model()
        self.assertTrue(read.startswith("<|im_start|>user\nHi<|im_end|>\n"), read)
        self.assertIn("user\nBye<|im_end|>", read)

    def test_output_is_the_answers_alone(self):
        arguments = ["-n", 4, "--temp", 0, "--ignore-eos"]
        _, first, _ = chat("Hi\n", *arguments)
        _, both, _ = chat("Hi\nBye\n", *arguments)
        self.assertTrue(both.startswith(first), both)
        self.assertTrue(first.endswith(b"\n"), first)
        self.assertNotIn(b"user", both)

    def test_stop_string_is_not_read_again(self):
        arguments = ["-n", 60, "--temp", 0, "--ignore-eos", "--trace", self.trace]
        chat("Hi\n", *arguments)
        whole = self.read_by_model()
        begin = whole.index("assistant\n") + len("assistant\n")
        stop = next(c for i, c in enumerate(whole) if i > begin + 3 and c.isascii() and c.isalnum())
        code, _, error = chat("Hi\nBye\n", *arguments, "-r", stop)
        self.assertEqual(code, 0, error)
        answer = whole[: whole.index(stop, begin)]
        self.assertTrue(self.read_by_model().startswith(answer + "<|im_end|>\n<|im_start|>user\nBye"))

    def test_full_memory_ends_the_chat(self):
        code, _, error = chat("Hi\nBye\n", "-c", 8000, "--kv-memory", self.some_memory(), "--ignore-eos")
        self.assertEqual(code, 0, error)
        self.assertRegex(error, r"the KV memory of \d+ tokens is full: .*--kv-memory")
        self.assertIn("stopped: memory", error)

    def some_memory(self):
        """A little more than the least, which the message of a refusal names."""
        _, _, error = chat("Hi\n", "--kv-memory", 1)
        return int(re.search(r"expected at least (\d+)", error).group(1)) + 4000

    def test_json_answers_one_message(self):
        code, output, error = chat("never read\n", "-p", "Hi", "-n", 4, "--ignore-eos", "--json")
        self.assertEqual(code, 0, error)
        self.assertEqual(json.loads(output)["generated_tokens"], 4)

    def test_full_context_ends_the_chat(self):
        code, _, error = chat("Hi\nBye\n", "-c", 80, "--ignore-eos")
        self.assertEqual(code, 0, error)
        self.assertIn("the context of 80 tokens is full", error)
        self.assertIn("stopped: context", error)

    def test_message_that_does_not_fit_is_left_out(self):
        code, _, error = chat("Hi\n" + "word " * 200 + "\nBye\n", "-c", 200, "-n", 2, "--trace", self.trace)
        self.assertEqual(code, 0, error)
        self.assertIn("the message needs", error)
        self.assertNotIn("word", self.read_by_model())
        self.assertIn("user\nBye", self.read_by_model())

    def test_model_without_a_template_is_told(self):
        without = [
            path.stem
            for path in sorted((FIXTURES / "tiny").glob("*.gguf"))
            if b"tokenizer.chat_template" not in path.read_bytes()
        ]
        code, output, error = chat("Hi\n", model=without[0])
        self.assertEqual((code, output), (1, b""), error)
        self.assertIn("tokenizer.chat_template", error)


class Terminal:
    """A process on a pseudo-terminal of its own, but for the given streams."""

    def __init__(self, arguments, env=None, **streams):
        self.master, slave = pty.openpty()
        self.seen = b""
        streams = {"stdin": slave, "stdout": slave, "stderr": slave, **streams}
        self.process = subprocess.Popen(
            arguments,
            env={**os.environ, "TERM": "xterm", **(env or {})},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
            **streams,
        )
        os.close(slave)

    def wait_for(self, what, times=1):
        """Reads until `what` has been seen that often since the last call."""
        end = time.monotonic() + SECONDS
        while self.seen.count(what) < times:
            if time.monotonic() > end or not self.read():
                raise AssertionError(f"no {what!r} in {self.seen!r}")
        self.seen = b""

    def read(self, seconds=SECONDS):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            self.seen += os.read(self.master, 4096)
        except OSError:  # how a pseudo-terminal ends
            return False
        return True

    def send(self, keys):
        os.write(self.master, keys)

    def leave(self):
        """Ctrl-D until it is heeded: libedit shows its prompt shortly before it reads single keys."""
        end = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            self.send(b"\x04")
            self.read(0.2)
        return self.finish()

    def finish(self):
        """All that it still prints, and its exit code."""
        while self.read():
            pass
        os.close(self.master)
        return self.seen, self.process.wait(SECONDS)


class TerminalChat(unittest.TestCase):
    PROMPT = b"> "

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def start(self, *args):
        """The editor is on the terminal; the answers, which are noise, go to a file."""
        output = open(Path(self.directory.name, "output"), "wb")
        self.addCleanup(output.close)
        env = {"XDG_STATE_HOME": self.directory.name, "LC_ALL": "C"}
        terminal = Terminal(command("-i", *args), env, stdout=output)
        terminal.wait_for(self.PROMPT)
        return terminal

    def output_size(self):
        return Path(self.directory.name, "output").stat().st_size

    def wait_for_output(self):
        end = time.monotonic() + SECONDS
        while self.output_size() < 20 and time.monotonic() < end:
            time.sleep(0.01)

    def test_lines_are_answered_until_control_d(self):
        terminal = self.start("-n", 3, "--ignore-eos")
        terminal.send(b"Hi\n")
        terminal.wait_for(self.PROMPT)
        rest, code = terminal.leave()
        self.assertEqual(code, 0, rest)
        self.assertIn(b"decode 3 tokens", rest)
        self.assertGreater(self.output_size(), 0)

    def test_history_outlives_the_chat(self):
        terminal = self.start("-n", 1)
        terminal.send(b"a question\n")
        terminal.wait_for(self.PROMPT)
        terminal.leave()
        terminal = self.start("-n", 1)
        terminal.send(b"\x1b[A")  # arrow up
        terminal.wait_for(b"a question")
        terminal.send(b"\n")
        terminal.wait_for(self.PROMPT)
        terminal.leave()

    def test_utf8_arrives_in_any_locale(self):
        trace = Path(self.directory.name, "trace.jsonl")
        terminal = self.start("-n", 1, "--trace", trace)
        terminal.send("h\u00e9llo\n".encode())
        terminal.wait_for(self.PROMPT)
        terminal.leave()
        pieces = [json.loads(line)["piece"] for line in trace.read_text().splitlines()]
        self.assertIn("user\nh\ufffd\ufffdllo<|im_end|>", "".join(pieces), "two bytes are two tokens")

    def test_control_c_stops_the_answer_and_then_leaves(self):
        terminal = self.start("-c", 1000000, "--ignore-eos")
        terminal.send(b"Hi\n")
        self.wait_for_output()
        terminal.send(b"\x03")
        terminal.wait_for(self.PROMPT)
        self.assertIsNone(terminal.process.poll())
        terminal.send(b"\x03")
        rest, code = terminal.finish()
        self.assertEqual(code, 0, rest)
        self.assertIn(b"stopped: interrupted", rest)

    def test_a_stopped_answer_can_be_followed_by_another_message(self):
        trace = Path(self.directory.name, "trace.jsonl")
        terminal = self.start("-c", 1000000, "--ignore-eos", "--trace", trace, "-r", "user")
        terminal.send(b"Hi\n")
        self.wait_for_output()
        terminal.send(b"\x03")
        terminal.wait_for(self.PROMPT)
        terminal.send(b"Bye\n")
        time.sleep(0.2)
        terminal.send(b"\x03")
        terminal.wait_for(self.PROMPT)
        terminal.leave()
        read = "".join(json.loads(line)["piece"] for line in trace.read_text().splitlines())
        self.assertIn("<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n", read)


class Interrupt(unittest.TestCase):
    def test_of_a_completion_ends_it_with_a_summary_and_the_signal(self):
        process = subprocess.Popen(
            command("-p", "x", "-c", 1000000, "--ignore-eos"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.read(10)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertIn(b"stopped: interrupted", error)


class ShowBits(unittest.TestCase):
    def test_colours_what_has_left_and_changes_no_text(self):
        arguments = ["-p", "the cat sat on", "-n", 100, "--temp", 0, "--ignore-eos", "--kv", "k4v2"]
        plain = subprocess.run(command(*arguments), capture_output=True, check=True, timeout=SECONDS).stdout
        terminal = Terminal(command(*arguments, "--show-bits"), stderr=subprocess.PIPE)
        coloured, code = terminal.finish()
        legend = terminal.process.stderr.read()
        terminal.process.stderr.close()
        self.assertEqual(code, 0)
        self.assertIn(b"bits per element: 1 2 3 4 8", legend)
        three_bits = re.findall(rb"\x1b\[38;5;136m", coloured)
        self.assertGreater(len(three_bits), 20)
        self.assertEqual(len(three_bits), coloured.count(b"\x1b[39m"), "one mean width, so one colour")
        text = re.sub(rb"\x1b\[(38;5;\d+|39)m", b"", coloured).replace(b"\r\n", b"\n")
        self.assertEqual(text.rstrip(b"\n"), plain.replace(b"\r\n", b"\n").rstrip(b"\n"))


if __name__ == "__main__":
    MISER = sys.argv[1]
    FIXTURES = Path(sys.argv[2])
    if not FIXTURES.joinpath("tiny", "f32_long.gguf").exists():
        sys.exit(f"{FIXTURES}/tiny is missing: run ./dev test, which makes it")
    unittest.main(argv=sys.argv[:1])
