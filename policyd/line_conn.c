/*
 * line_conn.c — one connection: pieces in, lines out to the handler, replies back.
 *
 * The kernel never merges bytes of different senders into one recvmsg() while SO_PASSCRED is set;
 * so each piece has one uid, and a line that is made of pieces with different uids is nobody's. A
 * passed descriptor ends its piece, so it belongs to the last line that the piece touches.
 *
 *   reading ──line──▶ waiting ──line_reply()──▶ sending ──all fetched──▶ reading
 *      │ error line or end of input                │ closing
 *      └──────────────▶ sending, closing ──────────┴──▶ freed
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "policyd/line_conn.h"

#define FETCH_NS        (30 * NSEC_PER_SEC) /* longest pause of a client fetching its reply */
#define OUT_MAX_BYTES   (256 * (size_t)MIB) /* unfetched replies of all connections */
#define LINES_PER_EVENT 64                  /* then others have their turn */
#define FDS_PER_PIECE   8                   /* more than one is refused; these are closed by us */

static void arm(struct line_conn *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (events == c->armed)
		return;
	if (epoll_ctl(c->server->epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0)
		c->armed = events;
	else
		c->dead = true;
}

struct line_conn *conn_new(struct line_server *s, int fd, uid_t uid)
{
	struct line_conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	int one = 1;

	if (!c)
		return NULL;
	*c = (struct line_conn){.server = s, .fd = fd, .connect_uid = uid, .armed = EPOLLIN};
	c->first_fd = c->newest_fd = -1;
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) != 0 ||
	    epoll_ctl(s->epfd, EPOLL_CTL_ADD, fd, &ev) != 0) {
		free(c);
		return NULL;
	}
	c->next = s->conns;
	c->link = &s->conns;
	if (c->next)
		c->next->link = &c->next;
	s->conns = c;
	return c;
}

static void drop_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void drop_out(struct line_conn *c)
{
	c->server->out_bytes -= c->out_len;
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_done = 0;
}

void conn_free(struct line_conn *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	if (c->waiting && c->server->gone)
		c->server->gone(c->server->arg, c);
	drop_fd(&c->first_fd);
	drop_fd(&c->newest_fd);
	drop_out(c);
	/* By hand: closing takes a descriptor out of epoll only when it is the last one of its open
	 * file, and a child between posix_spawn() and exec has copies of all ours. Epoll would go
	 * on reporting c. */
	if (epoll_ctl(c->server->epfd, EPOLL_CTL_DEL, c->fd, NULL) != 0)
		log_err("line: a connection cannot be taken out of epoll: %s", strerror(errno));
	close(c->fd);
	free(c->in);
	free(c);
}

bool conn_overdue(const struct line_conn *c, int64_t now_boot_ns)
{
	return c->out && now_boot_ns - c->out_progress_ns > FETCH_NS;
}

/* ---- pieces ---- */

static void take_fds(struct line_conn *c, struct cmsghdr *h)
{
	size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
		if (c->newest_fd >= 0) {
			c->too_many_fds = true;
			close(fd);
		} else {
			c->newest_fd = fd;
		}
	}
}

/* What the kernel says beside a piece. Without credentials the bytes are nobody's. */
static bool take_control(struct line_conn *c, struct msghdr *msg)
{
	bool named = false;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		if (h->cmsg_level != SOL_SOCKET)
			continue;
		if (h->cmsg_type == SCM_RIGHTS) {
			take_fds(c, h);
		} else if (h->cmsg_type == SCM_CREDENTIALS) {
			struct ucred cred;

			memcpy(&cred, CMSG_DATA(h), sizeof(cred));
			if (c->in_len > 0 && cred.uid != c->peer.uid)
				c->mixed = true;
			c->peer = (struct line_peer){
			        .uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
			named = true;
		}
	}
	if (msg->msg_flags & MSG_CTRUNC)
		c->too_many_fds = true;
	return named;
}

static int make_room(struct line_conn *c)
{
	size_t room = c->in_room ? c->in_room * 2 : 4096;
	char *more;

	if (c->in_len < c->in_room)
		return 0;
	if (room > LINE_MAX_BYTES + 1)
		room = LINE_MAX_BYTES + 1;
	more = realloc(c->in, room);
	if (!more)
		return -ENOMEM;
	c->in = more;
	c->in_room = room;
	return 0;
}

