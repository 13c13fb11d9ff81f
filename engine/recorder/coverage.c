/*
 * coverage.c — what of a camera is recorded, and why what is missing is missing. Reads the index
 * alone, through the same reader that everybody else uses: only what is durable counts.
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <stdlib.h>

#define RUNS_MAX   50000
#define GAP_MIN_NS (1 * NSEC_PER_MSEC) /* less than that is rounding, not a gap */

static json_t *run_json(const struct eng_run *r)
{
	json_t *codecs = json_array();
	for (unsigned i = 0; i < r->setup.n_tracks && i < ENG_TRACKS_MAX; i++)
		json_array_append_new(codecs, json_string(eng_codec_name(r->setup.track[i].codec)));
	return json_pack("{s:s, s:I, s:I, s:s, s:s, s:b, s:b, s:o}", "camera", r->camera, "from",
	                 (json_int_t)r->first_ns, "to", (json_int_t)r->end_ns, "start_reason",
	                 eng_reason_name(r->start_reason), "end_reason",
	                 eng_reason_name(r->end_reason), "imported", (int)r->imported,
	                 "clock_synced", (int)r->clock_synced, "codecs", codecs);
}

static void add_gap(json_t *gaps, const char *camera, int64_t from_ns, int64_t to_ns,
                    uint16_t cause)
{
	json_array_append_new(gaps,
	                      json_pack("{s:s, s:I, s:o, s:s}", "camera", camera, "from",
	                                (json_int_t)from_ns, "to",
	                                to_ns == ENG_NO_TIME ? json_null() : json_integer(to_ns),
	                                "cause", eng_reason_name(cause)));
}

/* Gaps between live runs, and the one that is still open. */
static void gaps_json(struct camera *c, const struct eng_run *runs, size_t n, json_t *gaps)
{
	int64_t end = ENG_NO_TIME;
	uint16_t end_reason = ENG_REASON_NONE;

	for (size_t i = 0; i < n; i++) {
		const struct eng_run *r = &runs[i];
		if (r->imported)
			continue;
		if (end != ENG_NO_TIME && r->first_ns - end >= GAP_MIN_NS) {
			bool says = r->start_reason != ENG_REASON_NONE &&
			            r->start_reason != ENG_REASON_FIRST;
			add_gap(gaps, r->camera, end, r->first_ns,
			        says ? r->start_reason : end_reason);
		}
		if (end == ENG_NO_TIME || r->end_ns >= end) {
			end = r->end_ns;
			end_reason = r->end_reason;
		}
	}
	if (end != ENG_NO_TIME && !c->live.run_open && end_reason != ENG_REASON_NONE)
		add_gap(gaps, c->conf->name, end, ENG_NO_TIME, end_reason);
}

int coverage_runs(struct camera *c, int64_t from_ns, int64_t to_ns, bool gaps, json_t *runs,
                  json_t *gap_list)
{
	struct eng_run *list = NULL;
	size_t n = 0;

	int err = eng_runs(c->store->reader, c->conf->name, from_ns, to_ns, &list, &n);
	if (err)
		return err;
	if (n + json_array_size(runs) > RUNS_MAX) {
		free(list);
		return -E2BIG;
	}
	for (size_t i = 0; i < n; i++)
		json_array_append_new(runs, run_json(&list[i]));
	if (gaps)
		gaps_json(c, list, n, gap_list);
	free(list);
	return 0;
}

int coverage_sum(struct camera *c, int64_t from_ns, int64_t to_ns, double *seconds,
                 int64_t *first_ns, int64_t *last_ns)
{
	struct eng_run *list = NULL;
	size_t n = 0;
	int64_t sum = 0, until = from_ns;

	*first_ns = *last_ns = ENG_NO_TIME;
	*seconds = 0;
	int err = eng_runs(c->store->reader, c->conf->name, from_ns, to_ns, &list, &n);
	if (err)
		return err;
	/* Sorted by first_ns: one pass over the union. */
	for (size_t i = 0; i < n; i++) {
		int64_t a = list[i].first_ns < from_ns ? from_ns : list[i].first_ns;
		int64_t b = list[i].end_ns > to_ns ? to_ns : list[i].end_ns;
		if (a >= b)
			continue;
		if (*first_ns == ENG_NO_TIME)
			*first_ns = a;
		if (b > *last_ns)
			*last_ns = b;
		if (a < until)
			a = until;
		if (b > a)
			sum += b - a;
		if (b > until)
			until = b;
	}
	*seconds = (double)sum / 1e9;
	free(list);
	return 0;
}

int coverage_free(struct camera *c, int64_t from_ns, int64_t to_ns, int64_t *limit_ns)
{
	struct eng_run *list = NULL;
	size_t n = 0;

	*limit_ns = to_ns;
	int err = eng_runs(c->store->reader, c->conf->name, from_ns, to_ns, &list, &n);
	if (err)
		return err;
	for (size_t i = 0; i < n && !err; i++) {
		if (list[i].end_ns <= from_ns)
			continue;
		if (list[i].first_ns <= from_ns)
			err = -EEXIST;
		else if (list[i].first_ns < *limit_ns)
			*limit_ns = list[i].first_ns;
	}
	free(list);
	return err;
}
