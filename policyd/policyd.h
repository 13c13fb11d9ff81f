/*
 * policyd.h — the daemon's parts, held together by one struct that main owns. One thread.
 */
#ifndef CUSTOS_POLICYD_H
#define CUSTOS_POLICYD_H

#include <limits.h>

#include "engine/audit/audit.h"
#include "engine/audit/note.h"
#include "policyd/conf.h"
#include "policyd/line.h"
#include "policyd/polclock.h"
#include "policyd/proto.h"
#include "policyd/state.h"

#define POLICYD_VERSION "1"
#define POLICYD_ORIGIN  "custos.policy/main"

struct pol_store;
struct pol_heads;
struct pol_lease;
struct pol_snap;
struct pol_budget;

struct policyd {
	const struct conf *conf;
	struct pol_state_all *state;
	struct aud_log *log;
	struct pol_store *store; /* NULL: the projection is out of order, rebuilt at next start */
	struct note_key *key;
	char vkey[NOTE_VKEY_MAX], fingerprint[80];
	char clock_path[PATH_MAX], log_dir[PATH_MAX];
	struct polclock clock;
	struct pol_heads *heads;
	struct pol_lease *lease;
	struct pol_snap *snap;
	struct pol_budget *budget;
	int64_t own_head_boot_ns; /* when our own head was last signed */
	uint64_t own_head_groups;
	int64_t coverage_backoff_boot_ns;
	bool clock_save_failed; /* said */
};

/* Opens everything below state/policy as the daemon's user: key, log, state, projection; applies
 * policy.conf at the first start; finishes what a crash left half done. err: one line. */
int policyd_open(struct policyd *p, const struct conf *conf, struct note_key *key, char *err,
                 size_t err_bytes) MUST_CHECK;
void policyd_close(struct policyd *p);
/* What time brings: expiry, lapse, lease ends, signatures over heads. Returns the time in ns until
 * it wants to be called again. */
int64_t policyd_tick(struct policyd *p);
line_handler policyd_handle; /* api.c; arg is the struct policyd */
line_gone policyd_gone;

#endif
