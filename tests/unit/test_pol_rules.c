/*
 * The rules against a model: random policies, random people, random sequences of actions. The model
 * reads the policy's text lists directly and decides by itself who may ask and sign; every verdict
 * has to agree, and after every step the invariants hold: nobody approves their own, nobody signs
 * twice, nothing widens, no grant without its full chain.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/audit/audit.h"
#include "policyd/facts.h"
#include "policyd/statejson.h"
#include "tests/unit/support_pol.h"

#define PEOPLE 7u
#define T0     (INT64_C(1700000000) * NSEC_PER_SEC)
#define SEC    NSEC_PER_SEC

static uint64_t rng;

static uint32_t rnd(uint32_t below)
{
	return pol_random(&rng, below);
}

static void people(FILE *f)
{
	const char *comma = "";

	fprintf(f, "{");
	for (uint32_t i = 0; i < PEOPLE; i++)
		if (rnd(3) == 0) {
			fprintf(f, "%s\"uid:%u\"", comma, 100 + i);
			comma = ", ";
		}
	fprintf(f, "}");
}

static const char *const stage_words[] = {"head",    "ra",      "rb",        "rc",
                                          "2 of ra", "2 of rb", "monitoring"};

static char *random_policy(void)
{
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	fprintf(f, "limits { max_window = \"1h\" max_grant = \"2h\" }\n");
	for (int d = 0; d < 2; d++) {
		fprintf(f, "department \"d%d\" { heads = ", d);
		people(f);
		fprintf(f, " deputies = ");
		people(f);
		fprintf(f, " }\n");
	}
	for (size_t i = 0; i < 4; i++) {
		fprintf(f, "role \"%s\" { members = ",
		        (const char *[]){"ra", "rb", "rc", "monitoring"}[i]);
		people(f);
		fprintf(f, " }\n");
	}
	for (int i = 0; i < 4; i++)
		fprintf(f, "camera \"c%d\" { department = \"d%d\" min_age = \"1d\" }\n", i, i / 2);
	for (uint32_t i = 0, n = 1 + rnd(3); i < n; i++) {
		fprintf(f,
		        "chain \"ch%u\" { requesters = {\"uid:%u\", \"uid:%u\", \"rc\"} stages = {",
		        i, 100 + rnd(PEOPLE), 100 + rnd(PEOPLE));
		for (uint32_t k = 0, m = 1 + rnd(3); k < m; k++)
			fprintf(f, "%s\"%s\"", k ? ", " : "",
			        stage_words[rnd(ARRAY_LEN(stage_words))]);
		fprintf(f, "} }\n");
	}
	fclose(f);
	return text;
}

/* ---- the model: lists and strings only ---- */

static bool listed(char *const *who, uint32_t uid)
{
	char text[32];

	snprintf(text, sizeof(text), "uid:%u", uid);
	return strv_has(who, text);
}

static bool in_role(const struct pol_conf *c, const char *role, uint32_t uid)
{
	for (size_t i = 0; i < c->n_roles; i++)
		if (!strcmp(c->roles[i].name, role))
			return listed(c->roles[i].members, uid);
	return false;
}

static bool holds_office(const struct pol_conf *c, const char *office, const char *camera,
                         uint32_t uid)
{
	const struct pol_department *d = &c->departments[policyconf_camera(c, camera)->department];

	if (!strncmp(office, "2 of ", 5))
		office += 5;
	if (!strcmp(office, "head"))
		return listed(d->heads, uid) || listed(d->deputies, uid);
	return in_role(c, office, uid);
}

static bool model_requester(const struct pol_conf *c, const char *chain, uint32_t uid)
{
	const struct pol_chain *ch = policyconf_chain(c, chain);

	return listed(ch->requesters, uid) ||
	       (strv_has(ch->requesters, "rc") && in_role(c, "rc", uid));
}

static size_t model_stage(const struct pol_request *r)
{
	size_t stage = 0, used = 0;

	while (r->stages[stage]) {
		size_t need = strncmp(r->stages[stage], "2 of ", 5) ? 1 : 2, have = 0;

		for (size_t i = 0; i < r->n_signatures; i++)
			have += r->signatures[i].stage == stage;
		used += have;
		if (have < need)
			break;
		stage++;
	}
	assert_int_equal(used, r->n_signatures); /* no signature on a later stage */
	return stage;
}