/* 1: bytes came; 0: nothing there now, or the end (eof); -errno. */
static int read_piece(struct line_conn *c)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred)) +
		           CMSG_SPACE(FDS_PER_PIECE * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
	ssize_t n;

	if (make_room(c) != 0)
		return -ENOMEM;
	/* What came with an earlier piece belongs to the line that is still incomplete. */
	if (c->in_len > 0 && c->newest_fd >= 0) {
		c->too_many_fds |= c->first_fd >= 0;
		drop_fd(&c->first_fd);
		c->first_fd = c->newest_fd;
		c->newest_fd = -1;
	}
	iov = (struct iovec){c->in + c->in_len, c->in_room - c->in_len};
	msg.msg_controllen = sizeof(control.bytes);
	do {
		n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0) {
		c->eof = true;
		return 0;
	}
	if (!take_control(c, &msg))
		return -EPROTO;
	c->in_len += (size_t)n;
	return 1;
}

/* ---- lines ---- */

static uint32_t login_uid_of(pid_t pid)
{
	char path[64], text[16];
	uint32_t uid = UINT32_MAX;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/loginuid", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return UINT32_MAX;
	n = read(fd, text, sizeof(text) - 1);
	if (n > 0) {
		text[n] = '\0';
		uid = (uint32_t)strtoul(text, NULL, 10);
	}
	close(fd);
	return uid;
}

/* The peer of the line that ends the first `used` bytes of the buffer, with its descriptor. */
static struct line_peer line_peer_of(struct line_conn *c, size_t used)
{
	struct line_peer peer = c->peer;

	peer.login_uid = login_uid_of(peer.pid);
	peer.fd = c->first_fd;
	c->first_fd = -1;
	if (used == c->in_len && c->newest_fd >= 0) {
		c->too_many_fds |= peer.fd >= 0;
		drop_fd(&peer.fd);
		peer.fd = c->newest_fd;
		c->newest_fd = -1;
	}
	return peer;
}

static void refuse_and_close(struct line_conn *c, int err, const char *what)
{
	c->waiting = true;
	c->closing = true;
	line_reply_error(c, err, "request refused: %s; send one JSON object a line", what);
}

static void handle_line(struct line_conn *c, size_t line_bytes)
{
	struct line_peer peer = line_peer_of(c, line_bytes + 1);
	const char *why = NULL;
	json_t *req = NULL, *op;

	if (c->mixed)
		why = "the line was written by two users";
	else if (c->too_many_fds)
		why = "more than one descriptor was passed with it";
	else
		req = wire_parse(c->in, line_bytes, &why);
	c->mixed = false;
	c->in_len -= line_bytes + 1;
	memmove(c->in, c->in + line_bytes + 1, c->in_len);
	if (!req) {
		drop_fd(&peer.fd);
		refuse_and_close(c, EINVAL, why);
		return;
	}
	op = json_object_get(req, "op");
	c->waiting = true;
	if (json_integer_value(json_object_get(req, "v")) != LINE_VERSION || !json_is_string(op)) {
		drop_fd(&peer.fd);
		line_reply_error(
		        c, EINVAL,
		        "request refused: it needs \"v\": %d and a text \"op\"; use a custos "
		        "command of the daemon's version",
		        LINE_VERSION);
	} else {
		c->server->handler(c->server->arg, c, &peer, req);
	}
	json_decref(req);
}

/* ---- replies ---- */

static void send_some(struct line_conn *c)
{
	while (c->out_done < c->out_len && !c->dead) {
		ssize_t n = send(c->fd, c->out + c->out_done, c->out_len - c->out_done,
		                 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			c->out_done += (size_t)n;
			c->out_progress_ns = clock_boot_ns();
		} else if (errno == EAGAIN) {
			server_tick(c->server);
			return;
		} else if (errno != EINTR) {
			c->dead = true;
		}
	}
	drop_out(c);
}

