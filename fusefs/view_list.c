/*
 * view_list.c — which files a window has, what they are called, and what a name means.
 *
 * Each slice of each run is looked at by itself, so a listing of a day and the look-up of one name
 * go through the same code. A name is the printed form of what the file contains; a name given back
 * is parsed only to know where to look, and then compared whole.
 *
 * A file that ends at a key frame is called by that frame's time, so an earlier name of a slice
 * that was being recorded tells at once where its file ended.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fusefs/select.h"
#include "fusefs/view.h"

enum { NAME_TIME = 24, NAME_END_AT = NAME_TIME + 2 };

struct window {
	struct eng_reader *r;
	const char *camera;
	int64_t from, to, slice;
};
struct file_list {
	struct view_file *file;
	size_t n, max;
};
struct file_sum {
	const struct eng_setup *setup;
	struct mp4_counts count[ENG_TRACKS_MAX];
	int64_t end_ns;
	bool synced;
};

static int64_t floor_to(int64_t t, int64_t unit)
{
	int64_t rest = t % unit;

	return rest < 0 ? time_add(t - rest, -unit) : t - rest;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* ------------------------------------------------------------------------------- one file */

static void sum_whole(struct file_sum *sum, const struct eng_chunk *c)
{
	for (unsigned k = 0; k < sum->setup->n_tracks; k++) {
		sum->count[k].samples += c->track[k].frames;
		sum->count[k].keys += c->track[k].keys;
		sum->count[k].bytes += c->track[k].bytes;
		sum->count[k].chunks += c->track[k].frames > 0;
	}
	sum->end_ns = later(sum->end_ns, c->end_ns);
}

/* sel_visit: counts what a chunk gives. */
static int sum_chunk(void *arg, const struct eng_chunk *c, const struct eng_frame_info *f,
                     const bool *taken)
{
	struct file_sum *sum = arg;
	bool has[ENG_TRACKS_MAX] = {false};

	sum->synced &= (c->flags & ENG_CHUNK_CLOCK_SYNCED) != 0;
	if (!f) {
		sum_whole(sum, c);
		return 0;
	}
	for (uint32_t i = 0; i < c->frame_count; i++) {
		struct mp4_counts *count = &sum->count[f[i].track];

		if (!taken[i])
			continue;
		has[f[i].track] = true;
		count->samples++;
		count->keys += (f[i].flags & ENG_FRAME_KEY) != 0;
		count->bytes += f[i].size_bytes;
		sum->end_ns = later(sum->end_ns, time_add(f[i].time_ns, f[i].duration_ns));
	}
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++)
		sum->count[k].chunks += has[k];
	return 0;
}

static void name_file(struct view_file *f, unsigned number)
{
	char first[TIME_TEXT_MAX], end[TIME_TEXT_MAX], suffix[16] = "";

	time_format_name(f->first_ns, first);
	time_format_name(f->end_ns, end);
	if (number > 1)
		snprintf(suffix, sizeof(suffix), "-%u", number);
	snprintf(f->name, sizeof(f->name), "%.24s--%.24s%s%s.mp4", first, end,
	         f->imported ? "-imported" : "", suffix);
}

static int describe(struct sel *s, int64_t a_ns, int64_t b_ns, bool at_key, struct view_file *f)
{
	const struct eng_run *run = sel_run(s);
	struct file_sum sum = {.setup = &run->setup, .end_ns = a_ns, .synced = true};
	int rc = sel_walk(s, a_ns, b_ns, false, sum_chunk, &sum);

	if (rc)
		return rc;
	memset(f, 0, sizeof(*f));
	memcpy(f->camera, run->camera, sizeof(f->camera));
	memcpy(f->stream, run->stream, sizeof(f->stream));
	f->run = run->run;
	f->a_ns = a_ns;
	f->b_ns = b_ns;
	f->first_ns = a_ns;
	f->end_ns = at_key ? b_ns : sum.end_ns;
	f->size_bytes = mp4_file_bytes(&run->setup, sum.count);
	f->imported = run->imported;
	f->clock_synced = sum.synced;
	name_file(f, 1);
	return sum.count[0].samples ? 0 : -EUCLEAN;
}

