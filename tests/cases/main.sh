#!/usr/bin/env bash
# Rules on the main path, at the daemon's door: who may ask, sign, look, end; what narrowing does.
. "$(dirname "$0")/../env.sh"; . "$(dirname "$0")/../tap.sh"
env_setup; env_films 60; env_cameras a="$T/film-a.mkv" b="$T/film-b.mkv"; env_config
env_store 256M --segment-size 4M >/dev/null || die init
env_start policyd; env_start recorderd; env_start gate
check "both cameras are recorded" wait_until 40 eval 'recorded_at_least 东门 14 && recorded_at_least 仓库二 14'

end=$(custos carol ls 东门 --json | jq '[.[].to] | max / 1000000000 | floor')
at() { date -u -d "@$((end + $1))" +%FT%TZ; }
ask() { local who=$1; shift; custos "$who" request --camera 东门 --from "$(at -12)" --to "$(at -2)" --reason 调查 --json "$@" | jq .request; }

r=$(ask ann)
refuse 1 "nobody approves their own request" "own request|EACCES|not" custos ann approve "$r"
refuse 1 "a stage is not skipped" "head|turn|stage|first" custos carol approve "$r"
refuse 1 "a stranger cannot see a request" "there is no request" custos eve show "$r"
check "the head signs" custos bob approve "$r"
refuse 1 "the same person cannot sign again" "" custos bob approve "$r"
refuse 1 "no approver widens" "widen|narrow" custos carol approve "$r" --from "$(at -14)"
check "the second stage narrows and the grant exists" custos carol approve "$r" --from "$(at -9)" --json
grant=$(jq .grant "$T/tap.out"); path=$(jq -r .path "$T/tap.out")
check "the grant is there for its owner" wait_until 5 as ann test -d "$path"
check "GRANT.txt tells the reason" as ann grep -q 调查 "$path/GRANT.txt"
file=$(as ann find "$path" -name '*.mp4' | sort | head -1)
check "the film plays" as ann ffmpeg -nostdin -v error -xerror -i "$file" -f null -
check "no other camera in the grant" eval '[ "$(as ann ls "$path" | grep -v GRANT.txt)" = 东门 ]'
# Exact sizes, stable bytes, the same through every way of reading.
check "st_size is what is read" eval '[ "$(as ann stat -c %s "$file")" = "$(as ann cat "$file" | wc -c)" ]'
check "dd, cat and python mmap see the same bytes" eval '
	a=$(as ann cat "$file" | sha256sum); b=$(as ann dd if="$file" bs=37k status=none | sha256sum)
	c=$(as ann python3 -c "import mmap,sys;f=open(sys.argv[1],\"rb\");sys.stdout.buffer.write(mmap.mmap(f.fileno(),0,flags=mmap.MAP_PRIVATE,prot=mmap.PROT_READ))" "$file" | sha256sum)
	[ "$a" != "$(sha256sum </dev/null)" ] && [ "$a" = "$b" ] && [ "$a" = "$c" ]'
check "narrowed: nothing before the new edge" eval '
	n=${file##*/}; first=${n%%+*}; [ "$(date -d "$(echo "$first" | sed -E "s/(....)(..)(..)T(..)(..)(..)\..*/\1-\2-\3 \4:\5:\6/") +0800" +%s)" -ge $((end - 9)) ]'
check "names and bytes are the same in a second grant of the same window" eval '
	r2=$(custos ann request --camera 东门 --from "$(at -9)" --to "$(at -2)" --reason again --json | jq .request)
	custos bob approve $r2 && p2=$(custos carol approve $r2 --json | jq -r .path) && wait_until 5 as ann test -d "$p2" &&
	f2=$(as ann find "$p2" -name "*.mp4" | sort | head -1) && [ "${f2##*/}" = "${file##*/}" ] &&
	one=$(as ann sha256sum "$file" | cut -d" " -f1) && two=$(as ann sha256sum "$f2" | cut -d" " -f1) &&
	[ ${#one} = 64 ] && [ "$one" = "$two" ]'

check "another user: the same error as for a name that never was" eval '
	! x=$(as eve stat "$path" 2>&1) && ! y=$(as eve stat "$MNT/$(user ann)/999999" 2>&1) && [ "${x##*:}" = "${y##*:}" ] && [ "${x##*:}" = " No such file or directory" ]'
check "root is nobody special" eval '! cat "$file" >/dev/null 2>&1'
check "an inherited descriptor is of no use to another uid" python3 - "$file" "$(id -u "$(user ann)")" "$(id -u "$(user eve)")" <<-'E'
	import errno, os, sys
	f, ann, eve = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
	# a process that opens as ann and reads as eve
	pid = os.fork()
	if pid == 0:
	    os.setresuid(ann, ann, 0)
	    fd = os.open(f, os.O_RDONLY)
	    os.setresuid(0, 0, 0)
	    os.setresuid(eve, eve, eve)
	    try:
	        os.pread(fd, 16, 0)
	    except OSError as e:
	        os._exit(0 if e.errno == errno.EACCES else 3)
	    os._exit(4)
	sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
	E
for op in 'touch "$path/x"' 'rm -f "$file"' 'ln "$file" "$path/y"' 'mv "$file" "$path/z"' 'truncate -s 0 "$file"' 'mkdir "$path/d"'; do
	check "no writing: ${op%% *}" eval "! said=\$(as ann $op 2>&1) && [[ \$said == *'Read-only file system' ]]"
done

refuse 1 "eve cannot revoke" "" custos eve revoke "$grant" --reason x
check "the owner returns the grant" custos ann return "$grant"
check "and it is gone when return comes back" eval '! as ann ls "$path" 2>/dev/null'
r=$(ask ann); check "withdraw" custos ann withdraw "$r"
refuse 1 "a withdrawn request cannot be approved" "withdrawn" custos bob approve "$r"
r=$(ask ann); check "reject with a reason" custos bob reject "$r" --reason 理由不足
check "the requester sees why" eval 'custos ann show $r | grep -q 理由不足'
check "expiry ends a grant" eval '
	r=$(custos ann request --camera 东门 --from "$(at -12)" --to "$(at -2)" --reason short --until "$(date -u -d "+4 seconds" +%FT%TZ)" --json | jq .request)
	custos bob approve $r && p=$(custos carol approve $r --json | jq -r .path) && wait_until 3 as ann test -d "$p" &&
	wait_until 10 eval "! as ann test -d \"$p\""'
check "the registers agree: --json lists" eval 'custos ann requests --json | jq -e "length >= 5" && custos carol grants --json | jq -e "type == \"array\""'
check "reads and denials stand in the log" eval 'custos dave audit show --op read --json | jq -e "length > 0" && custos dave audit show --op deny --json | jq -e "length > 0"'
refuse 1 "the log is for auditors" "" custos eve audit show
audit_ok() { custos dave audit verify --key "$T/state/keys/sign.pub"; }
check "the logs verify offline" wait_until 15 audit_ok
tap_done
