/*
 * test_gate_view.c — which frames a virtual file holds and what it is called, over a real store:
 * window edges at every position, slices, runs, names.
 */
#include "tests/unit/view_store.h"

static void edges(struct store *s, enum order order, bool audio)
{
	struct model *m = calloc(1, sizeof(*m));
	int64_t from = START + 8 * NSEC_PER_SEC, to = START + 13 * NSEC_PER_SEC;

	run_begin(s, true, audio);
	append_gops(s, m, order, START + 3 * NSEC_PER_SEC, 14, 25, audio, 200 * NSEC_PER_MSEC);
	run_end(s, m);
	/* Every position of two GOPs, a slice's end between them, exactly and a nanosecond off. */
	for (int i = 0; i <= 52; i++) {
		int64_t edge = START + 9 * NSEC_PER_SEC + (i - 1) * FRAME;

		for (int64_t off = -1; off <= 1; off++) {
			check_window(s, m, edge + off, to);
			check_window(s, m, from, edge + off);
		}
		check_window(s, m, edge, edge + 1);
		check_window(s, m, edge, edge + 7 * FRAME);
	}
	free(m);
}

static void edges_plain(void **state)
{
	edges(*state, PLAIN, false);
}

static void edges_audio(void **state)
{
	edges(*state, PLAIN, true);
}

static void edges_reordered(void **state)
{
	edges(*state, REORDERED, true);
}

static void edges_open_gop(void **state)
{
	edges(*state, OPEN_GOP, true);
}

/* The slices of everything hold every frame once, but leading pictures. */
static void slices_hold_all(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	static uint8_t seen[FRAMES_MAX];
	struct view_file *f;
	size_t n, leading = 0, missing = 0;
	int64_t end;

	memset(seen, 0, sizeof(seen));
	run_begin(s, true, true);
	end = append_gops(s, m, OPEN_GOP, START + 3 * NSEC_PER_SEC, 37, 25, true, 0);
	run_end(s, m);
	assert_int_equal(view_list(s->r, CAMERA, START, end + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 4);
	for (size_t i = 0; i < n; i++) {
		static bool wanted[FRAMES_MAX];
		struct span x = span_of(&f[i]);

		check_file(s, &f[i], m, x);
		want(m, x.a, x.b, wanted);
		for (size_t j = 0; j < m->n; j++)
			seen[j] = (uint8_t)(seen[j] + wanted[j]);
		if (i > 0) {
			assert_true(strcmp(f[i - 1].name, f[i].name) < 0);
			assert_int_equal(f[i - 1].b_ns, f[i].a_ns);
			leading += 2;
		}
	}
	for (size_t j = 0; j < m->n; j++) {
		assert_true(seen[j] <= 1);
		missing += !seen[j];
		/* Sound before the first picture, and pictures before it, belong to no file. */
		leading += m->frame[j].time < f[0].a_ns;
	}
	assert_int_equal(missing, leading);
	free(f);
	free(m);
}

/* Frames that carry no duration, each in a chunk of its own: times alone decide. */
static void no_durations(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));

	run_begin(s, true, false);
	for (int i = 0; i < 40; i++) {
		int64_t t = START + 9 * NSEC_PER_SEC + i * FRAME;

		append(s, m, (struct frame){.time = t, .dts = t, .key = i % 8 == 0});
		store_sync(s);
	}
	run_end(s, m);
	for (int i = 0; i <= 40; i++) {
		int64_t edge = START + 9 * NSEC_PER_SEC + i * FRAME;

		check_window(s, m, edge, START + 2 * SLICE);
		check_window(s, m, START, edge);
		check_window(s, m, edge, edge + 1);
	}
	assert_int_equal(check_window(s, m, START, START + 2 * SLICE), 2);
	free(m);
}

