/*
 * test_eng_writer.c — what a producer is promised: every frame taken comes back, in order, once;
 * rules are checked before anything is taken; failures cost nothing acknowledged. (What the writer
 * does when something runs short: test_eng_limits.c.)
 */
#include "tests/unit/support_eng.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FRAME_NS INT64_C(40000000)

/* ---- model: streams of frames with random breaks, restarts, sizes and device order ---- */

#define MODEL_STREAMS 3
struct model {
	const char *name;
	struct eng_stream *s;
	int64_t next_ns;
	int64_t times[4000];
	uint8_t tracks[4000];
	size_t n;
	bool in_run;
	unsigned in_gop;
};

static void model_step(struct model *m, uint64_t *rng, unsigned *runs)
{
	if (!m->in_run || rnd(rng, 60) == 0) {
		const struct eng_setup *setup = rnd(rng, 4) ? &setup_av : &setup_other;
		m->next_ns += NSEC_PER_SEC;
		assert_int_equal(eng_run_begin(m->s, setup, ENG_REASON_STALLED), 0);
		m->in_run = true;
		m->in_gop = 0;
		(*runs)++;
	}
	bool av = m->s->setup->setup.n_tracks == 2;
	uint8_t track = av && m->in_gop && rnd(rng, 2);
	bool key = track || m->in_gop == 0;
	uint32_t size = 1 + rnd(rng, rnd(rng, 40) ? 30000 : 1500000);
	m->next_ns += FRAME_NS;
	int err = append_at(m->s, m->next_ns, m->next_ns, track, key, size);
	if (err == -EAGAIN) {
		eng_run_end(m->s, ENG_REASON_DISK_SLOW);
		m->in_run = false;
		return;
	}
	assert_int_equal(err, 0);
	if (!track)
		m->in_gop = (m->in_gop + 1) % 10;
	m->times[m->n] = m->next_ns;
	m->tracks[m->n++] = track;
}

/* Everything taken is there, nothing else, each run in order, each frame once. */
static void model_check(const char *dir, struct model *m)
{
	struct seen *seen;
	size_t n = read_all(dir, m->name, &seen);

	assert_int_equal(n, m->n);
	for (size_t i = 0; i < m->n; i++)
		assert_true(seen_has(seen, n, m->times[i], m->tracks[i]));
	for (size_t i = 1; i < n; i++) {
		if (seen[i].run == seen[i - 1].run && seen[i].track == seen[i - 1].track)
			assert_true(seen[i].time_ns > seen[i - 1].time_ns);
	}
	free(seen);
}

static void model_run(uint64_t seed, bool flush_each)
{
	static struct model m[MODEL_STREAMS];
	char *dir = store_new(40, false);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	uint64_t rng = seed;
	unsigned runs = 0;

	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < MODEL_STREAMS; i++)
		m[i] = (struct model){.name = (const char *[]){"dock", "东门", "roof"}[i],
		                      .next_ns = INT64_C(1800000000) * NSEC_PER_SEC};
	for (unsigned life = 0; life < 4; life++) {
		struct fault f;
		fault_open(&f);
		f.rng = seed + life;
		struct writer_env env = test_env(&clock);
		env.device = &f.d;
		env.flush_each = flush_each;
		o.leaves = life % 2;
		struct eng_writer *w = writer_must_open(dir, &o, &env);
		for (unsigned i = 0; i < MODEL_STREAMS; i++) {
			assert_int_equal(eng_stream_get(w, m[i].name, false, &m[i].s), 0);
			m[i].in_run = false;
		}
		for (unsigned step = 0; step < 400; step++) {
			model_step(&m[rnd(&rng, MODEL_STREAMS)], &rng, &runs);
			for (unsigned k = 0; k < 6; k++)
				assert_true(eng_poll(w) >= 0);
		}
		if (life == 2) { /* a crash right after a sync loses nothing */
			assert_int_equal(eng_sync(w, 60 * NSEC_PER_SEC), 0);
			writer_free(w);
		} else {
			eng_writer_close(w);
		}
		for (unsigned i = 0; i < MODEL_STREAMS; i++)
			model_check(dir, &m[i]);
	}
	assert_true(runs > 4);
	assert_verifies(dir);
	store_drop(dir);
}

