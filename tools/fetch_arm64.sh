#!/usr/bin/env bash
# fetch_arm64.sh FOLDER: unpacks Debian's arm64 libraries into FOLDER, for the preset `neon`. Nothing is installed
# and no root is needed; apt's lists of arm64 packages are kept beside them.
set -euo pipefail

folder=$1
packages=(libhwy-dev libhwy1 libdnnl-dev libdnnl2 libfmt-dev libfmt9 libgtest-dev libgmock-dev)
if [ -e "$folder/complete" ]; then exit 0; fi
echo "Fetching Debian's arm64 libraries: ${packages[*]}" >&2
mkdir -p "$folder"/apt/{lists,archives}/partial
cd "$folder/apt"
apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State::Lists=$PWD/lists"
  -o "Dir::Cache=$PWD" -o APT::Sandbox::User=)
"${apt[@]}" update >&2
"${apt[@]}" download "${packages[@]}" >&2
for package in *.deb; do dpkg-deb -x "$package" ..; done
touch ../complete
