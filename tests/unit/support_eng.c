/* support_eng.c — see support_eng.h. */
#include "tests/unit/support_eng.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t test_seed(void)
{
	const char *s = getenv("SEED");
	uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)clock_wall_ns();

	seed |= 1;
	printf("seed: SEED=%llu replays this\n", (unsigned long long)seed);
	return seed;
}

uint32_t rnd(uint64_t *state, uint32_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return below ? (uint32_t)((*state >> 16) % below) : 0;
}

/* ---- stores ---- */

char *folder_new(const char *root)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/custos-eng-XXXXXX", root ? root : "/tmp");
	assert_non_null(mkdtemp(path));
	return strdup(path);
}

/* READY by word alone: fallocate'd space reads as zeros too, and writing it takes the time of a
 * whole test. Stores whose extents matter are made by eng_init with prewrite. */
static void mark_ready(const char *dir)
{
	struct fmt_catalog_entry e = {
	        .state = FMT_STATE_READY, .first_ns = ENG_NO_TIME, .end_ns = ENG_NO_TIME};
	struct fmt_superblock sb;
	struct catalog *c;
	char err[256];

	assert_int_equal(store_read_superblock(dir, &sb, err, sizeof(err)), 0);
	assert_int_equal(catalog_open(dir, &sb, true, &c), 0);
	for (uint64_t n = 0; n < sb.segment_count; n++)
		catalog_put(c, n, &e);
	catalog_close(c);
}

char *store_new(unsigned segments, bool ready)
{
	struct eng_init_options o = {.size_bytes = segments * FMT_SEGMENT_MIN,
	                             .segment_bytes = FMT_SEGMENT_MIN,
	                             .group = (gid_t)-1};
	char err[256] = "", *dir = folder_new(NULL);

	if (eng_init(dir, &o, err, sizeof(err)))
		fail_msg("eng_init: %s", err);
	if (ready)
		mark_ready(dir);
	return dir;
}

static int drop_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void store_drop(char *dir)
{
	if (!getenv("KEEP"))
		nftw(dir, drop_one, 16, FTW_DEPTH | FTW_PHYS);
	free(dir);
}

void segment_file(const char *dir, uint64_t n, char out[4096])
{
	char path[FMT_SEGMENT_PATH_MAX];

	fmt_segment_path(n, path);
	snprintf(out, 4096, "%s/%s", dir, path);
}

/* ---- clock ---- */

static int64_t test_wall(void *arg)
{
	struct test_clock *c = arg;

	return c->wall_ns += c->step_ns;
}

static int64_t test_boot(void *arg)
{
	struct test_clock *c = arg;

	return c->boot_ns += c->step_ns;
}

static struct clock_state test_sync(void *arg)
{
	struct test_clock *c = arg;

	return (struct clock_state){.synced = c->synced, .error_us = c->synced ? 100 : UINT32_MAX};
}

struct writer_env test_env(struct test_clock *c)
{
	if (!c->wall_ns)
		*c = (struct test_clock){.wall_ns = INT64_C(1800000000) * NSEC_PER_SEC,
		                         .boot_ns = 1000 * NSEC_PER_SEC,
		                         .step_ns = 10000,
		                         .synced = true};
	return (struct writer_env){
	        .wall_ns = test_wall, .boot_ns = test_boot, .clock = test_sync, .arg = c};
}

void clock_forward(struct test_clock *c, int64_t ns)
{
	c->wall_ns += ns;
	c->boot_ns += ns;
}

/* ---- device ---- */

static uint8_t *catalog_copy(struct fault *f)
{
	if (!f->logging)
		return NULL;
	uint8_t *copy = malloc(f->catalog_bytes);
	assert_non_null(copy);
	assert_int_equal(pread(f->catalog_fd, copy, f->catalog_bytes, 0), f->catalog_bytes);
	return copy;
}

static int fault_add(struct device *d, int fd)
{
	struct fault *f = (struct fault *)d;
	char link[64], path[4096];
	int file = f->real->ops->add_file(f->real, fd);

	if (file < 0)
		return file;
	assert_true(file < 256);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	assert_true(n > 0);
	path[n] = 0;
	const char *name = strrchr(path, '/') + 1;
	f->names[file] = *name >= '0' && *name <= '9' ? atoll(name) : -1;
	return file;
}

