/*
 * verifier.c — judging a log from its files and one public key.
 *
 * Two kinds of proof are put together. The walk over the groups (scan.c) finds what does not fit
 * its own digests, numbers and chain, and names the record. What a forger has made fit again, by
 * recomputing them all, is found where the next signed checkpoint has another root than the files:
 * then it is known that a record between two checkpoints was changed, and the first possible one is
 * named. What is behind the newest checkpoint nobody has signed; its age is reported.
 */
#include "engine/audit/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/audit/covers.h"
#include "engine/audit/logdir.h"
#include "engine/audit/note.h"
#include "engine/audit/scan.h"

/* How long a living writer may take between the first and the last byte of one group. */
#define LIVE_PATIENCE_NS (2 * NSEC_PER_SEC)
#define LIVE_PAUSE_NS    (10 * NSEC_PER_MSEC)

struct verify {
	struct aud_verdict *out;
	struct aud_checkpoint *all; /* sorted by size */
	bool *good;                 /* signed by our key */
	size_t n, at;               /* at: next to compare */
	struct merkle tree;
	struct aud_covers *covers;
	uint64_t signed_groups; /* of the newest good checkpoint, once compared */
	int64_t first_unsigned_ns;
	bool root_differs;
};

static void PRINTF(3, 4) bad(struct verify *v, uint64_t seq, const char *format, ...)
{
	va_list ap;

	if (!v->out->ok)
		return; /* the first one counts */
	v->out->ok = false;
	v->out->first_bad_seq = seq;
	va_start(ap, format);
	vsnprintf(v->out->what, sizeof(v->out->what), format, ap);
	va_end(ap);
}

/* ---- checkpoints ---- */

static int by_size(const void *a, const void *b)
{
	const struct aud_checkpoint *x = a, *y = b;

	return x->size < y->size ? -1 : x->size > y->size;
}

/* The newest must still be there: without it, the tail it signs could be cut unseen. */
static void newest_check(struct verify *v, bool has_newest)
{
	uint64_t kept = 0;

	for (size_t i = 0; i + has_newest < v->n; i++) {
		if (v->all[i].readable && v->all[i].size > kept)
			kept = v->all[i].size;
	}
	if (v->n && !has_newest)
		bad(v, 0, "the file checkpoint is missing while older checkpoints are there");
	else if (v->n && v->all[v->n - 1].readable && v->all[v->n - 1].size < kept)
		bad(v, 0,
		    "the file checkpoint was replaced by an older one: it signs %" PRIu64
		    " groups, an older one %" PRIu64,
		    v->all[v->n - 1].size, kept);
}

static int checkpoints_load(struct verify *v, const char *dir, const char *vkey)
{
	bool has_newest;
	size_t text_bytes;
	int r = aud_checkpoint_all(dir, &v->all, &v->n, &has_newest);

	if (r)
		return r;
	newest_check(v, has_newest);
	v->good = calloc(v->n ? v->n : 1, sizeof(*v->good));
	if (!v->good)
		return -ENOMEM;
	if (v->n)
		qsort(v->all, v->n, sizeof(*v->all), by_size);
	for (size_t i = 0; i < v->n; i++) {
		r = note_verify(vkey, v->all[i].note, &text_bytes);
		if (r == -EINVAL)
			return r;
		v->good[i] = !r && v->all[i].readable;
		free(v->all[i].note);
		v->all[i].note = NULL;
	}
	return 0;
}

static uint64_t first_after_signed(const struct verify *v)
{
	return v->out->signed_records + 1;
}

/* Compares every checkpoint of exactly the groups so far. */
static void checkpoints_compare(struct verify *v)
{
	const struct aud_checkpoint *c;
	uint8_t root[32];

	for (; v->at < v->n && v->all[v->at].size <= v->tree.leaves; v->at++) {
		c = &v->all[v->at];
		merkle_root(&v->tree, root);
		if (!v->good[v->at]) {
			bad(v, first_after_signed(v),
			    c->readable ? "re-signed: the checkpoint over %" PRIu64
			                  " groups (from record %" PRIu64
			                  " on) is not signed by the given key, or was changed"
			                : "a checkpoint is damaged: it cannot be read (%" PRIu64
			                  " groups, record %" PRIu64 ")",
			    c->size, first_after_signed(v));
		} else if (strcmp(c->origin, v->out->origin) != 0) {
			bad(v, first_after_signed(v), "a checkpoint is of another log: \"%.100s\"",
			    c->origin);
		} else if (memcmp(root, c->root, sizeof(root)) != 0) {
			v->root_differs = true;
			bad(v, first_after_signed(v),
			    "changed: records %" PRIu64 "-%" PRIu64
			    " are not those that were signed; one or more were rewritten and their "
			    "digests recomputed",
			    first_after_signed(v), v->out->records);
		} else {
			v->out->checkpoints++;
			v->out->signed_records = v->out->records;
			v->signed_groups = c->size;
			v->first_unsigned_ns = 0;
		}
		if (!v->out->ok)
			return;
	}
}