static bool model_may_approve(const struct pol_conf *c, const struct pol_request *r, uint32_t uid)
{
	size_t stage;

	if (r->state != POL_SUBMITTED && r->state != POL_APPROVED)
		return false;
	if (r->uid == uid || r->holder_uid == uid)
		return false;
	for (size_t i = 0; i < r->n_signatures; i++)
		if (r->signatures[i].uid == uid)
			return false;
	stage = model_stage(r);
	return r->stages[stage] && holds_office(c, r->stages[stage], r->now.cameras[0], uid);
}

/* What must be true of every grant that exists, read off the request alone. */
static void check_grant(const struct pol_conf *c, const struct pol_state_all *s,
                        const struct pol_grant *g)
{
	const struct pol_request *r = state_request(s, g->request);

	assert_true(model_requester(c, r->chain, r->uid));
	for (size_t k = 0; r->stages[k]; k++) {
		size_t need = strncmp(r->stages[k], "2 of ", 5) ? 1 : 2, have = 0;

		for (size_t i = 0; i < r->n_signatures; i++) {
			if (r->signatures[i].stage != k)
				continue;
			assert_true(holds_office(c, r->stages[k], r->asked.cameras[0],
			                         r->signatures[i].uid));
			have++;
		}
		assert_int_equal(have, need);
	}
	for (size_t i = 0; i < r->n_signatures; i++) {
		assert_int_not_equal(r->signatures[i].uid, r->uid);
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(r->signatures[i].uid, r->signatures[k].uid);
	}
	assert_true(strv_subset(g->what.cameras, r->asked.cameras));
	assert_true(g->what.from_ns >= r->asked.from_ns && g->what.to_ns <= r->asked.to_ns);
	assert_true(g->what.to_ns - g->what.from_ns <= 3600 * SEC);
	assert_true(g->what.until_ns <= g->activated_ns + 7200 * SEC);
	assert_true(!r->asked.until_ns || g->what.until_ns <= r->asked.until_ns);
}

/* ---- one random action each ---- */

static void act_request(struct pol_state_all *s, const struct pol_facts *f, int64_t now)
{
	static const char *const names[] = {"c0", "c1", "c2", "c3", "cx"};
	const struct pol_chain *chain = NULL;
	char *cameras[3] = {(char *)names[rnd(5)], NULL, NULL}, named_chain[8];
	struct pol_ask ask = {.reason = rnd(9) ? "because" : ""};
	struct pol_request r = {0};
	struct pol_verdict v;
	bool expected;

	if (rnd(2) && strcmp(cameras[0], "cx") != 0)
		cameras[1] = (char *)(!strcmp(cameras[0], "c0") ? "c1" : names[rnd(4)]);
	if (cameras[1] && !strcmp(cameras[0], cameras[1]))
		cameras[1] = NULL;
	if (cameras[1] && strcmp(cameras[0], cameras[1]) > 0) { /* canonical */
		char *second = cameras[0];

		cameras[0] = cameras[1];
		cameras[1] = second;
	}
	snprintf(named_chain, sizeof(named_chain), "ch%u", rnd(4));
	ask.what =
	        (struct pol_what){cameras, now - 100 * SEC, now - 100 * SEC + (1 + rnd(5000)) * SEC,
	                          rnd(2) ? 0 : now + ((int64_t)rnd(9000) - 100) * SEC};
	ask.chain = rnd(2) ? named_chain : NULL;
	v = rule_request(s, f, &ask, now, &chain);
	expected = strcmp(cameras[0], "cx") != 0 && *ask.reason &&
	           ask.what.to_ns - ask.what.from_ns <= 3600 * SEC &&
	           (!ask.what.until_ns ||
	            (ask.what.until_ns > now && ask.what.until_ns <= now + 7200 * SEC));
	if (cameras[1] && (cameras[0][1] < '2') != (cameras[1][1] < '2'))
		expected = false;
	if (ask.chain &&
	    (!policyconf_chain(s->conf, ask.chain) || !model_requester(s->conf, ask.chain, f->uid)))
		expected = false;
	if (!ask.chain) {
		bool any = false;

		for (size_t i = 0; i < s->conf->n_chains; i++)
			any |= model_requester(s->conf, s->conf->chains[i].name, f->uid);
		expected &= any;
	}
	if (expected == (v.err != 0))
		fail_msg("request: model says %d, rule says %d %s", expected, v.err, v.why);
	if (v.err) {
		assert_true(*v.why && !strchr(v.why, '\n'));
		return;
	}
	r = (struct pol_request){.id = s->n_requests + 1,
	                         .chain = chain->name,
	                         .stages = chain->stage_texts,
	                         .uid = f->uid,
	                         .requester = (char *)f->name,
	                         .holder_uid = f->uid,
	                         .holder = (char *)f->name,
	                         .assistant_uid = POL_NO_UID,
	                         .subject_uid = POL_NO_UID,
	                         .reason = (char *)ask.reason,
	                         .export_allowed = true,
	                         .asked = ask.what};
	if (rnd(4) == 0) {
		r.assistant_uid = r.holder_uid = 100 + rnd(PEOPLE);
		r.assistant = r.holder = (char *)"helper";
	}
	pol_apply(s, AUD_OP_REQUEST, f->uid, r.id, 0, now, request_to_json(&r));
}

