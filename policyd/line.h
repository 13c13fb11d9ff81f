/*
 * line.h — newline-delimited JSON over a Unix socket: both ends (libcustos-client).
 *
 * One request object a line, one reply object a line. The kernel attaches the sender's credentials
 * to every piece received; a line takes its uid from its own bytes, so a descriptor passed on
 * across a change of uid acts as the new uid, and a line written by two uids is refused.
 *
 *   request  {"v":1, "op":NAME, …}            unknown fields are refused by the handlers
 *   reply    {"ok":true, …} | {"ok":false, "code":"EACCES", "error":"what: why; what to do"}
 *
 * A line is at most LINE_MAX_BYTES; longer, malformed, or not an object: an error reply, then the
 * connection is closed.
 */
#ifndef CUSTOS_LINE_H
#define CUSTOS_LINE_H

#include <jansson.h>
#include "engine/base/base.h"

#define LINE_MAX_BYTES       (256 * 1024)       /* requests */
#define LINE_REPLY_MAX_BYTES (64 * 1024 * 1024) /* replies */

struct line_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	uint32_t login_uid; /* /proc/PID/loginuid, UINT32_MAX unknown: a hint */
	int fd;             /* descriptor passed with the line, -1 none; the handler owns it */
};

/* ---- server: one thread, driven by poll ---- */
struct line_server;
struct line_conn;
/* Handles one request. Reply now with line_reply(), or keep conn and reply later (long poll): no
 * further line of this connection is read until it has been answered. `req` is borrowed. */
typedef void line_handler(void *arg, struct line_conn *conn, const struct line_peer *peer,
                          json_t *req);
/* Called when a connection that has not been answered goes away: forget the pointer. */
typedef void line_gone(void *arg, struct line_conn *conn);
/* Listens at path (made 0666, replacing a stale socket). -EADDRINUSE: a live one is there. */
int line_server_open(const char *path, line_handler *handler, line_gone *gone, void *arg,
                     struct line_server **out) MUST_CHECK;
void line_server_close(struct line_server *s); /* removes the socket */
/* An epoll descriptor that is readable when line_server_run() has something to do. */
int line_server_fd(const struct line_server *s);
/* Serves what is ready; never blocks. At most 512 connections, 32 a uid; the rest is closed. */
void line_server_run(struct line_server *s);
/* Takes the reference to reply (may be called later, same thread). */
void line_reply(struct line_conn *conn, json_t *reply);
void line_reply_error(struct line_conn *conn, int err, const char *format, ...) PRINTF(3, 4);

/* Bounds-checked access to request fields. -EINVAL after having replied with a clear line. */
int line_fields_only(struct line_conn *conn, json_t *req, const char *const *allowed) MUST_CHECK;

/* ---- client: blocking ---- */
struct line_client;
/* Connects and checks that the server runs under expect_uid (or root). -ECONNREFUSED/-ENOENT: not
 * reachable; -EPERM: somebody else sits on the socket. */
int line_connect(const char *path, uid_t expect_uid, int64_t timeout_ns,
                 struct line_client **out) MUST_CHECK;
void line_disconnect(struct line_client *c);
int line_client_fd(const struct line_client *c);
/* Sends req (borrowed; "v":1 is added) with pass_fd unless -1, and waits for the reply object
 * (*reply to be json_decref'ed), also when ok is false. -ETIMEDOUT, -EPIPE, -EPROTO. */
int line_call(struct line_client *c, json_t *req, int pass_fd, int64_t timeout_ns,
              json_t **reply) MUST_CHECK;

/* Errno names of the wire ("EACCES" ↔ 13); EIO when unknown. */
const char *line_errno_name(int err);
int line_errno_parse(const char *name);

#endif
