#!/usr/bin/env bash
# All static checks. Every one runs; each prints FILE:LINE and the reason; fails when any of them does.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

failed=0
check() {
  echo "--- $1" >&2
  shift
  "$@" || failed=1
}

# Files that git knows or would take, so that new ones are checked before they are added.
files() {
  git -c safe.directory="$PWD" ls-files -z --cached --others --exclude-standard -- "$@" |
    while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done
}

format() { files '*.cc' '*.h' | xargs -0 clang-format-14 --dry-run -Werror; }

tidy() {
  cmake --preset dev >/dev/null || return 1  # for build/dev/compile_commands.json
  # shellcheck disable=SC2016  # $0 is for the inner shell
  python3 tools/lint_sources.py build/dev | xargs -0 -n1 -P"$(nproc)" sh -c \
    'report=$(clang-tidy-14 --quiet -p build/dev "$0" 2>/dev/null) || { printf "%s\n" "$report"; exit 1; }'
}

check layers python3 tools/check_layers.py .
check style python3 tools/check_style.py .
check clang-format format
check clang-tidy tidy
exit $failed
