/*
 * Leases. What is kept of a gate: the newest epoch it has put into force and when its lease ends by
 * our count. Each (gate, incarnation) is a holder of its own: a gate that was restarted does not
 * speak for the process before it, whose lease runs out by itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/events.h"
#include "policyd/lease.h"
#include "policyd/statejson.h"

#define HOLDERS_MAX   32
/* A gate that is told an epoch again and again and never puts it into force gets no new lease. */
#define BEHIND_MAX_NS (10 * NSEC_PER_SEC)

struct holder {
	char gate[64];
	uint64_t incarnation, have;
	int64_t lease_end;    /* boot time */
	bool ghost;           /* whoever got a lease from an earlier policyd */
	int64_t behind_since; /* boot time of the first of its polls that was behind; 0: is not */
	struct line_conn *parked;
	int64_t parked_until;
	char *checkpoint; /* goes out with the next reply */
};
struct waiter {
	struct line_conn *conn;
	uint64_t grant, epoch;
	size_t gates;
	bool by_lease; /* some gate did not acknowledge */
};
struct pol_lease {
	struct holder holder[HOLDERS_MAX];
	size_t n;
	struct waiter *waiters;
	size_t n_waiters;
};

int lease_new(bool after_restart, struct pol_lease **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	if (after_restart) {
		(*out)->holder[0] = (struct holder){
		        .gate = "?", .ghost = true, .lease_end = clock_boot_ns() + LEASE_NS};
		(*out)->n = 1;
	}
	return 0;
}

void lease_free(struct pol_lease *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++)
		free(l->holder[i].checkpoint);
	free(l->waiters);
	free(l);
}