static void test_model(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		model_run(seed + i * 2, i % 2);
}

/* ---- rules of a run ---- */

static void test_rules(void **state)
{
	char *dir = store_new(8, false);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_writer *w;
	struct eng_stream *s, *again, *imported;
	struct eng_setup bad = setup_video;
	char longname[ENG_CAMERA_MAX + 1];

	(void)state;
	o.sync_device = true;
	w = writer_must_open(dir, &o, &env);
	memset(longname, 'x', sizeof(longname));
	longname[ENG_CAMERA_MAX] = 0;
	assert_int_equal(eng_stream_get(w, "", false, &s), -EINVAL);
	assert_int_equal(eng_stream_get(w, longname, false, &s), -EINVAL);
	assert_int_equal(eng_stream_get(w, "a\xff", false, &s), -EINVAL);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_stream_get(w, "cam", false, &again), 0);
	assert_ptr_equal(s, again);
	assert_int_equal(eng_stream_get(w, "cam", true, &imported), 0);
	assert_ptr_not_equal(s, imported);
	assert_int_equal(append_at(s, 1, 1, 0, true, 10), -EINVAL); /* no run */
	bad.n_tracks = 3;
	assert_int_equal(eng_run_begin(s, &bad, ENG_REASON_FIRST), -EINVAL);
	bad = setup_video;
	bad.track[0].codec = 99;
	assert_int_equal(eng_run_begin(s, &bad, ENG_REASON_FIRST), -EINVAL);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	assert_int_equal(append_at(s, 1, 1, 0, false, 10), -EINVAL); /* first one is no key frame */
	assert_int_equal(append_at(s, 1, 1, 1, true, 10), -EINVAL);  /* no such track */
	assert_int_equal(append_at(s, 1, 1, 0, true, 0), -EINVAL);
	assert_int_equal(append_at(s, 1, 1, 0, true, ENG_FRAME_MAX + 1), -EMSGSIZE);
	assert_int_equal(append_at(s, 1, 1, 0, true, 5 * MIB), -EMSGSIZE); /* no segment holds it */
	assert_int_equal(append_at(s, 100, 5, 0, true, 10), 0);
	assert_int_equal(append_at(s, 140, 5, 0, false, 10), -EINVAL); /* dts stands still */
	assert_int_equal(append_at(s, 60, 6, 0, false, 10), 0);        /* shown earlier: fine */
	eng_writer_close(w);
	struct seen *seen;
	assert_int_equal(read_all(dir, "cam", &seen), 2);
	free(seen);
	store_drop(dir);
}

/* ---- what is not durable is not visible; a run's end is told ---- */

