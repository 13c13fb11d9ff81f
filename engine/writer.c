/*
 * writer.c — the writer: one thread, no locks, driven by eng_append() and eng_poll().
 *
 * THE DURABILITY CONTRACT
 *
 *   A frame is *acknowledged* (visible to readers, counted durable) when its chunk is published in
 *   the catalog, and a chunk is published only when all of this has happened, in this order:
 *
 *     FILLING ──1 MiB, flush/2, run end──▶ CLOSED ──place──▶ WRITING ──good──▶ WRITTEN
 *        ▲ eng_append() copies               ▲                  │                 │ a flush that
 *                                            │                  │ write failed    │ began after
 *                                            │                  ▼                 │ this succeeds
 *                                            └────redo──── segment failed         ▼
 *                                            │                               FLUSHED
 *                                            └── that flush failed ◀──┘           │ every earlier
 *                                                                                 │ chunk of the
 *                                                                                 ▼ stream is too
 *                                                                             published
 *
 *   D1  The buffer of a chunk is kept until it is published: what was not acknowledged can be
 *       written again, somewhere else, as long as the process lives.
 *   D2  A flush counts for a chunk only if it was started after the chunk's write had completed.
 *   D3  A flush that failed says nothing about what it covered, nor does any later one about the
 *       same place: all of it is written again into other segments (fsync's error is told once).
 *   D4  The catalog's OPEN entry of a segment is durable before anything in the segment is
 *       published, so recovery knows where to look: each flush covers the catalog file as well.
 *   D5  A raised generation is durable before the segment's old bytes are overwritten.
 *
 *   One flush per filesystem is enough on ext4 and XFS: segments are allocated at init and written
 *   once (prewrite.c, flushed by their own fdatasync) before use, so overwriting them dirties no
 *   metadata that reading them back needs, O_DIRECT leaves nothing in the page cache, and what
 *   remains is the device's cache, which fdatasync of any file there flushes. The file used is the
 *   catalog, which needs D4 anyway. Elsewhere every file written to is flushed by itself.
 *
 *   Loss bound: a chunk closes at most flush/2 after its first frame, a flush starts at most
 *   flush/4 after a write completed; the last quarter is the device's. Measured, not assumed:
 *   eng_stats.loss_bound_ns.
 */
#include "engine/writer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define XFS_MAGIC        0x58465342
#define MEMORY_MIN       (4 * MIB)
#define LOCK_TRIES       100 /* times 10 ms */
#define CLOSE_TIMEOUT_NS (30 * NSEC_PER_SEC)
#define LATE_ALARM_NS    (60 * NSEC_PER_SEC)

static int64_t real_wall(void *arg)
{
	(void)arg;
	return clock_wall_ns();
}

static int64_t real_boot(void *arg)
{
	(void)arg;
	return clock_boot_ns();
}

static struct clock_state real_clock(void *arg)
{
	(void)arg;
	return clock_sync_state();
}

int64_t writer_wall(const struct eng_writer *w)
{
	return w->env.wall_ns(w->env.arg);
}

int64_t writer_boot(const struct eng_writer *w)
{
	return w->env.boot_ns(w->env.arg);
}

void writer_alarm(struct eng_writer *w, const char *format, ...)
{
	va_list ap;

	if (w->n_alarms == ARRAY_LEN(w->alarms))
		return; /* a flood: the first ones say what happened */
	va_start(ap, format);
	vsnprintf(w->alarms[w->n_alarms++], sizeof(w->alarms[0]), format, ap);
	va_end(ap);
}

static void tell_alarms(struct eng_writer *w)
{
	for (unsigned i = 0; i < w->n_alarms && w->opt.alarm; i++)
		w->opt.alarm(w->opt.arg, w->alarms[i]);
	w->n_alarms = 0;
}

void writer_put(struct eng_writer *w, uint64_t segment, const struct fmt_catalog_entry *e)
{
	w->in_state[w->entries[segment].state]--;
	w->in_state[e->state]++;
	w->entries[segment] = *e;
	catalog_put(w->catalog, segment, e);
	if (e->state == FMT_STATE_READY || e->state == FMT_STATE_RECYCLED)
		w->full = w->full_alarmed = false;
}

