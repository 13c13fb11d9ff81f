/*
 * The rules about signing. Who is barred: the requester, the assistant and the subject, and whoever
 * has signed this request before; each by uid and also behind another login (`sudo -u head custos
 * approve`): a login uid that is one of theirs bars as well. A signature covers the digest of what
 * is granted at that moment; narrowing makes the digest that this and later stages sign.
 */
#include <errno.h>
#include <stdio.h>

#include "policyd/rules.h"
#include "policyd/rules_private.h"
#include "policyd/strv.h"

/* The chain of a request, if it still is what it was when the request was made. */
static const struct pol_chain *chain_of(const struct pol_conf *c, const struct pol_request *r)
{
	const struct pol_chain *ch = policyconf_chain(c, r->chain);

	return ch && strv_equal(ch->stage_texts, r->stages) &&
	                       ch->export_allowed == r->export_allowed &&
	                       (!ch->subject_required || r->subject)
	               ? ch
	               : NULL;
}

/* May the caller sign `stage` by office (head, role)? Department: of the first camera, all are of
 * one; checked again since cameras may have moved. */
static int may_sign(const struct pol_conf *c, const struct pol_facts *f,
                    const struct pol_stage *stage, const struct pol_request *r)
{
	size_t department = 0;

	if (!stage->head)
		return f->role[stage->role];
	for (size_t i = 0; r->now.cameras[i]; i++) {
		const struct pol_camera *cam = policyconf_camera(c, r->now.cameras[i]);

		if (!cam || (i && cam->department != department))
			return 0;
		department = cam->department;
	}
	return f->head[department];
}

int rule_is_signer(const struct pol_state_all *s, const struct pol_facts *f,
                   const struct pol_request *r)
{
	const struct pol_chain *ch = policyconf_chain(s->conf, r->chain);
	int err = 0;

	for (size_t i = 0; ch && i < ch->n_stages; i++) {
		int may = may_sign(s->conf, f, &ch->stages[i], r);

		if (may > 0)
			return 1;
		if (may < 0)
			err = may;
	}
	return err;
}

static bool same_person(const struct pol_facts *f, uint32_t uid, uint32_t login_uid)
{
	if (uid == POL_NO_UID)
		return false;
	return f->uid == uid || f->login_uid == uid || f->uid == login_uid;
}

/* Why this person may never sign this request, or an allowing verdict. */
static struct pol_verdict barred(const struct pol_facts *f, const struct pol_request *r)
{
	if (same_person(f, r->uid, r->login_uid))
		return rule_refuse(EACCES, "%s made request %llu; nobody approves their own",
		                   f->name, (unsigned long long)r->id);
	if (same_person(f, r->assistant_uid, POL_NO_UID) ||
	    same_person(f, r->holder_uid, POL_NO_UID) ||
	    same_person(f, r->subject_uid, POL_NO_UID) ||
	    (r->subject && !strcmp(r->subject, f->name)))
		return rule_refuse(EACCES, "request %llu is for %s, who therefore cannot sign it",
		                   (unsigned long long)r->id, f->name);
	for (size_t i = 0; i < r->n_signatures; i++)
		if (same_person(f, r->signatures[i].uid, r->signatures[i].login_uid))
			return rule_refuse(EACCES,
			                   "%s has signed request %llu already; nobody signs "
			                   "twice",
			                   f->name, (unsigned long long)r->id);
	return (struct pol_verdict){0};
}

static struct pol_verdict undecided(const struct pol_request *r)
{
	if (pol_undecided(r))
		return (struct pol_verdict){0};
	return rule_refuse(ESTALE, "request %llu is already %s", (unsigned long long)r->id,
	                   pol_state_name(r->state));
}

/* r->now cut down as the approver says; what is not inside it is refused. */
static struct pol_verdict narrow(const struct pol_conf *c, const struct pol_request *r,
                                 const struct pol_narrow *n, int64_t now_ns, struct pol_what *what)
{
	const struct pol_what *w = &r->now;

	if (n->from_ns) {
		if (n->from_ns < w->from_ns || n->from_ns >= w->to_ns)
			goto wider;
		what->from_ns = n->from_ns;
	}
	if (n->to_ns) {
		if (n->to_ns > w->to_ns || n->to_ns <= w->from_ns)
			goto wider;
		what->to_ns = n->to_ns;
	}
	if (n->until_ns) {
		if ((w->until_ns && n->until_ns > w->until_ns) ||
		    n->until_ns > now_ns + c->max_grant_ns)
			goto wider;
		what->until_ns = n->until_ns;
	}
	if (n->cameras) {
		if (!strv_len(n->cameras) || !strv_subset(n->cameras, w->cameras))
			goto wider;
		strv_free(what->cameras);
		what->cameras = strv_dup(n->cameras);
		if (!what->cameras)
			return rule_refuse(ENOMEM, "out of memory");
		strv_canonical(what->cameras);
	}
	if (what->from_ns >= what->to_ns)
		return rule_refuse(EINVAL, "the narrowed window must begin before it ends");
	return (struct pol_verdict){0};
wider:
	return rule_refuse(EINVAL,
	                   "an approval may narrow request %llu, never widen it; give times "
	                   "and cameras within it",
	                   (unsigned long long)r->id);
}

