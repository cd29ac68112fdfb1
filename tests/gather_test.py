"""Gathers text from small unpacked packages, and expects what does not belong to be gone."""
import gzip
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent.parent / "tools"
sys.path.insert(0, str(TOOLS))
import gather_readers  # noqa: E402
import gather_text  # noqa: E402
import overlap  # noqa: E402

PROSE = "\n".join(f"word{chr(97 + i)} follows another one here" for i in range(20))


class GatherTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def gather(self, lines, *evaluation):
        sources = self.write("sources", "# comment\n\n" + "\n".join(lines) + "\n")
        command = [sys.executable, TOOLS / "gather_text.py", sources, self.root / "packages", self.root / "out"]
        return subprocess.run([*command, *evaluation], capture_output=True, text=True)

    def text(self, name):
        return (self.root / "out" / f"{name}.txt").read_text()

    def test_text_has_no_tags_tables_licences_or_repetitions(self):
        notice = "<p>Copyright (C) 2020 Somebody. Permission is granted to copy this.</p>"
        table = "<p>1.5 2.5 3.5 4.5 17 18 19 20</p>"
        for page in "ab":
            self.write(f"packages/p/doc/{page}.html",
                       f"<title>T</title><nav>menu</nav><h1>Page {page}</h1><p>The same <i>words</i> {PROSE}</p>"
                       f"<p>Only {page} has {PROSE}</p>{notice}{table}<pre>a\n  b</pre>")
        self.assertEqual(self.gather(["prose p html doc/*.html 100"]).returncode, 0)
        text = self.text("prose")
        self.assertEqual(text.count("The same words"), 1)
        self.assertEqual((text.count("Only a has"), text.count("Only b has")), (1, 1))
        for unwanted in ("menu", "Copyright", "2.5", "<", "\n\n\n\n"):
            self.assertNotIn(unwanted, text)
        self.assertIn("a\n  b", text)

    def test_training_text_leaves_out_what_is_evaluated(self):
        planted = "a sentence of more than thirteen words that both of the texts have in them today"
        self.write("packages/e/x.py", f"# {planted}\n\n# {PROSE}\n")
        self.write("packages/t/x.py", f"# {planted}\n\n# {PROSE.replace('follows', 'precedes')}\n\n# {PROSE} given\n")
        given = self.write("given.txt", PROSE)
        run = self.gather(["code t code *.py 100", "eval/code e code *.py 100"], given)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("2 paragraphs left out", run.stderr)
        self.assertTrue(overlap.ngrams(self.text("code")))
        self.assertTrue(overlap.ngrams(self.text("code")).isdisjoint(overlap.ngrams(self.text("eval/code"))))

    def test_equal_packages_give_equal_texts_of_the_size_asked_for(self):
        for i in range(9):
            self.write(f"packages/p/{i}.py", f"# {i} {PROSE}\n" * 3)
        texts = []
        for _ in range(2):
            self.gather(["code p code *.py 4"])
            texts.append(self.text("code"))
        self.assertEqual(texts[0], texts[1])
        self.assertTrue(4000 <= len(texts[0]) < 9000, len(texts[0]))

    def test_wrong_sources_are_errors(self):
        self.write("packages/p/a.py", PROSE)
        for line, reason in (("code p code *.py", "sources:3"), ("code p novel *.py 5", "sources:3"),
                             ("code p code *.txt 5", "p: no text found under *.txt")):
            run = self.gather([line])
            self.assertEqual(run.returncode, 1)
            self.assertIn(reason, run.stderr)

    def test_manuals_are_plain_and_without_what_all_pages_repeat(self):
        if shutil.which("groff") is None:
            print("gather_test: manual pages not read, groff is missing")
            return
        page = ".TH X 1\n.SH NAME\nx \\- \\fBbold\\fP text\n.SH DESCRIPTION\nIt works.\n.SH COPYRIGHT\nMine.\n"
        path = self.root / "x.1.gz"
        path.write_bytes(gzip.compress(page.encode()))
        text = gather_readers.man(path)
        self.assertEqual(text.split(), "NAME x - bold text DESCRIPTION It works.".split())

    def test_spaced_text_looks_like_a_corpus_of_words(self):
        self.assertEqual(gather_text.spaced("A well-known, well-known A (1,000)."),
                         " A well @-@ known , well @-@ known A ( 1 @,@ 000 ) . ")

    def test_overlap_prints_the_share_of_every_pair(self):
        train = self.write("train.txt", " ".join(f"w{i}" for i in range(20)))
        other = self.write("other.txt", " ".join(f"W{i}," for i in range(14, 34)))
        same = self.write("same.txt", " ".join(f"W{i}," for i in range(5, 25)))
        run = subprocess.run([sys.executable, TOOLS / "overlap.py", "--train", train, "--eval", other, same],
                             capture_output=True, text=True)
        rows = [line.split() for line in run.stdout.splitlines()]
        self.assertEqual([row[1:3] for row in rows], [["other.txt", "0"], ["same.txt", "3"]])
        self.assertEqual(float(rows[1][3]), 37.5)


if __name__ == "__main__":
    unittest.main()