int writer_open_segment(struct eng_writer *w, uint64_t number, int *fd, int *file)
{
	char path[FMT_SEGMENT_PATH_MAX];
	struct stat st;

	fmt_segment_path(number, path);
	*fd = openat(w->dirfd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | w->dev->open_flags);
	if (*fd < 0 && errno == EINVAL && w->dev->open_flags)
		*fd = openat(w->dirfd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (*fd < 0)
		return -errno;
	int err = fstat(*fd, &st) ? -errno : 0;
	if (!err && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != w->sb.segment_bytes))
		err = -EUCLEAN;
	if (!err) {
		*file = w->dev->ops->add_file(w->dev, *fd);
		err = *file < 0 ? *file : 0;
	}
	if (err)
		close(*fd);
	return err;
}

bool writer_short_of(struct eng_writer *w, int err)
{
	if (err != -EMFILE && err != -ENFILE && err != -ENOMEM)
		return false;
	if (!w->short_alarmed)
		writer_alarm(w, "%s: a segment cannot be opened: %s; raise the limit (LimitNOFILE)",
		             w->dir, strerror(-err));
	w->short_alarmed = true;
	return true;
}

void writer_close_segment(struct eng_writer *w, int fd, int file)
{
	if (file >= 0)
		w->dev->ops->drop_file(w->dev, file);
	if (fd >= 0)
		close(fd);
}

/* ---- open ---- */

static int refuse(char *err, size_t err_bytes, int code, const char *dir, const char *what)
{
	snprintf(err, err_bytes, "%s: %s: %s", dir, what, strerror(-code));
	return code;
}

/* A writer that was killed holds the lock until its last write in flight has landed (the device
 * keeps the lock file open); that takes moments, so a busy lock is worth a second. */
static int take_lock(struct eng_writer *w)
{
	const struct timespec pause = {.tv_nsec = 10 * NSEC_PER_MSEC};
	int err = store_lock(w->dir, &w->lock_fd);

	for (int i = 0; err == -EBUSY && i < LOCK_TRIES; i++) {
		nanosleep(&pause, NULL);
		err = store_lock(w->dir, &w->lock_fd);
	}
	return err;
}

static int open_files(struct eng_writer *w, char *err, size_t err_bytes)
{
	int ret = store_read_superblock(w->dir, &w->sb, err, err_bytes);

	if (ret)
		return ret;
	if (w->sb.flags & FMT_STORE_ENCRYPTED)
		return refuse(err, err_bytes, -EOPNOTSUPP, w->dir, "the store is encrypted");
	ret = take_lock(w);
	if (ret == -EBUSY) {
		snprintf(err, err_bytes, "%s: another recorder writes this store; stop it first",
		         w->dir);
		return ret;
	}
	if (ret)
		return refuse(err, err_bytes, ret, w->dir, "cannot lock");
	w->dirfd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dirfd < 0)
		return refuse(err, err_bytes, -errno, w->dir, "cannot open");
	w->catalog_fd = openat(w->dirfd, "catalog", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (w->catalog_fd < 0)
		return refuse(err, err_bytes, -errno, w->dir, "cannot open the catalog");
	ret = catalog_open(w->dir, &w->sb, true, &w->catalog);
	if (ret) {
		snprintf(err, err_bytes, "%s: the catalog is damaged: run custos fsck", w->dir);
		return ret;
	}
	w->entries = calloc(w->sb.segment_count, sizeof(*w->entries));
	return w->entries ? 0 : refuse(err, err_bytes, -ENOMEM, w->dir, "catalog");
}

static bool one_flush_does(struct eng_writer *w)
{
	struct statfs fs;
	struct stat dir, seg;

	if (fstatfs(w->catalog_fd, &fs) || fstat(w->catalog_fd, &dir) ||
	    fstatat(w->dirfd, "seg", &seg, 0) || dir.st_dev != seg.st_dev)
		return false;
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_MAGIC;
}

