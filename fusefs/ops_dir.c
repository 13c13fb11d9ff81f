/*
 * ops_dir.c — directories. opendir takes a picture of the names, readdir hands it out: offsets stay
 * good while the day grows. Nobody sees another's names: MOUNT shows the caller alone, and another
 * user's directory is empty.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fusefs/ops.h"

/* Takes a copy of name; the inode number is that of `key`. */
static int add(struct handle *h, const char *name, const struct node *key, mode_t mode)
{
	struct handle_entry *more;

	/* Powers of two: room for as many again each time. */
	if (!(h->n_entries & (h->n_entries - 1))) {
		more = realloc(h->entries, sizeof(*more) * (h->n_entries ? h->n_entries * 2 : 1));
		if (!more)
			return -ENOMEM;
		h->entries = more;
	}
	h->entries[h->n_entries].name = strdup(name);
	if (!h->entries[h->n_entries].name)
		return -ENOMEM;
	h->entries[h->n_entries].ino = tree_ino(key);
	h->entries[h->n_entries].mode = mode;
	h->n_entries++;
	return 0;
}

static int list_root(uid_t caller, struct handle *h)
{
	char name[TREE_NAME_MAX];
	struct node key = {.kind = NODE_USER, .user = name};

	if (people_name(caller, name, sizeof(name)) || !tree_user_valid(name))
		return 0;
	return add(h, name, &key, S_IFDIR);
}

static int list_user(fuse_req_t req, const struct node *n, struct handle *h)
{
	uid_t caller = fuse_req_ctx(req)->uid;
	char name[TREE_NAME_MAX];
	struct grant **grants;
	size_t count;
	int ret;

	if (people_name(caller, name, sizeof(name)) || strcmp(name, n->user) != 0) {
		ops_denied(req, n, ENOENT, "opendir", "not-owner");
		return 0;
	}
	ret = gate_list(fs_of(req)->gate, caller, n->user, &grants, &count);
	if (ret)
		return ret;
	for (size_t i = 0; i < count; i++) {
		struct node key = {.kind = NODE_GRANT, .user = n->user, .grant = grants[i]};

		snprintf(name, sizeof(name), "%llu", (unsigned long long)grants[i]->id);
		if (!ret)
			ret = add(h, name, &key, S_IFDIR);
		grant_put(grants[i]);
	}
	free(grants);
	return ret;
}

static int list_grant(const struct node *n, struct handle *h)
{
	struct node key = {.kind = NODE_TEXT, .user = n->user, .grant = n->grant};
	char name[TREE_NAME_MAX * 2];
	int ret = add(h, TREE_TEXT_NAME, &key, S_IFREG);

	key.kind = NODE_CAMERA;
	for (size_t i = 0; !ret && i < n->grant->n_cameras; i++) {
		tree_camera_name(n->grant->cameras[i], name);
		key.camera = (uint32_t)i;
		ret = add(h, name, &key, S_IFDIR);
	}
	return ret;
}

static int list_camera(struct fs *fs, const struct node *n, struct handle *h)
{
	struct node key = {
	        .kind = NODE_PLAYLIST, .user = n->user, .grant = n->grant, .camera = n->camera};
	char(*days)[TREE_DAY_MAX];
	size_t count;
	int ret = listing_days(fs->listings, n->grant, n->camera, &days, &count);

	if (ret)
		return ret;
	ret = add(h, TREE_PLAYLIST_NAME, &key, S_IFREG);
	key.kind = NODE_DAY;
	for (size_t i = 0; !ret && i < count; i++) {
		memcpy(key.day, days[i], TREE_DAY_MAX);
		ret = add(h, days[i], &key, S_IFDIR);
	}
	free(days);
	return ret;
}

static int list_day(struct fs *fs, const struct node *n, struct handle *h)
{
	struct node key = *n;
	struct listing *list;
	int ret = listing_day(fs->listings, n->grant, n->camera, n->day, &list);

	if (ret)
		return ret;
	key.kind = NODE_FILE;
	for (size_t i = 0; !ret && i < list->n; i++) {
		key.file = list->files[i];
		ret = add(h, list->files[i].name, &key, S_IFREG);
	}
	listing_put(fs->listings, list);
	return ret;
}