static int slice_try(const struct window *w, struct sel *s, int64_t slice_ns, struct view_file *f)
{
	int64_t slice_end = time_add(slice_ns, w->slice), a = 0, b = 0;
	bool at_key, growing;
	int rc;

	/* All that is usually needed, at once. */
	rc = sel_load(s, later(slice_ns, w->from),
	              time_add(sooner(slice_end, w->to), 4 * SEL_LAG_NS));
	if (!rc)
		rc = sel_first_key(s, later(slice_ns, w->from), sooner(slice_end, w->to), &a);
	if (rc <= 0)
		return rc;
	rc = sel_end(s, a, slice_end, w->to, &b, &at_key, &growing);
	if (rc <= 0)
		return rc;
	rc = describe(s, a, b, at_key, f);
	if (rc)
		return rc;
	f->growing = growing;
	return 1;
}

/* The file of the slice that begins at slice_ns. 1 there is one, 0 none, -errno. Footage that
 * cannot be read is left out of the listing with a line in the daemon's log. */
static int slice_file(const struct window *w, struct sel *s, int64_t slice_ns, struct view_file *f)
{
	int rc = slice_try(w, s, slice_ns, f);

	if (rc == -ESTALE) { /* recycled while we looked: look at the index anew */
		sel_forget(s);
		rc = slice_try(w, s, slice_ns, f);
	}
	if (rc == -ESTALE || rc == -EUCLEAN) {
		char text[TIME_TEXT_MAX];

		time_format(slice_ns, text);
		log_warn("camera %s: footage of the slice at %s cannot be listed: %s; run custos "
		         "verify",
		         w->camera, text, rc == -ESTALE ? "recycled meanwhile" : "damaged");
		rc = 0;
	}
	return rc;
}

/* 0 with *out NULL: no file can be made of this run. */
static int open_run(const struct window *w, const struct eng_run *run, struct sel **out)
{
	bool ended;
	int rc = sel_run_ended(w->r, run, &ended);

	*out = NULL;
	if (!rc)
		rc = sel_open(w->r, run, ended, out);
	if (rc == -ENOTSUP) {
		log_warn("camera %s: run %llu has a codec setup that cannot be shown as a file",
		         w->camera, (unsigned long long)run->run);
		rc = 0;
	}
	return rc;
}

/* ------------------------------------------------------------------------------- listing */

