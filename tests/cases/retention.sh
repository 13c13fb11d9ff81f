#!/usr/bin/env bash
# A small pool that goes round, on ext4 and on XFS, each on a disk of its own (loop image): what may go goes
# oldest first and is logged, what is kept stays, and a full pool stops the camera that needs room, no other,
# costs nothing that was recorded, and ends by itself. The pool is filled with imports: they run at full speed.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup
conf_cameras() { local c; for c in c d; do echo "camera \"$c\" { store = \"main\" source = \"feed\" feeders = {\"$(user pipe)\"} }"; done; }
policy_cameras() { echo 'camera "c" { department = "物流部" min_age = "1s" max_age = "10d" }'; echo 'camera "d" { department = "物流部" min_age = "90d" max_age = "120d" }'; }
policy_extra() { echo "chain \"wide\" { requesters = {\"$(user ann)\"} stages = {\"monitoring\"} }"; }
env_config
sed -i 's/min_age_floor = "90d"/min_age_floor = "1s"/' "$T/policy.conf"
noise() { film "$T/$1.ts" -f lavfi -i "testsrc2=size=$3:rate=25:duration=$2,noise=alls=60:allf=t" -c:v libx264 -preset ultrafast -g 12 -b:v "$4" -minrate "$4" -maxrate "$4" -bufsize "$4" -pix_fmt yuv420p; chmod 0644 "$T/$1.ts"; }
noise big 5 640x480 16M; noise live 9 640x480 4M; noise small 12 160x120 200k; noise tiny 2 160x120 200k
case_cleanup() { mountpoint -q "$T/disk" && umount "$T/disk"; }
mkdir "$T/disk"
hour=3600000000000
import() { custos pipe feed c "$T/big.ts" --start "$(date -u -d "-$1 hours" +%FT%TZ)"; }
runs() { custos carol ls c --json | jq -c '[.[] | [.from, .to]] | sort'; }
first() { runs | jq '.[0][0]'; }
removed() { custos dave audit show --op remove --json | jq -e 'length > 0'; }
full() { custos frank status --json | jq -e "[.. | .store_full? // empty] | any"; }
camera() { custos frank status --json | jq -c "[.. | .cameras? // empty][0][] | select(.camera == \"$1\")"; }
state_is() { [ "$(camera "$1" | jq -r .state)" = "$2" ]; }
durable() { camera "$1" | jq -e '.durable'; }
snapshots() { custos dave audit show --op snapshot-seen --json | jq length; }
more_snapshots() { [ "$(snapshots)" -gt "$1" ]; }
for fs in ext4 xfs; do
	truncate -s 400M "$T/disk.img"
	case $fs in ext4) mkfs.ext4 -q "$T/disk.img" ;; xfs) mkfs.xfs -q "$T/disk.img" ;; esac
	if ! mount -o loop "$T/disk.img" "$T/disk" 2>/dev/null; then skip "$fs" "this kernel cannot mount it"; rm "$T/disk.img"; continue; fi
	sed -i "s|path = \"[^\"]*\" flush|path = \"$T/disk/store\" flush|" "$T/custos.conf"
	check "$fs: a pool of twelve segments" "$BIN/custos" --config "$T/custos.conf" init "$T/disk/store" --size 48M --segment-size 4M --no-encrypt
	used=$(df --output=used "$T/disk" | tail -1)
	env_start policyd; env_start recorderd; env_start gate
	# More than the pool holds.
	for i in 20 19 18 17 16 15; do check "$fs: a film of $i hours ago" import $i; done
	check "$fs: the oldest has gone, and the log says what and why" eval 'removed && [ "$(first)" -gt $((($(date +%s) * 1000000000) - 20 * hour + 60000000000)) ]'
	check "$fs: once round the pool the disk has not grown" eval '[ $(($(df --output=used "$T/disk" | tail -1) - used)) -lt 512 ]'
	# A grant keeps its window: nothing removable is left.
	n=$(snapshots)
	r=$(custos ann request --chain wide --camera c --from -23h --to "$(date -u -d '+30 min' +%FT%TZ)" --reason keep --json | jq .request)
	p=$(custos carol approve "$r" --json | jq -r .path)
	g=$(basename "$p")
	check "$fs: the recorder knows what is kept" wait_until 10 more_snapshots "$n"
	kept=$(runs)
	custos pipe feed d "$T/small.ts" >"$T/small.out" 2>&1 & small=$!
	check "$fs: another camera records" wait_until 10 durable d
	for i in 10 9 8 7 6; do import $i >"$T/full.out" 2>&1 || break; done
	check "$fs: an import that does not fit is refused in one line" eval '[ "$(wc -l <"$T/full.out")" = 1 ] && grep -Eq "the store (is|was) full" "$T/full.out"'
	check "$fs: the status says that the store is full" full
	custos pipe feed c "$T/live.ts" >"$T/live.out" 2>&1 & live=$!
	check "$fs: a camera that finds no room waits" wait_until 10 state_is c connecting
	check "$fs: what is kept is all there" eval 'jq -en --argjson kept "$kept" --argjson now "$(runs)" "(\$kept | length > 0) and \$kept - \$now == []"'
	check "$fs: the other camera records on" state_is d recording
	f=$(as ann find "$p" -name '*.mp4' | sort | head -1)
	check "$fs: it plays" eval 'as ann cat "$f" >"$T/copy.mp4" && ffmpeg -nostdin -v error -xerror -i "$T/copy.mp4" -f null -'
	check "$fs: the grant goes back" custos ann return "$g"
	check "$fs: recording resumes by itself" wait_until 15 state_is c recording
	wait $live
	check "$fs: the feeder is told that some is missing" grep -Eq '^custos: .*[0-9]+ of [0-9]+ frames could not be stored' "$T/live.out"
	check "$fs: a stream after that is stored whole" custos pipe feed c "$T/tiny.ts"
	check "$fs: the other camera has lost nothing" wait $small
	env_stop gate; env_stop recorderd; env_stop policyd
	check "$fs: the store is whole" "$BIN/custos" --config "$T/custos.conf" fsck "$T/disk/store"
	umount "$T/disk"; rm -rf "$T/disk.img" "$T/state" "$T/store"
done
tap_done
