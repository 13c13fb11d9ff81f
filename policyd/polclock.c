/*
 * The clock of grants. Between two calls it follows whichever of wall clock and boot time went
 * further; over a restart it goes on from the last signed time. The boot id in the note tells
 * whether boot time can be compared.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/polclock.h"

#define HEAD "custos.policy.clock/1\n"

static void boot_id(char out[64])
{
	char *text = NULL;
	size_t len = 0;

	snprintf(out, 64, "unknown");
	if (file_read_all("/proc/sys/kernel/random/boot_id", 63, &text, &len))
		return;
	text[strcspn(text, "\n")] = '\0';
	snprintf(out, 64, "%.63s", text);
	free(text);
}

void polclock_start(struct polclock *c, const char *path, const char *vkey, int64_t log_ns)
{
	int64_t wall = clock_wall_ns(), boot = clock_boot_ns(), then = 0, then_boot = 0;
	char *note = NULL, id[64], now_id[64];
	size_t len = 0, signed_bytes = 0;

	*c = (struct polclock){.base_ns = log_ns, .base_boot_ns = boot, .saved_boot_ns = 0};
	boot_id(now_id);
	if (!file_read_all(path, 4096, &note, &len) && !note_verify(vkey, note, &signed_bytes) &&
	    sscanf(note, HEAD "%" SCNd64 " %" SCNd64 " %63s", &then, &then_boot, id) == 3) {
		if (!strcmp(id, now_id) && then_boot <= boot)
			then += boot - then_boot;
		if (then > c->base_ns)
			c->base_ns = then;
	}
	free(note);
	c->behind = wall + POLCLOCK_BEHIND_NS < c->base_ns;
}

int64_t polclock_at(struct polclock *c, int64_t wall_ns, int64_t boot_ns)
{
	int64_t now = c->base_ns + (boot_ns - c->base_boot_ns);

	if (c->behind && wall_ns + POLCLOCK_BEHIND_NS >= now)
		c->behind = false;
	if (wall_ns > now)
		now = wall_ns;
	c->base_ns = now;
	c->base_boot_ns = boot_ns;
	return now;
}

int64_t polclock_now(struct polclock *c)
{
	/* The wall clock first: a pause between the two then counts as no time at all. The other
	 * way round it would count twice, and every longer pause would push us further ahead of the
	 * wall clock, for good. */
	int64_t wall_ns = clock_wall_ns(), boot_ns = clock_boot_ns();

	return polclock_at(c, wall_ns, boot_ns);
}

int polclock_save(struct polclock *c, const char *path, const struct note_key *key)
{
	char text[256], id[64], *note = NULL;
	int64_t now = polclock_now(c);
	int err;

	if (c->saved_boot_ns && c->base_boot_ns - c->saved_boot_ns < POLCLOCK_SAVE_NS)
		return 0;
	boot_id(id);
	snprintf(text, sizeof(text), HEAD "%" PRId64 " %" PRId64 " %s\n", now, c->base_boot_ns, id);
	err = note_sign(key, text, &note);
	if (!err)
		err = file_replace(path, note, strlen(note), 0640);
	if (!err)
		c->saved_boot_ns = c->base_boot_ns;
	free(note);
	return err;
}