static void activate(struct pol_state_all *s, struct pol_request *r, uint32_t uid, int64_t now)
{
	char *approvers[] = {(char *)"somebody", NULL};
	struct pol_grant g = {.id = s->n_grants + 1,
	                      .request = r->id,
	                      .state = POL_ACTIVE,
	                      .uid = r->holder_uid,
	                      .user = r->holder,
	                      .what = r->now,
	                      .approvers = approvers};

	g.what.until_ns = rule_until(s->conf, r, now);
	pol_apply(s, AUD_OP_ACTIVATE, uid, r->id, g.id, now, grant_to_json(&g, r));
	check_grant(s->conf, s, s->grants[s->n_grants - 1]);
}

static void act_approve(struct pol_state_all *s, const struct pol_facts *f, int64_t now)
{
	struct pol_request *r = s->n_requests ? s->requests[rnd((uint32_t)s->n_requests)] : NULL;
	struct pol_narrow n = {0};
	struct pol_what what, before;
	struct pol_verdict v;
	bool expected, last, inside = true;
	char digest[65];
	size_t stage;

	if (!r)
		return;
	before = r->now;
	if (rnd(3) == 0) {
		n.from_ns = r->now.from_ns + ((int64_t)rnd(40) - 10) * SEC;
		inside &= n.from_ns >= r->now.from_ns && n.from_ns < r->now.to_ns;
	}
	if (rnd(3) == 0) {
		n.to_ns = r->now.to_ns - ((int64_t)rnd(40) - 10) * SEC;
		inside &= n.to_ns <= r->now.to_ns &&
		          n.to_ns > (n.from_ns ? n.from_ns : r->now.from_ns);
	}
	if (rnd(3) == 0) {
		n.until_ns = now + ((int64_t)rnd(8000) - 50) * SEC;
		inside &= n.until_ns > now && n.until_ns <= now + 7200 * SEC &&
		          (!r->now.until_ns || n.until_ns <= r->now.until_ns);
	}
	expected = model_may_approve(s->conf, r, f->uid) &&
	           (!r->now.until_ns || r->now.until_ns > now);
	v = rule_approve(s, f, r, &n, now, &stage, &what, &last);
	if ((expected && inside) == (v.err != 0))
		fail_msg("approve: model says %d %d, rule says %d %s", expected, inside, v.err,
		         v.why);
	if (v.err)
		return;
	assert_true(what.from_ns >= before.from_ns && what.to_ns <= before.to_ns);
	assert_int_equal(stage, model_stage(r));
	assert_int_equal(request_digest(r, &what, digest), 0);
	pol_apply(s, AUD_OP_APPROVE, f->uid, r->id, 0, now,
	          json_pack("{s:I, s:I, s:s, s:s, s:o}", "request", (json_int_t)r->id, "stage",
	                    (json_int_t)stage, "who", f->name, "digest", digest, "narrowed",
	                    what_to_json(&what)));
	what_free(&what);
	assert_int_equal(last, r->stages[model_stage(r)] == NULL);
	if (last)
		activate(s, r, f->uid, now);
}

