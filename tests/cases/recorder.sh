#!/usr/bin/env bash
# The recorder's cameras one by one: passwords, a frozen child, imports beside what is being recorded, the stop.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup; env_films 60; env_cameras a="$T/film-a.mkv" b="$T/film-b.mkv"
SECRET='s3cret@of:the/gate?'
"$BIN/tests/rtsp_camera" --auth "cam:$SECRET" 0 a="$T/film-a.mkv" >"$T/auth.out" 2>"$T/auth.err" & PID[auth]=$!
wait_until 20 grep -q '^ready' "$T/auth.out" || die "the camera with a password does not start"
case_cleanup() { env_stop auth; }
AUTH=rtsp://127.0.0.1:$(awk '/^ready/{print $2}' "$T/auth.out")
credential() { printf '%s\n' "$2" >"$T/$1.cred"; chown "$(user rec)" "$T/$1.cred"; chmod "$3" "$T/$1.cred"; }
credential right "cam:$SECRET" 0400; credential wrong "cam:no$SECRET" 0400; credential loose "cam:$SECRET" 0444
CAMS="东门 仓库二 right wrong loose none old"
conf_cameras() {
	cat <<-X
	camera "东门" { store = "main" source = "$RTSP/a" stall = "2s" }
	camera "仓库二" { store = "main" source = "$RTSP/b" }
	camera "right" { store = "main" source = "$AUTH/a" credential = "$T/right.cred" }
	camera "wrong" { store = "main" source = "$AUTH/a" credential = "$T/wrong.cred" }
	camera "loose" { store = "main" source = "$AUTH/a" credential = "$T/loose.cred" }
	camera "none" { store = "main" source = "$AUTH/a" }
	camera "old" { store = "main" source = "feed" feeders = {"$(user pipe)"} }
	X
}
policy_cameras() { local c; for c in $CAMS; do echo "camera \"$c\" { department = \"物流部\" min_age = \"90d\" max_age = \"4000d\" }"; done; }
env_config
env_store 256M --segment-size 4M >/dev/null || die init
env_start policyd; env_start recorderd
status() { custos frank status --json; }
camera() { status | jq -r --arg c "$1" ".. | objects | select(.camera? == \$c) | $2" | head -1; }

# Passwords.
check "two cameras record" wait_until 40 eval 'recorded_at_least 东门 3 && recorded_at_least 仓库二 3'
check "a camera with a password records" wait_until 30 recorded_at_least right 3
check "a wrong password is told as such" wait_until 20 eval 'camera wrong .cause | grep -q "^auth"'
check "so is none" wait_until 20 eval 'camera none .cause | grep -q "^auth"'
check "a credential file that others may read is refused, with what to do" wait_until 20 eval 'camera loose .cause | grep -q "chmod 0400"'
check "and nothing came of it" eval '[ "$(camera loose .frames)" = 0 ]'
quiet() { # no password in any command line, environment, log or answer
	local p
	for p in $(pgrep -P "${PID[recorderd]}" -x custos-ingest) "${PID[recorderd]}"; do
		! tr '\0' '\n' <"/proc/$p/cmdline" | grep -F s3cret || return 1
		! tr '\0' '\n' <"/proc/$p/environ" | grep -F s3cret || return 1
	done
	! grep -rlF s3cret "$T/recorderd.log" "$T/state" "$T/run" && ! status | grep -F s3cret
}
check "the password is in no command line, environment, log or status" quiet

# A child that stands still: the oldest belongs to 东门.
gaps() { custos carol ls "$1" --gaps --json; }
stalled() { gaps 东门 | jq -e 'any(.[]; .cause == "stalled")'; }
child=$(pgrep -o -P "${PID[recorderd]}" -x custos-ingest)
kill -STOP "$child"
check "a frozen child is a gap: stalled" wait_until 30 stalled
check "the frozen child is gone" eval '! kill -0 $child 2>/dev/null'
n=$(recorded 东门)
check "its camera records again" wait_until 30 recorded_at_least 东门 $((n + 2))
check "the other camera noticed nothing" eval '[ "$(camera 仓库二 .restarts)" = 0 ] && gaps 仓库二 | jq -e "length == 0"'

# Imports near the present, where what is recorded is not durable yet.
ffmpeg -nostdin -v error -i "$T/film-a.mkv" -t 6 -c copy "$T/old.mkv"; chmod 0644 "$T/old.mkv"
ago() { date -u -d "-$1 seconds" +%FT%TZ; }
refuse 1 "no import into the last seconds" "10 s" custos pipe feed old "$T/old.mkv" --start "$(ago 7)"
refuse 1 "nor one that reaches them" "10 s" custos pipe feed old "$T/old.mkv" --start "$(ago 13)"
check "before them it may be" custos pipe feed old "$T/old.mkv" --start "$(ago 60)"

fed() { custos dave audit show --json | jq -e --arg u "$(user pipe)" '[.[] | select(.op == "feed" and (tostring | contains($u)))] | length >= 3'; }
check "imports and refusals are in the log with who fed" wait_until 10 fed

# Clients that send and vanish while children are being started for them.
cat >"$T/vanish.py" <<-'E'
	import array, json, os, random, socket, sys, threading
	path, file, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
	def run(n):
	    r = random.Random(seed * 100 + n)
	    for _ in range(500):
	        s = socket.socket(socket.AF_UNIX)
	        try:
	            s.connect(path)
	            if r.random() < .6:
	                fd = os.open(file, os.O_RDONLY)
	                line = json.dumps({"v": 1, "op": "feed", "camera": "old", "name": "x"}).encode() + b"\n"
	                s.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
	                os.close(fd)
	            else:
	                s.sendall(r.choice([b'{"v":1,"op":"ls"}\n', b'{"v":1,"o', b"\n"]))
	            if r.random() < .5:
	                s.settimeout(r.random() * .05); s.recv(1000)
	        except OSError:
	            pass
	        s.close()
	clients = [threading.Thread(target=run, args=(n,)) for n in range(12)]
	[c.start() for c in clients]; [c.join() for c in clients]
	E
head -c 3000 /dev/urandom >"$T/noise"; chmod 0644 "$T/noise"; seed=${SEED:-$RANDOM}; say "# replay with SEED=$seed"
as pipe python3 "$T/vanish.py" "$T/run/recorder/recorder.sock" "$T/noise" "$seed"
n=$(recorded 东门)
check "many clients that vanish: it goes on" eval 'kill -0 "${PID[recorderd]}" && wait_until 20 recorded_at_least 东门 $((n + 2))'

# The stop, with somebody waiting: policyd stands still, so the right cannot be found out.
fds() { ls "/proc/${PID[recorderd]}/fd" | wc -l; }
kill -STOP "${PID[policyd]}"; n=$(fds)
custos pipe feed old "$T/old.mkv" --start "$(ago 600)" >"$T/late.out" 2>&1 & late=$!
wait_until 5 eval '[ "$(fds)" -ge $((n + 3)) ]' # its connection, its stream, the line to policyd
check "the recorder stops well while somebody waits for policyd" env_stop recorderd
kill -CONT "${PID[policyd]}"
wait $late; check "who was told so" eval '[ '$?' != 0 ] && [ "$(wc -l <"$T/late.out")" = 1 ]'
check "fsck: the store is whole" "$BIN/custos" --config "$T/custos.conf" fsck "$T/store"
tap_done
