/*
 * A log whose owner rewrites it has to show a smaller tree or another root for a size that was
 * signed. Both are refused here; that is all that a signature by policyd adds, and it is enough for
 * an auditor who holds an older checkpoint.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/heads.h"

#define HEADS_MAX 64

struct head {
	char origin[128];
	char kind;
	uint64_t groups;
	uint8_t root[32];
	char *note;
	int said; /* the refusal that is no news any more; 0 none */
};
struct pol_heads {
	char *path;
	const struct note_key *key;
	struct head head[HEADS_MAX];
	size_t n;
	int said; /* of origins that have no entry */
};

static int load_one(struct pol_heads *h, const char *kind, const char *note, const char *vkey)
{
	struct head *d = &h->head[h->n];
	size_t bytes;

	if (h->n == HEADS_MAX || !kind || !kind[0] || !note || note_verify(vkey, note, &bytes) ||
	    note_checkpoint_parse(note, d->origin, sizeof(d->origin), &d->groups, d->root))
		return -EUCLEAN;
	d->kind = kind[0];
	d->note = strdup(note);
	h->n++;
	return d->note ? 0 : -ENOMEM;
}

static int load(struct pol_heads *h, char *err, size_t err_bytes)
{
	char vkey[NOTE_VKEY_MAX], *text = NULL;
	json_t *all, *item;
	size_t len, i;
	int ret = file_read_all(h->path, MIB, &text, &len);

	if (ret == -ENOENT)
		return 0;
	note_key_vkey(h->key, vkey);
	all = ret ? NULL : json_loadb(text, len, 0, NULL);
	ret = json_is_array(all) ? 0 : -EUCLEAN;
	json_array_foreach(all, i, item)
	{
		if (!ret)
			ret = load_one(h, json_string_value(json_object_get(item, "kind")),
			               json_string_value(json_object_get(item, "note")), vkey);
	}
	json_decref(all);
	free(text);
	if (ret)
		snprintf(err, err_bytes,
		         "%s: not the heads that this key signed; restore the file, or "
		         "move it away after comparing the logs with checkpoints held elsewhere",
		         h->path);
	return ret;
}

int heads_open(const char *path, const struct note_key *key, struct pol_heads **out, char *err,
               size_t err_bytes)
{
	struct pol_heads *h = calloc(1, sizeof(*h));
	int ret = -ENOMEM;

	*out = NULL;
	if (h && (h->path = strdup(path))) {
		h->key = key;
		ret = load(h, err, err_bytes);
	}
	if (ret)
		heads_close(h);
	else
		*out = h;
	return ret;
}

void heads_close(struct pol_heads *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n; i++)
		free(h->head[i].note);
	free(h->path);
	free(h);
}

static int save(const struct pol_heads *h)
{
	json_t *all = json_array();
	char *text;
	int err = -ENOMEM;

	for (size_t i = 0; i < h->n; i++) {
		char kind[2] = {h->head[i].kind, 0};

		if (h->head[i].note)
			json_array_append_new(all, json_pack("{s:s, s:s}", "kind", kind, "note",
			                                     h->head[i].note));
	}
	text = json_dumps(all, JSON_INDENT(1));
	if (text)
		err = file_replace(h->path, text, strlen(text), 0640);
	free(text);
	json_decref(all);
	return err;
}

static int find(struct pol_heads *h, enum head_kind kind, const char *origin, struct head **out)
{
	size_t len = strlen(origin);

	for (size_t i = 0; i < h->n; i++) {
		*out = &h->head[i];
		if (!strcmp(h->head[i].origin, origin))
			return h->head[i].kind == (char)kind ? 0 : -EPERM;
	}
	if (!len || len >= sizeof((*out)->origin) || !utf8_valid(origin, len) || h->n == HEADS_MAX)
		return -EINVAL;
	*out = &h->head[h->n++];
	**out = (struct head){.kind = (char)kind};
	memcpy((*out)->origin, origin, len + 1);
	return 0;
}

int heads_sign(struct pol_heads *h, enum head_kind kind, const char *origin, uint64_t groups,
               const uint8_t root[32], char **note)
{
	struct head *d, before;
	char text[512];
	int err = find(h, kind, origin, &d);

	*note = NULL;
	if (err)
		return err;
	if (d->note && groups < d->groups)
		return -ESTALE;
	if (d->note && groups == d->groups) {
		if (memcmp(d->root, root, sizeof(d->root)) != 0)
			return -EKEYREJECTED;
		*note = strdup(d->note);
		return *note ? 0 : -ENOMEM;
	}
	err = note_checkpoint_format(origin, groups, root, NULL, text, sizeof(text));
	if (!err)
		err = note_sign(h->key, text, note);
	if (err)
		return err;
	before = *d;
	d->note = strdup(*note);
	d->groups = groups;
	memcpy(d->root, root, sizeof(d->root));
	err = d->note ? save(h) : -ENOMEM;
	if (err) {
		/* Not known to the file: not known, and not given away the next time either. */
		free(d->note);
		*d = before;
		free(*note);
		*note = NULL;
		return err;
	}
	d->said = 0;
	free(before.note);
	return 0;
}

bool heads_seed(struct pol_heads *h, enum head_kind kind, const char *note)
{
	struct head *d, found = {.kind = (char)kind};
	char vkey[NOTE_VKEY_MAX];
	size_t bytes;

	note_key_vkey(h->key, vkey);
	if (note_verify(vkey, note, &bytes) ||
	    note_checkpoint_parse(note, found.origin, sizeof(found.origin), &found.groups,
	                          found.root) ||
	    find(h, kind, found.origin, &d) || (d->note && d->groups >= found.groups))
		return false;
	found.note = strdup(note);
	if (!found.note)
		return false;
	free(d->note);
	*d = found;
	return true;
}

bool heads_news(struct pol_heads *h, const char *origin, int err)
{
	int *said = &h->said;
	bool news;

	for (size_t i = 0; i < h->n; i++)
		if (!strcmp(h->head[i].origin, origin))
			said = &h->head[i].said;
	news = *said != err;
	*said = err;
	return news;
}
