/*
 * sweep.h — two small threads: one puts noted reads and counted denials into the log within 50 ms,
 * the other asks the kernel to let go: of mapped pages whose covers or lease have run out, and of
 * names in MOUNT that somebody only tried.
 */
#ifndef CUSTOS_SWEEP_H
#define CUSTOS_SWEEP_H

#include "fusefs/ops.h"

struct sweep;
struct sweep_options {
	struct fs *fs;
	/* Both may block; called from a thread of the sweep's own. */
	void (*invalidate)(void *arg, uint64_t node);
	void (*forget_name)(void *arg, const char *name);
	void *arg;
};
/* Copies opt. */
int sweep_start(const struct sweep_options *opt, struct sweep **out) MUST_CHECK;
void sweep_stop(struct sweep *s);

#endif