/* What signs more than there is. */
static void checkpoints_beyond(struct verify *v)
{
	const struct aud_checkpoint *c;

	for (; v->at < v->n && v->out->ok; v->at++) {
		c = &v->all[v->at];
		if (v->good[v->at])
			bad(v, v->out->records + 1,
			    "truncated: the log ends with record %" PRIu64 " (group %" PRIu64
			    "), but a signed checkpoint covers %" PRIu64 " groups",
			    v->out->records, v->tree.leaves, c->size);
		else
			bad(v, first_after_signed(v),
			    "re-signed: a checkpoint over %" PRIu64
			    " groups is not signed by the given key",
			    c->size);
	}
}

/* ---- records ---- */

static int group_judge(struct verify *v, const struct aud_scan_group *g)
{
	struct aud_record r;
	const uint8_t *payload;
	size_t used, at = 0;
	int err = 0;

	for (uint32_t i = 0; !err && i < g->records; i++, at += used) {
		err = aud_fmt_record_get(g->records_at + at, g->bytes - at, &r, &payload, &used);
		if (err)
			break;
		v->out->last_record_ns = r.time_ns;
		if (!v->first_unsigned_ns)
			v->first_unsigned_ns = r.time_ns;
		err = aud_covers_see(v->covers, &r);
	}
	v->out->records += g->records;
	v->out->groups++;
	merkle_add(&v->tree, g->leaf);
	checkpoints_compare(v);
	return err;
}

/* A group that looks torn may be one that a living writer is just writing: look again. */
static bool look_again(const struct aud_scan *s, const struct aud_scan_fault *fault, int64_t *since)
{
	struct timespec pause = {.tv_nsec = LIVE_PAUSE_NS};

	if (!fault->tail || !aud_scan_live(s))
		return false;
	if (!*since)
		*since = clock_boot_ns();
	if (clock_boot_ns() - *since > LIVE_PATIENCE_NS)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

/* The root differs; if the next group is still chained to what stood before it, the group that was
 * rewritten is known exactly. */
static void narrow(struct verify *v, struct aud_scan *s)
{
	struct aud_scan_fault fault = {0};
	struct aud_scan_group g;

	if (aud_scan_next(s, &g, &fault) != -EUCLEAN || fault.seq > v->out->records)
		return;
	v->out->ok = true;
	bad(v, fault.seq, "%s", fault.what);
}

static int walk(struct verify *v, struct aud_scan *s)
{
	struct aud_scan_fault fault = {0};
	struct aud_scan_group g;
	int64_t since = 0;
	int r;

	checkpoints_compare(v); /* one may sign the empty log */
	while (v->out->ok) {
		r = aud_scan_next(s, &g, &fault);
		if (r == 0)
			r = aud_scan_end_check(s, &fault) ?: 2;
		else if (r == 1)
			r = group_judge(v, &g) ?: 3;
		if (r == 2)
			return 0;
		if (r == 3)
			since = 0;
		if (r == -EUCLEAN) {
			if (look_again(s, &fault, &since))
				continue;
			bad(v, fault.seq, "%s%s", fault.what,
			    fault.tail && v->tree.leaves >= (v->n ? v->all[v->n - 1].size : 0)
			            ? " (not signed yet; a power cut leaves this, opening the log "
			              "cuts it off)"
			            : "");
		} else if (r < 0) {
			return r;
		}
	}
	if (v->root_differs)
		narrow(v, s);
	return 0;
}

static int verify_with(struct verify *v, const char *dir, const char *vkey, char *err,
                       size_t err_bytes)
{
	struct aud_scan_fault fault = {0};
	struct aud_scan s;
	/* Checkpoints first: the log may grow meanwhile, but never below one. */
	int r = checkpoints_load(v, dir, vkey);

	if (r) {
		snprintf(err, err_bytes, "%s",
		         r == -EINVAL ? "that is no verifier key (name+hash+base64)"
		                      : strerror(-r));
		return r;
	}
	r = aud_scan_open(&s, dir, &fault);
	if (r == -ENOENT && v->n) {
		bad(v, 1, "truncated: checkpoints are there, but not one log file");
		return 0;
	}
	if (r == -EUCLEAN) {
		bad(v, fault.seq, "%s", fault.what);
		return 0;
	}
	if (r) {
		snprintf(err, err_bytes, "audit log %s cannot be read: %s", dir,
		         r == -ENOENT ? "there is none" : strerror(-r));
		return r;
	}
	snprintf(v->out->origin, sizeof(v->out->origin), "%s", s.origin);
	r = walk(v, &s);
	aud_scan_close(&s);
	if (r)
		snprintf(err, err_bytes, "audit log %s cannot be read: %s", dir, strerror(-r));
	else
		checkpoints_beyond(v);
	return r;
}

int aud_verify(const char *dir, const char *vkey, int64_t now_ns, struct aud_verdict *out,
               char *err, size_t err_bytes)
{
	struct verify v = {.out = out};
	int r = aud_covers_new(&v.covers);

	memset(out, 0, sizeof(*out));
	out->ok = true;
	if (r)
		snprintf(err, err_bytes, "out of memory");
	else
		r = verify_with(&v, dir, vkey, err, err_bytes);
	out->unsettled = v.covers ? aud_covers_unsettled(v.covers) : 0;
	if (v.first_unsigned_ns)
		out->unsigned_age_ns = now_ns - v.first_unsigned_ns;
	aud_covers_free(v.covers);
	aud_checkpoint_free(v.all, v.n);
	free(v.good);
	return r;
}
