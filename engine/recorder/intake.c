/*
 * intake.c — see intake.h.
 *
 *              SETUP + key frame                    END, new SETUP, refused frame
 *   no run ────────────────────▶ eng_run_begin ─────────────────────────▶ no run
 *     ▲                             │ eng_append                             │
 *     └── -EAGAIN (drop to the next key frame), -ENOSPC (engine ended it) ◀──┘
 */
#include "engine/recorder/intake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define AHEAD_MAX_NS  (3 * NSEC_PER_SEC)   /* live: no frame is further in the future */
#define BEHIND_MAX_NS (300 * NSEC_PER_SEC) /* live: no run begins further in the past */
#define FULL_RETRY_NS (5 * NSEC_PER_SEC)

int intake_init(struct intake *in, const char *camera, struct eng_stream *stream, bool hold,
                const struct intake_hooks *hooks)
{
	memset(in, 0, sizeof(*in));
	in->child = (struct child)CHILD_NONE;
	in->camera = camera;
	in->stream = stream;
	in->hold = hold;
	in->hooks = *hooks;
	in->start_ns = in->limit_ns = ENG_NO_TIME;
	in->run_end_ns = eng_stream_durable_ns(stream);
	in->next_reason = in->run_end_ns == ENG_NO_TIME ? ENG_REASON_FIRST : ENG_REASON_RESTART;
	in->rec = calloc(1, sizeof(*in->rec));
	return in->rec ? 0 : -ENOMEM;
}

void intake_free(struct intake *in)
{
	child_close(&in->child);
	free(in->rec);
	in->rec = NULL;
}

int intake_start(struct intake *in, const struct ingest_job *job, int media_fd)
{
	child_close(&in->child);
	in->ended = in->have_setup = in->held = false;
	in->end_reason = ENG_REASON_NONE;
	in->text[0] = 0;
	in->refused = 0;
	in->frames = in->bytes = in->dropped = in->unstored = in->runs = 0;
	in->retry_boot_ns = 0; /* a new source has not been told yet */
	in->first_ns = in->end_ns = ENG_NO_TIME;
	in->heard_boot_ns = clock_boot_ns();
	in->start_ns = job->start_ns;
	return child_start(&in->child, job, media_fd, 0);
}

static void alarm_line(struct intake *in, const char *what)
{
	char line[RING_TEXT_MAX + 2 * ENG_CAMERA_MAX];
	snprintf(line, sizeof(line), "camera \"%s\": %s", in->camera, what);
	if (in->hooks.alarm)
		in->hooks.alarm(in->hooks.arg, line);
	else
		log_warn("%s", line);
}

/* The run is over, whoever ended it in the engine. */
static void run_over(struct intake *in, enum eng_reason reason)
{
	if (!in->run_open)
		return;
	in->run_open = false;
	in->next_reason = reason;
	if (in->hooks.run)
		in->hooks.run(in->hooks.arg, false, reason, in->run_end_ns);
}

void intake_break(struct intake *in, enum eng_reason reason)
{
	if (in->run_open)
		eng_run_end(in->stream, reason);
	run_over(in, reason);
}

/* Nothing more is taken from this import. */
static void refuse(struct intake *in, int err, const char *why)
{
	if (in->refused)
		return;
	in->refused = err;
	snprintf(in->text, sizeof(in->text), "%s", why);
	intake_break(in, ENG_REASON_SOURCE_END);
	child_kill(&in->child);
	in->ended = true;
	in->end_reason = ENG_REASON_SOURCE_END;
}

static bool is_import(const struct intake *in)
{
	return in->start_ns != ENG_NO_TIME;
}

static void too_far(struct intake *in)
{
	if (in->limit_ns >= clock_wall_ns() - 60 * NSEC_PER_SEC)
		refuse(in, -EINVAL, "comes nearer than 10 s to now; give an earlier --start");
	else
		refuse(in, -EEXIST,
		       "overlaps footage that is already recorded; import only what is missing");
}

/* Does the child tell times that can be? What it may say depends on us alone. */
static bool time_ok(struct intake *in, const struct eng_frame *f)
{
	int64_t now = clock_wall_ns();

	if (is_import(in)) {
		if (f->time_ns >= in->start_ns && f->time_ns < in->limit_ns)
			return true;
		too_far(in);
		return false;
	}
	if (f->time_ns <= now + AHEAD_MAX_NS && (in->run_open || f->time_ns >= now - BEHIND_MAX_NS))
		return true;
	alarm_line(in, "a frame's time cannot be; it was refused");
	return false;
}

static void bad_frame(struct intake *in)
{
	in->dropped++;
	intake_break(in, ENG_REASON_BAD_DATA);
	in->next_reason = ENG_REASON_BAD_DATA;
}

