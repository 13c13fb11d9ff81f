/*
 * cover.h — which bytes of a handle may leave: the rule of cover records, as a pure state machine.
 *
 * A cover record in the audit log says "bytes [from, to) of this handle may be read from now on".
 * The rule: a reply may leave only if one durable cover of the same handle contains every byte of
 * it and is at most COVER_AGE_NS old, counted from when it was asked for. A set belongs to one
 * handle, hence to one incarnation, uid and grant: those need no comparing.
 *
 *   read ──plan──▶ GO      a durable, fresh cover contains it
 *              ├─▶ WAIT    one that contains it has been asked for: wait for its record
 *              └─▶ ASK     append a cover record for [from, to), cover_add() it, wait for it
 *   and, for a sequential reader past the middle of its region, AHEAD: append the next one too, so
 *   that it is durable before it is needed; nobody waits for it.
 *
 * Sequential regions double from 1 to 16 MiB; a random read gets the aligned 1 MiB pieces it lies
 * in; all are clipped to the file. No I/O, no locks, no clock of its own: the caller has the lock.
 */
#ifndef CUSTOS_COVER_H
#define CUSTOS_COVER_H

#include "engine/base/base.h"

#define COVER_STEP_MIN (1 * MIB)
#define COVER_STEP_MAX (16 * MIB)
#define COVER_AGE_NS   (10 * NSEC_PER_SEC)
/* A cover this old is not planned on any more, so that it seldom ends while a read is under way. */
#define COVER_RENEW_NS (8 * NSEC_PER_SEC)
#define COVER_REGIONS  32

struct cover_region {
	uint64_t from, to;
	uint64_t seq; /* of its record in the log; 0: free */
	int64_t asked_ns;
};
/* Zero-initialise. */
struct cover_set {
	struct cover_region region[COVER_REGIONS];
	uint64_t last_from, last_to; /* of the last planned read */
	uint64_t step;               /* size of the last sequential region, 0: none yet */
};
enum cover_act { COVER_GO, COVER_WAIT, COVER_ASK };
struct cover_plan {
	enum cover_act act;
	uint64_t wait_seq; /* WAIT */
	uint64_t from, to; /* ASK */
	bool ahead;
	uint64_t ahead_from, ahead_to; /* AHEAD */
};

/* The rule itself. durable_seq: the log's last durable record. from < to. */
bool cover_allows(const struct cover_set *s, uint64_t from, uint64_t to, int64_t now_ns,
                  uint64_t durable_seq);
/* What to do for a read of [from, to), from < to <= size. Remembers the read (sequence, growth). */
void cover_plan(struct cover_set *s, uint64_t from, uint64_t to, uint64_t size, int64_t now_ns,
                uint64_t durable_seq, struct cover_plan *out);
/* A cover record was appended as seq (> 0); takes the place of the oldest. */
void cover_add(struct cover_set *s, uint64_t from, uint64_t to, uint64_t seq, int64_t asked_ns);

#endif
