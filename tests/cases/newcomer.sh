#!/usr/bin/env bash
# A person who has never seen custos: what is installed, what the samples say, what the command tells and how it fails.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup
C=$BIN/custos

# Installed below a folder of its own, with the default PREFIX: nothing is built again.
D=$T/dest
make -s -C "$SOURCE" B="$BUILT" DESTDIR="$D" install >"$T/install.out" 2>&1 || { cat "$T/install.out"; die "make install"; }
for f in bin/custos sbin/custos-policyd sbin/custos-recorderd sbin/custosfs libexec/custos/custos-ingest; do
	check "installed and runnable: $f" test -x "$D/usr/local/$f"
done
for f in share/man/man1/custos.1 share/man/man5/custos.conf.5 share/man/man5/policy.conf.5 share/man/man8/custos-policyd.8 \
	share/man/man8/custos-recorderd.8 share/man/man8/custosfs.8 share/doc/custos/custos.conf.sample \
	share/doc/custos/policy.conf.sample share/doc/custos/README.md; do
	check "installed: $f" test -s "$D/usr/local/$f"
done
for d in custos-policyd custos-recorderd custosfs; do
	check "the unit of $d names what is installed" grep -qx "ExecStart=/usr/local/sbin/$d" "$D/usr/local/lib/systemd/system/$d.service"
done

# The samples as they are, but for this run's daemons' users (sample: custos-rec, custos-pol, custos-gate).
S=$D/usr/local/share/doc/custos
sed -e "s|^policy .*|policy = \"$S/policy.conf.sample\"|" \
	-e "s|^# recorder_user.*|recorder_user = \"$(user rec)\" policy_user = \"$(user pol)\" gate_user = \"$(user gate)\"|" \
	"$S/custos.conf.sample" >"$T/sample.conf"
for d in custos-policyd custos-recorderd custosfs; do
	check "$d --check takes the samples, and says so" eval '"$BIN/'$d'" --config "$T/sample.conf" --check 2>&1 | grep -q "in order"'
done
cameras() { grep -o '^camera "[^"]*"' "$1" | sort; }
check "each camera of one sample is in the other" diff <(cameras "$S/custos.conf.sample") <(cameras "$S/policy.conf.sample")

# Every file that README's tour names is there.
named() { # the folder is the row's first cell
	awk -F'|' '/^\| `/ {d = $2; gsub(/[ `]/, "", d); t = $4 $5; while (match(t, /`[^`]+`/)) { print d substr(t, RSTART + 1, RLENGTH - 2); t = substr(t, RSTART + RLENGTH) } }' "$SOURCE/README.md"
}
check "the tour has its table" eval '[ "$(named | wc -l)" -ge 15 ]'
there() { local f; for f in $(named); do [ -f "$SOURCE/$f" ] || { echo "$f is not there"; return 1; }; done; }
check "each file of the tour exists" there

# The command alone, and its help.
check "custos alone: the short help, status 2" eval '"$C" >"$T/o" 2>&1; [ $? = 2 ] && grep -q "^usage: custos" "$T/o" && grep -q "  request " "$T/o"'
check "custos audit: which there are, status 2" eval '"$C" audit >"$T/o" 2>&1; [ $? = 2 ] && grep -q "custos audit verify" "$T/o"'
"$C" --help | sed -n 's/^  \([a-z]*\( [a-z][a-z]*\)\{0,1\}\) .*/\1/p' >"$T/names"
check "the help lists all subcommands" eval '[ "$(wc -l <"$T/names")" -ge 23 ]'
helps() {
	while read -r words; do
		# shellcheck disable=SC2086
		"$C" $words --help >"$T/o" 2>&1 && grep -q "^usage: custos $words" "$T/o" && grep -q "^example: *.*custos $words" "$T/o" ||
			{ echo "custos $words --help:"; cat "$T/o"; return 1; }
	done <"$T/names"
}
check "each has a --help with an example" helps
documented() { while read -r words; do grep -Eq "^\.It Cm $words( |$)" "$SOURCE/tools/custos.1" || { echo "$words"; return 1; }; done <"$T/names"; }
check "custos(1) has each subcommand" documented

