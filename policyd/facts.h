/*
 * facts.h — who somebody is at this moment: the user database asked once, handed to the rules.
 */
#ifndef CUSTOS_FACTS_H
#define CUSTOS_FACTS_H

#include "policyd/rules.h"

/* Asks NSS about uid for everything the policy names. A failing look-up becomes the fact -errno;
 * only memory and an unknown name of the caller fail the whole. May block as NSS does. -ENOMEM,
 * -errno of people_name(). Freed by facts_free(). */
int facts_get(const struct pol_conf *c, uint32_t uid, uint32_t login_uid,
              struct pol_facts *out) MUST_CHECK;
void facts_free(struct pol_facts *f);

#endif
