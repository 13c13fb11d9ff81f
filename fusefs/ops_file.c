/*
 * ops_file.c — open, read, release: where bytes leave.
 *
 * A read goes: handle and caller → log well → cover durable → data → [ last check: uid, epoch,
 * expiry, lease; cover still good; READ noted; reply written ]. Between the brackets the grant's
 * `replying` is up, so a revocation that has drained saw the last byte leave (gate.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "fusefs/ops.h"

/* A cover can grow old while its data is read from a slow disk, and data while its cover is waited
 * for: what is too old is asked for again. Recycling waits twice as long before it overwrites. */
#define TRIES       8
#define DATA_AGE_NS NSEC_PER_SEC

static void denied_handle(fuse_req_t req, const struct handle *h, const char *op,
                          enum gate_verdict v)
{
	struct fs *fs = fs_of(req);
	struct node *n = tree_get(fs->tree, h->node);

	ops_denied(req, n, EACCES, op, gate_verdict_name(v));
	tree_put(fs->tree, n);
	fuse_reply_err(req, EACCES);
}

static void note_damage(fuse_req_t req, const struct node *n, uint64_t handle, uint64_t offset)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct aud_record rec = {
	        .op = AUD_OP_INTEGRITY,
	        .result = EIO,
	        .uid = ctx->uid,
	        .login_uid = AUD_NO_UID,
	        .pid = (uint32_t)ctx->pid,
	        .grant = n && n->grant ? n->grant->id : 0,
	        .object = handle,
	        .offset = offset,
	};
	char path[TREE_PATH_MAX] = "";
	json_t *o;
	char *text;

	if (n)
		tree_path(n, path);
	log_err("damaged footage was asked for and refused: %s at %llu; run: custos verify", path,
	        (unsigned long long)offset);
	o = json_pack("{ss}", "path", path);
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (aud_append(fs_of(req)->log, &rec, text, text ? strlen(text) : 0, NULL))
		log_err("an integrity failure could not be logged");
	free(text);
	json_decref(o);
}

/* ---------------------------------------------------------------- open */

/* What will be read: a view, or a text made now. */
static int fill(struct fs *fs, const struct node *n, struct handle *h)
{
	int ret;

	h->node = n->id;
	h->ino = n->ino;
	if (n->kind == NODE_FILE) {
		ret = shared_view_get(fs->listings, n->grant->cameras[n->camera], &n->file,
		                      &h->view);
		if (ret)
			return ret;
		h->size_bytes = view_size(shared_view(h->view));
		h->from_ns = n->file.first_ns;
		h->to_ns = n->file.end_ns;
		return 0;
	}
	ret = ops_text(fs, n, &h->text);
	if (!ret)
		h->size_bytes = strlen(h->text);
	return ret;
}

/* Everything up to the reply: handle in the table, OPEN durable. */
static int open_logged(fuse_req_t req, const struct node *n, struct handle **out)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs *fs = fs_of(req);
	const char *camera = n->kind >= NODE_CAMERA ? n->grant->cameras[n->camera] : NULL;
	struct handle *h;
	char path[TREE_PATH_MAX];
	int ret = handles_log_ok(fs->handles);

	if (ret)
		return ret;
	h = handle_new(ctx->uid, ctx->pid, n->grant);
	if (!h)
		return -ENOMEM;
	ret = fill(fs, n, h);
	if (ret == -EUCLEAN)
		note_damage(req, n, 0, 0);
	if (!ret)
		ret = handle_add(fs->handles, h);
	if (ret == -EMFILE || ret == -ENFILE)
		ops_denied(req, n, -ret, "open", "too-many-open");
	if (ret) {
		handle_free(fs->handles, h);
		return ret;
	}
	tree_path(n, path);
	ret = handle_log_open(fs->handles, h, n->user, path, camera);
	if (ret)
		handle_remove(fs->handles, h->fh);
	else
		*out = h;
	return ret;
}

static void forget_handle(struct fs *fs, struct handle *h)
{
	handle_log_close(fs->handles, h);
	handle_remove(fs->handles, h->fh);
}

