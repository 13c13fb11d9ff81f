/*
 * device.h — what the writer does to disks, behind one vtable. Private to the engine.
 *
 * Two makers: device_uring.c (O_DIRECT, registered buffers and files) and device_sync.c (plain
 * pwrite and fdatasync, the twin that tests wrap to make every call fail once and to cut power
 * after every one). The writer cannot tell them apart: submit never reports the outcome, reap does.
 *
 * Threads: one, the one that made the device. Ownership: an op and its buffer belong to the device
 * from submit until reap hands the op back; files and buffers must outlive their ops.
 */
#ifndef CUSTOS_DEVICE_H
#define CUSTOS_DEVICE_H

#include "engine/base/base.h"

/* Ops the writer may have submitted and not yet reaped. */
#define DEVICE_DEPTH 128u
#define DEVICE_STEP  (8 * MIB)

enum device_kind { DEVICE_WRITE, DEVICE_FLUSH };

struct device_op {
	enum device_kind kind;
	int file; /* from add_file */
	const void *buf;
	uint32_t len_bytes;
	uint64_t offset;
	int result; /* set by reap: 0 or -errno; a short write is -EIO: whole or nothing */
	uint8_t retries;
	void (*done)(void *arg, struct device_op *op); /* the owner's; the device never calls it */
	void *owner;
	struct device_op *next; /* the device's while submitted */
};

struct device;
struct device_ops {
	/* Makes fd known; returns its handle (>= 0) or -errno. fd stays the caller's. */
	int (*add_file)(struct device *d, int fd);
	void (*drop_file)(struct device *d, int file);
	/* May be NULL. The first `bytes` of the arena are faulted in now: to be registered. */
	void (*memory)(struct device *d, size_t bytes);
	/* Takes an op (never more than DEVICE_DEPTH at once). Uring: does not block. */
	void (*submit)(struct device *d, struct device_op *op);
	/* Hands what was submitted to the kernel. */
	void (*kick)(struct device *d);
	/* One finished op, or NULL. Does not block. */
	struct device_op *(*reap)(struct device *d);
	/* Sleeps until something can be reaped or timeout_ns have passed. Blocks. */
	void (*wait)(struct device *d, int64_t timeout_ns);
	/* Readable when reap has work. */
	int (*fd)(const struct device *d);
	/* Nothing may be submitted any more. */
	void (*close)(struct device *d);
};
struct device {
	const struct device_ops *ops;
	int open_flags; /* for open(2) of segment files: O_DIRECT or 0 */
};

static inline void device_memory(struct device *d, size_t bytes)
{
	if (d->ops->memory)
		d->ops->memory(d, bytes);
}

/* arena: memory that most writes come from, registered with the kernel where it lets us, in steps
 * of DEVICE_STEP as device_memory() tells that they are in use: registering pins pages.
 * -ENOSYS, -EPERM: no io_uring here. */
int device_uring_open(void *arena, size_t arena_bytes, struct device **out) MUST_CHECK;
int device_sync_open(struct device **out) MUST_CHECK;

#endif