static void test_visible_only_when_durable(void **state)
{
	char *dir = store_new(8, true);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_stream *s;
	struct fault f;
	struct seen *seen;

	(void)state;
	fault_open(&f);
	env.device = &f.d;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	assert_int_equal(append_at(s, 1000, 1, 0, true, 5000), 0);
	clock_forward(&clock, NSEC_PER_SEC / 2);
	assert_true(eng_poll(w) >= 0); /* closed and submitted */
	assert_true(eng_poll(w) >= 0); /* write came back */
	assert_int_equal(read_all(dir, "cam", &seen), 0);
	free(seen);
	assert_int_equal(eng_stream_durable_ns(s), ENG_NO_TIME);
	clock_forward(&clock, NSEC_PER_SEC / 4);
	assert_true(eng_poll(w) >= 0); /* flush submitted */
	assert_int_equal(read_all(dir, "cam", &seen), 0);
	free(seen);
	assert_true(eng_poll(w) >= 0); /* flush came back */
	assert_int_equal(read_all(dir, "cam", &seen), 1);
	free(seen);
	assert_int_equal(eng_stream_durable_ns(s), 1000 + 40000000);
	struct eng_stats st;
	eng_writer_stats(w, &st);
	assert_int_equal(st.frames_durable, 1);
	assert_int_equal(st.overruns, 0);
	assert_true(st.loss_bound_max_ns > NSEC_PER_SEC / 2 && st.loss_bound_max_ns < NSEC_PER_SEC);
	eng_run_end(s, ENG_REASON_SOURCE_END); /* the last chunk is gone: an empty one tells */
	eng_writer_close(w);
	struct eng_reader *r;
	struct eng_run *runs;
	size_t n;
	char err[256];
	assert_int_equal(eng_reader_open(dir, &r, err, sizeof(err)), 0);
	assert_int_equal(eng_runs(r, "cam", INT64_MIN, INT64_MAX, &runs, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(runs[0].start_reason, ENG_REASON_FIRST);
	assert_int_equal(runs[0].end_reason, ENG_REASON_SOURCE_END);
	free(runs);
	eng_reader_close(r);
	store_drop(dir);
}

/* D2: a write that came back while a flush was on its way is not covered by it. */
static void test_flush_covers_only_earlier_writes(void **state)
{
	char *dir = store_new(8, true);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_stream *s;
	struct fault f;

	(void)state;
	fault_open(&f);
	env.device = &f.d;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	assert_int_equal(append_at(s, 1000, 1, 0, true, 5000), 0);
	clock_forward(&clock, NSEC_PER_SEC / 2);
	polls(w, 2); /* the first is written */
	assert_int_equal(append_at(s, 2000, 2, 0, true, 5000), 0);
	clock_forward(&clock, NSEC_PER_SEC / 2);
	polls(w, 1); /* the second is submitted, and a flush right behind it */
	assert_int_equal(f.n_pending, 2);
	polls(w, 1); /* both come back, the write first */
	assert_int_equal(eng_stream_durable_frames(s), 1);
	clock_forward(&clock, NSEC_PER_SEC / 4);
	polls(w, 2); /* the next flush covers it */
	assert_int_equal(eng_stream_durable_frames(s), 2);
	eng_writer_close(w);
	store_drop(dir);
}

/* ---- failures: nothing acknowledged is lost, nothing false appears ---- */

static void one_fault(unsigned nth, unsigned every, int with, bool writes, bool flushes,
                      bool flush_each, uint64_t rng)
{
	char *dir = store_new(16, true);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_stream *s[2];
	const char *const names[2] = {"a", "b"};
	struct fault f;
	uint64_t durable[2], acked_frames = 0;

	fault_open(&f);
	f.rng = rng;
	f.fail_at = nth;
	f.fail_every = every;
	f.fail_with = with;
	f.fail_writes = writes;
	f.fail_flushes = flushes;
	env.device = &f.d;
	env.flush_each = flush_each;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(eng_stream_get(w, names[i], false, &s[i]), 0);
		assert_int_equal(eng_run_begin(s[i], &setup_video, ENG_REASON_FIRST), 0);
	}
	for (int64_t t = 1; t <= 60; t++) {
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(append_at(s[i], t, t, 0, t % 10 == 1, 60000), 0);
		for (unsigned k = 0; k < 4; k++)
			assert_true(eng_poll(w) >= 0);
		clock_forward(&clock, FRAME_NS);
	}
	assert_int_equal(eng_sync(w, 60 * NSEC_PER_SEC), 0);
	assert_int_equal(f.failed > 0, w->stats.write_errors > 0);
	for (unsigned i = 0; i < 2; i++) {
		durable[i] = eng_stream_durable_frames(s[i]);
		acked_frames += durable[i];
	}
	assert_int_equal(acked_frames, 120);
	if (f.failed)
		assert_true(w->in_state[FMT_STATE_RETIRED] > 0 || every);
	writer_free(w); /* a crash: only what was published counts */
	for (unsigned i = 0; i < 2; i++) {
		struct seen *seen;
		size_t n = read_all(dir, names[i], &seen);
		assert_int_equal(n, durable[i]);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(seen[k].time_ns, k + 1);
		free(seen);
	}
	assert_verifies(dir);
	store_drop(dir);
}

static void test_nth_call_fails(void **state)
{
	uint64_t seed = test_seed();
	const int with[] = {-EIO, -ENOSPC, FAULT_SHORT};

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		for (unsigned nth = 1; nth <= 12; nth++)
			one_fault(nth, 0, with[k], true, false, nth % 2, seed + nth);
	}
	for (unsigned nth = 1; nth <= 12; nth++)
		one_fault(nth, 0, -EIO, false, true, nth % 2, seed + nth);
	one_fault(0, 7, -EIO, true, true, false, seed);
	one_fault(0, 5, -EIO, true, false, false, 0);
}

