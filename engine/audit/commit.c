/*
 * commit.c — the two threads behind a log: one commits groups, one makes the next file.
 *
 * The committer takes all that is pending; while it is flushing, others append, and so groups grow
 * by themselves as load does. When nobody waits it lingers a little (group_ns) to make fewer,
 * larger groups.
 *
 * One group is in flight at a time: recovery's argument (logformat.h) rests on it. The first
 * failure of any kind ends the log for this opening: after a failed flush nobody knows what the
 * disk holds, and a daemon that cannot write down what it does must not do it.
 */
#include "engine/audit/logpriv.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LINGER_ENOUGH (256 * KIB) /* so much pending is worth a commit at once */
#define NEXT_RETRY_NS (1 * NSEC_PER_SEC)

/* ---- files ---- */

/* Tries to make the next file; with the mutex held, let go meanwhile. Says it once. */
static void next_prepare(struct aud_log *log)
{
	int fd = -1, err;

	log->next = NEXT_MAKING;
	pthread_mutex_unlock(&log->mutex);
	err = aud_next_make(log->dir_fd, log->opt.file_bytes, &fd);
	pthread_mutex_lock(&log->mutex);
	if (err && !log->next_failed)
		log_warn("audit log %s: cannot make the next file: %s; free space before the "
		         "current file is full",
		         log->dir, strerror(-err));
	else if (!err && log->next_failed)
		log_info("audit log %s: there is room for the next file again", log->dir);
	log->next = err ? NEXT_NONE : NEXT_READY;
	log->next_fd = fd;
	log->next_asked = log->next_failed = err != 0;
	pthread_cond_broadcast(&log->file);
}

void *aud_preparer_main(void *arg)
{
	struct aud_log *log = arg;
	struct timespec until;

	pthread_mutex_lock(&log->mutex);
	while (!log->stopping) {
		if (!log->next_asked || log->next != NEXT_NONE) {
			pthread_cond_wait(&log->file, &log->mutex);
			continue;
		}
		next_prepare(log);
		until = aud_after(NEXT_RETRY_NS);
		if (log->next_failed && !log->stopping)
			(void)pthread_cond_timedwait(&log->file, &log->mutex, &until);
	}
	pthread_mutex_unlock(&log->mutex);
	return NULL;
}

/* The next file's descriptor, made now if the preparer could not. */
static int next_take(struct aud_log *log, int *fd)
{
	int err = 0;

	pthread_mutex_lock(&log->mutex);
	while (log->next == NEXT_MAKING)
		pthread_cond_wait(&log->file, &log->mutex);
	if (log->next == NEXT_READY) {
		*fd = log->next_fd;
		log->next = NEXT_NONE;
	} else {
		/* The preparer has failed, or has not even begun. Now it must not, before this one
		 * has its number (file_switch() asks it then): it would take `next` away. */
		log->next = NEXT_MAKING;
		log->next_asked = false;
		pthread_mutex_unlock(&log->mutex);
		err = aud_next_make(log->dir_fd, log->opt.file_bytes, fd);
		pthread_mutex_lock(&log->mutex);
		log->next = NEXT_NONE;
	}
	log->next_fd = -1;
	pthread_mutex_unlock(&log->mutex);
	return err;
}

static int file_switch(struct aud_log *log)
{
	struct aud_fmt_file f = {
	        .number = log->file_number + 1,
	        .bytes = log->opt.file_bytes,
	        .first_group = log->group_number,
	        .first_seq = log->group_seq,
	};
	int fd = -1, err;

	memcpy(f.prev_leaf, log->prev_leaf, 32);
	memcpy(f.origin, log->origin, sizeof(f.origin));
	err = next_take(log, &fd);
	if (err)
		return err;
	err = aud_next_activate(log->dir_fd, fd, &f);
	if (err) {
		close(fd);
		return err;
	}
	if (log->fd >= 0)
		close(log->fd);
	log->fd = fd;
	log->file_number = f.number;
	log->file_bytes = f.bytes;
	log->pos = AUD_FMT_FILE_HEADER;
	pthread_mutex_lock(&log->mutex);
	log->next_asked = true;
	pthread_cond_broadcast(&log->file);
	pthread_mutex_unlock(&log->mutex);
	return 0;
}

/* ---- committing ---- */

static int group_write(struct aud_log *log, size_t len)
{
	int err;

	if (log->opt.write_hook)
		return log->opt.write_hook(log->opt.hook_arg, log->fd, log->group, len, log->pos);
	err = file_pwrite_full(log->fd, log->group, len, log->pos);
	if (!err && fdatasync(log->fd))
		err = -errno;
	return err;
}

