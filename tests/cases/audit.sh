#!/usr/bin/env bash
# The log tells on whoever touches it; the projection is nothing but a projection.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup
conf_cameras() { echo "camera \"c\" { store = \"main\" source = \"feed\" feeders = {\"$(user pipe)\"} }"; }
policy_cameras() { echo "camera \"c\" { department = \"物流部\" min_age = \"90d\" max_age = \"120d\" }"; }
env_config; env_store 64M --segment-size 4M >/dev/null || die init
env_start policyd; env_start recorderd
key=$T/state/keys/sign.pub
for i in 1 2 3 4 5; do custos ann request --camera c --from now --to "$(date -u -d '+10 min' +%FT%TZ)" --reason "case $i" >/dev/null || die request; done
custos bob approve 1 >/dev/null; custos carol approve 1 >/dev/null || die approve
# The checkpoint must cover all of this before the log is copied and tampered with.
covered() { custos dave audit verify --key "$key" --log policy --json | jq -e 'map(.unsigned_records // (.records - .signed_records)) | add == 0'; }
check "everything said so far gets signed" wait_until 20 covered
cp -a "$T/state/policy/log" "$T/copy"
verify() { "$BIN/custos" audit verify --key "$key" --dir "$1"; }
check "an untouched copy verifies with nothing but files and key" verify "$T/copy"
f=$(ls "$T"/copy/*.log | head -1)
spot=$(grep -abo 'case 3' "$f" | head -1 | cut -d: -f1)
tampered() { rm -rf "$T/bad"; cp -a "$T/copy" "$T/bad"; bad=$T/bad/${f##*/}; }
tampered; printf 'case 9' | dd of="$bad" bs=1 seek="$spot" conv=notrunc status=none
# Damage is told by the record where it begins: that of the changed request, or the first of its group.
changed=$(custos dave audit show --op request --json | jq '.[] | select(.payload.reason == "case 3") | .seq')
[ "$changed" -gt 0 ] || die "the third request is not in the log"
check "a changed word is found and the record named" eval '
	! "$BIN/custos" audit verify --key "$key" --dir "$T/bad" --json >"$T/v" 2>"$T/tap.err" &&
	cat "$T/v" && echo "the changed one is $changed" && jq -e ".[0].ok == false and .[0].first_bad_seq <= $changed and .[0].first_bad_seq > 1" "$T/v"'
tampered; dd if=/dev/zero of="$bad" bs=1 seek="$spot" count=4096 conv=notrunc status=none
check "a blanked stretch is found" eval '! verify "$T/bad"'
tampered; rm -f "$T"/bad/*.log
check "a removed file is found" eval '! verify "$T/bad"'
tampered; sed -i 's/^[0-9]\+$/1/' "$T/bad/checkpoint"
check "a checkpoint that was edited is found" eval '! verify "$T/bad"'
printf 'custos.policy+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n' >"$T/other.pub"
check "another key does not verify it" eval '! "$BIN/custos" audit verify --key "$T/other.pub" --dir "$T/copy"'
check "show finds by operation and person" eval 'custos dave audit show --op request --user "$(user ann)" --json | jq -e "length == 5"'

# The database is a projection: a hand edit vanishes and is reported.
env_stop policyd
state_of() { custos ann show "$1" --json | jq -r .state; }
python3 - "$T/state/policy/policy.db" <<-'E'
	import sqlite3, sys
	db = sqlite3.connect(sys.argv[1])
	tables = [r[0] for r in db.execute("select name from sqlite_schema where type='table'")]
	t = [x for x in tables if "request" in x][0]
	cols = [r[1] for r in db.execute(f"pragma table_info({t})")]
	c = [x for x in cols if "state" in x or "status" in x][0]
	n = db.execute(f"update {t} set {c} = 'active' where {cols[0]} = 2").rowcount
	db.commit(); assert n == 1, (t, c, cols)
	E
[ $? = 0 ] || die "could not edit the database"
env_start policyd
check "a hand edit of the database has no effect" eval '[ "$(state_of 2)" = submitted ]'
check "and is reported" eval 'custos dave audit show --op tamper --json | jq -e "length == 1" && grep -qi "projection\|database" "$T/policyd.log"'
env_stop policyd; rm -f "$T"/state/policy/policy.db*
env_start policyd
check "without a database it is rebuilt from the log" eval '[ "$(state_of 1)" = active ] && [ "$(state_of 3)" = submitted ]'

# A log that does not verify denies everything.
env_stop policyd
f=$(ls "$T"/state/policy/log/*.log | head -1); spot=$(grep -abo 'case 3' "$f" | head -1 | cut -d: -f1)
printf 'case 9' | dd of="$f" bs=1 seek="$spot" conv=notrunc status=none
refuse 1 "policyd does not start over a changed log" "" timeout 20 "$BIN/custos-policyd" --config "$T/custos.conf"
check "the recorder does not need it" kill -0 "${PID[recorderd]}"
tap_done