static void act_end(struct pol_state_all *s, const struct pol_facts *f, int64_t now)
{
	struct pol_request *r = s->n_requests ? s->requests[rnd((uint32_t)s->n_requests)] : NULL;
	struct pol_grant *g = s->n_grants ? s->grants[rnd((uint32_t)s->n_grants)] : NULL;
	json_t *payload = json_pack("{s:s}", "reason", "x");

	switch (r ? rnd(4) : 9) {
	case 0:
		if (!rule_withdraw(f, r).err) {
			assert_int_equal(r->uid, f->uid);
			pol_apply(s, AUD_OP_WITHDRAW, f->uid, r->id, 0, now, json_incref(payload));
		}
		break;
	case 1:
		if (!rule_reject(s, f, r).err) {
			bool signer = false;

			for (size_t k = 0; r->stages[k]; k++)
				signer |= holds_office(s->conf, r->stages[k], r->now.cameras[0],
				                       f->uid);
			assert_true(signer && r->uid != f->uid);
			pol_apply(s, AUD_OP_REJECT, f->uid, r->id, 0, now, json_incref(payload));
		}
		break;
	case 2:
		if (g && !rule_return(f, g, state_request(s, g->request)).err) {
			assert_true(g->uid == f->uid ||
			            state_request(s, g->request)->uid == f->uid);
			pol_apply(s, AUD_OP_RETURN, f->uid, g->request, g->id, now,
			          json_incref(payload));
		}
		break;
	case 3:
		if (g && !rule_revoke(s, f, g, state_request(s, g->request)).err) {
			const struct pol_request *gr = state_request(s, g->request);
			bool may = in_role(s->conf, "monitoring", f->uid);

			for (size_t k = 0; gr->stages[k]; k++)
				may |= holds_office(s->conf, gr->stages[k], gr->now.cameras[0],
				                    f->uid);
			assert_true(may);
			pol_apply(s, AUD_OP_REVOKE_INTENT, f->uid, g->request, g->id, now,
			          json_incref(payload));
		}
		break;
	default:
		break;
	}
	json_decref(payload);
}

static size_t one_site(void)
{
	char *text = random_policy(), err[256] = "", *dump;
	struct pol_state_all *s;
	struct pol_conf *conf;
	int64_t now = T0;
	size_t grants;

	assert_int_equal(state_new(&s), 0);
	if (policyconf_parse(text, "random", &conf, err, sizeof(err)))
		fail_msg("%s\n%s", err, text);
	pol_apply(s, AUD_OP_CONFIG, POL_NO_UID, 0, 0, now,
	          json_pack("{s:s, s:s}", "text", text, "digest", conf->digest));
	for (int i = 0; i < 150; i++) {
		struct pol_facts f;
		uint32_t what = rnd(10);

		now += rnd(20) * SEC;
		pol_facts_fake(s->conf, 100 + rnd(PEOPLE), &f);
		if (what < 3)
			act_request(s, &f, now);
		else if (what < 9)
			act_approve(s, &f, now);
		else
			act_end(s, &f, now);
		facts_free(&f);
	}
	dump = pol_state_text(s);
	assert_non_null(dump);
	grants = s->n_grants;
	free(dump);
	free(text);
	policyconf_free(conf);
	state_free(s);
	return grants;
}

static void rules_agree_with_the_model(void **state)
{
	size_t grants = 0;

	(void)state;
	rng = pol_seed();
	for (int i = 0; i < 400; i++)
		grants += one_site();
	print_message("%zu grants came out of 400 random sites\n", grants);
	assert_true(getenv("SEED") || grants > 100); /* else the test tests nothing */
}

/* ---- single rules ---- */

static const char policy[] = "limits { max_window = \"1h\" max_grant = \"2h\" }\n"
                             "department \"d\" { heads = {\"uid:1\"} deputies = {\"uid:2\"} }\n"
                             "role \"monitoring\" { members = {\"uid:3\", \"uid:1\"} }\n"
                             "role \"admin\" { members = {\"uid:8\", \"uid:9\"} }\n"
                             "camera \"c\" { department = \"d\" min_age = \"1d\" }\n"
                             "chain \"internal\" { requesters = {\"uid:5\", \"uid:1\", \"uid:2\"} "
                             "stages = {\"head\", \"monitoring\"} }\n"
                             "chain \"police\" { requesters = {\"monitoring\"} subject = required "
                             "stages = {\"monitoring\"} }\n";

