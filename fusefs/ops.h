/*
 * ops.h — the FUSE operations: struct fs is all they work on, given as the session's user data.
 *
 * Every operation looks up its node or handle by id and asks gate.h about the uid of *this*
 * request; what is refused is ENOENT for a name and EACCES for a handle, and is written down.
 */
#ifndef CUSTOS_OPS_H
#define CUSTOS_OPS_H

#include <fuse3/fuse_lowlevel.h>

#include "fusefs/deny.h"
#include "fusefs/gate.h"
#include "fusefs/handle.h"

#define FS_MAX_READ (1u << 20)

struct fs {
	struct gate *gate;
	struct tree *tree;
	struct stores *stores;
	struct listings *listings;
	struct handles *handles;
	struct deny_log *denials;
	struct aud_log *log;
	pthread_mutex_t key_lock;
	char fingerprint[80]; /* of the log's signing key, "" until policyd has told */
};
/* The session's user data: it is mounted, as root, before fs can be made, as the gate's user. */
struct fs_ref {
	struct fs *fs;
};
int fs_new(const struct conf *conf, struct aud_log *log, struct fs **out) MUST_CHECK;
void fs_free(struct fs *fs);
void fs_fingerprint(struct fs *fs, char out[80]);

extern const struct fuse_lowlevel_ops ops_table;

/* ---- between the files of ops ---- */

static inline struct fs *fs_of(fuse_req_t req)
{
	return ((struct fs_ref *)fuse_req_userdata(req))->fs;
}
/* Writes the denial down. node may be NULL. */
void ops_denied(fuse_req_t req, const struct node *node, int err, const char *op, const char *why);
/* The node, with a reference, if this caller may know of it now; else NULL, replied and written
 * down. */
struct node *ops_node(fuse_req_t req, fuse_ino_t id, const char *op);
/* The last check before anything of a node leaves, and the end of the reply: between the two a
 * revocation waits (gate.h). false: refused, replied and written down; no end. Nodes without a
 * grant always may. The reply frees req: what is needed after it is taken from it before. */
bool ops_reply_begin(fuse_req_t req, const struct node *node, const char *op);
void ops_reply_end(struct fs *fs, const struct node *node);
/* What stat() shows. May read the store (size of texts). */
int ops_stat(struct fs *fs, const struct node *n, struct stat *st) MUST_CHECK;
/* The text of a NODE_TEXT or NODE_PLAYLIST; malloc'ed. */
int ops_text(struct fs *fs, const struct node *n, char **out) MUST_CHECK;
/* What the reader is told of an error of engine or view. */
int ops_errno(int ret);

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void ops_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void ops_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void ops_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size);
void ops_listxattr(fuse_req_t req, fuse_ino_t id, size_t size);

#endif