static void names_that_are_none(void **state)
{
	static const char *const bad[] = {
	        "",
	        "x.mp4",
	        "20231114T221323.000+0000--20231114T221326.000+0000",
	        "20231114T221323.000+0000--20231114T221326.040+0000.mp4",
	        "20231114T221323.000+0000--20231114T221326.000+0000-2.mp4",
	        "20231114T221323.000+0000--20231114T221326.000+0000-imported.mp4",
	        "20231114T221323.000+0000--20231114T221323.000+0000.mp4",
	        "20231114T221324.000+0000--20231114T221326.000+0000.mp4",
	        "20231114T221323.000+0000--20231114T231326.000+0000.mp4",
	        "20231114T221323.000+0000--20231114T221326.000+0000.mp4.mp4",
	        "20231314T221323.000+0000--20231114T221326.000+0000.mp4",
	        "../20231114T221323.000+0000--20231114T221326.000+0000.mp4",
	};
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct view_file f;

	run_begin(s, true, false);
	append_gops(s, m, PLAIN, START + 3 * NSEC_PER_SEC, 5, 25, false, 0);
	run_end(s, m);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(view_find(s->r, CAMERA, START, START + 60 * NSEC_PER_SEC, SLICE,
		                           bad[i], &f),
		                 -ENOENT);
	/* One that is, so that the others are not refused for a wrong date alone. */
	assert_int_equal(view_find(s->r, CAMERA, START, START + 60 * NSEC_PER_SEC, SLICE,
	                           "20231114T221323.000+0000--20231114T221326.000+0000.mp4", &f),
	                 0);
	free(m);
}