static struct pol_verdict check_turn(const struct pol_state_all *s, const struct pol_facts *f,
                                     const struct pol_request *r, int64_t now_ns, size_t *stage,
                                     bool *last)
{
	const struct pol_chain *ch = chain_of(s->conf, r);
	struct pol_verdict v = undecided(r);
	unsigned missing;
	int may;

	if (v.err)
		return v;
	if (!ch)
		return rule_refuse(ESTALE,
		                   "chain \"%s\" has changed since request %llu was made; it "
		                   "has to be asked anew",
		                   r->chain, (unsigned long long)r->id);
	*stage = request_stage(r, ch, &missing);
	if (*stage >= ch->n_stages)
		return rule_refuse(ESTALE, "request %llu is signed by all",
		                   (unsigned long long)r->id);
	may = may_sign(s->conf, f, &ch->stages[*stage], r);
	if (may < 0)
		return rule_lookup_failed("sign");
	if (!may)
		return rule_refuse(EACCES,
		                   "request %llu waits for %s; %s does not hold that office",
		                   (unsigned long long)r->id, ch->stages[*stage].text, f->name);
	v = barred(f, r);
	if (!v.err && now_ns - r->submitted_ns > POL_LAPSE_NS)
		v = rule_refuse(ESTALE, "request %llu has lapsed", (unsigned long long)r->id);
	if (!v.err && r->now.until_ns && r->now.until_ns <= now_ns)
		v = rule_refuse(ESTALE, "the end that request %llu asks for has passed",
		                (unsigned long long)r->id);
	*last = missing == 1 && *stage + 1 == ch->n_stages;
	return v;
}

struct pol_verdict rule_approve(const struct pol_state_all *s, const struct pol_facts *f,
                                const struct pol_request *r, const struct pol_narrow *n,
                                int64_t now_ns, size_t *stage, struct pol_what *what, bool *last)
{
	struct pol_verdict v;
	char digest[65];

	*what = (struct pol_what){0};
	v = check_turn(s, f, r, now_ns, stage, last);
	if (v.err)
		return v;
	if (n->digest) {
		if (request_digest(r, &r->now, digest))
			return rule_refuse(ENOMEM, "out of memory");
		if (strcmp(n->digest, digest) != 0)
			return rule_refuse(ESTALE,
			                   "request %llu is not what you looked at any more; "
			                   "look again",
			                   (unsigned long long)r->id);
	}
	if (what_copy(&r->now, what))
		return rule_refuse(ENOMEM, "out of memory");
	v = narrow(s->conf, r, n, now_ns, what);
	if (!v.err && n->until_ns && n->until_ns <= now_ns)
		v = rule_refuse(EINVAL, "--until lies in the past; give a later time");
	if (!v.err && what->to_ns - what->from_ns > s->conf->max_window_ns)
		v = rule_refuse(EINVAL,
		                "the window is wider than the policy allows by now; narrow it");
	if (v.err)
		what_free(what);
	return v;
}

struct pol_verdict rule_reject(const struct pol_state_all *s, const struct pol_facts *f,
                               const struct pol_request *r)
{
	int may = rule_is_signer(s, f, r);

	if (may < 0)
		return rule_lookup_failed("reject");
	if (!may)
		return rule_refuse(EACCES, "%s is no signer of request %llu", f->name,
		                   (unsigned long long)r->id);
	if (f->uid == r->uid)
		return rule_refuse(EACCES, "%s made request %llu; withdraw it instead", f->name,
		                   (unsigned long long)r->id);
	return undecided(r);
}

bool rule_todo(const struct pol_state_all *s, const struct pol_facts *f,
               const struct pol_request *r, int64_t now_ns)
{
	size_t stage;
	bool last;

	return !check_turn(s, f, r, now_ns, &stage, &last).err;
}
