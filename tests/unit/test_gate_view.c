/*
 * test_gate_view.c — virtual files over a real store that the real writer made.
 *
 * Every frame's payload is its own number, again and again: whatever is read from a file names the
 * frame it came from, so a frame from outside the window is caught by name. What a window should
 * hold is worked out here frame by frame, without chunks and indexes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fusefs/view.h"
#include "tests/unit/support_gate.h"

#define START      (INT64_C(1700000000) * NSEC_PER_SEC) /* 2023-11-14T22:13:20Z, a slice's beginning */
#define FRAME      (40 * NSEC_PER_MSEC)
#define SOUND      (32 * NSEC_PER_MSEC)
#define SLICE      (10 * NSEC_PER_SEC)
#define FRAMES_MAX 8192
#define CAMERA     "dock-3"

enum order { PLAIN, REORDERED, OPEN_GOP };

struct frame {
	int64_t time, dts, duration;
	uint32_t size, number;
	uint8_t track;
	bool key;
};
/* A run as it was appended; frames in order of appending. */
struct model {
	struct frame frame[FRAMES_MAX];
	size_t n;
	bool ended, audio_only;
};
struct store {
	char dir[80];
	struct eng_writer *w;
	struct eng_stream *stream;
	struct eng_reader *r;
	uint32_t number; /* of the next frame */
	size_t since_sync;
};

/* ------------------------------------------------------------------------------- a store */

static const struct eng_setup video_setup = {.n_tracks = 1,
                                             .track = {{.codec = ENG_CODEC_H264,
                                                        .width = 64,
                                                        .height = 48,
                                                        .extradata_bytes = 7,
                                                        .extradata = {1, 66, 0, 10, 255, 224, 0}}}};

static struct eng_setup setup_of(bool video, bool audio)
{
	struct eng_setup s = video_setup;
	unsigned k = video ? 1 : 0;

	if (audio)
		s.track[k++] = (struct eng_track){
		        .codec = ENG_CODEC_ALAW, .channels = 1, .sample_rate = 8000};
	s.n_tracks = (uint16_t)k;
	return s;
}

static void reader_again(struct store *s)
{
	char err[256];

	eng_reader_close(s->r);
	s->r = NULL;
	if (eng_reader_open(s->dir, &s->r, err, sizeof(err)))
		fail_msg("%s", err);
}

