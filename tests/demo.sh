#!/usr/bin/env bash
# The main job, end to end, on this machine (`sudo make demo`): two cameras are recorded; footage of one is
# requested, approved by two people, played through the mount; nobody else sees it; the grant is revoked under a
# reader; the audit trail is shown and verified. Exit 0 only if all of it held.
#
#   KEEP=1   leave everything running at the end and say what to try
#   SECONDS_RECORDED=30      at least 20

. "$(dirname "$0")/env.sh"
: "${SECONDS_RECORDED:=30}"
[ "$SECONDS_RECORDED" -ge 20 ] || die "SECONDS_RECORDED must be at least 20"
KEEP_HINTS=1
GATE_CAM=东门

step() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; }

keep_hints() {
	cat <<-E

	Left running (KEEP=1). The instance is in $T; its people are $(for u in $PEOPLE; do printf '%s ' "$(user "$u")"; done)
	Try, with   C="$BIN/custos --config $T/custos.conf":
	  runuser -u $(user carol) -- \$C ls
	  runuser -u $(user frank) -- \$C status
	  runuser -u $(user ann)   -- \$C request --camera $GATE_CAM --from -5min --to now --reason "another look"
	  runuser -u $(user bob)   -- \$C approve 2      then   runuser -u $(user carol) -- \$C approve 2
	  runuser -u $(user ann)   -- find $MNT/$(user ann)
	  runuser -u $(user dave)  -- \$C audit show
	End it:
	  p="${PID[gate]} ${PID[recorderd]} ${PID[policyd]} ${PID[rtsp]}"; kill \$p; for i in \$p; do timeout 20 tail --pid=\$i -f /dev/null; done
	  for u in rec pol gate $PEOPLE; do userdel ct$TAG-\$u; done; for g in store audit staff; do groupdel ct$TAG-\$g; done; rm -rf $T
	E
}

step "An instance of its own: people, store, configuration"
env_setup
[ -x "$BIN/custosfs" ] || die "not built: run make first"
env_films $((SECONDS_RECORDED + 60))
env_cameras a="$T/film-a.mkv" b="$T/film-b.mkv"
env_config
say "cameras 东门 (H.264 + AAC) and 仓库二 (H.265) at $RTSP/"
show custos init "$T/store" --size 512M --segment-size 8M
env_store 512M --segment-size 8M || die "init"

step "Three daemons, each under its own user"
env_start policyd
env_start recorderd
env_start gate
grep -h 'fingerprint' "$T/policyd.log" | head -1
ps -o user:16,args -p "${PID[policyd]},${PID[recorderd]}" | sed 's/--config.*//'

step "$SECONDS_RECORDED seconds are recorded"
for c in 东门 仓库二; do
	wait_until $((SECONDS_RECORDED + 25)) recorded_at_least $c "$SECONDS_RECORDED" || die "camera $c is not recorded"
done
show custos ls; custos carol ls || die "ls"

# A window that lies wholly inside what has been recorded.
read -r from to < <(custos carol ls $GATE_CAM --json | jq -r --argjson n "$SECONDS_RECORDED" \
	'max_by(.to - .from) | "\((.to / 1000000000 | floor) - ($n - 8)) \((.to / 1000000000 | floor) - 5)"')
from=$(date -u -d "@$from" +%FT%TZ) to=$(date -u -d "@$to" +%FT%TZ)

step "ann asks; bob (head of 物流部) and carol (monitoring) sign"
show custos request --camera $GATE_CAM --from "$from" --to "$to" --reason 货物丢失 --case 2026-117
request=$(custos ann request --camera $GATE_CAM --from "$from" --to "$to" --reason 货物丢失 --case 2026-117 --json |
	jq -e .request) || die "request"
custos ann approve "$request" 2>&1 && die "ann could approve her own request"
custos carol approve "$request" 2>&1 && die "carol could sign before the head"
custos bob approve "$request" || die "bob's approval"
path=$(custos carol approve "$request" --json | jq -er .path) || die "carol's approval"
grant=$(basename "$path")
show custos show "$request"; custos ann show "$request" || die "show"

