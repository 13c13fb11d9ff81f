/*
 * log.c — the audit log's writer: append, wait, and the thread that commits groups.
 *
 *   aud_append ──▶ pending ──committer──▶ group: one write, one flush ──▶ durable, waiters woken
 *                                             │ file full
 *                              preparer ──▶ next file, zeroed ahead of need
 *
 * Appending copies into memory and never waits for the disk. The committer takes all that is
 * pending; while it is flushing, others append, and so groups grow by themselves as load does. When
 * nobody waits it lingers a little (group_ns) to make fewer, larger groups.
 *
 * One group is in flight at a time: recovery's argument (logformat.h) rests on it. The first
 * failure of any kind ends the log for this opening: after a failed flush nobody knows what the
 * disk holds, and a daemon that cannot write down what it does must not do it.
 */
#include "engine/audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/audit/logdir.h"
#include "engine/audit/note.h"

#define PENDING_MAX        (64 * MIB)
#define LINGER_ENOUGH      (256 * KIB) /* so much pending is worth a commit at once */
#define FILE_BYTES_DEFAULT (16 * MIB)
#define FILE_BYTES_MAX     (1 * GIB)
#define GROUP_NS_DEFAULT   (2 * NSEC_PER_MSEC)
#define COMMIT_WAIT_NS     (10 * NSEC_PER_SEC)
#define KEEP_EVERY_NS      (60 * NSEC_PER_SEC)
#define HEADS_MAX          64

enum next_state { NEXT_NONE, NEXT_MAKING, NEXT_READY };

struct aud_log {
	char *dir;
	char origin[AUD_FMT_ORIGIN_MAX + 1];
	struct aud_options opt;
	int dir_fd, lock_fd;
	uint8_t boot_id[16];
	uint64_t incarnation;
	pthread_t committer, preparer;
	bool committer_runs, preparer_runs;

	pthread_mutex_t mutex; /* all below */
	pthread_cond_t work;   /* to the committer: something to commit, or stop */
	pthread_cond_t done;   /* to waiters: durable has moved, or failed */
	pthread_cond_t file;   /* between committer and preparer */
	uint8_t *pending;
	size_t pending_bytes, pending_room;
	size_t taken_bytes; /* with the committer, not yet durable */
	uint64_t next_seq, wanted_seq, durable_seq;
	bool failed, stopping;
	enum next_state next;
	int next_fd;
	bool next_asked;
	struct merkle tree;               /* over durable groups */
	struct aud_head heads[HEADS_MAX]; /* handed out lately, ring */
	uint64_t n_heads;

	/* the committer alone (and aud_open before it starts) */
	int fd;
	uint64_t file_number, file_bytes, pos, group_number, group_seq;
	uint8_t prev_leaf[32];
	uint8_t *group; /* buffer of one group */
	size_t group_room;

	pthread_mutex_t checkpoint_mutex; /* below */
	uint64_t checkpoint_size;
	int64_t kept_boot_ns;
	bool kept_any;
	uint8_t kept_key[4];
};

/* ---- files ---- */

static void next_done(struct aud_log *log, int fd, int err)
{
	log->next = err ? NEXT_NONE : NEXT_READY;
	log->next_fd = err ? -1 : fd;
	log->next_asked = false;
	pthread_cond_broadcast(&log->file);
}

static void *preparer_main(void *arg)
{
	struct aud_log *log = arg;
	int fd = -1, err;

	pthread_mutex_lock(&log->mutex);
	while (!log->stopping) {
		if (!log->next_asked || log->next != NEXT_NONE) {
			pthread_cond_wait(&log->file, &log->mutex);
			continue;
		}
		log->next = NEXT_MAKING;
		pthread_mutex_unlock(&log->mutex);
		err = aud_next_make(log->dir_fd, log->opt.file_bytes, &fd);
		if (err)
			log_warn("audit log %s: cannot make the next file: %s; free space before "
			         "the current file is full",
			         log->dir, strerror(-err));
		pthread_mutex_lock(&log->mutex);
		next_done(log, fd, err);
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
		/* Keeps the preparer from starting while we make it. */
		log->next = NEXT_MAKING;
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
	strcpy(f.origin, log->origin);
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

static struct timespec after(int64_t ns)
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
	until = after(log->opt.group_ns);
	while (!log->stopping && log->pending_bytes < LINGER_ENOUGH &&
	       log->wanted_seq <= log->durable_seq) {
		if (pthread_cond_timedwait(&log->work, &log->mutex, &until))
			break;
	}
	return log->pending_bytes > 0;
}

static void *committer_main(void *arg)
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
		log_err("audit log %s: writing failed: %s; nothing more is written until it is "
		        "opened again",
		        log->dir, strerror(-err));
	return NULL;
}