static void writer_again(struct store *s)
{
	struct eng_writer_options opt = {.sync_device = true, .flush_ns = NSEC_PER_SEC};
	char err[256];

	if (s->w)
		eng_writer_close(s->w);
	if (eng_writer_open(s->dir, &opt, &s->w, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(eng_stream_get(s->w, CAMERA, false, &s->stream), 0);
}

static int store_make(void **state)
{
	struct eng_init_options opt = {.size_bytes = 64 * MIB, .segment_bytes = 4 * MIB};
	struct store *s = calloc(1, sizeof(*s));
	char err[256], sub[64];

	view_dir_make(sub);
	opt.group = (gid_t)-1;
	snprintf(s->dir, sizeof(s->dir), "%s/s", sub);
	if (eng_init(s->dir, &opt, err, sizeof(err)))
		fail_msg("%s", err);
	writer_again(s);
	reader_again(s);
	s->number = 1;
	*state = s;
	return 0;
}

static int store_remove(void **state)
{
	struct store *s = *state;

	eng_reader_close(s->r);
	if (s->w)
		eng_writer_close(s->w);
	s->dir[strlen(s->dir) - 2] = '\0';
	view_dir_remove(s->dir);
	free(s);
	return 0;
}

static void store_sync(struct store *s)
{
	assert_int_equal(eng_sync(s->w, 60 * NSEC_PER_SEC), 0);
	s->since_sync = 0;
}

static void append(struct store *s, struct model *m, struct frame f)
{
	uint64_t payload[2048];
	struct eng_frame e = {.time_ns = f.time,
	                      .dts_ns = f.dts,
	                      .duration_ns = (uint32_t)f.duration,
	                      .track = f.track,
	                      .flags = f.key ? ENG_FRAME_KEY : 0,
	                      .data = payload};

	f.number = s->number++;
	f.size = 8 * (1 + f.number * 7919 % (f.key ? 2000 : 300));
	e.size_bytes = f.size;
	for (uint32_t i = 0; i < f.size / 8; i++)
		payload[i] = 0x465241u << 8 | (uint64_t)f.number << 32;
	assert_int_equal(eng_append(s->stream, &e), 0);
	assert_true(m->n < FRAMES_MAX);
	m->frame[m->n++] = f;
	/* Chunks of uneven lengths, none of them a multiple of a GOP. */
	if (++s->since_sync > 9 + f.number % 23)
		store_sync(s);
}

/* Display place of the i-th decoded frame of a GOP of n. REORDERED: I P B B P B B …; OPEN_GOP: the
 * same with two pictures shown before the key frame. */
static int display_of(enum order order, int i, int n)
{
	int at = i;

	if (order == PLAIN)
		return i;
	if (order == OPEN_GOP && i < 3)
		return i == 0 ? 2 : i - 1;
	if (order == OPEN_GOP)
		at = i - 2;
	if (i > 0)
		at = (at - 1) % 3 == 0 ? at + 2 : at - 1;
	if (order == OPEN_GOP)
		at += 2;
	return at < n ? at : -1;
}

/* Decode order of a GOP with every display place once: those that display_of leaves out at the
 * end follow in order. */
static void gop_order(enum order order, int n, int *display)
{
	bool used[256] = {false};
	int k = 0;

	for (int i = 0; i < n; i++) {
		int d = display_of(order, i, n);

		if (d >= 0 && !used[d]) {
			used[d] = true;
			display[k++] = d;
		}
	}
	for (int d = 0; d < n; d++)
		if (!used[d])
			display[k++] = d;
	assert_int_equal(k, n);
}

/* Appends `gops` GOPs of n frames from t on, with audio beside them that arrives `lag` later and
 * starts 15 ms after the video. */
static int64_t append_gops(struct store *s, struct model *m, enum order order, int64_t t, int gops,
                           int n, bool audio, int64_t lag)
{
	int64_t sound = t + 15 * NSEC_PER_MSEC, dts = t - 5 * FRAME;
	int display[256];

	gop_order(order, n, display);
	for (size_t i = m->n; i-- > 0;) { /* goes on where the run's audio and dts are */
		if (m->frame[i].track == 1) {
			sound = m->frame[i].time + SOUND;
			break;
		}
	}
	for (int g = 0; g < gops; g++) {
		for (int i = 0; i < n; i++, dts += FRAME) {
			int64_t now = t + g * n * FRAME + i * FRAME;

			append(s, m,
			       (struct frame){.time = t + g * n * FRAME + display[i] * FRAME,
			                      .dts = dts,
			                      .duration = FRAME,
			                      .key = i == 0});
			for (; audio && sound + lag <= now; sound += SOUND)
				append(s, m,
				       (struct frame){.time = sound,
				                      .dts = sound,
				                      .duration = SOUND,
				                      .track = 1,
				                      .key = true});
		}
	}
	return t + gops * n * FRAME;
}

static void run_begin(struct store *s, bool video, bool audio)
{
	struct eng_setup setup = setup_of(video, audio);

	assert_int_equal(eng_run_begin(s->stream, &setup, ENG_REASON_FIRST), 0);
}

static void run_end(struct store *s, struct model *m)
{
	eng_run_end(s->stream, ENG_REASON_OPERATOR);
	store_sync(s);
	m->ended = true;
}

/* -------------------------------------------------------------------- what a file should hold */

static int64_t run_end_time(const struct model *m)
{
	int64_t end = INT64_MIN;

	for (size_t i = 0; i < m->n; i++)
		if (m->frame[i].time + m->frame[i].duration > end)
			end = m->frame[i].time + m->frame[i].duration;
	return end;
}

/* Key frames as the rules mean them. */
static bool is_key(const struct frame *f)
{
	return f->track == 0 && f->key;
}

/* The frames of [a, b): wanted[i] for each. */
static void want(const struct model *m, int64_t a, int64_t b, bool *wanted)
{
	bool begun = false, done = false, audio_done = false;

	for (size_t i = 0; i < m->n; i++) {
		const struct frame *f = &m->frame[i];

		wanted[i] = false;
		if (f->track == 1) {
			audio_done |= f->time >= b;
			wanted[i] = !audio_done && f->time >= a;
			continue;
		}
		begun |= f->key && f->time >= a;
		done |= begun && f->time >= b;
		wanted[i] = begun && !done && f->time >= a;
	}
}

struct span {
	int64_t a, b;
	int64_t to; /* the window's end; 0: far away */
};

static struct span span_of(const struct view_file *f)
{
	return (struct span){f->a_ns, f->b_ns, 0};
}

/* The files of an ended run inside [from, to). */
static size_t want_files(const struct model *m, int64_t from, int64_t to, struct span *out)
{
	size_t n = 0;

	for (int64_t s = from - from % SLICE; s < to; s += SLICE) {
		int64_t lo = s > from ? s : from, hi = s + SLICE < to ? s + SLICE : to;
		struct span x = {INT64_MAX, to, to};

		if (x.b > run_end_time(m))
			x.b = run_end_time(m) + 1;
		for (size_t i = 0; i < m->n; i++) {
			const struct frame *f = &m->frame[i];

			if (!is_key(f))
				continue;
			if (x.a == INT64_MAX && f->time >= lo)
				x.a = f->time;
			if (f->time >= s + SLICE) {
				x.b = f->time < x.b ? f->time : x.b;
				break;
			}
		}
		if (x.a < hi)
			out[n++] = x;
	}
	return n;
}

/* ---------------------------------------------------------------------------- reading a file */

static uint64_t be(const uint8_t *p, int n)
{
	uint64_t v = 0;

	for (int i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static const uint8_t *box(const uint8_t *p, size_t len, const char *type, unsigned nth)
{
	const uint8_t *end = p + len;

	for (;; nth--) {
		p = memmem(p, (size_t)(end - p), type, 4);
		assert_non_null(p);
		p += 4;
		if (!nth)
			return p;
	}
}

static uint8_t *read_all(struct view *v, size_t *len)
{
	uint8_t *bytes;
	size_t got;

	*len = view_size(v);
	bytes = malloc(*len + 1);
	assert_int_equal(view_read(v, 0, *len + 1, bytes, &got), 0);
	assert_int_equal(got, *len);
	return bytes;
}

static uint8_t *file_bytes(struct store *s, const struct view_file *f, size_t *len)
{
	struct view *v;
	uint8_t *bytes;

	assert_int_equal(view_open(s->r, f, &v), 0);
	assert_int_equal(view_size(v), f->size_bytes);
	bytes = read_all(v, len);
	view_close(v);
	return bytes;
}

/* One track of the file: by its own tables, each sample must be the next wanted frame, whole.
 * Returns the bytes it holds. */
static uint64_t check_track(const uint8_t *file, size_t len, unsigned nth, unsigned track,
                            const struct model *m, const bool *wanted)
{
	const uint8_t *stsz = box(file, len, "stsz", nth), *stsc = box(file, len, "stsc", nth);
	const uint8_t *co64 = box(file, len, "co64", nth);
	uint64_t n = be(stsz + 8, 4), sample = 0, bytes = 0;
	size_t i = 0;

	assert_int_equal(be(stsc + 4, 4), be(co64 + 4, 4));
	for (uint64_t c = 0; c < be(stsc + 4, 4); c++) {
		uint64_t at = be(co64 + 8 + 8 * c, 8);

		assert_int_equal(be(stsc + 8 + 12 * c, 4), c + 1);
		for (uint64_t x = be(stsc + 12 + 12 * c, 4); x > 0; x--, sample++, i++) {
			uint64_t size = be(stsz + 12 + 4 * sample, 4);

			while (i < m->n && !(wanted[i] && m->frame[i].track == track))
				i++;
			assert_true(i < m->n);
			assert_int_equal(size, m->frame[i].size);
			assert_true(at + size <= len);
			for (uint64_t y = 0; y < size; y += 8)
				if (le64_get(file + at + y) >> 32 != m->frame[i].number)
					fail_msg("frame %u where %u belongs",
					         (unsigned)(le64_get(file + at + y) >> 32),
					         m->frame[i].number);
			at += size;
			bytes += size;
		}
	}
	assert_int_equal(sample, n);
	for (; i < m->n; i++)
		if (wanted[i] && m->frame[i].track == track)
			fail_msg("frame %u is missing", m->frame[i].number);
	return bytes;
}

/* The file holds exactly the frames of [a, b), and says its true range. */
static void check_file(struct store *s, const struct view_file *f, const struct model *m,
                       struct span x)
{
	static bool wanted[FRAMES_MAX];
	int64_t end = x.a;
	uint64_t bytes;
	bool audio = false;
	uint8_t *file;
	size_t len;

	assert_int_equal(f->a_ns, x.a);
	want(m, x.a, x.b, wanted);
	for (size_t i = 0; i < m->n; i++) {
		audio |= wanted[i] && m->frame[i].track == 1;
		if (wanted[i] && m->frame[i].time + m->frame[i].duration > end)
			end = m->frame[i].time + m->frame[i].duration;
	}
	for (size_t i = 0; i < m->n; i++)
		if (is_key(&m->frame[i]) && m->frame[i].time == x.b && (!x.to || x.b < x.to))
			end = x.b;
	assert_int_equal(f->first_ns, x.a);
	assert_int_equal(f->end_ns, end);
	file = file_bytes(s, f, &len);
	bytes = check_track(file, len, 0, 0, m, wanted);
	if (audio)
		bytes += check_track(file, len, 1, 1, m, wanted);
	/* mdat holds these bytes and nothing beside them. */
	assert_int_equal(be(box(file, len, "mdat", 0), 8), 16 + bytes);
	free(file);
}

/* The listing of the window is what the model says, every file checked whole. */
static size_t check_window(struct store *s, const struct model *m, int64_t from, int64_t to)
{
	struct span expect[64];
	size_t n, n_expect = want_files(m, from, to, expect);
	struct view_file *f, found;

	assert_int_equal(view_list(s->r, CAMERA, from, to, SLICE, &f, &n), 0);
	assert_int_equal(n, n_expect);
	for (size_t i = 0; i < n; i++) {
		check_file(s, &f[i], m, expect[i]);
		assert_false(f[i].growing);
		assert_int_equal(view_find(s->r, CAMERA, from, to, SLICE, f[i].name, &found), 0);
		assert_memory_equal(&found, &f[i], sizeof(found));
	}
	free(f);
	return n;
}

/* ------------------------------------------------------------------------------- the tests */

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

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_make, store_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(edges_plain),        STORE_TEST(edges_audio),
	        STORE_TEST(edges_reordered),    STORE_TEST(edges_open_gop),
	        STORE_TEST(slices_hold_all),    STORE_TEST(growing_names),
	        STORE_TEST(late_audio),         STORE_TEST(growing_windows),
	        STORE_TEST(writer_died),        STORE_TEST(damaged_bytes),
	        STORE_TEST(recycled_beginning), STORE_TEST(no_durations),
	        STORE_TEST(false_descriptions), STORE_TEST(names_that_are_none),
	        STORE_TEST(random_reads),       STORE_TEST(runs_and_imports),
	        STORE_TEST(same_names),         STORE_TEST(audio_alone),
	        STORE_TEST(empty_windows),      STORE_TEST(better_from),
	};

	if (time_zone_set("UTC"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
