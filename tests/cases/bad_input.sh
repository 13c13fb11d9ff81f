#!/usr/bin/env bash
# Bad input: one clear line, the right exit status, and nothing recorded is lost.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup; env_films 60; env_cameras a="$T/film-a.mkv"
conf_cameras() {
	cat <<-E
	camera "东门" { store = "main" source = "$RTSP/a" }
	camera "nowhere" { store = "main" source = "rtsp://127.0.0.1:1/none" }
	camera "nosuch" { store = "main" source = "$RTSP/not-there" }
	camera "push" { store = "main" source = "feed" feeders = {"$(user pipe)"} }
	E
}
policy_cameras() {
	for c in 东门 nowhere nosuch push; do echo "camera \"$c\" { department = \"物流部\" min_age = \"90d\" max_age = \"120d\" }"; done
}
env_config
refuse 1 "a folder that is no store" "store" "$BIN/custos-recorderd" --config "$T/custos.conf"
env_store 256M --segment-size 4M >/dev/null || die init
refuse 1 "init never over an existing store" "exist|already" env_store 256M
refuse 2 "unknown command" "" custos ann frobnicate
refuse 2 "unknown option" "" custos ann requests --frob
refuse 3 "no daemon: exit 3" "" custos ann requests
env_start policyd; env_start recorderd; env_start gate
state() { custos frank status --json | jq -r --arg c "$1" '.. | objects | select(.camera? == $c) | "\(.state) \(.cause)"' | head -1; }
check "a good camera records beside bad ones" wait_until 30 recorded_at_least 东门 4
check "a dead camera shows its cause" wait_until 20 eval 'state nowhere | grep -Eq "unreachable"'
check "an unknown path on a live server shows its cause" wait_until 20 eval 'state nosuch | grep -Eq "unreachable|auth"'

# What is wrong with a configuration is said with file and line; --check says the same as the daemon.
bad_conf() { sed "$1" "$T/custos.conf" >"$T/bad.conf"; shift; "$@" --config "$T/bad.conf" --check; }
refuse 1 "unknown key in custos.conf" "bad.conf:[0-9]+:.*no such|bad.conf:[0-9]+.*unknown|bad.conf:[0-9]+" bad_conf '1i frob = "x"' "$BIN/custos-recorderd"
refuse 1 "wrong duration" "bad.conf:[0-9]+" bad_conf 's/flush = "1s"/flush = "1 fortnight"/' "$BIN/custos-recorderd"
refuse 1 "camera of a missing store" "bad.conf:[0-9]+|store" bad_conf 's/source = "feed"/source = "feed" store = "other"/; s/store = "main" source = "feed"/source = "feed"/' "$BIN/custosfs"
mkdir "$T/eve"; chown "$(user eve)" "$T/eve"
elsewhere() { sed "s|mount = \"[^\"]*\"|mount = \"$T/eve/mnt\"|" "$T/custos.conf" >"$T/bad.conf"; timeout 20 "$BIN/custosfs" --config "$T/bad.conf"; }
refuse 1 "a mount point that somebody could swap for another folder" "others than root" elsewhere
cp "$T/policy.conf" "$T/policy.good"
echo 'frobnicate = 1' >>"$T/policy.conf"
refuse 1 "unknown key in policy.conf" "policy.conf:[0-9]+" custos frank config check
cp "$T/policy.good" "$T/policy.conf"