static void fault_drop(struct device *d, int file)
{
	struct fault *f = (struct fault *)d;

	f->real->ops->drop_file(f->real, file);
}

static void fault_submit(struct device *d, struct device_op *op)
{
	struct fault *f = (struct fault *)d;

	assert_true(f->n_pending < DEVICE_DEPTH);
	f->submitted_at[f->n_pending] = f->n_log;
	f->snapshot[f->n_pending] = op->kind == DEVICE_FLUSH ? catalog_copy(f) : NULL;
	f->pending[f->n_pending++] = op;
}

static void fault_kick(struct device *d)
{
	(void)d;
}

static bool all_zeros(const uint8_t *p, uint32_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

static void fault_log(struct fault *f, const struct device_op *op, uint32_t len, unsigned slot)
{
	if (!f->logging)
		return;
	if (f->n_log == f->cap_log) {
		f->cap_log = f->cap_log ? f->cap_log * 2 : 256;
		f->log = realloc(f->log, f->cap_log * sizeof(*f->log));
		assert_non_null(f->log);
	}
	struct log_entry *e = &f->log[f->n_log++];
	*e = (struct log_entry){.flush = op->kind == DEVICE_FLUSH,
	                        .file = f->names[op->file],
	                        .offset = op->offset,
	                        .len = len,
	                        .submitted_at = f->submitted_at[slot],
	                        .catalog = f->snapshot[slot],
	                        .removals = f->removals ? *f->removals : 0};
	f->snapshot[slot] = NULL;
	if (!e->catalog)
		e->catalog = catalog_copy(f);
	if (!e->flush && !all_zeros(op->buf, len)) {
		e->data = malloc(len);
		assert_non_null(e->data);
		memcpy(e->data, op->buf, len);
	}
	for (unsigned i = 0; i < 4 && f->streams[i]; i++)
		e->acked[i] = eng_stream_durable_frames(f->streams[i]);
}

static bool fault_hits(struct fault *f, const struct device_op *op)
{
	if (op->kind == DEVICE_WRITE ? !f->fail_writes : !f->fail_flushes)
		return false;
	f->calls++;
	return (f->fail_at && f->calls == f->fail_at) ||
	       (f->fail_every && f->calls % f->fail_every == 0);
}

static void do_really(struct fault *f, struct device_op *op)
{
	f->real->ops->submit(f->real, op);
	assert_ptr_equal(f->real->ops->reap(f->real), op);
}

/* The op happens now: really, or as the fault says. */
static void fault_run(struct fault *f, struct device_op *op, unsigned slot)
{
	if (!fault_hits(f, op)) {
		do_really(f, op);
		fault_log(f, op, op->len_bytes, slot);
		return;
	}
	f->failed++;
	if (op->kind == DEVICE_WRITE && f->fail_with == FAULT_SHORT) {
		struct device_op half = *op;
		half.len_bytes = op->len_bytes / 2 / 512 * 512;
		do_really(f, &half);
		fault_log(f, op, half.len_bytes, slot);
	}
	op->result = f->fail_with == FAULT_SHORT ? -EIO : f->fail_with;
}

static struct device_op *fault_reap(struct device *d)
{
	struct fault *f = (struct fault *)d;
	unsigned at = 0, left;

	if (!f->n_pending || f->hold)
		return NULL;
	if (f->rng) {
		if (rnd(&f->rng, 3) == 0)
			return NULL; /* later */
		at = rnd(&f->rng, f->n_pending);
	}
	struct device_op *op = f->pending[at];
	fault_run(f, op, at);
	free(f->snapshot[at]);
	left = --f->n_pending - at;
	memmove(f->pending + at, f->pending + at + 1, left * sizeof(*f->pending));
	memmove(f->submitted_at + at, f->submitted_at + at + 1, left * sizeof(*f->submitted_at));
	memmove(f->snapshot + at, f->snapshot + at + 1, left * sizeof(*f->snapshot));
	return op;
}

static void fault_wait(struct device *d, int64_t timeout_ns)
{
	(void)d, (void)timeout_ns;
}

static int fault_fd(const struct device *d)
{
	const struct fault *f = (const struct fault *)d;

	return f->real->ops->fd(f->real);
}

static void fault_close(struct device *d)
{
	struct fault *f = (struct fault *)d;

	for (unsigned i = 0; i < f->n_pending; i++)
		free(f->snapshot[i]);
	f->n_pending = 0;
	f->real->ops->close(f->real);
}

static const struct device_ops fault_ops = {
        .add_file = fault_add,
        .drop_file = fault_drop,
        .submit = fault_submit,
        .kick = fault_kick,
        .reap = fault_reap,
        .wait = fault_wait,
        .fd = fault_fd,
        .close = fault_close,
};

void fault_open(struct fault *f)
{
	*f = (struct fault){.d = {.ops = &fault_ops}, .catalog_fd = -1};
	assert_int_equal(device_sync_open(&f->real), 0);
}

void fault_log_start(struct fault *f, const char *dir)
{
	char path[4096];
	struct stat st;

	snprintf(path, sizeof(path), "%s/catalog", dir);
	f->catalog_fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(f->catalog_fd >= 0);
	assert_int_equal(fstat(f->catalog_fd, &st), 0);
	f->catalog_bytes = (size_t)st.st_size;
	f->logging = true;
}

void fault_free_log(struct fault *f)
{
	for (size_t i = 0; i < f->n_log; i++) {
		free(f->log[i].data);
		free(f->log[i].catalog);
	}
	free(f->log);
	if (f->catalog_fd >= 0)
		close(f->catalog_fd);
	f->log = NULL;
	f->n_log = f->cap_log = 0;
}

/* ---- frames ---- */

const struct eng_setup setup_video = {.n_tracks = 1,
                                      .track = {{.codec = ENG_CODEC_H264,
                                                 .width = 64,
                                                 .height = 48,
                                                 .extradata_bytes = 4,
                                                 .extradata = {1, 2, 3, 4}}}};
const struct eng_setup setup_other = {.n_tracks = 1,
                                      .track = {{.codec = ENG_CODEC_H264,
                                                 .width = 128,
                                                 .height = 96,
                                                 .extradata_bytes = 4,
                                                 .extradata = {1, 2, 3, 5}}}};
const struct eng_setup setup_av = {
        .n_tracks = 2,
        .track = {{.codec = ENG_CODEC_H264,
                   .width = 64,
                   .height = 48,
                   .extradata_bytes = 4,
                   .extradata = {1, 2, 3, 4}},
                  {.codec = ENG_CODEC_ALAW, .channels = 1, .sample_rate = 8000}}};

void frame_fill(const char *camera, int64_t time_ns, uint8_t track, uint8_t *out, uint32_t size)
{
	uint64_t x = (uint64_t)time_ns * UINT64_C(0x9e3779b97f4a7c15) + track + 1;

	for (const char *c = camera; *c; c++)
		x = x * 31 + (uint8_t)*c;
	x |= 1;
	for (uint32_t i = 0; i < size; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(out + i, &x, size - i < 8 ? size - i : 8);
	}
}

int append_at(struct eng_stream *s, int64_t time_ns, int64_t dts_ns, uint8_t track, bool key,
              uint32_t size)
{
	uint8_t *bytes = malloc(size + 1);
	struct eng_frame f = {.time_ns = time_ns,
	                      .dts_ns = dts_ns,
	                      .duration_ns = 40000000,
	                      .track = track,
	                      .flags = key ? ENG_FRAME_KEY : 0,
	                      .size_bytes = size,
	                      .data = bytes};

	assert_non_null(bytes);
	frame_fill(s->camera, time_ns, track, bytes, size);
	int err = eng_append(s, &f);
	free(bytes);
	return err;
}

/* ---- reading back ---- */

static void read_chunk(struct eng_reader *r, const char *camera, const struct eng_chunk *c,
                       struct seen **out, size_t *n)
{
	struct eng_frame_info *f = calloc(c->frame_count, sizeof(*f));
	uint8_t *bytes = malloc(c->payload_bytes), *want = malloc(c->payload_bytes);

	assert_true(f && bytes && want);
	assert_int_equal(eng_chunk_frames(r, c, f), 0);
	assert_int_equal(eng_chunk_read(r, c, 0, c->payload_bytes, bytes), 0);
	*out = realloc(*out, (*n + c->frame_count) * sizeof(**out));
	assert_non_null(*out);
	for (uint32_t i = 0; i < c->frame_count; i++) {
		frame_fill(camera, f[i].time_ns, f[i].track, want, f[i].size_bytes);
		assert_memory_equal(bytes + f[i].offset, want, f[i].size_bytes);
		(*out)[(*n)++] = (struct seen){f[i].time_ns, f[i].track, f[i].size_bytes, c->run};
	}
	free(f);
	free(bytes);
	free(want);
}

size_t read_all(const char *dir, const char *camera, struct seen **out)
{
	struct eng_reader *r;
	struct eng_run *runs = NULL;
	char err[256] = "";
	size_t n_runs = 0, n_chunks = 0, n = 0;

	*out = NULL;
	if (eng_reader_open(dir, &r, err, sizeof(err)))
		fail_msg("eng_reader_open: %s", err);
	assert_int_equal(eng_runs(r, camera, INT64_MIN, INT64_MAX, &runs, &n_runs), 0);
	for (size_t i = 0; i < n_runs; i++) {
		struct eng_chunk *c = NULL;
		assert_int_equal(eng_index(r, runs[i].stream, runs[i].run, INT64_MIN, INT64_MAX, &c,
		                           &n_chunks),
		                 0);
		for (size_t k = 0; k < n_chunks; k++)
			read_chunk(r, camera, &c[k], out, &n);
		free(c);
	}
	free(runs);
	eng_reader_close(r);
	return n;
}

bool seen_has(const struct seen *s, size_t n, int64_t time_ns, uint8_t track)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i].time_ns == time_ns && s[i].track == track)
			return true;
	}
	return false;
}

