/*
 * gate.h — may this caller have this, now? The one place that says so.
 *
 * Holds the grants in force and the lease. Promises:
 *   - nothing is allowed without a live lease, to another uid than the grant's, after its end, or
 *     after it was revoked (vanished from or changed in policyd's list);
 *   - a reply that carries bytes is written between gate_reply_begin() and gate_reply_end(); when
 *     gate_drain() has returned for a revoked grant, no such reply of it is under way and none will
 *     begin. Why: both sides use sequentially consistent atomics; the reply raises `replying`
 *     before it looks at `revoked`, the revocation sets `revoked` before it looks at `replying`, so
 *     at least one sees the other.
 *   - the time that grants end by never runs backwards, whatever is done to the wall clock: it is
 *     boot time plus the largest (wall - boot) seen.
 * Any thread unless it says otherwise. Only gate_drain() blocks.
 */
#ifndef CUSTOS_GATE_H
#define CUSTOS_GATE_H

#include "fusefs/grant.h"

enum gate_verdict {
	GATE_OK = 0,
	GATE_NOT_OWNER,
	GATE_NO_LEASE,
	GATE_REVOKED,
	GATE_EXPIRED,
};
const char *gate_verdict_name(enum gate_verdict v); /* "not-owner" … */

/* The decision itself: pure. */
struct gate_facts {
	uid_t caller, owner;
	bool revoked;
	int64_t now_ns, until_ns;      /* wall */
	int64_t boot_ns, lease_end_ns; /* CLOCK_BOOTTIME */
};
enum gate_verdict gate_judge(const struct gate_facts *f);

struct gate;
int gate_new(struct gate **out) MUST_CHECK;
void gate_free(struct gate *g);

/* Puts policyd's list (array of GRANT; borrowed) into force. Grants that are the same stay the same
 * object. Those that vanished or changed are revoked before this returns and handed over in *gone
 * (malloc'ed array of owned references). Lease thread only. -EINVAL: not an array; -ENOMEM: then
 * every grant has been revoked. */
int gate_apply(struct gate *g, json_t *list, struct grant ***gone, size_t *n_gone) MUST_CHECK;
/* The lease holds until this CLOCK_BOOTTIME. */
void gate_lease_set(struct gate *g, int64_t end_boot_ns);
int64_t gate_lease_left_ns(const struct gate *g); /* <= 0: none */
size_t gate_count(struct gate *g);
/* "Now" as grants see it (see above). */
int64_t gate_now_ns(struct gate *g);

enum gate_verdict gate_check(struct gate *g, struct grant *grant, uid_t caller);
/* The grant of that number that names `user` and `caller`, allowed now; a reference or NULL. */
struct grant *gate_find(struct gate *g, uid_t caller, const char *user, uint64_t id);
/* Is there any grant of that user in the list, allowed now or not? */
bool gate_knows(struct gate *g, const char *user);
/* All such grants, by number; malloc'ed array of references. -ENOMEM. */
int gate_list(struct gate *g, uid_t caller, const char *user, struct grant ***out,
              size_t *n) MUST_CHECK;

/* The last check before bytes leave. GATE_OK: the reply may be written now, gate_reply_end() must
 * follow. Anything else: nothing may leave, no gate_reply_end(). */
enum gate_verdict gate_reply_begin(struct gate *g, struct grant *grant, uid_t caller);
void gate_reply_end(struct gate *g, struct grant *grant);
/* Waits until no reply of this revoked grant is being written. Never from a FUSE handler. */
void gate_drain(struct gate *g, struct grant *grant);

#endif
