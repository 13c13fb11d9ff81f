#!/usr/bin/env bash
# What the gate holds under pressure: revocation against open, mapped and passed handles, silence of
# policyd, death of the gate, floods of denials; and that the log covers every byte before it left.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup; env_films 60; env_cameras a="$T/film-a.mkv"
conf_cameras() { echo "camera \"东门\" { store = \"main\" source = \"$RTSP/a\" }"; }
policy_cameras() { echo 'camera "东门" { department = "物流部" level = 1 min_age = "90d" max_age = "120d" }'; }
env_config; env_store 128M --segment-size 4M >/dev/null || die init
env_start policyd; env_start recorderd; env_start gate
wait_until 40 recorded_at_least 东门 14 || die "nothing is recorded"
end=$(custos carol ls 东门 --json | jq '[.[].to] | max / 1000000000 | floor')
at() { date -u -d "@$((end + $1))" +%FT%TZ; }
new_grant() { # sets grant, path, file
	local r
	r=$(custos ann request --camera 东门 --from "$(at -12)" --to "$(at -2)" --reason 调查 --json | jq .request)
	custos bob approve "$r" >/dev/null && custos carol approve "$r" --json >"$T/approved" || die approve
	grant=$(jq .grant "$T/approved"); path=$(jq -r .path "$T/approved")
	wait_until 5 as ann test -d "$path" || die "grant $grant does not appear"
	file=$(as ann find "$path" -name '*.mp4' | sort | head -1)
}
new_grant

check "a user's directory is empty for others" eval 'seen=$(as eve ls "$MNT/$(user ann)") && [ -z "$seen" ]'
check "the mount shows the caller alone" eval '[ "$(as eve ls "$MNT")" = "$(user eve)" ]'
# In MOUNT any name is a user's, as far as a name can be that long; below it nothing is there.
long_names() {
	local n x d
	for n in 200 255 256 300 511 512 700 1000 1024 1100; do
		x=$(printf "%*s" $n "" | tr " " x)
		for d in "$MNT/$(user ann)" "$path" "$path/东门" "${file%/*}"; do
			! as ann test -e "$d/$x" || { echo "$n letters exist in $d"; return 1; }
		done
		if [ $n -le 255 ]; then as ann test -d "$MNT/$x"; else ! as ann test -e "$MNT/$x"; fi ||
			{ echo "$n letters in the mount"; return 1; }
	done
	as ann test -d "$path"
}
check "names of any length are just not there" long_names
check "a file tells what it is" eval '
	as ann python3 -c "
