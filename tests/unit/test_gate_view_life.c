/*
 * test_gate_view_life.c — virtual files while the store lives on: slices that grow, writers that
 * die, damage and removal. What was shown once stays the same bytes, or fails.
 */
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/view_store.h"

/* A slice that is being recorded: each name it ever had goes on to mean the same bytes. */
static void growing_names(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct {
		struct view_file f;
		uint8_t *bytes;
		size_t len;
	} old[64];
	size_t n_old = 0, names = 0;
	int64_t t = START + 3 * NSEC_PER_SEC, to = START + 60 * NSEC_PER_SEC;

	run_begin(s, true, true);
	for (int step = 0; step < 16; step++) {
		struct view_file *f;
		size_t n;

		t = append_gops(s, m, REORDERED, t, 1, 25, true, 300 * NSEC_PER_MSEC);
		store_sync(s);
		if (step % 5 == 4)
			reader_again(s);
		assert_int_equal(view_list(s->r, CAMERA, START, to, SLICE, &f, &n), 0);
		for (size_t i = 0; i < n; i++) {
			/* Whatever is listed is whole: the model says the same of [a, b). */
			check_file(s, &f[i], m, span_of(&f[i]));
			assert_true(!f[i].growing || i + 1 == n);
			names += f[i].growing;
			old[n_old].f = f[i];
			old[n_old].bytes = file_bytes(s, &f[i], &old[n_old].len);
			if (++n_old == 64)
				n_old = 63;
		}
		free(f);
	}
	assert_true(names >= 12);
	run_end(s, m);
	for (int restart = 0; restart < 2; restart++) {
		for (size_t i = 0; i < n_old; i++) {
			struct view_file now;
			uint8_t *bytes;
			size_t len;

			assert_int_equal(
			        view_find(s->r, CAMERA, START, to, SLICE, old[i].f.name, &now), 0);
			assert_int_equal(now.b_ns, old[i].f.b_ns);
			bytes = file_bytes(s, &now, &len);
			assert_int_equal(len, old[i].len);
			assert_memory_equal(bytes, old[i].bytes, len);
			free(bytes);
		}
		writer_again(s);
		reader_again(s);
	}
	check_window(s, m, START, to);
	for (size_t i = 0; i < n_old; i++)
		free(old[i].bytes);
	free(m);
}

