/*
 * The rules about asking: who may ask for what, by which chain, and who may see a request.
 * In every branch the order is: a failing look-up refuses, then no right, then wrong form.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "policyd/rules.h"
#include "policyd/rules_private.h"
#include "policyd/strv.h"

#define REASON_BYTES_MAX 2000
#define TEXT_BYTES_MAX   256
#define CAMERAS_MAX      64

struct pol_verdict rule_refuse(int err, const char *format, ...)
{
	struct pol_verdict v = {.err = err};
	va_list ap;

	va_start(ap, format);
	vsnprintf(v.why, sizeof(v.why), format, ap);
	va_end(ap);
	return v;
}

struct pol_verdict rule_lookup_failed(const char *what)
{
	return rule_refuse(
	        EAGAIN, "refused: the user database does not answer who may %s; try again", what);
}

int rule_role(const struct pol_conf *c, const struct pol_facts *f, const char *name)
{
	long r = policyconf_role(c, name);

	return r < 0 ? 0 : f->role[r];
}

static bool text_ok(const char *s, size_t max)
{
	return s && *s && strlen(s) <= max && utf8_valid(s, strlen(s));
}

/* The chain named, or the first that lists the caller. */
static struct pol_verdict choose_chain(const struct pol_conf *c, const struct pol_facts *f,
                                       const char *name, const struct pol_chain **out)
{
	for (size_t i = 0; i < c->n_chains; i++) {
		if (name && strcmp(name, c->chains[i].name) != 0)
			continue;
		if (f->requester[i] < 0)
			return rule_lookup_failed("ask by this chain");
		if (f->requester[i] > 0) {
			*out = &c->chains[i];
			return (struct pol_verdict){0};
		}
		if (name)
			return rule_refuse(EACCES,
			                   "%s may not ask by chain \"%s\"; leave --chain "
			                   "out, or ask somebody who may",
			                   f->name, name);
	}
	if (name)
		return rule_refuse(EINVAL, "there is no chain \"%.64s\"; see the policy", name);
	return rule_refuse(EACCES, "no chain lets %s ask for footage; an admin can add one",
	                   f->name);
}

static struct pol_verdict check_cameras(const struct pol_conf *c, char *const *cameras)
{
	const struct pol_camera *first = NULL;

	if (!strv_len(cameras))
		return rule_refuse(EINVAL, "a request names its cameras; give --camera");
	if (strv_len(cameras) > CAMERAS_MAX)
		return rule_refuse(EINVAL, "at most %d cameras a request; split it", CAMERAS_MAX);
	for (size_t i = 0; cameras[i]; i++) {
		const struct pol_camera *cam = policyconf_camera(c, cameras[i]);

		if (!cam)
			return rule_refuse(EINVAL,
			                   "camera \"%.127s\" is not in the policy; check "
			                   "the name, or ask an admin to add it",
			                   cameras[i]);
		if (!first)
			first = cam;
		if (cam->department != first->department)
			return rule_refuse(EINVAL,
			                   "cameras \"%s\" and \"%s\" belong to different "
			                   "departments; ask for one department at a time",
			                   first->name, cam->name);
	}
	return (struct pol_verdict){0};
}

static struct pol_verdict check_window(const struct pol_conf *c, const struct pol_what *w,
                                       int64_t now_ns)
{
	if (w->from_ns <= 0 || w->to_ns <= w->from_ns)
		return rule_refuse(EINVAL, "the window must begin before it ends; check --from and "
		                           "--to");
	if (w->to_ns - w->from_ns > c->max_window_ns)
		return rule_refuse(EINVAL,
		                   "the window is %lld s wide, the policy allows %lld s; ask "
		                   "for less",
		                   (long long)((w->to_ns - w->from_ns) / NSEC_PER_SEC),
		                   (long long)(c->max_window_ns / NSEC_PER_SEC));
	if (w->until_ns && w->until_ns <= now_ns)
		return rule_refuse(EINVAL, "--until lies in the past; give a later time");
	if (w->until_ns && w->until_ns - now_ns > c->max_grant_ns)
		return rule_refuse(EINVAL,
		                   "--until is further away than the policy's max_grant, "
		                   "%lld s; give an earlier time",
		                   (long long)(c->max_grant_ns / NSEC_PER_SEC));
	return (struct pol_verdict){0};
}

