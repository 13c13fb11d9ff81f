/*
 * lease.h — the gates: their long polls, their leases, and revocations that wait for them.
 *
 * A gate may serve until 5 s after it *sent* its last answered poll; policyd counts from its reply,
 * so it never believes a gate silent that may still serve. A revocation is settled when every gate
 * with a live lease has polled with have >= its epoch, or that lease has ended. One thread.
 */
#ifndef CUSTOS_LEASE_H
#define CUSTOS_LEASE_H

#include "policyd/policyd.h"

#define LEASE_NS (PROTO_LEASE_MS * NSEC_PER_MSEC)

/* after_restart: gates may hold leases given by an earlier process; until 5 s from now they count.
 */
int lease_new(bool after_restart, struct pol_lease **out) MUST_CHECK;
void lease_free(struct pol_lease *l);

struct lease_poll {
	const char *gate;
	uint64_t incarnation, have;
	int64_t wait_ns;
	char *checkpoint; /* taken over; NULL none */
};
/* Takes the poll's acknowledgement and answers it now or later. */
void lease_poll(struct policyd *p, struct line_conn *conn, const struct lease_poll *poll);
/* The reply of `conn` waits until all gates are past `epoch` for grant; then AUD_OP_REVOKE_DONE and
 * {grant, state, acknowledged, gates}. conn NULL: nobody waits (left over from before a restart).
 */
void lease_settle(struct policyd *p, struct line_conn *conn, uint64_t grant, uint64_t epoch);
/* The epoch has risen: answers all parked polls. */
void lease_changed(struct policyd *p);
/* Due polls, ended leases, settled revocations. Returns ns until the next of these. */
int64_t lease_tick(struct policyd *p);
void lease_gone(struct pol_lease *l, struct line_conn *conn);
/* [{gate, have, lease_ms_left}…] */
json_t *lease_status(const struct pol_lease *l);

#endif
