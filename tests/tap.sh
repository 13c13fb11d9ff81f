# TAP for the end-to-end cases (sourced after env.sh):
#   check "what holds" CMD…        one test: passes when CMD succeeds
#   refuse STATUS "what" REGEX CMD…  one test: CMD must exit with STATUS and say one line matching REGEX (of a daemon's
#                                    lines the errors count)
#   skip "what" "why"
#   tap_done                        the plan; exits 1 if anything failed
TAP_N=0 TAP_BAD=0
tap() { TAP_N=$((TAP_N + 1)); if [ "$1" = 0 ]; then echo "ok $TAP_N - $2"; else echo "not ok $TAP_N - $2"; TAP_BAD=$((TAP_BAD + 1)); fi; }
check() { local what=$1; shift; if "$@" >"$T/tap.out" 2>&1; then tap 0 "$what"; else tap 1 "$what"; sed 's/^/# /' "$T/tap.out" | tail -n 15; fi; }
refuse() {
	local want=$1 what=$2 regex=$3 status; shift 3
	"$@" >"$T/tap.out" 2>"$T/tap.all"; status=$?
	grep -E '^custos[a-z-]+: error: ' "$T/tap.all" >"$T/tap.err" || cp "$T/tap.all" "$T/tap.err"
	if [ $status = "$want" ] && [ "$(wc -l <"$T/tap.err")" = 1 ] && grep -Eq -- "$regex" "$T/tap.err"; then
		tap 0 "$what"
	else
		tap 1 "$what"; echo "# status $status, wanted $want; standard error:"; sed 's/^/# /' "$T/tap.err" | tail -n 8
	fi
}
skip() { TAP_N=$((TAP_N + 1)); echo "ok $TAP_N - $1 # SKIP $2"; }
tap_done() { echo "1..$TAP_N"; [ $TAP_BAD = 0 ];  exit; }
