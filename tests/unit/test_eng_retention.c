/*
 * test_eng_retention.c — what goes and what stays: one test per rule of retention.c's table, and
 * the order of a removal: logged, generation raised, 2 s, zeros, free.
 */
#include "tests/unit/support_eng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct bench {
	char *dir;
	struct test_clock clock;
	struct alarms a;
	struct fault f;
	struct eng_writer *w;
	struct eng_stream *s;
	int64_t t0;
};

/* `n` sealed segments of one frame each, a second apart, then an hour of quiet seals the last. */
static void set_up(struct bench *b, unsigned segments, unsigned n)
{
	memset(b, 0, sizeof(*b));
	b->dir = store_new(segments, true);
	struct eng_writer_options o = test_options(&b->a);
	struct writer_env env = test_env(&b->clock);

	fault_open(&b->f);
	env.device = &b->f.d;
	b->w = writer_must_open(b->dir, &o, &env);
	b->t0 = b->clock.wall_ns;
	assert_int_equal(eng_stream_get(b->w, "cam", false, &b->s), 0);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(
		        eng_run_begin(b->s, i % 2 ? &setup_other : &setup_video, ENG_REASON_FIRST),
		        0);
		int64_t t = b->t0 + (int64_t)i * NSEC_PER_SEC;
		assert_int_equal(append_at(b->s, t, t, 0, true, 100000), 0);
		assert_int_equal(eng_sync(b->w, 60 * NSEC_PER_SEC), 0);
	}
	eng_run_end(b->s, ENG_REASON_OPERATOR);
	assert_int_equal(eng_sync(b->w, 60 * NSEC_PER_SEC), 0);
	clock_forward(&b->clock, 2 * IDLE_SEAL_NS);
	for (unsigned i = 0; i < 20; i++) {
		polls(b->w, 3);
		clock_forward(&b->clock, NSEC_PER_SEC);
	}
	assert_int_equal(b->w->in_state[FMT_STATE_SEALED], n);
}

static void tear_down(struct bench *b)
{
	eng_writer_close(b->w);
	store_drop(b->dir);
}

static int set_ages(struct bench *b, uint64_t number, int64_t min_s, int64_t max_s,
                    const struct eng_keep *keep)
{
	struct eng_camera_ages ages = {.camera = "cam",
	                               .min_age_ns = min_s * NSEC_PER_SEC,
	                               .max_age_ns = max_s * NSEC_PER_SEC};
	struct eng_retention r = {.number = number,
	                          .n_cameras = 1,
	                          .cameras = &ages,
	                          .n_keeps = keep ? 1 : 0,
	                          .keeps = keep};

	return eng_retention_set(b->w, &r);
}

static void some_time(struct bench *b, unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		clock_forward(&b->clock, NSEC_PER_SEC);
		polls(b->w, 8);
	}
}

static void test_no_table_keeps_all(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b, 8, 4);
	clock_forward(&b.clock, INT64_C(1000) * 86400 * NSEC_PER_SEC);
	some_time(&b, 10);
	assert_int_equal(b.a.removals, 0);
	/* A table that does not name the camera keeps it, too. */
	struct eng_retention r = {.number = 1};
	assert_int_equal(eng_retention_set(b.w, &r), 0);
	some_time(&b, 10);
	assert_int_equal(b.a.removals, 0);
	tear_down(&b);
}

static void test_max_age(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b, 8, 4);
	int64_t old_s = (b.clock.wall_ns - b.t0) / NSEC_PER_SEC;
	assert_int_equal(set_ages(&b, 5, 1, old_s + 100, NULL), 0);
	some_time(&b, 5);
	assert_int_equal(b.a.removals, 0); /* room enough, not too old */
	assert_int_equal(set_ages(&b, 4, 1, 1, NULL), -ESTALE);
	assert_int_equal(set_ages(&b, 6, 1, 10, NULL), 0);
	polls(b.w, 2);
	assert_int_equal(b.a.removals, 4);
	assert_string_equal(b.a.rule, "max_age");
	for (unsigned i = 1; i < 4; i++) /* oldest first */
		assert_true(b.a.removed_first[i] > b.a.removed_first[i - 1]);
	struct seen *seen;
	assert_int_equal(read_all(b.dir, "cam", &seen), 0); /* at once */
	free(seen);
	tear_down(&b);
}

