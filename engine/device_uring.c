/*
 * device_uring.c — the io_uring device: O_DIRECT writes from registered buffers to registered
 * files.
 *
 * SINGLE_ISSUER | DEFER_TASKRUN halve the CPU per GiB (measured) and need nothing but our own rule
 * that one thread drives the writer; SQPOLL costs a core and gains nothing. Each of the extras is
 * left out where the kernel or the memory-lock limit refuses it: registering is about speed, never
 * about what is durable.
 */
#include "engine/device.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES     4096  /* registered slots; files beyond go by descriptor */
#define STEPS_MAX 16384 /* registered pieces of the arena: the kernel's bound */
#define RETRIES   8     /* EINTR and EAGAIN are no verdict on the disk */

struct device_uring {
	struct device d;
	struct io_uring ring;
	int *fds;
	int n_fds;
	bool files_registered;
	uint8_t *arena;           /* NULL: none */
	size_t steps, registered; /* whole steps in it; so many are registered */
	unsigned in_kernel;
};

static int uring_add_file(struct device *d, int fd)
{
	struct device_uring *v = (struct device_uring *)d;
	int file;

	for (file = 0; file < v->n_fds && v->fds[file] >= 0; file++)
		;
	if (file == v->n_fds) {
		int n = v->n_fds * 2;
		assert(n > 0);
		int *fds = realloc(v->fds, (size_t)n * sizeof(*fds));
		if (!fds)
			return -ENOMEM;
		for (int i = v->n_fds; i < n; i++)
			fds[i] = -1;
		v->fds = fds;
		v->n_fds = n;
	}
	if (v->files_registered && file < FILES) {
		int n = io_uring_register_files_update(&v->ring, (unsigned)file, &fd, 1);
		if (n != 1)
			return n < 0 ? n : -EIO;
	}
	v->fds[file] = fd;
	return file;
}

static void uring_drop_file(struct device *d, int file)
{
	struct device_uring *v = (struct device_uring *)d;
	int none = -1;

	/* A slot that cannot be emptied is overwritten by its next user. */
	if (v->files_registered && file < FILES)
		(void)!io_uring_register_files_update(&v->ring, (unsigned)file, &none, 1);
	v->fds[file] = -1;
}

/* Index of the registered buffer that holds all of the op's bytes, or -1. */
static int buffer_index(const struct device_uring *v, const struct device_op *op)
{
	uintptr_t a = (uintptr_t)v->arena, p = (uintptr_t)op->buf;

	if (!v->registered || p < a || p + op->len_bytes > a + v->registered * DEVICE_STEP)
		return -1;
	size_t first = (p - a) / DEVICE_STEP, last = (p - a + op->len_bytes - 1) / DEVICE_STEP;
	return first == last ? (int)first : -1;
}

static void uring_submit(struct device *d, struct device_op *op)
{
	struct device_uring *v = (struct device_uring *)d;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&v->ring);
	bool fixed = v->files_registered && op->file < FILES;
	int fd = fixed ? op->file : v->fds[op->file];

	assert(sqe); /* the ring holds DEVICE_DEPTH and more */
	if (op->kind == DEVICE_FLUSH) {
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	} else {
		int buffer = buffer_index(v, op);
		if (buffer >= 0)
			io_uring_prep_write_fixed(sqe, fd, op->buf, op->len_bytes, op->offset,
			                          buffer);
		else
			io_uring_prep_write(sqe, fd, op->buf, op->len_bytes, op->offset);
	}
	if (fixed)
		io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, op);
	v->in_kernel++;
}

/* The kernel's limit of locked memory may end it anywhere: what follows is written unregistered. */
static void uring_memory(struct device *d, size_t bytes)
{
	struct device_uring *v = (struct device_uring *)d;

	while (v->registered < v->steps && (v->registered + 1) * DEVICE_STEP <= bytes) {
		struct iovec iov = {v->arena + v->registered * DEVICE_STEP, DEVICE_STEP};
		__u64 tag = 0;
		if (io_uring_register_buffers_update_tag(&v->ring, (unsigned)v->registered, &iov,
		                                         &tag, 1) != 1) {
			v->steps = v->registered;
			return;
		}
		v->registered++;
	}
}

