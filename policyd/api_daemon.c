/*
 * What daemons ask (lease, snapshot, may), and the two questions about policyd itself (status,
 * audit.check).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/api.h"
#include "policyd/facts.h"
#include "policyd/heads.h"
#include "policyd/lease.h"
#include "policyd/snapshot.h"

static int whole(struct call *c, const char *key, int64_t max, int64_t *out)
{
	const json_t *v = json_object_get(c->req, key);

	*out = json_integer_value(v);
	if (json_is_integer(v) && *out >= 0 && *out <= max)
		return 0;
	line_reply_error(c->conn, EINVAL, "%s refused: \"%s\" has to be a number from 0 to %lld",
	                 c->op, key, (long long)max);
	return -EINVAL;
}

/* A head that may not be signed is evidence against its log: alarmed, recorded, not answered. It
 * comes again with every poll and is said once. That ours cannot be written is no evidence. */
static void head_refused(struct call *c, const char *origin, uint64_t groups, int err)
{
	struct pol_verdict v = {.err = -err};
	struct event ev = {.op = AUD_OP_REFUSED, .peer = c->peer, .result = (uint16_t)-err};
	bool evidence = err == -ESTALE || err == -EKEYREJECTED || err == -EPERM || err == -EINVAL;

	if (!heads_news(c->p->heads, origin, err))
		return;

	snprintf(v.why, sizeof(v.why), "the head of log \"%.100s\" (%llu groups) %s", origin,
	         (unsigned long long)groups,
	         err == -ESTALE         ? "is smaller than one signed before: it was cut"
	         : err == -EKEYREJECTED ? "has another root than the one signed: it was rewritten"
	         : err == -EPERM        ? "belongs to another daemon"
	         : err == -EINVAL       ? "is malformed, or there are too many logs"
	                                : "could not be signed: check the disk under state/policy");
	log_err("ALARM: %s", v.why);
	if (!evidence)
		return;
	ev.payload = json_pack("{s:s, s:s, s:s}", "op", c->op, "code", line_errno_name(-err), "why",
	                       v.why);
	if (event_commit(c->p, &ev))
		log_err("and that could not be recorded");
}

/* Signs the head in the call, if there is one. -EINVAL after having replied. */
static int sign_head(struct call *c, enum head_kind kind, char **note)
{
	const json_t *head = json_object_get(c->req, "head");
	const char *origin = json_string_value(json_object_get(head, "origin"));
	const char *root64 = json_string_value(json_object_get(head, "root"));
	const json_t *groups = json_object_get(head, "groups");
	uint8_t root[32];
	size_t len = 0;
	int err;

	*note = NULL;
	if (!head || json_is_null(head))
		return 0;
	if (!origin || !root64 || !json_is_integer(groups) || json_integer_value(groups) < 0 ||
	    base64_decode(root64, strlen(root64), root, sizeof(root), &len) ||
	    len != sizeof(root)) {
		line_reply_error(c->conn, EINVAL,
		                 "%s refused: \"head\" is {origin, groups, last_seq, "
		                 "root}",
		                 c->op);
		return -EINVAL;
	}
	err = heads_sign(c->p->heads, kind, origin, (uint64_t)json_integer_value(groups), root,
	                 note);
	if (err)
		head_refused(c, origin, (uint64_t)json_integer_value(groups), err);
	return 0;
}

void api_lease(struct call *c)
{
	struct lease_poll poll = {0};
	const json_t *incarnation = json_object_get(c->req, "incarnation");
	int64_t have, wait_ms;

	if (call_text(c, "gate", true, &poll.gate) || whole(c, "have", INT64_MAX, &have) ||
	    whole(c, "wait_ms", PROTO_WAIT_MAX_MS, &wait_ms))
		return;
	if (!json_is_integer(incarnation) || !*poll.gate || strlen(poll.gate) > 63) {
		line_reply_error(c->conn, EINVAL,
		                 "lease refused: \"incarnation\" is a number, \"gate\" a "
		                 "name of 1 to 63 bytes");
		return;
	}
	poll.incarnation = (uint64_t)json_integer_value(incarnation);
	poll.have = (uint64_t)have;
	poll.wait_ns = wait_ms * NSEC_PER_MSEC;
	if (!sign_head(c, HEAD_GATE, &poll.checkpoint))
		lease_poll(c->p, c->conn, &poll);
}