/* How many of the records at p fit into one group of the current file size: their bytes. */
static size_t group_take(const struct aud_log *log, const uint8_t *p, size_t len, uint32_t *records)
{
	size_t most = log->opt.file_bytes - AUD_FMT_FILE_HEADER - AUD_FMT_GROUP_HEAD;
	size_t n = 0, one;

	if (most > AUD_FMT_RECORDS_TARGET)
		most = AUD_FMT_RECORDS_TARGET;
	*records = 0;
	while (n < len) {
		one = aud_fmt_record_bytes(le32_get(p + n + 108));
		if (n + one > most && *records)
			break;
		n += one;
		++*records;
	}
	return n;
}

static int group_buffer(struct aud_log *log, size_t bytes)
{
	uint8_t *bigger;

	if (bytes <= log->group_room)
		return 0;
	bigger = realloc(log->group, bytes);
	if (!bigger)
		return -ENOMEM;
	log->group = bigger;
	log->group_room = bytes;
	return 0;
}

/* Makes the records at p one durable group. */
static int group_commit(struct aud_log *log, const uint8_t *p, size_t len, uint32_t records)
{
	size_t total = AUD_FMT_GROUP_HEAD + len, padded = align_up(total, AUD_FMT_ALIGN);
	struct aud_fmt_group g = {
	        .number = log->group_number,
	        .first_seq = log->group_seq,
	        .records = records,
	        .bytes = (uint32_t)len,
	};
	uint8_t leaf[32];
	int err = group_buffer(log, padded);

	if (!err && (log->fd < 0 || log->pos + padded > log->file_bytes))
		err = file_switch(log);
	if (err)
		return err;
	memcpy(g.prev_leaf, log->prev_leaf, 32);
	memcpy(log->group + AUD_FMT_GROUP_HEAD, p, len);
	memset(log->group + total, 0, padded - total);
	aud_fmt_group_put(&g, log->group);
	merkle_leaf(log->group, total, leaf);
	err = group_write(log, padded);
	if (err)
		return err;
	memcpy(log->prev_leaf, leaf, 32);
	log->pos += padded;
	log->group_number++;
	log->group_seq += records;
	pthread_mutex_lock(&log->mutex);
	merkle_add(&log->tree, leaf);
	log->durable_seq = log->group_seq - 1;
	log->left_bytes = log->file_bytes - log->pos;
	log->taken_bytes -= len;
	pthread_cond_broadcast(&log->done);
	pthread_mutex_unlock(&log->mutex);
	return 0;
}

static int commit_all(struct aud_log *log, const uint8_t *p, size_t len)
{
	uint32_t records;
	size_t n;
	int err = 0;

	for (; !err && len; p += n, len -= n) {
		n = group_take(log, p, len, &records);
		err = group_commit(log, p, n, records);
	}
	return err;
}

struct timespec aud_after(int64_t ns)
{
	struct timespec ts;
	int64_t t;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (__builtin_add_overflow((int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec, ns, &t))
		t = INT64_MAX;
	ts.tv_sec = t / NSEC_PER_SEC;
	ts.tv_nsec = t % NSEC_PER_SEC;
	return ts;
}

/* Waits for something to commit; with the mutex held. False: stop, and nothing is left. */
static bool work_wait(struct aud_log *log)
{
	struct timespec until;

	while (!log->pending_bytes && !log->stopping)
		pthread_cond_wait(&log->work, &log->mutex);
	until = aud_after(log->opt.group_ns);
	while (!log->stopping && log->pending_bytes < LINGER_ENOUGH &&
	       log->wanted_seq <= log->durable_seq) {
		if (pthread_cond_timedwait(&log->work, &log->mutex, &until))
			break;
	}
	return log->pending_bytes > 0;
}

void *aud_committer_main(void *arg)
{
	struct aud_log *log = arg;
	uint8_t *mine = NULL, *swap;
	size_t mine_room = 0, room, len;
	int err = 0;

	pthread_mutex_lock(&log->mutex);
	while (!err && work_wait(log)) {
		swap = log->pending;
		room = log->pending_room;
		len = log->taken_bytes = log->pending_bytes;
		log->pending = mine;
		log->pending_room = mine_room;
		log->pending_bytes = 0;
		mine = swap;
		mine_room = room;
		pthread_mutex_unlock(&log->mutex);
		err = commit_all(log, mine, len);
		pthread_mutex_lock(&log->mutex);
	}
	if (err) {
		log->failed = true;
		pthread_cond_broadcast(&log->done);
	}
	pthread_mutex_unlock(&log->mutex);
	free(mine);
	if (err)
		log_err("ALARM: audit log %s cannot be written: %s; what needs a record is denied "
		        "from now on; free or repair the disk, then restart this daemon",
		        log->dir, strerror(-err));
	return NULL;
}