import os, sys
f = sys.argv[1]
x = {k: os.getxattr(f, k).decode() for k in os.listxattr(f)}
assert x[\"user.custos.camera\"] == \"东门\" and x[\"user.custos.imported\"] == \"no\", x
assert len(x) == 6, x
try: os.getxattr(f, \"user.other\")
except OSError as e: assert e.errno == 61
" "$file"'
playlist() {
	local p n=0
	while read -r p; do as ann test -s "$path/东门/$p" || { echo "$p is not there"; return 1; }; n=$((n + 1)); done \
		< <(as ann grep -v "^#" "$path/东门/playlist.m3u8")
	[ $n -gt 0 ] && [ $n = "$(as ann find "$path/东门" -name '*.mp4' | wc -l)" ]
}
check "the playlist names every file, by paths that resolve" playlist
text_sizes() {
	local f size
	for f in "$path/GRANT.txt" "$path/东门/playlist.m3u8"; do
		size=$(as ann stat -c %s "$f") && [ "$size" -gt 0 ] && [ "$size" = "$(as ann cat "$f" | wc -c)" ] || { echo "$f: $size"; return 1; }
	done
}
check "texts are as long as stat says" text_sizes
check "random reads give the bytes that cat gives" as ann python3 - "$file" <<-'E'
	import os, random, sys
	from concurrent.futures import ThreadPoolExecutor
	whole = open(sys.argv[1], "rb").read()
	fd = os.open(sys.argv[1], os.O_RDONLY)
	seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
	print("SEED=%d" % seed)
	r = random.Random(seed)
	def one(_):
	    off = r.randrange(len(whole)); n = r.randrange(1, 1 << 18)
	    assert os.pread(fd, n, off) == whole[off:off + n], (off, n)
	with ThreadPoolExecutor(16) as pool:
	    list(pool.map(one, range(400)))
	E

# Revocation while one process reads, another has mapped pages, and a third got the descriptor.
cat >"$T/holder.py" <<-'E'
	import ctypes, errno, mmap, os, signal, sys, time
	fd = os.open(sys.argv[1], os.O_RDONLY)
	size = os.fstat(fd).st_size
	m = mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
	first = m[:4096] + m[size - 1:]
	pid = os.fork()
	if pid == 0:  # touches a mapped page until the kernel kills it
	    end = time.monotonic() + 60
	    while time.monotonic() < end:
	        m[0]; last = time.monotonic_ns()
	        with open(sys.argv[2] + ".mapped", "w") as f: f.write(str(last))
	    os._exit(0)
	n, last = 0, 0
	end = time.monotonic() + 60
	try:
	    while time.monotonic() < end:
	        os.pread(fd, 4096, (n * 4096) % size); last = time.monotonic_ns(); n += 1
	        if n == 50: open(sys.argv[2], "w").close()
	except OSError as e:
	    assert e.errno == errno.EACCES, e
	_, status = os.waitpid(pid, 0)
	assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS, status
	with open(sys.argv[2] + ".last", "w") as f: f.write(str(max(last, int(open(sys.argv[2] + ".mapped").read() or 0))))
	E
mkdir -m 0777 "$T/h"
as ann python3 "$T/holder.py" "$file" "$T/h/ready" >"$T/holder.out" 2>&1 & holder=$!
wait_until 20 test -e "$T/h/ready" || die "the reader does not start: $(cat "$T/holder.out")"
check "revoke" custos carol revoke "$grant" --reason 结束
returned=$(python3 -c 'import time; print(time.monotonic_ns())')
check "the open reader gets EACCES, the mapped one SIGBUS" wait $holder
check "no byte after revoke has returned" eval '[ "$(cat "$T/h/ready.last")" -lt "$returned" ]'
check "and the name is gone" eval '! as ann ls "$path" 2>/dev/null'

# Silence of policyd: denied within the lease; back when it answers.
new_grant
kill -STOP "${PID[policyd]}"
denied() { ! as ann head -c 1 "$file" >/dev/null 2>&1; }
check "policyd silent: denied within 6 seconds" wait_until 6 denied
kill -CONT "${PID[policyd]}"
check "policyd back: served again" wait_until 10 eval '! denied'

# Floods of denials: a few records and a count.
flood() {
	as eve python3 -c "
import os, sys
for i in range(500):
    try: os.stat(sys.argv[1] + '/%d' % (i + 1000))
    except FileNotFoundError: pass
    else: sys.exit('there is one')
" "$MNT/$(user ann)"
}
counted() { custos dave audit show --op deny --user "$(user eve)" --json | jq -e 'length < 60 and ([.[].aux] | add) >= 500'; }
check "500 denials are a few records" flood
check "that add up" wait_until 10 counted

# Names that are only tried: anybody may ask for any name in MOUNT.
memory() { awk '/^VmRSS/{print $2}' "/proc/$(pgrep -P "${PID[gate]}")/status"; }
before=$(memory)
check "80000 invented user names do not fill the gate's memory" eval '
	as eve python3 -c "
import os, sys
for i in range(80000):
    os.stat(sys.argv[1] + \"/u%d\" % i)
" "$MNT" && after=$(memory) && [ -n "$before" ] && [ $((after - before)) -lt 16000 ]'

# The gate's own death: the parent takes the mount away; a new one serves the same bytes.
sum=$(as ann sha256sum "$file" | cut -c1-64); [ -n "$sum" ] || die "the file cannot be read"
child=$(pgrep -P "${PID[gate]}")
kill -KILL "$child"
check "the serving process killed: the mount goes" wait_until 10 eval '! grep -q " $MNT " /proc/mounts'
wait "${PID[gate]}"; unset 'PID[gate]'
env_start gate
check "a new gate serves the same bytes" wait_until 10 eval '[ "$(as ann sha256sum "$file" 2>/dev/null | cut -c1-64)" = "$sum" ]'
env_kill gate; wait_until 5 eval '! pgrep -f "^$BIN/custosfs --config $T/" >/dev/null'
env_start gate
check "killed outright: the next start clears the dead mount" wait_until 10 as ann test -s "$file"

# Each READ lies in a COVER of the same handle that stands before it in the log.
check "every byte read was covered before, exactly logged" eval '
	custos dave audit show --log gate --json >"$T/gate.json" && python3 - "$T/gate.json" <<-"E"
	import json, sys
	covers, reads, inc = {}, 0, 0
	for r in sorted((r for r in json.load(open(sys.argv[1])) if r["log"] == "gate"), key=lambda r: r["seq"]):
	    if r["op"] == "start": covers = {}
	    key = (r.get("object"), r.get("uid"))
	    if r["op"] == "cover": covers.setdefault(key, []).append((r["offset"], r["offset"] + r["length"]))
	    if r["op"] == "read":
	        reads += 1
	        at, end = r["offset"], r["offset"] + r["length"]
	        for a, b in sorted(covers.get(key, [])):
	            if a <= at < b: at = max(at, b)
	        assert at >= end, r
	assert reads > 100, reads
	E'
audit_ok() { custos dave audit verify --key "$T/state/keys/sign.pub"; }
check "the log verifies" wait_until 15 audit_ok
tap_done
