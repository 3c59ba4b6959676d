#!/bin/bash
# SPDX-License-Identifier: MIT
# Four processes replay in one pool, write and check patterns and hand objects to each other; one is
# killed in the middle, a fifth attacks meanwhile. Run it under `quarryctl create`.
#   tools/quarryctl/test/together.sh QUARRYCTL FOLDER TRACE...
# Leaves FOLDER/{a,b,c}.json (reports), FOLDER/attack.json, and FOLDER/stat.json of the end.
set -euo pipefail
ctl=$1
work=$2
shift 2
traces=("$@")
mkdir "$work/mesh"
names=(a b c victim)
for i in 0 1 2 3; do
	name=${names[i]}
	trace=${traces[i % ${#traces[@]}]}
	hand=()
	for peer in "${names[@]}"; do [[ $peer == "$name" ]] || hand+=(--hand-to "$peer"); done
	extra=()
	[[ $name != victim ]] || extra=(--kill-me-at 0.5)
	"$ctl" replay --pattern --mesh "$work/mesh" --name "$name" "${hand[@]}" "${extra[@]}" \
		--hand-each 16 --report "$work/$name.json" "$trace" >"$work/$name.out" 2>&1 &
	pids[i]=$!
done
"$ctl" attack --seconds 4 --json >"$work/attack.json" &
attacker=$!
until grep -q '^at ' "$work/victim.out"; do
	kill -0 "${pids[3]}"
	sleep 0.05
done
kill -KILL "${pids[3]}"
status=0
wait "${pids[3]}" || status=$?
[[ $status -eq 137 ]]
for i in 0 1 2; do wait "${pids[i]}"; done
wait "$attacker"
"$ctl" stat --json >"$work/stat.json"
"$ctl" verify
