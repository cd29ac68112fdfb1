"""`miser eval kl --report` on a tiny random model.

Usage: report_cli_test.py MISER FIXTURES        (the built binary, and the folder that tests/make_fixtures.sh fills)
"""

import json
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

MISER = ""
FIXTURES = Path()


class ReportOption(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)
        (self.folder / "some text.txt").write_text("A note that is read again is worth its bits, 4719 times. " * 30)

    def eval_kl(self, *args):
        model = FIXTURES / "tiny" / "f32_long.gguf"
        run = subprocess.run(
            [MISER, "eval", "kl", "-m", model, "-t", "1", "--data", "some text.txt", "--context", "128", "--limit", "2",
             *args], cwd=self.folder, capture_output=True, text=True, check=False, timeout=60)
        return run.returncode, run.stdout, run.stderr

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())

    def data(self):
        page = (self.folder / "out.html").read_text()
        return json.loads(page.split('id="data">')[1].split("</script")[0])

    def test_page_holds_the_figures_that_are_printed(self):
        code, output, error = self.eval_kl("--kv", "q4", "--kv", "rule", "--report", "out.html", "--json")
        self.assertEqual(code, 0, error)
        printed = json.loads(output)
        data = self.data()
        self.assertEqual([p["kv"] for p in data["policies"]], ["f16", "q4", "rule"])
        for row, policy in zip(printed["rows"], data["policies"]):
            self.assertEqual(policy["kl_mean"], row["kl_mean"])
            self.assertEqual(policy["bits"], row["bits_per_element"])
        self.assertEqual([m["kv"] for m in data["heat_maps"]], ["rule"])
        facts = dict(data["facts"])
        self.assertIn(printed["model"]["hash"], facts["Model"])
        self.assertIn(printed["text"], facts["Text"])
        self.assertRegex(facts["Date"], r"^20\d\d-\d\d-\d\d \d\d:\d\d UTC$")
        self.assertRegex(facts["Machine"], r" GiB of memory; 1 thread used$")

    def test_command_of_the_page_makes_it_again(self):
        self.eval_kl("--kv", "q2", "--report", "out.html")
        first = self.data()
        command = shlex.split(first["commands"][0][1])
        self.assertEqual(command[:3], ["miser", "eval", "kl"])
        self.assertIn("some text.txt", command)
        subprocess.run([MISER, *command[1:]], cwd=self.folder, capture_output=True, check=True, timeout=60)
        self.assertEqual(self.data()["policies"], first["policies"])

    def test_text_and_speeds_of_the_user_are_shown(self):
        (self.folder / "own.txt").write_text("Zebra 7")
        (self.folder / "bench.json").write_text('{"model": "m", "rows": [{"kv": "q4", "depth": 8, "decode_tok_per_s": 5.5}]}')
        code, _, error = self.eval_kl("--kv", "q4", "--report", "out.html", "--report-text", "own.txt", "--bench", "bench.json")
        self.assertEqual(code, 0, error)
        self.assertTrue("".join(token[0] for token in self.data()["heat_maps"][0]["tokens"]).endswith("Zebra 7"))
        self.assertEqual(self.data()["speed"][0]["decode"], 5.5)

    def check_refused(self, code, message, *args):
        before = self.files()
        found, output, error = self.eval_kl("--kv", "q4", *args)
        self.assertEqual((found, output), (code, ""), error)
        self.assertIn(message, error)
        self.assertEqual(len(error.splitlines()), 1, error)
        self.assertEqual(self.files(), before)

    def test_bad_files_are_told_before_the_work_and_leave_nothing(self):
        (self.folder / "long.txt").write_text("7" * 20000)
        (self.folder / "bench.json").write_text("{}")
        self.check_refused(1, "no/such/out.html: cannot create: No such file", "--report", "no/such/out.html")
        self.check_refused(1, "bench.json: expected one JSON object", "--report", "out.html", "--bench", "bench.json")
        self.check_refused(1, "expected 1 to 2000", "--report", "out.html", "--report-text", "long.txt")
        self.check_refused(1, "missing.txt", "--report", "out.html", "--report-text", "missing.txt")
        self.check_refused(2, "--report", "--bench", "bench.json")

    def test_full_disk_is_an_error(self):
        code, _, error = self.eval_kl("--kv", "q4", "--report", "/dev/full")
        self.assertEqual(code, 1)
        self.assertEqual(error.splitlines()[-1], "miser: /dev/full: cannot write: No space left on device")


if __name__ == "__main__":
    MISER, FIXTURES = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    unittest.main(argv=sys.argv[:1])