/* ---- appending ---- */

static int pending_reserve(struct aud_log *log, size_t bytes)
{
	size_t room = log->pending_room ? log->pending_room : 64 * KIB;
	uint8_t *bigger;

	if (log->pending_bytes + log->taken_bytes + bytes > PENDING_MAX)
		return -ENOBUFS;
	while (room < log->pending_bytes + bytes)
		room *= 2;
	if (room == log->pending_room)
		return 0;
	bigger = realloc(log->pending, room);
	if (!bigger)
		return -ENOBUFS;
	log->pending = bigger;
	log->pending_room = room;
	return 0;
}

int aud_append(struct aud_log *log, struct aud_record *rec, const void *payload, size_t len,
               uint64_t *seq)
{
	size_t bytes;
	int err;

	if (len > AUD_PAYLOAD_MAX)
		return -EMSGSIZE;
	bytes = aud_fmt_record_bytes(len);
	pthread_mutex_lock(&log->mutex);
	err = log->failed || log->stopping ? -EIO : pending_reserve(log, bytes);
	if (!err) {
		if (!rec->time_ns)
			rec->time_ns = clock_wall_ns();
		rec->seq = log->next_seq++;
		memcpy(rec->boot_id, log->boot_id, sizeof(rec->boot_id));
		rec->incarnation = log->incarnation;
		rec->payload_bytes = (uint32_t)len;
		aud_fmt_record_put(rec, payload, log->pending + log->pending_bytes);
		log->pending_bytes += bytes;
		pthread_cond_signal(&log->work);
		if (seq)
			*seq = rec->seq;
	}
	pthread_mutex_unlock(&log->mutex);
	return err;
}

int aud_wait(struct aud_log *log, uint64_t seq, int64_t timeout_ns)
{
	struct timespec until = after(timeout_ns);
	int err = 0;

	pthread_mutex_lock(&log->mutex);
	if (seq > log->wanted_seq) {
		log->wanted_seq = seq < log->next_seq ? seq : log->next_seq - 1;
		pthread_cond_signal(&log->work);
	}
	while (!err && !log->failed && log->durable_seq < seq)
		err = -pthread_cond_timedwait(&log->done, &log->mutex, &until);
	if (log->failed)
		err = -EIO;
	else if (log->durable_seq >= seq)
		err = 0;
	pthread_mutex_unlock(&log->mutex);
	return err;
}

int aud_commit(struct aud_log *log, struct aud_record *rec, const void *payload, size_t len,
               uint64_t *seq)
{
	uint64_t mine;
	int err = aud_append(log, rec, payload, len, &mine);

	if (!err)
		err = aud_wait(log, mine, COMMIT_WAIT_NS);
	if (!err && seq)
		*seq = mine;
	return err;
}

uint64_t aud_durable(struct aud_log *log)
{
	uint64_t seq;

	pthread_mutex_lock(&log->mutex);
	seq = log->durable_seq;
	pthread_mutex_unlock(&log->mutex);
	return seq;
}

bool aud_failed(struct aud_log *log)
{
	bool failed;

	pthread_mutex_lock(&log->mutex);
	failed = log->failed;
	pthread_mutex_unlock(&log->mutex);
	return failed;
}

uint64_t aud_incarnation(const struct aud_log *log)
{
	return log->incarnation;
}

const char *aud_origin(const struct aud_log *log)
{
	return log->origin;
}

/* ---- heads and checkpoints ---- */

void aud_head(struct aud_log *log, struct aud_head *out)
{
	pthread_mutex_lock(&log->mutex);
	out->groups = log->tree.leaves;
	out->last_seq = log->durable_seq;
	merkle_root(&log->tree, out->root);
	if (!log->n_heads || log->heads[(log->n_heads - 1) % HEADS_MAX].groups != out->groups)
		log->heads[log->n_heads++ % HEADS_MAX] = *out;
	pthread_mutex_unlock(&log->mutex);
}

/* Is this a head that we have handed out? */
static bool head_is_ours(struct aud_log *log, uint64_t size, const uint8_t root[32])
{
	bool ours = false;

	pthread_mutex_lock(&log->mutex);
	for (uint64_t i = 0; i < HEADS_MAX && i < log->n_heads; i++) {
		if (log->heads[i].groups == size)
			ours = memcmp(log->heads[i].root, root, 32) == 0;
	}
	pthread_mutex_unlock(&log->mutex);
	return ours;
}