static void test_keep_is_stronger(void **state)
{
	struct bench b;
	struct eng_keep keep = {.camera = "cam"};

	(void)state;
	set_up(&b, 8, 4);
	keep.from_ns = b.t0 + NSEC_PER_SEC + 1;
	keep.to_ns = keep.from_ns + 10; /* touches the second segment only */
	assert_int_equal(set_ages(&b, 1, 1, 10, &keep), 0);
	some_time(&b, 5);
	assert_int_equal(b.a.removals, 3);
	struct seen *seen;
	assert_int_equal(read_all(b.dir, "cam", &seen), 1);
	assert_int_equal(seen[0].time_ns, b.t0 + NSEC_PER_SEC);
	free(seen);
	tear_down(&b);
}

/* min_age holds when space is needed; the camera stops and says so; then resumes by itself. */
static void test_full_and_resume(void **state)
{
	struct bench b;
	struct eng_stats st;

	(void)state;
	set_up(&b, 4, 4);
	assert_int_equal(set_ages(&b, 1, 1000000, 0, NULL), 0);
	some_time(&b, 3);
	assert_int_equal(b.a.removals, 0);
	assert_int_equal(eng_run_begin(b.s, &setup_video, ENG_REASON_STALLED), -ENOSPC);
	some_time(&b, 3);
	eng_writer_stats(b.w, &st);
	assert_true(st.store_full);
	assert_non_null(strstr(b.a.all, "store is full"));
	clock_forward(&b.clock, 2000000 * NSEC_PER_SEC);
	some_time(&b, 1);
	assert_int_equal(b.a.removals, 1); /* one is enough */
	assert_string_equal(b.a.rule, "space");
	assert_int_equal(b.a.removed_first[0], b.t0);
	assert_int_equal(eng_run_begin(b.s, &setup_video, ENG_REASON_STORE_FULL), 0);
	int64_t t = b.clock.wall_ns;
	assert_int_equal(append_at(b.s, t, t, 0, true, 5000), 0);
	some_time(&b, 6);
	assert_int_equal(eng_stream_durable_frames(b.s), 5);
	eng_writer_stats(b.w, &st);
	assert_false(st.store_full);
	tear_down(&b);
}

/* A stream that runs into the full store: told by -ENOSPC, its run ended on disk as STORE_FULL, and
 * each frame taken is accounted for: durable, or counted as given up. */
static void test_runs_into_full(void **state)
{
	struct bench b;
	uint64_t taken = 3;
	int err = 0;

	(void)state;
	set_up(&b, 4, 3);
	assert_int_equal(eng_run_begin(b.s, &setup_video, ENG_REASON_OPERATOR), 0);
	for (unsigned i = 0; i < 200 && !err; i++) {
		int64_t t = b.clock.wall_ns;
		err = append_at(b.s, t, t, 0, true, 60000);
		taken += !err;
		some_time(&b, 1);
	}
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(eng_sync(b.w, 60 * NSEC_PER_SEC), 0);
	assert_true(eng_stream_lost_frames(b.s) > 0);
	assert_int_equal(eng_stream_durable_frames(b.s) + eng_stream_lost_frames(b.s), taken);
	struct eng_reader *r;
	struct eng_run *runs;
	size_t n;
	char line[256];
	assert_int_equal(eng_reader_open(b.dir, &r, line, sizeof(line)), 0);
	assert_int_equal(eng_runs(r, "cam", INT64_MIN, INT64_MAX, &runs, &n), 0);
	assert_int_equal(n, 4);
	assert_int_equal(runs[3].end_reason, ENG_REASON_STORE_FULL);
	free(runs);
	eng_reader_close(r);
	tear_down(&b);
}

static void test_removal_must_be_logged(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b, 8, 2);
	b.a.removed_returns = -EIO;
	assert_int_equal(set_ages(&b, 1, 1, 10, NULL), 0);
	some_time(&b, 5);
	assert_int_equal(b.w->stats.removed, 0);
	assert_non_null(strstr(b.a.all, "cannot be logged"));
	struct seen *seen;
	assert_int_equal(read_all(b.dir, "cam", &seen), 2);
	free(seen);
	b.a.removed_returns = 0;
	some_time(&b, 2);
	assert_int_equal(b.w->stats.removed, 2);
	tear_down(&b);
}

/* A log that takes no records for a while: nothing goes, the camera stops and the alarm says why;
 * when it does again, all goes on by itself. */
static void test_full_because_of_the_log(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b, 4, 4);
	b.a.removed_returns = -EIO;
	assert_int_equal(set_ages(&b, 1, 1, 0, NULL), 0);
	some_time(&b, 3);
	assert_int_equal(eng_run_begin(b.s, &setup_video, ENG_REASON_STALLED), -ENOSPC);
	some_time(&b, 3);
	assert_non_null(strstr(b.a.all, "removals cannot be logged"));
	assert_null(strstr(b.a.all, "allows no removal"));
	b.a.removed_returns = 0;
	some_time(&b, 2);
	assert_int_equal(eng_run_begin(b.s, &setup_video, ENG_REASON_STORE_FULL), 0);
	int64_t t = b.clock.wall_ns;
	assert_int_equal(append_at(b.s, t, t, 0, true, 5000), 0);
	some_time(&b, 6);
	assert_int_equal(eng_stream_durable_frames(b.s), 5);
	tear_down(&b);
}

