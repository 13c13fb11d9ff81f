#!/usr/bin/env bash
# Feeding and importing: containers and codecs, pipes, old footage at its own time, and what is refused.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup
CAMS="mp4 ts mkv hevc alaw old"
conf_cameras() { local c; for c in $CAMS; do echo "camera \"c-$c\" { store = \"main\" source = \"feed\" feeders = {\"$(user pipe)\", \"$(user eve)\"} }"; done; }
policy_cameras() { local c; for c in $CAMS; do echo "camera \"c-$c\" { department = \"物流部\" min_age = \"90d\" max_age = \"4000d\" }"; done; }
policy_extra() { echo "chain \"wide\" { requesters = {\"$(user ann)\"} stages = {\"monitoring\"} }"; }
env_config
# Slow flushes: what has ended is a while from being durable, which is where two imports could meet.
sed -i 's/flush = "1s"/flush = "4s"/' "$T/custos.conf"
env_store 512M --segment-size 4M >/dev/null || die init
v="-f lavfi -i testsrc2=size=320x240:rate=25:duration=6" a="-f lavfi -i sine=frequency=300:sample_rate=48000:duration=6"
film "$T/f.mp4" $v $a -c:v libx264 -preset veryfast -bf 2 -g 25 -pix_fmt yuv420p -c:a aac
film "$T/f.ts" -i "$T/f.mp4" -c copy
film "$T/f.mkv" $v $a -c:v libx264 -preset ultrafast -g 50 -pix_fmt yuv420p -c:a aac
film "$T/hevc.mkv" $v -c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25 -pix_fmt yuv420p
film "$T/alaw.mkv" $v $a -ac 1 -ar 8000 -c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a pcm_alaw
chmod 0644 "$T"/f.* "$T"/*.mkv
env_start policyd; env_start recorderd; env_start gate

# All live feeds at once: each is paced to its own clock.
feeds=()
for x in mp4:f.mp4 ts:f.ts mkv:f.mkv hevc:hevc.mkv alaw:alaw.mkv; do
	custos pipe feed "c-${x%%:*}" "$T/${x#*:}" >"$T/feed-${x%%:*}.out" 2>&1 & feeds+=($!)
done
for p in "${feeds[@]}"; do check "feed $p ends well" wait "$p"; done
for c in mp4 ts mkv hevc alaw; do check "c-$c: nearly all six seconds are there" recorded_at_least "c-$c" 5; done

check "a pipe" eval 'ffmpeg -nostdin -v error -i "$T/f.ts" -t 3 -c copy -f mpegts - | custos pipe feed c-ts -'
refuse 1 "old footage: role importer only" "" custos eve feed c-old "$T/f.mp4" --start "2024-02-03T04:05:06Z"
check "old footage at its own time" custos pipe feed c-old "$T/f.mp4" --start "2024-02-03T04:05:06Z"
check "it lies there, marked imported" eval 'custos carol ls c-old --json | jq -e ".[0].imported and .[0].from / 1000000000 >= 1706933106 and .[0].from / 1000000000 < 1706933107"'
refuse 1 "never over what is recorded" "recorded|overlap" custos pipe feed c-old "$T/f.mp4" --start "2024-02-03T04:05:09Z"
# An import whose end is not durable yet cannot be looked up: meanwhile the next one waits outside.
import_march() { custos pipe feed c-old "$T/f.mp4" --start 2024-03-01T00:00:00Z >/dev/null 2>&1; }
check "one minute is not imported twice, however quickly it is tried again" eval '
	import_march & p=$!
	while kill -0 $p 2>/dev/null; do import_march; done
	wait $p
	custos carol ls c-old --json | jq -e "[.[] | select(.from >= 1709251200000000000) | .to - .from] | add < 7000000000 and add > 5000000000"'
refuse 1 "never into the future" "" custos pipe feed c-old "$T/f.mp4" --start "$(date -u -d '+1 hour' +%FT%TZ)"

# What was stored is what was sent: the same pictures, counted and hashed.
look() { # CAMERA FROM TO → path of the grant
	local r; r=$(custos ann request --chain wide --camera "$1" --from "$2" --to "$3" --reason t --json | jq .request) &&
	custos carol approve "$r" --json | jq -r .path
}
pictures() { ffmpeg -nostdin -v error -i "$1" -map 0:v -f framemd5 - | grep -v '^#' | awk '{print $NF}'; }
for c in mp4:f.mp4 mkv:f.mkv hevc:hevc.mkv alaw:alaw.mkv old:f.mp4; do
	cam=c-${c%%:*} from=-5min to=now
	[ $cam = c-old ] && from=2024-02-03T04:05:00Z to=2024-02-03T04:10:00Z
	p=$(look $cam $from $to); wait_until 5 as ann test -d "$p"
	files=$(as ann find "$p" -name '*.mp4' | sort)
	check "$cam: every picture, in order, bit for bit" eval '
		pictures "$T/${c#*:}" >"$T/sent"; : >"$T/got"
		for f in $files; do as ann cat "$f" >"$T/copy.mp4"; pictures "$T/copy.mp4" >>"$T/got"; done
		[ -s "$T/got" ] && [ "$(wc -l <"$T/got")" -ge 100 ] && grep -Fxf "$T/got" "$T/sent" | cmp - "$T/got"'
done
check "G.711 plays" eval 'p=$(look c-alaw -5min now); wait_until 5 as ann test -d "$p"; f=$(as ann find "$p" -name "*.mp4" | head -1); as ann ffprobe -v error -show_entries stream=codec_name -of csv=p=0 "$f" | grep -q pcm_alaw'
check "imported footage says so in its name" eval 'p=$(look c-old 2024-02-03T04:05:00Z 2024-02-03T04:10:00Z); wait_until 5 as ann test -d "$p"; as ann find "$p" -name "*imported*.mp4" | grep -q .'
tap_done
