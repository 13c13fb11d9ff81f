/*
 * child.h — an ingest child as the recorder sees it: a process, its ring, its one job.
 *
 * The program is found beside our own (/proc/self/exe), else in CUSTOS_LIBEXECDIR. Nothing blocks
 * but the start (about a millisecond) and the reaping of a process that was killed.
 */
#ifndef CUSTOS_CHILD_H
#define CUSTOS_CHILD_H

#include "engine/recorder/job.h"
#include "engine/recorder/ring.h"

struct child {
	pid_t pid;  /* 0: none */
	int pid_fd; /* readable when it has ended */
	int sock;
	struct ring *ring; /* stays readable until child_close() */
};
#define CHILD_NONE                       \
	{                                \
		.pid_fd = -1, .sock = -1 \
	}

/* Starts it with *job; media_fd -1 for network sources, else borrowed. ring_bytes 0: default. */
int child_start(struct child *c, const struct ingest_job *job, int media_fd,
                uint64_t ring_bytes) MUST_CHECK;
/* Has it ended? Reaps it; *status as waitpid gives it. */
bool child_ended(struct child *c, int *status);
/* SIGKILL and reap. No-op without a process. */
void child_kill(struct child *c);
/* Kills what still runs and gives everything back. */
void child_close(struct child *c);

#endif