/* A disk that takes nothing any more: recording stops, says so, and nothing is claimed. */
static void test_dead_disk(void **state)
{
	char *dir = store_new(40, true);
	struct test_clock clock = {0};
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct writer_env env = test_env(&clock);
	struct eng_stream *s;
	struct fault f;
	int64_t ret = 0;

	(void)state;
	fault_open(&f);
	f.fail_every = 1;
	f.fail_with = -EIO;
	f.fail_writes = f.fail_flushes = true;
	env.device = &f.d;
	struct eng_writer *w = writer_must_open(dir, &o, &env);
	assert_int_equal(eng_stream_get(w, "cam", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &setup_video, ENG_REASON_FIRST), 0);
	assert_int_equal(append_at(s, 1, 1, 0, true, 100), 0);
	for (unsigned i = 0; i < 1000 && ret >= 0; i++) {
		clock_forward(&clock, NSEC_PER_SEC);
		ret = eng_poll(w);
	}
	assert_int_equal(ret, -EIO);
	assert_true(append_at(s, 2, 2, 0, true, 100) < 0);
	assert_int_equal(eng_stream_durable_frames(s), 0);
	assert_non_null(strstr(a.all, "recording stops"));
	eng_writer_close(w);
	struct seen *seen;
	assert_int_equal(read_all(dir, "cam", &seen), 0);
	free(seen);
	store_drop(dir);
}

static void test_second_writer(void **state)
{
	char *dir = store_new(8, false), err[256] = "";
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct eng_writer *w, *w2;

	(void)state;
	assert_int_equal(eng_writer_open(dir, &o, &w, err, sizeof(err)), 0);
	assert_int_equal(eng_writer_open(dir, &o, &w2, err, sizeof(err)), -EBUSY);
	assert_non_null(strstr(err, "another recorder"));
	eng_writer_close(w);
	assert_int_equal(eng_writer_open(dir, &o, &w, err, sizeof(err)), 0);
	assert_true(w->epoch >= 3);
	eng_writer_close(w);
	assert_int_equal(eng_writer_open("/nonexistent", &o, &w, err, sizeof(err)), -ENOENT);
	store_drop(dir);
}

/* The real device on a real filesystem, real clocks: written, read back, verified. */
static void test_real_uring(void **state)
{
	char *dir = store_new(24, false), err[256];
	struct alarms a = {0};
	struct eng_writer_options o = test_options(&a);
	struct eng_writer *w;
	struct eng_stream *s[3];
	const char *const names[3] = {"one", "two", "three"};

	(void)state;
	o.memory_bytes = 32 * MIB;
	assert_int_equal(eng_writer_open(dir, &o, &w, err, sizeof(err)), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(eng_stream_get(w, names[i], false, &s[i]), 0);
		assert_int_equal(eng_run_begin(s[i], &setup_video, ENG_REASON_FIRST), 0);
	}
	for (int64_t t = 1; t <= 300; t++) {
		for (unsigned i = 0; i < 3; i++) {
			int ret;
			while ((ret = append_at(s[i], t * FRAME_NS, t, 0, t % 25 == 1, 50000)) ==
			       -EAGAIN) {
				assert_true(eng_poll(w) >= 0);
				w->dev->ops->wait(w->dev, NSEC_PER_MSEC);
			}
			assert_int_equal(ret, 0);
		}
		assert_true(eng_poll(w) >= 0);
	}
	eng_writer_close(w);
	assert_null(strstr(a.all, "no io_uring"));
	for (unsigned i = 0; i < 3; i++) {
		struct seen *seen;
		assert_int_equal(read_all(dir, names[i], &seen), 300);
		free(seen);
	}
	assert_verifies(dir);
	store_drop(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_rules),
	        cmocka_unit_test(test_visible_only_when_durable),
	        cmocka_unit_test(test_flush_covers_only_earlier_writes),
	        cmocka_unit_test(test_second_writer),
	        cmocka_unit_test(test_dead_disk),
	        cmocka_unit_test(test_real_uring),
	        cmocka_unit_test(test_nth_call_fails),
	        cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
