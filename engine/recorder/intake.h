/*
 * intake.h — from an ingest child's ring into one stream of the store.
 *
 * Owns the child, decides about runs: each begins at a key frame and has a cause, each ends with
 * one. What the child says about times is checked against our own clock. One thread; nothing
 * blocks.
 */
#ifndef CUSTOS_INTAKE_H
#define CUSTOS_INTAKE_H

#include "engine/engine.h"
#include "engine/recorder/child.h"

struct intake_hooks { /* all optional */
	void (*run)(void *arg, bool begins, enum eng_reason reason, int64_t time_ns);
	void (*alarm)(void *arg, const char *line);
	void *arg;
};

struct intake {
	/* set once */
	const char *camera;
	struct eng_stream *stream;
	struct intake_hooks hooks;
	bool hold;                  /* full buffers: wait (feeds) instead of dropping (cameras) */
	int64_t start_ns, limit_ns; /* import: footage must lie in [start, limit); else NO_TIME */
	/* of the child */
	struct child child;
	bool ended; /* it has said its last word, or died */
	enum eng_reason end_reason;
	char text[RING_TEXT_MAX]; /* its last END or NOTE line */
	int64_t heard_boot_ns;    /* last frame, or its start */
	int refused;              /* import: -EEXIST, -EINVAL, -ENOSPC: taken no further */
	/* of the run */
	bool run_open, have_setup, held;
	enum eng_reason next_reason; /* what explains the gap before the next run */
	int64_t retry_boot_ns;       /* store full: not before */
	int64_t run_end_ns;          /* latest end of a frame taken, ENG_NO_TIME */
	struct ring_record *rec;
	/* counts */
	uint64_t frames, bytes, dropped, runs;
	uint64_t unstored;        /* of the dropped: because the store could not take them */
	int64_t first_ns, end_ns; /* of what this child brought */
};

int intake_init(struct intake *in, const char *camera, struct eng_stream *stream, bool hold,
                const struct intake_hooks *hooks) MUST_CHECK;
void intake_free(struct intake *in);
/* Starts a child for job; counts begin anew. media_fd is borrowed, -1: none. */
int intake_start(struct intake *in, const struct ingest_job *job, int media_fd) MUST_CHECK;
/* Moves up to `budget` records into the store. True: there is more, or a frame is held. */
bool intake_run(struct intake *in, unsigned budget);
/* The child's process has ended or must: drains what is valid, ends the run with the child's own
 * reason, `reason` if it gave none. */
void intake_stop(struct intake *in, enum eng_reason reason);
/* Ends the run, keeps the child (a feed that pauses). */
void intake_break(struct intake *in, enum eng_reason reason);
static inline bool intake_active(const struct intake *in)
{
	return in->child.ring != NULL;
}

#endif