static struct pol_verdict check_texts(const struct pol_chain *ch, const struct pol_ask *ask)
{
	if (!text_ok(ask->reason, REASON_BYTES_MAX))
		return rule_refuse(EINVAL,
		                   "a request says why, in 1 to %d bytes of plain text; give "
		                   "--reason",
		                   REASON_BYTES_MAX);
	for (const char *p = ask->reason;; p++) {
		if (!*p)
			return rule_refuse(EINVAL, "a request says why; blanks are no reason");
		if (*p != ' ')
			break;
	}
	if (ask->case_id && !text_ok(ask->case_id, TEXT_BYTES_MAX))
		return rule_refuse(EINVAL, "the case is 1 to %d bytes of plain text",
		                   TEXT_BYTES_MAX);
	if (ask->subject && !text_ok(ask->subject, TEXT_BYTES_MAX))
		return rule_refuse(EINVAL, "the subject is 1 to %d bytes of plain text",
		                   TEXT_BYTES_MAX);
	if (ch->subject_required && !ask->subject)
		return rule_refuse(EINVAL, "chain \"%s\" is for a named subject; give --subject",
		                   ch->name);
	return (struct pol_verdict){0};
}

static struct pol_verdict check_replaces(const struct pol_state_all *s, const struct pol_facts *f,
                                         uint64_t id)
{
	const struct pol_request *old = state_request(s, id);

	if (!id)
		return (struct pol_verdict){0};
	if (!old || old->uid != f->uid)
		return rule_refuse(ENOENT,
		                   "request %llu is not yours or does not exist; replace one "
		                   "of your own",
		                   (unsigned long long)id);
	if (!pol_undecided(old))
		return rule_refuse(ESTALE,
		                   "request %llu is already %s; ask anew without --replaces",
		                   (unsigned long long)id, pol_state_name(old->state));
	return (struct pol_verdict){0};
}

/* Nobody fills the log: neither with requests that wait, nor with ones replaced or withdrawn. */
static struct pol_verdict check_number(const struct pol_state_all *s, const struct pol_facts *f,
                                       bool replaces, int64_t now_ns)
{
	size_t open = 0, day = 0;

	for (size_t i = 0; i < s->n_requests; i++) {
		const struct pol_request *r = s->requests[i];

		open += r->uid == f->uid && pol_undecided(r);
		day += r->uid == f->uid && r->submitted_ns > now_ns - RULE_DAY_NS;
	}
	if (open >= RULE_OPEN_MAX && !replaces)
		return rule_refuse(EAGAIN, "%s has %zu undecided requests already; withdraw some",
		                   f->name, open);
	if (day >= RULE_DAY_MAX)
		return rule_refuse(EAGAIN,
		                   "%s has made %zu requests within a day, which is the most; ask "
		                   "again tomorrow",
		                   f->name, day);
	return (struct pol_verdict){0};
}

struct pol_verdict rule_request(const struct pol_state_all *s, const struct pol_facts *f,
                                const struct pol_ask *ask, int64_t now_ns,
                                const struct pol_chain **chain)
{
	const struct pol_conf *c = s->conf;
	struct pol_verdict v = choose_chain(c, f, ask->chain, chain);

	if (!v.err)
		v = check_cameras(c, ask->what.cameras);
	if (!v.err)
		v = check_window(c, &ask->what, now_ns);
	if (!v.err)
		v = check_texts(*chain, ask);
	if (!v.err)
		v = check_replaces(s, f, ask->replaces);
	if (!v.err)
		v = check_number(s, f, ask->replaces != 0, now_ns);
	return v;
}

