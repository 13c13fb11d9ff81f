/*
 * supervisor.c — one child per camera: started in a staggered way, watched, ended when it stalls,
 * restarted with jittered exponential backoff. What happens to one camera costs that camera alone.
 *
 *   waiting ──due──▶ connecting ──first frame──▶ recording ──END, death, stall──▶ waiting
 *   idle (source = "feed") ──feed──▶ connecting …                                 └▶ idle
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BACKOFF_MIN_NS (500 * NSEC_PER_MSEC)
#define BACKOFF_MAX_NS (15 * NSEC_PER_SEC)
#define STAGGER_NS     (20 * NSEC_PER_MSEC)
#define OPEN_NS \
	(20 * NSEC_PER_SEC) /* for a child to bring its first frame, beside the stall time */
#define STALL_GRACE_NS (1 * NSEC_PER_SEC) /* the child says it better itself */
#define TICK_NS        (100 * NSEC_PER_MSEC)
#define PASS_RECORDS   256

struct camera *camera_find(struct recorder *r, const char *name)
{
	for (size_t i = 0; i < r->n_cameras; i++)
		if (strcmp(r->cameras[i].conf->name, name) == 0)
			return &r->cameras[i];
	return NULL;
}

static bool is_feed(const struct camera *c)
{
	return strcmp(c->conf->source, "feed") == 0;
}

const char *camera_state(const struct camera *c)
{
	if (c->live.run_open)
		return "recording";
	if (intake_active(&c->live))
		return "connecting";
	return is_feed(c) ? "idle" : "waiting";
}

/* ---- events ---- */

static void child_over(struct camera *c, bool import);

static void on_data(struct camera *c, bool import)
{
	struct intake *in = import ? &c->import : &c->live;
	if (!intake_active(in))
		return;
	if (intake_run(in, PASS_RECORDS))
		c->more = true;
	if (in->run_open && !import) {
		c->backoff_ns = 0;
		c->cause[0] = 0;
	}
	if (in->ended)
		child_over(c, import);
}

static void on_exit_of(struct camera *c, bool import)
{
	struct intake *in = import ? &c->import : &c->live;
	int status = 0;
	if (!intake_active(in) || !child_ended(&in->child, &status))
		return;
	if (in->held || (in->hold && intake_run(in, PASS_RECORDS)))
		return; /* a feed's last frames wait for memory: the tick looks again */
	child_over(c, import);
}

static void live_data(void *arg)
{
	on_data(arg, false);
}

static void live_exit(void *arg)
{
	on_exit_of(arg, false);
}

static void import_data(void *arg)
{
	on_data(arg, true);
}

static void import_exit(void *arg)
{
	on_exit_of(arg, true);
}

int camera_watch(struct camera *c, bool import)
{
	struct intake *in = import ? &c->import : &c->live;
	struct watch *data = import ? &c->import_data : &c->live_data;
	struct watch *pid = import ? &c->import_pid : &c->live_pid;
	int err = loop_add(c->rec, data, ring_data_fd(in->child.ring),
	                   import ? import_data : live_data, c);
	if (!err)
		err = loop_add(c->rec, pid, in->child.pid_fd, import ? import_exit : live_exit, c);
	if (err)
		camera_unwatch(c, import);
	return err;
}

void camera_unwatch(struct camera *c, bool import)
{
	loop_del(c->rec, import ? &c->import_data : &c->live_data);
	loop_del(c->rec, import ? &c->import_pid : &c->live_pid);
}

/* ---- restarting ---- */

static int64_t jittered(int64_t ns)
{
	uint32_t x;
	random_fill(&x, sizeof(x));
	return ns / 2 + (int64_t)((uint64_t)(ns / 2) * x / UINT32_MAX);
}

static void schedule(struct camera *c)
{
	if (is_feed(c))
		return;
	c->backoff_ns = c->backoff_ns ? c->backoff_ns * 2 : BACKOFF_MIN_NS;
	if (c->backoff_ns > BACKOFF_MAX_NS)
		c->backoff_ns = BACKOFF_MAX_NS;
	c->start_boot_ns = clock_boot_ns() + jittered(c->backoff_ns);
	c->restarts++;
}