static json_t *live_grants(const struct policyd *p, int64_t now_ns)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < p->state->n_grants; i++) {
		const struct pol_grant *g = p->state->grants[i];

		if (g->state != POL_ACTIVE || g->what.until_ns <= now_ns)
			continue;
		if (json_array_append_new(array, grant_reply(p->state, g, p->conf->mount))) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* Answers the parked poll of h, which renews its lease from this moment. */
static void answer(struct policyd *p, struct holder *h)
{
	struct line_conn *conn = h->parked;
	bool newer = h->have < p->state->epoch;
	json_t *reply;

	h->parked = NULL;
	if (aud_failed(p->log)) {
		line_reply_error(conn, EIO,
		                 "lease refused: the audit log has failed; repair the disk "
		                 "under state/policy");
		return;
	}
	if (p->clock.behind) {
		line_reply_error(conn, EAGAIN,
		                 "lease refused: the clock is behind the last signed time; "
		                 "set it");
		return;
	}
	if (newer && h->behind_since && clock_boot_ns() - h->behind_since > BEHIND_MAX_NS) {
		line_reply_error(conn, EAGAIN,
		                 "lease refused: this gate has not put epoch %llu into force; "
		                 "restart it",
		                 (unsigned long long)p->state->epoch);
		return;
	}
	if (!newer)
		h->behind_since = 0;
	else if (!h->behind_since)
		h->behind_since = clock_boot_ns();
	reply = json_pack("{s:b, s:I, s:i, s:o, s:s}", "ok", 1, "epoch",
	                  (json_int_t)p->state->epoch, "lease_ms", PROTO_LEASE_MS, "grants",
	                  newer ? live_grants(p, polclock_now(&p->clock)) : json_null(), "vkey",
	                  p->vkey);
	if (!reply) {
		line_reply_error(conn, ENOMEM, "lease refused: out of memory; try again");
		return;
	}
	if (h->checkpoint)
		json_object_set_new(reply, "checkpoint", json_string(h->checkpoint));
	free(h->checkpoint);
	h->checkpoint = NULL;
	/* From after the reply: the gate counts from before it sent, so its own end comes first. */
	line_reply(conn, reply);
	h->lease_end = clock_boot_ns() + LEASE_NS;
}

static bool holds_up(const struct holder *h, const struct waiter *w)
{
	return h->have < w->epoch;
}

/* Forgets holders whose lease has ended; for a revocation that counted on them that is the end. */
static void prune(struct pol_lease *l, int64_t now)
{
	for (size_t i = 0; i < l->n;) {
		struct holder *h = &l->holder[i];

		if (h->parked || h->lease_end > now) {
			i++;
			continue;
		}
		for (size_t k = 0; k < l->n_waiters; k++)
			if (holds_up(h, &l->waiters[k]) && h->lease_end)
				l->waiters[k].by_lease = true;
		free(h->checkpoint);
		*h = l->holder[--l->n];
	}
}

static void finish(struct policyd *p, const struct waiter *w)
{
	const struct pol_grant *g = state_grant(p->state, w->grant);
	struct event ev = {.op = AUD_OP_REVOKE_DONE, .grant = w->grant, .object = g->request};
	int err;

	ev.payload = json_pack("{s:I, s:b, s:I}", "grant", (json_int_t)w->grant, "acknowledged",
	                       !w->by_lease, "gates", (json_int_t)w->gates);
	err = event_commit(p, &ev);
	if (!w->conn)
		return;
	if (err)
		line_reply_error(w->conn, -err,
		                 "the grant has ended, but the audit log could not "
		                 "record the acknowledgement; see custos-policyd's log");
	else
		line_reply(w->conn,
		           json_pack("{s:b, s:I, s:s, s:b, s:I}", "ok", 1, "grant",
		                     (json_int_t)w->grant, "state", pol_state_name(g->state),
		                     "acknowledged", !w->by_lease, "gates", (json_int_t)w->gates));
}

/* Answers the revocations that no live lease holds up any more. */
static void settle(struct policyd *p)
{
	struct pol_lease *l = p->lease;
	int64_t now = clock_boot_ns();

	for (size_t i = 0; i < l->n_waiters;) {
		struct waiter w = l->waiters[i];
		bool waits = false;

		for (size_t k = 0; k < l->n; k++)
			waits |= l->holder[k].lease_end > now && holds_up(&l->holder[k], &w);
		if (waits) {
			i++;
			continue;
		}
		l->waiters[i] = l->waiters[--l->n_waiters];
		finish(p, &w);
	}
}

static struct holder *find(struct pol_lease *l, const char *gate, uint64_t incarnation)
{
	struct holder *h;

	for (size_t i = 0; i < l->n; i++) {
		h = &l->holder[i];
		if (!h->ghost && h->incarnation == incarnation && !strcmp(h->gate, gate))
			return h;
	}
	if (l->n == HOLDERS_MAX)
		return NULL;
	h = &l->holder[l->n++];
	*h = (struct holder){.incarnation = incarnation};
	snprintf(h->gate, sizeof(h->gate), "%s", gate);
	return h;
}

void lease_poll(struct policyd *p, struct line_conn *conn, const struct lease_poll *poll)
{
	struct holder *h;

	prune(p->lease, clock_boot_ns());
	h = find(p->lease, poll->gate, poll->incarnation);
	if (!h) {
		free(poll->checkpoint);
		line_reply_error(conn, EAGAIN,
		                 "lease refused: %d gates hold leases already; try again",
		                 HOLDERS_MAX);
		return;
	}
	if (poll->have > p->state->epoch) /* it was told by a log that is not this one */
		log_warn("gate %s says epoch %llu, newest here is %llu: it gets everything anew",
		         h->gate, (unsigned long long)poll->have,
		         (unsigned long long)p->state->epoch);
	if (poll->have > h->have)
		h->behind_since = 0;
	h->have = poll->have > p->state->epoch ? 0 : poll->have;
	free(h->checkpoint);
	h->checkpoint = poll->checkpoint;
	if (h->parked)
		answer(p, h); /* a poll beside a poll: the older one is over */
	h->parked = conn;
	h->parked_until = clock_boot_ns() + poll->wait_ns;
	settle(p);
	if (h->have < p->state->epoch || !poll->wait_ns || p->clock.behind || aud_failed(p->log))
		answer(p, h);
}

void lease_settle(struct policyd *p, struct line_conn *conn, uint64_t grant, uint64_t epoch)
{
	struct pol_lease *l = p->lease;
	int64_t now = clock_boot_ns();
	struct waiter w = {.conn = conn, .grant = grant, .epoch = epoch};
	struct waiter *more = realloc(l->waiters, (l->n_waiters + 1) * sizeof(*more));

	if (!more) {
		if (conn)
			line_reply_error(conn, ENOMEM,
			                 "the grant has ended; out of memory to wait for "
			                 "the gates' acknowledgement");
		return;
	}
	for (size_t i = 0; i < l->n; i++)
		w.gates += !l->holder[i].ghost && l->holder[i].lease_end > now;
	l->waiters = more;
	prune(l, now); /* leases that ended before do not count as silent gates */
	l->waiters[l->n_waiters++] = w;
	settle(p);
}

void lease_changed(struct policyd *p)
{
	for (size_t i = 0; i < p->lease->n; i++)
		if (p->lease->holder[i].parked && p->lease->holder[i].have < p->state->epoch)
			answer(p, &p->lease->holder[i]);
}

int64_t lease_tick(struct policyd *p)
{
	struct pol_lease *l = p->lease;
	int64_t now = clock_boot_ns(), next = NSEC_PER_SEC;

	for (size_t i = 0; i < l->n; i++)
		if (l->holder[i].parked && l->holder[i].parked_until <= now)
			answer(p, &l->holder[i]);
	prune(l, now);
	settle(p);
	for (size_t i = 0; i < l->n; i++) {
		const struct holder *h = &l->holder[i];
		int64_t due = h->parked ? h->parked_until : h->lease_end;

		if (due - now < next)
			next = due - now;
		if (l->n_waiters && h->lease_end > now && h->lease_end - now < next)
			next = h->lease_end - now;
	}
	return next < 0 ? 0 : next;
}

void lease_gone(struct pol_lease *l, struct line_conn *conn)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->holder[i].parked == conn)
			l->holder[i].parked = NULL;
	for (size_t i = 0; i < l->n_waiters; i++)
		if (l->waiters[i].conn == conn)
			l->waiters[i].conn =
			        NULL; /* the acknowledgement is recorded all the same */
}

json_t *lease_status(const struct pol_lease *l)
{
	json_t *array = json_array();
	int64_t now = clock_boot_ns();

	for (size_t i = 0; array && i < l->n; i++) {
		const struct holder *h = &l->holder[i];

		if (!h->ghost && h->lease_end > now)
			json_array_append_new(
			        array,
			        json_pack("{s:s, s:I, s:I}", "gate", h->gate, "have",
			                  (json_int_t)h->have, "lease_ms_left",
			                  (json_int_t)((h->lease_end - now) / NSEC_PER_MSEC)));
	}
	return array;
}
