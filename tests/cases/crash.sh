#!/usr/bin/env bash
# One program dying never takes another with it, and what was durable is found again.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup; env_films 120; env_cameras a="$T/film-a.mkv" b="$T/film-b.mkv"; env_config
env_store 256M --segment-size 4M >/dev/null || die init
env_start policyd; env_start recorderd; env_start gate
check "both cameras are recorded" wait_until 40 eval 'recorded_at_least 东门 8 && recorded_at_least 仓库二 8'
end=$(custos carol ls 东门 --json | jq '[.[].to] | max / 1000000000 | floor')
r=$(custos ann request --camera 东门 --from "$(date -u -d "@$((end - 7))" +%FT%TZ)" --to "$(date -u -d "@$((end - 1))" +%FT%TZ)" --reason x --json | jq .request)
custos bob approve "$r" >/dev/null; path=$(custos carol approve "$r" --json | jq -r .path)
wait_until 5 as ann test -d "$path" || die "no grant"
file=$(as ann find "$path" -name '*.mp4' | head -1)
hash_now() { as ann sha256sum "$file" | cut -d' ' -f1; }
sum=$(hash_now); [ ${#sum} = 64 ] || die "the film cannot be read"

# An ingest child.
child() { pgrep -P "${PID[recorderd]}" -x custos-ingest | head -1; }
before=$(custos carol ls 仓库二 --json | jq length)
check "there is an ingest child for each camera" eval '[ "$(pgrep -P ${PID[recorderd]} -x custos-ingest | wc -l)" = 2 ]'
kill -KILL "$(child)"
crashed() { custos carol ls --gaps --json | jq -e 'any(.[]; .cause == "ingest crash" or .cause == "ingest-crash" or .cause == "ingest_crash")'; }
check "a killed child is a gap of one camera, with its cause" wait_until 30 crashed
check "and both cameras go on" eval 'a=$(recorded 东门) b=$(recorded 仓库二); wait_until 30 recorded_at_least 东门 $((a + 2)) && wait_until 30 recorded_at_least 仓库二 $((b + 2))'

# policyd.
gaps() { custos carol ls --gaps --json | jq length; }
seconds=$(recorded 东门) n_gaps=$(gaps); [ "$n_gaps" -gt 0 ] || die "no gaps are told"
env_kill policyd
denied() { ! as ann head -c1 "$file" >/dev/null 2>&1; }
check "policyd killed: the gate denies within the lease" wait_until 8 denied
env_start policyd
check "policyd back: the grant lives on, its bytes are the same" eval 'wait_until 8 as ann test -e "$file" && [ "$(hash_now)" = "$sum" ]'
check "recording did not notice" eval 'wait_until 20 recorded_at_least 东门 $((seconds + 3)) && [ "$(gaps)" = "$n_gaps" ]'

# The gate.
kill -KILL "$(pgrep -P "${PID[gate]}" | head -1)"; wait "${PID[gate]}" 2>/dev/null; unset 'PID[gate]'
check "gate killed: nothing stays mounted" eval '! grep -q " $MNT " /proc/mounts'
env_start gate
check "gate back: same name, same bytes" eval 'wait_until 8 as ann test -e "$file" && [ "$(hash_now)" = "$sum" ]'

# The recorder.
n=$(recorded 东门)
env_kill recorderd
check "recorder killed: the gate still serves" eval '[ "$(hash_now)" = "$sum" ]'
env_start recorderd
check "recorder back: what was listed is still there, and it goes on" wait_until 30 recorded_at_least 东门 $((n + 3))
restart() { custos carol ls 东门 --gaps --json | jq -e 'any(.[]; .cause == "restart")'; }
check "the gap says restart" wait_until 10 restart
check "the old bytes are the same" eval '[ "$(hash_now)" = "$sum" ]'
check "fsck is for a stopped recorder" eval '! "$BIN/custos" --config "$T/custos.conf" fsck "$T/store" --rebuild'
env_stop recorderd
check "fsck: the store is whole" "$BIN/custos" --config "$T/custos.conf" fsck "$T/store"
rm "$T/store/catalog"
refuse 1 "a lost catalog is said, with what to do" "fsck" "$BIN/custos-recorderd" --config "$T/custos.conf"
check "the catalog is rebuilt from the segments" "$BIN/custos" --config "$T/custos.conf" fsck "$T/store" --rebuild
env_start recorderd
env_stop gate; env_start gate
check "and the bytes are the same" eval 'wait_until 8 as ann test -e "$file" && [ "$(hash_now)" = "$sum" ]'
audit_ok() { custos dave audit verify --key "$T/state/keys/sign.pub"; }
check "the logs of all three verify" wait_until 15 audit_ok
tap_done
