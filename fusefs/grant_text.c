/*
 * grant_text.c — what the holder of a grant can read about it, and a playlist for players
 * (grant_text.h). Sizes must be exact before the file is opened, so texts are made whole.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fusefs/grant_text.h"

#define BEGUN_NS (60 * NSEC_PER_SEC)

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

/* What is delivered begins with the first key frame inside the window: says what is missing. */
static void put_delivered(FILE *f, const struct grant *g, struct stores *s)
{
	fputs("\nDelivered: for each camera from the first complete picture at or after the start\n"
	      "of the window to its end.\n",
	      f);
	for (size_t i = 0; i < g->n_cameras; i++) {
		struct eng_reader *r;
		int64_t better;
		char text[TIME_TEXT_MAX];

		if (stores_reader(s, g->cameras[i], &r))
			continue;
		better = view_better_from(r, g->cameras[i], g->from_ns);
		if (better == ENG_NO_TIME)
			continue;
		time_format(better, text);
		fprintf(f, "  %s: a window from %s would include the part right after its start\n",
		        g->cameras[i], text);
	}
}

static int compose(const struct grant *g, struct stores *s, const char *fingerprint, bool begun,
                   char **out)
{
	size_t len;
	FILE *f = open_memstream(out, &len);

	if (!f)
		return -ENOMEM;
	fprintf(f, "CUSTOS GRANT %llu\n\n", (unsigned long long)g->id);
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
	if (begun)
		put_delivered(f, g, s);
	else
		fputs("\nDelivered: footage appears as it is recorded.\n", f);
	fputs("\nUse only for the stated purpose; no copying or passing on. Every access is "
	      "logged:\n"
	      "who opened which file, and which bytes were read.\n",
	      f);
	if (fclose(f)) {
		free(*out);
		return -ENOMEM;
	}
	return 0;
}

int grant_text(struct grant *g, struct stores *s, const char *fingerprint, char **out)
{
	bool begun = g->from_ns + BEGUN_NS < clock_wall_ns();
	int ret = 0;

	pthread_mutex_lock(&g->text_lock);
	if (g->text) {
		*out = strdup(g->text);
		ret = *out ? 0 : -ENOMEM;
	} else {
		ret = compose(g, s, fingerprint, begun, out);
		if (!ret && begun && *fingerprint)
			g->text = strdup(*out);
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
	if (f && fclose(f) && !ret) {
		free(*out);
		ret = -ENOMEM;
	} else if (f && ret) {
		free(*out);
	}
	return ret;
}
