/*
 * Grants: list them, return one's own, revoke. Both ends wait for the gates (lease.c).
 */
#include <errno.h>
#include <stdio.h>

#include "policyd/api.h"
#include "policyd/lease.h"
#include "policyd/statejson.h"

void api_grants(struct call *c)
{
	const struct pol_state_all *s = c->p->state;
	bool all = rule_role(s->conf, &c->facts, "monitoring") > 0 ||
	           rule_role(s->conf, &c->facts, "auditor") > 0;
	json_t *array = json_array();
	bool ok = array != NULL;

	for (size_t i = 0; ok && i < s->n_grants; i++) {
		const struct pol_grant *g = s->grants[i];

		if (all || g->uid == c->facts.uid ||
		    state_request(s, g->request)->uid == c->facts.uid)
			ok = !json_array_append_new(array, grant_reply(s, g, c->p->conf->mount));
	}
	if (!ok) {
		json_decref(array);
		array = NULL;
	}
	call_reply(c, array ? json_pack("{s:o}", "grants", array) : NULL);
}

/* Intent durable → epoch raised → gates told → the reply waits for them. */
static void end_grant(struct call *c, struct pol_grant *g, uint16_t op, const char *reason)
{
	struct event ev = {.op = op,
	                   .peer = c->peer,
	                   .grant = g->id,
	                   .object = g->request,
	                   .from_ns = g->what.from_ns,
	                   .to_ns = g->what.to_ns};
	int err;

	ev.payload = json_pack("{s:I, s:s, s:s*}", "grant", (json_int_t)g->id, "who", c->facts.name,
	                       "reason", reason);
	err = event_commit(c->p, &ev);
	if (err) {
		call_failed(c, err);
		return;
	}
	lease_changed(c->p); /* before anything else: every parked gate hears of it now */
	lease_settle(c->p, c->conn, g->id, c->p->state->epoch);
	policyd_changed(c->p);
}

void api_return(struct call *c)
{
	struct pol_grant *g;
	struct pol_verdict v;

	if (call_id(c, "grant", true, &c->grant))
		return;
	g = state_grant(c->p->state, c->grant);
	v = rule_return(&c->facts, g, g ? state_request(c->p->state, g->request) : NULL);
	if (v.err || !g)
		call_refuse(c, &v);
	else
		end_grant(c, g, AUD_OP_RETURN, NULL);
}

void api_revoke(struct call *c)
{
	const char *reason;
	struct pol_grant *g;
	struct pol_verdict v;

	if (call_id(c, "grant", true, &c->grant) || call_text(c, "reason", true, &reason))
		return;
	g = state_grant(c->p->state, c->grant);
	v = rule_revoke(c->p->state, &c->facts, g,
	                g ? state_request(c->p->state, g->request) : NULL);
	if (!v.err && (!*reason || strlen(reason) > 2000)) {
		v.err = EINVAL;
		snprintf(v.why, sizeof(v.why),
		         "a revocation says why, in 1 to 2000 bytes; give --reason");
	}
	if (v.err || !g)
		call_refuse(c, &v);
	else
		end_grant(c, g, AUD_OP_REVOKE_INTENT, reason);
}
