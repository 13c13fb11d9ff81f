/*
 * tree_names.c — names as users type them, checked and made; stable inode numbers. Pure.
 */
#include <errno.h>
#include <stdio.h>

#include "fusefs/tree.h"

static uint64_t hash_add(uint64_t h, const void *bytes, size_t len)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	/* A field's end counts too: ("ab", "c") is not ("a", "bc"). */
	return (h ^ 0xff) * UINT64_C(0x100000001b3);
}

uint64_t tree_ino(const struct node *key)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	uint8_t kind = (uint8_t)key->kind;

	if (key->kind == NODE_ROOT)
		return 1;
	h = hash_add(h, &kind, 1);
	h = hash_add(h, key->user, strlen(key->user));
	if (key->grant)
		h = hash_add(h, &key->grant->id, sizeof(key->grant->id));
	if (key->grant && key->kind >= NODE_CAMERA)
		h = hash_add(h, key->grant->cameras[key->camera],
		             strlen(key->grant->cameras[key->camera]));
	h = hash_add(h, key->day, strlen(key->day));
	h = hash_add(h, key->file.name, strlen(key->file.name));
	return h > 1 ? h : 2;
}

bool tree_user_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < TREE_NAME_MAX && name[0] != '.' && !strchr(name, '/') &&
	       utf8_valid(name, len);
}

int tree_grant_parse(const char *name, uint64_t *id)
{
	uint64_t v = 0;

	if (!*name || *name == '0' || strlen(name) > 18)
		return -EINVAL;
	for (; *name; name++) {
		if (*name < '0' || *name > '9')
			return -EINVAL;
		v = v * 10 + (uint64_t)(*name - '0');
	}
	*id = v;
	return 0;
}

bool tree_day_valid(const char *name)
{
	static const char shape[] = "dddd-dd-dd";

	if (strlen(name) != sizeof(shape) - 1)
		return false;
	for (size_t i = 0; shape[i]; i++)
		if (shape[i] == '-' ? name[i] != '-' : name[i] < '0' || name[i] > '9')
			return false;
	return true;
}

void tree_camera_name(const char *camera, char out[TREE_NAME_MAX * 2])
{
	size_t at = 0;

	for (size_t i = 0; camera[i] && at + 4 < TREE_NAME_MAX * 2; i++) {
		char c = camera[i];

		if (c == '/' || c == '%' ||
		    (i == 0 && (c == '.' || !strcmp(camera, TREE_TEXT_NAME))))
			at += (size_t)sprintf(out + at, "%%%02X", (unsigned char)c);
		else
			out[at++] = c;
	}
	out[at] = 0;
}

int tree_camera_find(const struct grant *g, const char *name, uint32_t *index)
{
	char encoded[TREE_NAME_MAX * 2];

	for (size_t i = 0; i < g->n_cameras; i++) {
		tree_camera_name(g->cameras[i], encoded);
		if (!strcmp(encoded, name)) {
			*index = (uint32_t)i;
			return 0;
		}
	}
	return -ENOENT;
}

void tree_path(const struct node *n, char out[TREE_PATH_MAX])
{
	char camera[TREE_NAME_MAX * 2] = "";
	int at = 0;

	if (n->kind >= NODE_CAMERA)
		tree_camera_name(n->grant->cameras[n->camera], camera);
	out[0] = '/';
	out[1] = 0;
	if (n->kind >= NODE_USER)
		at = snprintf(out, TREE_PATH_MAX, "/%.255s", n->user);
	if (n->kind >= NODE_GRANT)
		at += snprintf(out + at, TREE_PATH_MAX - (size_t)at, "/%llu",
		               (unsigned long long)n->grant->id);
	if (n->kind >= NODE_CAMERA)
		at += snprintf(out + at, TREE_PATH_MAX - (size_t)at, "/%.511s", camera);
	if (n->kind == NODE_TEXT)
		snprintf(out + at, TREE_PATH_MAX - (size_t)at, "/" TREE_TEXT_NAME);
	else if (n->kind == NODE_PLAYLIST)
		snprintf(out + at, TREE_PATH_MAX - (size_t)at, "/" TREE_PLAYLIST_NAME);
	else if (n->kind == NODE_DAY || n->kind == NODE_FILE)
		snprintf(out + at, TREE_PATH_MAX - (size_t)at, "/%s%s%s", n->day,
		         n->kind == NODE_FILE ? "/" : "", n->file.name);
}
