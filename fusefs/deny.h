/*
 * deny.h — denials, written down: each one, until one uid causes more than DENY_PER_SECOND of them;
 * then the rest of that second becomes one record with their count (aux). Any thread; never blocks
 * on the disk.
 */
#ifndef CUSTOS_DENY_H
#define CUSTOS_DENY_H

#include "engine/audit/audit.h"

#define DENY_PER_SECOND 10

/* One uid's second. Zero-initialise. */
struct deny_bucket {
	int64_t second_ns; /* when it began (boot time) */
	uint32_t seen, counted;
};
/* Pure. true: write this one down itself. A second that is over with counted > 0 must have been
 * taken by deny_take() before. */
bool deny_admit(struct deny_bucket *b, int64_t now_ns);
/* Pure. How many were only counted in a second that is over; they are settled by that. */
uint32_t deny_take(struct deny_bucket *b, int64_t now_ns);

struct deny_log;
int deny_new(struct aud_log *log, struct deny_log **out) MUST_CHECK;
void deny_free(struct deny_log *d);
/* op: what was tried ("lookup" …); why: gate_verdict_name(); path: what for. */
void deny_note(struct deny_log *d, uid_t uid, pid_t pid, uint64_t grant, int err, const char *op,
               const char *why, const char *path);
/* Writes down what was counted; all: also for a second that is not over. */
void deny_flush(struct deny_log *d, bool all);
uint64_t deny_total(const struct deny_log *d);

#endif
