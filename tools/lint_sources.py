"""Lists what clang-tidy reads in a configured build folder, each ended by a zero byte: the sources of src/, most of
them through CMake's files that include several, but no generated ones."""
import json
import pathlib
import sys


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    sources = build.parent.parent / "src"
    for command in json.loads((build / "compile_commands.json").read_text()):
        file = pathlib.Path(command["file"])
        joined = file.parent.name == "Unity" and file.is_relative_to(build / "src")
        if joined or file.is_relative_to(sources):
            sys.stdout.write(f"{file}\0")


if __name__ == "__main__":
    main()
