/*
 * test_eng_crash.c — power cuts, made from the log of what a run of the writer did to its device.
 *
 * An image is a store as a disk may look after a cut: everything that the last good flush covers
 * (writes that had been reaped when it was submitted), and of all later writes, in flight ones
 * included, any subset, each whole or torn at 512 bytes; of the catalog, page by page, either what
 * that flush covered or what memory held. The store is opened, read, written to again and read
 * again: every frame acknowledged before the cut is there, none is changed, none appears that was
 * never appended, and verify finds nothing bad.
 *
 * Cuts are drawn from everywhere and, every other one, from the moments right behind an
 * acknowledgement, where a promise given too early is open longest; a quarter of the images lose
 * all that may be lost. $SEED replays (test_seed_replays holds us to it); $IMAGES sets how many.
 */
#include "tests/unit/support_eng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS   12
#define STREAMS    2
#define FRAMES_MAX 4000
#define TEAR       512u

static const char *const names[STREAMS] = {"dock", "东门"};

struct story {
	char *dir;
	struct fault f;
	struct alarms a;
	struct test_clock clock;
	bool flush_each;
	int64_t times[STREAMS][FRAMES_MAX];
	size_t n[STREAMS];
	size_t *acks, n_acks; /* log entries before which frames were acknowledged */
	char *files[3];
	size_t lens[3];
};
static const char *const head_files[3] = {"store", "epoch", "lock"};

static void set_retention(struct eng_writer *w)
{
	static struct eng_camera_ages ages[STREAMS];
	struct eng_retention r = {.number = 1, .n_cameras = STREAMS, .cameras = ages};

	for (unsigned i = 0; i < STREAMS; i++) {
		snprintf(ages[i].camera, sizeof(ages[i].camera), "%s", names[i]);
		ages[i].min_age_ns = 4 * NSEC_PER_SEC;
	}
	assert_int_equal(eng_retention_set(w, &r), 0);
}

/* Frames enough to go round the pool once and recycle, with run breaks and a roll of setups. */
static void story_write(struct story *t, struct eng_writer *w, uint64_t *rng)
{
	struct eng_stream *s[STREAMS];

	for (unsigned i = 0; i < STREAMS; i++) {
		assert_int_equal(eng_stream_get(w, names[i], false, &s[i]), 0);
		t->f.streams[i] = s[i];
		s[i]->phase_ns = i * 100 * NSEC_PER_MSEC; /* else it hangs on the store's uuid */
		assert_int_equal(eng_run_begin(s[i], &setup_video, ENG_REASON_FIRST), 0);
	}
	for (unsigned step = 0; step < 900; step++) {
		for (unsigned i = 0; i < STREAMS; i++) {
			int64_t at = t->clock.wall_ns;
			bool fresh = rnd(rng, 50) == 0;
			if (fresh)
				assert_int_equal(
				        eng_run_begin(s[i],
				                      rnd(rng, 4) ? &setup_video : &setup_other,
				                      ENG_REASON_STALLED),
				        0);
			if (append_at(s[i], at, at, 0, true, 1 + rnd(rng, 60000)) == 0)
				t->times[i][t->n[i]++] = at;
		}
		polls(w, 1 + rnd(rng, 5));
		clock_forward(&t->clock, 40 * NSEC_PER_MSEC);
	}
}

static void find_acks(struct story *t)
{
	t->acks = calloc(t->f.n_log + 1, sizeof(*t->acks));
	assert_non_null(t->acks);
	for (size_t i = 1; i < t->f.n_log; i++) {
		if (memcmp(t->f.log[i].acked, t->f.log[i - 1].acked, sizeof(t->f.log[i].acked)))
			t->acks[t->n_acks++] = i;
	}
	assert_true(t->n_acks > 50);
}

static void story_make(struct story *t, uint64_t seed, bool flush_each)
{
	uint64_t rng = seed;
	char path[4096];

	memset(t, 0, sizeof(*t));
	t->dir = store_new(SEGMENTS, false);
	t->flush_each = flush_each;
	fault_open(&t->f);
	t->f.rng = seed;
	t->f.removals = &t->a.removals;
	struct eng_writer_options o = test_options(&t->a);
	struct writer_env env = test_env(&t->clock);
	env.device = &t->f.d;
	env.flush_each = flush_each;
	o.ready_ahead = 3;
	struct eng_writer *w = writer_must_open(t->dir, &o, &env);
	fault_log_start(&t->f, t->dir);
	set_retention(w);
	story_write(t, w, &rng);
	assert_true(w->stats.removed > 0); /* it did go round the pool */
	assert_true(w->stats.frames_durable > 500);
	assert_null(strstr(t->a.all, "store is full")); /* frames taken are frames kept */
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", t->dir, head_files[i]);
		assert_int_equal(file_read_all(path, 65536, &t->files[i], &t->lens[i]), 0);
	}
	writer_free(w);
	find_acks(t);
}