static int list_node(fuse_req_t req, const struct node *n, struct handle *h)
{
	struct fs *fs = fs_of(req);
	int ret;

	if ((ret = add(h, ".", n, S_IFDIR)) || (ret = add(h, "..", n, S_IFDIR)))
		return ret;
	switch (n->kind) {
	case NODE_ROOT:
		return list_root(fuse_req_ctx(req)->uid, h);
	case NODE_USER:
		return list_user(req, n, h);
	case NODE_GRANT:
		return list_grant(n, h);
	case NODE_CAMERA:
		return list_camera(fs, n, h);
	case NODE_DAY:
		return list_day(fs, n, h);
	default:
		return -ENOTDIR;
	}
}

void ops_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs *fs = fs_of(req);
	struct node *n = ops_node(req, id, "opendir");
	struct handle *h;
	int ret = -ENOMEM;

	if (!n)
		return;
	h = handle_new(ctx->uid, ctx->pid, n->grant);
	if (h) {
		h->node = n->id;
		h->ino = n->ino;
		ret = list_node(req, n, h);
	}
	if (!ret)
		ret = handle_add(fs->handles, h);
	if (ret == -EMFILE || ret == -ENFILE)
		ops_denied(req, n, -ret, "opendir", "too-many-open");
	tree_put(fs->tree, n);
	if (ret) {
		handle_free(fs->handles, h);
		fuse_reply_err(req, ret == -ENOTDIR ? ENOTDIR : ops_errno(ret));
		return;
	}
	fi->fh = h->fh;
	if (fuse_reply_open(req, fi))
		handle_remove(fs->handles, fi->fh);
}

/* The picture was taken for one uid under one grant: both must still hold. true: the reply may be
 * written now, and gate_reply_end() must follow where there is a grant. */
static bool may_list(fuse_req_t req, fuse_ino_t id, const struct handle *h)
{
	struct fs *fs = fs_of(req);
	uid_t caller = fuse_req_ctx(req)->uid;
	enum gate_verdict v = GATE_OK;
	struct node *n;

	if (h->grant)
		v = gate_reply_begin(fs->gate, h->grant, caller);
	else if (caller != h->uid)
		v = GATE_NOT_OWNER;
	if (v == GATE_OK)
		return true;
	n = tree_get(fs->tree, id);
	ops_denied(req, n, EACCES, "readdir", gate_verdict_name(v));
	tree_put(fs->tree, n);
	fuse_reply_err(req, EACCES);
	return false;
}

/* Entries from `off` on, as many as fit; the bytes used. */
static size_t put_entries(fuse_req_t req, const struct handle *h, off_t off, char *buf, size_t size)
{
	size_t at = 0;

	for (size_t i = off < 0 ? h->n_entries : (size_t)off; i < h->n_entries; i++) {
		struct stat st = {.st_ino = h->entries[i].ino, .st_mode = h->entries[i].mode};
		size_t need = fuse_add_direntry(req, buf + at, size - at, h->entries[i].name, &st,
		                                (off_t)i + 1);

		if (need > size - at)
			break;
		at += need;
	}
	return at;
}

void ops_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_get(fs->handles, fi->fh);
	size_t used = 0;
	char *buf;

	if (!h || !h->entries || h->node != id) {
		fuse_reply_err(req, EBADF);
		handle_put(fs->handles, h);
		return;
	}
	if (size > FS_MAX_READ)
		size = FS_MAX_READ;
	buf = malloc(size);
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
	} else {
		used = put_entries(req, h, off, buf, size);
		if (may_list(req, id, h)) {
			fuse_reply_buf(req, buf, used);
			if (h->grant)
				gate_reply_end(fs->gate, h->grant);
		}
	}
	free(buf);
	handle_put(fs->handles, h);
}

void ops_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_get(fs->handles, fi->fh);

	(void)id;
	if (h && h->entries)
		handle_remove(fs->handles, h->fh);
	handle_put(fs->handles, h);
	fuse_reply_err(req, 0);
}
