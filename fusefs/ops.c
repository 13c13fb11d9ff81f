/*
 * ops.c — what all operations share, and the small ones: init, getattr, forget, statfs.
 *
 * Time-outs are 0 everywhere: the kernel asks again for every name and attribute, so no answer that
 * was right for one user is ever given to another.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "fusefs/grant_text.h"
#include "fusefs/ops.h"

int fs_new(const struct conf *conf, struct aud_log *log, struct fs **out)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int ret;

	if (!fs)
		return -ENOMEM;
	fs->log = log;
	pthread_mutex_init(&fs->key_lock, NULL);
	if ((ret = gate_new(&fs->gate)) || (ret = tree_new(&fs->tree)) ||
	    (ret = stores_new(conf, &fs->stores)) ||
	    (ret = listings_new(fs->stores, conf->slice_ns, &fs->listings)) ||
	    (ret = handles_new(log, fs->listings, &fs->handles)) ||
	    (ret = deny_new(log, &fs->denials))) {
		fs_free(fs);
		return ret;
	}
	*out = fs;
	return 0;
}

/* Settles what is still open (the kernel sends no release when the session ends). */
static void close_all(struct fs *fs)
{
	struct handle **list;
	size_t n;

	if (!fs->handles || handles_of(fs->handles, NULL, &list, &n))
		return;
	for (size_t i = 0; i < n; i++) {
		if (!list[i]->entries)
			handle_log_close(fs->handles, list[i]);
		handle_remove(fs->handles, list[i]->fh);
		handle_put(fs->handles, list[i]);
	}
	free(list);
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	close_all(fs);
	if (fs->denials)
		deny_flush(fs->denials, true);
	deny_free(fs->denials);
	handles_free(fs->handles);
	listings_free(fs->listings);
	tree_free(fs->tree);
	stores_free(fs->stores);
	gate_free(fs->gate);
	pthread_mutex_destroy(&fs->key_lock);
	free(fs);
}

void fs_fingerprint(struct fs *fs, char out[80])
{
	pthread_mutex_lock(&fs->key_lock);
	memcpy(out, fs->fingerprint, sizeof(fs->fingerprint));
	pthread_mutex_unlock(&fs->key_lock);
}

/* ---------------------------------------------------------------- shared */

void ops_denied(fuse_req_t req, const struct node *node, int err, const char *op, const char *why)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	char path[TREE_PATH_MAX] = "";

	if (node)
		tree_path(node, path);
	deny_note(fs_of(req)->denials, ctx->uid, ctx->pid,
	          node && node->grant ? node->grant->id : 0, err, op, why, path);
}

struct node *ops_node(fuse_req_t req, fuse_ino_t id, const char *op)
{
	struct fs *fs = fs_of(req);
	struct node *n = tree_get(fs->tree, id);
	enum gate_verdict v;

	if (!n) {
		fuse_reply_err(req, ENOENT);
		return NULL;
	}
	v = n->grant ? gate_check(fs->gate, n->grant, fuse_req_ctx(req)->uid) : GATE_OK;
	if (v == GATE_OK)
		return n;
	ops_denied(req, n, ENOENT, op, gate_verdict_name(v));
	tree_put(fs->tree, n);
	fuse_reply_err(req, ENOENT);
	return NULL;
}

bool ops_reply_begin(fuse_req_t req, const struct node *n, const char *op)
{
	enum gate_verdict v = GATE_OK;

	if (n->grant)
		v = gate_reply_begin(fs_of(req)->gate, n->grant, fuse_req_ctx(req)->uid);
	if (v == GATE_OK)
		return true;
	ops_denied(req, n, ENOENT, op, gate_verdict_name(v));
	fuse_reply_err(req, ENOENT);
	return false;
}

void ops_reply_end(struct fs *fs, const struct node *n)
{
	if (n->grant)
		gate_reply_end(fs->gate, n->grant);
}

int ops_errno(int ret)
{
	switch (ret) {
	case -ENOENT:
	case -ENOMEM:
	case -EACCES:
	case -ENFILE:
	case -EMFILE:
		return -ret;
	default: /* -ESTALE recycled, -EUCLEAN damaged, and whatever else: nothing to read here */
		return EIO;
	}
}

