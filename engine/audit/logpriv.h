/*
 * logpriv.h — inside the audit room: the writer's state, shared by log.c (append, wait, heads),
 * commit.c (its two threads) and logopen.c.
 */
#ifndef CUSTOS_AUDIT_LOGPRIV_H
#define CUSTOS_AUDIT_LOGPRIV_H

#include <pthread.h>

#include "engine/audit/logdir.h"

#define AUD_HEADS_MAX 64

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
	bool next_failed;                     /* the last try: the disk is full, mostly */
	uint64_t left_bytes;                  /* of the current file */
	struct merkle tree;                   /* over durable groups */
	struct aud_head heads[AUD_HEADS_MAX]; /* handed out lately, ring */
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

/* Thread bodies (commit.c); arg is the log. */
void *aud_committer_main(void *arg);
void *aud_preparer_main(void *arg);
/* CLOCK_MONOTONIC now + ns, for the log's condition variables. */
struct timespec aud_after(int64_t ns);

#endif