int64_t rule_until(const struct pol_conf *c, const struct pol_request *r, int64_t now_ns)
{
	int64_t latest = now_ns + c->max_grant_ns;

	return r->now.until_ns && r->now.until_ns < latest ? r->now.until_ns : latest;
}

struct pol_verdict rule_withdraw(const struct pol_facts *f, const struct pol_request *r)
{
	if (!r || r->uid != f->uid)
		return rule_refuse(ENOENT, "there is no such request of %s", f->name);
	if (!pol_undecided(r))
		return rule_refuse(ESTALE,
		                   "request %llu is already %s; there is nothing to withdraw",
		                   (unsigned long long)r->id, pol_state_name(r->state));
	return (struct pol_verdict){0};
}

struct pol_verdict rule_return(const struct pol_facts *f, const struct pol_grant *g,
                               const struct pol_request *r)
{
	if (!g || (g->uid != f->uid && r->uid != f->uid))
		return rule_refuse(ENOENT, "there is no such grant of %s; see `custos grants`",
		                   f->name);
	if (g->state != POL_ACTIVE)
		return rule_refuse(ESTALE, "grant %llu is already %s", (unsigned long long)g->id,
		                   pol_state_name(g->state));
	return (struct pol_verdict){0};
}

static bool has_signed(const struct pol_request *r, uint32_t uid)
{
	for (size_t i = 0; i < r->n_signatures; i++)
		if (r->signatures[i].uid == uid)
			return true;
	return false;
}

struct pol_verdict rule_revoke(const struct pol_state_all *s, const struct pol_facts *f,
                               const struct pol_grant *g, const struct pol_request *r)
{
	int monitoring = rule_role(s->conf, f, "monitoring");
	int signer = r ? rule_is_signer(s, f, r) : 0;

	if (monitoring <= 0 && signer <= 0 && !(r && has_signed(r, f->uid))) {
		if (monitoring < 0 || signer < 0)
			return rule_lookup_failed("revoke");
		return rule_refuse(EACCES,
		                   "%s may not revoke this grant; monitoring and the signers "
		                   "of its chain may",
		                   f->name);
	}
	if (!g || !r)
		return rule_refuse(ENOENT, "there is no such grant; see `custos grants`");
	if (g->state != POL_ACTIVE)
		return rule_refuse(ESTALE, "grant %llu is already %s", (unsigned long long)g->id,
		                   pol_state_name(g->state));
	return (struct pol_verdict){0};
}

struct pol_verdict rule_config_approve(const struct pol_state_all *s, const struct pol_facts *f,
                                       uint64_t change)
{
	int admin = rule_role(s->conf, f, "admin");

	if (admin < 0)
		return rule_lookup_failed("change the policy");
	if (!admin)
		return rule_refuse(EACCES, "%s is no admin", f->name);
	if (!s->pending.id || s->pending.id != change)
		return rule_refuse(ENOENT, "no change %llu is waiting; see `custos config show`",
		                   (unsigned long long)change);
	if (s->pending.uid == f->uid || s->pending.uid == f->login_uid ||
	    s->pending.login_uid == f->uid)
		return rule_refuse(EACCES, "%s applied this change; a second admin approves it",
		                   f->name);
	if (strcmp(s->pending.base, s->conf->digest) != 0)
		return rule_refuse(ESTALE, "the policy has changed since; apply the file again");
	return (struct pol_verdict){0};
}

bool rule_sees(const struct pol_state_all *s, const struct pol_facts *f,
               const struct pol_request *r)
{
	return r->uid == f->uid || r->holder_uid == f->uid || has_signed(r, f->uid) ||
	       rule_is_signer(s, f, r) > 0 || rule_role(s->conf, f, "monitoring") > 0 ||
	       rule_role(s->conf, f, "auditor") > 0;
}
