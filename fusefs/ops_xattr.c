/*
 * ops_xattr.c — user.custos.*: what a file is, for tools that keep attributes (rsync -X, cp -a).
 * Facts of the file alone; nothing from outside its window.
 */
#include <errno.h>
#include <stdio.h>

#include "fusefs/ops.h"

#define PREFIX "user.custos."

static const char names[] = PREFIX "camera\0" PREFIX "start\0" PREFIX "end\0" PREFIX "run\0" PREFIX
                                   "clock\0" PREFIX "imported";

/* Length of the value, 0: no such attribute. */
static size_t value_of(const struct node *n, const char *name, char *out, size_t out_bytes)
{
	const struct view_file *f = &n->file;
	char text[TIME_TEXT_MAX];

	if (n->kind != NODE_FILE || strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0)
		return 0;
	name += sizeof(PREFIX) - 1;
	if (!strcmp(name, "camera")) {
		snprintf(out, out_bytes, "%s", n->grant->cameras[n->camera]);
	} else if (!strcmp(name, "start") || !strcmp(name, "end")) {
		time_format(*name == 's' ? f->first_ns : f->end_ns, text);
		snprintf(out, out_bytes, "%s", text);
	} else if (!strcmp(name, "run")) {
		snprintf(out, out_bytes, "%llu", (unsigned long long)f->run);
	} else if (!strcmp(name, "clock")) {
		snprintf(out, out_bytes, "%s", f->clock_synced ? "synced" : "unsynced");
	} else if (!strcmp(name, "imported")) {
		snprintf(out, out_bytes, "%s", f->imported ? "yes" : "no");
	} else {
		return 0;
	}
	return strlen(out);
}

static void reply_value(fuse_req_t req, const struct node *n, const char *op, const char *value,
                        size_t len, size_t size)
{
	struct fs *fs = fs_of(req);

	if (!ops_reply_begin(req, n, op))
		return;
	if (!size)
		fuse_reply_xattr(req, len);
	else if (size < len)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, len);
	ops_reply_end(fs, n);
}

void ops_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
	struct fs *fs = fs_of(req); /* the reply frees req */
	struct node *n = ops_node(req, id, "getxattr");
	char value[256];
	size_t len;

	if (!n)
		return;
	len = value_of(n, name, value, sizeof(value));
	if (len)
		reply_value(req, n, "getxattr", value, len, size);
	else
		fuse_reply_err(req, ENODATA);
	tree_put(fs->tree, n);
}

void ops_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
	struct fs *fs = fs_of(req);
	struct node *n = ops_node(req, id, "listxattr");

	if (!n)
		return;
	reply_value(req, n, "listxattr", names, n->kind == NODE_FILE ? sizeof(names) : 0, size);
	tree_put(fs->tree, n);
}