static int list_add(struct file_list *l, const struct view_file *f)
{
	if (l->n == l->max) {
		size_t max = l->max ? l->max * 2 : 16;
		struct view_file *bigger = reallocarray(l->file, max, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		l->file = bigger;
		l->max = max;
	}
	l->file[l->n++] = *f;
	return 0;
}

/* The files of a run whose slices touch [from, to); the window stays w's. */
static int list_run(const struct window *w, const struct eng_run *run, int64_t from, int64_t to,
                    struct file_list *l)
{
	struct sel *s;
	int rc = open_run(w, run, &s);

	if (rc || !s)
		return rc;
	from = later(from, run->first_ns);
	to = sooner(to, time_add(run->end_ns, 1));
	for (int64_t at = floor_to(from, w->slice); at < to && rc >= 0;
	     at = time_add(at, w->slice)) {
		struct view_file f;

		/* Memory of a long listing is one slice's index. */
		sel_forget(s);
		rc = slice_file(w, s, at, &f);
		if (rc == 1)
			rc = list_add(l, &f);
	}
	sel_close(s);
	return rc < 0 ? rc : 0;
}

static int by_time(const void *x, const void *y)
{
	const struct view_file *a = x, *b = y;

	if (a->first_ns != b->first_ns)
		return a->first_ns < b->first_ns ? -1 : 1;
	if (a->imported != b->imported)
		return a->imported ? 1 : -1;
	return a->run < b->run ? -1 : a->run > b->run;
}

/* Sorts, and numbers names that would be the same: only files that begin within the same
 * millisecond can be. */
static void list_finish(struct file_list *l)
{
	if (l->n)
		qsort(l->file, l->n, sizeof(*l->file), by_time);
	for (size_t i = 1; i < l->n; i++) {
		struct view_file plain = l->file[i];
		unsigned number = 1;

		for (size_t j = i; j-- > 0;) {
			const struct view_file *o = &l->file[j];
			struct view_file other = *o;

			if (o->first_ns < plain.first_ns - NSEC_PER_MSEC)
				break;
			name_file(&other, 1);
			number += !strcmp(other.name, plain.name);
		}
		name_file(&l->file[i], number);
	}
}

/* Files whose slices touch [at, until), inside the window. */
static int list_part(const struct window *w, int64_t at, int64_t until, struct file_list *l)
{
	struct eng_run *runs;
	size_t n;
	int rc;

	if (w->slice <= 0)
		return -EINVAL;
	at = later(at, w->from);
	until = sooner(until, w->to);
	if (at >= until)
		return 0;
	rc = eng_runs(w->r, w->camera, at, until, &runs, &n);
	if (rc)
		return rc;
	for (size_t i = 0; i < n && !rc; i++)
		rc = list_run(w, &runs[i], at, until, l);
	free(runs);
	list_finish(l);
	return rc;
}

int view_list(struct eng_reader *r, const char *camera, int64_t from_ns, int64_t to_ns,
              int64_t slice_ns, struct view_file **out, size_t *n)
{
	struct window w = {r, camera, from_ns, to_ns, slice_ns};
	struct file_list l = {0};
	int rc = list_part(&w, from_ns, to_ns, &l);

	*out = NULL;
	*n = 0;
	if (rc) {
		free(l.file);
		return rc;
	}
	*out = l.file ? l.file : calloc(1, sizeof(**out));
	*n = l.n;
	return *out ? 0 : -ENOMEM;
}

/* ------------------------------------------------------------------------------- names */

/* The times that a name tells, in whole milliseconds. */
static bool parse_name(const char *name, int64_t *first_ms, int64_t *end_ms)
{
	char text[NAME_TIME + 1];
	size_t len = strlen(name);

	if (len < NAME_END_AT + NAME_TIME + 4 || len >= VIEW_NAME_MAX)
		return false;
	if (memcmp(name + NAME_TIME, "--", 2) != 0 || strcmp(name + len - 4, ".mp4") != 0)
		return false;
	memcpy(text, name, NAME_TIME);
	text[NAME_TIME] = '\0';
	if (time_parse_name(text, first_ms))
		return false;
	memcpy(text, name + NAME_END_AT, NAME_TIME);
	if (time_parse_name(text, end_ms))
		return false;
	*first_ms = floor_to(*first_ms, NSEC_PER_MSEC);
	*end_ms = floor_to(*end_ms, NSEC_PER_MSEC);
	return true;
}

/* A file of this slice that ends at one of its key frames and is called so. 1, 0, -errno. */
static int earlier_file(const struct window *w, struct sel *s, int64_t slice_ns, const char *name,
                        int64_t end_ms, struct view_file *out)
{
	int64_t limit = sooner(time_add(slice_ns, w->slice), w->to), a = 0, b = 0;
	int rc = sel_first_key(s, later(slice_ns, w->from), limit, &a);

	if (rc <= 0)
		return rc;
	rc = sel_first_key(s, later(end_ms, time_add(a, 1)),
	                   sooner(time_add(end_ms, NSEC_PER_MSEC), limit), &b);
	if (rc == 1)
		rc = sel_load(s, a, time_add(b, 2 * SEL_LAG_NS)) ?: sel_final(s, b);
	if (rc == 1)
		rc = describe(s, a, b, true, out) ?: !strcmp(out->name, name);
	if (rc == 1)
		out->growing = true;
	return rc;
}

static int find_earlier(const struct window *w, const char *name, int64_t first_ms, int64_t end_ms,
                        struct view_file *out)
{
	struct eng_run *runs;
	size_t n;
	int rc = eng_runs(w->r, w->camera, later(first_ms, w->from),
	                  sooner(time_add(first_ms, NSEC_PER_MSEC), w->to), &runs, &n);

	if (rc)
		return rc;
	for (size_t i = 0; i < n && !rc; i++) {
		struct sel *s;

		rc = open_run(w, &runs[i], &s);
		if (rc || !s)
			continue;
		rc = earlier_file(w, s, floor_to(later(first_ms, w->from), w->slice), name, end_ms,
		                  out);
		sel_close(s);
	}
	free(runs);
	return rc;
}

int view_find(struct eng_reader *r, const char *camera, int64_t from_ns, int64_t to_ns,
              int64_t slice_ns, const char *name, struct view_file *out)
{
	struct window w = {r, camera, from_ns, to_ns, slice_ns};
	struct file_list l = {0};
	int64_t first_ms, end_ms, after_ms;
	int rc;

	if (!parse_name(name, &first_ms, &end_ms))
		return -ENOENT;
	after_ms = time_add(first_ms, NSEC_PER_MSEC);
	if (after_ms <= from_ns || first_ms >= to_ns || end_ms < first_ms)
		return -ENOENT;
	rc = list_part(&w, first_ms, after_ms, &l);
	for (size_t i = 0; i < l.n && !rc; i++) {
		if (!strcmp(l.file[i].name, name)) {
			*out = l.file[i];
			rc = 1;
		}
	}
	free(l.file);
	if (!rc)
		rc = find_earlier(&w, name, first_ms, end_ms, out);
	return rc == 1 ? 0 : rc ? rc : -ENOENT;
}