/* The store cannot take more just now. */
static int backlog(struct intake *in, int err)
{
	if (err == -EAGAIN && in->hold) {
		in->held = true;
		return err;
	}
	if (err == -ENOSPC && is_import(in)) {
		/* Whole or refused: a hole in the middle would be found out years later. */
		refuse(in, err, "stops: the store is full and nothing in it may be removed");
		in->dropped++;
		return 0;
	}
	if (err == -EAGAIN) {
		if (in->run_open)
			alarm_line(in, "the disk cannot keep up: frames are dropped");
		intake_break(in, ENG_REASON_DISK_SLOW);
		in->next_reason = ENG_REASON_DISK_SLOW;
	} else {
		if (in->run_open || in->next_reason != ENG_REASON_STORE_FULL)
			alarm_line(in, err == -ENOSPC
			                       ? "recording has stopped: the store is full and "
			                         "nothing in it may be removed"
			                       : "recording has stopped: the store fails");
		if (err != -ENOSPC && in->run_open)
			eng_run_end(in->stream, ENG_REASON_DISK_SLOW);
		in->retry_boot_ns = clock_boot_ns() + FULL_RETRY_NS;
		run_over(in, err == -ENOSPC ? ENG_REASON_STORE_FULL : ENG_REASON_DISK_SLOW);
		in->next_reason = err == -ENOSPC ? ENG_REASON_STORE_FULL : ENG_REASON_DISK_SLOW;
	}
	in->dropped++;
	in->unstored++;
	return 0;
}

static int run_begin(struct intake *in, const struct eng_frame *f)
{
	bool video = eng_codec_is_video(in->rec->setup.track[0].codec);

	if ((video && f->track != 0) || !(f->flags & ENG_FRAME_KEY) ||
	    clock_boot_ns() < in->retry_boot_ns) {
		in->dropped++;
		in->unstored += in->next_reason == ENG_REASON_STORE_FULL ||
		                in->next_reason == ENG_REASON_DISK_SLOW;
		return 1;
	}
	int err = eng_run_begin(in->stream, &in->rec->setup, in->next_reason);
	if (err)
		return err;
	in->run_open = true;
	in->runs++;
	if (in->hooks.run)
		in->hooks.run(in->hooks.arg, true, in->next_reason, f->time_ns);
	return 0;
}

/* -EAGAIN: held, try again later; everything else has been dealt with. */
static int deliver(struct intake *in)
{
	const struct eng_frame *f = &in->rec->frame;
	int err = 0;

	if (in->refused || !in->have_setup || f->track >= in->rec->setup.n_tracks) {
		in->dropped++;
		return 0;
	}
	if (!time_ok(in, f)) {
		if (!in->refused)
			bad_frame(in);
		return 0;
	}
	if (!in->run_open)
		err = run_begin(in, f);
	if (err == 1)
		return 0;
	if (!err)
		err = eng_append(in->stream, f);
	if (err == -EINVAL || err == -EMSGSIZE) {
		bad_frame(in);
		return 0;
	}
	if (err)
		return backlog(in, err);
	int64_t end = f->time_ns + f->duration_ns;
	in->frames++;
	in->bytes += f->size_bytes;
	if (in->first_ns == ENG_NO_TIME || f->time_ns < in->first_ns)
		in->first_ns = f->time_ns;
	if (end > in->end_ns)
		in->end_ns = end;
	if (end > in->run_end_ns)
		in->run_end_ns = end;
	return 0;
}

/* Out of order here: the ring decodes a SETUP into rec->setup, where it stays for the frames. */
static void new_setup(struct intake *in)
{
	const struct ring_record *r = in->rec;

	intake_break(in, ENG_REASON_PARAMETERS);
	in->have_setup = true;
	in->end_reason = ENG_REASON_NONE;
	if (is_import(in) && r->end_ns != ENG_NO_TIME && in->frames == 0 &&
	    r->end_ns > in->limit_ns)
		too_far(in);
}

static int handle(struct intake *in)
{
	struct ring_record *r = in->rec;

	switch (r->kind) {
	case RING_SETUP:
		new_setup(in);
		return 0;
	case RING_FRAME:
		in->heard_boot_ns = clock_boot_ns();
		return deliver(in);
	case RING_END:
		intake_break(in, r->reason);
		in->have_setup = false;
		in->end_reason = r->reason;
		if (r->text[0])
			snprintf(in->text, sizeof(in->text), "%s", r->text);
		return 0;
	case RING_NOTE:
		snprintf(in->text, sizeof(in->text), "%s", r->text);
		log_info("camera \"%s\": %s", in->camera, r->text);
		return 0;
	default:
		return 0;
	}
}

bool intake_run(struct intake *in, unsigned budget)
{
	if (!intake_active(in))
		return false;
	ring_drained(in->child.ring);
	while (budget-- > 0) {
		int err = 1;
		if (!in->held)
			err = ring_get(in->child.ring, in->rec);
		in->held = false;
		if (err == 0)
			return false;
		if (err < 0) {
			alarm_line(in, err == -EUCLEAN ? "the ingest child broke the ring's rules; "
			                                 "it was ended"
			                               : "out of memory");
			child_kill(&in->child);
			in->ended = true;
			in->end_reason = ENG_REASON_INGEST_CRASH;
			intake_break(in, ENG_REASON_INGEST_CRASH);
			return false;
		}
		if (handle(in) == -EAGAIN)
			return true;
		if (in->refused)
			return false;
	}
	return true;
}

void intake_stop(struct intake *in, enum eng_reason reason)
{
	child_kill(&in->child);
	if (!in->ended) {
		bool hold = in->hold;
		in->hold = false; /* the last of it now or never */
		while (intake_run(in, 1024))
			;
		in->hold = hold;
	}
	if (in->end_reason == ENG_REASON_NONE)
		in->end_reason = reason;
	intake_break(in, in->end_reason);
	in->next_reason = in->end_reason;
	in->ended = true;
	child_close(&in->child);
}
