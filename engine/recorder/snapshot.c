/*
 * snapshot.c — see snapshot.h. Nothing of it is used before the signature has been checked, and
 * what then does not fit its contract refuses the whole: a table half understood could delete
 * footage.
 */
#include "engine/recorder/snapshot.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/audit/note.h"

#define MAGIC    "custos.policy/1\n"
#define LIST_MAX 1000000

static bool get_name(const json_t *o, char out[ENG_CAMERA_MAX])
{
	const json_t *v = json_object_get(o, "camera");
	size_t n = json_string_length(v);
	if (n == 0 || n >= ENG_CAMERA_MAX || strlen(json_string_value(v)) != n)
		return false;
	memcpy(out, json_string_value(v), n + 1);
	return true;
}

static bool get_ns(const json_t *o, const char *key, int64_t *out)
{
	const json_t *v = json_object_get(o, key);
	*out = json_integer_value(v);
	return json_is_integer(v);
}

static int read_lists(const json_t *root, struct snapshot *s)
{
	const json_t *cameras = json_object_get(root, "cameras");
	const json_t *keeps = json_object_get(root, "keeps");
	size_t n = json_array_size(cameras), k = json_array_size(keeps);

	if (!json_is_array(cameras) || !json_is_array(keeps) || n > LIST_MAX || k > LIST_MAX)
		return -EUCLEAN;
	s->cameras = calloc(n + 1, sizeof(*s->cameras));
	s->keeps = calloc(k + 1, sizeof(*s->keeps));
	if (!s->cameras || !s->keeps)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(cameras, i);
		struct eng_camera_ages *a = &s->cameras[i];
		if (!get_name(o, a->camera) || !get_ns(o, "min_age", &a->min_age_ns) ||
		    !get_ns(o, "max_age", &a->max_age_ns) || a->min_age_ns < 0 || a->max_age_ns < 0)
			return -EUCLEAN;
	}
	for (size_t i = 0; i < k; i++) {
		const json_t *o = json_array_get(keeps, i);
		struct eng_keep *e = &s->keeps[i];
		if (!get_name(o, e->camera) || !get_ns(o, "from", &e->from_ns) ||
		    !get_ns(o, "to", &e->to_ns))
			return -EUCLEAN;
	}
	s->table.n_cameras = n;
	s->table.n_keeps = k;
	s->table.cameras = s->cameras;
	s->table.keeps = s->keeps;
	return 0;
}

static int read_body(const char *text, size_t len, struct snapshot *s)
{
	size_t magic = strlen(MAGIC);
	if (len <= magic || memcmp(text, MAGIC, magic) != 0)
		return -EUCLEAN;
	json_t *root = json_loadb(text + magic, len - magic, JSON_REJECT_DUPLICATES, NULL);
	int64_t number = 0;
	int err = root && get_ns(root, "number", &number) && number > 0 ? 0 : -EUCLEAN;
	if (!err) {
		s->table.number = (uint64_t)number;
		err = read_lists(root, s);
	}
	json_decref(root);
	return err;
}

int snapshot_parse(const char *note, const char *vkey, struct snapshot **out, char *err,
                   size_t err_bytes)
{
	size_t len = 0;
	struct snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	int e = note_verify(vkey, note, &len);
	if (!e)
		e = read_body(note, len, s);
	if (e) {
		snprintf(err, err_bytes, "%s",
		         e == -EKEYREJECTED ? "it is not signed by this site's key"
		                            : "it is malformed");
		snapshot_free(s);
		return e;
	}
	*out = s;
	return 0;
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	free(s->cameras);
	free(s->keeps);
	free(s);
}