struct fixture {
	struct pol_state_all *s;
	char *cameras[2];
};

static struct pol_request *submit(struct fixture *fx, uint32_t uid, uint32_t login,
                                  const char *chain)
{
	struct pol_request r = {.id = fx->s->n_requests + 1,
	                        .chain = (char *)chain,
	                        .uid = uid,
	                        .stages = policyconf_chain(fx->s->conf, chain)->stage_texts,
	                        .export_allowed = true,
	                        .requester = (char *)"r",
	                        .holder_uid = uid,
	                        .holder = (char *)"r",
	                        .assistant_uid = POL_NO_UID,
	                        .subject_uid = POL_NO_UID,
	                        .reason = (char *)"x",
	                        .asked = {fx->cameras, T0, T0 + 60 * SEC, 0}};

	pol_apply(fx->s, AUD_OP_REQUEST, uid, r.id, 0, T0, request_to_json(&r));
	fx->s->requests[fx->s->n_requests - 1]->login_uid = login;
	return fx->s->requests[fx->s->n_requests - 1];
}

static int approve_as(struct fixture *fx, struct pol_request *r, uint32_t uid, uint32_t login,
                      const char *digest, int64_t now)
{
	struct pol_narrow n = {.digest = digest};
	struct pol_what what;
	struct pol_facts f;
	struct pol_verdict v;
	size_t stage;
	bool last;

	pol_facts_fake(fx->s->conf, uid, &f);
	f.login_uid = login;
	v = rule_approve(fx->s, &f, r, &n, now, &stage, &what, &last);
	facts_free(&f);
	if (!v.err)
		what_free(&what);
	return v.err;
}

static int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	struct pol_conf *conf;
	char err[256];

	fx->cameras[0] = (char *)"c";
	assert_int_equal(state_new(&fx->s), 0);
	assert_int_equal(policyconf_parse(policy, "p", &conf, err, sizeof(err)), 0);
	pol_apply(fx->s, AUD_OP_CONFIG, POL_NO_UID, 0, 0, T0,
	          json_pack("{s:s, s:s}", "text", policy, "digest", conf->digest));
	policyconf_free(conf);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;

	state_free(fx->s);
	free(fx);
	return 0;
}

static void who_may_sign(void **state)
{
	struct fixture *fx = *state;
	struct pol_request *r = submit(fx, 5, POL_NO_UID, "internal"), *own, *deputys;
	char digest[65], other[65];

	assert_int_equal(request_digest(r, &r->now, digest), 0);
	memcpy(other, digest, sizeof(other));
	other[0] ^= 1;
	assert_int_equal(approve_as(fx, r, 1, POL_NO_UID, digest, T0), 0);
	assert_int_equal(approve_as(fx, r, 2, POL_NO_UID, NULL, T0), 0);      /* deputy */
	assert_int_equal(approve_as(fx, r, 3, POL_NO_UID, NULL, T0), EACCES); /* not their turn */
	assert_int_equal(approve_as(fx, r, 5, POL_NO_UID, NULL, T0), EACCES);
	assert_int_equal(approve_as(fx, r, 1, POL_NO_UID, other, T0), ESTALE); /* replayed */
	assert_int_equal(approve_as(fx, r, 1, 5, NULL, T0), EACCES); /* the requester behind sudo */
	assert_int_equal(approve_as(fx, r, 1, POL_NO_UID, NULL, T0 + POL_LAPSE_NS + 1), ESTALE);
	own = submit(fx, 1, POL_NO_UID, "internal");
	assert_int_equal(approve_as(fx, own, 1, POL_NO_UID, NULL, T0), EACCES);
	assert_int_equal(approve_as(fx, own, 2, POL_NO_UID, NULL, T0), 0);
	deputys = submit(fx, 5, 1, "internal"); /* made from the head's login */
	assert_int_equal(approve_as(fx, deputys, 1, POL_NO_UID, NULL, T0), EACCES);
	/* Head and monitoring are one person here: the second signature is refused. */
	assert_int_equal(request_digest(r, &r->now, digest), 0);
	pol_apply(fx->s, AUD_OP_APPROVE, 1, r->id, 0, T0,
	          json_pack("{s:i, s:i, s:s, s:s, s:n}", "request", 1, "stage", 0, "who", "h",
	                    "digest", digest, "narrowed"));
	assert_int_equal(approve_as(fx, r, 1, POL_NO_UID, NULL, T0), EACCES);
	assert_int_equal(approve_as(fx, r, 3, 1, NULL, T0), EACCES); /* the head behind sudo */
	assert_int_equal(approve_as(fx, r, 3, POL_NO_UID, NULL, T0), 0);
	r->subject_uid = 3;
	assert_int_equal(approve_as(fx, r, 3, POL_NO_UID, NULL, T0), EACCES);
}

