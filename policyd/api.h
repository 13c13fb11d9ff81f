/*
 * api.h — the handlers of policy.sock's operations (proto.h). Private to policyd.
 *
 * A handler gets one call whose fields are known by name, answers it (or parks its connection)
 * exactly once, and writes every decision through event_commit() before it answers.
 */
#ifndef CUSTOS_API_H
#define CUSTOS_API_H

#include "policyd/events.h"
#include "policyd/rules.h"

struct call {
	struct policyd *p;
	struct line_conn *conn;
	const struct line_peer *peer;
	json_t *req;
	const char *op;
	struct pol_facts facts; /* people's operations only */
	int64_t now_ns;
	uint64_t request, grant; /* what it is about, for the record of a refusal */
};

/* ---- fields: 0, or -EINVAL after having replied. null counts as left out. ---- */
int call_text(struct call *c, const char *key, bool required, const char **out) MUST_CHECK;
/* Integers > 0; 0 when left out. */
int call_number(struct call *c, const char *key, bool required, int64_t *out) MUST_CHECK;
int call_id(struct call *c, const char *key, bool required, uint64_t *out) MUST_CHECK;
/* Canonical list, to be strv_free'd; NULL when left out. */
int call_cameras(struct call *c, bool required, char ***out) MUST_CHECK;

/* Refuses: a record (within the caller's budget), then the reply. */
void call_refuse(struct call *c, const struct pol_verdict *v);
/* Replies o (taken over; NULL: out of memory). */
void call_reply(struct call *c, json_t *o);
/* Replies to an event that could not be committed. */
void call_failed(struct call *c, int err);
/* Refuses unless the caller holds one of the roles (NULL-terminated). -EACCES after having replied.
 */
int call_needs_role(struct call *c, const char *const *roles) MUST_CHECK;
/* After the state has changed: new snapshot, gates told. */
void policyd_changed(struct policyd *p);

void api_request(struct call *c);
void api_requests(struct call *c);
void api_show(struct call *c);
void api_withdraw(struct call *c);
void api_approve(struct call *c);
void api_reject(struct call *c);
void api_grants(struct call *c);
void api_return(struct call *c);
void api_revoke(struct call *c);
void api_config_show(struct call *c);
void api_config_diff(struct call *c);
void api_config_apply(struct call *c);
void api_config_approve(struct call *c);
void api_status(struct call *c);
void api_audit_check(struct call *c);
void api_lease(struct call *c);
void api_snapshot(struct call *c);
void api_may(struct call *c);

/* The grant of a request whose stages are all signed comes into being. peer NULL: at start. */
int grant_activate(struct policyd *p, const struct line_peer *peer,
                   struct pol_request *r) MUST_CHECK;

#endif
