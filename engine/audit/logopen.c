/*
 * logopen.c — opening a log (lock, recover, threads, START) and closing it (STOP, drain).
 */
#include "engine/audit/logpriv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_BYTES_DEFAULT (16 * MIB)
#define FILE_BYTES_MAX     (1 * GIB)
#define GROUP_NS_DEFAULT   (2 * NSEC_PER_MSEC)

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
		err = pthread_cond_init(&log->file, &attr);
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
	log->left_bytes = t.file_bytes - t.pos;
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
	err = pthread_create(&log->committer, NULL, aud_committer_main, log);
	log->committer_runs = !err;
	if (!err) {
		log->next_asked = log->fd >= 0; /* else the first commit makes file 1 itself */
		err = pthread_create(&log->preparer, NULL, aud_preparer_main, log);
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

	/* Without a limit: nobody is kept waiting yet, and a disk may be busy at a start. */
	int err = aud_append(log, &r, payload, (size_t)n, NULL);

	return err ? err : aud_wait(log, r.seq, INT64_MAX);
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
	snprintf(log->origin, sizeof(log->origin), "%s", opt->origin);
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
