/*
 * Asking: request, requests, show, withdraw.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/api.h"
#include "policyd/coverage.h"
#include "policyd/statejson.h"

static int read_ask(struct call *c, struct pol_ask *ask)
{
	int err = call_cameras(c, true, &ask->what.cameras);

	if (!err)
		err = call_number(c, "from", true, &ask->what.from_ns);
	if (!err)
		err = call_number(c, "to", true, &ask->what.to_ns);
	if (!err)
		err = call_number(c, "until", false, &ask->what.until_ns);
	if (!err)
		err = call_text(c, "reason", true, &ask->reason);
	if (!err)
		err = call_text(c, "case", false, &ask->case_id);
	if (!err)
		err = call_text(c, "chain", false, &ask->chain);
	if (!err)
		err = call_text(c, "subject", false, &ask->subject);
	if (!err)
		err = call_text(c, "assistant", false, &ask->assistant);
	if (!err)
		err = call_id(c, "replaces", false, &ask->replaces);
	return err;
}

/* The request as it will be submitted; borrows everything. */
struct draft {
	struct pol_request r;
	char assistant_name[256];
};

/* Resolves assistant and subject to accounts. The assistant must have one, the subject may. */
static struct pol_verdict find_people(struct call *c, const struct pol_ask *ask, struct draft *d)
{
	struct pol_verdict v = {0};
	uid_t uid;
	int err;

	d->r.assistant_uid = d->r.subject_uid = POL_NO_UID;
	d->r.holder_uid = c->facts.uid;
	d->r.holder = c->facts.name;
	if (ask->assistant) {
		err = people_uid(ask->assistant, &uid);
		if (!err)
			err = people_name(uid, d->assistant_name, sizeof(d->assistant_name));
		if (err) {
			v.err = err == -ENOENT ? EINVAL : EAGAIN;
			snprintf(v.why, sizeof(v.why),
			         "assistant \"%.64s\" is no user of this machine, or "
			         "cannot be looked up",
			         ask->assistant);
			return v;
		}
		d->r.assistant_uid = d->r.holder_uid = uid;
		d->r.assistant = d->r.holder = d->assistant_name;
	}
	if (ask->subject) {
		err = people_uid(ask->subject, &uid);
		if (!err)
			d->r.subject_uid = uid;
		else if (err != -ENOENT && err != -EINVAL) {
			v.err = EAGAIN;
			snprintf(v.why, sizeof(v.why),
			         "the user database does not answer who the subject "
			         "is; try again");
		}
	}
	return v;
}

static struct pol_verdict no_footage(const struct pol_ask *ask)
{
	struct pol_verdict v = {.err = ENODATA};
	char from[TIME_TEXT_MAX], to[TIME_TEXT_MAX];

	time_format(ask->what.from_ns, from);
	time_format(ask->what.to_ns, to);
	snprintf(v.why, sizeof(v.why),
	         "nothing recorded by %.120s between %s and %s; see `custos ls`",
	         ask->what.cameras[0], from, to);
	return v;
}

static void submit(struct call *c, const struct pol_ask *ask, const struct pol_chain *chain,
                   struct draft *d, json_t *coverage)
{
	struct pol_request *r = &d->r;
	struct event ev = {.op = AUD_OP_REQUEST,
	                   .peer = c->peer,
	                   .from_ns = ask->what.from_ns,
	                   .to_ns = ask->what.to_ns};
	char *chain_name = strdup(chain->name); /* outlives a change of policy */
	int err;

