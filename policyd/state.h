/*
 * state.h — what policyd knows: requests, grants, the policy in force; all of it applied from
 * events.
 *
 * The state is a pure function of policyd's audit log: nothing changes it but state_apply(), which
 * takes one event (operation + payload) whose record is durable already. The same function runs at
 * replay, so live and replayed state are equal. No I/O, no clock, no user database.
 *
 *   request   submitted ─▶ approved ─▶ active ─▶ returned | revoked | expired   (follows its grant)
 *                 └───────────┴─▶ rejected | withdrawn | lapsed
 *   grant     active ─▶ returned | revoked | expired; `settled` once no gate serves it any more
 */
#ifndef CUSTOS_STATE_H
#define CUSTOS_STATE_H

#include <jansson.h>
#include "policyd/policyconf.h"

enum pol_state {
	POL_SUBMITTED = 0,
	POL_APPROVED, /* at least one stage is complete, not all */
	POL_ACTIVE,
	POL_RETURNED,
	POL_EXPIRED,
	POL_REVOKED,
	POL_REJECTED,
	POL_WITHDRAWN,
	POL_LAPSED,
	POL_N_STATES
};
const char *pol_state_name(enum pol_state s);

#define POL_NO_UID   UINT32_MAX
#define POL_LAPSE_NS (15 * 24 * 3600 * NSEC_PER_SEC)

/* What is asked for or granted. cameras is canonical (sorted, no duplicates). */
struct pol_what {
	char **cameras;
	int64_t from_ns, to_ns;
	int64_t until_ns; /* 0: activation + limits.max_grant */
};

struct pol_signature {
	size_t stage;
	uint32_t uid, login_uid;
	char *who;
	int64_t time_ns;
	char digest[65];
};

struct pol_request {
	uint64_t id, grant, replaces; /* 0: none */
	enum pol_state state;
	char *chain;
	char **stages;           /* as they were when it was submitted */
	uint32_t uid, login_uid; /* requester */
	char *requester;
	uint32_t holder_uid; /* whose grant it becomes: the assistant's, else requester's */
	char *holder;
	uint32_t assistant_uid, subject_uid;          /* POL_NO_UID: none, no account */
	char *reason, *case_id, *subject, *assistant; /* all but reason may be NULL */
	struct pol_what asked, now;                   /* now: narrowed by those who signed */
	int64_t submitted_ns;
	bool export_allowed;
	char *decision; /* why it was rejected or revoked, NULL otherwise */
	char *decided_by;
	json_t *coverage; /* as told to the requester; NULL: unknown */
	struct pol_signature *signatures;
	size_t n_signatures;
};

struct pol_grant {
	uint64_t id, request, epoch;
	enum pol_state state; /* active, returned, expired, revoked */
	bool settled;         /* the end is acknowledged by the gates or their leases */
	uint32_t uid;
	char *user;
	struct pol_what what; /* until is never 0 */
	int64_t activated_ns, ended_ns;
	char **approvers;
};

struct pol_pending { /* a policy that waits for a second admin */
	uint64_t id;
	char *text;
	char base[65]; /* digest of the policy it was compared with */
	uint32_t uid, login_uid;
};

struct pol_state_all {
	struct pol_request **requests; /* [id - 1] */
	size_t n_requests;
	struct pol_grant **grants; /* [id - 1] */
	size_t n_grants;
	struct pol_conf *conf; /* in force; NULL before the first */
	int64_t conf_ns;
	uint32_t conf_uid;
	struct pol_pending pending; /* id 0: none */
	uint64_t last_change;       /* newest pending id ever given */
	uint64_t epoch;             /* raised by every beginning and end of a grant; starts at 1 */
	uint64_t snapshot;          /* newest number signed */
	char snapshot_digest[65];
	uint64_t applied_seq;
};

struct pol_event {
	uint16_t op; /* enum aud_op */
	uint64_t seq;
	int64_t time_ns;
	uint32_t uid, login_uid;
	uint64_t grant, object;
	const json_t *payload; /* borrowed */
};

int state_new(struct pol_state_all **out) MUST_CHECK;
void state_free(struct pol_state_all *s);
/* Applies one event; operations that are no decisions only move applied_seq. -EUCLEAN: the event
 * contradicts the state (why: one line), -ENOMEM; after an error the state is not to be used. */
int state_apply(struct pol_state_all *s, const struct pol_event *ev, char *why,
                size_t why_bytes) MUST_CHECK;

struct pol_request *state_request(const struct pol_state_all *s, uint64_t id);
struct pol_grant *state_grant(const struct pol_state_all *s, uint64_t id);
static inline bool pol_undecided(const struct pol_request *r)
{
	return r->state == POL_SUBMITTED || r->state == POL_APPROVED;
}
/* The stage that signs next (index), n when all have; how many more persons it needs. */
size_t request_stage(const struct pol_request *r, const struct pol_chain *chain, unsigned *missing);
/* Like request_stage() by the stage texts alone, for when the chain is configured no more. */
size_t request_stage_texts(const struct pol_request *r, unsigned *missing);

/* ---- JSON (statejson.c) ---- */

/* The canonical object whose SHA-256 every signature signs. */
int request_digest(const struct pol_request *r, const struct pol_what *what,
                   char out[65]) MUST_CHECK;
/* {cameras, from, to, until|null}. NULL: no memory. */
json_t *what_to_json(const struct pol_what *w);
/* -EINVAL, -ENOMEM; what it fills is the caller's to free. */
int what_from_json(const json_t *o, struct pol_what *out) MUST_CHECK;
void what_free(struct pol_what *w);
int what_copy(const struct pol_what *w, struct pol_what *out) MUST_CHECK;
/* Payload of AUD_OP_REQUEST and AUD_OP_ACTIVATE, and back. */
json_t *request_to_json(const struct pol_request *r);
int request_from_json(const json_t *o, struct pol_request **out) MUST_CHECK;
void request_free(struct pol_request *r);
json_t *grant_to_json(const struct pol_grant *g, const struct pol_request *r);
int grant_from_json(const json_t *o, struct pol_grant **out) MUST_CHECK;
void grant_free(struct pol_grant *g);

#endif
