/*
 * feed.c — streams that people push: `custos feed`, live at their own rate, or with --start as old
 * footage. The descriptor comes with the request; a child reads it; the reply is sent when the last
 * frame is durable.
 *
 *   begin ──▶ running (child) ──▶ flushing (all appended, not yet durable) ──▶ replied
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FLUSH_MAX_NS     (60 * NSEC_PER_SEC)
#define IMPORT_MARGIN_NS (10 * NSEC_PER_SEC) /* see import_horizon() */

struct feed {
	struct feed *next;
	struct line_conn *conn; /* NULL: the feeder has gone */
	struct camera *camera;
	bool import, flushing;
	uint64_t target;      /* frames of the stream, durable or given up, that it waits for */
	uint64_t lost_before; /* given up before this feed began */
	int64_t deadline_boot_ns;
	/* result */
	uint64_t frames, unstored; /* taken; not taken, the store was full or slow */
	int64_t first_ns, end_ns;
	enum eng_reason reason;
	int refused;
	char text[RING_TEXT_MAX];
};

static struct intake *intake_of(struct camera *c, bool import)
{
	return import ? &c->import : &c->live;
}

static struct feed **slot_of(struct camera *c, bool import)
{
	return import ? &c->importing : &c->feeding;
}

/*
 * Where an import must end: what is recorded can only be looked up once it is durable, and a live
 * frame may be dated a little before it arrives. So the last seconds are not to be had, nor what a
 * slow disk still owes.
 */
static int64_t import_horizon(const struct camera *c, int64_t now_ns)
{
	const struct intake *live = &c->live;
	int64_t horizon = now_ns - IMPORT_MARGIN_NS;
	int64_t owed = eng_stream_durable_ns(live->stream);

	if (live->run_end_ns <= owed)
		return horizon;
	if (owed < live->first_ns)
		owed = live->first_ns;
	return owed < horizon ? owed : horizon;
}

/* An import that has ended cannot be looked up before it is durable. */
static bool import_settling(const struct recorder *r, const struct camera *c)
{
	for (const struct feed *f = r->feeds; f; f = f->next)
		if (f->camera == c && f->import)
			return true;
	return false;
}

/* May this stream be taken now? One clear line in why. */
static int check(const struct recorder *r, struct camera *c, int64_t start_ns, int64_t now_ns,
                 char *why, size_t why_bytes)
{
	bool import = start_ns != ENG_NO_TIME;

	if (*slot_of(c, import) || (import && import_settling(r, c))) {
		snprintf(why, why_bytes, "is being %s already; wait for its end",
		         import ? "imported to" : "fed");
		return -EBUSY;
	}
	if (!import) {
		if (strcmp(c->conf->source, "feed") == 0)
			return 0;
		snprintf(why, why_bytes, "has a source of its own; only --start is possible");
		return -EINVAL;
	}
	int64_t horizon = import_horizon(c, now_ns);
	if (start_ns >= horizon || start_ns <= 0) {
		snprintf(why, why_bytes,
		         start_ns >= now_ns ? "cannot be given footage of the future; correct "
		                              "--start"
		                            : "is given old footage only, up to 10 s before now; "
		                              "correct --start or try again later");
		return -EINVAL;
	}
	int err = coverage_free(c, start_ns, horizon, &c->import.limit_ns);
	if (err == -EEXIST)
		snprintf(why, why_bytes,
		         "has recorded that time already; import only what is missing");
	else if (err)
		snprintf(why, why_bytes, "cannot be looked up in the store: %s", strerror(-err));
	return err;
}

static int launch(struct camera *c, bool import, int64_t start_ns, const char *name, int fd)
{
	struct intake *in = intake_of(c, import);
	struct ingest_job job = {.magic = JOB_MAGIC, .bytes = sizeof(job)};

	snprintf(job.name, sizeof(job.name), "%s", name ? name : c->conf->name);
	job.start_ns = start_ns;
	job.not_before_ns = import ? ENG_NO_TIME : in->run_end_ns;
	job.stall_ns = c->conf->stall_ns;
	job.audio = c->conf->audio;
	job.feed = 1;
	int err = intake_start(in, &job, fd);
	if (!err)
		err = camera_watch(c, import);
	if (err)
		child_close(&in->child);
	return err;
}

void feed_begin(struct recorder *r, struct line_conn *conn, const struct line_peer *peer,
                const char *user, json_t *req, int fd)
{
	const char *name = json_string_value(json_object_get(req, "camera"));
	const char *file = json_string_value(json_object_get(req, "name"));
	const json_t *start = json_object_get(req, "start");
	int64_t start_ns = start ? json_integer_value(start) : ENG_NO_TIME;
	struct camera *c = camera_find(r, name);
	bool import = start_ns != ENG_NO_TIME;
	char why[256] = "";

	int err = check(r, c, start_ns, clock_wall_ns(), why, sizeof(why));
	int logged =
	        journal_feed(r->log, peer, user, name, start_ns, import ? "import" : "feed", err);
	if (!err && logged) {
		err = -EIO;
		snprintf(why, sizeof(why), "cannot be fed: the audit log takes no records");
	}
	struct feed *f = err ? NULL : calloc(1, sizeof(*f));
	if (!err)
		err = f ? launch(c, import, start_ns, file, fd) : -ENOMEM;
	close(fd);
	if (err) {
		free(f);
		line_reply_error(conn, -err, "camera \"%.100s\" %s", name,
		                 why[0] ? why : strerror(-err));
		return;
	}
	f->conn = conn;
	f->camera = c;
	f->import = import;
	f->lost_before = eng_stream_lost_frames(intake_of(c, import)->stream);
	f->next = r->feeds;
	r->feeds = f;
	*slot_of(c, import) = f;
	c->more = true;
	log_info("camera \"%s\": %s by uid %u", c->conf->name, import ? "import" : "fed",
	         (unsigned)peer->uid);
}