static int open_device(struct eng_writer *w)
{
	int err = arena_open(&w->arena, w->opt.memory_bytes);

	if (err)
		return err;
	w->dev = w->env.device;
	if (!w->dev && !w->opt.sync_device) {
		err = device_uring_open(w->arena.base, w->arena.bytes, &w->dev);
		if (err) {
			writer_alarm(w, "%s: no io_uring (%s): writing synchronously", w->dir,
			             strerror(-err));
			w->dev = NULL;
		}
	}
	if (!w->dev) {
		err = device_sync_open(&w->dev);
		if (err)
			return err;
	}
	device_memory(w->dev, (size_t)w->arena.low * ARENA_BLOCK);
	w->env.flush_each |= !one_flush_does(w);
	w->catalog_file = w->dev->ops->add_file(w->dev, w->catalog_fd);
	if (w->catalog_file < 0)
		return w->catalog_file;
	/* Keeps the lock while writes are in flight, even past our death. */
	err = w->dev->ops->add_file(w->dev, w->lock_fd);
	return err < 0 ? err : 0;
}

void writer_free(struct eng_writer *w)
{
	while (w->streams) {
		struct eng_stream *s = w->streams;
		w->streams = s->next;
		while (s->first) {
			struct chunk *c = s->first;
			s->first = c->next;
			chunk_free(c);
		}
		if (s->setup && !--s->setup->users)
			free(s->setup);
		free(s);
	}
	while (w->segs)
		segout_free(w, w->segs);
	prewrite_close(w);
	retention_free(w);
	if (w->dev)
		w->dev->ops->close(w->dev);
	else if (w->env.device)
		w->env.device->ops->close(w->env.device);
	arena_close(&w->arena);
	if (w->catalog)
		catalog_close(w->catalog);
	if (w->catalog_fd >= 0)
		close(w->catalog_fd);
	if (w->dirfd >= 0)
		close(w->dirfd);
	/* By hand: the ring, which holds the file too, is taken down by the kernel at its leisure.
	 */
	if (w->lock_fd >= 0) {
		flock(w->lock_fd, LOCK_UN);
		close(w->lock_fd);
	}
	free(w->flush.ops);
	free(w->entries);
	free(w->dir);
	free(w);
}

static struct eng_writer *new_writer(const char *dir, const struct eng_writer_options *opt,
                                     const struct writer_env *env)
{
	struct eng_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->dir = strdup(dir);
	if (!w->dir) {
		free(w);
		return NULL;
	}
	w->opt = *opt;
	if (!w->opt.flush_ns)
		w->opt.flush_ns = NSEC_PER_SEC;
	if (!w->opt.memory_bytes)
		w->opt.memory_bytes = 256 * MIB;
	if (!w->opt.ready_ahead)
		w->opt.ready_ahead = 4;
	if (env)
		w->env = *env;
	if (!w->env.wall_ns)
		w->env.wall_ns = real_wall;
	if (!w->env.boot_ns)
		w->env.boot_ns = real_boot;
	if (!w->env.clock)
		w->env.clock = real_clock;
	w->dirfd = w->lock_fd = w->catalog_fd = -1;
	w->queue_last = &w->queue;
	w->streams_last = &w->streams;
	w->flush.since_boot_ns = INT64_MAX;
	return w;
}

int writer_open_env(const char *dir, const struct eng_writer_options *opt,
                    const struct writer_env *env, struct eng_writer **out, char *err,
                    size_t err_bytes)
{
	struct eng_writer *w = new_writer(dir, opt, env);
	int ret;

	if (!w)
		return refuse(err, err_bytes, -ENOMEM, dir, "cannot start");
	if (w->opt.memory_bytes < MEMORY_MIN || w->opt.flush_ns < 10 * NSEC_PER_MSEC) {
		snprintf(err, err_bytes, "%s: needs memory of at least 4M and a flush of 10ms",
		         dir);
		ret = -EINVAL;
		goto out;
	}
	ret = open_files(w, err, err_bytes);
	if (ret)
		goto out;
	ret = open_device(w);
	if (ret) {
		refuse(err, err_bytes, ret, dir, "cannot set up memory and device");
		goto out;
	}
	w->now_boot_ns = writer_boot(w);
	w->clock = w->env.clock(w->env.arg);
	ret = recovery_run(w, err, err_bytes);
	if (!ret)
		ret = recovery_raise_epoch(w, err, err_bytes);
	if (ret)
		goto out;
	retention_tick_clock(w);
	catalog_set_clean(w->catalog, false);
	*out = w;
	return 0;
out:
	writer_free(w);
	return ret;
}

