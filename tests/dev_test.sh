#!/usr/bin/env bash
# ./dev against stand-ins for dpkg-query, apt-get, sudo, id and the build tools: which packages it installs and
# how, and what it runs. Each stand-in writes its command line to $work/log.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/repo/tools" "$work/repo/tests" "$work/repo/build/release" "$work/elsewhere"
cp dev "$work/repo/"

stand_in() {  # PATH: a program that logs its call and then does what standard input says
  { echo '#!/bin/bash'; echo "echo \"\$(basename \"\$0\") \$*\" >>'$work/log'"; cat; } >"$work/$1"
  chmod +x "$work/$1"
}
# Says of every package but those in $missing that it is installed.
stand_in bin/dpkg-query <<'E2'
while [ "$1" != -f ]; do shift; done
for package in "${@:3}"; do
  case " $missing " in *" $package "*) ;; *) echo "$package installed" ;; esac
done
E2
stand_in bin/apt-get <<<'[ -z "${broken-}" ]'
stand_in bin/sudo <<<'exec "$@"'
stand_in bin/id <<<'echo "${uid-0}"'
stand_in bin/cmake <<<'echo "compiling"'
stand_in bin/ctest <<<'exit 0'
stand_in repo/tools/fetch_model.sh <<<'[ -z "${offline-}" ] && echo model.gguf'
stand_in repo/tools/fetch_arm64.sh <<<'exit 0'
stand_in repo/tests/make_fixtures.sh <<<'exit 0'
stand_in repo/build/release/miser <<<'echo "text, from $PWD"'

failures=0
dev() { : >"$work/log"; (cd "$work/elsewhere" && env PATH="$work/bin:$PATH" "$@") >"$work/out" 2>"$work/err"; code=$?; }
problem() {
  echo "FAILED: $1"
  sed 's/^/  | /' "$work/log" "$work/out" "$work/err"
  failures=$((failures + 1))
}
expect() { [ "$code" = "$1" ] || problem "line ${BASH_LINENO[0]}: exit code $code, expected $1"; }
logged() { grep -q -e "$1" "$work/log" || problem "line ${BASH_LINENO[0]}: never called: $1"; }
not_logged() { ! grep -q -e "$1" "$work/log" || problem "line ${BASH_LINENO[0]}: should not have been called: $1"; }
said() { grep -q -e "$1" "$work/err" || problem "line ${BASH_LINENO[0]}: not said: $1"; }
repo=$work/repo

dev missing='' "$repo/dev" build
expect 0; not_logged '^apt-get'; logged '^cmake --preset release'

dev missing='g++ libfmt-dev' "$repo/dev" build
expect 0; said 'Installing Debian packages .*: g++ libfmt-dev$'; logged '^apt-get.* update$'
logged '^apt-get.* install -y --no-install-recommends g++ libfmt-dev$'; not_logged '^sudo'

dev missing='g++' uid=1000 "$repo/dev" build
expect 0; logged '^sudo .*apt-get.* install .*g++$'

dev missing='g++' broken=1 "$repo/dev" build
expect 1; said '^dev: apt-get could not install: g++$'; not_logged '^cmake'

# No sudo: a PATH with nothing but the stand-ins and what ./dev itself needs.
mkdir "$work/nosudo"
for tool in bash basename dirname sort comm sed env cat; do ln -s "$(command -v $tool)" "$work/nosudo/"; done
cp "$work/bin/dpkg-query" "$work/bin/id" "$work/nosudo/"
dev env missing='g++ cmake' uid=1000 PATH="$work/nosudo" "$repo/dev" build
expect 1; said 'are missing, and there is no sudo: cmake g++$'

dev missing='' "$repo/dev" run -p hello
expect 0; logged '^miser run -p hello$'; logged '^fetch_model.sh'
[ "$(cat "$work/out")" = "text, from $work/elsewhere" ] || problem "stdout is not the text alone"

dev missing='' "$repo/dev" run
expect 0; logged '^miser run -p .* -n 256 --temp 0.8 --repeat-penalty 1.1 -s 1$'

dev missing='' offline=1 "$repo/dev" run -p hello
expect 1; not_logged '^miser'

dev missing='unzip' offline=1 "$repo/dev" run -m my.gguf -p hello
expect 0; logged '^miser run -m my.gguf -p hello$'; not_logged '^apt-get'; not_logged '^fetch_model.sh'

dev missing='python3-venv' "$repo/dev" test -R gguf
expect 0; logged '^apt-get.* python3-venv$'; logged "^make_fixtures.sh $repo/build/fixtures\$"
logged "^ctest --test-dir $repo/build/dev .*-R gguf\$"

dev missing='' offline=1 "$repo/dev" test
expect 0; said 'tests that need it will fail'; logged '^ctest'

dev missing='clang-14' "$repo/dev" asan
expect 0; not_logged '^apt-get'; logged '^cmake --preset asan'

dev missing='qemu-user' "$repo/dev" neon -R Packed
expect 0; logged '^apt-get.* install .*qemu-user$'; logged "^fetch_arm64.sh $repo/build/neon-sysroot\$"
logged '^cmake --preset neon'; logged "^ctest --test-dir $repo/build/neon .*-R Packed\$"

dev missing='' "$repo/dev" frobnicate
expect 2; said 'unknown command: frobnicate'

dev missing='' "$repo/dev" help
expect 0; [ ! -s "$work/log" ] || problem "help does something"

[ $failures = 0 ] || exit 1
echo "All cases of ./dev passed."
