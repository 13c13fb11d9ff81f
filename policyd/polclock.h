/*
 * polclock.h — the time that decides over grants: it never goes back.
 *
 * now = max(wall clock, last signed time + boot time elapsed since). The last signed time is kept
 * in a signed note (state/policy/clock), written every half minute, so that setting the clock back
 * before a start revives nothing. Not thread-safe.
 */
#ifndef CUSTOS_POLCLOCK_H
#define CUSTOS_POLCLOCK_H

#include "engine/audit/note.h"

#define POLCLOCK_BEHIND_NS (30 * NSEC_PER_SEC)
#define POLCLOCK_SAVE_NS   (30 * NSEC_PER_SEC)

struct polclock {
	int64_t base_ns, base_boot_ns; /* a time known to have been, and the boot time of then */
	int64_t saved_boot_ns;
	bool behind; /* at start the wall clock was more than 30 s behind: deny until it is set */
};
/* Takes the newest of the log's last time and the note at path (absent or not ours: the log's). */
void polclock_start(struct polclock *c, const char *path, const char *vkey, int64_t log_ns);
/* Never less than any earlier result. Leaves `behind` once the wall clock has caught up. */
int64_t polclock_now(struct polclock *c);
/* Pure core of polclock_now(). */
int64_t polclock_at(struct polclock *c, int64_t wall_ns, int64_t boot_ns);
/* Writes the note when one is due. Blocks for a small file. */
int polclock_save(struct polclock *c, const char *path, const struct note_key *key) MUST_CHECK;

#endif
