/*
 * The door: every line that arrives at policy.sock comes through policyd_handle(). In order:
 * version, operation, who may speak this operation at all (daemons by uid), a log that works, a
 * clock that can be trusted, known fields; only then the handler.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "policyd/api.h"
#include "policyd/budget.h"
#include "policyd/facts.h"
#include "policyd/lease.h"
#include "policyd/snapshot.h"
#include "policyd/strv.h"

enum who { PEOPLE, GATE, RECORDER, DAEMONS };
enum {
	ALWAYS = 1, /* also answered when the log has failed or the clock is behind */
	ROOM = 2    /* begins something: refused when only the log's reserve is left */
};

static const struct operation {
	const char *name;
	void (*run)(struct call *c);
	enum who who;
	int flags;
	const char *fields[12];
} operations[] = {
        {"request",
         api_request,
         PEOPLE,
         ROOM,
         {"cameras", "from", "to", "reason", "until", "case", "chain", "subject", "assistant",
          "replaces"}},
        {"requests", api_requests, PEOPLE, 0, {"todo"}},
        {"show", api_show, PEOPLE, 0, {"request"}},
        {"approve",
         api_approve,
         PEOPLE,
         ROOM,
         {"request", "from", "to", "until", "cameras", "digest"}},
        {"reject", api_reject, PEOPLE, 0, {"request", "reason"}},
        {"withdraw", api_withdraw, PEOPLE, 0, {"request"}},
        {"grants", api_grants, PEOPLE, 0, {NULL}},
        {"return", api_return, PEOPLE, 0, {"grant"}},
        {"revoke", api_revoke, PEOPLE, 0, {"grant", "reason"}},
        {"config.show", api_config_show, PEOPLE, 0, {NULL}},
        {"config.diff", api_config_diff, PEOPLE, 0, {NULL}},
        {"config.apply", api_config_apply, PEOPLE, ROOM, {NULL}},
        {"config.approve", api_config_approve, PEOPLE, ROOM, {"change"}},
        {"status", api_status, PEOPLE, ALWAYS, {NULL}},
        {"audit.check", api_audit_check, PEOPLE, ALWAYS, {NULL}},
        {"lease", api_lease, GATE, ALWAYS, {"gate", "incarnation", "have", "wait_ms", "head"}},
        {"snapshot", api_snapshot, RECORDER, ALWAYS, {"store", "have", "wait_ms", "head"}},
        {"may", api_may, DAEMONS, ALWAYS, {"uid", "right"}},
};

static bool is_daemon(const struct policyd *p, enum who who, uid_t uid)
{
	uid_t daemon;

	if (who != RECORDER && !conf_uid(p->conf->gate_user, &daemon) && daemon == uid)
		return true;
	return who != GATE && !conf_uid(p->conf->recorder_user, &daemon) && daemon == uid;
}

static const struct operation *find(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_LEN(operations); i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	return NULL;
}

static void run_for_person(struct call *c, const struct operation *op)
{
	int err = facts_get(c->p->state->conf, c->peer->uid, c->peer->login_uid, &c->facts);

	if (err) {
		line_reply_error(c->conn, EAGAIN,
		                 "refused: the user database does not say who uid %u "
		                 "is; try again",
		                 c->peer->uid);
		return;
	}
	op->run(c);
	facts_free(&c->facts);
}

static void dispatch(struct call *c, const struct operation *op)
{
	struct policyd *p = c->p;

	if (op->who != PEOPLE && !is_daemon(p, op->who, c->peer->uid)) {
		struct pol_verdict v = {.err = EACCES,
		                        .why = "this operation is for custos's own daemons"};

		call_refuse(c, &v);
		return;
	}
	if (!(op->flags & ALWAYS) && aud_failed(p->log)) {
		line_reply_error(c->conn, EIO,
		                 "refused: the audit log cannot be written, so everything "
		                 "is denied; repair the disk under state/policy, restart policyd");
		return;
	}
	if (!(op->flags & ALWAYS) && p->clock.behind) {
		line_reply_error(c->conn, EAGAIN,
		                 "refused: the clock is behind the last signed time; "
		                 "set the clock");
		return;
	}
	if ((op->flags & ROOM) && aud_low(p->log)) {
		line_reply_error(
		        c->conn, ENOSPC,
		        "%s refused: the disk under state/policy is full and the audit log's "
		        "reserve is kept for revocations; free space there",
		        c->op);
		return;
	}
	if (line_fields_only(c->conn, c->req, op->fields))
		return;
	if (op->who == PEOPLE)
		run_for_person(c, op);
	else
		op->run(c);
}

void policyd_handle(void *arg, struct line_conn *conn, const struct line_peer *peer, json_t *req)
{
	struct policyd *p = arg;
	const char *name = json_string_value(json_object_get(req, "op"));
	const json_t *v = json_object_get(req, "v");
	const struct operation *op = find(name);
	struct call c = {.p = p,
	                 .conn = conn,
	                 .peer = peer,
	                 .req = req,
	                 .op = name,
	                 .now_ns = polclock_now(&p->clock)};

	if (peer->fd >= 0)
		close(peer->fd); /* no operation here takes one */
	if (!json_is_integer(v) || json_integer_value(v) != PROTO_VERSION)
		line_reply_error(conn, EINVAL,
		                 "request refused: protocol version %d is spoken here "
		                 "(\"v\":%d)",
		                 PROTO_VERSION, PROTO_VERSION);
	else if (!name)
		line_reply_error(conn, EINVAL, "request refused: it names no operation (\"op\")");
	else if (!op)
		line_reply_error(conn, EINVAL, "request refused: unknown operation \"%.64s\"",
		                 name);
	else
		dispatch(&c, op);
}