int eng_writer_open(const char *dir, const struct eng_writer_options *opt, struct eng_writer **out,
                    char *err, size_t err_bytes)
{
	return writer_open_env(dir, opt, NULL, out, err, err_bytes);
}

int eng_writer_fd(const struct eng_writer *w)
{
	return w->dev->ops->fd(w->dev);
}

/* ---- poll ---- */

static void reap(struct eng_writer *w)
{
	struct device_op *op;

	while ((op = w->dev->ops->reap(w->dev))) {
		w->in_device--;
		op->done(w, op);
		while (w->queue && w->in_device < DEVICE_DEPTH) {
			op = w->queue;
			w->queue = op->next;
			if (!w->queue)
				w->queue_last = &w->queue;
			w->in_device++;
			w->dev->ops->submit(w->dev, op);
		}
	}
}

static void close_by_age(struct eng_writer *w)
{
	for (struct eng_stream *s = w->streams; s; s = s->next) {
		if (!s->fill || (!w->force && w->now_boot_ns < s->fill->close_at_ns))
			continue;
		chunk_close(s->fill);
		s->fill = NULL;
	}
}

/* One alarm a minute, however often a slow disk is late. */
static void alarm_late(struct eng_writer *w, bool late)
{
	w->late.times += late && !w->late.now;
	w->late.now = late;
	if (late && w->stats.loss_bound_ns > w->late.worst_ns)
		w->late.worst_ns = w->stats.loss_bound_ns;
	if (!w->late.times ||
	    (w->late.alarm_boot_ns && w->now_boot_ns - w->late.alarm_boot_ns < LATE_ALARM_NS))
		return;
	writer_alarm(w,
	             "%s: loss bound overrun, %u times: oldest frame not durable was %lld ms old",
	             w->dir, w->late.times, (long long)(w->late.worst_ns / NSEC_PER_MSEC));
	w->late.times = 0;
	w->late.worst_ns = 0;
	w->late.alarm_boot_ns = w->now_boot_ns;
}

static void watch_loss_bound(struct eng_writer *w)
{
	bool late = false;

	w->stats.loss_bound_ns = 0;
	for (struct eng_stream *s = w->streams; s; s = s->next) {
		struct chunk *c = s->first;
		int64_t age = c ? w->now_boot_ns - c->taken_boot_ns : 0;
		if (age > w->stats.loss_bound_ns)
			w->stats.loss_bound_ns = age;
		if (!c || age <= w->opt.flush_ns)
			continue;
		late = true;
		w->stats.overruns += !c->overrun;
		c->overrun = true;
	}
	if (w->stats.loss_bound_ns > w->stats.loss_bound_max_ns)
		w->stats.loss_bound_max_ns = w->stats.loss_bound_ns;
	alarm_late(w, late);
}