static void remember_cause(struct camera *c, enum eng_reason reason, const char *text)
{
	char line[sizeof(c->cause)];

	snprintf(line, sizeof(line), "%s%s%.400s", eng_reason_name((uint16_t)reason),
	         text[0] ? ": " : "", text);
	if (reason != c->cause_reason || strcmp(line, c->cause) != 0)
		log_warn("camera \"%s\": %s", c->conf->name, line);
	c->cause_reason = reason;
	memcpy(c->cause, line, sizeof(c->cause));
}

/* Ends an intake whatever state it is in; `reason` if the child gave none itself. */
static void camera_stop(struct camera *c, bool import, enum eng_reason reason)
{
	struct intake *in = import ? &c->import : &c->live;
	camera_unwatch(c, import);
	intake_stop(in, reason);
	if (import || is_feed(c)) {
		feed_ended(c, import);
		return;
	}
	c->frames_before += in->frames;
	c->bytes_before += in->bytes;
	in->frames = in->bytes = 0;
	remember_cause(c, in->end_reason, in->text);
	schedule(c);
}

static void child_over(struct camera *c, bool import)
{
	camera_stop(c, import, ENG_REASON_INGEST_CRASH);
}

/* ---- starting ---- */

static int job_of(struct camera *c, struct ingest_job *job, int *media_fd)
{
	char err[256] = "";

	memset(job, 0, sizeof(*job));
	*media_fd = -1;
	job->magic = JOB_MAGIC;
	job->bytes = sizeof(*job);
	job->start_ns = ENG_NO_TIME;
	job->not_before_ns = c->live.run_end_ns;
	job->stall_ns = c->conf->stall_ns;
	job->audio = c->conf->audio;
	snprintf(job->name, sizeof(job->name), "%s", c->conf->name);
	const char *source = c->conf->source;
	if (strncmp(source, "file://", 7) == 0 || source[0] == '/') {
		*media_fd = open(source[0] == '/' ? source : source + 7, O_RDONLY | O_CLOEXEC);
		if (*media_fd >= 0)
			return 0;
		snprintf(err, sizeof(err), "%s: %s", source, strerror(errno));
	} else if (source_url(c->conf, job->url, sizeof(job->url), err, sizeof(err)) == 0) {
		return 0;
	}
	remember_cause(c, ENG_REASON_UNREACHABLE, err);
	return -EINVAL;
}

static void start(struct camera *c)
{
	struct ingest_job job;
	int media_fd, err;

	c->start_boot_ns = 0;
	err = job_of(c, &job, &media_fd);
	if (!err) {
		err = intake_start(&c->live, &job, media_fd);
		if (!err)
			err = camera_watch(c, false);
		if (err)
			remember_cause(c, ENG_REASON_INGEST_CRASH, strerror(-err));
	}
	explicit_bzero(&job, sizeof(job));
	if (media_fd >= 0)
		close(media_fd);
	if (err) {
		child_close(&c->live.child);
		schedule(c);
	}
}

/* ---- the tick ---- */

static void check_stall(struct camera *c, int64_t boot_ns)
{
	struct intake *in = &c->live;
	int64_t quiet = boot_ns - in->heard_boot_ns;

	if (!intake_active(in) || in->held)
		return;
	if (is_feed(c)) {
		/* A pipe may pause: the gap is recorded, the feeder is not thrown out. */
		if (in->run_open && quiet > c->conf->stall_ns)
			intake_break(in, ENG_REASON_STALLED);
		return;
	}
	int64_t bound = c->conf->stall_ns + (in->frames ? STALL_GRACE_NS : OPEN_NS);
	if (quiet > bound) {
		snprintf(in->text, sizeof(in->text), "no frame within the stall time-out");
		camera_stop(c, false, ENG_REASON_STALLED);
	}
}

static void measure_rate(struct camera *c, int64_t boot_ns)
{
	uint64_t bytes = c->bytes_before + c->live.bytes;
	int64_t span = boot_ns - c->rate_boot_ns;
	if (span < 2 * NSEC_PER_SEC)
		return;
	/* A feed counts anew with each child. */
	uint64_t d = bytes >= c->rate_bytes ? bytes - c->rate_bytes : bytes;
	c->rate_bps = (uint64_t)((double)d * 8e9 / (double)span);
	c->rate_bytes = bytes;
	c->rate_boot_ns = boot_ns;
}

