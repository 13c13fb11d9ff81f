/*
 * listing.c — cached day lists and shared views (listing.h).
 *
 * A list is good while the store has not changed. A busy store changes several times a second, so
 * beyond that a list is also good for a moment: FRESH_NS while footage may still arrive in its day,
 * SETTLED_NS when the day has passed. Both are far below what anybody could call late, and what was
 * removed meanwhile is refused by the reader, not by the list.
 *
 * A day is listed with a margin on both sides, cut off afterwards: the edges of the list must be
 * edges of the window, never of the day, or files over midnight would differ from day to day.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fusefs/listing.h"

#define FRESH_NS         (300 * NSEC_PER_MSEC)
#define SETTLED_NS       (2 * NSEC_PER_SEC)
#define SETTLED_AFTER_NS (60 * NSEC_PER_SEC)
#define MARGIN_NS        (3600 * NSEC_PER_SEC) /* no GOP is longer */
#define CACHED           256

struct entry {
	struct grant *grant; /* NULL: free; a counted reference, so the pointer is not used anew */
	uint32_t camera;
	char day[TREE_DAY_MAX];
	struct listing *list;
	uint64_t change;
	int64_t made_ns, used_ns; /* boot */
};
struct shared_view {
	struct shared_view *next;
	struct view_file file;
	struct view *view;
	unsigned refs;
};
struct listings {
	struct stores *stores;
	int64_t slice_ns;
	pthread_mutex_t lock;
	struct entry cache[CACHED];
	struct shared_view *views;
};

int listings_new(struct stores *stores, int64_t slice_ns, struct listings **out)
{
	struct listings *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->stores = stores;
	l->slice_ns = slice_ns;
	pthread_mutex_init(&l->lock, NULL);
	*out = l;
	return 0;
}

/* With the lock held. */
static void list_unref(struct listing *x)
{
	if (x && --x->refs == 0) {
		free(x->files);
		free(x);
	}
}

static void entry_clear(struct entry *e)
{
	list_unref(e->list);
	grant_put(e->grant);
	memset(e, 0, sizeof(*e));
}

void listings_free(struct listings *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < CACHED; i++)
		entry_clear(&l->cache[i]);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void listing_put(struct listings *l, struct listing *x)
{
	pthread_mutex_lock(&l->lock);
	list_unref(x);
	pthread_mutex_unlock(&l->lock);
}

void listing_drop(struct listings *l, const struct grant *g)
{
	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < CACHED; i++)
		if (l->cache[i].grant == g)
			entry_clear(&l->cache[i]);
	pthread_mutex_unlock(&l->lock);
}

/* With the lock held. */
static struct entry *entry_find(struct listings *l, const struct grant *g, uint32_t camera,
                                const char *day)
{
	for (size_t i = 0; i < CACHED; i++) {
		struct entry *e = &l->cache[i];

		if (e->grant == g && e->camera == camera && !strcmp(e->day, day))
			return e;
	}
	return NULL;
}

static bool entry_good(const struct entry *e, uint64_t change, int64_t day_to_ns)
{
	int64_t age = clock_boot_ns() - e->made_ns;
	bool settled = day_to_ns + SETTLED_AFTER_NS < clock_wall_ns();

	return e->change == change || age < (settled ? SETTLED_NS : FRESH_NS);
}

/* With the lock held. Takes over nothing: the cache gets a reference of its own. */
static void entry_store(struct listings *l, struct grant *g, uint32_t camera, const char *day,
                        struct listing *list, uint64_t change)
{
	struct entry *e = entry_find(l, g, camera, day);

	if (!e) {
		e = &l->cache[0];
		for (size_t i = 0; i < CACHED && e->grant; i++)
			if (!l->cache[i].grant || l->cache[i].used_ns < e->used_ns)
				e = &l->cache[i];
	}
	grant_get(g);
	entry_clear(e);
	e->grant = g;
	e->camera = camera;
	snprintf(e->day, sizeof(e->day), "%s", day);
	e->list = list;
	list->refs++;
	e->change = change;
	e->made_ns = e->used_ns = clock_boot_ns();
}