static void tick(struct eng_writer *w)
{
	if (w->tick_boot_ns && w->now_boot_ns - w->tick_boot_ns < NSEC_PER_SEC)
		return;
	w->tick_boot_ns = w->now_boot_ns;
	w->clock = w->env.clock(w->env.arg);
	retention_tick_clock(w);
	retention_poll(w);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t next_wake(const struct eng_writer *w)
{
	int64_t at = w->tick_boot_ns + NSEC_PER_SEC;

	for (const struct eng_stream *s = w->streams; s; s = s->next) {
		if (s->fill)
			at = sooner(at, s->fill->close_at_ns);
	}
	if (w->flush.wanted && !w->flush.active)
		at = sooner(at, w->flush.since_boot_ns + w->opt.flush_ns / 4);
	for (size_t i = 0; i < w->n_recycled; i++)
		at = sooner(at, w->recycled[i].boot_ns + RECYCLE_WAIT_NS);
	return at > w->now_boot_ns ? at - w->now_boot_ns : 0;
}

int64_t eng_poll(struct eng_writer *w)
{
	w->now_boot_ns = writer_boot(w);
	reap(w);
	tick(w);
	close_by_age(w);
	writer_redo(w);
	writer_place(w);
	segout_poll(w);
	writer_flush_poll(w);
	prewrite_poll(w);
	w->dev->ops->kick(w->dev);
	if (arena_grow(&w->arena))
		device_memory(w->dev, (size_t)w->arena.low * ARENA_BLOCK);
	watch_loss_bound(w);
	if (w->full && !w->full_alarmed) {
		w->full_alarmed = true;
		writer_alarm(w, "%s: the store is full and %s", w->dir,
		             w->keep_alarmed ? "removals cannot be logged, so none is made"
		                             : "retention allows no removal");
	}
	tell_alarms(w);
	return w->dead ? w->dead : next_wake(w);
}

bool writer_idle(const struct eng_writer *w)
{
	if (w->flush.active)
		return false;
	for (const struct eng_stream *s = w->streams; s; s = s->next) {
		if (s->first)
			return false;
	}
	return true;
}

int eng_sync(struct eng_writer *w, int64_t timeout_ns)
{
	int64_t until = writer_boot(w) + timeout_ns;
	int ret = 0;

	w->force = true;
	for (;;) {
		int64_t wait = eng_poll(w);
		if (wait < 0) {
			ret = -EIO;
			break;
		}
		if (writer_idle(w))
			break;
		int64_t left = until - writer_boot(w);
		if (left <= 0) {
			ret = -ETIMEDOUT;
			break;
		}
		wait = sooner(wait, left);
		w->dev->ops->wait(w->dev, sooner(wait, 10 * NSEC_PER_MSEC));
	}
	w->force = false;
	return ret;
}

static void drain_device(struct eng_writer *w)
{
	while (w->in_device || w->queue) {
		w->dev->ops->kick(w->dev);
		w->dev->ops->wait(w->dev, 10 * NSEC_PER_MSEC);
		reap(w);
	}
}

void eng_writer_close(struct eng_writer *w)
{
	int err;

	for (struct eng_stream *s = w->streams; s; s = s->next)
		eng_run_end(s, ENG_REASON_RESTART);
	err = eng_sync(w, CLOSE_TIMEOUT_NS);
	w->dead = w->dead ? w->dead : -ESHUTDOWN; /* nothing new from here on */
	drain_device(w);
	for (struct segout *g = w->segs; g; g = g->next)
		segout_put(w, g);
	/* The catalog first, then the mark that it can be believed. */
	if (!err && !catalog_sync(w->catalog)) {
		catalog_set_clean(w->catalog, true);
		err = catalog_sync(w->catalog);
	}
	if (err)
		writer_alarm(w, "%s: closed without everything being durable: %s", w->dir,
		             strerror(-err));
	tell_alarms(w);
	writer_free(w);
}

void eng_writer_stats(const struct eng_writer *w, struct eng_stats *out)
{
	*out = w->stats;
	out->segments = w->sb.segment_count;
	out->segments_raw = w->in_state[FMT_STATE_RAW];
	out->segments_ready = w->in_state[FMT_STATE_READY];
	out->segments_open = w->in_state[FMT_STATE_OPEN];
	out->segments_sealed = w->in_state[FMT_STATE_SEALED];
	out->segments_retired = w->in_state[FMT_STATE_RETIRED];
	out->segment_bytes = w->sb.segment_bytes;
	out->memory_used_bytes = (uint64_t)w->arena.used * ARENA_BLOCK;
	out->epoch = w->epoch;
	out->store_full = w->full;
	out->streams_waiting = w->waiting;
	out->oldest_ns = ENG_NO_TIME;
	for (uint64_t n = 0; n < w->sb.segment_count; n++) {
		const struct fmt_catalog_entry *e = &w->entries[n];
		if (e->chunks && e->first_ns != ENG_NO_TIME &&
		    (out->oldest_ns == ENG_NO_TIME || e->first_ns < out->oldest_ns))
			out->oldest_ns = e->first_ns;
	}
}
