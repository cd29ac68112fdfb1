"""Plants violations in a small repository and expects the checkers of tools/ to find each, and nothing else."""
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


if __name__ == "__main__":
    unittest.main()