static void random_reads(void **state)
{
	uint64_t seed = view_seed("random_reads");
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct view_file *f;
	struct view *v;
	uint8_t *whole, *part;
	size_t n, len, got;

	run_begin(s, true, true);
	append_gops(s, m, OPEN_GOP, START + 3 * NSEC_PER_SEC, 6, 25, true, 0);
	run_end(s, m);
	assert_int_equal(view_list(s->r, CAMERA, START, START + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(view_open(s->r, &f[0], &v), 0);
	whole = read_all(v, &len);
	part = malloc(len + 100);
	for (int i = 0; i < 3000; i++) {
		uint64_t at = view_random(&seed) % (len + 50);
		size_t ask = view_random(&seed) % (i % 2 ? 300 : len);
		size_t expect = at >= len ? 0 : ask < len - at ? ask : len - at;

		memset(part, 0xaa, len + 100);
		assert_int_equal(view_read(v, at, ask, part, &got), 0);
		assert_int_equal(got, expect);
		assert_memory_equal(part, whole + at, got);
		assert_int_equal(part[got], 0xaa);
	}
	assert_int_equal(view_read(v, UINT64_MAX, 1, part, &got), 0);
	assert_int_equal(got, 0);
	view_close(v);
	free(part);
	free(whole);
	free(f);
	free(m);
}

/* Gaps, a changed setup, footage brought in later: each run its own files. */
static void runs_and_imports(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(3, sizeof(*m));
	struct eng_stream *live = s->stream;
	struct view_file *f;
	size_t n;

	run_begin(s, true, false);
	append_gops(s, &m[0], PLAIN, START + 1 * NSEC_PER_SEC, 3, 25, false, 0);
	run_end(s, &m[0]);
	run_begin(s, true, true);
	append_gops(s, &m[1], PLAIN, START + 6 * NSEC_PER_SEC, 2, 25, true, 0);
	run_end(s, &m[1]);
	assert_int_equal(eng_stream_get(s->w, CAMERA, true, &s->stream), 0);
	run_begin(s, true, false);
	append_gops(s, &m[2], PLAIN, START + 1 * NSEC_PER_SEC, 3, 25, false, 0);
	run_end(s, &m[2]);
	s->stream = live;
	assert_int_equal(view_list(s->r, CAMERA, START, START + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 3);
	check_file(s, &f[0], &m[0], span_of(&f[0]));
	check_file(s, &f[1], &m[2], span_of(&f[1]));
	check_file(s, &f[2], &m[1], span_of(&f[2]));
	assert_true(f[1].imported && strstr(f[1].name, "-imported.mp4"));
	assert_true(!f[0].imported && !strstr(f[0].name, "imported"));
	for (size_t i = 0; i < n; i++) {
		struct view_file found;

		assert_int_equal(
		        view_find(s->r, CAMERA, START, START + SLICE, SLICE, f[i].name, &found), 0);
		assert_memory_equal(&found, &f[i], sizeof(found));
	}
	free(f);
	free(m);
}

/* Two runs of the same instant: told apart by number, each name by itself. */
static void same_names(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(2, sizeof(*m));
	struct view_file *f, found;
	size_t n;

	for (int i = 0; i < 2; i++) {
		run_begin(s, true, false);
		append_gops(s, &m[i], PLAIN, START + NSEC_PER_SEC, 2, 25, false, 0);
		run_end(s, &m[i]);
	}
	assert_int_equal(view_list(s->r, CAMERA, START, START + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 2);
	assert_string_not_equal(f[0].name, f[1].name);
	assert_non_null(strstr(f[1].name, "-2.mp4"));
	for (int i = 0; i < 2; i++) {
		check_file(s, &f[i], &m[i], span_of(&f[i]));
		assert_int_equal(
		        view_find(s->r, CAMERA, START, START + SLICE, SLICE, f[i].name, &found), 0);
		assert_int_equal(found.run, f[i].run);
	}
	free(f);
	free(m);
}

static void audio_alone(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	int64_t t = START + 4 * NSEC_PER_SEC;

	run_begin(s, false, true);
	for (int i = 0; i < 500; i++, t += SOUND)
		append(s, m,
		       (struct frame){
		               .time = t, .dts = t, .duration = SOUND, .track = 0, .key = true});
	run_end(s, m);
	assert_int_equal(check_window(s, m, START, START + 40 * NSEC_PER_SEC), 2);
	for (int i = 300; i < 340; i++) {
		int64_t edge = START + i * 31 * NSEC_PER_MSEC;

		check_window(s, m, edge, START + 40 * NSEC_PER_SEC);
		check_window(s, m, START, edge);
	}
	free(m);
}

static void empty_windows(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct view_file *f;
	size_t n;

	run_begin(s, true, false);
	append_gops(s, m, PLAIN, START + 3 * NSEC_PER_SEC, 5, 25, false, 0);
	run_end(s, m);
	assert_int_equal(check_window(s, m, START, START + 3 * NSEC_PER_SEC), 0);
	assert_int_equal(check_window(s, m, START + 20 * NSEC_PER_SEC, START + SLICE * 3), 0);
	/* Between two key frames: footage, but none that could be shown. */
	assert_int_equal(check_window(s, m, START + 3 * NSEC_PER_SEC + 1, START + 4 * NSEC_PER_SEC),
	                 0);
	assert_int_equal(view_list(s->r, CAMERA, 5, 5, SLICE, &f, &n), 0);
	assert_int_equal(n, 0);
	free(f);
	assert_int_equal(view_list(s->r, "nowhere", START, START + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 0);
	free(f);
	free(m);
}

static void better_from(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	int64_t first = START + 3 * NSEC_PER_SEC;

	run_begin(s, true, false);
	append_gops(s, m, REORDERED, first, 5, 25, false, 0);
	run_end(s, m);
	assert_true(view_better_from(s->r, CAMERA, first) == ENG_NO_TIME);
	assert_true(view_better_from(s->r, CAMERA, first - 1) == ENG_NO_TIME);
	assert_int_equal(view_better_from(s->r, CAMERA, first + 1), first);
	assert_int_equal(view_better_from(s->r, CAMERA, first + 24 * FRAME), first);
	/* Behind the last frame of the GOP nothing is missing. */
	assert_true(view_better_from(s->r, CAMERA, first + 24 * FRAME + 1) == ENG_NO_TIME);
	assert_true(view_better_from(s->r, CAMERA, first + 25 * FRAME) == ENG_NO_TIME);
	assert_int_equal(view_better_from(s->r, CAMERA, first + 26 * FRAME), first + 25 * FRAME);
	assert_true(view_better_from(s->r, CAMERA, first + 300 * FRAME) == ENG_NO_TIME);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(edges_plain),         STORE_TEST(edges_audio),
	        STORE_TEST(edges_reordered),     STORE_TEST(edges_open_gop),
	        STORE_TEST(slices_hold_all),     STORE_TEST(no_durations),
	        STORE_TEST(names_that_are_none), STORE_TEST(random_reads),
	        STORE_TEST(runs_and_imports),    STORE_TEST(same_names),
	        STORE_TEST(audio_alone),         STORE_TEST(empty_windows),
	        STORE_TEST(better_from),
	};

	if (time_zone_set("UTC"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
