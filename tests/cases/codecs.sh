#!/usr/bin/env bash
# Every codec by every way in: H.264, H.265, AAC, A-law and mu-law through RTSP over TCP, and H.265 with AAC through
# MPEG-TS and MP4. What comes out of the mount is what went in, and it plays.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup
RTSP_CAMS="avc-aac:h264:aac hevc-aac:hevc:aac avc-alaw:h264:pcm_alaw hevc-mulaw:hevc:pcm_mulaw"
FED="ts:ts mp4:mp4"
video() { case $1 in h264) echo "-c:v libx264 -preset ultrafast -bf 0" ;; hevc) echo "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=20:bframes=0" ;; esac; }
sound() { case $1 in aac) echo "-c:a aac -b:a 48k" ;; *) echo "-ac 1 -ar 8000 -c:a $1" ;; esac; }
source_film() { # OUT VIDEO AUDIO SECONDS
	# shellcheck disable=SC2046
	film "$1" -f lavfi -i "testsrc2=size=320x240:rate=20:duration=$4" -f lavfi -i "sine=frequency=500:sample_rate=48000:duration=$4" \
		-g 20 -pix_fmt yuv420p $(video "$2") $(sound "$3")
}
serve=()
for c in $RTSP_CAMS; do IFS=: read -r n v a <<<"$c"; source_film "$T/$n.mkv" "$v" "$a" 30; serve+=("$n=$T/$n.mkv"); done
source_film "$T/fed.mp4" hevc aac 5; film "$T/fed.ts" -i "$T/fed.mp4" -c copy
chmod 0644 "$T"/fed.*
conf_cameras() {
	local c
	for c in $RTSP_CAMS; do echo "camera \"${c%%:*}\" { store = \"main\" source = \"$RTSP/${c%%:*}\" }"; done
	for c in $FED; do echo "camera \"fed-${c%%:*}\" { store = \"main\" source = \"feed\" feeders = {\"$(user pipe)\"} }"; done
}
policy_cameras() {
	local c
	for c in $RTSP_CAMS; do echo "camera \"${c%%:*}\" { department = \"物流部\" min_age = \"90d\" }"; done
	for c in $FED; do echo "camera \"fed-${c%%:*}\" { department = \"物流部\" min_age = \"90d\" }"; done
}
policy_extra() { echo "chain \"wide\" { requesters = {\"$(user ann)\"} stages = {\"monitoring\"} }"; }
env_cameras "${serve[@]}"
env_config
env_store 256M --segment-size 4M >/dev/null || die init
env_start policyd; env_start recorderd; env_start gate
for c in $FED; do check "fed by ${c%%:*}" custos pipe feed "fed-${c%%:*}" "$T/fed.${c#*:}"; done
for c in $RTSP_CAMS; do check "${c%%:*} is recorded over RTSP" wait_until 30 recorded_at_least "${c%%:*}" 5; done

look() { # CAMERA → its first film in a fresh grant
	local r p
	r=$(custos ann request --chain wide --camera "$1" --from -10min --to now --reason t --json | jq .request) &&
		p=$(custos carol approve "$r" --json | jq -r .path) && wait_until 5 as ann test -d "$p/$1" &&
		as ann find "$p" -name '*.mp4' | sort | head -1
}
codecs() { as ann ffprobe -v error -show_entries stream=codec_name -of csv=p=0 "$1" | tr '\n' ' '; }
sizes() { ffprobe -v error -select_streams "$2" -show_entries packet=size -of csv=p=0 "$1" | tr -d ','; }
for c in $RTSP_CAMS fed-ts:hevc:aac fed-mp4:hevc:aac; do
	IFS=: read -r n v a <<<"$c"
	f=$(look "$n")
	check "$n: a film is there" test -n "$f"
	check "$n: the codecs are $v and $a" test "$(codecs "$f")" = "$v $a "
	check "$n: it decodes without a word" eval 'said=$(as ann ffmpeg -nostdin -v error -i "$f" -f null - 2>&1) && echo "$said" && [ -z "$said" ]'
	# Sound and picture begin together (within a tenth of a second) and last equally long.
	check "$n: sound and picture are in step" eval '
		as ann ffprobe -v error -show_entries stream=start_time,duration -of csv=p=0 "$f" | tee /dev/stderr |
		awk -F, "{s[NR]=\$1; d[NR]=\$2} END {exit !(NR == 2 && (s[1]-s[2])^2 < 0.02 && (d[1]-d[2])^2 < 0.5)}"'
done
f=$(look fed-mp4); as ann cat "$f" >"$T/back.mp4"
check "the pictures are the ones that were fed" eval '
	pictures() { ffmpeg -nostdin -v error -i "$1" -map 0:v -f framemd5 - | awk "!/^#/{print \$NF}"; }
	pictures "$T/back.mp4" >"$T/got"; pictures "$T/fed.mp4" | head -n "$(wc -l <"$T/got")" >"$T/sent"
	[ "$(wc -l <"$T/got")" -ge 80 ] && cmp "$T/got" "$T/sent"'
check "the sound is the one that was fed" eval 'sizes "$T/back.mp4" a >"$T/got"; sizes "$T/fed.mp4" a >"$T/sent"; [ "$(wc -l <"$T/got")" -ge 180 ] && grep -Fq "$(tr "\n" " " <"$T/got" | sed "s/ $//")" <(tr "\n" " " <"$T/sent")'
tap_done
