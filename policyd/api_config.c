/*
 * The policy: show, diff, apply, approve. The file is read at `apply`, never otherwise; its text
 * goes into the log, so that what is in force is known from the log alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/api.h"
#include "policyd/apiconfig.h"

static const char *const admins[] = {"admin", NULL};

int policy_file_read(const struct policyd *p, struct pol_conf **out, char *err, size_t err_bytes)
{
	const char *file = p->conf->policy;
	char *text = NULL;
	size_t len = 0;
	int ret = file_read_all(file, POLICY_TEXT_MAX, &text, &len);

	*out = NULL;
	if (ret == -EFBIG)
		snprintf(err, err_bytes, "%s is longer than %d bytes; shorten it", file,
		         POLICY_TEXT_MAX);
	else if (ret)
		snprintf(err, err_bytes,
		         "%s cannot be read (%s); check that it is there and that "
		         "custos-policyd may read it",
		         file, line_errno_name(-ret));
	else if (strlen(text) != len) {
		snprintf(err, err_bytes, "%s holds a NUL byte; correct it", file);
		ret = -EINVAL;
	} else
		ret = policyconf_parse(text, file, out, err, err_bytes);
	free(text);
	return ret;
}

int policy_apply(struct policyd *p, const struct line_peer *peer, const char *text,
                 const char *digest, uint64_t change)
{
	struct event ev = {.op = AUD_OP_CONFIG, .peer = peer, .object = change};

	ev.payload = json_pack("{s:s, s:s, s:o}", "digest", digest, "text", text, "change",
	                       change ? json_integer((json_int_t)change) : json_null());
	return event_commit(p, &ev);
}

void api_config_show(struct call *c)
{
	const struct pol_state_all *s = c->p->state;

	if (call_needs_role(c, (const char *const[]){"admin", "auditor", NULL}))
		return;
	call_reply(c,
	           json_pack("{s:s, s:s, s:I, s:o, s:o}", "text", s->conf->text, "digest",
	                     s->conf->digest, "applied", (json_int_t)s->conf_ns, "pending",
	                     s->pending.id ? json_integer((json_int_t)s->pending.id) : json_null(),
	                     "pending_text",
	                     s->pending.id ? json_string(s->pending.text) : json_null()));
}

static int read_file(struct call *c, struct pol_conf **next)
{
	char err[512];
	int ret;

	if (call_needs_role(c, admins))
		return -EACCES;
	ret = policy_file_read(c->p, next, err, sizeof(err));
	if (ret)
		line_reply_error(c->conn, EINVAL, "%s", err);
	return ret;
}

void api_config_diff(struct call *c)
{
	struct pol_conf *next = NULL;
	char *diff, *weakens;

	if (read_file(c, &next))
		return;
	diff = policy_diff(c->p->state->conf->text, next->text);
	weakens = policy_weakens(c->p->state->conf, next);
	call_reply(c, diff && weakens
	                      ? json_pack("{s:s, s:b, s:s, s:s}", "text", diff, "weakens",
	                                  *weakens != '\0', "why", weakens, "digest", next->digest)
	                      : NULL);
	free(diff);
	free(weakens);
	policyconf_free(next);
}

static int keep_pending(struct call *c, const struct pol_conf *next, const char *weakens)
{
	struct event ev = {.op = AUD_OP_CONFIG_PENDING,
	                   .peer = c->peer,
	                   .object = c->p->state->last_change + 1};

	ev.payload = json_pack("{s:I, s:s, s:s, s:s, s:s}", "change", (json_int_t)ev.object, "base",
	                       c->p->state->conf->digest, "digest", next->digest, "text",
	                       next->text, "weakens", weakens);
	return event_commit(c->p, &ev);
}

void api_config_apply(struct call *c)
{
	struct pol_conf *next = NULL;
	char *weakens;
	bool pending;
	int err = 0;

	if (read_file(c, &next))
		return;
	weakens = policy_weakens(c->p->state->conf, next);
	if (!weakens) {
		call_reply(c, NULL);
		goto out;
	}
	pending = *weakens != '\0';
	if (pending)
		err = keep_pending(c, next, weakens);
	else if (strcmp(next->digest, c->p->state->conf->digest) != 0)
		err = policy_apply(c->p, c->peer, next->text, next->digest, 0);
	if (err) {
		call_failed(c, err);
		goto out;
	}
	policyd_changed(c->p);
	call_reply(c, json_pack("{s:b, s:o, s:s}", "applied", !pending, "pending",
	                        pending ? json_integer((json_int_t)c->p->state->pending.id)
	                                : json_null(),
	                        "why", weakens));
out:
	free(weakens);
	policyconf_free(next);
}

void api_config_approve(struct call *c)
{
	struct pol_conf *next = NULL;
	struct pol_verdict v;
	char line[512];
	uint64_t change;
	int err;

	if (call_id(c, "change", true, &change))
		return;
	c->request = change;
	v = rule_config_approve(c->p->state, &c->facts, change);
	if (v.err) {
		call_refuse(c, &v);
		return;
	}
	err = policyconf_parse(c->p->state->pending.text, "pending policy", &next, line,
	                       sizeof(line));
	if (!err)
		err = policy_apply(c->p, c->peer, next->text, next->digest, change);
	policyconf_free(next);
	if (err) {
		call_failed(c, err);
		return;
	}
	policyd_changed(c->p);
	call_reply(c, json_pack("{s:I, s:b}", "change", (json_int_t)change, "applied", 1));
}
