/*
 * lease.h — the thread that keeps the gate's lease: polls policyd, puts its list of grants into
 * force, and acknowledges a revocation by its next poll, once nothing of it can leave any more:
 *
 *   list without (or with another) grant ─▶ revoked: reads answer EACCES         gate_apply()
 *      ─▶ replies being written are waited for                                    gate_drain()
 *      ─▶ pages of its open nodes are invalidated options.invalidate ─▶ REVOKED is durable in the
 * log ─▶ next poll says have = that epoch
 *
 * No answer from policyd → the lease ends (counted from when the request was *sent*) and everything
 * is denied until there is one again. A log that has failed is not polled for any more: policyd
 * then sees the lease end.
 */
#ifndef CUSTOS_LEASE_H
#define CUSTOS_LEASE_H

#include "fusefs/ops.h"

struct lease;
struct lease_options {
	struct fs *fs;
	const char *socket;      /* policy.sock */
	const char *policy_user; /* whose uid must answer there */
	const char *gate;        /* our name */
	/* Drops the kernel's pages of a node. Called from the lease thread, may block. */
	void (*invalidate)(void *arg, uint64_t node);
	void *arg;
};
/* Copies what it needs of opt but fs and arg. Starts the thread. */
int lease_start(const struct lease_options *opt, struct lease **out) MUST_CHECK;
void lease_stop(struct lease *l);
uint64_t lease_epoch(const struct lease *l); /* newest in force, 0: none yet */

#endif