static void failed_lookups_refuse(void **state)
{
	struct fixture *fx = *state;
	struct pol_request *r = submit(fx, 5, POL_NO_UID, "internal");
	struct pol_ask ask = {.what = {fx->cameras, T0, T0 + SEC, 0}, .reason = "x"};
	const struct pol_chain *chain;
	struct pol_narrow n = {0};
	struct pol_what what;
	struct pol_facts f;
	size_t stage;
	bool last;

	pol_facts_fake(fx->s->conf, 1, &f);
	f.head[0] = -EIO;
	assert_int_equal(rule_approve(fx->s, &f, r, &n, T0, &stage, &what, &last).err, EAGAIN);
	f.requester[0] = -EIO;
	assert_int_equal(rule_request(fx->s, &f, &ask, T0, &chain).err, EAGAIN);
	facts_free(&f);
}

static void chains_for_a_subject(void **state)
{
	struct fixture *fx = *state;
	struct pol_ask ask = {
	        .what = {fx->cameras, T0, T0 + SEC, 0}, .reason = "x", .chain = "police"};
	const struct pol_chain *chain;
	struct pol_facts f;

	pol_facts_fake(fx->s->conf, 3, &f);
	assert_int_equal(rule_request(fx->s, &f, &ask, T0, &chain).err, EINVAL);
	ask.subject = "Officer Li";
	assert_int_equal(rule_request(fx->s, &f, &ask, T0, &chain).err, 0);
	facts_free(&f);
	pol_facts_fake(fx->s->conf, 5, &f); /* an easier chain is not theirs */
	assert_int_equal(rule_request(fx->s, &f, &ask, T0, &chain).err, EACCES);
	facts_free(&f);
}

static void replacing_voids_and_changed_chains_stop(void **state)
{
	struct fixture *fx = *state;
	struct pol_request *r = submit(fx, 5, POL_NO_UID, "internal"), again;
	char *shorter[] = {(char *)"monitoring", NULL};

	again = (struct pol_request){.id = 2,
	                             .replaces = 1,
	                             .chain = (char *)"internal",
	                             .uid = 5,
	                             .stages = shorter,
	                             .requester = (char *)"r",
	                             .holder_uid = 5,
	                             .holder = (char *)"r",
	                             .assistant_uid = POL_NO_UID,
	                             .subject_uid = POL_NO_UID,
	                             .reason = (char *)"y",
	                             .asked = {fx->cameras, T0, T0 + SEC, 0}};
	pol_apply(fx->s, AUD_OP_REQUEST, 5, 2, 0, T0, request_to_json(&again));
	assert_int_equal(r->state, POL_WITHDRAWN);
	assert_int_equal(approve_as(fx, r, 1, POL_NO_UID, NULL, T0), ESTALE);
	/* Its stages are not those of the policy in force: asked under another one. */
	assert_int_equal(approve_as(fx, fx->s->requests[1], 3, POL_NO_UID, NULL, T0), ESTALE);
}

static int ask_again(struct fixture *fx, uint32_t uid, uint64_t replaces, int64_t now)
{
	struct pol_ask ask = {.what = {fx->cameras, T0, T0 + SEC, 0},
	                      .reason = "x",
	                      .chain = "internal",
	                      .replaces = replaces};
	const struct pol_chain *chain;
	struct pol_facts f;
	struct pol_verdict v;

	pol_facts_fake(fx->s->conf, uid, &f);
	v = rule_request(fx->s, &f, &ask, now, &chain);
	facts_free(&f);
	return v.err;
}