static void story_end(struct story *t)
{
	free(t->acks);
	for (unsigned i = 0; i < 3; i++)
		free(t->files[i]);
	fault_free_log(&t->f);
	store_drop(t->dir);
}

/* ---- an image ---- */

static void apply(const struct log_entry *e, int fd, bool torn, uint64_t *rng)
{
	for (uint32_t at = 0; at < e->len;) {
		uint32_t n = torn ? TEAR : e->len;
		if (n > e->len - at)
			n = e->len - at;
		if (!torn || rnd(rng, 2)) {
			if (e->data)
				assert_int_equal(
				        pwrite(fd, e->data + at, n, (off_t)(e->offset + at)), n);
			else
				assert_int_equal(
				        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				                  (off_t)(e->offset + at), n),
				        0);
		}
		at += n;
	}
}

/* Is log entry i on the medium for sure when power goes at `cut`? */
static bool covered(const struct story *t, size_t i, size_t cut)
{
	const struct log_entry *e = &t->f.log[i];

	for (size_t k = cut; k-- > i + 1;) {
		const struct log_entry *f = &t->f.log[k];
		if (f->flush && f->submitted_at > i && (!t->flush_each || f->file == e->file))
			return true;
	}
	return false;
}

static void image_catalog(const struct story *t, const char *dir, size_t cut, uint64_t *rng)
{
	const uint8_t *durable = NULL, *now = t->f.log[cut].catalog;
	size_t bytes = t->f.catalog_bytes;
	char path[4096];

	for (size_t k = cut; k-- > 0 && !durable;) {
		if (t->f.log[k].flush && t->f.log[k].file == -1)
			durable = t->f.log[k].catalog;
	}
	if (!durable)
		durable = t->f.log[0].catalog;
	snprintf(path, sizeof(path), "%s/catalog", dir);
	int fd = open(path, O_CREAT | O_WRONLY, 0640);
	assert_true(fd >= 0);
	for (size_t at = 0; at < bytes; at += TEAR) {
		size_t n = bytes - at < TEAR ? bytes - at : TEAR;
		const uint8_t *from = rnd(rng, 2) ? now : durable;
		assert_int_equal(pwrite(fd, from + at, n, (off_t)at), n);
	}
	close(fd);
}

static char *image_make(const struct story *t, size_t cut, uint64_t *rng)
{
	char *dir = folder_new(access("/dev/shm", W_OK) ? NULL : "/dev/shm"), path[4096];
	bool all_lost = rnd(rng, 4) == 0;
	int fds[SEGMENTS];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, head_files[i]);
		assert_int_equal(file_replace(path, t->files[i], t->lens[i], 0640), 0);
	}
	snprintf(path, sizeof(path), "%s/seg", dir);
	assert_int_equal(mkdir(path, 0750), 0);
	snprintf(path, sizeof(path), "%s/seg/00000", dir);
	assert_int_equal(mkdir(path, 0750), 0);
	for (uint64_t n = 0; n < SEGMENTS; n++) {
		segment_file(dir, n, path);
		fds[n] = open(path, O_CREAT | O_RDWR, 0640);
		assert_true(fds[n] >= 0);
		assert_int_equal(ftruncate(fds[n], FMT_SEGMENT_MIN), 0);
	}
	image_catalog(t, dir, cut, rng);
	for (size_t i = 0; i < t->f.n_log; i++) {
		const struct log_entry *e = &t->f.log[i];
		if (e->flush || e->file < 0 || (i >= cut && e->submitted_at > cut))
			continue;
		bool sure = i < cut && covered(t, i, cut);
		unsigned luck = all_lost ? 0 : rnd(rng, 3);
		if (sure || luck)
			apply(e, fds[e->file], !sure && luck == 1, rng);
	}
	for (uint64_t n = 0; n < SEGMENTS; n++)
		close(fds[n]);
	return dir;
}

/* ---- what must hold ---- */

static bool appended(const struct story *t, unsigned stream, int64_t time_ns)
{
	size_t lo = 0, hi = t->n[stream];

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (t->times[stream][mid] < time_ns)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->n[stream] && t->times[stream][lo] == time_ns;
}

static bool removed(const struct story *t, unsigned stream, unsigned removals, int64_t time_ns)
{
	for (unsigned i = 0; i < removals; i++) {
		if (!strcmp(t->a.removed_camera[i], names[stream]) &&
		    time_ns >= t->a.removed_first[i] && time_ns < t->a.removed_end[i])
			return true;
	}
	return false;
}

