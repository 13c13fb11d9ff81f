/*
 * What the tests of policyd share. The facts made here do not come from facts.c, so that a mistake
 * there cannot hide one in the rules.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "policyd/facts.h"
#include "policyd/statejson.h"
#include "tests/unit/support_pol.h"

static int named(char *const *who, uint32_t uid)
{
	char text[32];

	snprintf(text, sizeof(text), "uid:%u", uid);
	return strv_has(who, text);
}

void pol_facts_fake(const struct pol_conf *c, uint32_t uid, struct pol_facts *out)
{
	*out = (struct pol_facts){.uid = uid, .login_uid = POL_NO_UID};
	snprintf(out->name, sizeof(out->name), "uid:%u", uid);
	out->role = calloc(c->n_roles + 1, sizeof(int));
	out->head = calloc(c->n_departments + 1, sizeof(int));
	out->requester = calloc(c->n_chains + 1, sizeof(int));
	assert_true(out->role && out->head && out->requester);
	for (size_t i = 0; i < c->n_roles; i++)
		out->role[i] = named(c->roles[i].members, uid);
	for (size_t i = 0; i < c->n_departments; i++)
		out->head[i] = named(c->departments[i].heads, uid) ||
		               named(c->departments[i].deputies, uid);
	for (size_t i = 0; i < c->n_chains; i++) {
		out->requester[i] = named(c->chains[i].requesters, uid);
		for (size_t k = 0; k < c->n_roles; k++)
			if (strv_has(c->chains[i].requesters, c->roles[k].name) && out->role[k])
				out->requester[i] = 1;
	}
}

char *pol_state_text(const struct pol_state_all *s)
{
	json_t *all = json_pack(
	        "{s:I, s:I, s:s, s:I, s:I, s:s, s:I}", "epoch", (json_int_t)s->epoch, "snapshot",
	        (json_int_t)s->snapshot, "snapshot_digest", s->snapshot_digest, "pending",
	        (json_int_t)s->pending.id, "changes", (json_int_t)s->last_change, "policy",
	        s->conf ? s->conf->digest : "", "conf_uid", (json_int_t)s->conf_uid);
	json_t *list = json_array();

	assert_non_null(all);
	for (size_t i = 0; i < s->n_requests; i++)
		assert_false(json_array_append_new(list, request_reply(s, s->requests[i], "/m")));
	for (size_t i = 0; i < s->n_grants; i++) {
		json_t *g = grant_reply(s, s->grants[i], "/m");

		json_object_set_new(g, "settled", json_boolean(s->grants[i]->settled));
		json_object_set_new(g, "ended", json_integer(s->grants[i]->ended_ns));
		assert_false(json_array_append_new(list, g));
	}
	json_object_set_new(all, "list", list);
	return statejson_text(all);
}

void pol_apply(struct pol_state_all *s, uint16_t op, uint32_t uid, uint64_t object, uint64_t grant,
               int64_t time_ns, json_t *payload)
{
	struct pol_event ev = {.op = op,
	                       .seq = s->applied_seq + 1,
	                       .time_ns = time_ns,
	                       .uid = uid,
	                       .login_uid = POL_NO_UID,
	                       .grant = grant,
	                       .object = object,
	                       .payload = payload};
	char why[256] = "";

	assert_non_null(payload);
	if (state_apply(s, &ev, why, sizeof(why)))
		fail_msg("the state refuses what the rules allowed: %s", why);
	json_decref(payload);
}

uint64_t pol_seed(void)
{
	const char *given = getenv("SEED");
	uint64_t seed;

	if (given)
		seed = strtoull(given, NULL, 0);
	else
		random_fill(&seed, sizeof(seed));
	print_message("seed %llu; replay with SEED=%llu\n", (unsigned long long)seed,
	              (unsigned long long)seed);
	return seed;
}

uint32_t pol_random(uint64_t *state, uint32_t below)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ (z >> 31)) % below);
}

void pol_site_policy(const struct pol_site *s, const char *policy_text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/policy.conf", s->dir);
	assert_int_equal(file_replace(path, policy_text, strlen(policy_text), 0644), 0);
}

void pol_site_make(struct pol_site *s, const char *policy_text)
{
	static const char *const folders[] = {"state",      "state/policy", "state/policy/log",
	                                      "state/keys", "run",          "run/policy"};
	char text[1024], path[256], err[256], me[256];
	bool made;

	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "/tmp/custos-pol-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	assert_int_equal(dir_ensure(s->dir, 0755, (uid_t)-1, (gid_t)-1), 0);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", s->dir, folders[i]);
		assert_int_equal(dir_ensure(path, 0755, (uid_t)-1, (gid_t)-1), 0);
	}
	assert_int_equal(people_name(getuid(), me, sizeof(me)), 0);
	/* Real accounts that every Debian has, so that daemons have uids of their own. */
	snprintf(text, sizeof(text),
	         "run = \"%s/run\"\nstate = \"%s/state\"\npolicy = \"%s/policy.conf\"\n"
	         "recorder_user = \"daemon\"\npolicy_user = \"%.64s\"\ngate_user = \"sys\"\n"
	         "store \"main\" { path = \"%s/store\" }\ngate { mount = \"/mnt/c\" }\n",
	         s->dir, s->dir, s->dir, me, s->dir);
	snprintf(path, sizeof(path), "%s/custos.conf", s->dir);
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
	pol_site_policy(s, policy_text);
	if (conf_load(path, &s->conf, err, sizeof(err)))
		fail_msg("%s", err);
	conf_path(s->conf, CONF_KEY_SIGN, path, sizeof(path));
	if (note_key_open(path, "custos.policy", &s->key, &made, err, sizeof(err)))
		fail_msg("%s", err);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void pol_site_remove(struct pol_site *s)
{
	note_key_close(s->key);
	conf_free(s->conf);
	nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
