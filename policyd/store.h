/*
 * store.h — the SQLite projection: what reports and other programs may query. Never the truth.
 *
 * Tables (STRICT): requests, signatures, grants, policies, meta(applied_seq). Written in the same
 * order as events; at start compared, row by row, with what the log says at its applied_seq; any
 * difference (or damage) makes it be rebuilt. One thread.
 */
#ifndef CUSTOS_STORE_H
#define CUSTOS_STORE_H

#include "policyd/state.h"

struct pol_store;

/* ---- at start: open, feed the replayed states, finish ---- */

/* Opens or makes the file. Never fails over what is in the file: something that is no database of
 * ours counts as a difference. -ENOMEM, -EIO. */
int store_open(const char *path, struct pol_store **out) MUST_CHECK;
/* Called with each replayed state: when s->applied_seq is the file's, the rows are compared. */
void store_replayed(struct pol_store *db, const struct pol_state_all *s);
/* Brings the file to `s`: forward when it matched, from nothing when it did not (*tampered, and
 * *what says how) or was new. -EIO. */
int store_finish(struct pol_store *db, const struct pol_state_all *s, bool *tampered,
                 const char **what) MUST_CHECK;

/* ---- afterwards ---- */

/* Writes the rows that this event changed, in one durable transaction. -EIO. */
int store_apply(struct pol_store *db, const struct pol_state_all *s,
                const struct pol_event *ev) MUST_CHECK;
void store_close(struct pol_store *db);

#endif