/* Frames seen, as a count of those from the story; extra: appended after recovery. 0 or a line. */
static const char *judge(const struct story *t, const char *dir, size_t cut, const uint64_t *extra)
{
	const struct log_entry *e = &t->f.log[cut];

	for (unsigned i = 0; i < STREAMS; i++) {
		struct seen *seen;
		size_t n = read_all(dir, names[i], &seen), later = 0, at = 0;
		for (size_t k = 0; k < n; k++) {
			if (seen[k].time_ns > t->times[i][t->n[i] - 1])
				later++;
			else if (!appended(t, i, seen[k].time_ns))
				return "a frame that was never appended";
			if (k && seen[k].time_ns <= seen[k - 1].time_ns)
				return "frames out of order or twice";
		}
		if (later != extra[i]) {
			printf("%s: %zu frames after the cut, %zu expected\n", names[i], later,
			       (size_t)extra[i]);
			return "frames written after the cut are missing";
		}
		for (uint64_t k = 0; k < e->acked[i]; k++) {
			int64_t want = t->times[i][k];
			while (at < n && seen[at].time_ns < want)
				at++;
			if ((at == n || seen[at].time_ns != want) &&
			    !removed(t, i, e->removals, want))
				return "an acknowledged frame is lost";
		}
		free(seen);
	}
	return NULL;
}

/* One frame more; 0 when the image left no segment free (without a table nothing is removed). */
static uint64_t write_more(struct eng_writer *w, const struct test_clock *clock, const char *name)
{
	struct eng_stream *s;

	assert_int_equal(eng_stream_get(w, name, false, &s), 0);
	if (eng_run_begin(s, &setup_video, ENG_REASON_RESTART) == -ENOSPC)
		return 0;
	assert_int_equal(append_at(s, clock->wall_ns, 1, 0, true, 3000), 0);
	assert_int_equal(eng_sync(w, 100 * NSEC_PER_SEC), 0);
	return eng_stream_durable_frames(s);
}

static const char *cut_and_judge(const struct story *t, size_t cut, uint64_t *rng)
{
	char *dir = image_make(t, cut, rng);
	struct alarms a = {0};
	struct test_clock clock = t->clock;
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	uint64_t extra[STREAMS] = {0};
	const char *bad;

	clock.step_ns = NSEC_PER_MSEC;
	clock_forward(&clock, 60 * NSEC_PER_SEC);
	for (unsigned life = 0; life < 2; life++) {
		struct fault plain; /* its wait does not sleep: the clock is ours */
		fault_open(&plain);
		env.device = &plain.d;
		struct eng_writer *w = writer_must_open(dir, &o, &env);
		bad = judge(t, dir, cut, extra);
		if (!bad && life == 0) {
			/* Written over the torn tail: stale chunks behind it must not come alive.
			 */
			for (unsigned i = 0; i < STREAMS; i++)
				extra[i] = write_more(w, &clock, names[i]);
		}
		eng_writer_close(w);
		if (bad)
			break;
	}
	if (!bad)
		assert_verifies(dir);
	if (bad) {
		printf("alarms: %s", a.all);
		for (unsigned i = 0; i < STREAMS; i++)
			printf("%s: %zu frames, %llu acknowledged\n", names[i], t->n[i],
			       (unsigned long long)t->f.log[cut].acked[i]);
	}
	store_drop(dir);
	return bad;
}

static void crash_images(bool flush_each)
{
	uint64_t seed = test_seed(), rng = seed ^ 0x5eed;
	const char *many = getenv("IMAGES");
	unsigned images = many ? (unsigned)atoi(many) : 100;
	static struct story t;

	story_make(&t, seed, flush_each);
	for (unsigned i = 0; i < images; i++) {
		size_t cut = i % 2 ? t.acks[rnd(&rng, (uint32_t)t.n_acks)]
		                   : rnd(&rng, (uint32_t)t.f.n_log);
		const char *bad = cut_and_judge(&t, cut, &rng);
		if (bad)
			fail_msg("image %u (cut at %zu): %s\nreplay: SEED=%llu IMAGES=%u", i, cut,
			         bad, (unsigned long long)seed, i + 1);
	}
	story_end(&t);
}

static void test_one_flush(void **state)
{
	(void)state;
	crash_images(false);
}

static void test_flush_each(void **state)
{
	(void)state;
	crash_images(true);
}

/* The same seed tells the same story: what is random in a store (its uuid, the salts) moves no
 * write, no flush, no acknowledgement. */
static void test_seed_replays(void **state)
{
	static struct story a, b;
	uint64_t seed = test_seed();

	(void)state;
	story_make(&a, seed, true);
	story_make(&b, seed, true);
	assert_int_equal(a.f.n_log, b.f.n_log);
	for (size_t i = 0; i < a.f.n_log; i++) {
		const struct log_entry *x = &a.f.log[i], *y = &b.f.log[i];
		assert_true(x->flush == y->flush && x->file == y->file && x->offset == y->offset &&
		            x->len == y->len && x->submitted_at == y->submitted_at &&
		            x->removals == y->removals && !x->data == !y->data);
		assert_memory_equal(x->acked, y->acked, sizeof(x->acked));
	}
	story_end(&a);
	story_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_seed_replays),
	        cmocka_unit_test(test_one_flush),
	        cmocka_unit_test(test_flush_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
