/*
 * ops_lookup.c — from a name in a directory to a node.
 *
 * What is not there and what may not be known give the same answer, ENOENT. The difference is made
 * in the log alone: a name in somebody else's tree is a denial, an unknown name in one's own is
 * not.
 */
#include <errno.h>
#include <stdio.h>

#include "fusefs/ops.h"

/* Whether `user` is another account than the caller's. A failing name service says yes. */
static bool foreign(fuse_req_t req, const char *user)
{
	char name[TREE_NAME_MAX];

	return people_name(fuse_req_ctx(req)->uid, name, sizeof(name)) || strcmp(name, user) != 0;
}

static int find_grant(fuse_req_t req, const struct node *parent, const char *name, struct node *key)
{
	uint64_t id;
	bool other = foreign(req, parent->user);

	if (!other && tree_grant_parse(name, &id))
		return -ENOENT;
	if (!other)
		key->grant = gate_find(fs_of(req)->gate, fuse_req_ctx(req)->uid, parent->user, id);
	if (key->grant) {
		key->kind = NODE_GRANT;
		return 0;
	}
	if (other)
		ops_denied(req, parent, ENOENT, "lookup", "not-owner");
	else if (gate_lease_left_ns(fs_of(req)->gate) <= 0)
		ops_denied(req, parent, ENOENT, "lookup", gate_verdict_name(GATE_NO_LEASE));
	return -ENOENT;
}

static int find_in_grant(const struct node *parent, const char *name, struct node *key)
{
	if (!strcmp(name, TREE_TEXT_NAME)) {
		key->kind = NODE_TEXT;
		return 0;
	}
	key->kind = NODE_CAMERA;
	return tree_camera_find(parent->grant, name, &key->camera);
}

static int find_in_camera(struct fs *fs, const struct node *parent, const char *name,
                          struct node *key)
{
	struct listing *list;
	int ret;

	if (!strcmp(name, TREE_PLAYLIST_NAME)) {
		key->kind = NODE_PLAYLIST;
		return 0;
	}
	ret = listing_day(fs->listings, parent->grant, parent->camera, name, &list);
	if (ret)
		return ret;
	if (!list->n)
		ret = -ENOENT;
	listing_put(fs->listings, list);
	if (!ret) {
		key->kind = NODE_DAY;
		snprintf(key->day, sizeof(key->day), "%s", name);
	}
	return ret;
}

/* Fills key; its user is borrowed, its grant a reference of its own. */
static int find(fuse_req_t req, const struct node *parent, const char *name, struct node *key)
{
	struct fs *fs = fs_of(req);

	memset(key, 0, sizeof(*key));
	if (strlen(name) >= TREE_NAME_MAX * 2) /* the kernel lets 1024 pass */
		return -ENOENT;
	key->user = parent->user;
	key->camera = parent->camera;
	if (parent->kind >= NODE_GRANT)
		key->grant = grant_get(parent->grant);
	switch (parent->kind) {
	case NODE_ROOT:
		/* Any name that could be a user's: else one could learn who has an account, and
		 * getcwd() would break for the owner when somebody else asks. */
		key->kind = NODE_USER;
		key->user = (char *)name;
		return tree_user_valid(name) ? 0 : -ENOENT;
	case NODE_USER:
		return find_grant(req, parent, name, key);
	case NODE_GRANT:
		return find_in_grant(parent, name, key);
	case NODE_CAMERA:
		return find_in_camera(fs, parent, name, key);
	case NODE_DAY:
		key->kind = NODE_FILE;
		memcpy(key->day, parent->day, sizeof(key->day));
		return listing_find(fs->listings, parent->grant, parent->camera, parent->day, name,
		                    &key->file);
	default:
		return -ENOTDIR;
	}
}

static void reply_entry(fuse_req_t req, const struct node *key)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e = {0};
	struct node *n;
	int ret = tree_intern(fs->tree, key, &n);

	if (ret) {
		fuse_reply_err(req, -ret);
		return;
	}
	e.ino = n->id;
	ret = ops_stat(fs, n, &e.attr);
	if (ret) {
		tree_forget(fs->tree, n->id, 1);
		fuse_reply_err(req, ops_errno(ret));
	} else if (!ops_reply_begin(req, n, "lookup")) {
		/* What took time outlived the grant. */
		tree_forget(fs->tree, n->id, 1);
	} else {
		if (fuse_reply_entry(req, &e))
			tree_forget(fs->tree, n->id, 1);
		ops_reply_end(fs, n);
	}
	tree_put(fs->tree, n);
}

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *p = ops_node(req, parent, "lookup");
	struct node key;
	int ret;

	if (!p)
		return;
	ret = find(req, p, name, &key);
	if (ret)
		fuse_reply_err(req, ret == -ENOTDIR ? ENOTDIR : ops_errno(ret));
	else
		reply_entry(req, &key);
	grant_put(key.grant);
	tree_put(fs->tree, p);
}
