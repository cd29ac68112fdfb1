#!/usr/bin/env bash
# The table of the paper (arXiv 2604.04722, section 5), measured: usage
#   reproduce_paper.sh --text DIR --data DIR --out DIR [--limit N] [--contexts N] [--context TOKENS] [--window N]
#     [--block N] MODEL.gguf...
# --text: what tools/gather_text.sh made. --data: hellaswag*, openbookqa*, arc_challenge* .jsonl[.gz]. For each model:
# trains both controllers, scores the tasks under f16, static 4 bits, 8 levels, the rule, the paper's controller and ours,
# times a decoded token at a depth of 2,048, and prints a Markdown table with the paper's figures beside ours. What is in
# --out already is not made again. Items are short: only with --window 0 --block 1 does none of their tokens stay exact.
# Shapes without a file: `miser bench --shape smollm-360m --save FILE.gguf`.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
miser=${MISER:-$root/build/release/miser}
text="" data="" out="" limit=0 contexts=24 context=2048 window=32 block=32 models=()
usage() {
  sed -n '2,5p' "${BASH_SOURCE[0]}" | cut -c3- >&2
  exit 2
}
while [ $# != 0 ]; do
  case $1 in
    --text | --data | --out | --limit | --contexts | --context | --window | --block)
      [ $# -ge 2 ] || usage
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    -*) usage ;;
    *) models+=("$1") ;;
  esac
  shift
done
[ -n "$text" ] && [ -n "$data" ] && [ -n "$out" ] && [ ${#models[@]} != 0 ] || usage
mkdir -p "$out"

# make FILE COMMAND...: FILE holds what the command printed, whole or not at all.
make() {
  local file=$1
  shift
  [ ! -s "$file" ] || return 0
  "$@" >"$file.part" && mv "$file.part" "$file"
}

exact=(--kv-window "$window" --kv-block "$block")
texts=()
for file in "$text"/*.txt; do texts+=(--text "$file"); done
for model in "${models[@]}"; do
  name=$(basename "$model" .gguf)
  plan=$out/$name.plan.gguf
  at=$out/$name
  latencies=(--kv f16 --kv q8 --kv q4 --kv q2)
  make "$at.latency.json" "$miser" bench -m "$model" "${latencies[@]}" -d 2048 -p 0 -n 32 -r 5 --json
  [ -s "$plan" ] || "$miser" train -m "$model" "${texts[@]}" --controller learned,paper --contexts "$contexts" \
    --context "$context" "${exact[@]}" --latency "$at.latency.json" --work "$at.traces" -o "$plan"
  arms=(--plan "$plan" --kv f16 --kv q4 --kv q3 --kv rule --kv paper --kv learned)
  make "$at.bench.json" "$miser" bench -m "$model" "${arms[@]}" -d 2048 -p 0 -n 32 -r 5 \
    --kv-window "$window" --json
  for task in hellaswag openbookqa arc_challenge; do
    items=("$data/$task"*.jsonl*)
    make "$at.$task.json" "$miser" eval "$task" -m "$model" "${arms[@]}" --data "${items[0]}" --limit "$limit" \
      "${exact[@]}" --resume "$at.$task.state" --json
  done
done
python3 "$root/tools/paper_table.py" "$out" "${models[@]}"