/* A disk error keeps nothing for ever: what a retired segment holds goes at its age like the rest.
 */
static void test_retired_ages(void **state)
{
	struct bench b;
	uint64_t n;

	(void)state;
	set_up(&b, 8, 4);
	struct fmt_catalog_entry e = b.w->entries[0];
	e.state = FMT_STATE_RETIRED;
	writer_put(b.w, 0, &e);
	int64_t old_s = (b.clock.wall_ns - b.t0) / NSEC_PER_SEC;
	assert_int_equal(set_ages(&b, 1, 1, old_s + 100, NULL), 0);
	some_time(&b, 3);
	assert_int_equal(b.a.removals, 0);
	b.f.fail_writes = true;
	b.f.fail_every = 1;
	b.f.fail_with = -EIO;
	clock_forward(&b.clock, 200 * NSEC_PER_SEC);
	polls(b.w, 1);
	assert_int_equal(b.a.removals, 4);
	assert_int_equal(b.a.removed_segment[0], 0);
	some_time(&b, 4); /* cannot be zeroed: out of use, holds nothing, removed no second time */
	n = b.w->in_state[FMT_STATE_RETIRED];
	assert_true(n > 0);
	assert_int_equal(b.a.removals, 4);
	b.f.fail_every = 0;
	some_time(&b, 60);
	assert_int_equal(b.w->in_state[FMT_STATE_RETIRED], n);
	assert_int_equal(b.a.removals, 4);
	struct seen *seen;
	assert_int_equal(read_all(b.dir, "cam", &seen), 0);
	free(seen);
	tear_down(&b);
}

static bool file_is_zero(const char *dir, uint64_t n)
{
	char path[4096], *bytes;
	size_t len;

	segment_file(dir, n, path);
	assert_int_equal(file_read_all(path, 8 * MIB, &bytes, &len), 0);
	bool zero = !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
	free(bytes);
	return zero;
}

/* Generation first, 2 s for readers, then zeros, then free. */
static void test_recycling_order(void **state)
{
	struct bench b;
	uint64_t n;

	(void)state;
	set_up(&b, 8, 1);
	assert_int_equal(set_ages(&b, 1, 1, 10, NULL), 0);
	polls(b.w, 1);
	n = b.a.removed_segment[0];
	assert_int_equal(b.w->entries[n].state, FMT_STATE_RECYCLED);
	assert_int_equal(b.w->entries[n].generation, 2);
	some_time(&b, 1);
	polls(b.w, 50);
	assert_int_equal(b.w->entries[n].state, FMT_STATE_RECYCLED);
	assert_false(file_is_zero(b.dir, n)); /* a reader may still be in it */
	some_time(&b, 3);
	assert_int_equal(b.w->entries[n].state, FMT_STATE_READY);
	assert_int_equal(b.w->entries[n].generation, 2);
	assert_true(file_is_zero(b.dir, n));
	tear_down(&b);
}

/* An unsynchronised clock set a year forward ages nothing. */
static void test_clock_set_forward(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b, 8, 2);
	int64_t old_s = (b.clock.wall_ns - b.t0) / NSEC_PER_SEC;
	b.clock.synced = false;
	some_time(&b, 2);
	assert_int_equal(set_ages(&b, 1, 1, old_s + 1000, NULL), 0);
	b.clock.wall_ns += INT64_C(365) * 86400 * NSEC_PER_SEC;
	some_time(&b, 5);
	assert_int_equal(b.a.removals, 0);
	b.clock.synced = true; /* now it is believed */
	some_time(&b, 2);
	assert_int_equal(b.a.removals, 2);
	tear_down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_no_table_keeps_all),
	        cmocka_unit_test(test_max_age),
	        cmocka_unit_test(test_keep_is_stronger),
	        cmocka_unit_test(test_full_and_resume),
	        cmocka_unit_test(test_runs_into_full),
	        cmocka_unit_test(test_removal_must_be_logged),
	        cmocka_unit_test(test_full_because_of_the_log),
	        cmocka_unit_test(test_retired_ages),
	        cmocka_unit_test(test_recycling_order),
	        cmocka_unit_test(test_clock_set_forward),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