/* Neither waiting requests nor replaced or withdrawn ones let one person fill the log. */
static void nobody_fills_the_log(void **state)
{
	struct fixture *fx = *state;
	struct pol_request *r = NULL;

	for (int i = 0; i < 300; i++) {
		assert_int_equal(ask_again(fx, 5, r ? r->id : 0, T0 + i), 0);
		if (r) /* as a replacement or a withdrawal leaves it */
			r->state = POL_WITHDRAWN;
		r = submit(fx, 5, POL_NO_UID, "internal");
	}
	assert_int_equal(ask_again(fx, 5, r->id, T0 + SEC), EAGAIN);
	assert_int_equal(ask_again(fx, 5, 0, T0 + SEC), EAGAIN);
	assert_int_equal(ask_again(fx, 2, 0, T0 + SEC), 0); /* others are not held back */
	assert_int_equal(ask_again(fx, 5, 0, T0 + 86400 * SEC), 0);
	for (int i = 0; i < 100; i++)
		submit(fx, 2, POL_NO_UID, "internal");
	assert_int_equal(ask_again(fx, 2, 0, T0 + SEC), EAGAIN);
	assert_int_equal(ask_again(fx, 2, fx->s->n_requests, T0 + SEC), 0);
}

static void second_admin(void **state)
{
	struct fixture *fx = *state;
	struct pol_facts f;

	pol_apply(fx->s, AUD_OP_CONFIG_PENDING, 8, 1, 0, T0,
	          json_pack("{s:s, s:s}", "text", policy, "base", fx->s->conf->digest));
	pol_facts_fake(fx->s->conf, 8, &f);
	assert_int_equal(rule_config_approve(fx->s, &f, 1).err, EACCES);
	facts_free(&f);
	pol_facts_fake(fx->s->conf, 9, &f);
	assert_int_equal(rule_config_approve(fx->s, &f, 2).err, ENOENT);
	assert_int_equal(rule_config_approve(fx->s, &f, 1).err, 0);
	f.login_uid = 8;
	assert_int_equal(rule_config_approve(fx->s, &f, 1).err, EACCES);
	facts_free(&f);
}

static void events_that_do_not_fit_are_refused(void **state)
{
	struct fixture *fx = *state;
	struct pol_request *r = submit(fx, 5, POL_NO_UID, "internal");
	char digest[65], why[256];
	json_t *payload;
	struct pol_event ev = {.op = AUD_OP_APPROVE, .seq = 9, .uid = 5, .object = 1};

	assert_int_equal(request_digest(r, &r->now, digest), 0);
	payload = json_pack("{s:i, s:i, s:s, s:s}", "request", 1, "stage", 0, "who", "x", "digest",
	                    digest);
	ev.payload = payload;
	assert_int_equal(state_apply(fx->s, &ev, why, sizeof(why)), -EUCLEAN); /* own */
	ev.uid = 1;
	json_object_set_new(payload, "stage", json_integer(1)); /* a stage is skipped */
	assert_int_equal(state_apply(fx->s, &ev, why, sizeof(why)), -EUCLEAN);
	json_object_set_new(payload, "stage", json_integer(0));
	digest[5] ^= 1;
	json_object_set_new(payload, "digest", json_string(digest));
	assert_int_equal(state_apply(fx->s, &ev, why, sizeof(why)), -EUCLEAN);
	ev.op = AUD_OP_ACTIVATE;
	assert_int_equal(state_apply(fx->s, &ev, why, sizeof(why)), -EUCLEAN);
	ev = (struct pol_event){.op = AUD_OP_EXPIRE, .grant = 1};
	assert_int_equal(state_apply(fx->s, &ev, why, sizeof(why)), -EUCLEAN);
	assert_int_equal(r->state, POL_SUBMITTED);
	json_decref(payload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(rules_agree_with_the_model),
	        cmocka_unit_test_setup_teardown(who_may_sign, setup, teardown),
	        cmocka_unit_test_setup_teardown(failed_lookups_refuse, setup, teardown),
	        cmocka_unit_test_setup_teardown(chains_for_a_subject, setup, teardown),
	        cmocka_unit_test_setup_teardown(nobody_fills_the_log, setup, teardown),
	        cmocka_unit_test_setup_teardown(replacing_voids_and_changed_chains_stop, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(second_admin, setup, teardown),
	        cmocka_unit_test_setup_teardown(events_that_do_not_fit_are_refused, setup,
	                                        teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
