/*
 * Requests and grants as JSON: payloads of the audit records and parts of replies. Reading is
 * strict, since at replay the bytes come from a disk.
 */
#include <errno.h>
#include <stdlib.h>

#include "policyd/digest.h"
#include "policyd/state.h"
#include "policyd/strv.h"

static json_t *text_or_null(const char *s)
{
	return s ? json_string(s) : json_null();
}

static json_t *uid_or_null(uint32_t uid)
{
	return uid == POL_NO_UID ? json_null() : json_integer(uid);
}

json_t *what_to_json(const struct pol_what *w)
{
	return json_pack("{s:o, s:I, s:I, s:o}", "cameras", strv_to_json(w->cameras), "from",
	                 (json_int_t)w->from_ns, "to", (json_int_t)w->to_ns, "until",
	                 w->until_ns ? json_integer(w->until_ns) : json_null());
}

int what_from_json(const json_t *o, struct pol_what *out)
{
	const json_t *from = json_object_get(o, "from"), *to = json_object_get(o, "to");
	const json_t *until = json_object_get(o, "until");

	*out = (struct pol_what){0};
	if (!json_is_integer(from) || !json_is_integer(to) ||
	    !(json_is_integer(until) || json_is_null(until)))
		return -EINVAL;
	out->from_ns = json_integer_value(from);
	out->to_ns = json_integer_value(to);
	out->until_ns = json_integer_value(until);
	out->cameras = strv_from_json(json_object_get(o, "cameras"));
	if (!out->cameras || !out->cameras[0] || out->from_ns >= out->to_ns) {
		what_free(out);
		return -EINVAL;
	}
	strv_canonical(out->cameras);
	return 0;
}

void what_free(struct pol_what *w)
{
	strv_free(w->cameras);
	w->cameras = NULL;
}

int what_copy(const struct pol_what *w, struct pol_what *out)
{
	*out = *w;
	out->cameras = strv_dup(w->cameras);
	return out->cameras ? 0 : -ENOMEM;
}

/* Everything a signer answers for; nothing that changes by itself. */
int request_digest(const struct pol_request *r, const struct pol_what *what, char out[65])
{
	json_t *o = json_pack(
	        "{s:I, s:s, s:o, s:I, s:s, s:I, s:s, s:o, s:o, s:o, s:s, s:o, s:b}", "request",
	        (json_int_t)r->id, "chain", r->chain, "stages", strv_to_json(r->stages), "uid",
	        (json_int_t)r->uid, "requester", r->requester, "holder_uid",
	        (json_int_t)r->holder_uid, "holder", r->holder, "subject", text_or_null(r->subject),
	        "assistant", text_or_null(r->assistant), "case", text_or_null(r->case_id), "reason",
	        r->reason, "granted", what_to_json(what), "export", (int)r->export_allowed);
	int err = o ? digest_json(o, out) : -ENOMEM;

	json_decref(o);
	return err;
}

json_t *request_to_json(const struct pol_request *r)
{
	return json_pack(
	        "{s:I, s:s, s:o, s:I, s:s, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:o,"
	        " s:o, s:b, s:O?}",
	        "request", (json_int_t)r->id, "chain", r->chain, "stages", strv_to_json(r->stages),
	        "uid", (json_int_t)r->uid, "requester", r->requester, "holder_uid",
	        (json_int_t)r->holder_uid, "holder", r->holder, "subject", text_or_null(r->subject),
	        "subject_uid", uid_or_null(r->subject_uid), "assistant", text_or_null(r->assistant),
	        "assistant_uid", uid_or_null(r->assistant_uid), "case", text_or_null(r->case_id),
	        "reason", r->reason, "asked", what_to_json(&r->asked), "replaces",
	        r->replaces ? json_integer((json_int_t)r->replaces) : json_null(), "export",
	        (int)r->export_allowed, "coverage", r->coverage ? r->coverage : NULL);
}

/* Copies the string at key; absent or null gives NULL when `optional`. */
static int take_text(const json_t *o, const char *key, bool optional, char **out)
{
	const json_t *v = json_object_get(o, key);

	*out = NULL;
	if (!v || json_is_null(v))
		return optional ? 0 : -EINVAL;
	if (!json_is_string(v))
		return -EINVAL;
	*out = strdup(json_string_value(v));
	return *out ? 0 : -ENOMEM;
}

static int take_uid(const json_t *o, const char *key, bool optional, uint32_t *out)
{
	const json_t *v = json_object_get(o, key);
	json_int_t n = json_integer_value(v);

	*out = POL_NO_UID;
	if (!v || json_is_null(v))
		return optional ? 0 : -EINVAL;
	if (!json_is_integer(v) || n < 0 || n >= (json_int_t)POL_NO_UID)
		return -EINVAL;
	*out = (uint32_t)n;
	return 0;
}