void policyd_gone(void *arg, struct line_conn *conn)
{
	struct policyd *p = arg;

	lease_gone(p->lease, conn);
	snap_gone(p->snap, conn);
}

/* ---- fields ---- */

static const json_t *field(struct call *c, const char *key, bool required, bool *missing)
{
	const json_t *v = json_object_get(c->req, key);

	if (json_is_null(v))
		v = NULL;
	*missing = !v && required;
	if (*missing)
		line_reply_error(c->conn, EINVAL, "%s refused: \"%s\" is missing", c->op, key);
	return v;
}

int call_text(struct call *c, const char *key, bool required, const char **out)
{
	bool missing;
	const json_t *v = field(c, key, required, &missing);
	const char *s = json_string_value(v);

	*out = NULL;
	if (missing)
		return -EINVAL;
	if (v && (!s || strlen(s) != json_string_length(v) || !utf8_valid(s, strlen(s)))) {
		line_reply_error(c->conn, EINVAL,
		                 "%s refused: \"%s\" has to be plain text on one line", c->op, key);
		return -EINVAL;
	}
	*out = s;
	return 0;
}

int call_number(struct call *c, const char *key, bool required, int64_t *out)
{
	bool missing;
	const json_t *v = field(c, key, required, &missing);

	*out = 0;
	if (missing)
		return -EINVAL;
	if (v && (!json_is_integer(v) || json_integer_value(v) <= 0)) {
		line_reply_error(c->conn, EINVAL,
		                 "%s refused: \"%s\" has to be a whole number above 0", c->op, key);
		return -EINVAL;
	}
	*out = json_integer_value(v);
	return 0;
}

int call_id(struct call *c, const char *key, bool required, uint64_t *out)
{
	int64_t n;
	int err = call_number(c, key, required, &n);

	*out = (uint64_t)n;
	return err;
}

int call_cameras(struct call *c, bool required, char ***out)
{
	bool missing;
	const json_t *v = field(c, "cameras", required, &missing);

	*out = NULL;
	if (missing)
		return -EINVAL;
	if (v && !(*out = strv_from_json(v))) {
		line_reply_error(c->conn, EINVAL,
		                 "%s refused: \"cameras\" has to be a list of names", c->op);
		return -EINVAL;
	}
	strv_canonical(*out);
	return 0;
}

/* ---- answers ---- */

void call_reply(struct call *c, json_t *o)
{
	if (!o || json_object_set_new(o, "ok", json_true())) {
		json_decref(o);
		line_reply_error(c->conn, ENOMEM, "%s: out of memory; try again", c->op);
		return;
	}
	line_reply(c->conn, o);
}

void call_failed(struct call *c, int err)
{
	if (err == -EMSGSIZE)
		line_reply_error(c->conn, EINVAL,
		                 "%s refused: it is too long for the audit log; shorten "
		                 "it",
		                 c->op);
	else if (err == -ENOMEM)
		line_reply_error(c->conn, ENOMEM, "%s: out of memory; try again", c->op);
	else
		line_reply_error(c->conn, EIO,
		                 "%s refused: the audit log cannot be written, so everything "
		                 "is denied; see custos-policyd's log",
		                 c->op);
}

void call_refuse(struct call *c, const struct pol_verdict *v)
{
	struct event ev = {.op = AUD_OP_REFUSED,
	                   .peer = c->peer,
	                   .object = c->request,
	                   .grant = c->grant,
	                   .result = (uint16_t)v->err};
	int err = 0;

	/* From the reserve one a window. */
	if (!aud_failed(c->p->log) && budget_take(c->p->budget, c->peer->uid, clock_boot_ns(),
	                                          aud_low(c->p->log) ? 1 : BUDGET_REFUSALS)) {
		ev.payload =
		        json_pack("{s:s, s:s, s:s, s:s}", "op", c->op, "code",
		                  line_errno_name(v->err), "why", v->why, "who", c->facts.name);
		err = event_commit(c->p, &ev);
	}
	if (err)
		call_failed(c, err);
	else
		line_reply_error(c->conn, v->err, "%s", v->why);
}

int call_needs_role(struct call *c, const char *const *roles)
{
	struct pol_verdict v = {.err = EACCES};
	int n = snprintf(v.why, sizeof(v.why), "%s refused: %s is not", c->op, c->facts.name);
	bool failed = false;

	for (size_t i = 0; roles[i]; i++) {
		int member = rule_role(c->p->state->conf, &c->facts, roles[i]);

		if (member > 0)
			return 0;
		failed |= member < 0;
		if (n > 0 && (size_t)n < sizeof(v.why))
			n += snprintf(v.why + n, sizeof(v.why) - (size_t)n, "%s %s",
			              i ? " or" : " of", roles[i]);
	}
	if (failed) {
		v.err = EAGAIN;
		snprintf(v.why, sizeof(v.why),
		         "%s refused: the user database does not answer; try "
		         "again",
		         c->op);
	}
	call_refuse(c, &v);
	return -EACCES;
}

void policyd_changed(struct policyd *p)
{
	if (snap_refresh(p) && !aud_failed(p->log))
		log_err("no new snapshot could be made for the recorder: it goes on with the last "
		        "one");
	lease_changed(p);
}