static int64_t max_ns(int64_t a, int64_t b)
{
	return a > b ? a : b;
}
static int64_t min_ns(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The list as the store tells it now. */
static int make_list(struct listings *l, struct eng_reader *r, const struct grant *g,
                     uint32_t camera, int64_t day_from, int64_t day_to, struct listing **out)
{
	int64_t margin = 2 * l->slice_ns + MARGIN_NS;
	struct listing *x = calloc(1, sizeof(*x));
	size_t kept = 0;
	int ret;

	if (!x)
		return -ENOMEM;
	ret = view_list(r, g->cameras[camera], max_ns(g->from_ns, day_from - margin),
	                min_ns(g->to_ns, day_to + margin), l->slice_ns, &x->files, &x->n);
	if (ret && ret != -ENOENT) {
		free(x);
		return ret;
	}
	for (size_t i = 0; i < x->n; i++)
		if (x->files[i].first_ns >= day_from && x->files[i].first_ns < day_to)
			x->files[kept++] = x->files[i];
	x->n = kept;
	x->refs = 1;
	*out = x;
	return 0;
}

int listing_day(struct listings *l, struct grant *g, uint32_t camera, const char *day,
                struct listing **out)
{
	int64_t day_from, day_to;
	struct eng_reader *r;
	struct entry *e;
	uint64_t change;
	int ret;

	if (!tree_day_valid(day) || day_bounds(day, &day_from, &day_to) || day_to <= g->from_ns ||
	    day_from >= g->to_ns)
		return -ENOENT;
	ret = stores_reader(l->stores, g->cameras[camera], &r);
	if (ret == -ENOENT) {
		*out = calloc(1, sizeof(**out));
		if (*out)
			(*out)->refs = 1;
		return *out ? 0 : -ENOMEM;
	}
	if (ret)
		return ret;
	change = eng_reader_change(r);
	*out = NULL;
	pthread_mutex_lock(&l->lock);
	e = entry_find(l, g, camera, day);
	if (e && entry_good(e, change, day_to)) {
		e->used_ns = clock_boot_ns();
		e->list->refs++;
		*out = e->list;
	}
	pthread_mutex_unlock(&l->lock);
	if (*out)
		return 0;
	ret = make_list(l, r, g, camera, day_from, day_to, out);
	if (ret)
		return ret;
	pthread_mutex_lock(&l->lock);
	if (!atomic_load(&g->revoked))
		entry_store(l, g, camera, day, *out, change);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

int listing_find(struct listings *l, struct grant *g, uint32_t camera, const char *day,
                 const char *name, struct view_file *out)
{
	int64_t day_from, day_to;
	struct eng_reader *r;
	struct listing *list;
	int ret = listing_day(l, g, camera, day, &list);
	bool found = false;

	if (ret)
		return ret;
	for (size_t i = 0; i < list->n && !found; i++)
		if (!strcmp(list->files[i].name, name)) {
			*out = list->files[i];
			found = true;
		}
	listing_put(l, list);
	if (found)
		return 0;
	if (strlen(name) >= VIEW_NAME_MAX || day_bounds(day, &day_from, &day_to) ||
	    stores_reader(l->stores, g->cameras[camera], &r))
		return -ENOENT;
	ret = view_find(r, g->cameras[camera], g->from_ns, g->to_ns, l->slice_ns, name, out);
	if (!ret &&
	    (out->first_ns < day_from || out->first_ns >= day_to || strcmp(out->name, name) != 0))
		ret = -ENOENT;
	return ret;
}

/* ---------------------------------------------------------------- days */

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Adds the local days that [from, to) touches. */
static int add_days(char (**days)[TREE_DAY_MAX], size_t *n, int64_t from, int64_t to)
{
	while (from < to) {
		int64_t day_from, day_to;
		char text[TIME_TEXT_MAX];
		void *more = realloc(*days, (*n + 1) * sizeof(**days));

		if (!more)
			return -ENOMEM;
		*days = more;
		day_format(from, text);
		if (strlen(text) >= TREE_DAY_MAX || day_bounds(text, &day_from, &day_to) ||
		    day_to <= from)
			return -EINVAL;
		memcpy((*days)[(*n)++], text, strlen(text) + 1);
		from = day_to;
	}
	return 0;
}

/* Candidates: days touched by a run inside the window, sorted, each once. */
static int candidates(struct listings *l, const struct grant *g, uint32_t camera,
                      char (**out)[TREE_DAY_MAX], size_t *n)
{
	struct eng_run *runs = NULL;
	struct eng_reader *r;
	size_t n_runs = 0, kept = 0;
	int ret = stores_reader(l->stores, g->cameras[camera], &r);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	ret = eng_runs(r, g->cameras[camera], g->from_ns, g->to_ns, &runs, &n_runs);
	for (size_t i = 0; !ret && i < n_runs; i++)
		ret = add_days(out, n, max_ns(runs[i].first_ns, g->from_ns),
		               min_ns(runs[i].end_ns, g->to_ns));
	free(runs);
	if (ret || !*n)
		return ret;
	qsort(*out, *n, sizeof(**out), by_text);
	for (size_t i = 0; i < *n; i++)
		if (!kept || strcmp((*out)[kept - 1], (*out)[i]) != 0)
			memmove((*out)[kept++], (*out)[i], TREE_DAY_MAX);
	*n = kept;
	return 0;
}

int listing_days(struct listings *l, struct grant *g, uint32_t camera, char (**out)[TREE_DAY_MAX],
                 size_t *n)
{
	size_t kept = 0;
	int ret;

	*out = NULL;
	*n = 0;
	ret = candidates(l, g, camera, out, n);
	for (size_t i = 0; !ret && i < *n; i++) {
		struct listing *list;

		ret = listing_day(l, g, camera, (*out)[i], &list);
		if (ret)
			break;
		if (list->n)
			memmove((*out)[kept++], (*out)[i], TREE_DAY_MAX);
		listing_put(l, list);
	}
	*n = kept;
	if (ret) {
		free(*out);
		*out = NULL;
		*n = 0;
	}
	return ret;
}

/* ---------------------------------------------------------------- shared views */

static bool same_view(const struct view_file *a, const struct view_file *b)
{
	return a->run == b->run && a->a_ns == b->a_ns && a->b_ns == b->b_ns &&
	       !memcmp(a->stream, b->stream, sizeof(a->stream));
}

/* With the lock held. */
static struct shared_view *view_lookup(struct listings *l, const struct view_file *file)
{
	for (struct shared_view *v = l->views; v; v = v->next)
		if (same_view(&v->file, file)) {
			v->refs++;
			return v;
		}
	return NULL;
}

int shared_view_get(struct listings *l, const char *camera, const struct view_file *file,
                    struct shared_view **out)
{
	struct shared_view *made, *other;
	struct eng_reader *r;
	int ret;

	pthread_mutex_lock(&l->lock);
	*out = view_lookup(l, file);
	pthread_mutex_unlock(&l->lock);
	if (*out)
		return 0;
	ret = stores_reader(l->stores, camera, &r);
	if (ret)
		return ret;
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->file = *file;
	made->refs = 1;
	ret = view_open(r, file, &made->view);
	if (ret) {
		free(made);
		return ret;
	}
	pthread_mutex_lock(&l->lock);
	other = view_lookup(l, file); /* somebody was faster */
	if (!other) {
		made->next = l->views;
		l->views = made;
	}
	pthread_mutex_unlock(&l->lock);
	if (other) {
		view_close(made->view);
		free(made);
	}
	*out = other ? other : made;
	return 0;
}

void shared_view_put(struct listings *l, struct shared_view *v)
{
	bool last;

	pthread_mutex_lock(&l->lock);
	last = --v->refs == 0;
	if (last) {
		struct shared_view **p = &l->views;

		while (*p != v)
			p = &(*p)->next;
		*p = v->next;
	}
	pthread_mutex_unlock(&l->lock);
	if (last) {
		view_close(v->view);
		free(v);
	}
}

struct view *shared_view(const struct shared_view *v)
{
	return v->view;
}
