/*
 * line_client.c — the asking end: one connection, one question at a time, with a deadline.
 *
 * The uid behind the socket is checked at connect, so that nobody who merely got hold of a path can
 * answer in a daemon's name. After any failure on the wire a reply could belong to an older
 * question; so a client that failed once stays failed and is to be disconnected.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "policyd/line_wire.h"

struct line_client {
	int fd;
	bool failed;
};

/* Waits for events until the deadline (CLOCK_BOOTTIME). */
static int wait_for(int fd, short events, int64_t deadline_ns)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		int64_t left_ns = deadline_ns - clock_boot_ns();
		struct timespec ts = {left_ns / NSEC_PER_SEC, left_ns % NSEC_PER_SEC};
		int n;

		if (left_ns <= 0)
			return -ETIMEDOUT;
		n = ppoll(&p, 1, &ts, NULL);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int64_t deadline_of(int64_t timeout_ns)
{
	int64_t now_ns = clock_boot_ns();

	return timeout_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + timeout_ns;
}

static int check_server(int fd, uid_t expect_uid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return -errno;
	return peer.uid == expect_uid || peer.uid == 0 ? 0 : -EPERM;
}

int line_connect(const char *path, uid_t expect_uid, int64_t timeout_ns, struct line_client **out)
{
	int64_t deadline_ns = deadline_of(timeout_ns);
	struct line_client *c = NULL;
	struct sockaddr_un address;
	int fd = -1, err;

	err = wire_address(path, &address);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* A full backlog answers EAGAIN at once and cannot be polled for. */
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		err = -errno;
		if (err != -EAGAIN && err != -EINTR)
			goto out;
		if (clock_boot_ns() >= deadline_ns) {
			err = -ETIMEDOUT;
			goto out;
		}
		poll(NULL, 0, 10);
	}
	err = check_server(fd, expect_uid);
	if (err)
		goto out;
	c = calloc(1, sizeof(*c));
	if (!c) {
		err = -ENOMEM;
		goto out;
	}
	c->fd = fd;
	*out = c;
	return 0;
out:
	close(fd);
	return err;
}

void line_disconnect(struct line_client *c)
{
	if (!c)
		return;
	close(c->fd);
	free(c);
}

int line_client_fd(const struct line_client *c)
{
	return c->fd;
}

static ssize_t send_piece(int fd, const char *data, size_t len, int pass_fd)
{
	struct iovec iov = {(void *)(uintptr_t)data, len};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (pass_fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

/* -EPIPE is left to the reader of the reply: a server that refuses says why before it closes. */
static int send_line(int fd, const char *data, size_t len, int pass_fd, int64_t deadline_ns)
{
	while (len > 0) {
		ssize_t n = send_piece(fd, data, len, pass_fd);

		if (n >= 0) {
			data += n;
			len -= (size_t)n;
			pass_fd = -1;
		} else if (errno == EAGAIN) {
			int err = wait_for(fd, POLLOUT, deadline_ns);
			if (err)
				return err;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* Reads one line; *out malloc'ed, without the newline. */
static int read_line(int fd, int64_t deadline_ns, char **out, size_t *len_bytes)
{
	size_t room = 0, len = 0;
	char *text = NULL;
	int err;

	for (;;) {
		if (len == room) {
			char *more;

			room = room ? room * 2 : 16384;
			more = room > 2 * (size_t)LINE_REPLY_MAX_BYTES ? NULL : realloc(text, room);
			if (!more) {
				err = len > LINE_REPLY_MAX_BYTES ? -EPROTO : -ENOMEM;
				break;
			}
			text = more;
		}
		ssize_t n = recv(fd, text + len, room - len, 0);
		if (n > 0) {
			char *end = memchr(text + len, '\n', (size_t)n);

			len += (size_t)n;
			if (!end && len <= LINE_REPLY_MAX_BYTES)
				continue;
			/* Bytes behind the newline would be an answer nobody asked for. */
			err = end == text + len - 1 ? 0 : -EPROTO;
			if (err)
				break;
			*out = text;
			*len_bytes = len - 1;
			return 0;
		}
		err = n == 0 ? -EPIPE : -errno;
		if (err == -EAGAIN)
			err = wait_for(fd, POLLIN, deadline_ns);
		if (err && err != -EINTR)
			break;
	}
	free(text);
	return err;
}

int line_call(struct line_client *c, json_t *req, int pass_fd, int64_t timeout_ns, json_t **reply)
{
	int64_t deadline_ns = deadline_of(timeout_ns);
	const char *why;
	char *text = NULL;
	size_t len;
	int err, sent;

	if (c->failed)
		return -EPIPE;
	if (json_object_set_new(req, "v", json_integer(LINE_VERSION)) != 0)
		return -ENOMEM;
	err = wire_dump(req, LINE_MAX_BYTES, &text, &len);
	if (err)
		return err;
	sent = send_line(c->fd, text, len, pass_fd, deadline_ns);
	free(text);
	text = NULL;
	err = sent == -EPIPE || sent == -ECONNRESET ? 0 : sent;
	if (!err)
		err = read_line(c->fd, deadline_ns, &text, &len);
	if (!err) {
		*reply = wire_parse(text, len, &why);
		err = *reply ? 0 : -EPROTO;
	}
	if (err == -ECONNRESET)
		err = -EPIPE;
	c->failed = err || sent;
	free(text);
	return err;
}