static uint64_t take_id(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static int take_strings(const json_t *o, const char *key, char ***out)
{
	*out = strv_from_json(json_object_get(o, key));
	return *out && (*out)[0] ? 0 : -EINVAL;
}

#define TRY(call)                     \
	do {                          \
		if (!err)             \
			err = (call); \
	} while (0)

int request_from_json(const json_t *o, struct pol_request **out)
{
	struct pol_request *r = calloc(1, sizeof(*r));
	const json_t *coverage = json_object_get(o, "coverage");
	int err = 0;

	*out = NULL;
	if (!r)
		return -ENOMEM;
	r->id = take_id(o, "request");
	r->replaces = take_id(o, "replaces");
	r->export_allowed = json_is_true(json_object_get(o, "export"));
	TRY(r->id ? 0 : -EINVAL);
	TRY(take_text(o, "chain", false, &r->chain));
	TRY(take_strings(o, "stages", &r->stages));
	TRY(take_uid(o, "uid", false, &r->uid));
	TRY(take_text(o, "requester", false, &r->requester));
	TRY(take_uid(o, "holder_uid", false, &r->holder_uid));
	TRY(take_text(o, "holder", false, &r->holder));
	TRY(take_text(o, "subject", true, &r->subject));
	TRY(take_uid(o, "subject_uid", true, &r->subject_uid));
	TRY(take_text(o, "assistant", true, &r->assistant));
	TRY(take_uid(o, "assistant_uid", true, &r->assistant_uid));
	TRY(take_text(o, "case", true, &r->case_id));
	TRY(take_text(o, "reason", false, &r->reason));
	TRY(what_from_json(json_object_get(o, "asked"), &r->asked));
	TRY(what_copy(&r->asked, &r->now));
	if (!err && json_is_object(coverage)) {
		r->coverage = json_deep_copy(coverage);
		TRY(r->coverage ? 0 : -ENOMEM);
	}
	if (err)
		request_free(r);
	else
		*out = r;
	return err;
}

void request_free(struct pol_request *r)
{
	if (!r)
		return;
	free(r->chain);
	strv_free(r->stages);
	free(r->requester);
	free(r->holder);
	free(r->reason);
	free(r->case_id);
	free(r->subject);
	free(r->assistant);
	free(r->decision);
	free(r->decided_by);
	what_free(&r->asked);
	what_free(&r->now);
	json_decref(r->coverage);
	for (size_t i = 0; i < r->n_signatures; i++)
		free(r->signatures[i].who);
	free(r->signatures);
	free(r);
}

json_t *grant_to_json(const struct pol_grant *g, const struct pol_request *r)
{
	return json_pack("{s:I, s:I, s:s, s:s, s:I, s:o, s:I, s:I, s:I, s:s, s:o, s:s, s:o, s:I,"
	                 " s:I, s:b, s:o}",
	                 "grant", (json_int_t)g->id, "request", (json_int_t)g->request, "state",
	                 pol_state_name(g->state), "user", g->user, "uid", (json_int_t)g->uid,
	                 "cameras", strv_to_json(g->what.cameras), "from",
	                 (json_int_t)g->what.from_ns, "to", (json_int_t)g->what.to_ns, "until",
	                 (json_int_t)g->what.until_ns, "reason", r->reason, "case",
	                 text_or_null(r->case_id), "chain", r->chain, "approvers",
	                 strv_to_json(g->approvers), "epoch", (json_int_t)g->epoch, "activated",
	                 (json_int_t)g->activated_ns, "export", (int)r->export_allowed, "subject",
	                 text_or_null(r->subject));
}

int grant_from_json(const json_t *o, struct pol_grant **out)
{
	struct pol_grant *g = calloc(1, sizeof(*g));
	int err = 0;

	*out = NULL;
	if (!g)
		return -ENOMEM;
	g->id = take_id(o, "grant");
	g->request = take_id(o, "request");
	TRY(g->id && g->request ? 0 : -EINVAL);
	TRY(take_uid(o, "uid", false, &g->uid));
	TRY(take_text(o, "user", false, &g->user));
	TRY(what_from_json(o, &g->what));
	TRY(g->what.until_ns > 0 ? 0 : -EINVAL);
	TRY(take_strings(o, "approvers", &g->approvers));
	if (err)
		grant_free(g);
	else
		*out = g;
	return err;
}

void grant_free(struct pol_grant *g)
{
	if (!g)
		return;
	free(g->user);
	what_free(&g->what);
	strv_free(g->approvers);
	free(g);
}
