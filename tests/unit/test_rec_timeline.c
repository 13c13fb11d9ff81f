/*
 * Time mapping and repair: which UTC time each frame gets, what is repaired, and what ends a run.
 */
#include "tests/unit/support_rec.h"

#include "engine/recorder/timeline.h"

#define S    NSEC_PER_SEC
#define MS   NSEC_PER_MSEC
#define WALL (INT64_C(1790000000) * S)
#define BOOT (INT64_C(5000) * S)

static enum timeline_verdict map(struct timeline *t, int64_t pts, int64_t dts, bool key,
                                 int64_t since, struct timeline_out *out)
{
	struct timeline_packet p = {
	        .pts_ns = pts, .dts_ns = dts, .duration_ns = 40 * MS, .video = true, .key = key};
	return timeline_map(t, &p, WALL + since, BOOT + since, out);
}

static void test_live_starts_at_the_wall_clock(void **state)
{
	struct timeline t;
	struct timeline_out o;
	(void)state;
	timeline_init(&t, ENG_NO_TIME, false, true);
	assert_int_equal(map(&t, 90 * S, 90 * S, false, 0, &o), TIMELINE_DROP);
	assert_int_equal(map(&t, 91 * S, 91 * S, true, 0, &o), TIMELINE_OK);
	assert_int_equal(o.time_ns, WALL);
	assert_int_equal(map(&t, 91 * S + 40 * MS, 91 * S + 40 * MS, false, 30 * MS, &o),
	                 TIMELINE_OK);
	assert_int_equal(o.time_ns, WALL + 40 * MS);
	assert_int_equal(o.wait_ns, 0);
	/* Audio on the same origin, not on its own. */
	struct timeline_packet a = {
	        .pts_ns = 91 * S + 10 * MS, .dts_ns = 91 * S + 10 * MS, .track = 1};
	assert_int_equal(timeline_map(&t, &a, WALL + 50 * MS, BOOT + 50 * MS, &o), TIMELINE_OK);
	assert_int_equal(o.time_ns, WALL + 10 * MS);
	a.pts_ns = a.dts_ns = 91 * S - 10 * MS; /* from before the run */
	timeline_reset(&t);
	assert_int_equal(timeline_map(&t, &a, WALL, BOOT, &o), TIMELINE_DROP);
}

static void test_never_more_than_a_second_ahead(void **state)
{
	struct timeline t;
	struct timeline_out o;
	(void)state;
	timeline_init(&t, ENG_NO_TIME, true, true);
	assert_int_equal(map(&t, 0, 0, true, 0, &o), TIMELINE_OK);
	assert_int_equal(map(&t, 1 * S, 1 * S, false, 0, &o), TIMELINE_OK);
	assert_int_equal(o.wait_ns, 0);
	assert_int_equal(map(&t, 4 * S, 4 * S, false, 0, &o), TIMELINE_OK);
	assert_int_equal(o.wait_ns, 3 * S);
}

static void test_import_is_not_paced_and_exact(void **state)
{
	struct timeline t;
	struct timeline_out o;
	(void)state;
	timeline_init(&t, 1000 * S, true, true);
	assert_int_equal(map(&t, 1400 * MS, 1320 * MS, true, 0, &o), TIMELINE_OK);
	assert_int_equal(o.time_ns, 1000 * S);
	assert_int_equal(o.dts_ns, 1000 * S - 80 * MS);
	assert_int_equal(map(&t, 9400 * MS, 9320 * MS, false, 0, &o), TIMELINE_OK);
	assert_int_equal(o.time_ns, 1008 * S);
	assert_int_equal(o.wait_ns, 0);
	/* A hole keeps its width ... */
	assert_int_equal(map(&t, 69400 * MS, 69400 * MS, true, 0, &o), TIMELINE_DISCONTINUITY);
	timeline_reset(&t);
	assert_int_equal(map(&t, 69400 * MS, 69400 * MS, true, 0, &o), TIMELINE_OK);
	assert_int_equal(o.time_ns, 1068 * S);
	/* ... a step back goes on at the end, never over what is there. */
	assert_int_equal(map(&t, 0, 0, true, 0, &o), TIMELINE_DISCONTINUITY);
	timeline_reset(&t);
	assert_int_equal(map(&t, 0, 0, true, 0, &o), TIMELINE_OK);
	assert_int_equal(o.time_ns, 1068 * S + 40 * MS);
}

