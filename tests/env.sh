# One complete custos on this machine, for the demo and the end-to-end cases: people, cameras,
# store, configuration, the three daemons. Sourced, never run. Real users, real mounts, real RTSP.
#
#   env_setup            folder $T, users, groups; everything is undone by the EXIT trap. From then on $BIN and $ROOT/tests
#                        are copies that those users can reach; $BUILT and $SOURCE are where they came from
#   env_films            two films to serve as cameras: $T/film-a.mkv (H.264+AAC), -b.mkv (H.265)
#   env_cameras          the RTSP server; $RTSP is its base URL
#   env_config           custos.conf and policy.conf (functions conf_extra, policy_extra may add)
#   env_store SIZE …     custos init
#   env_start NAME       policyd | recorderd | gate: start and wait until it says "ready"
#   env_stop NAME        SIGTERM and wait
#   as PERSON CMD…       run as that person (ann bob carol dave eve frank grace)
#   wait_until N CMD…    try CMD until it succeeds; after N seconds it has failed
#
# Everything belongs to this run alone: a second run beside it does not disturb it.

set -u
: "${BUILD_DIR:=build/release}"
SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) ROOT=$SOURCE
BUILT=$(cd "$SOURCE" && cd "$BUILD_DIR" && pwd) BIN=$BUILT
export LC_ALL=C.UTF-8
unset CUSTOS_CONF

say() { printf '%s\n' "$*"; }
die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

declare -A PID=()
PEOPLE="ann bob carol dave eve frank grace pipe"
user() { echo "ct$TAG-$1"; }
as() { local who; who=$(user "$1"); shift; runuser -u "$who" -- env -C / PATH="$PATH" LC_ALL=C.UTF-8 "$@"; }
custos() { local who=$1; shift; as "$who" "$BIN/custos" --config "$T/custos.conf" "$@"; }

wait_until() {
	local deadline=$((SECONDS + $1)); shift
	until "$@"; do
		[ $SECONDS -lt $deadline ] || return 1
		sleep 0.1
	done
}

env_setup() {
	[ "$(id -u)" = 0 ] || die "this needs root (real users, a real mount); run it with sudo"
	[ -c /dev/fuse ] || die "/dev/fuse is missing: load the fuse module"
	chmod 0666 /dev/fuse 2>/dev/null || :
	TAG=$(printf '%05d' $(($$ % 100000)))
	T=$(mktemp -d "/tmp/custos-$TAG-XXXX")
	chmod 0755 "$T"
	trap env_cleanup EXIT
	trap 'exit 130' INT TERM
	local g u
	for g in store audit staff; do groupadd "$(user $g)"; done
	for u in rec pol gate; do useradd -M -N -g "$(user audit)" -s /usr/sbin/nologin "$(user $u)"; done
	for u in $PEOPLE; do useradd -M -N -g "$(user staff)" -s /bin/sh "$(user "$u")"; done
	usermod -aG "$(user audit)" "$(user dave)"
	MNT=$T/mnt
	env_copies
}

# A clone often lies in a home, and homes are 0700 on Debian 12: other users could run nothing there.
env_copies() {
	ROOT=$T BIN=$T/bin
	mkdir "$BIN" "$T/tests"
	cp "$BUILT"/custos* "$BIN/" && cp "$SOURCE"/tests/*.py "$T/tests/" || die "not built: run make first"
	chmod -R a+rX "$BIN" "$T/tests"
	ln -s "$BUILT/tests" "$BIN/tests"
}

env_cleanup() {
	local status=$? p
	trap '' INT TERM
	if [ -n "${KEEP:-}" ] && [ "$status" = 0 ] && [ -n "${KEEP_HINTS:-}" ]; then
		keep_hints
		trap - EXIT
		exit 0
	fi
	[ "$status" = 0 ] || env_show_logs
	for p in gate recorderd policyd rtsp; do env_stop $p; done
	grep -q " $T/mnt " /proc/mounts && umount -l "$T/mnt"
	declare -F case_cleanup >/dev/null && case_cleanup
	local u g
	for u in rec pol gate $PEOPLE; do userdel "$(user "$u")" 2>/dev/null; done
	for g in store audit staff; do groupdel "$(user $g)" 2>/dev/null; done
	rm -rf "$T"
	exit "$status"
}

env_show_logs() {
	local f
	for f in "$T"/*.log; do
		[ -s "$f" ] && { printf -- '---- %s\n' "${f##*/}" >&2; tail -n 25 "$f" >&2; }
	done
}