void feed_ended(struct camera *c, bool import)
{
	struct intake *in = intake_of(c, import);
	struct feed *f = *slot_of(c, import);
	uint64_t *before = import ? &c->imported_before : &c->frames_before;

	if (intake_active(in)) {
		camera_unwatch(c, import);
		intake_stop(in, ENG_REASON_SOURCE_END);
	}
	*before += in->frames;
	if (!import)
		c->bytes_before += in->bytes;
	if (f) {
		f->flushing = true;
		f->target = *before;
		f->deadline_boot_ns = clock_boot_ns() + FLUSH_MAX_NS;
		f->frames = in->frames;
		f->unstored = in->unstored;
		f->first_ns = in->first_ns;
		f->end_ns = in->end_ns;
		f->reason = in->end_reason;
		f->refused = in->refused;
		snprintf(f->text, sizeof(f->text), "%s", in->text);
		*slot_of(c, import) = NULL;
	}
	in->refused = 0;
	in->frames = in->bytes = 0;
	if (!import)
		c->cause[0] = 0;
}

static void reply_refused(struct feed *f)
{
	const char *name = f->camera->conf->name;
	const char *kept = f->frames ? "; what came before is kept" : "";

	if (f->refused)
		line_reply_error(f->conn, -f->refused, "camera \"%.100s\": the stream %s%s", name,
		                 f->text, kept);
	else if (f->reason == ENG_REASON_BAD_DATA || f->reason == ENG_REASON_SOURCE_END)
		line_reply_error(f->conn, EINVAL, "camera \"%.100s\": the stream is refused: %s%s",
		                 name, f->text[0] ? f->text : "it holds no frames", kept);
	else
		line_reply_error(f->conn, EIO, "camera \"%.100s\": the stream was lost (%s) %s%s",
		                 name, eng_reason_name((uint16_t)f->reason), f->text, kept);
}

/* Some of it is missing: the feeder must not take the rest for the whole. */
static void reply_lost(struct feed *f, uint64_t lost)
{
	uint64_t all = f->frames + f->unstored;

	line_reply_error(
	        f->conn, ENOSPC,
	        "camera \"%.100s\": %llu of %llu frames could not be stored, the store was "
	        "full or slow (custos status tells); the others are kept",
	        f->camera->conf->name, (unsigned long long)lost, (unsigned long long)all);
}

static void reply(struct feed *f)
{
	const struct eng_stream *s = intake_of(f->camera, f->import)->stream;
	uint64_t lost = f->unstored + (eng_stream_lost_frames(s) - f->lost_before);
	bool good = f->reason == ENG_REASON_SOURCE_END || f->frames > 0;

	if (lost && !f->refused) {
		reply_lost(f, lost);
		return;
	}

	if (f->refused || f->frames == 0 || !good || f->reason == ENG_REASON_INGEST_CRASH) {
		reply_refused(f);
		return;
	}
	json_t *o = json_pack(
	        "{s:b, s:I, s:f, s:I, s:I, s:s}", "ok", 1, "frames", (json_int_t)f->frames,
	        "seconds", (double)(f->end_ns - f->first_ns) / 1e9, "from", (json_int_t)f->first_ns,
	        "to", (json_int_t)f->end_ns, "reason", eng_reason_name((uint16_t)f->reason));
	if (f->text[0])
		json_object_set_new(o, "note", json_string(f->text));
	line_reply(f->conn, o);
}

bool feed_tick(struct recorder *r)
{
	bool waiting = false;

	for (struct feed **at = &r->feeds; *at;) {
		struct feed *f = *at;
		if (!f->flushing) {
			at = &f->next;
			continue;
		}
		struct intake *in = intake_of(f->camera, f->import);
		uint64_t settled =
		        eng_stream_durable_frames(in->stream) + eng_stream_lost_frames(in->stream);
		bool late = clock_boot_ns() > f->deadline_boot_ns;
		if (settled < f->target && !late) {
			waiting = true;
			at = &f->next;
			continue;
		}
		if (f->conn && settled >= f->target)
			reply(f);
		else if (f->conn)
			line_reply_error(f->conn, EIO,
			                 "the stream has ended, but the disk does not take it");
		*at = f->next;
		free(f);
	}
	return waiting;
}

void feed_gone(struct recorder *r, struct line_conn *conn)
{
	for (struct feed *f = r->feeds; f; f = f->next) {
		if (f->conn != conn)
			continue;
		f->conn = NULL;
		if (!f->flushing) {
			log_info("camera \"%s\": the feeder has gone", f->camera->conf->name);
			feed_ended(f->camera, f->import);
		}
		return;
	}
}

void feed_close(struct recorder *r)
{
	while (r->feeds) {
		struct feed *f = r->feeds;
		r->feeds = f->next;
		if (!f->flushing)
			*slot_of(f->camera, f->import) = NULL;
		if (f->conn)
			line_reply_error(f->conn, ESHUTDOWN, "the recorder is stopping");
		free(f);
	}
}
