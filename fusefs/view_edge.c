/*
 * view_edge.c — what GRANT.txt tells about a window's edges: footage that cannot be shown because
 * its key frame lies before the window, so that the next request can ask for it; and whether
 * anything can still come before the window's end.
 */
#include <errno.h>
#include <stdlib.h>

#include "fusefs/select.h"
#include "fusefs/view.h"

enum { MISSING = 1, NOTHING_MISSING = 2 };

struct edge {
	int64_t from_ns;
};

/* sel_visit: is there a frame to show at or after `from` before the next key frame there? */
static int look_for_missing(void *arg, const struct eng_chunk *c, const struct eng_frame_info *f,
                            const bool *taken)
{
	const struct edge *e = arg;

	for (uint32_t i = 0; i < c->frame_count; i++) {
		if (!taken[i] || f[i].track != 0 || f[i].time_ns < e->from_ns)
			continue;
		return f[i].flags & ENG_FRAME_KEY ? NOTHING_MISSING : MISSING;
	}
	return 0;
}

/* The last key frame <= t among what is loaded. 1, 0, -errno. */
static int key_before(struct sel *s, int64_t t_ns, int64_t *key_ns)
{
	for (size_t i = sel_chunks(s); i-- > 0;) {
		int64_t *keys;
		size_t n;
		int rc = sel_chunk_keys(s, i, &keys, &n);

		if (rc)
			return rc;
		while (n-- > 0 && !rc) {
			if (keys[n] <= t_ns) {
				*key_ns = keys[n];
				rc = 1;
			}
		}
		free(keys);
		if (rc)
			return rc;
	}
	return 0;
}

static int64_t better_in_run(struct eng_reader *r, const struct eng_run *run, int64_t from_ns)
{
	struct edge e = {from_ns};
	int64_t key = ENG_NO_TIME, back = 2 * SEL_LAG_NS, result = ENG_NO_TIME;
	struct sel *s;
	int rc;

	if (!eng_codec_is_video(run->setup.track[0].codec) || sel_open(r, run, true, &s))
		return ENG_NO_TIME;
	do {
		rc = sel_load(s, time_add(from_ns, -back), time_add(from_ns, 1));
		if (!rc)
			rc = key_before(s, from_ns, &key);
		if (rc || time_add(from_ns, -back) < run->first_ns)
			break;
		back = time_add(back, back);
	} while (true);
	if (rc == 1 && key < from_ns &&
	    sel_walk(s, key, time_add(from_ns, 6 * SEL_LAG_NS), true, look_for_missing, &e) ==
	            MISSING)
		result = key;
	sel_close(s);
	return result;
}

int64_t view_better_from(struct eng_reader *r, const char *camera, int64_t from_ns)
{
	int64_t result = ENG_NO_TIME;
	struct eng_run *runs;
	size_t n;

	if (eng_runs(r, camera, from_ns, time_add(from_ns, 1), &runs, &n))
		return ENG_NO_TIME;
	for (size_t i = 0; i < n && result == ENG_NO_TIME; i++)
		result = better_in_run(r, &runs[i], from_ns);
	free(runs);
	return result;
}

/* Can a frame still join what the run has before `to`? */
static int run_settled(struct eng_reader *r, const struct eng_run *run, int64_t to_ns)
{
	struct sel *s;
	bool ended;
	int rc = sel_run_ended(r, run, &ended);

	if (rc || ended)
		return rc ? rc : 1;
	rc = sel_open(r, run, false, &s);
	if (rc)
		return rc == -ENOTSUP ? 1 : rc; /* no file is made of it */
	rc = sel_load(s, time_add(to_ns, -SEL_LAG_NS), time_add(to_ns, 2 * SEL_LAG_NS));
	if (!rc)
		rc = sel_final(s, to_ns);
	sel_close(s);
	return rc;
}

int view_settled(struct eng_reader *r, const char *camera, int64_t from_ns, int64_t to_ns,
                 int64_t now_ns)
{
	bool passed = now_ns > time_add(to_ns, VIEW_SETTLED_NS);
	struct eng_run *runs;
	size_t n;
	int rc = eng_runs(r, camera, from_ns, INT64_MAX, &runs, &n);

	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++)
		passed |= !runs[i].imported && runs[i].end_ns >= to_ns;
	rc = passed;
	for (size_t i = 0; i < n && rc == 1; i++)
		if (runs[i].first_ns < to_ns)
			rc = run_settled(r, &runs[i], to_ns);
	free(runs);
	return rc;
}
