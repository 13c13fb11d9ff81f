/*
 * The state machine: one function per kind of event, each checks that the event fits the state it
 * meets. At replay that turns a log that was written by something else into a clear refusal; live
 * it is an assertion on our own rules.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/audit/audit.h"
#include "policyd/state.h"
#include "policyd/strv.h"

static const char *const state_names[POL_N_STATES] = {"submitted", "approved",  "active",
                                                      "returned",  "expired",   "revoked",
                                                      "rejected",  "withdrawn", "lapsed"};

const char *pol_state_name(enum pol_state s)
{
	return state_names[s];
}

int state_new(struct pol_state_all **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->epoch = 1;
	(*out)->conf_uid = POL_NO_UID;
	return 0;
}

void state_free(struct pol_state_all *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_requests; i++)
		request_free(s->requests[i]);
	for (size_t i = 0; i < s->n_grants; i++)
		grant_free(s->grants[i]);
	free(s->requests);
	free(s->grants);
	policyconf_free(s->conf);
	free(s->pending.text);
	free(s);
}

struct pol_request *state_request(const struct pol_state_all *s, uint64_t id)
{
	return id && id <= s->n_requests ? s->requests[id - 1] : NULL;
}

struct pol_grant *state_grant(const struct pol_state_all *s, uint64_t id)
{
	return id && id <= s->n_grants ? s->grants[id - 1] : NULL;
}

/* "2 of leader" needs two, all else one. */
static unsigned stage_need(const char *text)
{
	unsigned need = 1;
	int used = 0;

	if (sscanf(text, "%3u of %n", &need, &used) == 1 && used > 0)
		return need;
	return 1;
}

size_t request_stage_texts(const struct pol_request *r, unsigned *missing)
{
	size_t stage = 0;

	*missing = 0;
	for (; r->stages[stage]; stage++) {
		unsigned signed_by = 0, need = stage_need(r->stages[stage]);

		for (size_t i = 0; i < r->n_signatures; i++)
			signed_by += r->signatures[i].stage == stage;
		if (signed_by < need) {
			*missing = need - signed_by;
			break;
		}
	}
	return stage;
}

size_t request_stage(const struct pol_request *r, const struct pol_chain *chain, unsigned *missing)
{
	size_t stage = request_stage_texts(r, missing);

	return stage > chain->n_stages ? chain->n_stages : stage;
}

static PRINTF(3, 4) int clash(char *why, size_t why_bytes, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, why_bytes, format, ap);
	va_end(ap);
	return -EUCLEAN;
}

/* Room for one more pointer; NULL leaves the array as it was. */
static void *grown(void *array, size_t n)
{
	return realloc(array, (n + 1) * sizeof(void *));
}

static int apply_request(struct pol_state_all *s, const struct pol_event *ev, char *why, size_t wb)
{
	struct pol_request *r, *old = NULL, **more;
	int err = request_from_json(ev->payload, &r);

	if (err)
		return err == -ENOMEM ? err : clash(why, wb, "a request that cannot be read");
	if (r->id != s->n_requests + 1 || r->id != ev->object || r->uid != ev->uid)
		err = clash(why, wb, "request %llu out of order", (unsigned long long)r->id);
	if (!err && r->replaces) {
		old = state_request(s, r->replaces);
		if (!old || !pol_undecided(old) || old->uid != r->uid)
			err = clash(why, wb, "request %llu replaces what it may not",
			            (unsigned long long)r->id);
	}
	more = err ? NULL : grown(s->requests, s->n_requests);
	if (!more) {
		request_free(r);
		return err ? err : -ENOMEM;
	}
	s->requests = more;
	more[s->n_requests] = r;
	r->login_uid = ev->login_uid;
	r->submitted_ns = ev->time_ns;
	s->n_requests++;
	if (old)
		old->state = POL_WITHDRAWN;
	return 0;
}

