/*
 * grant_text.c — what the holder of a grant can read about it, and a playlist for players
 * (grant_text.h). Sizes must be exact before the file is opened, so texts are made whole.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fusefs/grant_text.h"

/* How long a text is shown again before the store is asked: while footage still comes, and after.
 * What is open keeps its own copy (handle.h). */
#define FRESH_NS   NSEC_PER_SEC
#define SETTLED_NS (30 * NSEC_PER_SEC)
#define GAP_NS     NSEC_PER_SEC /* shorter ones are not worth a line */
#define GAPS_SHOWN 8

static void put_names(FILE *f, const char *title, char *const *list, size_t n)
{
	fprintf(f, "%-11s", title);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s%s", i ? ", " : "", list[i]);
	fputc('\n', f);
}

static void put_time(FILE *f, const char *title, int64_t t_ns)
{
	char text[TIME_TEXT_MAX];

	time_format(t_ns, text);
	fprintf(f, "%-11s%s\n", title, text);
}

/* What the files of one camera hold: a walk through all of them, by time. */
struct delivered {
	int64_t first_ns, end_ns; /* end 0: nothing yet */
	size_t gaps;
	int64_t missing_ns;
	FILE *gap_lines;
};

static void take_file(struct delivered *d, const struct view_file *f)
{
	int64_t gap = f->first_ns - d->end_ns;

	if (!d->end_ns) {
		d->first_ns = f->first_ns;
	} else if (gap >= GAP_NS) {
		char from[TIME_TEXT_MAX], to[TIME_TEXT_MAX];

		d->missing_ns += gap;
		time_format(d->end_ns, from);
		time_format(f->first_ns, to);
		if (d->gaps++ < GAPS_SHOWN)
			fprintf(d->gap_lines, "    nothing from %s to %s\n", from, to);
	}
	if (f->end_ns > d->end_ns)
		d->end_ns = f->end_ns;
}

static int take_files(struct listings *l, struct grant *g, uint32_t camera, struct delivered *d)
{
	char(*days)[TREE_DAY_MAX];
	size_t n;
	int ret = listing_days(l, g, camera, &days, &n);

	for (size_t i = 0; !ret && i < n; i++) {
		struct listing *list;

		ret = listing_day(l, g, camera, days[i], &list);
		for (size_t k = 0; !ret && k < list->n; k++)
			take_file(d, &list->files[k]);
		if (!ret)
			listing_put(l, list);
	}
	free(days);
	return ret;
}

/* Ends the stream and hands its text over. */
static int text_done(FILE *f, char **text)
{
	bool bad = ferror(f);

	if (!fclose(f) && !bad)
		return 0;
	free(*text);
	*text = NULL;
	return -ENOMEM;
}

static void put_camera(FILE *f, const char *camera, const struct delivered *d, const char *gaps,
                       int64_t better_ns, bool settled)
{
	char from[TIME_TEXT_MAX], to[TIME_TEXT_MAX];

	if (d->end_ns) {
		time_format(d->first_ns, from);
		time_format(d->end_ns, to);
		fprintf(f, "  %s: from %s to %s\n", camera, from, to);
	} else {
		fprintf(f, "  %s: nothing%s\n", camera, settled ? " was recorded" : " yet");
	}
	if (better_ns != ENG_NO_TIME) {
		time_format(better_ns, from);
		fprintf(f,
		        "    pictures right after the start of the window are left out: they "
		        "cannot be\n"
		        "    shown without one before it; a window from %s would include them\n",
		        from);
	}
	fputs(gaps, f);
	if (d->gaps > GAPS_SHOWN)
		fprintf(f, "    and %zu more gaps\n", d->gaps - GAPS_SHOWN);
	if (d->gaps)
		fprintf(f, "    %.1f s missing in between\n", (double)d->missing_ns / 1e9);
	if (!settled)
		fputs("    more appears as it is recorded\n", f);
}

/* One camera's part. *settled is cleared when more may come. */
static int put_delivered(FILE *f, struct grant *g, uint32_t camera, struct stores *s,
                         struct listings *l, bool *settled)
{
	const char *name = g->cameras[camera];
	int64_t better = ENG_NO_TIME;
	struct delivered d = {0};
	struct eng_reader *r;
	char *gaps = NULL;
	size_t len;
	int ret, done = 0;

