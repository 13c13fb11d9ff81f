/*
 * test_eng_limits.c — the writer when something runs short: time, memory, descriptors, prepared
 * segments. It says so, loses no frame that it took, and goes on when there is enough again.
 */
#include "tests/unit/support_eng.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define FRAME_NS INT64_C(40000000)

static void test_overrun_alarms(void **state)
{
	char *dir = store_new(8, true);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_stats st;
	struct eng_stream *s;

	(void)state;
	o.sync_device = true;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	assert_int_equal(append_at(s, 1000, 1, 0, true, 5000), 0);
	clock_forward(&clock, 3 * NSEC_PER_SEC); /* nobody polled */
	assert_true(eng_poll(w) >= 0);
	eng_writer_stats(w, &st);
	assert_int_equal(st.overruns, 1);
	assert_true(st.loss_bound_ns >= 3 * NSEC_PER_SEC);
	assert_non_null(strstr(a.all, "loss bound overrun"));
	eng_writer_close(w);
	store_drop(dir);
}

static unsigned lines_with(const struct alarms *a, const char *what)
{
	unsigned n = 0;

	for (const char *at = a->all; (at = strstr(at, what)); at++)
		n++;
	return n;
}

static void test_overruns_alarm_once_a_minute(void **state)
{
	char *dir = store_new(8, true);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_stream *s;

	(void)state;
	o.sync_device = true;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	for (int64_t t = 1; t <= 20; t++) {
		assert_int_equal(append_at(s, t, t, 0, true, 5000), 0);
		clock_forward(&clock, 2 * NSEC_PER_SEC); /* nobody polled */
		assert_int_equal(eng_sync(w, 60 * NSEC_PER_SEC), 0);
		polls(w, 1);
	}
	assert_int_equal(w->stats.overruns, 20);
	assert_int_equal(lines_with(&a, "loss bound overrun"), 1);
	clock_forward(&clock, 60 * NSEC_PER_SEC);
	polls(w, 1); /* the rest of them, in one line */
	assert_int_equal(lines_with(&a, "loss bound overrun"), 2);
	assert_non_null(strstr(a.all, "overrun, 19 times"));
	clock_forward(&clock, 120 * NSEC_PER_SEC);
	polls(w, 2); /* nothing new */
	assert_int_equal(lines_with(&a, "loss bound overrun"), 2);
	eng_writer_close(w);
	store_drop(dir);
}

