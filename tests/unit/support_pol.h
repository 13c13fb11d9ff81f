/*
 * support_pol.h — made-up policies, people and folders for the tests of policyd.
 */
#ifndef CUSTOS_SUPPORT_POL_H
#define CUSTOS_SUPPORT_POL_H

#include "policyd/policyd.h"
#include "policyd/rules.h"

/* Facts without any user database: members are "uid:N" only. */
void pol_facts_fake(const struct pol_conf *c, uint32_t uid, struct pol_facts *out);
/* Everything a state knows, as text: equal states have equal text. */
char *pol_state_text(const struct pol_state_all *s);
/* Applies an event to a state without a log; the payload is taken over. Asserts success. */
void pol_apply(struct pol_state_all *s, uint16_t op, uint32_t uid, uint64_t object, uint64_t grant,
               int64_t time_ns, json_t *payload);
/* Seed from $SEED or new; printed with how to replay. */
uint64_t pol_seed(void);
uint32_t pol_random(uint64_t *state, uint32_t below);

/* A site of its own below /tmp: custos.conf, policy.conf (text), folders, key. */
struct pol_site {
	char dir[64];
	struct conf *conf;
	struct note_key *key;
};
void pol_site_make(struct pol_site *s, const char *policy_text);
void pol_site_remove(struct pol_site *s);
void pol_site_policy(const struct pol_site *s, const char *policy_text);

#endif