	d.gap_lines = open_memstream(&gaps, &len);
	if (!d.gap_lines)
		return -ENOMEM;
	ret = stores_reader(s, name, &r);
	if (!ret) {
		/* Asked first: what comes meanwhile makes the text better, never wrong. */
		done = view_settled(r, name, g->from_ns, g->to_ns, clock_wall_ns());
		ret = done < 0 ? done : take_files(l, g, camera, &d);
		better = view_better_from(r, name, g->from_ns);
	} else if (ret == -ENOENT) {
		done = g->to_ns + VIEW_SETTLED_NS < clock_wall_ns();
		ret = 0;
	}
	ret = text_done(d.gap_lines, &gaps) ?: ret;
	if (!ret) {
		put_camera(f, name, &d, gaps, better, done);
		*settled &= done;
	}
	free(gaps);
	return ret;
}

static void put_terms(FILE *f, const struct grant *g, const char *fingerprint)
{
	fprintf(f, "CUSTOS GRANT %llu\n", (unsigned long long)g->id);
	fprintf(f, "%s%s%s%s\n\n", g->reason, *g->case_id ? " (" : "", g->case_id,
	        *g->case_id ? ")" : "");
	fprintf(f, "%-11s%s (uid %u)\n", "For:", g->user, (unsigned)g->uid);
	put_names(f, "Cameras:", g->cameras, g->n_cameras);
	put_time(f, "From:", g->from_ns);
	put_time(f, "To:", g->to_ns);
	put_time(f, "Until:", g->until_ns);
	fprintf(f, "%-11s%s\n", "Purpose:", g->reason);
	if (*g->case_id)
		fprintf(f, "%-11s%s\n", "Case:", g->case_id);
	if (g->request)
		fprintf(f, "%-11s%llu\n", "Request:", (unsigned long long)g->request);
	if (*g->chain)
		fprintf(f, "%-11s%s\n", "Chain:", g->chain);
	if (g->n_approvers)
		put_names(f, "Approved:", g->approvers, g->n_approvers);
	if (*fingerprint)
		fprintf(f, "%-11s%s\n", "Log key:", fingerprint);
}

static int compose(struct grant *g, struct stores *s, struct listings *l, const char *fingerprint,
                   bool *settled, char **out)
{
	size_t len;
	FILE *f = open_memstream(out, &len);
	int ret = 0;

	if (!f)
		return -ENOMEM;
	*settled = true;
	put_terms(f, g, fingerprint);
	fputs("\nDelivered, from the first picture that can be shown:\n", f);
	for (uint32_t i = 0; i < g->n_cameras && !ret; i++)
		ret = put_delivered(f, g, i, s, l, settled);
	fputs("\nUse only for the stated purpose; no copying or passing on. Every access is "
	      "logged:\n"
	      "who opened which file, and which bytes were read.\n",
	      f);
	if (text_done(f, out))
		return -ENOMEM;
	if (ret) {
		free(*out);
		*out = NULL;
	}
	return ret;
}

int grant_text(struct grant *g, struct stores *s, struct listings *l, const char *fingerprint,
               char **out)
{
	int64_t now = clock_boot_ns();
	bool settled;
	int ret = 0;

	pthread_mutex_lock(&g->text_lock);
	if (!g->text || now >= g->text_until_ns) {
		free(g->text);
		g->text = NULL;
		ret = compose(g, s, l, fingerprint, &settled, &g->text);
		if (!ret)
			g->text_until_ns = now + (settled && *fingerprint ? SETTLED_NS : FRESH_NS);
	}
	if (!ret) {
		*out = strdup(g->text);
		ret = *out ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&g->text_lock);
	return ret;
}

int playlist_text(struct listings *l, struct grant *g, uint32_t camera, char **out)
{
	char(*days)[TREE_DAY_MAX];
	size_t n, len;
	int ret = listing_days(l, g, camera, &days, &n);
	FILE *f;

	*out = NULL;
	if (ret)
		return ret;
	f = open_memstream(out, &len);
	if (f)
		fputs("#EXTM3U\n", f);
	else
		ret = -ENOMEM;
	for (size_t i = 0; !ret && i < n; i++) {
		struct listing *list;

		ret = listing_day(l, g, camera, days[i], &list);
		for (size_t k = 0; !ret && k < list->n; k++) {
			const struct view_file *v = &list->files[k];
			char start[TIME_TEXT_MAX];

			time_format(v->first_ns, start);
			fprintf(f, "#EXTINF:%.3f,%s\n%s/%s\n",
			        (double)(v->end_ns - v->first_ns) / 1e9, start, days[i], v->name);
		}
		if (!ret)
			listing_put(l, list);
	}
	free(days);
	if (f)
		ret = text_done(f, out) ?: ret;
	if (f && ret) {
		free(*out);
		*out = NULL;
	}
	return ret;
}