int ops_text(struct fs *fs, const struct node *n, char **out)
{
	char fingerprint[80];

	if (n->kind == NODE_PLAYLIST)
		return playlist_text(fs->listings, n->grant, n->camera, out);
	fs_fingerprint(fs, fingerprint);
	return grant_text(n->grant, fs->stores, fs->listings, fingerprint, out);
}

/* A text that is open is as long as what was opened last: who opens it and then asks for its size
 * must be told the size of what will be read. */
static int text_size(struct fs *fs, const struct node *n, off_t *size)
{
	uint64_t open_bytes;
	char *text;
	int ret;

	if (handles_text(fs->handles, n->id, &open_bytes)) {
		*size = (off_t)open_bytes;
		return 0;
	}
	ret = ops_text(fs, n, &text);
	if (ret)
		return ret;
	*size = (off_t)strlen(text);
	free(text);
	return 0;
}

static void set_time(struct timespec *ts, int64_t t_ns)
{
	ts->tv_sec = (time_t)(t_ns / NSEC_PER_SEC);
	ts->tv_nsec = (long)(t_ns % NSEC_PER_SEC);
	if (ts->tv_nsec < 0) {
		ts->tv_sec--;
		ts->tv_nsec += (long)NSEC_PER_SEC;
	}
}

int ops_stat(struct fs *fs, const struct node *n, struct stat *st)
{
	int64_t t = 0;
	int ret;

	memset(st, 0, sizeof(*st));
	st->st_ino = n->ino;
	st->st_mode = S_IFREG | 0444;
	st->st_nlink = 1;
	st->st_blksize = FS_MAX_READ;
	if (n->kind == NODE_FILE) {
		st->st_size = (off_t)n->file.size_bytes;
		t = n->file.end_ns;
	} else if (n->kind == NODE_TEXT || n->kind == NODE_PLAYLIST) {
		ret = text_size(fs, n, &st->st_size);
		if (ret)
			return ret;
	} else {
		st->st_mode = S_IFDIR | 0555;
		st->st_nlink = 2;
	}
	/* Directories tell nothing but that they are there; below USER nobody else gets so far. */
	if (n->grant && n->kind != NODE_FILE)
		t = n->grant->from_ns;
	st->st_blocks = (st->st_size + 511) / 512;
	set_time(&st->st_mtim, t);
	st->st_atim = st->st_ctim = st->st_mtim;
	return 0;
}

/* ---------------------------------------------------------------- operations */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_read = FS_MAX_READ;
	conn->want &=
	        ~(unsigned)(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
	                    FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA |
	                    FUSE_CAP_EXPORT_SUPPORT | /* nodes are reached by names alone */
	                    FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t lookups)
{
	tree_forget(fs_of(req)->tree, id, lookups);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		tree_forget(fs_of(req)->tree, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *n = ops_node(req, id, "getattr");
	struct stat st;
	int ret;

	(void)fi;
	if (!n)
		return;
	ret = ops_stat(fs, n, &st);
	if (ret) {
		fuse_reply_err(req, ops_errno(ret));
	} else if (ops_reply_begin(req, n, "getattr")) {
		fuse_reply_attr(req, &st, 0);
		ops_reply_end(fs, n);
	}
	tree_put(fs->tree, n);
}

static void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct statvfs v = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};

	(void)id;
	fuse_reply_statfs(req, &v);
}

const struct fuse_lowlevel_ops ops_table = {
        .init = op_init,
        .lookup = ops_lookup,
        .forget = op_forget,
        .forget_multi = op_forget_multi,
        .getattr = op_getattr,
        .open = ops_open,
        .read = ops_read,
        .release = ops_release,
        .opendir = ops_opendir,
        .readdir = ops_readdir,
        .releasedir = ops_releasedir,
        .statfs = op_statfs,
        .getxattr = ops_getxattr,
        .listxattr = ops_listxattr,
};