int aud_checkpoint_store(struct aud_log *log, const char *note)
{
	struct aud_checkpoint c = {0};
	uint8_t key[4];
	int64_t now = clock_boot_ns();
	bool keep;
	int err;

	if (!aud_checkpoint_key_id(note, key) ||
	    note_checkpoint_parse(note, c.origin, sizeof(c.origin), &c.size, c.root) ||
	    strcmp(c.origin, log->origin) != 0 || !head_is_ours(log, c.size, c.root))
		return -EINVAL;
	pthread_mutex_lock(&log->checkpoint_mutex);
	err = 0;
	keep = !log->kept_any || memcmp(key, log->kept_key, sizeof(key)) != 0;
	if (c.size > log->checkpoint_size || (c.size == log->checkpoint_size && keep)) {
		keep = keep || now - log->kept_boot_ns >= KEEP_EVERY_NS;
		err = aud_checkpoint_write(log->dir, note, keep);
		if (!err)
			log->checkpoint_size = c.size;
		if (!err && keep) {
			log->kept_any = true;
			log->kept_boot_ns = now;
			memcpy(log->kept_key, key, sizeof(key));
		}
	}
	pthread_mutex_unlock(&log->checkpoint_mutex);
	return err;
}

/* ---- opening and closing ---- */

static void boot_id_read(uint8_t out[16])
{
	char *text = NULL, hex[33];
	size_t n = 0;

	memset(out, 0, 16);
	if (file_read_all("/proc/sys/kernel/random/boot_id", 64, &text, NULL))
		return; /* a sandbox may hide it */
	for (const char *p = text; *p && n < 32; p++) {
		if (*p != '-' && *p != '\n')
			hex[n++] = *p;
	}
	hex[n] = '\0';
	free(text);
	if (hex_parse(hex, out, 16))
		memset(out, 0, 16);
}

static bool origin_ok(const char *origin)
{
	size_t len = origin ? strlen(origin) : 0;

	return len > 0 && len <= AUD_FMT_ORIGIN_MAX && utf8_valid(origin, len) &&
	       !strpbrk(origin, "\"\\");
}

static int options_check(struct aud_options *opt, char *err, size_t err_bytes)
{
	if (!opt->file_bytes)
		opt->file_bytes = FILE_BYTES_DEFAULT;
	if (!opt->group_ns)
		opt->group_ns = GROUP_NS_DEFAULT;
	if (opt->file_bytes >= AUD_FMT_FILE_MIN && opt->file_bytes <= FILE_BYTES_MAX &&
	    opt->file_bytes % AUD_FMT_FILE_HEADER == 0 && opt->group_ns > 0 &&
	    origin_ok(opt->origin))
		return 0;
	snprintf(err, err_bytes,
	         "audit log: wrong options (files of 128K to 1G in steps of 4K; the origin is 1 to "
	         "126 bytes of text without quotes)");
	return -EINVAL;
}

static int sync_init(struct aud_log *log)
{
	pthread_condattr_t attr;
	int err = pthread_condattr_init(&attr);

	if (err)
		return -err;
	err = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!err)
		err = pthread_mutex_init(&log->mutex, NULL);
	if (!err)
		err = pthread_mutex_init(&log->checkpoint_mutex, NULL);
	if (!err)
		err = pthread_cond_init(&log->work, &attr);
	if (!err)
		err = pthread_cond_init(&log->done, &attr);
	if (!err)
		err = pthread_cond_init(&log->file, NULL);
	pthread_condattr_destroy(&attr);
	return -err;
}

/* Lock, recover, and take over where the log stands. */
static int log_load(struct aud_log *log, uint64_t *cut_bytes, char *err, size_t err_bytes)
{
	struct aud_checkpoint c = {0};
	struct aud_tail t;
	int r = aud_dir_lock(log->dir_fd, &log->lock_fd);

	if (r) {
		snprintf(err, err_bytes, "%s",
		         r == -EBUSY ? "another process has it open; stop that one first"
		                     : strerror(-r));
		return r;
	}
	r = aud_recover(log->dir, &t, err, err_bytes);
	if (r)
		return r;
	log->fd = t.fd;
	if (t.origin[0] && strcmp(t.origin, log->origin) != 0) {
		snprintf(err, err_bytes, "it is the log of \"%s\", not of \"%s\"", t.origin,
		         log->origin);
		return -EUCLEAN;
	}
	log->file_number = t.file;
	log->file_bytes = t.file_bytes;
	log->pos = t.pos;
	log->group_number = t.groups + 1;
	log->group_seq = log->next_seq = t.next_seq;
	log->durable_seq = t.next_seq - 1;
	log->incarnation = t.incarnation + 1;
	log->tree = t.tree;
	memcpy(log->prev_leaf, t.prev_leaf, 32);
	*cut_bytes = t.cut_bytes;
	if (!aud_checkpoint_newest(log->dir, &c))
		log->checkpoint_size = c.size;
	free(c.note);
	return 0;
}

