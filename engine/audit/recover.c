/*
 * recover.c — what a log is when its writer opens it.
 *
 *   what is found                                            what is done
 *   whole groups, then zeros                                 go on behind them
 *   … then bytes that are no group, at the very end:
 *     nothing intact behind, no checkpoint over them         torn by a crash: cut off
 *     an intact group or a later file behind                 refused
 *     the newest checkpoint covers more than is intact       refused
 *   another root than the newest checkpoint's                refused
 *   a hole, a wrong number, a broken chain                   refused
 *
 * Refused means -EUCLEAN: the daemon does not serve, and people look at the log with
 * `custos audit verify`. The whole log is read: a daemon that goes on from a log that somebody has
 * changed would have the change signed by its next checkpoint.
 */
#include "engine/audit/logdir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/audit/scan.h"

/* Compares the tree with the checkpoint when it has just reached its size. */
static int root_check(const struct aud_tail *t, const struct aud_checkpoint *c, char *err,
                      size_t err_bytes)
{
	uint8_t root[32];

	if (!c->readable || c->size != t->groups)
		return 0;
	merkle_root(&t->tree, root);
	if (!memcmp(root, c->root, sizeof(root)))
		return 0;
	snprintf(err, err_bytes,
	         "the log was changed: its first %" PRIu64 " groups (to record %" PRIu64
	         ") do not have the root that its checkpoint signs",
	         t->groups, t->next_seq - 1);
	return -EUCLEAN;
}

/* The incarnation of a group's last record. */
static uint64_t incarnation_of(const struct aud_scan_group *g)
{
	struct aud_record r = {0};
	const uint8_t *payload;
	size_t used, at = 0;

	for (uint32_t i = 0; i < g->records; i++, at += used) {
		if (aud_fmt_record_get(g->records_at + at, g->bytes - at, &r, &payload, &used))
			abort(); /* the scan has checked it */
	}
	return r.incarnation;
}

/* Overwrites everything from pos with zeros, durably. */
static int tail_cut(int fd, uint64_t pos, uint64_t bytes)
{
	static const uint8_t zeros[4096];
	uint64_t n;
	int err = 0;

	for (; !err && pos < bytes; pos += n) {
		n = bytes - pos < sizeof(zeros) ? bytes - pos : sizeof(zeros);
		err = file_pwrite_full(fd, zeros, n, pos);
	}
	return err;
}

static int scan_all(struct aud_scan *s, struct aud_tail *t, const struct aud_checkpoint *c,
                    bool *torn, char *err, size_t err_bytes)
{
	struct aud_scan_fault fault = {0};
	struct aud_scan_group g;
	int r;

	do {
		while ((r = aud_scan_next(s, &g, &fault)) == 1) {
			merkle_add(&t->tree, g.leaf);
			t->groups = g.number;
			t->next_seq = g.first_seq + g.records;
			t->incarnation = incarnation_of(&g);
			r = root_check(t, c, err, err_bytes);
			if (r)
				return r;
		}
		if (!r)
			r = aud_scan_end_check(s, &fault);
	} while (r == 1);
	if (r == -EUCLEAN) {
		snprintf(err, err_bytes, "%s", fault.what);
		*torn = fault.tail;
		if (fault.tail)
			r = 0;
	} else if (r) {
		snprintf(err, err_bytes, "cannot read the log: %s", strerror(-r));
	}
	return r;
}

static int tail_settle(struct aud_scan *s, struct aud_tail *t, bool torn)
{
	char name[AUD_FILE_NAME_MAX];
	int err = 0;

	aud_file_name(s->file, name);
	t->fd = openat(s->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (t->fd < 0)
		return -errno;
	if (torn) {
		t->cut_bytes = s->file_bytes - s->pos;
		err = tail_cut(t->fd, s->pos, s->file_bytes);
	}
	/* The last writer may have died between its write and its flush: what is read here must be
	 * on the disk before anything is chained to it. */
	if (!err && (fdatasync(t->fd) || fsync(s->dir_fd)))
		err = -errno;
	t->file = s->file;
	t->file_bytes = s->file_bytes;
	t->pos = s->pos;
	memcpy(t->prev_leaf, s->prev_leaf, 32);
	memcpy(t->origin, s->origin, sizeof(t->origin));
	return err;
}

static int checkpoint_covers(const struct aud_tail *t, const struct aud_checkpoint *c, char *err,
                             size_t err_bytes)
{
	char why[256];

	if (!c->readable || c->size <= t->groups)
		return 0;
	snprintf(why, sizeof(why), "%.200s", err);
	snprintf(err, err_bytes,
	         "the log ends with record %" PRIu64 " (group %" PRIu64
	         "), but its checkpoint signs %" PRIu64 " groups: its tail was cut or damaged%s%s",
	         t->next_seq - 1, t->groups, c->size, why[0] ? ": " : "", why);
	return -EUCLEAN;
}

static int recover_with(const char *dir, const struct aud_checkpoint *c, struct aud_tail *t,
                        char *err, size_t err_bytes)
{
	struct aud_scan_fault fault = {0};
	struct aud_scan s;
	bool torn = false;
	int r = aud_scan_open(&s, dir, &fault);

	if (r == -ENOENT) {
		err[0] = '\0';
		return checkpoint_covers(t, c, err, err_bytes);
	}
	if (r) {
		snprintf(err, err_bytes, "%s", r == -EUCLEAN ? fault.what : strerror(-r));
		return r;
	}
	err[0] = '\0';
	r = scan_all(&s, t, c, &torn, err, err_bytes);
	if (!r)
		r = checkpoint_covers(t, c, err, err_bytes);
	if (!r && c->readable && strcmp(c->origin, s.origin) != 0) {
		r = -EUCLEAN;
		snprintf(err, err_bytes, "the checkpoint is of another log: \"%s\", not \"%s\"",
		         c->origin, s.origin);
	}
	if (!r) {
		r = tail_settle(&s, t, torn);
		if (r)
			snprintf(err, err_bytes, "cannot write the log: %s", strerror(-r));
	}
	aud_scan_close(&s);
	return r;
}

int aud_recover(const char *dir, struct aud_tail *t, char *err, size_t err_bytes)
{
	struct aud_checkpoint c;
	int r = aud_checkpoint_newest(dir, &c);

	memset(t, 0, sizeof(*t));
	t->fd = -1;
	t->next_seq = 1;
	if (r && r != -ENOENT) {
		snprintf(err, err_bytes, "the file checkpoint %s",
		         r == -EUCLEAN ? "is not a checkpoint" : strerror(-r));
	} else {
		r = recover_with(dir, &c, t, err, err_bytes);
	}
	free(c.note);
	if (r && t->fd >= 0) {
		close(t->fd);
		t->fd = -1;
	}
	return r;
}
