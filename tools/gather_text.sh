#!/usr/bin/env bash
# Gathers the text that `miser train` learns from out of Debian 12 packages, and two texts to evaluate on.
#   tools/gather_text.sh OUT_DIR [EVALUATION_TEXT...]
# Packages (gather_sources.txt) are downloaded and unpacked into a temporary folder, never installed. OUT_DIR gets
# KIND-*.txt to train on, eval/*.txt, `packages` (names and versions) and SHA256SUMS. Paragraphs that share 13 words
# in a row with the evaluation texts are left out. Needs apt-get with Debian 12 sources, dpkg-deb, groff and python3.
# MISER_PACKAGES names a folder to keep downloaded packages in.
set -euo pipefail

fail() {
  echo "gather_text: $1" >&2
  exit 1
}

(($# >= 1)) || fail "usage: tools/gather_text.sh OUT_DIR [EVALUATION_TEXT...]"
out=$1
shift
tools=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out" || fail "cannot make the directory $out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debs=${MISER_PACKAGES:-$work/debs}
mkdir -p "$debs" "$work/unpacked"
debs=$(cd "$debs" && pwd)

names=$(awk '!/^#/ && NF { print $2 }' "$tools/gather_sources.txt" | sort -u)
: >"$work/packages"
for name in $names; do
  if ! compgen -G "$debs/${name}_*.deb" >/dev/null; then
    echo "gather_text: downloading $name" >&2
    (cd "$debs" && apt-get download -qq "$name" >&2) || fail "cannot download $name (apt-get update?)"
  fi
  deb=$(compgen -G "$debs/${name}_*.deb" | tail -n 1)
  mkdir "$work/unpacked/$name"
  mapfile -t paths < <(awk -v name="$name" '$2 == name && !seen[$4]++ { gsub(/\*\*/, "*", $4); print "./" $4 }' \
    "$tools/gather_sources.txt")
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work/unpacked/$name" --wildcards "${paths[@]}" ||
    fail "cannot unpack ${paths[*]} of $deb"
  dpkg-deb -f "$deb" Package Version | awk '{ printf "%s%s", $2, NR % 2 ? " " : "\n" }' >>"$work/packages"
done

LC_ALL=C.UTF-8 python3 "$tools/gather_text.py" "$tools/gather_sources.txt" "$work/unpacked" "$out" "$@"
cp "$work/packages" "$out/packages"
cd "$out"
find . -name '*.txt' -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS
