/*
 * What people and gates are told of requests and grants: REQUEST and GRANT of proto.h.
 */
#include <stdio.h>
#include <stdlib.h>

#include "policyd/statejson.h"

char *statejson_text(json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

char *grant_path(const struct pol_grant *g, const char *mount)
{
	char *path = NULL;

	if (!mount || asprintf(&path, "%s/%s/%llu", mount, g->user, (unsigned long long)g->id) < 0)
		return NULL;
	return path;
}

static json_t *or_null(const char *s)
{
	return s ? json_string(s) : json_null();
}

static json_t *path_json(const struct pol_grant *g, const char *mount)
{
	char *path = g ? grant_path(g, mount) : NULL;
	json_t *o = or_null(path);

	free(path);
	return o;
}

/* One stage: who signs, who has, and when it was complete. */
static json_t *stage_json(const struct pol_request *r, size_t stage, bool complete)
{
	char *names = NULL;
	size_t bytes = 0, n = 0;
	int64_t time_ns = 0;
	FILE *f = open_memstream(&names, &bytes);
	json_t *o;

	for (size_t i = 0; f && i < r->n_signatures; i++)
		if (r->signatures[i].stage == stage) {
			fprintf(f, "%s%s", n++ ? ", " : "", r->signatures[i].who);
			time_ns = r->signatures[i].time_ns;
		}
	if (!f || fclose(f)) {
		free(names);
		return NULL;
	}
	o = json_pack("{s:s, s:o, s:o}", "who", r->stages[stage], "signer",
	              n ? json_string(names) : json_null(), "time",
	              n && complete ? json_integer(time_ns) : json_null());
	free(names);
	return o;
}

static json_t *stages_json(const struct pol_request *r)
{
	unsigned missing;
	size_t next = request_stage_texts(r, &missing);
	json_t *array = json_array();

	for (size_t i = 0; array && r->stages[i]; i++)
		if (json_array_append_new(array, stage_json(r, i, i < next))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

json_t *request_reply(const struct pol_state_all *s, const struct pol_request *r, const char *mount)
{
	const struct pol_grant *g = state_grant(s, r->grant);
	const struct pol_what *w = g ? &g->what : &r->now;
	unsigned missing;
	size_t next = request_stage_texts(r, &missing);
	char digest[65];

	if (request_digest(r, &r->now, digest))
		return NULL;
	return json_pack(
	        "{s:I, s:s, s:s, s:o, s:o, s:s, s:I, s:o, s:I, s:I, s:o, s:s, s:o, s:o, s:o, s:I,"
	        " s:s, s:o, s:o, s:o, s:O?, s:o, s:o, s:o, s:o}",
	        "request", (json_int_t)r->id, "state", pol_state_name(r->state), "chain", r->chain,
	        "stages", stages_json(r), "next",
	        pol_undecided(r) ? or_null(r->stages[next]) : json_null(), "requester",
	        r->requester, "uid", (json_int_t)r->uid, "cameras", strv_to_json(w->cameras),
	        "from", (json_int_t)w->from_ns, "to", (json_int_t)w->to_ns, "until",
	        w->until_ns ? json_integer(w->until_ns) : json_null(), "reason", r->reason, "case",
	        or_null(r->case_id), "subject", or_null(r->subject), "assistant",
	        or_null(r->assistant), "submitted", (json_int_t)r->submitted_ns, "digest", digest,
	        "asked", what_to_json(&r->asked), "grant",
	        g ? json_integer((json_int_t)g->id) : json_null(), "path", path_json(g, mount),
	        "coverage", r->coverage, "ends", g ? json_integer(g->what.until_ns) : json_null(),
	        "replaces", r->replaces ? json_integer((json_int_t)r->replaces) : json_null(),
	        "decision", or_null(r->decision), "decided_by", or_null(r->decided_by));
}

json_t *grant_reply(const struct pol_state_all *s, const struct pol_grant *g, const char *mount)
{
	json_t *o = grant_to_json(g, state_request(s, g->request));

	if (o && json_object_set_new(o, "path", path_json(g, mount))) {
		json_decref(o);
		return NULL;
	}
	return o;
}
