#!/usr/bin/env bash
# Window edges, by pictures that carry their own number: recorded by the real recorder, cut at awkward places,
# decoded through the mount, exactly the pictures of the window come out and none from outside. And what a
# slice that is still being recorded promises: names that go on to resolve, bytes that stay, a GRANT.txt that tells.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup
SLICE=4s SLICE_NS=4000000000
conf_cameras() { local c; for c in h264 hevc live; do echo "camera \"c-$c\" { store = \"main\" source = \"feed\" feeders = {\"$(user pipe)\"} }"; done; }
policy_cameras() { local c; for c in h264 hevc live; do echo "camera \"c-$c\" { department = \"物流部\" min_age = \"90d\" max_age = \"4000d\" }"; done; }
policy_extra() { echo "chain \"wide\" { requesters = {\"$(user ann)\"} stages = {\"monitoring\"} }"; }
env_config
env_store 256M --segment-size 4M >/dev/null || die init
marks() { python3 "$ROOT/tests/marks.py" "$@"; }
for c in h264 hevc; do marks film $c 12 "$T/$c.mkv" || die "film"; done
chmod 0644 "$T"/*.mkv
env_start policyd; env_start recorderd; env_start gate

# A time of nanoseconds as the command line takes it.
stamp() { printf '%s.%09dZ' "$(date -u -d "@$(($1 / 1000000000))" +%FT%T)" $(($1 % 1000000000)); }
look() { # CAMERA FROM TO (nanoseconds): the path of a grant on that window
	local r
	r=$(custos ann request --chain wide --camera "$1" --from "$(stamp "$2")" --to "$(stamp "$3")" --reason 边界 --json | jq .request) &&
		custos carol approve "$r" --json | jq -r .path
}
films() { as ann find "$1" -name '*.mp4' | sort; }

# From a key frame, a moment before and behind one; to a B-frame's time, a moment behind it, before a key frame,
# to the end of all; narrower than a GOP; across slices.
S=1000000000 F=40000000
windows="0:12*S S:5*S S-1:5*S+1 S+1:6*S 4*S:4*S+5*F+1 7*S+24*F+1:11*S+2*F"
for c in h264 hevc; do
	# Not on a whole second, so that slices and GOPs lie askew.
	zero=$((1707000001 * S + 280000000))
	check "$c: a film with numbered pictures is recorded" custos pipe feed "c-$c" "$T/$c.mkv" --start "$(stamp $zero)"
	[ $c = h264 ] || windows="0:12*S 2*S+1:7*S 5*S+4*F:9*S+3*F 27*F:54*F-1"
	for w in $windows; do
		from=$((zero + ${w%%:*})) to=$((zero + ${w#*:}))
		p=$(look "c-$c" $from $to) && wait_until 5 as ann test -d "$p" || die "no grant on $w"
		check "$c: [$w) shows its pictures and no other" eval '
			files=$(films "$p"); [ -n "$files" ] && as ann python3 "$ROOT/tests/marks.py" check "$T/$c.mkv" $zero $from $to $SLICE_NS $files'
	done
	[ $c = h264 ] && gop=$S || gop=$((27 * F))
	p=$(look "c-$c" $((zero + gop + 1)) $((zero + 2 * gop))) && wait_until 5 as ann test -d "$p" || die "no grant"
	check "$c: a window without a key frame shows nothing" eval '[ -z "$(films "$p")" ] && as ann grep -q "c-$c: nothing was recorded" "$p/GRANT.txt"'
done
p=$(look c-h264 $((zero + S + 1)) $((zero + 6 * S))); wait_until 5 as ann test -d "$p"
check "GRANT.txt tells the delivered range, and which earlier start would give more" eval '
	as ann cat "$p/GRANT.txt" >"$T/text" && grep -q "a window from $(TZ=Asia/Shanghai date -d "$(stamp $((zero + S)))" +%FT%T.%3N+08:00) would" "$T/text" &&
	grep -qF "c-h264: from $(TZ=Asia/Shanghai date -d "$(stamp $((zero + 2 * S)))" +%FT%T.%3N+08:00) to " "$T/text" &&
	! grep -q "more appears" "$T/text" && [ "$(sed -n 2p "$T/text")" = 边界 ]'

# The slice that is being recorded, seen through a window that is still open.
custos pipe feed c-live "$T/h264.mkv" >"$T/live.out" 2>&1 & feeding=$!
wait_until 20 recorded_at_least c-live 2 || die "the live camera is not recorded: $(cat "$T/live.out")"
end=$(custos carol ls c-live --json | jq '[.[].to] | max'); [ "$end" -gt 0 ] || die "the live camera is not recorded"
first=$(custos carol ls c-live --json | jq '[.[].from] | min')
p=$(look c-live $((first - S)) $((end + 3600 * S))); wait_until 5 as ann test -d "$p"
cat >"$T/growing.py" <<-"E"
	# A file that grows: its earlier name, and what was opened under it, stay what they were.
	import glob, hashlib, os, sys, time
	day = glob.glob(sys.argv[1] + "/c-live/*-*-*")[-1]
	def listed(): return sorted(n for n in os.listdir(day) if n.endswith(".mp4"))
	def sha(path): return hashlib.sha256(open(path, "rb").read()).hexdigest()
	guard, old = time.monotonic() + 30, listed()
	name = old[-1]
	fd = os.open(day + "/" + name, os.O_RDONLY)
	size = os.fstat(fd).st_size
	first = os.pread(fd, size + 1, 0)
	assert len(first) == size > 0
	while listed()[-1] == name:
	    assert time.monotonic() < guard, "nothing is added"
	    time.sleep(0.1)
	assert name not in listed() or listed()[:len(old)] == old
	assert os.pread(fd, size + 1, 0) == first and os.fstat(fd).st_size == size
	assert os.stat(day + "/" + name).st_size == size
	assert sha(day + "/" + name) == hashlib.sha256(first).hexdigest()
	for line in open(sys.argv[1] + "/c-live/playlist.m3u8"):
	    if not line.startswith("#"):
	        assert os.stat(sys.argv[1] + "/c-live/" + line.strip()).st_size > 0, line
	# Texts are as long as is said when they are open, while they grow, too.
	for text in ("GRANT.txt", "c-live/playlist.m3u8"):
	    for i in range(30):
	        with open(sys.argv[1] + "/" + text, "rb") as f:
	            n = os.fstat(f.fileno()).st_size
	            assert len(f.read()) == n, (text, n)
	        time.sleep(0.05)
	print(name, listed())
	E
check "while it is recorded: GRANT.txt says so" as ann grep -q "more appears as it is recorded" "$p/GRANT.txt"
check "an earlier name and an open handle of a growing file keep their bytes" as ann python3 "$T/growing.py" "$p"
check "the live film has been taken whole" wait $feeding
# Live times follow the wall clock and may differ from the film's by less than half a picture.
from=$((first + S + F / 2)) to=$((first + 10 * S + 3 * F + F / 2))
check "the live window, too, shows its pictures and no other" eval '
	p=$(look c-live $from $to) && wait_until 5 as ann test -d "$p" && files=$(films "$p") && [ -n "$files" ] &&
	as ann python3 "$ROOT/tests/marks.py" check "$T/h264.mkv" $first $from $to $SLICE_NS $files'
tap_done
