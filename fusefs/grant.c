/*
 * grant.c — from policyd's GRANT object to struct grant. policyd is trusted to decide, not to be
 * free of bugs: a grant that does not make sense is refused whole instead of being guessed at.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "fusefs/grant.h"

static void strings_free(char **list, size_t n)
{
	for (size_t i = 0; list && i < n; i++)
		free(list[i]);
	free(list);
}

static void grant_free(struct grant *g)
{
	free(g->user);
	free(g->reason);
	free(g->case_id);
	free(g->chain);
	strings_free(g->cameras, g->n_cameras);
	strings_free(g->approvers, g->n_approvers);
	json_decref(g->source);
	pthread_mutex_destroy(&g->text_lock);
	free(g->text);
	free(g);
}

static int get_u64(const json_t *o, const char *key, uint64_t max, uint64_t *out)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    (uint64_t)json_integer_value(v) > max)
		return -EINVAL;
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

static int get_time(const json_t *o, const char *key, int64_t *out)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v))
		return -EINVAL;
	*out = json_integer_value(v);
	return 0;
}

/* Missing or null is "". */
static int get_text(const json_t *o, const char *key, char **out)
{
	const json_t *v = json_object_get(o, key);

	if (v && !json_is_null(v) && !json_is_string(v))
		return -EINVAL;
	*out = strdup(json_is_string(v) ? json_string_value(v) : "");
	return *out ? 0 : -ENOMEM;
}

static int get_list(const json_t *o, const char *key, char ***out, size_t *n)
{
	const json_t *v = json_object_get(o, key);

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_array(v))
		return -EINVAL;
	*out = calloc(json_array_size(v) + 1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(v); i++) {
		const char *s = json_string_value(json_array_get(v, i));

		if (!s)
			return -EINVAL;
		(*out)[i] = strdup(s);
		if (!(*out)[i])
			return -ENOMEM;
		*n = i + 1;
	}
	return 0;
}

static int fill(struct grant *g, json_t *o)
{
	uint64_t uid;
	int ret;

	if ((ret = get_u64(o, "grant", INT64_MAX, &g->id)) ||
	    (ret = get_u64(o, "uid", UINT32_MAX - 1, &uid)) ||
	    (ret = get_time(o, "from", &g->from_ns)) || (ret = get_time(o, "to", &g->to_ns)) ||
	    (ret = get_time(o, "until", &g->until_ns)) || (ret = get_text(o, "user", &g->user)) ||
	    (ret = get_text(o, "reason", &g->reason)) || (ret = get_text(o, "case", &g->case_id)) ||
	    (ret = get_text(o, "chain", &g->chain)) ||
	    (ret = get_list(o, "cameras", &g->cameras, &g->n_cameras)) ||
	    (ret = get_list(o, "approvers", &g->approvers, &g->n_approvers)))
		return ret;
	if (get_u64(o, "request", INT64_MAX, &g->request))
		g->request = 0;
	if (get_u64(o, "epoch", INT64_MAX, &g->epoch))
		g->epoch = 0;
	g->uid = (uid_t)uid;
	if (!g->id || !*g->user || strlen(g->user) > 255 || strchr(g->user, '/') || !g->cameras ||
	    !g->n_cameras || g->from_ns >= g->to_ns)
		return -EINVAL;
	for (size_t i = 0; i < g->n_cameras; i++)
		if (!g->cameras[i] || !*g->cameras[i] || strlen(g->cameras[i]) >= ENG_CAMERA_MAX)
			return -EINVAL;
	return 0;
}

int grant_parse(json_t *object, struct grant **out)
{
	struct grant *g;
	int ret;

	if (!json_is_object(object))
		return -EINVAL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	pthread_mutex_init(&g->text_lock, NULL);
	atomic_init(&g->refs, 1);
	ret = fill(g, object);
	if (ret) {
		grant_free(g);
		return ret;
	}
	g->source = json_incref(object);
	*out = g;
	return 0;
}

struct grant *grant_get(struct grant *g)
{
	atomic_fetch_add(&g->refs, 1);
	return g;
}

void grant_put(struct grant *g)
{
	if (g && atomic_fetch_sub(&g->refs, 1) == 1)
		grant_free(g);
}
