/*
 * session.h — the mount: made before privileges are dropped, served by many threads, taken away by
 * whoever still may (session_unmount() from the parent, as the user who mounted).
 */
#ifndef CUSTOS_SESSION_H
#define CUSTOS_SESSION_H

#include "fusefs/ops.h"

struct session;
/* Readies the mount point: makes it if missing, takes away what a killed gate left there. err: one
 * line. -EBUSY: something is mounted there; -EPERM: started as root, and somebody else could put
 * another folder in its place; -ENOTDIR, -EACCES … */
int session_prepare(const char *mount, char *err, size_t err_bytes) MUST_CHECK;
/* Mounts. As root directly, else through fusermount3. ref is the operations' user data: ref->fs
 * must be set before session_run(). */
int session_mount(const char *mount, struct fs_ref *ref, struct session **out, char *err,
                  size_t err_bytes) MUST_CHECK;
/* Serves until session_stop() or until it is unmounted. Blocks. */
int session_run(struct session *s) MUST_CHECK;
/* Makes session_run() return. Any thread, once session_run() was called or before. */
void session_stop(struct session *s);
/* Drops the kernel's pages of a node. Never from a FUSE handler. */
void session_invalidate(void *session, uint64_t node);
/* Asks the kernel to forget a name in MOUNT. Never from a FUSE handler. */
void session_forget_name(void *session, const char *name);
void session_free(struct session *s);
/* Takes the mount away, lazily. Needs no session: any process of the user who mounted. */
void session_unmount(const char *mount);

#endif