# The films are the same for every run, so a run under `make check` makes them once ($FILM_CACHE).
film() { # OUT CODEC-ARGS…
	local out=$1; shift
	ffmpeg -nostdin -v error -y "$@" "$out" </dev/null || die "ffmpeg could not make $out"
}
env_films() {
	local seconds=${1:-120} c=${FILM_CACHE:-$T}
	if [ ! -s "$c/film-a.$seconds.mkv" ]; then
		film "$c/film-a.$seconds.mkv" -f lavfi -i testsrc2=size=640x360:rate=25:duration="$seconds" \
			-f lavfi -i sine=frequency=440:sample_rate=48000:duration="$seconds" \
			-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -b:v 900k -c:a aac -b:a 64k
	fi
	if [ ! -s "$c/film-b.$seconds.mkv" ]; then
		film "$c/film-b.$seconds.mkv" -f lavfi -i testsrc=size=480x270:rate=15:duration="$seconds" \
			-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=15:bframes=0 -pix_fmt yuv420p
	fi
	ln -sf "$c/film-a.$seconds.mkv" "$T/film-a.mkv"
	ln -sf "$c/film-b.$seconds.mkv" "$T/film-b.mkv"
}

env_cameras() { # NAME=FILE …
	"$BIN/tests/rtsp_camera" 0 "$@" >"$T/rtsp.out" 2>"$T/rtsp.log" &
	PID[rtsp]=$!
	wait_until 20 grep -q '^ready' "$T/rtsp.out" || die "the simulated cameras do not start"
	RTSP=rtsp://127.0.0.1:$(awk '/^ready/{print $2}' "$T/rtsp.out")
}

conf_extra() { :; }
policy_extra() { :; }
conf_cameras() {
	cat <<-E
	camera "东门" { store = "main" source = "$RTSP/a" }
	camera "仓库二" { store = "main" source = "$RTSP/b" }
	E
}
policy_cameras() {
	cat <<-E
	camera "东门"   { department = "物流部" level = 1 min_age = "90d" max_age = "120d" }
	camera "仓库二" { department = "物流部" level = 1 min_age = "90d" max_age = "120d" }
	E
}
env_config() {
	cat >"$T/custos.conf" <<-E
	timezone = "Asia/Shanghai"
	run = "$T/run"
	state = "$T/state"
	policy = "$T/policy.conf"
	recorder_user = "$(user rec)"
	policy_user = "$(user pol)"
	gate_user = "$(user gate)"
	store_group = "$(user store)"
	audit_group = "$(user audit)"
	store "main" { path = "$T/store" flush = "1s" integrity = "sha256" }
	gate { mount = "$MNT" slice = "${SLICE:-10min}" }
	$(conf_cameras)
	$(conf_extra)
	E
	cat >"$T/policy.conf" <<-E
	limits { min_age_floor = "90d" max_window = "24h" max_grant = "14d" }
	department "物流部" { heads = {"$(user bob)"} }
	role "monitoring" { members = {"$(user carol)", "$(user grace)"} }
	role "leader" { members = {"$(user grace)"} }
	role "auditor" { members = {"$(user dave)"} }
	role "admin" { members = {"$(user frank)", "$(user grace)"} }
	role "importer" { members = {"$(user pipe)"} }
	$(policy_cameras)
	chain "internal" { requesters = {"@$(user staff)"} stages = {"head", "monitoring"} }
	$(policy_extra)
	E
	chmod 0644 "$T/custos.conf" "$T/policy.conf"
}

env_store() { # SIZE [options]
	local size=$1; shift
	"$BIN/custos" --config "$T/custos.conf" init "$T/store" --size "$size" --no-encrypt "$@"
}

env_start() {
	local name=$1 prog
	case $name in
	policyd) prog=custos-policyd ;;
	recorderd) prog=custos-recorderd ;;
	gate) prog=custosfs ;;
	esac
	: >"$T/$name.log"
	"$BIN/$prog" --config "$T/custos.conf" 2>>"$T/$name.log" &
	PID[$name]=$!
	wait_until 30 env_ready "$name" || die "$name does not get ready"
	kill -0 "${PID[$name]}" 2>/dev/null || die "$name ended at once"
}
env_ready() { grep -qw ready "$T/$1.log" || ! kill -0 "${PID[$1]}" 2>/dev/null; }
env_stop() {
	local pid=${PID[$1]:-}
	[ -n "$pid" ] || return 0
	kill -TERM "$pid" 2>/dev/null
	( n=0; while kill -0 "$pid" 2>/dev/null; do n=$((n + 1)); [ $n -lt 150 ] || { kill -KILL "$pid"; break; }; sleep 0.1; done )
	wait "$pid" 2>/dev/null
	local status=$?
	unset "PID[$1]"
	return $status
}
env_kill() { kill -KILL "${PID[$1]}"; wait "${PID[$1]}" 2>/dev/null; unset "PID[$1]"; }

# Seconds of committed footage of a camera, whole seconds.
recorded() {
	custos carol ls "$1" --json 2>/dev/null |
		jq '[.[] | select(.to != null) | (.to - .from)] | add // 0 | . / 1000000000 | floor'
}
recorded_at_least() { [ "$(recorded "$1")" -ge "$2" ] 2>/dev/null; }