# What goes wrong on the first day.
conf_cameras() { echo 'camera "c" { source = "feed" }'; }
env_config
refuse 1 "init below a folder that is missing says what to do" "make it first" "$C" --config "$T/custos.conf" init "$T/no/store" --size 64M --no-encrypt
refuse 1 "a configuration that is not there" "none.conf" "$C" --config "$T/none.conf" ls
install -m 0600 "$T/custos.conf" "$T/secret.conf"
refuse 1 "a configuration that may not be read" "Permission denied" as ann "$C" --config "$T/secret.conf" ls
refuse 2 "a time that is none" "is not a time" custos ann request --camera c --from yesterday --to now --reason x
sed 's|Asia/Shanghai|Europe/Berlin|' "$T/custos.conf" >"$T/berlin.conf"
refuse 2 "a local time that comes twice" "ambiguous" as ann "$C" --config "$T/berlin.conf" ls --from "2026-10-25 02:30"
refuse 2 "a local time that never comes" "does not exist" as ann "$C" --config "$T/berlin.conf" ls --from "2026-03-29 02:30"

conf_cameras() { echo "camera \"push\" { store = \"main\" source = \"feed\" feeders = {\"$(user pipe)\"} } camera \"shut\" { store = \"main\" source = \"rtsp://127.0.0.1:1/x\" credential = \"$T/pass\" }"; }
policy_cameras() { echo 'camera "push" { department = "物流部" } camera "shut" { department = "物流部" }'; }
env_config; install -m 0400 /dev/null "$T/pass"; echo u:p >"$T/pass"
env_store 64M --segment-size 4M >/dev/null || die init
env_start policyd; env_start recorderd; env_start gate
check "a credential file of the wrong owner: says what to do" wait_until 20 eval 'custos frank status | grep -q "$T/pass: .*chown"'
env_films 20
check "a film is fed" custos pipe feed push "$T/film-a.mkv"
refuse 1 "a camera that is not there" "no camera \"frob\"" custos carol ls frob
refuse 1 "a grant that is not there" "custos grants" custos ann return 4711
refuse 1 "a store's files are not for everybody" "$(user store)" custos ann fsck
says() { local want=$1; shift; "$@" | grep -q "$want"; }
check "no requests: says so" says "^no request" custos ann requests
check "no grants: says so" says "^no grant" custos ann grants
check "no change of the policy: says so" says "^no difference" custos frank config diff
check "nothing recorded there: says so" says "^nothing" custos carol ls push --from -30d --to -29d

# A page that a person understands: names and units, not fields.
check "status is a page" custos frank status
custos frank status >"$T/page"
check "it has no field names" eval '! grep -E "[a-z]_(ns|ms|us|bytes|bps)\b|segments_|loss_bound" "$T/page"'
for word in "^recorder" "^policy" "^gate" "[Cc]lock\|CLOCK" "store main" "segments" "oldest" "lost in a power cut" "requests" "grants" "lease" "log"; do
	check "it tells: $word" grep -q -- "$word" "$T/page"
done
check "--json has all of it" eval 'custos frank status --json | jq -e ".recorder.stores[0].loss_bound_ns != null and .policy.gates[0].lease_ms_left != null and .gate.log.durable > 0"'

# Requests and refusals are told in the trail with what they were about.
custos ann request --camera push --from -1min --to now --reason 货物 >/dev/null || die request
custos eve approve 1 2>/dev/null && die "eve may not sign"
check "the trail finds a request by its camera" eval '[ "$(custos dave audit show --op request --camera push --json | jq length)" = 1 ]'
check "the trail names the request's camera" eval 'custos dave audit show --op request | grep -q " push "'
check "the trail says what was refused and why" eval 'custos dave audit show --op refused | grep -q "approve.*request 1"'
check "a reader who goes away early is no error" eval '"$C" --config "$T/custos.conf" audit show 2>"$T/err" | head -n 1 >/dev/null; [ ! -s "$T/err" ]'
tap_done
