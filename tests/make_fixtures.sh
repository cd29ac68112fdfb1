#!/usr/bin/env bash
# usage: make_fixtures.sh OUTDIR. Makes what the tests compare with, from references in Python that share no code
# with Miser (NumPy, the gguf package). Does nothing when OUTDIR is newer than the scripts.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$PWD/build/venv
requirements=(numpy==1.26.4 gguf==0.19.0)
declare -A generators=([quants]=tests/make_quant_vectors.py [codec]=tests/reference/codec_reference.py [tiny]=tests/make_tiny_models.py [fisher]=tests/make_fisher.py)

exec 9<"$out"
flock 9  # presets share the directory
sources=$(find tests -name "*.py" -o -name make_fixtures.sh | sort | xargs sha256sum)
[ "$(cat "$out/stamp" 2>/dev/null)" != "$sources" ] || exit 0

echo "Making fixtures in $out" >&2
rm -f "$out/stamp"
if [ "$(cat "$venv/requirements" 2>/dev/null)" != "${requirements[*]}" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${requirements[@]}" || {
    echo "make_fixtures: could not install ${requirements[*]} (offline?); try again" >&2
    exit 1
  }
  echo "${requirements[*]}" >"$venv/requirements"
fi
for name in "${!generators[@]}"; do
  rm -rf "${out:?}/$name"
  mkdir "$out/$name"
  "$venv/bin/python" "${generators[$name]}" "$out/$name"
done
echo "$sources" >"$out/stamp"