void api_snapshot(struct call *c)
{
	int64_t have, wait_ms;
	const char *store;
	char *checkpoint;

	if (call_text(c, "store", true, &store) || whole(c, "have", INT64_MAX, &have) ||
	    whole(c, "wait_ms", PROTO_WAIT_MAX_MS, &wait_ms) ||
	    sign_head(c, HEAD_RECORDER, &checkpoint))
		return;
	snap_poll(c->p, c->conn, (uint64_t)have, wait_ms * NSEC_PER_MSEC, checkpoint);
}

void api_may(struct call *c)
{
	static const struct {
		const char *right, *roles[4];
	} rights[] = {
	        {"ls", {"monitoring"}},
	        {"import", {"importer"}},
	        {"status", {"monitoring", "admin", "auditor"}},
	        {"fsck", {"admin"}},
	};
	struct pol_facts f;
	const char *right;
	int64_t uid;
	int allowed = -1, err;

	if (whole(c, "uid", UINT32_MAX - 1, &uid) || call_text(c, "right", true, &right))
		return;
	err = facts_get(c->p->state->conf, (uint32_t)uid, POL_NO_UID, &f);
	if (err) {
		line_reply_error(c->conn, EAGAIN,
		                 "refused: the user database does not answer; try again");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(rights); i++) {
		if (strcmp(rights[i].right, right) != 0)
			continue;
		allowed = 0;
		for (size_t k = 0; rights[i].roles[k] && allowed <= 0; k++) {
			int member = rule_role(c->p->state->conf, &f, rights[i].roles[k]);

			if (member > 0)
				allowed = 1;
			err = member < 0 ? member : err;
		}
	}
	facts_free(&f);
	if (allowed < 0)
		line_reply_error(c->conn, EINVAL, "there is no right \"%.64s\"", right);
	else if (!allowed && err)
		line_reply_error(c->conn, EAGAIN,
		                 "refused: the user database does not answer; try again");
	else
		call_reply(c, json_pack("{s:b}", "allowed", allowed && !aud_failed(c->p->log)));
}

void api_status(struct call *c)
{
	const struct policyd *p = c->p;
	const struct pol_state_all *s = p->state;
	json_int_t open = 0, active = 0;

	if (call_needs_role(c, (const char *const[]){"monitoring", "admin", "auditor", NULL}))
		return;
	for (size_t i = 0; i < s->n_requests; i++)
		open += pol_undecided(s->requests[i]);
	for (size_t i = 0; i < s->n_grants; i++)
		active += s->grants[i]->state == POL_ACTIVE;
	call_reply(
	        c,
	        json_pack("{s:I, s:I, s:I, s:I, s:s, s:o, s:b, s:b, s:o, s:{s:I, s:b}, s:s, s:s}",
	                  "requests_open", open, "grants_active", active, "epoch",
	                  (json_int_t)s->epoch, "snapshot", (json_int_t)s->snapshot,
	                  "policy_digest", s->conf->digest, "pending",
	                  s->pending.id ? json_integer((json_int_t)s->pending.id) : json_null(),
	                  "projection", p->store != NULL, "clock_behind", p->clock.behind, "gates",
	                  lease_status(p->lease), "log", "durable", (json_int_t)aud_durable(p->log),
	                  "failed", aud_failed(p->log), "vkey", p->vkey, "fingerprint",
	                  p->fingerprint));
}

void api_audit_check(struct call *c)
{
	int auditor = rule_role(c->p->state->conf, &c->facts, "auditor");

	if (auditor < 0)
		line_reply_error(c->conn, EAGAIN,
		                 "refused: the user database does not answer; try again");
	else
		call_reply(c, json_pack("{s:b}", "allowed", auditor));
}