static int apply_approve(struct pol_request *r, const struct pol_event *ev, char *why, size_t wb)
{
	const json_t *narrowed = json_object_get(ev->payload, "narrowed");
	const char *digest = json_string_value(json_object_get(ev->payload, "digest"));
	const char *who = json_string_value(json_object_get(ev->payload, "who"));
	size_t stage = (size_t)json_integer_value(json_object_get(ev->payload, "stage"));
	struct pol_what what = {0};
	struct pol_signature *sig;
	char expected[65];
	unsigned missing;
	int err;

	if (!digest || strlen(digest) != 64 || !who || request_stage_texts(r, &missing) != stage ||
	    !missing || ev->uid == r->uid)
		return clash(why, wb, "a signature on request %llu that does not fit",
		             (unsigned long long)r->id);
	for (size_t i = 0; i < r->n_signatures; i++)
		if (r->signatures[i].uid == ev->uid)
			return clash(why, wb, "a second signature by uid %u", ev->uid);
	if (json_is_object(narrowed)) {
		err = what_from_json(narrowed, &what);
		if (err)
			return err == -ENOMEM ? err : clash(why, wb, "an unreadable narrowing");
		what_free(&r->now);
		r->now = what;
	}
	err = request_digest(r, &r->now, expected);
	if (err)
		return err;
	if (strcmp(expected, digest) != 0)
		return clash(why, wb, "a signature over another digest on request %llu",
		             (unsigned long long)r->id);
	sig = realloc(r->signatures, (r->n_signatures + 1) * sizeof(*sig));
	if (!sig)
		return -ENOMEM;
	r->signatures = sig;
	sig += r->n_signatures;
	*sig = (struct pol_signature){.stage = stage,
	                              .uid = ev->uid,
	                              .login_uid = ev->login_uid,
	                              .time_ns = ev->time_ns,
	                              .who = strdup(who)};
	memcpy(sig->digest, expected, sizeof(expected));
	r->n_signatures++;
	if (request_stage_texts(r, &missing) > 0)
		r->state = POL_APPROVED;
	return sig->who ? 0 : -ENOMEM;
}

static int apply_activate(struct pol_state_all *s, const struct pol_event *ev, char *why, size_t wb)
{
	struct pol_request *r;
	struct pol_grant *g, **more;
	unsigned missing;
	int err = grant_from_json(ev->payload, &g);

	if (err)
		return err == -ENOMEM ? err : clash(why, wb, "a grant that cannot be read");
	r = state_request(s, g->request);
	if (!r || r->state != POL_APPROVED || r->stages[request_stage_texts(r, &missing)] ||
	    g->id != s->n_grants + 1 || g->id != ev->grant || g->uid != r->holder_uid ||
	    !strv_equal(g->what.cameras, r->now.cameras) || g->what.from_ns != r->now.from_ns ||
	    g->what.to_ns != r->now.to_ns ||
	    (r->now.until_ns && g->what.until_ns != r->now.until_ns))
		err = clash(why, wb, "grant %llu does not follow from its request",
		            (unsigned long long)g->id);
	more = err || !r ? NULL : grown(s->grants, s->n_grants);
	if (!more) {
		grant_free(g);
		return err ? err : -ENOMEM;
	}
	s->grants = more;
	more[s->n_grants] = g;
	s->n_grants++;
	s->epoch++;
	g->epoch = s->epoch;
	g->state = POL_ACTIVE;
	g->activated_ns = ev->time_ns;
	r->state = POL_ACTIVE;
	r->grant = g->id;
	return 0;
}

/* Why a request or grant ended, for whoever asked for it. */
static int keep_decision(struct pol_request *r, const struct pol_event *ev)
{
	const char *reason = json_string_value(json_object_get(ev->payload, "reason"));
	const char *who = json_string_value(json_object_get(ev->payload, "who"));

	free(r->decision);
	free(r->decided_by);
	r->decision = reason ? strdup(reason) : NULL;
	r->decided_by = who ? strdup(who) : NULL;
	return (reason && !r->decision) || (who && !r->decided_by) ? -ENOMEM : 0;
}

static int apply_end(struct pol_state_all *s, const struct pol_event *ev, enum pol_state state,
                     char *why, size_t wb)
{
	struct pol_grant *g = state_grant(s, ev->grant);

	if (!g || g->state != POL_ACTIVE)
		return clash(why, wb, "the end of grant %llu, which is not active",
		             (unsigned long long)ev->grant);
	g->state = state;
	g->ended_ns = ev->time_ns;
	g->settled = state == POL_EXPIRED; /* the gate ends it by its own clock too */
	state_request(s, g->request)->state = state;
	s->epoch++;
	return keep_decision(state_request(s, g->request), ev);
}

