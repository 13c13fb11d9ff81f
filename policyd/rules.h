/*
 * rules.h — the decisions, pure: configuration + state + facts about the caller + what is asked →
 * allowed or refused, with the line that says why. No I/O, no clock, no user database: time and
 * facts are passed in, so every rule can be tested with made-up people (tests/unit/test_pol_rules.c
 * runs them against a model).
 */
#ifndef CUSTOS_RULES_H
#define CUSTOS_RULES_H

#include "policyd/state.h"

/* Who the caller is, by the user database at this moment (facts.c). Each fact is 1 yes, 0 no, or
 * -errno: the look-up failed, and whatever hangs on it is refused. */
struct pol_facts {
	uint32_t uid, login_uid;
	char name[256];
	int *role;      /* [n_roles] member of */
	int *head;      /* [n_departments] head or deputy of */
	int *requester; /* [n_chains] may ask by */
};

struct pol_verdict {
	int err; /* 0 allowed, or a positive errno for the wire */
	char why[384];
};

struct pol_ask { /* a request as it comes in; all borrowed */
	struct pol_what what;
	const char *reason, *case_id, *chain, *subject, *assistant;
	uint64_t replaces;
};
struct pol_narrow { /* what an approver changes: 0 / NULL leave as it is */
	int64_t from_ns, to_ns, until_ns;
	char **cameras;
	const char *digest; /* what the approver has seen, or NULL */
};

/* Is the caller a member of role NAME? A role that is not configured has no members. */
int rule_role(const struct pol_conf *c, const struct pol_facts *f, const char *name);

/* May this be asked? *chain is the one that applies. */
struct pol_verdict rule_request(const struct pol_state_all *s, const struct pol_facts *f,
                                const struct pol_ask *ask, int64_t now_ns,
                                const struct pol_chain **chain);
/* May the caller sign the next stage, narrowing so? *stage and *what (caller frees) are what is
 * signed; *last: with this signature all stages are complete. */
struct pol_verdict rule_approve(const struct pol_state_all *s, const struct pol_facts *f,
                                const struct pol_request *r, const struct pol_narrow *n,
                                int64_t now_ns, size_t *stage, struct pol_what *what, bool *last);
struct pol_verdict rule_reject(const struct pol_state_all *s, const struct pol_facts *f,
                               const struct pol_request *r);
struct pol_verdict rule_withdraw(const struct pol_facts *f, const struct pol_request *r);
struct pol_verdict rule_return(const struct pol_facts *f, const struct pol_grant *g,
                               const struct pol_request *r);
struct pol_verdict rule_revoke(const struct pol_state_all *s, const struct pol_facts *f,
                               const struct pol_grant *g, const struct pol_request *r);
/* The second admin: never the one who applied it. */
struct pol_verdict rule_config_approve(const struct pol_state_all *s, const struct pol_facts *f,
                                       uint64_t change);
/* When the grant ends: as asked, else now + max_grant; never later than that. */
int64_t rule_until(const struct pol_conf *c, const struct pol_request *r, int64_t now_ns);

/* May the caller sign any stage of the request's chain (also one already signed)? 1, 0, -errno. */
int rule_is_signer(const struct pol_state_all *s, const struct pol_facts *f,
                   const struct pol_request *r);
/* Is it the caller's turn (for `requests --todo`)? */
bool rule_todo(const struct pol_state_all *s, const struct pol_facts *f,
               const struct pol_request *r, int64_t now_ns);
/* May the caller see this request? */
bool rule_sees(const struct pol_state_all *s, const struct pol_facts *f,
               const struct pol_request *r);

#endif
