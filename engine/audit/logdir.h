/*
 * logdir.h — inside the audit room: the files of a log's folder as its one writer handles them:
 * the lock, log files made ahead, recovery, checkpoints.
 */
#ifndef CUSTOS_AUDIT_LOGDIR_H
#define CUSTOS_AUDIT_LOGDIR_H

#include "engine/audit/logformat.h"

/* ---- files (logdir.c) ---- */

/* Takes the writer's lock on the folder; the descriptor holds it. -EBUSY. */
int aud_dir_lock(int dir_fd, int *lock_fd) MUST_CHECK;
/* Makes `next`: allocated, written with zeros, durable. *fd stays open. Blocks for as long as the
 * disk needs. Leaves nothing behind on failure. */
int aud_next_make(int dir_fd, uint64_t bytes, int *fd) MUST_CHECK;
/* Gives `next` (open as fd) its header and its number, durably. */
int aud_next_activate(int dir_fd, int fd, const struct aud_fmt_file *f) MUST_CHECK;

/* ---- recovery (recover.c) ---- */

/* Where the writer goes on. */
struct aud_tail {
	int fd; /* newest log file; -1: the log is empty, no file yet */
	uint64_t file, file_bytes, pos;
	uint64_t groups, next_seq, incarnation; /* incarnation: the last one */
	uint64_t cut_bytes;                     /* torn bytes that were cut off */
	uint8_t prev_leaf[32];
	char origin[AUD_FMT_ORIGIN_MAX + 1]; /* "" for an empty log */
	struct merkle tree;
};
/* Reads and checks the whole log, compares the newest checkpoint, cuts a torn tail, makes the rest
 * durable. -EUCLEAN: does not verify. */
int aud_recover(const char *dir, struct aud_tail *t, char *err, size_t err_bytes) MUST_CHECK;

/* ---- checkpoints (checkpoint.c) ---- */

struct aud_checkpoint {
	char origin[128];
	uint64_t size;
	uint8_t root[32];
	bool readable; /* false: not a checkpoint at all; the rest is empty */
	char *note;    /* the whole signed note, malloc'ed */
};
/* `checkpoint`, without checking signatures. -ENOENT; -EUCLEAN: not a checkpoint. Free note. */
int aud_checkpoint_newest(const char *dir, struct aud_checkpoint *out) MUST_CHECK;
/* All of `checkpoints` in order, then `checkpoint` (*has_newest) last. An unfinished note at the
 * end of `checkpoints` (power cut) is left out. */
int aud_checkpoint_all(const char *dir, struct aud_checkpoint **out, size_t *n,
                       bool *has_newest) MUST_CHECK;
void aud_checkpoint_free(struct aud_checkpoint *all, size_t n);
/* Replaces `checkpoint`; appends to `checkpoints` if keep. */
int aud_checkpoint_write(const char *dir, const char *note, bool keep) MUST_CHECK;
/* The key id of a note's first signature; false when it has none. */
bool aud_checkpoint_key_id(const char *note, uint8_t id[4]);

#endif