static int apply_config(struct pol_state_all *s, const struct pol_event *ev, char *why, size_t wb)
{
	const char *text = json_string_value(json_object_get(ev->payload, "text"));
	const char *digest = json_string_value(json_object_get(ev->payload, "digest"));
	struct pol_conf *conf;
	char err_line[256];
	int err;

	if (!text || !digest)
		return clash(why, wb, "a policy without text or digest");
	err = policyconf_parse(text, "policy in the log", &conf, err_line, sizeof(err_line));
	if (err)
		return err == -ENOMEM ? err : clash(why, wb, "%s", err_line);
	if (strcmp(conf->digest, digest) != 0) {
		policyconf_free(conf);
		return clash(why, wb, "a policy whose digest is another's");
	}
	policyconf_free(s->conf);
	s->conf = conf;
	s->conf_ns = ev->time_ns;
	s->conf_uid = ev->uid;
	free(s->pending.text);
	s->pending = (struct pol_pending){0};
	return 0;
}

static int apply_pending(struct pol_state_all *s, const struct pol_event *ev, char *why, size_t wb)
{
	const char *text = json_string_value(json_object_get(ev->payload, "text"));
	const char *base = json_string_value(json_object_get(ev->payload, "base"));

	if (!text || !base || strlen(base) != 64 || ev->object != s->last_change + 1)
		return clash(why, wb, "a pending policy that cannot be read");
	free(s->pending.text);
	s->pending = (struct pol_pending){
	        .id = ev->object, .uid = ev->uid, .login_uid = ev->login_uid, .text = strdup(text)};
	memcpy(s->pending.base, base, sizeof(s->pending.base));
	s->last_change = ev->object;
	return s->pending.text ? 0 : -ENOMEM;
}

static int apply_snapshot(struct pol_state_all *s, const struct pol_event *ev, char *why, size_t wb)
{
	const char *digest = json_string_value(json_object_get(ev->payload, "digest"));

	if (!digest || strlen(digest) != 64 || ev->object != s->snapshot + 1)
		return clash(why, wb, "a snapshot out of order");
	s->snapshot = ev->object;
	memcpy(s->snapshot_digest, digest, sizeof(s->snapshot_digest));
	return 0;
}

static int apply_decision(struct pol_state_all *s, const struct pol_event *ev, char *why, size_t wb)
{
	struct pol_request *r = state_request(s, ev->object);

	if (!r || !pol_undecided(r))
		return clash(why, wb, "a decision on request %llu, which is not open",
		             (unsigned long long)ev->object);
	if (ev->op == AUD_OP_APPROVE)
		return apply_approve(r, ev, why, wb);
	r->state = ev->op == AUD_OP_REJECT     ? POL_REJECTED
	           : ev->op == AUD_OP_WITHDRAW ? POL_WITHDRAWN
	                                       : POL_LAPSED;
	return keep_decision(r, ev);
}

int state_apply(struct pol_state_all *s, const struct pol_event *ev, char *why, size_t wb)
{
	struct pol_grant *g;
	int err = 0;

	switch (ev->op) {
	case AUD_OP_REQUEST:
		err = apply_request(s, ev, why, wb);
		break;
	case AUD_OP_APPROVE:
	case AUD_OP_REJECT:
	case AUD_OP_WITHDRAW:
	case AUD_OP_LAPSE:
		err = apply_decision(s, ev, why, wb);
		break;
	case AUD_OP_ACTIVATE:
		err = apply_activate(s, ev, why, wb);
		break;
	case AUD_OP_RETURN:
		err = apply_end(s, ev, POL_RETURNED, why, wb);
		break;
	case AUD_OP_REVOKE_INTENT:
		err = apply_end(s, ev, POL_REVOKED, why, wb);
		break;
	case AUD_OP_EXPIRE:
		err = apply_end(s, ev, POL_EXPIRED, why, wb);
		break;
	case AUD_OP_REVOKE_DONE:
		g = state_grant(s, ev->grant);
		if (!g || g->state == POL_ACTIVE)
			return clash(why, wb, "an acknowledgement of no revocation");
		g->settled = true;
		break;
	case AUD_OP_CONFIG:
		err = apply_config(s, ev, why, wb);
		break;
	case AUD_OP_CONFIG_PENDING:
		err = apply_pending(s, ev, why, wb);
		break;
	case AUD_OP_SNAPSHOT:
		err = apply_snapshot(s, ev, why, wb);
		break;
	default:
		break;
	}
	if (!err)
		s->applied_seq = ev->seq;
	return err;
}
