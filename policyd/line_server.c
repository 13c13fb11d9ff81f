/*
 * line_server.c — the answering end: who connects, and when they are let go.
 *
 * Everything that costs memory is bounded before it is spent: connections (in all and per uid), the
 * request being read, the replies not yet fetched. One line of a connection is in work at a time;
 * the next is not even read from the socket, so a client cannot queue work here. What is said on
 * one connection is line_conn.c's business.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "policyd/line_conn.h"

#define CONNS_MAX       512
#define CONNS_PER_UID   32
#define ACCEPTS_PER_RUN 64
#define SWEEP_NS        (5 * NSEC_PER_SEC)
#define BACKLOG         128

static int unlink_if_stale(const char *path, const struct sockaddr_un *address)
{
	struct stat st;
	int fd, err;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* EAGAIN: somebody listens there and is busy. */
	err = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : -errno;
	close(fd);
	if (err != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}

static int listen_at(const char *path, int *out)
{
	struct sockaddr_un address;
	int one = 1, fd = -1, err;

	err = wire_address(path, &address);
	if (!err)
		err = unlink_if_stale(path, &address);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Every call is authorised by the uid of its bytes, so anybody may connect. */
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		err = -errno;
		close(fd);
		return err;
	}
	if (chmod(path, 0666) != 0 || listen(fd, BACKLOG) != 0) {
		err = -errno;
		unlink(path);
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

static int watch(int epfd, int fd, void *ptr)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = ptr};

	return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

int line_server_open(const char *path, line_handler *handler, line_gone *gone, void *arg,
                     struct line_server **out)
{
	struct line_server *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	if (!s)
		return -ENOMEM;
	s->listen_fd = s->epfd = s->timer_fd = -1;
	s->handler = handler;
	s->gone = gone;
	s->arg = arg;
	s->path = strdup(path);
	if (!s->path)
		goto out;
	err = listen_at(path, &s->listen_fd);
	if (err)
		goto out;
	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	s->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epfd < 0 || s->timer_fd < 0) {
		err = -errno;
		goto out;
	}
	err = watch(s->epfd, s->listen_fd, &s->listen_fd);
	if (!err)
		err = watch(s->epfd, s->timer_fd, &s->timer_fd);
	if (err)
		goto out;
	*out = s;
	return 0;
out:
	line_server_close(s);
	return err;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

void line_server_close(struct line_server *s)
{
	if (!s)
		return;
	while (s->conns)
		conn_free(s->conns);
	if (s->listen_fd >= 0)
		unlink(s->path);
	close_if_open(s->listen_fd);
	close_if_open(s->timer_fd);
	close_if_open(s->epfd);
	free(s->path);
	free(s);
}

int line_server_fd(const struct line_server *s)
{
	return s->epfd;
}

static bool room_for(const struct line_server *s, uid_t uid)
{
	size_t all = 0, same = 0;

	for (const struct line_conn *c = s->conns; c; c = c->next) {
		all++;
		same += c->connect_uid == uid;
	}
	return all < CONNS_MAX && same < CONNS_PER_UID;
}

static void accept_one(struct line_server *s, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct line_conn *c;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || !room_for(s, peer.uid)) {
		close(fd);
		return;
	}
	c = conn_new(s, fd, peer.uid);
	if (!c)
		close(fd);
}

static void accept_some(struct line_server *s)
{
	for (int i = 0; i < ACCEPTS_PER_RUN; i++) {
		int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			accept_one(s, fd);
		else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* Lets go of those who do not fetch their replies; goes on ticking while there are any. */
static void sweep(struct line_server *s)
{
	uint64_t ticks;

	if (read(s->timer_fd, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
		log_err("line: reading a timer failed: %s", strerror(errno));
	s->timer_armed = false;
	for (struct line_conn *c = s->conns, *next; c; c = next) {
		next = c->next;
		if (conn_overdue(c, clock_boot_ns()))
			conn_free(c);
		else if (c->out)
			server_tick(s);
	}
}

void server_tick(struct line_server *s)
{
	struct itimerspec at = {.it_value = {SWEEP_NS / NSEC_PER_SEC, 0}};

	if (!s->timer_armed && timerfd_settime(s->timer_fd, 0, &at, NULL) == 0)
		s->timer_armed = true;
}

void line_server_run(struct line_server *s)
{
	struct epoll_event ev[64];
	bool tick = false;
	int n = epoll_wait(s->epfd, ev, ARRAY_LEN(ev), 0);

	/* A connection is freed only in its own event or in the sweep after all of them, so no
	 * event of this batch can name one that is gone. */
	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr == &s->listen_fd)
			accept_some(s);
		else if (ev[i].data.ptr == &s->timer_fd)
			tick = true;
		else
			conn_event(ev[i].data.ptr, ev[i].events);
	}
	if (tick)
		sweep(s);
}
