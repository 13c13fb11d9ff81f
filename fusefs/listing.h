/*
 * listing.h — the files of a grant's camera on one local day, and open views, each made once and
 * shared while it is good. A file lies in the day of its first frame. Any thread; may block on the
 * disk. Nothing here checks rights.
 */
#ifndef CUSTOS_LISTING_H
#define CUSTOS_LISTING_H

#include "fusefs/stores.h"
#include "fusefs/tree.h"

struct listings;
int listings_new(struct stores *stores, int64_t slice_ns, struct listings **out) MUST_CHECK;
void listings_free(struct listings *l);

/* An immutable list with counted references. */
struct listing {
	struct view_file *files;
	size_t n;
	unsigned refs; /* listing.c's */
};
/* -ENOENT: not a day of the grant's window. An empty list is no error. */
int listing_day(struct listings *l, struct grant *g, uint32_t camera, const char *day,
                struct listing **out) MUST_CHECK;
void listing_put(struct listings *l, struct listing *x);
/* The file of that name on that day: listed, or an earlier name of a growing one. -ENOENT. */
int listing_find(struct listings *l, struct grant *g, uint32_t camera, const char *day,
                 const char *name, struct view_file *out) MUST_CHECK;
/* The days of the window that have files, ascending; malloc'ed. */
int listing_days(struct listings *l, struct grant *g, uint32_t camera, char (**out)[TREE_DAY_MAX],
                 size_t *n) MUST_CHECK;
/* Forgets what was listed for this grant object. */
void listing_drop(struct listings *l, const struct grant *g);

/* An open view, shared by all handles on the same (stream, run, a, b). Errors of view_open(). */
struct shared_view;
int shared_view_get(struct listings *l, const char *camera, const struct view_file *file,
                    struct shared_view **out) MUST_CHECK;
void shared_view_put(struct listings *l, struct shared_view *v);
struct view *shared_view(const struct shared_view *v);

#endif
