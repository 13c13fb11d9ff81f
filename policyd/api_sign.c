/*
 * Signing: approve (and the activation that follows the last signature), reject.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/api.h"
#include "policyd/statejson.h"

int grant_activate(struct policyd *p, const struct line_peer *peer, struct pol_request *r)
{
	int64_t now = polclock_now(&p->clock);
	struct pol_grant g = {.id = p->state->n_grants + 1,
	                      .request = r->id,
	                      .epoch = p->state->epoch + 1,
	                      .state = POL_ACTIVE,
	                      .uid = r->holder_uid,
	                      .user = r->holder,
	                      .what = r->now,
	                      .activated_ns = now};
	struct event ev = {.op = AUD_OP_ACTIVATE,
	                   .peer = peer,
	                   .grant = g.id,
	                   .object = r->id,
	                   .from_ns = r->now.from_ns,
	                   .to_ns = r->now.to_ns};

	g.what.until_ns = rule_until(p->state->conf, r, now);
	g.approvers = calloc(r->n_signatures + 1, sizeof(*g.approvers));
	if (!g.approvers)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_signatures; i++)
		g.approvers[i] = r->signatures[i].who;
	ev.payload = grant_to_json(&g, r);
	free(g.approvers);
	/* Finished at a start, the record's own uid is nobody's: the last signature made the grant.
	 */
	if (ev.payload && r->n_signatures &&
	    json_object_set_new(ev.payload, "last_signer_uid",
	                        json_integer(r->signatures[r->n_signatures - 1].uid))) {
		json_decref(ev.payload);
		ev.payload = NULL;
	}
	return event_commit(p, &ev);
}

static int read_narrow(struct call *c, struct pol_narrow *n)
{
	int err = call_id(c, "request", true, &c->request);

	if (!err)
		err = call_number(c, "from", false, &n->from_ns);
	if (!err)
		err = call_number(c, "to", false, &n->to_ns);
	if (!err)
		err = call_number(c, "until", false, &n->until_ns);
	if (!err)
		err = call_text(c, "digest", false, &n->digest);
	if (!err)
		err = call_cameras(c, false, &n->cameras);
	return err;
}

/* Not there and not to be seen look alike. */
static struct pol_verdict visible(struct call *c, struct pol_request **r)
{
	struct pol_verdict v = {.err = ENOENT};

	*r = state_request(c->p->state, c->request);
	if (*r && rule_sees(c->p->state, &c->facts, *r))
		return (struct pol_verdict){0};
	snprintf(v.why, sizeof(v.why), "there is no request %llu that %s may sign",
	         (unsigned long long)c->request, c->facts.name);
	return v;
}

static int commit_approval(struct call *c, struct pol_request *r, size_t stage,
                           const struct pol_what *what, bool narrowed)
{
	struct event ev = {.op = AUD_OP_APPROVE,
	                   .peer = c->peer,
	                   .object = r->id,
	                   .from_ns = what->from_ns,
	                   .to_ns = what->to_ns};
	char digest[65];
	int err = request_digest(r, what, digest);

	if (err)
		return err;
	ev.payload = json_pack("{s:I, s:I, s:s, s:s, s:s, s:o}", "request", (json_int_t)r->id,
	                       "stage", (json_int_t)stage, "office", r->stages[stage], "who",
	                       c->facts.name, "digest", digest, "narrowed",
	                       narrowed ? what_to_json(what) : json_null());
	return event_commit(c->p, &ev);
}

static void reply_state(struct call *c, const struct pol_request *r)
{
	const struct pol_grant *g = state_grant(c->p->state, r->grant);
	char *path = g ? grant_path(g, c->p->conf->mount) : NULL;

	call_reply(c, json_pack("{s:I, s:s, s:o, s:o}", "request", (json_int_t)r->id, "state",
	                        pol_state_name(r->state), "grant",
	                        g ? json_integer((json_int_t)g->id) : json_null(), "path",
	                        path ? json_string(path) : json_null()));
	free(path);
}

void api_approve(struct call *c)
{
	struct pol_narrow n = {0};
	struct pol_what what = {0};
	struct pol_request *r;
	struct pol_verdict v;
	size_t stage = 0;
	bool last = false;
	int err;

	if (read_narrow(c, &n))
		goto out;
	v = visible(c, &r);
	if (!v.err)
		v = rule_approve(c->p->state, &c->facts, r, &n, c->now_ns, &stage, &what, &last);
	if (v.err) {
		call_refuse(c, &v);
		goto out;
	}
	err = commit_approval(c, r, stage, &what, n.from_ns || n.to_ns || n.until_ns || n.cameras);
	if (!err && last)
		err = grant_activate(c->p, c->peer, r);
	if (err) {
		call_failed(c, err);
		goto out;
	}
	policyd_changed(c->p);
	reply_state(c, r);
out:
	what_free(&what);
	strv_free(n.cameras);
}

void api_reject(struct call *c)
{
	struct event ev = {.op = AUD_OP_REJECT, .peer = c->peer};
	const char *reason;
	struct pol_request *r;
	struct pol_verdict v;
	int err;

	if (call_id(c, "request", true, &c->request) || call_text(c, "reason", true, &reason))
		return;
	v = visible(c, &r);
	if (!v.err)
		v = rule_reject(c->p->state, &c->facts, r);
	if (!v.err && (!*reason || strlen(reason) > 2000)) {
		v.err = EINVAL;
		snprintf(v.why, sizeof(v.why),
		         "a rejection says why, in 1 to 2000 bytes; give --reason");
	}
	if (v.err) {
		call_refuse(c, &v);
		return;
	}
	ev.object = r->id;
	ev.payload = json_pack("{s:I, s:s, s:s}", "request", (json_int_t)r->id, "reason", reason,
	                       "who", c->facts.name);
	err = event_commit(c->p, &ev);
	if (err) {
		call_failed(c, err);
		return;
	}
	policyd_changed(c->p);
	call_reply(c, json_pack("{s:I, s:s}", "request", (json_int_t)r->id, "state",
	                        pol_state_name(r->state)));
}