static void uring_kick(struct device *d)
{
	struct device_uring *v = (struct device_uring *)d;

	/* EINTR, EAGAIN, EBUSY: what stays in the ring goes with the next kick; reap kicks too. */
	if (io_uring_sq_ready(&v->ring))
		(void)!io_uring_submit(&v->ring);
}

static struct device_op *uring_reap(struct device *d)
{
	struct device_uring *v = (struct device_uring *)d;
	struct io_uring_cqe *cqe;

	if (!v->in_kernel)
		return NULL;
	for (;;) {
		if (io_uring_peek_cqe(&v->ring, &cqe)) {
			uring_kick(d);
			(void)!io_uring_get_events(&v->ring);
			if (io_uring_peek_cqe(&v->ring, &cqe))
				return NULL;
		}
		struct device_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;
		io_uring_cqe_seen(&v->ring, cqe);
		v->in_kernel--;
		if ((res == -EINTR || res == -EAGAIN) && op->retries < RETRIES) {
			op->retries++;
			uring_submit(d, op);
			continue;
		}
		op->retries = 0;
		if (res >= 0 && op->kind == DEVICE_WRITE)
			res = (uint32_t)res == op->len_bytes ? 0 : -EIO;
		op->result = res;
		return op;
	}
}

static void uring_wait(struct device *d, int64_t timeout_ns)
{
	struct device_uring *v = (struct device_uring *)d;
	struct __kernel_timespec ts = {.tv_sec = timeout_ns / NSEC_PER_SEC,
	                               .tv_nsec = timeout_ns % NSEC_PER_SEC};
	struct io_uring_cqe *cqe;

	uring_kick(d);
	/* Time-out or signal: the caller looks at its clock itself. */
	if (timeout_ns > 0)
		(void)!io_uring_wait_cqe_timeout(&v->ring, &cqe, &ts);
}

static int uring_fd(const struct device *d)
{
	return ((const struct device_uring *)d)->ring.ring_fd;
}

static void uring_close(struct device *d)
{
	struct device_uring *v = (struct device_uring *)d;

	assert(!v->in_kernel);
	io_uring_queue_exit(&v->ring);
	free(v->fds);
	free(v);
}

static const struct device_ops uring_ops = {
        .add_file = uring_add_file,
        .drop_file = uring_drop_file,
        .memory = uring_memory,
        .submit = uring_submit,
        .kick = uring_kick,
        .reap = uring_reap,
        .wait = uring_wait,
        .fd = uring_fd,
        .close = uring_close,
};

static int ring_setup(struct io_uring *ring)
{
	struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER |
	                                     IORING_SETUP_DEFER_TASKRUN};
	int err = io_uring_queue_init_params(DEVICE_DEPTH * 2, ring, &p);

	if (err == -EINVAL) {
		struct io_uring_params plain = {0};
		err = io_uring_queue_init_params(DEVICE_DEPTH * 2, ring, &plain);
	}
	return err;
}

int device_uring_open(void *arena, size_t arena_bytes, struct device **out)
{
	struct device_uring *v = calloc(1, sizeof(*v));
	int err;

	if (!v)
		return -ENOMEM;
	v->n_fds = 64;
	v->fds = malloc((size_t)v->n_fds * sizeof(*v->fds));
	if (!v->fds) {
		free(v);
		return -ENOMEM;
	}
	for (int i = 0; i < v->n_fds; i++)
		v->fds[i] = -1;
	err = ring_setup(&v->ring);
	if (err) {
		free(v->fds);
		free(v);
		return err;
	}
	v->files_registered = !io_uring_register_files_sparse(&v->ring, FILES);
	v->arena = arena;
	v->steps = arena ? arena_bytes / DEVICE_STEP : 0;
	if (v->steps > STEPS_MAX)
		v->steps = STEPS_MAX;
	if (v->steps && io_uring_register_buffers_sparse(&v->ring, (unsigned)v->steps))
		v->steps = 0;
	v->d.ops = &uring_ops;
	v->d.open_flags = O_DIRECT;
	*out = &v->d;
	return 0;
}