int64_t supervisor_tick(struct recorder *r, int64_t boot_ns)
{
	for (size_t i = 0; i < r->n_cameras; i++) {
		struct camera *c = &r->cameras[i];
		if (c->start_boot_ns && boot_ns >= c->start_boot_ns)
			start(c);
		if (intake_active(&c->live))
			on_exit_of(c, false);
		if (intake_active(&c->import))
			on_exit_of(c, true);
		check_stall(c, boot_ns);
		measure_rate(c, boot_ns);
	}
	return TICK_NS;
}

/* ---- making and ending ---- */

static void hook_run_live(void *arg, bool begins, enum eng_reason reason, int64_t time_ns)
{
	struct camera *c = arg;
	journal_run(c->rec->log, c->conf->name, false, begins, reason, time_ns);
	if (!begins && reason != ENG_REASON_RESTART && !is_feed(c))
		log_info("camera \"%s\": run ended: %s", c->conf->name,
		         eng_reason_name((uint16_t)reason));
	if (begins)
		log_info("camera \"%s\": recording", c->conf->name);
}

static void hook_run_import(void *arg, bool begins, enum eng_reason reason, int64_t time_ns)
{
	struct camera *c = arg;
	journal_run(c->rec->log, c->conf->name, true, begins, reason, time_ns);
}

static void hook_alarm(void *arg, const char *line)
{
	struct camera *c = arg;
	recorder_alarm(c->rec, line);
}

static int camera_init(struct recorder *r, struct camera *c, const struct conf_camera *conf)
{
	struct intake_hooks live = {hook_run_live, hook_alarm, c};
	struct intake_hooks import = {hook_run_import, hook_alarm, c};
	struct eng_stream *s, *imported;

	c->rec = r;
	c->conf = conf;
	c->live.child = c->import.child = (struct child)CHILD_NONE;
	for (size_t i = 0; i < r->n_stores; i++)
		if (strcmp(r->stores[i].conf->name, conf->store) == 0)
			c->store = &r->stores[i];
	if (!c->store)
		return -ENOENT;
	int err = eng_stream_get(c->store->writer, conf->name, false, &s);
	if (!err)
		err = eng_stream_get(c->store->writer, conf->name, true, &imported);
	if (!err)
		err = intake_init(&c->live, conf->name, s, is_feed(c), &live);
	if (!err)
		err = intake_init(&c->import, conf->name, imported, true, &import);
	return err;
}

int supervisor_init(struct recorder *r, char *err, size_t err_bytes)
{
	int64_t now = clock_boot_ns();

	r->cameras = calloc(r->conf->n_cameras + 1, sizeof(*r->cameras));
	if (!r->cameras)
		return -ENOMEM;
	for (size_t i = 0; i < r->conf->n_cameras; i++) {
		struct camera *c = &r->cameras[i];
		int e = camera_init(r, c, &r->conf->cameras[i]);
		if (e) {
			snprintf(err, err_bytes, "camera \"%s\" cannot be set up: %s",
			         r->conf->cameras[i].name, strerror(-e));
			return e;
		}
		r->n_cameras++;
		c->rate_boot_ns = now;
		if (!is_feed(c))
			c->start_boot_ns = now + 1 + (int64_t)i * STAGGER_NS;
	}
	return 0;
}

void supervisor_close(struct recorder *r)
{
	for (size_t i = 0; i < r->conf->n_cameras && r->cameras; i++) {
		struct camera *c = &r->cameras[i];
		if (!c->rec)
			continue;
		camera_unwatch(c, false);
		camera_unwatch(c, true);
		if (intake_active(&c->live))
			intake_stop(&c->live, ENG_REASON_RESTART);
		if (intake_active(&c->import))
			intake_stop(&c->import, ENG_REASON_RESTART);
		intake_free(&c->live);
		intake_free(&c->import);
	}
	free(r->cameras);
	r->cameras = NULL;
	r->n_cameras = 0;
}