/* No descriptors left: segments are not to blame, footage waits and is written when there are. */
static void test_no_descriptors(void **state)
{
	char *dir = store_new(8, true);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct rlimit old, none;
	struct eng_stream *s;

	(void)state;
	o.sync_device = true;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	assert_int_equal(append_at(s, 1, 1, 0, true, 5000), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (unsigned i = 0; i < 40; i++) {
		clock_forward(&clock, NSEC_PER_SEC);
		assert_true(eng_poll(w) >= 0);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(w->in_state[FMT_STATE_RETIRED], 0);
	assert_int_equal(eng_stream_durable_frames(s), 0);
	assert_int_equal(lines_with(&a, "cannot be opened"), 1);
	assert_int_equal(eng_sync(w, 60 * NSEC_PER_SEC), 0);
	assert_int_equal(eng_stream_durable_frames(s), 1);
	eng_writer_close(w);
	store_drop(dir);
}

/* A store that was not prewritten, and a disk that is slow with its zeros: frames come late, are
 * not lost, and people are told why. */
static void test_waits_for_prewriting(void **state)
{
	char *dir = store_new(8, false);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_stats st;
	struct eng_stream *s;
	struct fault f;

	(void)state;
	fault_open(&f);
	env.device = &f.d;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	f.hold = true;
	for (int64_t t = 1; t <= 3; t++) {
		assert_int_equal(append_at(s, t, t, 0, true, 5000), 0);
		clock_forward(&clock, NSEC_PER_SEC);
		polls(w, 1);
	}
	eng_writer_stats(w, &st);
	assert_int_equal(st.streams_waiting, 1);
	assert_int_equal(lines_with(&a, "wait while new segments"), 1);
	f.hold = false;
	assert_int_equal(eng_sync(w, 60 * NSEC_PER_SEC), 0);
	assert_int_equal(eng_stream_durable_frames(s), 3);
	eng_writer_stats(w, &st);
	assert_int_equal(st.streams_waiting, 0);
	eng_writer_close(w);
	store_drop(dir);
}

/* ---- memory ---- */

static void test_memory_bound(void **state)
{
	char *dir = store_new(8, true);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_stream *s;
	struct eng_stats st;
	int64_t t = 0;
	int err = 0;
	size_t taken = 0;

	(void)state;
	o.memory_bytes = 4 * MIB;
	o.sync_device = true;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	for (; taken < 1000 && !err; taken += !err, t++)
		err = append_at(s, t, t, 0, true, 30000);
	assert_int_equal(err, -EAGAIN); /* never polled: nothing could be written off */
	eng_writer_stats(w, &st);
	assert_true(st.memory_used_bytes <= 4 * MIB);
	assert_true(taken * 30000 > 2 * MIB);
	assert_int_equal(eng_sync(w, 60 * NSEC_PER_SEC), 0);       /* and it recovers */
	assert_int_equal(append_at(s, t, t, 0, true, 3000000), 0); /* one large chunk */
	eng_writer_close(w);
	struct seen *seen;
	assert_int_equal(read_all(dir, "cam", &seen), taken + 1);
	free(seen);
	store_drop(dir);
}

/* Memory comes a step ahead of use from both ends, until all of it is there; a piece lies in one
 * step where it can. */
static void test_memory_grows(void **state)
{
	enum { STEPS = 6 };
	struct arena a;
	uint8_t *runs[STEPS * 8];
	unsigned n = 0;

	(void)state;
	assert_int_equal(arena_open(&a, STEPS * DEVICE_STEP), 0);
	assert_int_equal(a.low, ARENA_STEP);
	assert_int_equal(a.high, a.n - ARENA_STEP);
	assert_false(arena_grow(&a)); /* nothing used */
	for (; n < 3 * 7; n++) {
		runs[n] = arena_run(&a, 65);
		assert_non_null(runs[n]);
		size_t at = (size_t)(runs[n] - a.base);
		assert_int_equal(at / DEVICE_STEP, (at + 65 * ARENA_BLOCK - 1) / DEVICE_STEP);
		arena_grow(&a);
		assert_true(at + 65 * ARENA_BLOCK <= a.low * ARENA_BLOCK);
	}
	assert_int_equal(a.low, 4 * ARENA_STEP);
	uint32_t first = ARENA_NONE;
	for (unsigned i = 0; i < 600; i++) {
		uint32_t b = arena_stage_take(&a);
		assert_true(b != ARENA_NONE);
		arena_block(&a, b)[0] = (uint8_t)i;
		a.next[b] = first;
		first = b;
		arena_grow(&a);
		assert_int_equal(arena_block(&a, b)[0], (uint8_t)i);
	}
	assert_int_equal(a.low, a.high); /* all of it */
	assert_false(arena_grow(&a));
	arena_stage_give(&a, first);
	while (n--)
		arena_run_free(&a, runs[n], 65);
	assert_int_equal(a.used, 0);
	assert_non_null(arena_run(&a, (uint32_t)ARENA_STEP + 10)); /* longer than a step */
	arena_close(&a);
}

/* What the arena remembers of its free blocks is what a count finds, whatever was taken and given.
 */
static void test_memory_counts(void **state)
{
	uint64_t x = test_seed() | 1;
	uint32_t staged[512], n_staged = 0, n_runs = 0;
	uint8_t *runs[8];
	struct arena a;

	(void)state;
	assert_int_equal(arena_open(&a, DEVICE_STEP), 0);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t n_free = 0, end = 0;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		for (uint32_t b = a.stage_floor; b < a.n; b++) {
			n_free += !a.taken[b];
			end = a.taken[b] ? end : b + 1;
		}
		assert_int_equal(arena_stage_free(&a), n_free);
		assert_true(a.stage_top >= end);
		/* Fuller for a while, then emptier; give back in another order than taken. */
		bool fuller = i / 1000 % 2 == 0;
		switch (x % 5) {
		case 0:
			if (!fuller)
				break;
			/* fallthrough */
		case 1:
			staged[n_staged] = arena_stage_take(&a);
			assert_int_equal(staged[n_staged] != ARENA_NONE, n_free > 0);
			n_staged += n_free > 0;
			break;
		case 2:
			for (unsigned k = fuller ? 1 : 3; k && n_staged; k--) {
				uint32_t at = (uint32_t)(x >> 20) % n_staged;
				arena_stage_give(&a, staged[at]);
				staged[at] = staged[--n_staged];
			}
			break;
		case 3:
			if (n_runs < ARRAY_LEN(runs) && (runs[n_runs] = arena_run(&a, 65)))
				n_runs++;
			break;
		default:
			if (n_runs)
				arena_run_free(&a, runs[--n_runs], 65);
		}
	}
	/* A piece is given back that lies above all that frames had found. */
	while (n_staged)
		arena_stage_give(&a, staged[--n_staged]);
	while (n_runs)
		arena_run_free(&a, runs[--n_runs], 65);
	for (; n_runs < 4; n_runs++)
		assert_non_null(runs[n_runs] = arena_run(&a, 65));
	arena_run_free(&a, runs[2], 65);
	while (arena_stage_take(&a) != ARENA_NONE)
		;
	arena_run_free(&a, runs[3], 65);
	assert_int_equal(arena_stage_free(&a), 65);
	assert_true(arena_stage_take(&a) != ARENA_NONE);
	arena_close(&a);
}

/* 1,024 streams in 64 MiB; with equal rates they do not close at one instant. */
static void test_many_streams(void **state)
{
	enum { N = 1024 };
	static struct eng_stream *s[N];
	char *dir = store_new(N + 64, true), name[32];
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	unsigned most = 0;

	(void)state;
	clock.step_ns = 1000;
	o.memory_bytes = 64 * MIB;
	o.sync_device = true;
	o.leaves = false;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "cam-%u", i);
		assert_int_equal(eng_stream_get(w, name, false, &s[i]), 0);
		assert_int_equal(eng_run_begin(s[i], &setup_video, ENG_REASON_FIRST), 0);
	}
	for (int64_t t = 1; t <= 50; t++) {
		for (unsigned i = 0; i < N; i++)
			assert_int_equal(append_at(s[i], t, t, 0, t == 1, 2000), 0);
		uint64_t before = w->stats.bytes_written;
		assert_true(eng_poll(w) >= 0);
		unsigned closed = (unsigned)((w->stats.bytes_written - before) / 8192);
		most = t > 13 && closed > most ? closed : most;
		clock_forward(&clock, FRAME_NS);
	}
	assert_int_equal(w->stats.overruns, 0);
	assert_true(most < N / 2);
	eng_writer_close(w);
	struct seen *seen;
	assert_int_equal(read_all(dir, "cam-1023", &seen), 50);
	free(seen);
	store_drop(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_overrun_alarms),
	        cmocka_unit_test(test_overruns_alarm_once_a_minute),
	        cmocka_unit_test(test_no_descriptors),
	        cmocka_unit_test(test_waits_for_prewriting),
	        cmocka_unit_test(test_memory_bound),
	        cmocka_unit_test(test_memory_grows),
	        cmocka_unit_test(test_memory_counts),
	        cmocka_unit_test(test_many_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