static void test_missing_stamps_are_repaired(void **state)
{
	struct timeline t;
	struct timeline_out o;
	int64_t last;
	(void)state;
	timeline_init(&t, 0, true, true);
	assert_int_equal(map(&t, 10 * S, ENG_NO_TIME, true, 0, &o), TIMELINE_OK);
	last = o.dts_ns;
	assert_int_equal(map(&t, ENG_NO_TIME, ENG_NO_TIME, false, 0, &o), TIMELINE_OK);
	assert_int_equal(o.time_ns, 40 * MS);
	assert_true(o.dts_ns > last);
	last = o.dts_ns;
	assert_int_equal(map(&t, 10 * S + 40 * MS, 10 * S + 40 * MS, false, 0, &o), TIMELINE_OK);
	assert_true(o.dts_ns > last); /* the same stamp twice */
	last = o.dts_ns;
	assert_int_equal(map(&t, INT64_MAX, INT64_MIN, false, 0, &o), TIMELINE_OK);
	assert_true(o.dts_ns > last); /* stamps that cannot be count as missing */
}

static void test_jumps_and_clock_steps_end_the_run(void **state)
{
	struct timeline t;
	struct timeline_out o;
	(void)state;
	timeline_init(&t, ENG_NO_TIME, false, true);
	assert_int_equal(map(&t, 0, 0, true, 0, &o), TIMELINE_OK);
	assert_int_equal(map(&t, 11 * S, 11 * S, true, 40 * MS, &o), TIMELINE_DISCONTINUITY);
	timeline_reset(&t);
	assert_int_equal(map(&t, 11 * S, 11 * S, true, 40 * MS, &o), TIMELINE_OK);
	assert_int_equal(o.time_ns, WALL + 40 * MS);
	struct timeline_packet p = {
	        .pts_ns = 11 * S + 40 * MS, .dts_ns = 11 * S + 40 * MS, .video = true};
	assert_int_equal(timeline_map(&t, &p, WALL + 681 * MS, BOOT + 80 * MS, &o),
	                 TIMELINE_CLOCK_STEP);
	assert_int_equal(timeline_map(&t, &p, WALL - 521 * MS, BOOT + 80 * MS, &o),
	                 TIMELINE_CLOCK_STEP);
	assert_int_equal(timeline_map(&t, &p, WALL + 480 * MS, BOOT + 80 * MS, &o), TIMELINE_OK);
}

static void test_a_drifting_source_is_anchored_anew(void **state)
{
	struct timeline t;
	struct timeline_out o;
	enum timeline_verdict v = TIMELINE_OK;
	int64_t i = 0;
	(void)state;
	timeline_init(&t, ENG_NO_TIME, false, true);
	for (; v == TIMELINE_OK && i < 100000; i++) /* its clock runs a tenth slow */
		v = map(&t, i * 36 * MS, i * 36 * MS, true, i * 40 * MS, &o);
	assert_int_equal(v, TIMELINE_DISCONTINUITY);
	assert_true(i * 4 * MS < 20 * S);
}

/* Whatever stamps come: times inside what was promised, dts rising, no overflow (UBSan). */
static void test_random_stamps(void **state)
{
	uint64_t seed = rec_seed();
	(void)state;
	for (int round = 0; round < 200; round++) {
		struct timeline t;
		struct timeline_out o;
		int64_t last[2] = {INT64_MIN, INT64_MIN}, now = 0, base = 0;
		timeline_init(&t, round % 2 ? ENG_NO_TIME : 50 * S, round % 4 < 2, round % 3);
		for (int i = 0; i < 500; i++) {
			uint64_t x = rec_random(&seed);
			struct timeline_packet p = {
			        .track = x & 1, .video = !(x & 1), .key = x & 2};
			base += (int64_t)(x >> 8 & 0xff) * MS;
			p.pts_ns = x % 11 ? base : (int64_t)rec_random(&seed);
			p.dts_ns = x % 13 ? base : (int64_t)rec_random(&seed);
			p.duration_ns = x % 7 ? 0 : (int64_t)rec_random(&seed);
			now += (int64_t)(x >> 16 & 0x7f) * MS;
			enum timeline_verdict v = timeline_map(&t, &p, WALL + now, BOOT + now, &o);
			if (v == TIMELINE_DISCONTINUITY) {
				timeline_reset(&t);
				last[0] = last[1] = INT64_MIN;
			}
			if (v != TIMELINE_OK)
				continue;
			assert_true(o.dts_ns > last[p.track]);
			last[p.track] = o.dts_ns;
			assert_true(t.live || o.time_ns >= 50 * S);
			assert_true(!t.live || o.time_ns - o.wait_ns <= WALL + now + S);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_live_starts_at_the_wall_clock),
	        cmocka_unit_test(test_never_more_than_a_second_ahead),
	        cmocka_unit_test(test_import_is_not_paced_and_exact),
	        cmocka_unit_test(test_missing_stamps_are_repaired),
	        cmocka_unit_test(test_jumps_and_clock_steps_end_the_run),
	        cmocka_unit_test(test_a_drifting_source_is_anchored_anew),
	        cmocka_unit_test(test_random_stamps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
