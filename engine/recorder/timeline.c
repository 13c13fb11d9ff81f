/*
 * timeline.c — see timeline.h. All arithmetic is on clamped values: time stamps come from the
 * network, so none may overflow, whatever it says.
 */
#include "engine/recorder/timeline.h"

#define STAMP_LIMIT         (INT64_C(1) << 61) /* ±73 years: beyond it a time stamp counts as missing */
#define DURATION_DEFAULT_NS (40 * NSEC_PER_MSEC)
#define DURATION_MAX_NS     (4 * NSEC_PER_SEC)

void timeline_init(struct timeline *t, int64_t start_ns, bool paced, bool has_video)
{
	memset(t, 0, sizeof(*t));
	t->live = start_ns == ENG_NO_TIME;
	t->paced = paced;
	t->has_video = has_video;
	t->start_ns = start_ns;
	t->end_ns = ENG_NO_TIME;
}

void timeline_reset(struct timeline *t)
{
	t->started = false;
	memset(t->track, 0, sizeof(t->track));
}

static bool stamp_ok(int64_t v)
{
	return v != ENG_NO_TIME && v > -STAMP_LIMIT && v < STAMP_LIMIT;
}

/* Both stamps, invented where missing: dts goes on where the track's last frame ended. */
static void repair(const struct timeline *t, const struct timeline_packet *p, int64_t *pts,
                   int64_t *dts)
{
	const struct timeline_track *k = &t->track[p->track];
	bool has_pts = stamp_ok(p->pts_ns), has_dts = stamp_ok(p->dts_ns);

	*pts = p->pts_ns;
	*dts = p->dts_ns;
	if (!has_dts && has_pts)
		*dts = k->seen && *pts <= k->last_dts_ns ? k->last_dts_ns + 1000 : *pts;
	if (!has_dts && !has_pts) {
		if (k->seen)
			*dts = k->last_dts_ns + k->last_duration_ns;
		else
			*dts = t->started ? t->origin_pts_ns : 0;
	}
	if (!has_pts)
		*pts = *dts;
}

static int64_t duration_of(const struct timeline *t, const struct timeline_packet *p, int64_t dts)
{
	const struct timeline_track *k = &t->track[p->track];
	if (p->duration_ns > 0 && p->duration_ns <= DURATION_MAX_NS)
		return p->duration_ns;
	if (k->seen && dts > k->last_dts_ns && dts - k->last_dts_ns <= DURATION_MAX_NS)
		return dts - k->last_dts_ns;
	return k->seen && k->last_duration_ns > 0 ? k->last_duration_ns : DURATION_DEFAULT_NS;
}

static void start_run(struct timeline *t, int64_t pts, int64_t wall_ns, int64_t boot_ns)
{
	int64_t time_ns = wall_ns;

	if (t->live) {
		/* A paced run may have ended a little ahead of the clock: no overlap. */
		if (t->end_ns > wall_ns && t->end_ns - wall_ns <= 2 * TIMELINE_AHEAD_NS)
			time_ns = t->end_ns;
	} else if (t->end_ns == ENG_NO_TIME) {
		time_ns = t->start_ns;
	} else {
		/* A hole in old footage keeps its width; a step back goes on at the end. */
		time_ns = t->origin_time_ns + (pts - t->origin_pts_ns);
		if (time_ns < t->end_ns || time_ns - t->end_ns > TIMELINE_HOLE_NS)
			time_ns = t->end_ns;
	}
	t->started = true;
	t->origin_pts_ns = pts;
	t->origin_time_ns = time_ns;
	t->offset_ns = wall_ns - boot_ns;
	t->lag_least_ns = 0;
	t->lag_since_ns = boot_ns;
}

/* Has the live mapping left the wall clock? */
static enum timeline_verdict check_clock(struct timeline *t, int64_t time_ns, int64_t wall_ns,
                                         int64_t boot_ns)
{
	int64_t step = wall_ns - boot_ns - t->offset_ns;
	if (step > TIMELINE_STEP_NS || step < -TIMELINE_STEP_NS)
		return TIMELINE_CLOCK_STEP;
	/* Slewing is no step: what the clock was moved slowly is followed. */
	t->offset_ns = wall_ns - boot_ns;

	int64_t lag = wall_ns - time_ns;
	if (!t->paced && lag < -3 * TIMELINE_AHEAD_NS)
		return TIMELINE_DISCONTINUITY;
	if (t->paced)
		return lag > TIMELINE_LAG_NS ? TIMELINE_DISCONTINUITY : TIMELINE_OK;
	/* A network source may be late and catch up; only the best of a minute counts. */
	if (lag < t->lag_least_ns)
		t->lag_least_ns = lag;
	if (boot_ns - t->lag_since_ns < TIMELINE_LAG_SPAN_NS)
		return TIMELINE_OK;
	bool drifted = t->lag_least_ns > TIMELINE_LAG_NS;
	t->lag_least_ns = lag;
	t->lag_since_ns = boot_ns;
	return drifted ? TIMELINE_DISCONTINUITY : TIMELINE_OK;
}

static bool jumped(const struct timeline *t, const struct timeline_packet *p, int64_t dts)
{
	const struct timeline_track *k = &t->track[p->track];
	if (!k->seen)
		return dts - t->origin_pts_ns > TIMELINE_JUMP_NS * 6 ||
		       dts - t->origin_pts_ns < -TIMELINE_JUMP_NS;
	int64_t d = dts - k->last_dts_ns;
	return d > TIMELINE_JUMP_NS || d < -TIMELINE_BACK_NS;
}

enum timeline_verdict timeline_map(struct timeline *t, const struct timeline_packet *p,
                                   int64_t wall_ns, int64_t boot_ns, struct timeline_out *out)
{
	struct timeline_track *k = &t->track[p->track];
	int64_t pts, dts;

	memset(out, 0, sizeof(*out));
	repair(t, p, &pts, &dts);
	if (!t->started) {
		if (t->has_video && !(p->video && p->key))
			return TIMELINE_DROP;
		start_run(t, pts, wall_ns, boot_ns);
	}
	if (jumped(t, p, dts) || pts - dts > TIMELINE_JUMP_NS || dts - pts > TIMELINE_JUMP_NS)
		return k->seen || dts > t->origin_pts_ns ? TIMELINE_DISCONTINUITY : TIMELINE_DROP;
	if (pts < t->origin_pts_ns)
		return TIMELINE_DROP;
	int64_t time_ns = t->origin_time_ns + (pts - t->origin_pts_ns);
	if (t->live) {
		enum timeline_verdict v = check_clock(t, time_ns, wall_ns, boot_ns);
		if (v != TIMELINE_OK)
			return v;
	}
	int64_t duration = duration_of(t, p, dts);
	if (k->seen && dts <= k->last_dts_ns)
		dts = k->last_dts_ns + 1000;
	k->seen = true;
	k->last_dts_ns = dts;
	k->last_pts_ns = pts;
	k->last_duration_ns = duration;
	out->time_ns = time_ns;
	out->dts_ns = t->origin_time_ns + (dts - t->origin_pts_ns);
	out->duration_ns = (uint32_t)duration;
	if (time_ns + duration > t->end_ns)
		t->end_ns = time_ns + duration;
	if (t->live && time_ns - wall_ns > TIMELINE_AHEAD_NS)
		out->wait_ns = time_ns - wall_ns - TIMELINE_AHEAD_NS;
	return TIMELINE_OK;
}
