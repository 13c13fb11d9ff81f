/*
 * device_sync.c — the synchronous device: pwrite and fdatasync, done inside submit.
 *
 * For kernels without io_uring, and the floor under the tests' fault layer: with nothing running
 * behind the writer's back every interleaving is the test's own choice. Results are still handed
 * back through reap, so the writer runs the same code as over io_uring.
 */
#include "engine/device.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct device_sync {
	struct device d;
	int *fds; /* -1: free */
	int n_fds;
	int event; /* readable while something is done */
	struct device_op *first, **last;
};

static int sync_add_file(struct device *d, int fd)
{
	struct device_sync *v = (struct device_sync *)d;

	for (int i = 0; i < v->n_fds; i++) {
		if (v->fds[i] < 0) {
			v->fds[i] = fd;
			return i;
		}
	}
	int n = v->n_fds ? v->n_fds * 2 : 16;
	int *fds = realloc(v->fds, (size_t)n * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	v->fds = fds;
	for (int i = v->n_fds; i < n; i++)
		fds[i] = -1;
	int file = v->n_fds;
	v->n_fds = n;
	fds[file] = fd;
	return file;
}

static void sync_drop_file(struct device *d, int file)
{
	struct device_sync *v = (struct device_sync *)d;

	v->fds[file] = -1;
}

static void sync_submit(struct device *d, struct device_op *op)
{
	struct device_sync *v = (struct device_sync *)d;
	int fd = v->fds[op->file];
	uint64_t one = 1;

	assert(fd >= 0);
	if (op->kind == DEVICE_WRITE)
		op->result = file_pwrite_full(fd, op->buf, op->len_bytes, op->offset);
	else
		op->result = fdatasync(fd) ? -errno : 0;
	op->next = NULL;
	*v->last = op;
	v->last = &op->next;
	/* An eventfd refuses only at its ceiling, and then it is readable already. */
	if (write(v->event, &one, sizeof(one)) < 0)
		return;
}

static void sync_kick(struct device *d)
{
	(void)d;
}

static struct device_op *sync_reap(struct device *d)
{
	struct device_sync *v = (struct device_sync *)d;
	struct device_op *op = v->first;
	uint64_t n;

	if (!op) {
		if (read(v->event, &n, sizeof(n)) < 0)
			return NULL;
		return NULL;
	}
	v->first = op->next;
	if (!v->first)
		v->last = &v->first;
	return op;
}

static void sync_wait(struct device *d, int64_t timeout_ns)
{
	struct device_sync *v = (struct device_sync *)d;
	struct pollfd p = {.fd = v->event, .events = POLLIN};

	if (v->first || timeout_ns <= 0)
		return;
	poll(&p, 1, (int)((timeout_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC));
}

static int sync_fd(const struct device *d)
{
	return ((const struct device_sync *)d)->event;
}

static void sync_close(struct device *d)
{
	struct device_sync *v = (struct device_sync *)d;

	close(v->event);
	free(v->fds);
	free(v);
}

static const struct device_ops sync_ops = {
        .add_file = sync_add_file,
        .drop_file = sync_drop_file,
        .submit = sync_submit,
        .kick = sync_kick,
        .reap = sync_reap,
        .wait = sync_wait,
        .fd = sync_fd,
        .close = sync_close,
};

int device_sync_open(struct device **out)
{
	struct device_sync *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (v->event < 0) {
		int err = -errno;
		free(v);
		return err;
	}
	v->last = &v->first;
	v->d.ops = &sync_ops;
	*out = &v->d;
	return 0;
}