step "ann looks"
wait_until 10 as ann test -d "$path" || die "the grant does not appear in the mount"
as ann find "$path" -type f
as ann cat "$path/GRANT.txt" || die "GRANT.txt"
file=$(as ann find "$path" -name '*.mp4' | sort | head -1)
[ -n "$file" ] || die "no film in the mount"
as ann ffprobe -v error -show_entries stream=codec_name,width,height,sample_rate:format=duration,size -of compact "$file" || die "ffprobe"
errors=$(as ann ffmpeg -nostdin -v error -i "$file" -f null - 2>&1) || die "decode: $errors"
[ -z "$errors" ] || die "decode said: $errors"
one=$(as ann sha256sum "$file") && two=$(as ann sha256sum "$file") || die "sha256sum"
[ "$one" = "$two" ] || die "two hashes of the same file differ"
say "decoded without an error; sha256 twice: ${one%% *}"

step "eve finds nothing there"
as eve ls "$path" 2>&1 && die "eve could list ann's grant"
as eve cat "$file" >/dev/null 2>&1 && die "eve could read ann's film"
cat "$file" >/dev/null 2>&1 && die "root could read ann's film"
[ "$(as eve ls "$MNT")" = "$(user eve)" ] || die "eve sees other names in the mount: $(as eve ls "$MNT")"
[ -z "$(as eve ls "$MNT/$(user eve)")" ] || die "eve has something"
as eve cat "$T/store/store" >/dev/null 2>&1 && die "eve could read the store"

step "carol revokes while ann is in the middle of the file"
: >"$T/reader.out"; mkdir -m 1777 "$T/say"
as ann python3 "$ROOT/tests/reader.py" "$file" "$T/say/half" >"$T/reader.out" 2>&1 &
reader=$!
wait_until 20 test -e "$T/say/half" || die "the reader did not get to the middle: $(cat "$T/reader.out")"
show custos revoke "$grant" --reason 案件移交
custos carol revoke "$grant" --reason 案件移交 || die "revoke"
wait $reader || die "the reader went on: $(cat "$T/reader.out")"
say "the reader stopped with $(cat "$T/reader.out")"
grep -q EACCES "$T/reader.out" || die "the reader should have been refused with EACCES"
as ann ls "$path" 2>/dev/null && die "the grant is still in the mount"

step "The audit trail, by dave the auditor"
custos dave audit show --from -10min >"$T/trail" || die "audit show"
for op in request approve activate open cover read deny revoke-intent revoked revoke-done; do
	grep -q -- " $op " "$T/trail" || die "no record of: $op"
done
show "custos audit show        (the covers are left out here)"
sed -E 's/ footage 20.*//' "$T/trail" | awk '/ (cover|snapshot|snapshot-seen) / {next} {print}' | cut -c 1-230
show custos audit verify --key "$T/state/keys/sign.pub"
# policyd signs the heads of all three logs every few seconds: wait until revocation and last read are under a signature.
signed() {
	custos dave audit verify --key "$T/state/keys/sign.pub" --json >"$T/verdict" 2>&1 &&
		jq -e --argjson n "$last" 'all(.[]; .ok) and any(.[]; .log == "gate" and .signed_records >= $n)' "$T/verdict" >/dev/null
}
last=$(custos dave audit show --log gate --json | jq 'map(.seq) | max') || die "audit show --json"
wait_until 15 signed || { cat "$T/verdict"; die "the audit logs do not verify"; }
custos dave audit verify --key "$T/state/keys/sign.pub" || die "audit verify"
cp -r "$T/state/gate/log" "$T/forged"
f=$(ls "$T"/forged/*.log | head -1)
printf X | dd of="$f" bs=1 seek=$(($(grep -abo "$(user ann)" "$f" | head -1 | cut -d: -f1) + 1)) conv=notrunc status=none
show "custos audit verify --dir COPY      (a copy of the gate's log with one letter of a name changed)"
"$BIN/custos" audit verify --key "$T/state/keys/sign.pub" --dir "$T/forged" && die "a forged log was called good"

step "Still recording, nobody fell over"
for d in policyd recorderd gate; do kill -0 "${PID[$d]}" || die "$d is gone"; done
show custos status; custos frank status || die "status"
say ""
say "All of it held."
