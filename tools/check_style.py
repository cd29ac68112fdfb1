#!/usr/bin/env python3
"""Checks what clang-format and clang-tidy do not: lengths of files and functions, and words that do not belong.

usage: check_style.py ROOT. Looks at the files that git tracks or would take, prints FILE:LINE: reason for each
violation and exits with 1 when there is one.
"""
import pathlib
import re
import statistics
import subprocess
import sys

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
MAX_HEADER_LINES = 120  # public headers: src/**.h but -inl.h

FORBIDDEN = [
    (re.compile(r"(?<![\w.$})])/(?:work|root|tmp|home)/"), "absolute path of some machine"),
    (re.compile(r"\b(?:pypi\.(?:org|python)|files\.pythonhosted|deb\.debian)\b"), "host name of a registry"),
    (re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"), "unfinished work"),
]

LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
SCOPE = re.compile(r"\b(?:namespace|class|struct|union|enum|extern)\b")
FUNCTION_END = re.compile(r"\)(?:const|noexcept|override|final|[A-Z_]+|[&\s])*$|->")
MEMBER_INITIALISER = re.compile(r"\)[^:]*[^:]:[^:].*[\w>]\s*$", re.DOTALL)


def blank(match):
    """Same number of lines, no code: what is left of comments, literals and directives."""
    return "\n" * match.group().count("\n")


def kind_of_brace(head, parens):
    """What the brace after `head` opens at namespace or class level, `parens` deep in parentheses."""
    if parens or MEMBER_INITIALISER.search(head):
        return "initialiser"
    if SCOPE.search(head) and not ("(" in head and FUNCTION_END.search(head)):
        return "scope"
    return "function" if "(" in head else "initialiser"


def functions(text):
    """Yields (line, length in lines) of every outermost function body, found by counting braces."""
    code = DIRECTIVE.sub(blank, LITERAL.sub(blank, text))
    stack, head, line, parens = [], "", 1, 0
    for char in code:
        line += char == "\n"
        at_scope = not stack or stack[-1][0] == "scope"
        if char == "{":
            kind = kind_of_brace(head, parens) if at_scope else "block"
            stack.append((kind, line))
            head = "" if kind == "scope" else head
        elif char == "}" and stack:
            kind, start = stack.pop()
            if kind == "function":
                yield start, line - start + 1
            if kind in ("function", "scope"):
                head = ""
            elif kind == "initialiser":
                head += char
        elif at_scope:
            parens += (char == "(") - (char == ")")
            head = "" if char == ";" and not parens else head + char


def check_lengths(path, name, lines, lengths):
    """Violations of one C++ file of `lines` lines and of its functions' (line, length)."""
    is_public_header = name.startswith("src/") and name.endswith(".h") and not name.endswith("-inl.h")
    if lines > MAX_FILE_LINES:
        yield f"{path}:{lines}: file of {lines} lines, at most {MAX_FILE_LINES}"
    elif is_public_header and lines > MAX_HEADER_LINES:
        yield f"{path}:{lines}: public header of {lines} lines, at most {MAX_HEADER_LINES}"
    for start, length in lengths:
        if length > MAX_FUNCTION_LINES:
            yield f"{path}:{start}: function of {length} lines, at most {MAX_FUNCTION_LINES}"


def check_words(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, what in FORBIDDEN:
            if match := pattern.search(line):
                yield f"{path}:{number}: {what}: {match.group()}"


def tracked(root):
    """Names of files, relative to root, that git tracks or would take."""
    command = ["git", "-c", f"safe.directory={root.resolve()}", "-C", str(root),
               "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    return sorted(name for name in names if name and (root / name).is_file())


def main():
    root = pathlib.Path(sys.argv[1])
    found, file_lengths, function_lengths = [], [], []
    for name in tracked(root):
        try:
            text = (root / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary: a fuzz seed, say
        found += check_words(root / name, text)
        if name.endswith((".cc", ".h")):
            lengths = list(functions(text))
            found += check_lengths(root / name, name, text.count("\n"), lengths)
            if name.startswith("src/"):
                file_lengths.append(text.count("\n"))
                function_lengths += [length for _, length in lengths if length > 5]
    print("".join(violation + "\n" for violation in found), end="")
    if function_lengths:
        print(f"src: {len(file_lengths)} files, median {statistics.median(file_lengths):.0f} lines; of functions "
              f"over 5 lines the median has {statistics.median(function_lengths):.0f}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
