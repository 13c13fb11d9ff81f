/*
 * Facts about a caller. In a list one positive answer settles it; without one, a failed look-up is
 * remembered, since the failed entry might have been the positive one.
 */
#include <errno.h>
#include <stdlib.h>

#include "policyd/conf.h"
#include "policyd/facts.h"

static int any_match(char *const *who, uint32_t uid, int so_far)
{
	for (size_t i = 0; who && who[i] && so_far <= 0; i++) {
		int hit = people_match(who[i], uid);

		if (hit != 0)
			so_far = hit;
	}
	return so_far;
}

/* Requesters may be named by role. */
static int any_requester(const struct pol_conf *c, const struct pol_facts *f, char *const *who)
{
	int so_far = 0;

	for (size_t i = 0; who && who[i] && so_far <= 0; i++) {
		long r = policyconf_role(c, who[i]);
		int hit = r >= 0 ? f->role[r] : people_match(who[i], f->uid);

		if (hit != 0)
			so_far = hit;
	}
	return so_far;
}

int facts_get(const struct pol_conf *c, uint32_t uid, uint32_t login_uid, struct pol_facts *out)
{
	int err;

	*out = (struct pol_facts){.uid = uid, .login_uid = login_uid};
	err = people_name(uid, out->name, sizeof(out->name));
	if (err)
		return err;
	out->role = calloc(c->n_roles + 1, sizeof(int));
	out->head = calloc(c->n_departments + 1, sizeof(int));
	out->requester = calloc(c->n_chains + 1, sizeof(int));
	if (!out->role || !out->head || !out->requester) {
		facts_free(out);
		return -ENOMEM;
	}
	for (size_t i = 0; i < c->n_roles; i++)
		out->role[i] = any_match(c->roles[i].members, uid, 0);
	for (size_t i = 0; i < c->n_departments; i++) {
		out->head[i] = any_match(c->departments[i].heads, uid, 0);
		out->head[i] = any_match(c->departments[i].deputies, uid, out->head[i]);
	}
	for (size_t i = 0; i < c->n_chains; i++)
		out->requester[i] = any_requester(c, out, c->chains[i].requesters);
	return 0;
}

void facts_free(struct pol_facts *f)
{
	free(f->role);
	free(f->head);
	free(f->requester);
	f->role = f->head = f->requester = NULL;
}
