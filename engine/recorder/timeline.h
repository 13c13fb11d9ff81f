/*
 * timeline.h — from a source's time stamps to UTC: mapping, repair, discontinuities. Pure.
 *
 *   live     time = wall clock at the run's first frame + (pts - first pts), both tracks alike.
 *   import   time = given start + (pts - first pts).
 *
 * A run begins with a video key frame (without video: with the first frame); what comes before it,
 * or is shown before it, is dropped. Missing time stamps are repaired inside a run, small steps
 * back are smoothed, large jumps end the run. A live run also ends when the wall clock was stepped,
 * or when the mapping has drifted away from the wall clock for good.
 */
#ifndef CUSTOS_TIMELINE_H
#define CUSTOS_TIMELINE_H

#include "engine/engine.h"

#define TIMELINE_AHEAD_NS    (1 * NSEC_PER_SEC) /* a live frame is at most this far in the future */
#define TIMELINE_JUMP_NS     (10 * NSEC_PER_SEC) /* a larger hole in time stamps ends the run */
#define TIMELINE_BACK_NS     (1 * NSEC_PER_SEC)  /* a larger step back ends the run */
#define TIMELINE_LAG_NS      (5 * NSEC_PER_SEC) /* a mapping further behind for good ends the run */
#define TIMELINE_LAG_SPAN_NS (60 * NSEC_PER_SEC)    /* "for good", for network sources */
#define TIMELINE_HOLE_NS     (86400 * NSEC_PER_SEC) /* widest hole that an import keeps as it is */
#define TIMELINE_STEP_NS     (500 * NSEC_PER_MSEC) /* wall against boot time: the clock was stepped */

struct timeline_packet {
	int64_t pts_ns, dts_ns; /* ENG_NO_TIME: missing */
	int64_t duration_ns;    /* 0: unknown */
	unsigned track;
	bool video, key;
};
struct timeline_out {
	int64_t time_ns, dts_ns;
	uint32_t duration_ns;
	int64_t wait_ns; /* live: wait so long before handing it on (pacing) */
};
enum timeline_verdict {
	TIMELINE_OK = 0,
	TIMELINE_DROP,          /* before the run's first key frame */
	TIMELINE_DISCONTINUITY, /* end the run; feed the same packet again for the next one */
	TIMELINE_CLOCK_STEP,    /* the same, other cause */
};

struct timeline {
	/* set by timeline_init */
	bool live, paced, has_video;
	int64_t start_ns;
	/* of the run */
	bool started;
	int64_t origin_pts_ns, origin_time_ns, offset_ns; /* offset: wall - boot at the start */
	int64_t lag_least_ns, lag_since_ns;
	struct timeline_track {
		bool seen;
		int64_t last_dts_ns, last_pts_ns, last_duration_ns; /* as sent, repaired */
	} track[ENG_TRACKS_MAX];
	/* End of what has been mapped: later runs never begin before it (unless the wall clock was
	 * set back). The caller may set it after timeline_init. */
	int64_t end_ns;
};

/* start_ns: ENG_NO_TIME for live. paced: a live source that can wait (file, pipe). */
void timeline_init(struct timeline *t, int64_t start_ns, bool paced, bool has_video);
/* Ends the run: the next packet starts another. */
void timeline_reset(struct timeline *t);
enum timeline_verdict timeline_map(struct timeline *t, const struct timeline_packet *p,
                                   int64_t wall_ns, int64_t boot_ns, struct timeline_out *out);

#endif