	r->id = c->p->state->n_requests + 1;
	r->replaces = ask->replaces;
	r->chain = chain->name;
	r->stages = chain->stage_texts;
	r->export_allowed = chain->export_allowed;
	r->uid = c->facts.uid;
	r->requester = c->facts.name;
	r->reason = (char *)ask->reason;
	r->case_id = (char *)ask->case_id;
	r->subject = (char *)ask->subject;
	r->asked = ask->what;
	r->coverage = coverage;
	ev.object = c->request = r->id;
	ev.payload = request_to_json(r);
	err = chain_name ? event_commit(c->p, &ev) : -ENOMEM;
	if (err) {
		if (!chain_name)
			json_decref(ev.payload);
		call_failed(c, err);
	} else {
		policyd_changed(c->p);
		call_reply(c, json_pack("{s:I, s:s, s:O?}", "request", (json_int_t)r->id, "chain",
		                        chain_name, "coverage", coverage));
	}
	free(chain_name);
}

void api_request(struct call *c)
{
	struct pol_ask ask = {0};
	const struct pol_chain *chain = NULL;
	struct draft draft = {0};
	struct pol_verdict v;
	json_t *coverage = NULL;

	if (read_ask(c, &ask))
		goto out;
	c->request = ask.replaces;
	v = rule_request(c->p->state, &c->facts, &ask, c->now_ns, &chain);
	if (!v.err)
		v = find_people(c, &ask, &draft);
	if (!v.err && ask.what.from_ns < c->now_ns) {
		coverage = coverage_ask(c->p, ask.what.cameras, ask.what.from_ns, ask.what.to_ns);
		if (ask.what.to_ns <= c->now_ns && coverage_empty(coverage))
			v = no_footage(&ask);
	}
	if (v.err)
		call_refuse(c, &v);
	else
		submit(c, &ask, chain, &draft, coverage);
	json_decref(coverage);
out:
	what_free(&ask.what);
}

void api_requests(struct call *c)
{
	const struct pol_state_all *s = c->p->state;
	const json_t *todo = json_object_get(c->req, "todo");
	json_t *array = json_array();
	bool ok = array != NULL;

	if (todo && !json_is_boolean(todo) && !json_is_null(todo)) {
		json_decref(array);
		line_reply_error(c->conn, EINVAL, "requests refused: \"todo\" is true or false");
		return;
	}
	for (size_t i = 0; ok && i < s->n_requests; i++) {
		const struct pol_request *r = s->requests[i];
		bool show = json_is_true(todo) ? rule_todo(s, &c->facts, r, c->now_ns)
		                               : rule_sees(s, &c->facts, r);

		if (show)
			ok = !json_array_append_new(array, request_reply(s, r, c->p->conf->mount));
	}
	if (!ok) {
		json_decref(array);
		array = NULL;
	}
	call_reply(c, array ? json_pack("{s:o}", "requests", array) : NULL);
}

void api_show(struct call *c)
{
	const struct pol_state_all *s = c->p->state;
	const struct pol_request *r;
	struct pol_verdict v = {.err = ENOENT};

	if (call_id(c, "request", true, &c->request))
		return;
	r = state_request(s, c->request);
	if (r && rule_sees(s, &c->facts, r)) {
		call_reply(c, request_reply(s, r, c->p->conf->mount));
		return;
	}
	snprintf(v.why, sizeof(v.why), "there is no request %llu that %s may see",
	         (unsigned long long)c->request, c->facts.name);
	call_refuse(c, &v);
}

void api_withdraw(struct call *c)
{
	const struct pol_request *r;
	struct pol_verdict v;
	struct event ev = {.op = AUD_OP_WITHDRAW, .peer = c->peer};
	int err;

	if (call_id(c, "request", true, &c->request))
		return;
	r = state_request(c->p->state, c->request);
	v = rule_withdraw(&c->facts, r);
	if (v.err) {
		call_refuse(c, &v);
		return;
	}
	ev.object = r->id;
	ev.payload = json_pack("{s:I, s:s}", "request", (json_int_t)r->id, "who", c->facts.name);
	err = event_commit(c->p, &ev);
	if (err) {
		call_failed(c, err);
		return;
	}
	policyd_changed(c->p);
	call_reply(c, json_pack("{s:I, s:s}", "request", (json_int_t)r->id, "state",
	                        pol_state_name(r->state)));
}