static json_t *error_object(int err, const char *text)
{
	return json_pack("{s:b, s:s, s:s}", "ok", 0, "code", line_errno_name(err), "error", text);
}

static void set_out(struct line_conn *c, json_t *reply)
{
	int err = -ENOMEM;

	if (reply &&
	    (json_object_get(reply, "ok") || json_object_set_new(reply, "ok", json_true()) == 0))
		err = wire_dump(reply, LINE_REPLY_MAX_BYTES, &c->out, &c->out_len);
	if (!err && c->server->out_bytes + c->out_len > OUT_MAX_BYTES) {
		free(c->out);
		err = -ENOBUFS;
	}
	if (err) {
		json_t *sorry = error_object(err, "the reply is too large or memory is short; ask "
		                                  "for less, or again later");
		c->out = NULL;
		c->out_len = 0;
		if (!sorry || wire_dump(sorry, LINE_REPLY_MAX_BYTES, &c->out, &c->out_len) != 0)
			c->dead = true;
		json_decref(sorry);
	}
	c->server->out_bytes += c->out_len;
}

void line_reply(struct line_conn *c, json_t *reply)
{
	assert(c->waiting && !c->out);
	c->waiting = false;
	set_out(c, reply);
	json_decref(reply);
	c->out_progress_ns = clock_boot_ns();
	send_some(c);
	/* The rest (sending, further lines, closing) is conn_event()'s; being writable wakes it. */
	if (!c->in_handler)
		arm(c, EPOLLOUT);
	if (c->dead)
		shutdown(c->fd, SHUT_RDWR);
}

void line_reply_error(struct line_conn *c, int err, const char *format, ...)
{
	char text[1024];
	json_t *reply;
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	reply = error_object(err, text);
	/* Names of users and cameras in a message may be cut in the middle of a character. */
	if (!reply)
		reply = error_object(err, "refused; the reason could not be put into words");
	line_reply(c, reply);
}

int line_fields_only(struct line_conn *c, json_t *req, const char *const *allowed)
{
	const char *key;
	json_t *value;

	json_object_foreach(req, key, value)
	{
		bool known = strcmp(key, "v") == 0 || strcmp(key, "op") == 0;

		for (size_t i = 0; !known && allowed && allowed[i]; i++)
			known = strcmp(key, allowed[i]) == 0;
		if (!known) {
			line_reply_error(c, EINVAL,
			                 "request refused: unknown field \"%.100s\"; leave it out",
			                 key);
			return -EINVAL;
		}
	}
	return 0;
}

/* ---- one turn ---- */

/* Hands out lines until one waits, input runs dry, or others have to have their turn. */
static void work(struct line_conn *c)
{
	c->in_handler = true;
	for (int lines = 0; lines < LINES_PER_EVENT;) {
		char *end;

		if (c->out)
			send_some(c);
		if (c->waiting || c->out || c->closing || c->dead)
			break;
		end = c->in_len ? memchr(c->in, '\n', c->in_len) : NULL;
		if (end) {
			handle_line(c, (size_t)(end - c->in));
			lines++;
		} else if (c->in_len > LINE_MAX_BYTES) {
			refuse_and_close(c, EMSGSIZE, "the line is too long");
		} else {
			int n = c->eof ? 0 : read_piece(c);

			c->dead |= n < 0;
			if (n <= 0)
				break;
		}
	}
	c->in_handler = false;
}

void conn_event(struct line_conn *c, uint32_t events)
{
	if (c->waiting && (events & (EPOLLHUP | EPOLLERR)))
		c->dead = true;
	work(c);
	if (c->dead || (!c->waiting && !c->out && (c->closing || (c->eof && !c->in_len)))) {
		conn_free(c);
		return;
	}
	/* The end in the middle of a line: nobody will complete it. */
	if (c->eof && !c->waiting && !c->out && !memchr(c->in, '\n', c->in_len)) {
		conn_free(c);
		return;
	}
	if (c->waiting)
		arm(c, 0); /* hang-ups are always reported */
	else if (c->out || (c->in_len && memchr(c->in, '\n', c->in_len)))
		arm(c, EPOLLOUT);
	else
		arm(c, EPOLLIN);
	if (c->dead)
		conn_free(c);
}
