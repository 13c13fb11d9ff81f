#!/usr/bin/env bash
# A small pool that goes round, on ext4 and on XFS, each on a disk of its own (loop image): what may go goes
# oldest first and is logged, what is kept stays, and a full pool costs nothing that was recorded.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup
ages='min_age = "4s" max_age = "1h"'
conf_cameras() { echo "camera \"c\" { store = \"main\" source = \"feed\" feeders = {\"$(user pipe)\"} }"; echo "camera \"d\" { store = \"main\" source = \"feed\" feeders = {\"$(user pipe)\"} }"; }
policy_cameras() { echo "camera \"c\" { department = \"物流部\" $ages }"; echo "camera \"d\" { department = \"物流部\" min_age = \"90d\" max_age = \"120d\" }"; }
policy_extra() { echo "chain \"wide\" { requesters = {\"$(user ann)\"} stages = {\"monitoring\"} }"; }
env_config
sed -i 's/min_age_floor = "90d"/min_age_floor = "1s"/' "$T/policy.conf"
film "$T/f.ts" -f lavfi -i "testsrc2=size=640x480:rate=25:duration=8,noise=alls=60:allf=t" -c:v libx264 -preset ultrafast -g 12 -b:v 16M -minrate 16M -maxrate 16M -bufsize 8M -pix_fmt yuv420p
chmod 0644 "$T/f.ts"
case_cleanup() { mountpoint -q "$T/disk" && umount "$T/disk"; }
mkdir "$T/disk"
for fs in ext4 xfs; do
	truncate -s 400M "$T/disk.img"
	case $fs in ext4) mkfs.ext4 -q "$T/disk.img" ;; xfs) mkfs.xfs -q "$T/disk.img" ;; esac
	if ! mount -o loop "$T/disk.img" "$T/disk" 2>/dev/null; then skip "$fs" "this kernel cannot mount it"; rm "$T/disk.img"; continue; fi
	sed -i "s|path = \"[^\"]*\" flush|path = \"$T/disk/store\" flush|" "$T/custos.conf"
	check "$fs: a pool of twelve segments" "$BIN/custos" --config "$T/custos.conf" init "$T/disk/store" --size 48M --segment-size 4M --no-encrypt
	used=$(df --output=used "$T/disk" | tail -1)
	env_start policyd; env_start recorderd; env_start gate
	check "$fs: a first film" custos pipe feed c "$T/f.ts"
	first=$(custos carol ls c --json | jq '[.[].from] | min')
	removed() { custos dave audit show --op remove --json | jq -e 'length > 0'; }
	# Three rounds: more than the pool holds.
	for i in 1 2 3; do check "$fs: film $((i + 1))" custos pipe feed c "$T/f.ts"; done
	check "$fs: the oldest has gone, and the log says what and why" eval 'removed && [ "$(custos carol ls c --json | jq "[.[].from] | min")" -gt $first ]'
	check "$fs: once round the pool the disk has not grown" eval '[ $(($(df --output=used "$T/disk" | tail -1) - used)) -lt 512 ]'
	# A grant keeps its window: nothing removable is left once everything is kept.
	r=$(custos ann request --chain wide --camera c --from -23h --to "$(date -u -d '+30 min' +%FT%TZ)" --reason keep --json | jq .request)
	p=$(custos carol approve "$r" --json | jq -r .path); kept=$(custos carol ls c --json | jq '[.[].from] | min')
	g=$(basename "$p")
	snapshot_seen() { custos dave audit show --op snapshot-seen --json | jq -e 'length > 0'; }
	wait_until 5 snapshot_seen
	full() { custos frank status --json | grep -Eq 'store_full": ?true|store full|store-full'; }
	for i in 1 2 3; do custos pipe feed c "$T/f.ts" >"$T/full.out" 2>&1 || break; done
	check "$fs: a full pool is said" eval 'full || grep -qi full "$T/full.out"'
	check "$fs: and what is kept is all there" eval '[ "$(custos carol ls c --json | jq "[.[].from] | min")" -le $kept ]'
	f=$(as ann find "$p" -name '*.mp4' | sort | head -1)
	check "$fs: it plays" eval 'as ann cat "$f" >"$T/copy.mp4" && ffmpeg -nostdin -v error -xerror -i "$T/copy.mp4" -f null -'
	check "$fs: the grant goes back" custos ann return "$g"
	check "$fs: recording resumes by itself" wait_until 40 eval 'custos pipe feed c "$T/f.ts"'
	env_stop gate; env_stop recorderd; env_stop policyd
	check "$fs: the store is whole" "$BIN/custos" --config "$T/custos.conf" fsck "$T/disk/store"
	umount "$T/disk"; rm -rf "$T/disk.img" "$T/state" "$T/store"
done
tap_done