static int threads_start(struct aud_log *log)
{
	sigset_t all, before;
	int err;

	/* Signals are the main thread's business. */
	sigfillset(&all);
	err = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (err)
		return -err;
	err = pthread_create(&log->committer, NULL, committer_main, log);
	log->committer_runs = !err;
	if (!err) {
		log->next_asked = log->fd >= 0; /* else the first commit makes file 1 itself */
		err = pthread_create(&log->preparer, NULL, preparer_main, log);
		log->preparer_runs = !err;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static int start_record(struct aud_log *log, uint64_t cut_bytes)
{
	struct aud_record r = {.op = AUD_OP_START,
	                       .uid = getuid(),
	                       .login_uid = AUD_NO_UID,
	                       .pid = (uint32_t)getpid()};
	char payload[AUD_FMT_ORIGIN_MAX + 128];
	int n = snprintf(payload, sizeof(payload),
	                 "{\"program\":\"%s\",\"format\":%u,\"cut_bytes\":%" PRIu64 "}",
	                 log->origin, AUD_FMT_VERSION, cut_bytes);

	return aud_commit(log, &r, payload, (size_t)n, NULL);
}

static void log_stop(struct aud_log *log)
{
	pthread_mutex_lock(&log->mutex);
	log->stopping = true;
	pthread_cond_broadcast(&log->work);
	pthread_cond_broadcast(&log->file);
	pthread_mutex_unlock(&log->mutex);
	if (log->committer_runs)
		pthread_join(log->committer, NULL);
	if (log->preparer_runs)
		pthread_join(log->preparer, NULL);
}

static void log_free(struct aud_log *log)
{
	int fds[] = {log->next_fd, log->fd, log->lock_fd, log->dir_fd};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	pthread_cond_destroy(&log->work);
	pthread_cond_destroy(&log->done);
	pthread_cond_destroy(&log->file);
	pthread_mutex_destroy(&log->mutex);
	pthread_mutex_destroy(&log->checkpoint_mutex);
	free(log->group);
	free(log->pending);
	free(log->dir);
	free(log);
}

static struct aud_log *log_new(const char *dir, const struct aud_options *opt)
{
	struct aud_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->fd = log->next_fd = log->lock_fd = log->dir_fd = -1;
	log->opt = *opt;
	strcpy(log->origin, opt->origin);
	log->opt.origin = log->origin;
	log->dir = strdup(dir);
	boot_id_read(log->boot_id);
	if (sync_init(log) || !log->dir) {
		free(log->dir);
		free(log);
		return NULL;
	}
	return log;
}

int aud_open(const char *dir, const struct aud_options *opt, struct aud_log **out, char *err,
             size_t err_bytes)
{
	struct aud_options checked = *opt;
	struct aud_log *log;
	uint64_t cut = 0;
	char why[400] = "";
	int r;

	*out = NULL;
	r = options_check(&checked, err, err_bytes);
	if (r)
		return r;
	log = log_new(dir, &checked);
	if (!log) {
		snprintf(err, err_bytes, "out of memory");
		return -ENOMEM;
	}
	log->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = log->dir_fd < 0 ? -errno : log_load(log, &cut, why, sizeof(why));
	if (!r && cut)
		log_warn("audit log %s: cut off a torn group behind record %" PRIu64, dir,
		         log->durable_seq);
	if (!r)
		r = threads_start(log);
	if (!r)
		r = start_record(log, cut);
	if (r) {
		snprintf(err, err_bytes, "audit log %s cannot be opened: %s", dir,
		         why[0] ? why : strerror(-r));
		log_stop(log);
		log_free(log);
		return r;
	}
	*out = log;
	return 0;
}

void aud_close(struct aud_log *log)
{
	struct aud_record r = {.op = AUD_OP_STOP,
	                       .uid = getuid(),
	                       .login_uid = AUD_NO_UID,
	                       .pid = (uint32_t)getpid()};

	if (!log)
		return;
	if (aud_append(log, &r, NULL, 0, NULL))
		log_warn("audit log %s: closed without its last record", log->dir);
	log_stop(log);
	log_free(log);
}