void ops_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *n = ops_node(req, id, "open");
	struct grant *grant;
	struct handle *h;
	enum gate_verdict v;
	int ret;

	if (!n)
		return;
	if (n->kind != NODE_FILE && n->kind != NODE_TEXT && n->kind != NODE_PLAYLIST)
		ret = -EISDIR;
	else if ((fi->flags & O_ACCMODE) != O_RDONLY)
		ret = -EROFS;
	else
		ret = open_logged(req, n, &h);
	if (ret) {
		fuse_reply_err(req, ret == -EISDIR || ret == -EROFS ? -ret : ops_errno(ret));
		tree_put(fs->tree, n);
		return;
	}
	fi->fh = h->fh;
	fi->direct_io = 1;
	fi->keep_cache = 0;
	grant = n->grant;
	v = gate_reply_begin(fs->gate, grant, fuse_req_ctx(req)->uid);
	if (v == GATE_OK) {
		/* The handle is the kernel's from here on; on failure there will be no release. */
		if (fuse_reply_open(req, fi))
			forget_handle(fs, h);
		gate_reply_end(fs->gate, grant);
	} else {
		ops_denied(req, n, ENOENT, "open", gate_verdict_name(v));
		forget_handle(fs, h);
		fuse_reply_err(req, ENOENT);
	}
	tree_put(fs->tree, n);
}

/* ---------------------------------------------------------------- read */

static int get_data(const struct handle *h, uint64_t off, size_t len, char *buf)
{
	size_t got = 0;
	int ret;

	if (h->text) {
		memcpy(buf, h->text + off, len);
		return 0;
	}
	ret = view_read(shared_view(h->view), off, len, buf, &got);
	/* Clipped by us already: less than that means the view is not what it was. */
	return ret ? ret : got == len ? 0 : -EUCLEAN;
}

enum replied { REPLIED, TRY_AGAIN };

/* read_ns: boot time before the data was read. */
static enum replied reply_data(fuse_req_t req, struct handle *h, uint64_t off, size_t len,
                               const char *buf, int64_t read_ns)
{
	struct fs *fs = fs_of(req);
	enum gate_verdict v = gate_reply_begin(fs->gate, h->grant, fuse_req_ctx(req)->uid);

	if (v != GATE_OK) {
		denied_handle(req, h, "read", v);
		return REPLIED;
	}
	if (clock_boot_ns() - read_ns > DATA_AGE_NS ||
	    !handle_covered(fs->handles, h, off, off + len)) {
		gate_reply_end(fs->gate, h->grant);
		return TRY_AGAIN;
	}
	if (handle_note(fs->handles, h, off, off + len))
		fuse_reply_err(req, EIO);
	else
		fuse_reply_buf(req, buf, len);
	gate_reply_end(fs->gate, h->grant);
	return REPLIED;
}

/* [off, off + len) lies inside the file, len > 0; the caller may read now. */
static void read_covered(fuse_req_t req, struct handle *h, uint64_t off, size_t len)
{
	struct fs *fs = fs_of(req);
	enum replied done = TRY_AGAIN;
	int64_t read_ns = 0;
	char *buf = malloc(len);
	int ret = buf ? 0 : -ENOMEM;

	for (int i = 0; !ret && done == TRY_AGAIN && i < TRIES; i++) {
		ret = handle_cover(fs->handles, h, off, off + len);
		if (!ret && (!read_ns || clock_boot_ns() - read_ns > DATA_AGE_NS)) {
			read_ns = clock_boot_ns();
			ret = get_data(h, off, len, buf);
		}
		if (!ret)
			done = reply_data(req, h, off, len, buf, read_ns);
	}
	free(buf);
	if (!ret && done == REPLIED)
		return;
	if (ret == -EUCLEAN) {
		struct node *n = tree_get(fs->tree, h->node);

		note_damage(req, n, h->number, off);
		tree_put(fs->tree, n);
	}
	fuse_reply_err(req, ret ? ops_errno(ret) : EIO);
}

void ops_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_get(fs->handles, fi->fh);
	enum gate_verdict v;

	if (!h || h->entries || h->node != id || off < 0) {
		fuse_reply_err(req, EBADF);
		handle_put(fs->handles, h);
		return;
	}
	v = gate_check(fs->gate, h->grant, fuse_req_ctx(req)->uid);
	if (size > FS_MAX_READ)
		size = FS_MAX_READ;
	if (v != GATE_OK)
		denied_handle(req, h, "read", v);
	else if (handles_log_ok(fs->handles))
		fuse_reply_err(req, EIO);
	else if ((uint64_t)off >= h->size_bytes || !size)
		fuse_reply_buf(req, NULL, 0);
	else if (size > h->size_bytes - (uint64_t)off)
		read_covered(req, h, (uint64_t)off, (size_t)(h->size_bytes - (uint64_t)off));
	else
		read_covered(req, h, (uint64_t)off, size);
	handle_put(fs->handles, h);
}

void ops_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_get(fs->handles, fi->fh);

	(void)id;
	if (h && !h->entries)
		forget_handle(fs, h);
	handle_put(fs->handles, h);
	fuse_reply_err(req, 0);
}
