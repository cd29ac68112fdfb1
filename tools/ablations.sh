#!/usr/bin/env bash
# Fits plans with one thing changed at a time and scores each on held-out text: what it is expected to cost.
#   tools/ablations.sh MODEL.gguf TEXT_DIR OUT_DIR      (TEXT_DIR as tools/gather_text.sh leaves it; half an hour)
# Traces and fits that OUT_DIR holds are not made again; OUT_DIR/RESULTS.md gets the tables (tools/ablations_table.py).
#
# Environment: MISER, the binary (build/release/miser); THREADS (2); CONTEXTS to learn from (14) and TEST_CONTEXTS (6),
# of CONTEXT tokens (1024) with SAMPLES (4) draws; ENCYCLOPEDIC, a held-out text beside those in TEXT_DIR/eval.
set -euo pipefail

(($# == 3)) || {
  sed -n '2,4p' "${BASH_SOURCE[0]}" | cut -c3- >&2
  exit 2
}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
model=$1 text=$2 out=$3
miser=${MISER:-$root/build/release/miser}
contexts=${CONTEXTS:-14} test_contexts=${TEST_CONTEXTS:-6}
common=(-m "$model" --context "${CONTEXT:-1024}" --samples "${SAMPLES:-4}" -t "${THREADS:-2}" --json)
mkdir -p "$out/fits" "$out/traces"

# fit NAME TRACES OPTIONS...: fits/NAME.json says what the plan made from this folder of traces scores.
fit() {
  local name=$1 traces=$2
  shift 2
  [ ! -s "$out/fits/$name.json" ] || return 0
  echo "ablations: $name" >&2
  "$miser" train "${common[@]}" --work "$out/traces/$traces" -o "$out/plan.gguf" "$@" >"$out/fits/$name.part"
  mv "$out/fits/$name.part" "$out/fits/$name.json"
}

# link_traces SET PATTERN TO: what another folder has traced of the same text.
link_traces() {
  mkdir -p "$out/traces/$3"
  # shellcheck disable=SC2231
  for trace in "$out"/traces/$2/"$1"-*.trace; do
    [ ! -e "$trace" ] || [ -e "$out/traces/$3/${trace##*/}" ] || ln "$trace" "$out/traces/$3/"
  done
}

# texts OPTION FILE...: the option before each file.
texts() {
  local option=$1
  shift
  for file in "$@"; do printf '%s\n%s\n' "$option" "$file"; done
}

held_out=("$text/eval/code.txt" "$text/eval/manuals.txt" ${ENCYCLOPEDIC:+"$ENCYCLOPEDIC"})
held_out_kinds=(code manuals encyclopedic)
mapfile -t mixed_text < <(texts --text "$text"/*.txt && texts --test "${held_out[@]}")
mixed=("${mixed_text[@]}" --contexts "$contexts" --test-contexts "$test_contexts")

signals=received,received_sq,received_max,k_norm2,v_norm2,position,received_layer,received_below,received_heads,k,k_pairs,v
# without REGEX: the signals that do not match.
without() {
  tr , '\n' <<<"$signals" | grep -vxE "$1" | paste -sd,
}
fit all mixed "${mixed[@]}" --controller learned,paper
fit loss-ridge mixed "${mixed[@]}" --controller ridge
fit without-received mixed "${mixed[@]}" --signals "$(without 'received.*')"
fit without-received_sq-received_max mixed "${mixed[@]}" --signals "$(without 'received_(sq|max)')"
fit without-received_layer-received_below mixed "${mixed[@]}" --signals "$(without 'received_(layer|below)')"
fit without-received_heads mixed "${mixed[@]}" --signals "$(without received_heads)"
fit without-norms mixed "${mixed[@]}" --signals "$(without '._norm2')"
fit without-position mixed "${mixed[@]}" --signals "$(without position)"
fit without-k_pairs mixed "${mixed[@]}" --signals "$(without k_pairs)"
fit without-k-k_pairs-v mixed "${mixed[@]}" --signals "$(without 'k|v|k_pairs')"
fit only-received mixed "${mixed[@]}" --signals received
fit only-norms-position mixed "${mixed[@]}" --signals k_norm2,v_norm2,position
for ladder in 2,4,8,16 2,3,4,8,16 3,4,8; do fit "ladder-$ladder" mixed "${mixed[@]}" --ladder "$ladder"; done
fit not-centred mixed "${mixed[@]}" --no-centres
for share in layer model; do fit "share-$share" mixed "${mixed[@]}" --share "$share"; done

# Fewer contexts from here on: these have traces of their own.
half=$((contexts / 2))
for n in $((contexts / 4)) "$half"; do
  link_traces test mixed "contexts-$n"
  fit "contexts-$n" "contexts-$n" "${mixed_text[@]}" --contexts "$n" --test-contexts "$test_contexts"
done
for window in 0 8 32 64; do
  fit "window-$window" "window-$window" "${mixed_text[@]}" --contexts "$half" --test-contexts "$test_contexts" \
    --kv-window "$window"
done

for kind in encyclopedic prose code manuals; do
  mapfile -t of_kind < <(texts --text "$text/$kind"-*.txt)
  for i in "${!held_out[@]}"; do
    traces=kind-$kind-on-${held_out_kinds[i]}
    link_traces train "kind-$kind-on-*" "$traces"
    link_traces test "kind-*-on-${held_out_kinds[i]}" "$traces"
    fit "$traces" "$traces" "${of_kind[@]}" --test "${held_out[i]}" --contexts "$half" --test-contexts "$test_contexts"
  done
done

python3 "$root/tools/ablations_table.py" "$out/fits" >"$out/RESULTS.md"