# Feeding.
head -c 300000 /dev/urandom >"$T/garbage.mp4"
ffmpeg -nostdin -v error -i "$T/film-a.mkv" -t 6 -c copy "$T/whole.ts"; head -c $(($(stat -c %s "$T/whole.ts") * 2 / 3)) "$T/whole.ts" >"$T/cut.ts"
chmod 0644 "$T"/*.mp4 "$T"/*.ts
refuse 1 "garbage fed in" "" custos pipe feed push "$T/garbage.mp4"
refuse 1 "a file that is not there" "" custos pipe feed push "$T/not-there.mp4"
refuse 1 "not a feeder of this camera" "" custos eve feed push "$T/whole.ts"
refuse 1 "a camera with a source cannot be fed" "" custos pipe feed 东门 "$T/whole.ts"
refuse 1 "an unknown camera" "" custos pipe feed frob "$T/whole.ts"
check "a truncated file: what is good is recorded" custos pipe feed push "$T/cut.ts"
check "and can be listed" recorded_at_least push 3

# Windows and people.
stranger() { runuser -u nobody -- "$BIN/custos" --config "$T/custos.conf" request --camera 东门 --from -1min --to now --reason x; }
refuse 1 "a window with no footage" "nothing|no footage" custos ann request --camera 东门 --from -3h --to -2h --reason x
refuse 1 "a window that ends before it begins" "" custos ann request --camera 东门 --from now --to -1h --reason x
refuse 1 "a window wider than max_window" "24|max_window|wide" custos ann request --camera 东门 --from -40h --to now --reason x
refuse 1 "an unknown camera" "frob" custos ann request --camera frob --from -1min --to now --reason x
refuse 2 "no reason" "reason" custos ann request --camera 东门 --from -1min --to now
refuse 1 "an empty reason is no reason, also at the socket" "reason" custos ann request --camera 东门 --from -1min --to now --reason ""
refuse 1 "a user outside the chain's requesters" "" stranger
refuse 1 "a request that does not exist" "" custos bob approve 4711
refuse 2 "a number that is none" "" custos bob approve seven
refuse 1 "ls is for monitoring" "" custos ann ls
refuse 1 "config apply is for admins" "" custos ann config apply

# Sockets: whatever is sent, a clear answer, and the daemon stays.
cat >"$T/rude.py" <<-'E'
	import json, socket, sys
	def talk(path, data):
	    s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(path); s.sendall(data)
	    got = b""
	    while not got.endswith(b"\n"):
	        piece = s.recv(65536)
	        if not piece: break
	        got += piece
	    return got
	for path in sys.argv[1:]:
	    answered = 0
	    for data in (b"{\n", b"[]\n", b"\xff\xfe\n", b'{"v":1}\n', b'{"v":1,"op":"frob"}\n', b'{"v":9,"op":"status"}\n',
	                 b'{"v":1,"op":"status","x":' + b"[" * 100000 + b"\n", b"x" * 300000 + b"\n", b'{"v":1,"op":"status","frob":1}\n'):
	        try:
	            got = talk(path, data)
	        except (BrokenPipeError, ConnectionResetError):
	            continue
	        if got:
	            reply = json.loads(got)
	            assert reply["ok"] is False and reply["error"] and "\n" not in reply["error"], (path, data[:60], reply)
	            answered += 1
	    assert answered >= 6, (path, answered)
	E
check "malformed JSON on every socket" as ann python3 "$T/rude.py" "$T/run/policy/policy.sock" "$T/run/recorder/recorder.sock" "$T/run/gate/gate.sock"
check "daemons' operations are refused to people" eval 'as ann python3 - "$T/run/policy/policy.sock" <<-E
	import json, socket, sys
	for op in ({"op": "lease", "gate": "x", "incarnation": 1, "have": 0, "wait_ms": 0}, {"op": "snapshot", "store": "x", "have": 0, "wait_ms": 0}, {"op": "may", "uid": 0, "right": "ls"}):
	    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(json.dumps({"v": 1, **op}).encode() + b"\n")
	    r = json.loads(s.makefile().readline()); assert r["ok"] is False and r["code"] == "EACCES", r
	E'
check "all three are still there, and still recording" eval '
	kill -0 ${PID[policyd]} && kill -0 ${PID[recorderd]} && kill -0 ${PID[gate]} && n=$(recorded 东门) && wait_until 10 recorded_at_least 东门 $((n + 2))'
env_stop recorderd
check "nothing recorded is lost: fsck finds the store whole" "$BIN/custos" --config "$T/custos.conf" fsck "$T/store"
tap_done
