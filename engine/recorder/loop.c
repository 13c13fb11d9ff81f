/*
 * loop.c — one thread, one epoll: the stores, the rings, the control socket, the clocks.
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define WAIT_MAX_NS  (250 * NSEC_PER_MSEC)
#define EVENTS       64
#define PASS_RECORDS 256 /* of one ring before the others have their turn */

int loop_open(struct recorder *r)
{
	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return r->epoll_fd < 0 ? -errno : 0;
}

int loop_add(struct recorder *r, struct watch *w, int fd, void (*ready)(void *), void *arg)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = w};
	w->fd = fd;
	w->ready = ready;
	w->arg = arg;
	if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		w->ready = NULL;
		return -errno;
	}
	return 0;
}

void loop_del(struct recorder *r, struct watch *w)
{
	if (!w->ready)
		return;
	if (epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL))
		log_debug("epoll: %s", strerror(errno));
	w->ready = NULL;
}

/* Advances every store; the shortest wait they ask for, or -errno. */
static int64_t stores_poll(struct recorder *r)
{
	int64_t wait = WAIT_MAX_NS;
	for (size_t i = 0; i < r->n_stores; i++) {
		int64_t w = eng_poll(r->stores[i].writer);
		if (w < 0) {
			log_err("store \"%s\" can no longer be written: %s; check its disk; "
			        "what was acknowledged is safe",
			        r->stores[i].conf->name, strerror((int)-w));
			return w;
		}
		wait = w < wait ? w : wait;
	}
	return wait;
}

/* Rings that hold more than their last pass took, and frames that waited for memory. */
static bool rings_run(struct recorder *r)
{
	bool more = false;
	for (size_t i = 0; i < r->n_cameras; i++) {
		struct camera *c = &r->cameras[i];
		if (!c->more)
			continue;
		c->more = intake_run(&c->live, PASS_RECORDS) | intake_run(&c->import, PASS_RECORDS);
		more |= c->more && !c->live.held && !c->import.held;
		if (c->import.refused)
			feed_ended(c, true);
	}
	return more;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool any_held(const struct recorder *r)
{
	for (size_t i = 0; i < r->n_cameras; i++)
		if (r->cameras[i].more)
			return true;
	return false;
}

int loop_run(struct recorder *r)
{
	struct epoll_event ev[EVENTS];

	while (!r->stop) {
		bool more = rings_run(r);
		int64_t wait = stores_poll(r);
		if (wait < 0)
			return (int)wait;
		wait = least(wait, supervisor_tick(r, clock_boot_ns()));
		if (feed_tick(r) || any_held(r))
			wait = least(wait, 10 * NSEC_PER_MSEC);
		if (more)
			wait = 0;
		int n = epoll_wait(r->epoll_fd, ev, EVENTS,
		                   (int)((wait + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC));
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			/* A handler before this one may have taken the descriptor out. */
			struct watch *w = ev[i].data.ptr;
			if (w->ready)
				w->ready(w->arg);
		}
	}
	return 0;
}