static void verify_finding(void *arg, uint64_t segment, uint64_t offset, const char *what)
{
	(void)arg;
	printf("verify: segment %llu at %llu: %s\n", (unsigned long long)segment,
	       (unsigned long long)offset, what);
}

void assert_verifies(const char *dir)
{
	struct eng_verify_options o = {.segment = -1, .payload = true, .finding = verify_finding};
	struct eng_verify_report report = {0};
	char err[256] = "";

	if (eng_verify(dir, &o, &report, err, sizeof(err)))
		fail_msg("eng_verify: %s", err);
	assert_int_equal(report.damaged, 0);
}

/* ---- writers ---- */

static void on_alarm(void *arg, const char *line)
{
	struct alarms *a = arg;
	size_t used = strlen(a->all);

	a->n++;
	snprintf(a->all + used, sizeof(a->all) - used, "%s\n", line);
}

static int on_removed(void *arg, const char *camera, const uint8_t stream[ENG_UUID_BYTES],
                      uint64_t segment, uint64_t generation, int64_t first_ns, int64_t last_ns,
                      const char *rule)
{
	struct alarms *a = arg;

	(void)stream, (void)generation;
	if (a->removed_returns)
		return a->removed_returns;
	assert_true(a->removals < 64);
	a->removed_segment[a->removals] = segment;
	a->removed_first[a->removals] = first_ns;
	a->removed_end[a->removals] = last_ns;
	snprintf(a->removed_camera[a->removals++], ENG_CAMERA_MAX, "%s", camera);
	snprintf(a->rule, sizeof(a->rule), "%s", rule);
	return 0;
}

struct eng_writer_options test_options(struct alarms *a)
{
	return (struct eng_writer_options){.flush_ns = NSEC_PER_SEC,
	                                   .memory_bytes = 8 * MIB,
	                                   .leaves = true,
	                                   .alarm = on_alarm,
	                                   .removed = on_removed,
	                                   .arg = a};
}

struct eng_writer *writer_must_open(const char *dir, const struct eng_writer_options *o,
                                    const struct writer_env *env)
{
	struct eng_writer *w = NULL;
	char err[256] = "";

	if (writer_open_env(dir, o, env, &w, err, sizeof(err)))
		fail_msg("writer_open: %s", err);
	return w;
}

void polls(struct eng_writer *w, unsigned n)
{
	while (n--)
		assert_true(eng_poll(w) >= 0);
}
