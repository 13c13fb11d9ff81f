/*
 * line_conn.h — one connection of a line server. Private to libcustos-client.
 */
#ifndef CUSTOS_LINE_CONN_H
#define CUSTOS_LINE_CONN_H

#include "policyd/line_wire.h"

struct line_server {
	int listen_fd, epfd, timer_fd;
	bool timer_armed;
	char *path;
	line_handler *handler;
	line_gone *gone;
	void *arg;
	struct line_conn *conns;
	size_t out_bytes; /* replies that nobody has fetched yet, of all connections */
};

struct line_conn {
	struct line_server *server;
	struct line_conn *next, **link;
	int fd;
	uid_t connect_uid;
	uint32_t armed; /* epoll events */

	/* Received bytes: the first `in_len` of in. `peer` sent the newest of them; `mixed` says
	 * that the first line has bytes of another uid too. */
	char *in;
	size_t in_len, in_room;
	struct line_peer peer;
	bool mixed, eof;
	int first_fd;  /* came with an earlier piece of the line at the buffer's start */
	int newest_fd; /* came with the newest piece: of the last line that piece touches */
	bool too_many_fds;

	char *out;
	size_t out_len, out_done;
	int64_t out_progress_ns; /* boot time of the last byte fetched */

	bool in_handler; /* line_reply() leaves the rest to conn_work() */
	bool waiting;    /* a line was given to the handler and is not answered */
	bool closing;    /* close once the reply is fetched */
	bool dead;       /* nothing can be sent any more */
};

/* Takes fd on success. NULL: no memory. */
struct line_conn *conn_new(struct line_server *s, int fd, uid_t uid);
/* Closes; tells `gone` when a line was waiting for its answer. */
void conn_free(struct line_conn *c);
/* Serves what epoll reported; may free c. */
void conn_event(struct line_conn *c, uint32_t events);
/* True when a reply has waited too long to be fetched. */
bool conn_overdue(const struct line_conn *c, int64_t now_boot_ns);
/* Makes sure that the sweep runs while replies wait. */
void server_tick(struct line_server *s);

#endif