/* Audio that comes late: a file is not listed before the audio that belongs to it is there. */
static void late_audio(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	int64_t t = START + 3 * NSEC_PER_SEC;
	struct view_file *f, x;
	size_t n;

	run_begin(s, true, true);
	t = append_gops(s, m, PLAIN, t, 5, 25, true, 2500 * NSEC_PER_MSEC);
	store_sync(s);
	assert_int_equal(view_list(s->r, CAMERA, START, t + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 1);
	assert_true(f[0].growing);
	/* Audio reaches to 2.4 s behind the start: the key frame at 2 s is the last that is whole.
	 */
	assert_int_equal(f[0].b_ns, START + 5 * NSEC_PER_SEC);
	check_file(s, &f[0], m, span_of(&f[0]));
	/* The key frame at 3 s is durable, its file not whole yet: it has no name. */
	assert_int_equal(view_find(s->r, CAMERA, START, t + SLICE, SLICE,
	                           "20231114T221323.000+0000--20231114T221326.000+0000.mp4", &x),
	                 -ENOENT);
	assert_int_equal(view_find(s->r, CAMERA, START, t + SLICE, SLICE,
	                           "20231114T221323.000+0000--20231114T221324.000+0000.mp4", &x),
	                 0);
	free(f);
	free(m);
}

/* Any window, asked for at any moment: what was listed once is found again, the same, for ever. */
static void growing_windows(void **state)
{
	uint64_t seed = view_seed("growing_windows");
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct {
		struct view_file f;
		int64_t from, to;
	} *old = calloc(2000, sizeof(*old));
	int64_t t = START + 3 * NSEC_PER_SEC;
	size_t n_old = 0;

	run_begin(s, true, true);
	for (int step = 0; step < 30; step++) {
		t = append_gops(s, m, (enum order)(step % 3), t, 1,
		                3 + (int)(view_random(&seed) % 30), true, 700 * NSEC_PER_MSEC);
		if (step % 2)
			store_sync(s);
		for (int i = 0; i < 40; i++) {
			int64_t from =
			        START + (int64_t)(view_random(&seed) % 35000) * NSEC_PER_MSEC;
			int64_t to = from + (int64_t)(view_random(&seed) % 15000) * NSEC_PER_MSEC;
			struct view_file *f;
			size_t n;

			assert_int_equal(view_list(s->r, CAMERA, from, to, SLICE, &f, &n), 0);
			for (size_t k = 0; k < n && n_old < 2000; k++, n_old++) {
				old[n_old].f = f[k];
				old[n_old].from = from;
				old[n_old].to = to;
				check_file(s, &f[k], m, (struct span){f[k].a_ns, f[k].b_ns, to});
			}
			free(f);
		}
	}
	assert_true(n_old > 200);
	run_end(s, m);
	for (size_t i = 0; i < n_old; i++) {
		struct view_file now;

		assert_int_equal(
		        view_find(s->r, CAMERA, old[i].from, old[i].to, SLICE, old[i].f.name, &now),
		        0);
		assert_int_equal(now.a_ns, old[i].f.a_ns);
		assert_int_equal(now.size_bytes, old[i].f.size_bytes);
		check_file(s, &now, m, (struct span){old[i].f.a_ns, old[i].f.b_ns, old[i].to});
	}
	free(old);
	free(m);
}

/* The writer dies in the middle: the slice grows no more once a later run tells that it ended. */
static void writer_died(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(2, sizeof(*m));
	struct view_file *f, found;
	uint8_t *before, *after;
	char name[VIEW_NAME_MAX];
	size_t n, len, len2;
	pid_t child;
	int status;

	eng_writer_close(s->w);
	s->w = NULL;
	child = fork();
	if (child == 0) {
		writer_again(s);
		run_begin(s, true, false);
		append_gops(s, &m[0], PLAIN, START + 3 * NSEC_PER_SEC, 3, 25, false, 0);
		store_sync(s);
		_exit(0); /* no close: the run has no end */
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	reader_again(s);
	assert_int_equal(view_list(s->r, CAMERA, START, START + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 1);
	assert_true(f[0].growing);
	assert_int_equal(f[0].b_ns, START + 5 * NSEC_PER_SEC);
	memcpy(name, f[0].name, sizeof(name));
	before = file_bytes(s, &f[0], &len);
	free(f);

	writer_again(s);
	run_begin(s, true, false);
	append_gops(s, &m[1], PLAIN, START + 30 * NSEC_PER_SEC, 2, 25, false, 0);
	run_end(s, &m[1]);
	assert_int_equal(view_list(s->r, CAMERA, START, START + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 1);
	assert_false(f[0].growing);
	assert_int_equal(f[0].end_ns, START + 6 * NSEC_PER_SEC);
	assert_int_equal(view_find(s->r, CAMERA, START, START + SLICE, SLICE, name, &found), 0);
	after = file_bytes(s, &found, &len2);
	assert_int_equal(len, len2);
	assert_memory_equal(before, after, len);
	free(before);
	free(after);
	free(f);
	free(m);
}

/* A changed byte on the disk is never served: the reads that touch it fail, the others do not. */
static void damaged_bytes(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct view_file *f;
	struct view *v;
	uint8_t *bytes, *segment;
	size_t n, len, seg_len, got, failed = 0;
	char path[128];
	uint8_t *hit;
	uint64_t word;

	run_begin(s, true, false);
	append_gops(s, m, PLAIN, START + 1 * NSEC_PER_SEC, 8, 25, false, 0);
	run_end(s, m);
	assert_int_equal(view_list(s->r, CAMERA, START, START + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(view_open(s->r, &f[0], &v), 0);
	bytes = read_all(v, &len);
	assert_int_equal(
	        view_sh((char **)&hit, "grep -rlF '%s' %s/seg | head -1", "CUSTCHK1", s->dir), 0);
	hit[strcspn((char *)hit, "\n")] = '\0';
	snprintf(path, sizeof(path), "%s", (char *)hit);
	free(hit);
	assert_int_equal(file_read_all(path, 8 * MIB, (char **)&segment, &seg_len), 0);
	/* The payload of the hundredth frame. */
	word = 0x465241u << 8 | (uint64_t)m->frame[100].number << 32;
	hit = memmem(segment, seg_len, &word, 8);
	assert_non_null(hit);
	assert_int_equal(view_sh(NULL,
	                         "printf 'X' | dd of=%s bs=1 seek=%zu conv=notrunc status=none",
	                         path, (size_t)(hit - segment)),
	                 0);
	for (uint64_t at = 0; at < len; at += 4096) {
		uint8_t part[4096];
		int rc = view_read(v, at, sizeof(part), part, &got);

		assert_true(rc == 0 || rc == -EUCLEAN);
		failed += rc != 0;
		if (!rc)
			assert_memory_equal(part, bytes + at, got);
	}
	assert_true(failed > 0 && failed < len / 4096);
	view_close(v);
	free(segment);
	free(bytes);
	free(f);
	free(m);
}

/* Retention takes the beginning of a run: what is open there fails, the rest is as before. */
static void recycled_beginning(void **state)
{
	struct eng_camera_ages ages = {.camera = CAMERA, .max_age_ns = 1};
	struct eng_keep keep = {.camera = CAMERA, .to_ns = INT64_MAX};
	struct eng_retention table = {
	        .number = 1, .n_cameras = 1, .n_keeps = 1, .cameras = &ages, .keeps = &keep};
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct eng_stats stats = {0};
	struct view_file *f, *later;
	struct view *v, *v2;
	size_t n, n_later, got, kept = 0;
	uint8_t byte[64];
	int64_t end;

	run_begin(s, true, true);
	end = append_gops(s, m, REORDERED, START + NSEC_PER_SEC, 140, 25, true, 0);
	run_end(s, m);
	assert_int_equal(view_list(s->r, CAMERA, START, end, SLICE, &f, &n), 0);
	assert_int_equal(n, 15);
	assert_int_equal(view_open(s->r, &f[1], &v), 0);
	keep.from_ns = end - 2 * SLICE;
	assert_int_equal(eng_retention_set(s->w, &table), 0);
	for (int i = 0; i < 1000 && !stats.removed; i++) {
		assert_true(eng_poll(s->w) >= 0);
		poll(&(struct pollfd){.fd = eng_writer_fd(s->w), .events = POLLIN}, 1, 10);
		eng_writer_stats(s->w, &stats);
	}
	assert_true(stats.removed > 0);

	assert_int_equal(view_read(v, view_size(v) - 64, 64, byte, &got), -ESTALE);
	assert_int_equal(view_open(s->r, &f[1], &v2), -ESTALE);
	view_close(v);
	assert_int_equal(view_list(s->r, CAMERA, START, end, SLICE, &later, &n_later), 0);
	assert_true(n_later > 1 && n_later < n);
	for (size_t i = 0; i < n_later; i++) {
		check_file(s, &later[i], m, span_of(&later[i]));
		for (size_t k = 0; k < n; k++)
			kept += !memcmp(&f[k], &later[i], sizeof(*f));
	}
	/* All but the one that the removal has cut, at most. */
	assert_true(kept + 1 >= n_later);
	free(later);
	free(f);
	free(m);
}

/* A description that the store does not bear out opens nothing. */
static void false_descriptions(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct view_file *f, x;
	struct view *v;
	size_t n;

	run_begin(s, true, false);
	append_gops(s, m, PLAIN, START + NSEC_PER_SEC, 4, 25, false, 0);
	run_end(s, m);
	assert_int_equal(view_list(s->r, CAMERA, START, START + SLICE, SLICE, &f, &n), 0);
	assert_int_equal(n, 1);
	x = f[0];
	x.size_bytes++;
	assert_int_equal(view_open(s->r, &x, &v), -EUCLEAN);
	x = f[0];
	x.a_ns++;
	assert_int_equal(view_open(s->r, &x, &v), -ESTALE);
	x = f[0];
	x.run++;
	assert_int_equal(view_open(s->r, &x, &v), -ESTALE);
	free(f);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(growing_names),      STORE_TEST(late_audio),
	        STORE_TEST(growing_windows),    STORE_TEST(writer_died),
	        STORE_TEST(damaged_bytes),      STORE_TEST(recycled_beginning),
	        STORE_TEST(false_descriptions),
	};

	if (time_zone_set("UTC"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
